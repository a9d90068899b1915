//! Attach, apply and detach: what they refuse, what they leave, what outlives them.

#[path = "lifecycle/slots.rs"]
mod slots;
#[path = "lifecycle/versions.rs"]
mod versions;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use aya::programs::{SchedClassifier, TcAttachType};
use tests::{
    foreign::{Foreign, Place},
    kernel,
    lab::{HOST, Hook, Lab, STRANGER, Side, WORKLOAD, filter_ctl_path},
    matrix,
    policy::{ANY4, ENI, GROUP, NEIGHBOUR_ENI, Policy},
    process::{Background, Finished, finish},
    servers::Server,
    tools,
    traffic::{Outcome, assert_tcp},
};

/// Exit codes, as documented.
const SYSTEM: i32 = 1;
const USAGE: i32 = 2;
const DOCUMENT: i32 = 3;
const NOT_FOUND: i32 = 4;
const STATE: i32 = 5;
const PERMISSION: i32 = 6;

/// What is on the filtered device: XDP, TCX, clsact filters, qdiscs.
fn programs_on_device(lab: &Lab) -> String {
    let (namespace, device) = lab.device();
    let run = |program: &str, arguments: &[&str]| {
        finish(namespace.command(program).args(arguments), Duration::from_secs(10)).ok().stdout
    };
    let programs = run("bpftool", &["net", "show", "dev", device]);
    let programs = programs.lines().filter(|line| line.contains(" id ") || line.contains("prog_id"));
    let qdiscs = run("tc", &["qdisc", "show", "dev", device]);
    let qdiscs = qdiscs.lines().filter(|line| line.contains("clsact"));
    let xdp = run("ip", &["link", "show", "dev", device]);
    let xdp = xdp.lines().filter(|line| line.contains("xdp"));
    // This bpftool may be older than TCX.
    let tcx = namespace.run(|| {
        [TcAttachType::Ingress, TcAttachType::Egress].map(|side| {
            match SchedClassifier::query_tcx(device, side) {
                Ok((_, programs)) => programs.len(),
                Err(_) => 0,
            }
        })
    });
    let tcx = (tcx != [0, 0]).then(|| format!("TCX programs: {tcx:?}"));
    let tcx = tcx.as_deref().into_iter();
    programs.chain(qdiscs).chain(xdp).chain(tcx).map(|line| format!("{line}\n")).collect()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

fn attached(lab: &Lab) -> bool {
    !programs_on_device(lab).is_empty()
}

/// A group that lets the host in to one port.
fn only_port(port: u16) -> Policy {
    Policy::new().allow_in(&format!("tcp {port}"), &format!("{}/32", HOST.v4))
}

/// Asserts that exactly this port is open to the host, and nothing to a stranger.
fn assert_only_port(lab: &Lab, open: &Server, closed: &Server) {
    assert_tcp(&lab.remote, HOST.v4, open.address(), Outcome::Answered);
    assert_tcp(&lab.remote, HOST.v4, closed.address(), Outcome::Silent);
    assert_tcp(&lab.remote, STRANGER.v4, open.address(), Outcome::Silent);
}

fn servers(lab: &Lab) -> [Server; 2] {
    [80, 81].map(|port| Server::tcp_echo(&lab.workload, WORKLOAD.v4, port))
}

/// What `attach` made, `detach` removes: programs, qdiscs, pins, state; and everything passes again.
fn detach_leaves_nothing_behind(lab: &mut Lab) {
    for _ in 0..2 {
        lab.attach(&Policy::new().log("ALL"));
        assert!(attached(lab));
        assert!(!files(&lab.pins()).is_empty());
        assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 1), 0);
        lab.detach();
        assert_eq!(programs_on_device(lab), "");
        assert_eq!(files(&lab.pins()), Vec::<String>::new());
        assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 1), 1);
    }
    let left = files(&lab.state_folder());
    let left: Vec<_> = left
        .iter()
        .filter(|file| fs::read_to_string(file).is_ok_and(|text| text.contains("ifindex")))
        .collect();
    assert!(left.is_empty(), "attachments are still remembered: {left:?}");
}

/// One device is attached once; the refusal changes nothing.
fn a_second_attach_is_refused(lab: &mut Lab) {
    lab.attach(&only_port(80));
    let [open, closed] = servers(lab);
    let other = lab.write(&Policy::open());
    let refusal = lab.try_attach(&other, &[]).code(STATE);
    assert!(refusal.stderr.contains(lab.device().1), "{}", refusal.stderr);
    assert_only_port(lab, &open, &closed);
}

