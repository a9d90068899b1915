//! After an update of `filter-ctl` whose maps are laid out in another way. Moved below `v1`, what this
//! version has attached is what another one has: pins that it does not read, and a state file.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use filter_common::abi::ABI_VERSION;
use tests::{
    lab::{HOST, Lab, Side, WORKLOAD},
    matrix,
    policy::{GROUP, Policy},
    process::finish,
    tools,
    traffic::{Outcome, assert_tcp},
};

use super::{
    STATE, assert_only_port, assert_tells, attach_neighbour, files, lab, only_port, programs_on_device,
    servers,
};

/// Makes everything in bpffs another version's.
fn grow_old(lab: &Lab) {
    fs::rename(version(lab, ABI_VERSION), version(lab, 1)).expect("renamed");
}

/// The folder of a version.
fn version(lab: &Lab, number: u32) -> PathBuf {
    lab.pins().join(format!("v{number}"))
}

/// The state files of attached devices.
fn entries(lab: &Lab) -> usize {
    files(&lab.state_folder().join("attachments")).len()
}

/// `status` names it, `attach` and `apply` refuse and change nothing, `detach` takes it off.
fn what_another_version_attached_is_named_kept_and_taken_off(lab: &mut Lab) {
    lab.attach(&only_port(80));
    let [open, closed] = servers(lab);
    grow_old(lab);
    let programs = programs_on_device(lab);
    let device = lab.device().1;

    let status = lab.filter_ctl(["status"]).ok();
    assert_tells(&status, &format!("another version of filter enforces on {device}"));
    assert!(!status.stdout.contains("no device is attached"), "{}", status.stdout);
    for arguments in [&["status"][..], &["status", device], &["status", "--rules"]] {
        let status = lab.filter_ctl(arguments.iter().chain(&["--output", "json"])).ok().json();
        assert_eq!(status["other_versions"][0]["device"], device, "{status:#}");
        assert_eq!(status["other_versions"][0]["version"], "v1", "{status:#}");
        assert_eq!(status["interfaces"], serde_json::json!([]));
    }

    let other = lab.write(&only_port(81));
    let remedy = "`filter-ctl detach DEVICE`";
    assert_tells(&lab.filter_ctl([Path::new("apply"), &other]).code(STATE), remedy);
    assert_tells(&lab.filter_ctl([Path::new("apply"), &other, Path::new("--dry-run")]).code(STATE), remedy);
    assert_tells(&lab.try_attach(&other, &[]).code(STATE), remedy);
    assert_eq!(programs_on_device(lab), programs, "no second filter");
    assert_eq!(entries(lab), 1, "its state is kept");
    assert_only_port(lab, &open, &closed);

    assert_tells(&lab.detach(), "another version of filter had attached it");
    assert_eq!(programs_on_device(lab), "");
    assert_eq!((files(&lab.pins()), entries(lab)), (Vec::new(), 0));
    assert!(!lab.pins().exists(), "with the last device its version's folder goes");
    assert_tcp(&lab.remote, HOST.v4, closed.address(), Outcome::Answered);
    let _ = lab.try_attach(&other, &[]).ok();
    assert_tcp(&lab.remote, HOST.v4, open.address(), Outcome::Silent);
}

matrix!(every: what_another_version_attached_is_named_kept_and_taken_off);

#[test]
fn one_device_is_taken_off_and_another_versions_stays() {
    let mut lab = lab();
    let document = lab.write(&only_port(80).neighbour_in(&[GROUP]));
    let _ = lab.try_attach(&document, &[]).ok();
    let [old, new] = [1, ABI_VERSION].map(|number| version(&lab, number).join("interfaces"));
    let folder = fs::read_dir(&new).expect("a folder").next().expect("one").expect("readable");
    attach_neighbour(&mut lab, &document);
    // Side by side, as a version leaves them that does not look for others.
    fs::create_dir_all(&old).expect("made");
    fs::rename(folder.path(), old.join(folder.file_name())).expect("renamed");

    let detached = lab.filter_ctl(["detach", "veth0", "--output", "json"]).ok().json();
    assert_eq!(detached["last"], false, "{detached:#}");
    assert_eq!(programs_on_device(&lab), "");
    lab.side = Side::Workload;
    assert_eq!(entries(&lab), 1, "the other one's state is kept");
    let [open, closed] = servers(&lab);
    assert_only_port(&lab, &open, &closed);
    assert_tells(&lab.detach(), "another version of filter had attached it");
    assert_eq!((programs_on_device(&lab), files(&lab.pins()), entries(&lab)), (String::new(), Vec::new(), 0));
    assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 1), 1);
}

#[test]
fn what_another_version_left_of_a_device_that_is_gone_is_in_nobodys_way() {
    let mut lab = lab();
    let document = lab.write(&Policy::open().neighbour_in(&[GROUP]));
    let _ = lab.try_attach(&document, &[]).ok();
    grow_old(&lab);
    let mut delete = lab.workload.command("ip");
    let _ = finish(delete.args(["link", "delete", "eth0"]), Duration::from_secs(10)).ok();
    assert!(lab.filter_ctl(["status"]).ok().stdout.contains("no device is attached"));
    let mut add = lab.workload.command("ip");
    let _ = finish(add.args(["link", "add", "eth0", "type", "veth"]), Duration::from_secs(10)).ok();
    let _ = lab.try_attach(&document, &[]).ok();
    assert!(!version(&lab, 1).exists());
    lab.detach();
    assert_eq!((files(&lab.pins()), entries(&lab)), (Vec::new(), 0));
}
