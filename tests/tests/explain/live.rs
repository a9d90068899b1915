//! `explain --device`: the tables in the kernel beside the document, and the connection table.

use std::{fs, io::Write, path::Path};

use serde_json::{Value, json};
use tests::{
    lab::{HOST, Hook, Lab, STRANGER, Side, WORKLOAD},
    policy::{ENI, GROUP, Policy},
    servers::Server,
    traffic::{Outcome, PATIENCE, assert_tcp, connect},
};

fn web() -> Policy {
    Policy::new().allow_in("tcp 80", "198.51.100.7/32")
}

/// Asks about a SYN to port 80.
fn explain(lab: &Lab, source: &str, more: &[&str]) -> Value {
    let asked = ["--direction", "ingress", "--protocol", "tcp", "--source", source, "--destination", ":80"];
    lab.filter_ctl([&["explain"], more, &asked, &["--output", "json"]].concat()).ok().json()
}

#[test]
fn a_newcomer_finds_out_why_a_packet_was_dropped_in_one_command() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(&web());
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Answered);
    assert_tcp(&lab.remote, STRANGER.v4, server.address(), Outcome::Silent);

    let passed = explain(&lab, "198.51.100.7", &["--device", "eth0"]);
    assert_eq!((&passed["verdict"], &passed["differs"]), (&json!("accept"), &json!(false)), "{passed:#}");
    assert_eq!(passed["rule"]["group_id"], GROUP);
    assert_eq!(passed["rules"][0]["position"], "IpPermissions[0].IpRanges[0]");
    let dropped = explain(&lab, "203.0.113.9", &["--device", "eth0"]);
    assert_eq!((&dropped["verdict"], &dropped["layer"]), (&json!("reject"), &json!("security-group")));
    assert_eq!(dropped["nearest_misses"][0]["key"], "address");

    let report = lab.filter_ctl(
        "explain --device eth0 --direction ingress --protocol tcp --source 203.0.113.9 --destination :80"
            .split(' '),
    );
    let report = report.ok().stdout;
    assert!(report.starts_with("REJECT: no rule of the security groups allows it\n"), "{report}");
    assert!(report.contains("203.0.113.9 is not in 198.51.100.7/32"), "{report}");
}

#[test]
fn a_document_that_is_not_in_force_is_told() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let document = lab.write(&web());
    let path = document.to_str().expect("UTF-8");
    let _ = lab.try_attach(&document, &[]).ok();
    let live = ["--device", "eth0"];

    // A rule less: the kernel goes on with it.
    fs::write(&document, Policy::new().document().to_string()).expect("write the document");
    let before = explain(&lab, "198.51.100.7", &live);
    assert_eq!((&before["verdict"], &before["differs"]), (&json!("accept"), &json!(true)), "{before:#}");
    assert_eq!(before["in_force"]["document"]["verdict"], "reject");
    assert_eq!(before["in_force"]["document"]["reason"], "security-group");
    assert_eq!(before["rule"], Value::Null, "the document does not know the rule in force");
    let alone = explain(&lab, "198.51.100.7", &[path, "--interface-id", ENI]);
    assert_eq!(alone["verdict"], "reject");
    assert_eq!(alone.get("differs"), None);
    let report = lab.filter_ctl(
        "explain --device eth0 --direction ingress --protocol tcp --source 198.51.100.7 --destination :80"
            .split(' '),
    );
    let report = report.ok().stdout;
    assert!(report.starts_with("ACCEPT") && report.contains("DIFFERS"), "{report}");
    // Of other packets it says the same, and is another one all the same.
    let other = explain(&lab, "203.0.113.9", &live);
    assert_eq!((&other["verdict"], &other["differs"]), (&json!("reject"), &json!(true)));
    assert_eq!(other["in_force"]["document"]["verdict"], "reject");

    let _ = lab.filter_ctl([Path::new("apply"), &document]).ok();
    let after = explain(&lab, "198.51.100.7", &live);
    assert_eq!((&after["verdict"], &after["differs"]), (&json!("reject"), &json!(false)), "{after:#}");

    // Without the document, the tables still answer.
    fs::remove_file(&document).expect("remove the document");
    let bare = explain(&lab, "198.51.100.7", &live);
    assert_eq!((&bare["verdict"], &bare["differs"]), (&json!("reject"), &Value::Null), "{bare:#}");
    assert!(bare["in_force"]["document"]["error"].is_string(), "{bare:#}");
}

#[test]
fn a_packet_of_a_tracked_connection_is_told_to_be_one() {
    let mut lab = Lab::new(Hook::Auto, Side::Host);
    lab.attach(&web());
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    let mut stream = connect(&lab.remote, HOST.v4, server.address(), PATIENCE).expect("connect");
    stream.write_all(b"hello").expect("write");
    tests::eventually::eventually("the server to read", PATIENCE, || (server.bytes() == 5).then_some(()));
    // The rule goes, the connection stays.
    lab.apply(&Policy::new());
    let source = stream.local_addr().expect("an address").to_string();
    let told = explain(&lab, &source, &["--device", "veth0"]);
    assert_eq!((&told["verdict"], &told["reason"]), (&json!("accept"), &json!("connection")), "{told:#}");
    assert_eq!(told["in_force"]["connection"]["state"], "established");
    assert_eq!(told["tracked"], true);
    let other = explain(&lab, "198.51.100.7:1", &["--device", "veth0"]);
    assert_eq!((&other["verdict"], &other["in_force"]["connection"]), (&json!("reject"), &Value::Null));
}

#[test]
fn what_is_not_attached_is_not_found() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(&web());
    let asked = "--direction ingress --protocol gre --source 203.0.113.9";
    let code = |device: &str, code| {
        let words = format!("explain --device {device} {asked}");
        lab.filter_ctl(words.split(' ')).code(code)
    };
    let _ = code("veth0", 4);
    let _ = code("eth0 --interface-id eni-0ffffffffffffffff", 4);
    let _ = code("eth0 nowhere.yaml", 3);
    let _ = code(&format!("eth0 --interface-id {ENI}"), 0);
}
