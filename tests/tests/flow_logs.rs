//! Flow logs as AWS's objects, with real traffic: fields, formats, intervals, several on one interface.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Shutdown, TcpStream, UdpSocket},
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    lab::{HOST, Hook, Lab, NEIGHBOUR, STRANGER, Side, WORKLOAD, filter_ctl_path},
    matrix,
    policy::{ACCOUNT, ANY4, ENI, NEIGHBOUR_ENI, OTHER_GROUP, Policy},
    process::{Background, finish},
    records::{Record, advance, begin_interval},
    servers::Server,
    tools,
    traffic::{Outcome, PATIENCE, assert_tcp, assert_udp, connect},
};

/// Answered within one interval, whatever the machine does meanwhile.
const LIMIT: Duration = Duration::from_secs(60);

fn flows(lab: &Lab, options: &[&str]) -> Vec<String> {
    let output = lab.filter_ctl([&["flows"], options].concat()).ok().stdout;
    output.lines().map(str::to_owned).collect()
}

fn json(lab: &Lab, options: &[&str]) -> Vec<Value> {
    let lines = flows(lab, &[options, &["--output", "json"]].concat());
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The id of the policy's flow log so many.
fn log(number: usize) -> String {
    format!("fl-0123456789abcde{number:02}")
}

/// A connection of the host to the workload.
struct Session {
    stream: TcpStream,
    _server: Server,
}

impl Session {
    fn open(lab: &Lab) -> Self {
        let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 22);
        let stream = connect(&lab.remote, HOST.v4, server.address(), PATIENCE).expect("connect");
        Self { stream, _server: server }
    }

    fn talk(&mut self) {
        self.stream.write_all(b"hello").expect("send");
        self.stream.read_exact(&mut [0; 5]).expect("an answer");
    }

    /// Closes both directions, and waits until the other end has.
    fn close(mut self) {
        self.stream.shutdown(Shutdown::Write).expect("close");
        assert_eq!(self.stream.read(&mut [0; 8]).expect("the end"), 0);
    }
}

const FLAGS: &str =
    "${version} ${srcport} ${dstport} ${protocol} ${tcp-flags} ${flow-direction} ${action} ${log-status}";

/// A line of [`FLAGS`] with the host's port as `?`.
fn without_port(line: &str) -> String {
    let words = line.split(' ').map(|word| match word.parse::<u32>() {
        Ok(port) if port >= 1024 => "?",
        _ => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The first flow log's lines with traffic.
fn accepted(lab: &Lab) -> Vec<String> {
    let lines = flows(lab, &["--flow-log", &log(0)]);
    lines.iter().filter(|line| line.ends_with("ACCEPT OK")).map(|line| without_port(line)).collect()
}

fn ssh() -> Policy {
    Policy::new().allow_in("tcp 22", "198.51.100.7/32")
}

/// Conformance 35, 49.
fn row_35_a_short_session_is_two_records_with_flags_3_and_19(lab: &mut Lab) {
    lab.attach(&ssh().flow_log(json!({ "LogFormat": FLAGS })));
    begin_interval(lab, 60);
    let mut session = Session::open(lab);
    session.talk();
    session.close();
    let mut lines = accepted(lab);
    lines.sort();
    assert_eq!(lines, ["5 22 ? 6 19 egress ACCEPT OK", "5 ? 22 6 3 ingress ACCEPT OK"]);
}

/// Conformance 36.
fn row_36_a_session_over_three_windows_has_flags_2_and_18_then_0_then_1(lab: &mut Lab) {
    lab.attach(&ssh().flow_log(json!({ "LogFormat": FLAGS })));
    begin_interval(lab, 60);
    let mut session = Session::open(lab);
    session.talk();
    advance(lab, 60);
    session.talk();
    advance(lab, 60);
    session.close();
    let lines = accepted(lab);
    let of = |direction: &str| -> Vec<&str> {
        let lines = lines.iter().filter(|line| line.contains(direction));
        lines.filter_map(|line| line.split(' ').nth(4)).collect()
    };
    assert_eq!(of("ingress"), ["2", "0", "1"], "{lines:#?}");
    assert_eq!(of("egress"), ["18", "0", "1"], "{lines:#?}");
}

/// Conformance 37.
fn row_37_an_idle_interval_is_one_nodata_record(lab: &mut Lab) {
    let policy = Policy::new().allow_in("icmp", "198.51.100.7/32");
    let rejects = json!({ "TrafficType": "REJECT" });
    lab.attach(&policy.flow_log(json!({})).flow_log(rejects));
    begin_interval(lab, 60);
    assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 1), 1);
    advance(lab, 60);
    // Nothing comes in this interval.
    advance(lab, 60);
    assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 1), 1);
    advance(lab, 60);
    for (number, traffic) in [(0, 4), (1, 0)] {
        let lines = flows(lab, &["--flow-log", &log(number)]);
        assert_eq!(lines.iter().filter(|line| line.ends_with("ACCEPT OK")).count(), traffic, "{lines:#?}");
        // The interval in which it was attached, before the clock was moved, was idle, too.
        let idle: Vec<_> = lines.iter().filter(|line| line.ends_with("NODATA")).collect();
        let [_, line] = idle.as_slice() else { panic!("{lines:#?}") };
        let words: Vec<_> = line.split(' ').collect();
        assert_eq!(words[..10], ["2", ACCOUNT, ENI, "-", "-", "-", "-", "-", "-", "-"], "{line}");
        assert_eq!(words[12..], ["-", "NODATA"], "{line}");
        let times = [10, 11].map(|word| words[word].parse::<u64>().expect("a time"));
        assert_eq!((times[0] % 60, times[1]), (0, times[0] + 59), "{line}");
    }
    assert_eq!(flows(lab, &[]).iter().filter(|line| line.ends_with("NODATA")).count(), 2, "kept once");
}

