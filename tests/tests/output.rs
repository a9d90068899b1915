//! What programs read: `--output json` of every command is one object with the promised fields.

use std::{io::Write, path::Path, time::Duration};

use serde_json::{Value, json};
use tests::{
    lab::{HOST, Hook, Lab, STRANGER, Side, WORKLOAD},
    policy::{ENI, GROUP, Policy},
    process::finish,
    servers::Server,
    tools,
    traffic::{Outcome, PATIENCE, assert_tcp, assert_udp, connect},
};

fn web() -> Policy {
    Policy::new().allow_in("tcp 80", "198.51.100.7/32").allow_in("udp 80", "198.51.100.7/32").log("ALL")
}

fn lab() -> Lab {
    Lab::new(Hook::Auto, Side::Workload)
}

fn json_of(lab: &Lab, arguments: &[&str]) -> Value {
    lab.filter_ctl([arguments, &["--output", "json"]].concat()).ok().json()
}

/// Number at a path of names and indices, `a/0/b`.
fn number(value: &Value, path: &str) -> u64 {
    let found = value.pointer(&format!("/{path}"));
    found.and_then(Value::as_u64).unwrap_or_else(|| panic!("no number {path} in {value:#}"))
}

#[test]
fn status_tells_what_is_attached_and_what_it_has_done() {
    let mut lab = lab();
    assert_eq!(json_of(&lab, &["status"])["interfaces"], json!([]));
    lab.attach(&web());
    let echo = Server::udp_echo(&lab.workload, WORKLOAD.v4, 80);
    assert_udp(&lab.remote, HOST.v4, echo.address(), Outcome::Answered);
    assert_udp(&lab.remote, STRANGER.v4, echo.address(), Outcome::Silent);

    let status = json_of(&lab, &["status"]);
    let interface = &status["interfaces"][0];
    let attachment = &interface["attachment"];
    assert_eq!(attachment["device"], "eth0");
    assert_eq!(attachment["interface"]["id"], ENI);
    assert_eq!(attachment["side"], "workload");
    assert_eq!(attachment["receive"], "tcx", "veth is a software device");
    assert!(attachment["reason"].as_str().is_some_and(|reason| reason.contains("veth")), "{attachment:#}");
    assert_eq!(attachment["flow_log_interval"], 60);
    assert_eq!(interface["enforcing"], true);
    assert_eq!(interface["generation_in_force"], attachment["generation"]);
    assert_eq!(number(interface, "connections/used"), 1);
    assert_eq!(number(interface, "packets/accepted"), 2);
    assert_eq!(number(interface, "packets/rejected"), 1);
    assert_eq!(number(interface, "lost/packets/ingress"), 0);
    let reasons = interface["reasons"].as_array().expect("reasons");
    let of = |name: &str| reasons.iter().find(|reason| reason["reason"] == name).expect("a reason");
    assert_eq!(number(of("new-connection"), "packets/ingress"), 1);
    assert_eq!(number(of("connection"), "packets/egress"), 1);
    assert_eq!(number(of("security-group"), "packets/ingress"), 1);
    assert_eq!(number(of("security-group"), "bytes/ingress"), 42);

    // The table says the same to people.
    let table = lab.filter_ctl(["status"]).ok().stdout;
    for part in ["eth0", ENI, GROUP, "workload"] {
        assert!(table.contains(part), "no {part} in\n{table}");
    }
    let other = finish(
        lab.with_environment(lab.remote.command(tests::lab::filter_ctl_path()))
            .args(["status", "--output", "json"]),
        Duration::from_secs(60),
    );
    let elsewhere = &other.ok().json()["interfaces"][0];
    assert_eq!(elsewhere["in_this_network_namespace"], false);
    assert_eq!(elsewhere["enforcing"], true);
}

#[test]
fn connections_are_listed_with_state_and_remaining_time() {
    let mut lab = lab();
    lab.attach(&web());
    assert_eq!(json_of(&lab, &["connections"]), json!({ "connections": [] }));
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    let mut stream = connect(&lab.remote, HOST.v4, server.address(), PATIENCE).expect("connect");
    stream.write_all(b"hello").expect("write");
    tests::eventually::eventually("the server to read", PATIENCE, || (server.bytes() == 5).then_some(()));
    let listed = json_of(&lab, &["connections"]);
    let one = &listed["connections"][0];
    assert_eq!(listed["connections"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["interface_id"], ENI);
    assert_eq!(one["device"], "eth0");
    assert_eq!(one["protocol"], 6);
    assert_eq!(one["local_address"], WORKLOAD.v4.to_string());
    assert_eq!(one["local_port"], 80);
    assert_eq!(one["remote_address"], HOST.v4.to_string());
    assert_eq!(one["remote_port"], stream.local_addr().expect("an address").port());
    assert_eq!(one["state"], "established");
    assert_eq!(one["origin"], "ingress");
    let expires = one["expires_in_seconds"].as_f64().expect("a number");
    assert!((431_000.0..=432_001.0).contains(&expires), "five days: {expires}");
}

/// Conformance 17, 19.
///
/// What any-address rules allow both ways is not tracked; ICMP always is.
#[test]
fn an_untracked_flow_makes_no_connection_and_a_ping_does() {
    let mut lab = lab();
    lab.attach(&Policy::open().log("ALL"));
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Answered);
    assert_eq!(json_of(&lab, &["connections"]), json!({ "connections": [] }));
    assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 1), 1);
    let listed = json_of(&lab, &["connections"]);
    assert_eq!(listed["connections"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["connections"][0]["protocol"], 1);
}