/// The programs hang on the device, not on the process that attached them.
fn enforcement_needs_no_process(lab: &mut Lab) {
    lab.attach(&only_port(80));
    let running = fs::read_dir("/proc").expect("read /proc").flatten().filter(|entry| {
        fs::read_to_string(entry.path().join("environ"))
            .is_ok_and(|environment| environment.contains(lab.state_folder().to_str().expect("UTF-8")))
    });
    assert_eq!(running.count(), 0);
    let [open, closed] = servers(lab);
    assert_only_port(lab, &open, &closed);
}

/// A document with errors changes nothing, and every error is told at once.
fn a_document_with_errors_changes_nothing_and_all_errors_are_told(lab: &mut Lab) {
    lab.attach(&only_port(80));
    let [open, closed] = servers(lab);
    let mut document = only_port(81).document();
    document["SecurityGroups"][0]["IpPermissions"][0]["FromPort"] = 90.into();
    document["NetworkAcls"][0]["Entries"][0]["RuleNumber"] = 40_000.into();
    document["NetworkAcls"][0]["Entries"][1]["CidrBlock"] = "10.0.0.0/33".into();
    let text = serde_json::to_string_pretty(&document).expect("a document");
    let path = lab.write_text("json", &text);
    for command in ["apply", "check"] {
        let refusal = lab.filter_ctl([Path::new(command), &path]).code(DOCUMENT);
        for part in ["FromPort", "40000", "10.0.0.0/33"] {
            assert!(refusal.stderr.contains(part), "{command} does not tell of {part}:\n{}", refusal.stderr);
        }
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(refusal.stderr.contains(name), "{command} does not name the file:\n{}", refusal.stderr);
    }
    assert_only_port(lab, &open, &closed);
    let missing = lab.folder().join("missing.json");
    assert_ne!(lab.filter_ctl([Path::new("apply"), &missing]).code, 0);
    assert_only_port(lab, &open, &closed);
}

/// `--dry-run` tells and changes nothing.
fn a_dry_run_changes_nothing(lab: &mut Lab) {
    lab.attach(&only_port(80));
    let [open, closed] = servers(lab);
    let document = lab.write(&only_port(81));
    let _ = lab.filter_ctl([Path::new("apply"), &document, Path::new("--dry-run")]).ok();
    assert_only_port(lab, &open, &closed);
    let _ = lab.filter_ctl([Path::new("apply"), &document]).ok();
    assert_only_port(lab, &closed, &open);
}

/// A foreign XDP program is never replaced: XDP is refused, and TCX (or clsact) still works beside it.
fn a_foreign_xdp_program_is_not_replaced(lab: &mut Lab) {
    for place in [Place::XdpNative, Place::XdpGeneric] {
        let (namespace, device) = lab.device();
        let foreign = Foreign::attach(namespace, device, place);
        let document = lab.write(&only_port(80));
        lab.hook = Hook::XdpNative;
        let refusal = lab.try_attach(&document, &[]).code(STATE);
        assert!(refusal.stderr.to_lowercase().contains("xdp"), "{}", refusal.stderr);
        assert_eq!(files(&lab.pins()), Vec::<String>::new());
        lab.hook = kernel::classifier();
        let [open, closed] = servers(lab);
        let _ = lab.try_attach(&document, &[]).ok();
        assert_only_port(lab, &open, &closed);
        lab.detach();
        drop(foreign);
    }
}

/// A foreign TCX program keeps its place, and ours still enforces.
fn a_foreign_tcx_program_is_a_neighbour(lab: &mut Lab) {
    if !kernel::has_tcx() {
        return kernel::refuses_tcx(lab);
    }
    let (namespace, device) = lab.device();
    let foreign = Foreign::attach(namespace, device, Place::TcxIngress);
    lab.hook = Hook::Tcx;
    lab.attach(&only_port(80));
    let [open, closed] = servers(lab);
    assert_only_port(lab, &open, &closed);
    lab.detach();
    assert!(attached(lab), "the foreign program is still there");
    drop(foreign);
}

matrix!(every: detach_leaves_nothing_behind);
matrix!(sides:
    a_second_attach_is_refused,
    enforcement_needs_no_process,
    a_document_with_errors_changes_nothing_and_all_errors_are_told,
    a_dry_run_changes_nothing,
    a_foreign_xdp_program_is_not_replaced,
    a_foreign_tcx_program_is_a_neighbour,
);

fn lab() -> Lab {
    Lab::new(Hook::Auto, Side::Workload)
}

fn assert_tells(output: &Finished, part: &str) {
    assert!(output.stderr.contains(part), "no word of {part:?}: {}{}", output.stdout, output.stderr);
}