/// Conformance 38.
fn row_38_a_secondary_address_is_shown_in_the_packets_fields_only(lab: &mut Lab) {
    let second = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 21));
    let mut ip = lab.workload.command("ip");
    let _ = finish(ip.args(["address", "add", "10.0.1.21/32", "dev", "eth0"]), LIMIT).ok();
    let addresses = json!([
        { "Primary": true, "PrivateIpAddress": "10.0.1.20" },
        { "Primary": false, "PrivateIpAddress": "10.0.1.21" },
    ]);
    let format = "${srcaddr} ${dstaddr} ${pkt-srcaddr} ${pkt-dstaddr} ${flow-direction} ${packets} ${bytes}";
    let policy = Policy::new().allow_in("icmp", ANY4).interface_field("PrivateIpAddresses", addresses);
    lab.attach(&policy.flow_log(json!({ "LogFormat": format })));
    begin_interval(lab, 60);
    assert_eq!(tools::ping(&lab.remote, HOST.v4, second, 4), 4);
    let mut lines = flows(lab, &["--flow-log", &log(0)]);
    lines.sort();
    let expected = [
        "10.0.1.20 198.51.100.7 10.0.1.21 198.51.100.7 egress 4 336",
        "198.51.100.7 10.0.1.20 198.51.100.7 10.0.1.21 ingress 4 336",
    ];
    assert_eq!(lines.split_off(lines.len() - 2), expected);
}

/// Conformance 49.
fn row_49_the_format_decides_fields_order_and_version(lab: &mut Lab) {
    let fields = [
        ("AvailabilityZone", json!("eu-west-1b")),
        ("AvailabilityZoneId", json!("euw1-az2")),
        ("Attachment", json!({ "InstanceId": "i-0123456789abcdef0" })),
        ("TagSet", json!([{ "Key": "team", "Value": "core net" }])),
    ];
    let policy = Policy::new().allow_in("icmp", ANY4);
    let policy = fields.into_iter().fold(policy, |policy, (name, value)| policy.interface_field(name, value));
    let first = "${action} ${version} ${flow-direction} ${type} ${traffic-path}";
    let second = "${version} ${region} ${az-id} ${instance-id} ${interface-tag} ${interface-tag-2} \
                  ${instance-tag} ${encryption-status} ${reject-reason} ${ecs-task-id} ${protocol} ${tcp-flags}";
    let tags = json!([
        { "ResourceType": "network-interface", "TagKeys": ["team", "cost"] },
        { "ResourceType": "instance", "TagKeys": ["team"] },
    ]);
    let policy = policy
        .flow_log(json!({ "LogFormat": first }))
        .flow_log(json!({ "LogFormat": second, "TagFieldSpecifications": tags }));
    lab.attach(&policy);
    begin_interval(lab, 60);
    assert_eq!(tools::ping(&lab.remote, NEIGHBOUR.v4, WORKLOAD.v4, 1), 1);
    assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 1), 1);
    let ok = |lines: Vec<String>| -> Vec<String> {
        let mut lines: Vec<_> = lines.into_iter().filter(|line| !line.starts_with('-')).collect();
        lines.sort();
        lines.dedup();
        lines
    };
    let expected = ["ACCEPT 5 egress IPv4 -", "ACCEPT 5 egress IPv4 1", "ACCEPT 5 ingress IPv4 -"];
    assert_eq!(ok(flows(lab, &["--flow-log", &log(0)])), expected, "path 1 is to the same VPC");
    let with_header = flows(lab, &["--flow-log", &log(1), "--header"]);
    assert!(
        with_header[0].starts_with("version region az-id instance-id interface-tag "),
        "{}",
        with_header[0]
    );
    let line = "11 eu-west-1 euw1-az2 i-0123456789abcdef0 core%20net - - - - - 1 0";
    assert!(with_header.iter().any(|one| one == line), "{with_header:#?}");
}