#[test]
fn check_tells_what_each_interface_would_enforce() {
    let mut lab = lab();
    let document = lab.write(&web());
    let path = document.to_str().expect("UTF-8");
    let checked = json_of(&lab, &["check", path]);
    assert_eq!(checked["valid"], true);
    let interfaces = checked["interfaces"].as_array().expect("interfaces");
    let ours = interfaces.iter().find(|one| one["interface"]["id"] == ENI).expect("our interface");
    assert_eq!(ours["security_groups"], json!([GROUP]));
    assert_eq!(ours["flow_log_interval"], 60);

    let mut broken = web().document();
    broken["SecurityGroups"][0]["IpPermissions"][0]["ToPort"] = 70_000.into();
    let document = lab.write_text("json", &broken.to_string());
    let output =
        lab.filter_ctl([Path::new("check"), &document, Path::new("--output"), Path::new("json")]).code(3);
    assert_eq!(output.json()["error"]["exit"], 3, "{}", output.stdout);
}

#[test]
fn apply_tells_what_it_changed() {
    let mut lab = lab();
    lab.attach(&web());
    let same = lab.write(&web());
    let unchanged = json_of(&lab, &["apply", same.to_str().expect("UTF-8")]);
    assert_eq!(unchanged["interfaces"][0]["changed"], false);
    let other = lab.write(&web().allow_in("tcp 81", "198.51.100.7/32"));
    let other = other.to_str().expect("UTF-8");
    let dry = json_of(&lab, &["apply", other, "--dry-run"]);
    assert_eq!((&dry["dry_run"], &dry["interfaces"][0]["changed"]), (&json!(true), &json!(true)));
    let changed = json_of(&lab, &["apply", other, "--only", ENI]);
    assert_eq!(changed["interfaces"][0]["changed"], true);
    let generation = &changed["interfaces"][0]["generation"];
    assert!(generation["after"].as_u64() > generation["before"].as_u64(), "{generation}");
    let _ = lab.filter_ctl(["apply", other, "--only", "eni-0ffffffffffffffff"]).code(4);
}

#[test]
fn a_document_in_yaml_with_derived_defaults_is_enforced() {
    let mut lab = lab();
    let document = lab.write_text(
        "yaml",
        "Vpcs: [{ VpcId: vpc-1, CidrBlock: 10.0.0.0/16 }]
Subnets: [{ SubnetId: subnet-1, VpcId: vpc-1, CidrBlock: 10.0.1.0/24 }]
NetworkInterfaces:
  - NetworkInterfaceId: eni-0a1b2c3d4e5f60718
    SubnetId: subnet-1
    PrivateIpAddress: 10.0.1.20
    Groups: [{ GroupId: sg-1 }]
SecurityGroups:
  - GroupId: sg-1
    GroupName: web
    VpcId: vpc-1
    IpPermissions:
      - { IpProtocol: tcp, FromPort: 80, ToPort: 80, IpRanges: [{ CidrIp: 198.51.100.0/24 }] }
    IpPermissionsEgress: []
NetworkAcls:
  - NetworkAclId: acl-1
    VpcId: vpc-1
    Associations: [{ SubnetId: subnet-1 }]
    Entries:
      - { RuleNumber: 100, Egress: false, Protocol: \"-1\", RuleAction: allow, CidrBlock: 0.0.0.0/0 }
      - { RuleNumber: 100, Egress: true, Protocol: \"-1\", RuleAction: allow, CidrBlock: 0.0.0.0/0 }
",
    );
    let _ = lab.try_attach(&document, &["--log", "60", "--limits", "aws"]).ok();
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Answered);
    assert_tcp(&lab.remote, STRANGER.v4, server.address(), Outcome::Silent);
    assert!(!lab.flows().is_empty(), "--log logs without a flow log of the document");
}