#[test]
fn a_missing_device_is_not_found() {
    let mut lab = lab();
    let document = lab.write(&Policy::open());
    let output = lab.filter_ctl([Path::new("attach"), Path::new("eth7"), Path::new("--policy"), &document]);
    assert_tells(&output.code(NOT_FOUND), "eth7");
    assert_tells(&lab.filter_ctl(["detach", "eth7"]).code(NOT_FOUND), "eth7");
    assert_tells(&lab.filter_ctl(["detach", "eth0"]).code(NOT_FOUND), "eth0");
}

#[test]
fn an_interface_that_the_document_lacks_is_not_found() {
    let mut lab = lab();
    let document = lab.write(&Policy::open());
    let mut command = lab.filter_ctl_command();
    command.args(["attach", "eth0", "--interface-id", "eni-0ffffffffffffffff", "--policy"]).arg(&document);
    let output = finish(&mut command, Duration::from_secs(60));
    assert_tells(&output.code(NOT_FOUND), "eni-0ffffffffffffffff");
    assert!(!attached(&lab));
    assert_eq!(files(&lab.pins()), Vec::<String>::new());
}

#[test]
fn the_interface_is_found_by_the_address_of_the_device() {
    let mut lab = lab();
    let document = lab.write(&only_port(80));
    let output =
        lab.filter_ctl([Path::new("attach"), Path::new("eth0"), Path::new("--policy"), &document]).ok();
    assert!(output.stdout.contains(ENI) || output.stderr.contains(ENI), "{}{}", output.stdout, output.stderr);
    let [open, closed] = servers(&lab);
    assert_only_port(&lab, &open, &closed);
}

#[test]
fn a_usage_error_is_told_apart() {
    let lab = lab();
    for arguments in [&["attach"][..], &["frobnicate"], &["flows", "--action", "MAYBE"]] {
        let _ = lab.filter_ctl(arguments).code(USAGE);
    }
    let _ = lab.filter_ctl(["--version"]).ok();
    let _ = lab.filter_ctl(["--help"]).ok();
}

#[test]
fn without_a_bpffs_attach_is_refused_with_a_way_out() {
    let mut lab = lab();
    let document = lab.write(&Policy::open());
    let plain = lab.folder().join("plain");
    fs::create_dir(&plain).expect("make a folder");
    let mut command = lab.filter_ctl_command();
    command
        .env("FILTER_BPFFS", &plain)
        .args(["attach", "eth0", "--interface-id", ENI, "--policy"])
        .arg(&document);
    let output = finish(&mut command, Duration::from_secs(60)).code(PERMISSION);
    assert_tells(&output, "mount");
    assert!(!attached(&lab));
}

#[test]
fn without_root_attach_is_refused() {
    let mut lab = lab();
    let document = lab.write(&Policy::open());
    // Where everybody may read it.
    let open =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().expect("a folder");
    let binary = open.path().join("filter-ctl");
    fs::copy(filter_ctl_path(), &binary).expect("copy filter-ctl");
    let policy = open.path().join("policy.json");
    fs::copy(&document, &policy).expect("copy the document");
    let mut command = lab.with_environment(lab.workload.command("setpriv"));
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&binary);
    command.args(["attach", "eth0", "--interface-id", ENI, "--policy"]).arg(&policy);
    let _ = finish(&mut command, Duration::from_secs(60)).code(PERMISSION);
    assert!(!attached(&lab));
    // Checking a document needs no privilege.
    let mut command = lab.workload.command("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&binary);
    let _ = finish(command.arg("check").arg(&policy), Duration::from_secs(60)).ok();
}

/// Attaches the other end of the link, as the neighbour's interface.
fn attach_neighbour(lab: &mut Lab, document: &Path) {
    lab.side = Side::Host;
    let mut command = lab.filter_ctl_command();
    command.args(["attach", "veth0", "--side", "host", "--interface-id", NEIGHBOUR_ENI, "--policy"]);
    let _ = finish(command.arg(document), Duration::from_secs(60)).ok();
}

#[test]
fn several_devices_are_attached_side_by_side() {
    let mut lab = lab();
    let policy = only_port(80).allow_in("tcp 81", ANY4).neighbour_in(&[GROUP]);
    let document = lab.write(&policy);
    let _ = lab.try_attach(&document, &[]).ok();
    attach_neighbour(&mut lab, &document);
    let [open, other] = servers(&lab);
    assert_tcp(&lab.remote, HOST.v4, open.address(), Outcome::Answered);
    assert_tcp(&lab.remote, STRANGER.v4, other.address(), Outcome::Answered);
    // Both change with one document, and go one by one.
    lab.apply(&only_port(80).neighbour_in(&[GROUP]));
    assert_only_port(&lab, &open, &other);
    lab.side = Side::Host;
    lab.detach();
    assert_only_port(&lab, &open, &other);
    lab.side = Side::Workload;
    lab.detach();
    assert_tcp(&lab.remote, STRANGER.v4, other.address(), Outcome::Answered);
    assert_eq!(files(&lab.pins()), Vec::<String>::new());
}

