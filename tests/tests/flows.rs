//! The flow log as its readers meet it.

use std::{path::Path, time::Duration};

use serde_json::Value;
use tests::{
    lab::{HOST, Hook, Lab, STRANGER, Side, WORKLOAD},
    policy::{ACCOUNT, ANY4, ENI, Policy},
    process::Background,
    records::{Record, advance},
    servers::Server,
    tools,
    traffic::{Outcome, PATIENCE, assert_udp},
};

/// A lab with one accepted exchange with the host and one refused datagram of the stranger.
fn lab_with_traffic(policy: &Policy) -> Lab {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(policy);
    let server = Server::udp_echo(&lab.workload, WORKLOAD.v4, 7);
    assert_udp(&lab.remote, HOST.v4, server.address(), Outcome::Answered);
    assert_udp(&lab.remote, STRANGER.v4, server.address(), Outcome::Silent);
    lab
}

fn echo_policy() -> Policy {
    Policy::new().allow_in("udp 7", "198.51.100.7/32")
}

fn read(lab: &Lab, options: &[&str]) -> String {
    lab.filter_ctl([&["flows"], options].concat()).ok().stdout
}

/// The records with traffic, in a line each.
fn briefs(text: &str) -> Vec<String> {
    let records = Record::parse_all(text);
    let mut briefs: Vec<_> =
        records.iter().filter(|record| record.status == "OK").map(Record::brief).collect();
    briefs.sort();
    briefs
}

const ACCEPTED: [&str; 2] =
    ["10.0.1.20 > 198.51.100.7 proto 17 ACCEPT", "198.51.100.7 > 10.0.1.20 proto 17 ACCEPT"];
const REJECTED: &str = "203.0.113.9 > 10.0.1.20 proto 17 REJECT";

#[test]
fn readers_filter_what_they_print_and_never_what_is_kept() {
    let lab = lab_with_traffic(&echo_policy().log("ALL"));
    let all = [ACCEPTED[0], ACCEPTED[1], REJECTED];
    assert_eq!(briefs(&read(&lab, &["--action", "REJECT"])), [REJECTED]);
    assert_eq!(briefs(&read(&lab, &["--action", "ACCEPT"])), ACCEPTED);
    let first = read(&lab, &[]);
    assert_eq!(briefs(&first), all);
    assert_eq!(read(&lab, &[]), first, "reading changes nothing");
    assert_eq!(briefs(&read(&lab, &["--interface-id", ENI])), all);
    let other = lab.filter_ctl(["flows", "--interface-id", "eni-0ffffffffffffffff"]);
    assert_eq!(other.stdout, "");
    assert!(other.stderr.contains("eni-0ffffffffffffffff"), "{}", other.stderr);
}

#[test]
fn the_default_format_is_version_2_with_a_header_on_request() {
    let lab = lab_with_traffic(&echo_policy().log("ALL"));
    let text = read(&lab, &["--header"]);
    let (header, rest) = text.split_once('\n').expect("a header");
    assert_eq!(
        header,
        "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end \
         action log-status"
    );
    for record in Record::parse_all(rest) {
        assert_eq!((record.interface.as_str(), record.account.as_str()), (ENI, ACCOUNT));
        assert!(record.start <= record.end && record.end - record.start <= 60, "{record:?}");
        if record.status == "OK" {
            assert_eq!((record.packets, record.bytes), (1, 42), "{record}");
            assert!(record.source_port == 7 || record.destination_port == 7, "{record}");
        }
    }
}

#[test]
fn json_lines_have_the_fields_of_the_text_with_numbers_as_numbers() {
    let lab = lab_with_traffic(&echo_policy().log("ALL"));
    let text = Record::parse_all(&read(&lab, &[]));
    let json = read(&lab, &["--output", "json"]);
    let objects: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(objects.len(), text.len());
    for (object, record) in objects.iter().zip(text) {
        assert_eq!(object["interface_id"], record.interface);
        assert_eq!(object["account_id"], ACCOUNT, "twelve digits are a name, not a number");
        assert_eq!(object["log_status"], record.status);
        if record.status != "OK" {
            continue;
        }
        assert_eq!(object["srcaddr"], record.source.expect("an address").to_string());
        assert_eq!(object["dstaddr"], record.destination.expect("an address").to_string());
        assert_eq!(object["action"], record.action);
        for (name, value) in [
            ("version", 2),
            ("srcport", record.source_port.into()),
            ("dstport", record.destination_port.into()),
            ("protocol", record.protocol.into()),
            ("packets", record.packets),
            ("bytes", record.bytes),
            ("start", record.start),
            ("end", record.end),
        ] {
            assert_eq!(object[name], value, "{name} in {object}");
        }
    }
}