/// Conformance 5.1-a: Flow logs on one interface each have records of their own, of their traffic type, in their interval
/// and format.
/// Source: VPC guide `working-with-flow-logs`.
/// Enforced: `filter-ctl/src/flowlog/subscription.rs` (`accept`, `wants`); `filter-ctl/src/flowlog/window.rs` (`add`).
fn several_flow_logs_have_records_of_their_own(lab: &mut Lab) {
    let policy = Policy::new().allow_in("udp 7", "198.51.100.7/32");
    let rejects = json!({
        "TrafficType": "REJECT", "MaxAggregationInterval": 600,
        "LogFormat": "${srcaddr} ${packets} ${bytes} ${filter-reason}",
    });
    let all = json!({ "LogFormat": "${srcaddr} ${packets} ${action}" });
    let server = Server::udp_echo(&lab.workload, WORKLOAD.v4, 7);
    let attached = lab.attach(&policy.flow_log(all).flow_log(rejects));
    assert!(attached.stdout.contains(&format!("{}: rejected traffic", log(1))), "{}", attached.stdout);
    begin_interval(lab, 600);
    // An unconnected socket keeps its port: one flow.
    let stranger = stranger(lab);
    for minute in 0..3 {
        let _ = stranger.send_to(b"refused", server.address()).expect("send");
        assert_udp(&lab.remote, HOST.v4, server.address(), Outcome::Answered);
        if minute < 2 {
            advance(lab, 60);
        }
    }
    // What a reader asks for in between changes no log's records.
    let _ = flows(lab, &[]);
    assert_eq!(with_traffic(lab, 1), ["203.0.113.9 3 105 security-group"]);
    let lines = with_traffic(lab, 0);
    let count = |what: &str| lines.iter().filter(|line| line.as_str() == what).count();
    assert_eq!(count("203.0.113.9 1 REJECT"), 3, "{lines:#?}");
    assert_eq!(count("198.51.100.7 1 ACCEPT"), 3, "{lines:#?}");
    // Their sums are those of the kernel's records.
    let packets = |options: &[&str]| -> u64 {
        json(lab, options).iter().filter_map(|one| one["packets"].as_u64()).sum()
    };
    assert_eq!((packets(&["--flow-log", &log(0)]), packets(&[])), (9, 9));
}