/// The rules of the one whose turn had come judged packets, those of the other never did.
#[test]
fn a_failed_apply_keeps_the_rules_that_were_in_force_for_a_moment() {
    let mut lab = lab();
    let policy = only_port(80).neighbour_in(&[GROUP]);
    let document = lab.write(&policy);
    let _ = lab.try_attach(&document, &[]).ok();
    attach_neighbour(&mut lab, &document);
    let books = |lab: &Lab| {
        let mut books: Vec<_> = files(&lab.state_folder().join("rules"));
        books.sort();
        books
    };
    let before = books(&lab);
    assert_eq!(before.len(), 2);
    // A commit goes through all sizes of policies.
    let maps = lab.pins().join(format!("v{}/maps", filter_common::abi::ABI_VERSION));
    let (large, away) = (maps.join(filter_common::abi::maps::POLICY_LARGE), maps.join("AWAY"));
    fs::rename(&large, &away).expect("renamed");
    let other = lab.write(&only_port(81).neighbour_in(&[GROUP]));
    let _ = lab.filter_ctl([Path::new("apply"), &other]).code(SYSTEM);
    fs::rename(&away, &large).expect("renamed back");
    let after = books(&lab);
    let new: Vec<_> = after.iter().filter(|book| !before.contains(book)).collect();
    assert_eq!((after.len(), new.len()), (3, 1), "{after:#?}");
    let first = lab.state_folder().join("rules/0-");
    assert!(new[0].starts_with(&first.display().to_string()), "slot 0's: {new:?}");
    let status = lab.filter_ctl(["status", "--output", "json"]).ok().json();
    for interface in status["interfaces"].as_array().expect("two") {
        assert_eq!(interface["generation_in_force"], interface["attachment"]["generation"], "put back");
    }
}

#[test]
fn the_device_may_vanish_while_attached() {
    let mut lab = lab();
    lab.attach(&Policy::open());
    let mut delete = lab.workload.command("ip");
    let _ = finish(delete.args(["link", "delete", "eth0"]), Duration::from_secs(10)).ok();
    let _ = lab.filter_ctl(["status"]).ok();
    let _ = lab.detach();
    assert_eq!(files(&lab.pins()), Vec::<String>::new());
}

/// A device has the name that it has today; the one that it had when it was attached is another's.
#[test]
fn a_renamed_device_is_asked_by_its_name_of_today() {
    let mut lab = lab();
    lab.attach(&only_port(80));
    let ip = |arguments: &str| {
        let mut ip = lab.workload.command("ip");
        let _ = finish(ip.args(arguments.split(' ')), Duration::from_secs(10)).ok();
    };
    ip("link set eth0 down");
    ip("link set eth0 name wan0");
    ip("link add eth0 type veth peer name other0");
    let asked = |device: &str, command: &str| {
        let rest = "--direction ingress --protocol tcp --source 198.51.100.7 --destination :80";
        let words = match command {
            "explain" => format!("explain --device {device} {rest} --output json"),
            _ => format!("{command} {device} --output json"),
        };
        lab.filter_ctl(words.split(' '))
    };
    for command in ["explain", "connections", "status"] {
        let answer = asked("wan0", command).ok().stdout;
        assert!(!answer.contains("eth0"), "{command}: {answer}");
        assert_tells(&asked("eth0", command).code(NOT_FOUND), "eth0 is not attached");
    }
    fs::remove_dir_all(lab.state_folder()).expect("removed");
    for command in ["explain", "connections", "status"] {
        assert_tells(&asked("wan0", command).code(STATE), "whose state is lost; they keep enforcing");
    }
    let rules = lab.filter_ctl(["status", "--rules"]).ok();
    assert_tells(&rules, "whose state is lost");
    let _ = lab.filter_ctl(["detach", "wan0"]).ok();
}

#[test]
fn two_commands_at_once_do_not_disturb_each_other() {
    let mut lab = lab();
    lab.attach(&only_port(80));
    let [open, closed] = servers(&lab);
    let documents = [lab.write(&only_port(80)), lab.write(&only_port(81))];
    let mut running: Vec<Background> = (0..8)
        .map(|number| Background::start(lab.filter_ctl_command().arg("apply").arg(&documents[number % 2])))
        .collect();
    for process in &mut running {
        let code = process.exit_code(Duration::from_secs(60));
        assert!(matches!(code, Some(0 | 5)), "done, or refused because another one runs: {code:?}");
    }
    let _ = lab.filter_ctl([Path::new("apply"), &documents[0]]).ok();
    assert_only_port(&lab, &open, &closed);
}