#[test]
fn a_flow_is_one_record_per_interval() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(&Policy::new().log("ALL").allow_in("icmp", ANY4));
    // Not across the end of an interval: these are multiples of a minute of the wall's clock.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let second = now.as_secs() % 60;
    if second > 30 {
        advance(&lab, 61 - second);
    }
    assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 3), 3);
    advance(&lab, 60);
    assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 2), 2);
    advance(&lab, 60);
    let records = lab.flows();
    let mut counts: Vec<_> = records
        .iter()
        .filter(|record| record.source == Some(HOST.v4))
        .map(|record| (record.start, record.packets))
        .collect();
    counts.sort_unstable();
    assert_eq!(counts.iter().map(|count| count.1).collect::<Vec<_>>(), [3, 2], "{records:#?}");
    assert_eq!(records.len(), 4, "{records:#?}");
}

#[test]
fn a_second_reader_waits_or_says_that_there_is_another() {
    let lab = lab_with_traffic(&echo_policy().log("ALL"));
    let mut readers: Vec<_> =
        (0..4).map(|_| Background::start(lab.filter_ctl_command().args(["flows"]))).collect();
    for reader in &mut readers {
        let code = reader.exit_code(Duration::from_secs(60));
        assert!(matches!(code, Some(0 | 5)), "{code:?}");
    }
    // Nothing was read twice or lost.
    assert_eq!(briefs(&read(&lab, &[])), [ACCEPTED[0], ACCEPTED[1], REJECTED]);
}

#[test]
fn a_follower_tells_what_comes_and_ends_when_asked() {
    let lab = lab_with_traffic(&echo_policy().log("ALL").allow_in("icmp", ANY4));
    let mut follower = Background::start(lab.filter_ctl_command().args(["flows", "--follow"]));
    advance(&lab, 61);
    let _ = follower.line("203.0.113.9 10.0.1.20", Duration::from_secs(30));
    assert_eq!(tools::ping(&lab.remote, STRANGER.v4, WORKLOAD.v4, 2), 2);
    advance(&lab, 61);
    let line = follower.line("10.0.1.20 203.0.113.9 0 0 1 2 168", Duration::from_secs(30));
    assert!(line.ends_with("ACCEPT OK"), "{line}");
    follower.terminate();
    let code = follower.exit_code(PATIENCE);
    assert!(matches!(code, Some(0) | None), "{code:?}");
    let seen = briefs(&read(&lab, &[]));
    assert!(seen.contains(&REJECTED.to_owned()), "what a follower read is kept: {seen:?}");
}

#[test]
fn detach_hands_over_what_was_counted_first() {
    let lab = lab_with_traffic(&echo_policy().log("ALL"));
    let folder = lab.state_folder();
    lab.detach();
    let output = lab.filter_ctl(["flows"]);
    assert!(Path::new(&folder).exists());
    assert_eq!(briefs(&output.ok().stdout), [ACCEPTED[0], ACCEPTED[1], REJECTED]);
}

#[test]
fn an_interface_without_a_flow_log_says_so() {
    let lab = lab_with_traffic(&echo_policy());
    let output = lab.filter_ctl(["flows"]);
    assert_eq!(output.stdout, "");
    assert!(output.stderr.contains(ENI) && output.stderr.contains("flow log"), "{}", output.stderr);
}

#[test]
fn a_flow_log_that_is_added_or_removed_counts_from_then_on() {
    let mut lab = lab_with_traffic(&echo_policy());
    lab.apply(&echo_policy().log("ALL"));
    let server = Server::udp_echo(&lab.workload, WORKLOAD.v4, 7);
    assert_udp(&lab.remote, STRANGER.v4, server.address(), Outcome::Silent);
    let records = lab.flows();
    assert_eq!(records.iter().map(Record::brief).collect::<Vec<_>>(), [REJECTED]);
    assert_eq!(records[0].packets, 1, "what came before the flow log is not counted: {}", records[0]);
    lab.apply(&echo_policy());
    assert_udp(&lab.remote, STRANGER.v4, server.address(), Outcome::Silent);
    assert_eq!(lab.flows().len(), 1);
}