/// Conformance 5.1-b: A flow log collects nothing from before it was made, and no more when it is deleted.
/// Source: VPC guide `working-with-flow-logs`.
/// Enforced: `filter-ctl/src/flowlog/subscription.rs` (`began_before`, `learn`); `filter-ctl/src/state.rs` (`renewed`).
fn a_flow_log_comes_and_goes_with_apply(lab: &mut Lab) {
    let all = Policy::new().allow_in("icmp", ANY4).flow_log(json!({}));
    let both = all.clone().flow_log(json!({ "LogFormat": "${srcaddr} ${packets}" }));
    let server = Server::udp_echo(&lab.workload, WORKLOAD.v4, 7);
    lab.attach(&all);
    let before = stranger(lab);
    let _ = before.send_to(b"refused", server.address()).expect("send");
    let applied = lab.apply(&both).stdout;
    assert!(
        applied.contains("unchanged") && applied.contains(&format!("+ flow log {}", log(1))),
        "{applied}"
    );
    assert_eq!(with_traffic(lab, 1), [""; 0], "nothing of what came before");
    advance(lab, 60);
    let _ = before.send_to(b"refused", server.address()).expect("send");
    assert_eq!(with_traffic(lab, 1), ["203.0.113.9 1"]);
    assert_eq!(with_traffic(lab, 0).len(), 2);
    let applied = lab.apply(&all).stdout;
    assert!(
        applied.contains("unchanged") && applied.contains(&format!("- flow log {}", log(1))),
        "{applied}"
    );
    let gone = lab.filter_ctl(["flows", "--flow-log", &log(1)]);
    assert!(gone.code == 4 && gone.stderr.contains(&log(0)), "{} {}", gone.code, gone.stderr);
}

fn stranger(lab: &Lab) -> UdpSocket {
    lab.remote.run(|| UdpSocket::bind((STRANGER.v4, 5000))).expect("bind")
}

/// The lines of the flow log so many that tell of flows.
fn with_traffic(lab: &Lab, number: usize) -> Vec<String> {
    flows(lab, &["--flow-log", &log(number), "--protocol", "udp"])
}

/// A follower of a flow log tells an interval when it is over, silence too, until the log is removed.
fn a_follower_of_a_flow_log_tells_its_intervals(lab: &mut Lab) {
    let policy = Policy::new().allow_in("icmp", "198.51.100.7/32");
    let format = "${srcaddr} ${packets} ${action} ${log-status}";
    let logged = policy.clone().flow_log(json!({ "LogFormat": format }));
    lab.attach(&logged.clone().log("ALL"));
    begin_interval(lab, 60);
    let id = log(0);
    let mut follower =
        Background::start(lab.filter_ctl_command().args(["flows", "--follow", "--flow-log", &id]));
    // It reads from now on what it has told.
    let _ = follower.line("- - - NODATA", PATIENCE);
    assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 2), 2);
    advance(lab, 60);
    let _ = follower.line("198.51.100.7 2 ACCEPT OK", PATIENCE);
    advance(lab, 60);
    let _ = follower.line("- - - NODATA", PATIENCE);
    // Removed in the middle of an interval: what it has is told.
    assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 3), 3);
    advance(lab, 60);
    let _ = follower.line("198.51.100.7 3 ACCEPT OK", PATIENCE);
    follower.terminate();
    assert!(matches!(follower.exit_code(PATIENCE), Some(0) | None));
}

/// Filters, a format of one's own and a summary answer why something does not connect.
fn filters_and_a_summary_find_what_does_not_connect(lab: &mut Lab) {
    let policy = Policy::new().allow_in("udp 7", ANY4).acl_in(90, "deny", "tcp 23", ANY4).log("ALL");
    lab.attach(&policy);
    let server = Server::udp_echo(&lab.workload, WORKLOAD.v4, 7);
    assert_udp(&lab.remote, HOST.v4, server.address(), Outcome::Answered);
    for port in [23, 3389] {
        assert_tcp(&lab.remote, STRANGER.v4, (WORKLOAD.v4, port).into(), Outcome::Silent);
    }
    let format = "${srcaddr} ${dstport} ${action} ${filter-reason} ${filter-nacl-rule}";
    let find = |options: &[&str]| {
        let mut lines = flows(lab, &[&["--format", format], options].concat());
        lines.sort();
        lines
    };
    let telnet = "203.0.113.9 23 REJECT network-acl 90";
    let desktop = "203.0.113.9 3389 REJECT security-group 30000";
    assert_eq!(find(&["--address", "203.0.113.0/24"]), [telnet, desktop]);
    assert_eq!(find(&["--action", "reject", "--port", "1-1023"]), [telnet]);
    assert_eq!(find(&["--rule", "90"]), [telnet]);
    assert_eq!(find(&["--protocol", "udp"]).len(), 2);
    assert_eq!(find(&["--protocol", "tcp", "--direction", "egress"]), [""; 0]);
    assert_eq!(find(&["--until", "1h"]), [""; 0]);
    assert_eq!(find(&["--since", "1h", "--port", "3389"]), [desktop]);
    assert_eq!(
        flows(lab, &["--format", format, "--header"])[0],
        "srcaddr dstport action filter-reason filter-nacl-rule"
    );

    let summary = lab.filter_ctl(["flows", "summary", "--output", "json"]).ok().json();
    let rejected = summary["rejected"].as_array().expect("a list");
    let ports: Vec<_> =
        rejected.iter().map(|one| (one["port"].as_u64(), one["rule_number"].as_u64())).collect();
    assert_eq!(ports, [(Some(23), Some(90)), (Some(3389), Some(30_000))]);
    assert_eq!(summary["talkers"][0]["remote"], HOST.v4.to_string());
    assert_eq!(summary["accepted"]["packets"], json!({ "ingress": 1, "egress": 1 }));
    let text = lab.filter_ctl(["flows", "summary", "--address", "203.0.113.9"]).ok().stdout;
    assert!(text.contains("top rejected") && !text.contains("top talkers"), "{text}");
}

/// Conformance 13.
#[test]
fn row_13_both_members_of_the_default_group_log_accept() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(&Policy::new().in_default_group().log_subnet("ALL"));
    attach_neighbour(&mut lab, &Policy::new().in_default_group().log_subnet("ALL"));
    let there = Server::tcp_echo(&lab.remote, NEIGHBOUR.v4, 50_000);
    assert_tcp(&lab.workload, WORKLOAD.v4, there.address(), Outcome::Answered);
    let records = lab.flows();
    for interface in [ENI, NEIGHBOUR_ENI] {
        let mut told = briefs(&records, interface);
        told.dedup();
        let expected = ["10.0.1.20 > 10.0.1.30 proto 6 ACCEPT", "10.0.1.30 > 10.0.1.20 proto 6 ACCEPT"];
        assert_eq!(told, expected, "{interface}");
    }
}

/// Conformance 5.8-a: Traffic between two interfaces is logged on both: what the receiver's groups refuse is ACCEPT at the
/// sender and REJECT at the receiver.
/// Source: VPC guide `flow-logs-records-examples`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`denied`).
#[test]
fn what_the_receiver_refuses_is_accepted_at_the_sender() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let policy = Policy::new().allow_out("-1", ANY4).neighbour_in(&[OTHER_GROUP]).log_subnet("ALL");
    lab.attach(&policy);
    attach_neighbour(&mut lab, &policy);
    let there = Server::tcp_echo(&lab.remote, NEIGHBOUR.v4, 50_000);
    assert_tcp(&lab.workload, WORKLOAD.v4, there.address(), Outcome::Silent);
    let records = lab.flows();
    assert_eq!(briefs(&records, ENI), ["10.0.1.20 > 10.0.1.30 proto 6 ACCEPT"]);
    assert_eq!(briefs(&records, NEIGHBOUR_ENI), ["10.0.1.20 > 10.0.1.30 proto 6 REJECT"]);
}

/// Attaches the other end of the link as the neighbour's own device.
fn attach_neighbour(lab: &mut Lab, policy: &Policy) {
    let document = lab.write(policy);
    let mut command = lab.with_environment(lab.remote.command(filter_ctl_path()));
    command.args(["attach", "veth0", "--interface-id", NEIGHBOUR_ENI, "--policy"]).arg(document);
    let _ = finish(&mut command, LIMIT).ok();
}

/// What an interface's records say, each once for every record.
fn briefs(records: &[Record], interface: &str) -> Vec<String> {
    let mut briefs: Vec<_> =
        records.iter().filter(|record| record.interface == interface).map(Record::brief).collect();
    briefs.sort();
    briefs
}

matrix!(sides:
    row_35_a_short_session_is_two_records_with_flags_3_and_19,
    row_36_a_session_over_three_windows_has_flags_2_and_18_then_0_then_1,
    row_37_an_idle_interval_is_one_nodata_record,
    row_38_a_secondary_address_is_shown_in_the_packets_fields_only,
    row_49_the_format_decides_fields_order_and_version,
    several_flow_logs_have_records_of_their_own,
    a_flow_log_comes_and_goes_with_apply,
    a_follower_of_a_flow_log_tells_its_intervals,
    filters_and_a_summary_find_what_does_not_connect,
);
