//! Hit counters: which rule decided about how many packets, over live changes of the rules.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use serde_json::Value;
use tests::{
    eventually::eventually,
    lab::{HOST, Hook, Lab, STRANGER, Side, WORKLOAD},
    policy::{ENI, Policy},
    process::{Background, signal},
    records::advance,
    servers::Server,
    traffic::{self, Outcome, PATIENCE, assert_udp},
};

const HOST_RULE: &str = "198.51.100.7/32";

/// SSH is never asked for.
fn policy() -> Policy {
    Policy::new()
        .log("ALL")
        .allow_in("udp 7", HOST_RULE)
        .allow_in("icmp 8", HOST_RULE)
        .allow_in("tcp 22", HOST_RULE)
        .allow_in("tcp 7000", HOST_RULE)
        .acl_in(50, "deny", "udp 9", "0.0.0.0/0")
}

/// What `status --rules` tells of the only attached interface.
struct Counted(Value);

impl Counted {
    fn of(lab: &Lab) -> Self {
        let output = lab.filter_ctl(["status", "--rules", "--output", "json"]).ok();
        let status: Value = serde_json::from_str(&output.stdout).expect("JSON");
        assert_eq!(status["interfaces"].as_array().map(Vec::len), Some(1));
        Self(status["interfaces"][0].clone())
    }

    fn rows(&self, layer: &str) -> &[Value] {
        self.0[layer].as_array().expect("rows")
    }

    /// The row of a group's rule by its service, or of what is no rule by its word.
    fn group(&self, name: &str) -> &Value {
        let is_meant =
            |row: &&Value| row["service"] == name || row["service"].is_null() && row["decision"] == name;
        self.rows("security_groups")
            .iter()
            .find(is_meant)
            .unwrap_or_else(|| panic!("no {name}: {:#}", self.0))
    }

    /// Its packets: ingress, egress.
    fn packets(&self, name: &str) -> [u64; 2] {
        let packets = &self.group(name)["packets"];
        ["ingress", "egress"].map(|direction| packets[direction].as_u64().expect("a number"))
    }

    /// Packets of the network ACL's rule in a direction.
    fn acl(&self, number: u32, direction: &str) -> u64 {
        let rows = self.rows("network_acl").iter();
        let meant = rows.filter(|row| row["rule_number"] == number && row["direction"] == direction);
        meant.map(|row| row["packets"].as_u64().expect("a number")).sum()
    }

    /// Packets of all rows of a layer, by direction.
    fn sums(&self, layer: &str) -> [u64; 2] {
        ["ingress", "egress"].map(|direction| {
            let count = |row: &Value| match &row["packets"] {
                Value::Object(packets) => packets[direction].as_u64(),
                packets => packets.as_u64().filter(|_| row["direction"] == direction),
            };
            self.rows(layer).iter().filter_map(count).sum()
        })
    }
}

/// Packets of all records of the flow log, by direction.
fn recorded(lab: &Lab) -> [u64; 2] {
    let output = lab.filter_ctl(["flows", "--output", "json"]).ok();
    let records: Vec<Value> =
        output.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    ["ingress", "egress"].map(|direction| {
        let meant = records.iter().filter(|record| record["flow_direction"] == direction);
        meant.filter_map(|record| record["packets"].as_u64()).sum()
    })
}

/// Packets that were judged, by direction.
fn judged(lab: &Lab) -> [u64; 2] {
    let output = lab.filter_ctl(["status", "--output", "json"]).ok();
    let status: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let reasons = status["interfaces"][0]["reasons"].as_array().expect("reasons").clone();
    ["ingress", "egress"].map(|direction| {
        let judged = |reason: &&Value| matches!(reason["verdict"].as_str(), Some("accepted" | "rejected"));
        reasons.iter().filter(judged).filter_map(|reason| reason["packets"][direction].as_u64()).sum()
    })
}

/// The law, for rules: the sums of both layers, of the records, and of the kernel's counters.
#[track_caller]
fn assert_conserved(lab: &Lab) {
    let counted = Counted::of(lab);
    let expected = judged(lab);
    assert_eq!(counted.sums("security_groups"), expected, "{:#}", counted.0);
    assert_eq!(counted.sums("network_acl"), expected, "{:#}", counted.0);
    assert_eq!(recorded(lab), expected);
}

fn echoes(stream: &mut TcpStream) {
    let mut answer = [0; 6];
    stream.write_all(b"hello\n").and_then(|()| stream.read_exact(&mut answer)).expect("an echo");
}

#[test]
fn counters_are_what_was_sent_and_survive_updates() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(&policy());
    let [echo, discard] = [7, 9].map(|port| Server::udp_echo(&lab.workload, WORKLOAD.v4, port));
    let stream = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 7000);
    let send = |lab: &Lab| {
        for _ in 0..5 {
            assert_udp(&lab.remote, HOST.v4, echo.address(), Outcome::Answered);
        }
        assert_eq!(traffic::echo(&lab.remote, HOST.v4, WORKLOAD.v4, 3), 3);
        assert_udp(&lab.remote, STRANGER.v4, echo.address(), Outcome::Silent);
        assert_udp(&lab.remote, HOST.v4, discard.address(), Outcome::Silent);
    };
    send(&lab);
    let mut connection = traffic::connect(&lab.remote, HOST.v4, stream.address(), PATIENCE).expect("connect");
    echoes(&mut connection);

    let counted = Counted::of(&lab);
    assert_eq!(counted.packets("udp 7"), [5, 5]);
    assert_eq!(counted.packets("icmp type 8"), [3, 3]);
    assert_eq!(counted.packets("no-rule"), [1, 0]);
    assert_eq!(counted.packets("not-asked"), [1, 0], "what the network ACL denied");
    assert_eq!(counted.acl(50, "ingress"), 1);
    let never = counted.group("tcp 22");
    assert_eq!((counted.packets("tcp 22"), &never["last_hit"]), ([0, 0], &Value::Null));
    let before = counted.packets("tcp 7000");
    let id = counted.group("tcp 7000")["rule_id"].clone();
    assert!(before[0] >= 3 && before[1] >= 2, "{before:?}");
    assert_conserved(&lab);

    // Pings stay, the echo's rule moves to the end, the stream's rule goes, the network ACL changes.
    lab.apply(
        &Policy::new()
            .log("ALL")
            .allow_in("tcp 443", HOST_RULE)
            .allow_in("icmp 8", HOST_RULE)
            .allow_in("tcp 22", HOST_RULE)
            .allow_in("udp 7", HOST_RULE)
            .acl_in(40, "deny", "udp 9", "0.0.0.0/0"),
    );
    send(&lab);
    echoes(&mut connection);
    let counted = Counted::of(&lab);
    assert_eq!(counted.packets("udp 7"), [10, 10]);
    assert_eq!(counted.packets("icmp type 8"), [6, 6]);
    assert_eq!(counted.packets("no-rule"), [2, 0]);
    assert_eq!((counted.acl(50, "ingress"), counted.acl(40, "ingress")), (1, 1));
    assert_eq!(counted.packets("tcp 443"), [0, 0]);
    // The connection that the removed rule admitted goes on, and is still that rule's.
    let removed = counted.group("removed-rule");
    assert_eq!(removed["rule_id"], id);
    assert!(removed["packets"]["ingress"].as_u64() > Some(before[0]), "{removed:#}");
    assert_conserved(&lab);

    // In a table, for people.
    let table = lab.filter_ctl(["status", "--rules"]).ok().stdout;
    let line =
        |what: &str| table.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{table}"));
    assert!(line("tcp 22").contains("never") && line("udp 7").contains(" ago"), "{table}");
    assert!(line(id.as_str().expect("an id")).contains("not in the policy any more"), "{table}");

    // An apply that changes nothing changes nothing here, either.
    let again = lab.filter_ctl(["status", "--rules", "--output", "json"]).ok().stdout;
    assert_eq!(lab.filter_ctl(["status", "--rules", "--output", "json"]).ok().stdout, again);
}

#[test]
fn a_live_change_of_the_rules_divides_a_flow_between_the_rules_that_judged_it() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    let denying = |number| Policy::new().log("ALL").acl_in(number, "deny", "-1", "198.51.100.0/24");
    lab.attach(&denying(10));
    // One flow, whose packets are refused all the time.
    let socket = lab.remote.run(|| std::net::UdpSocket::bind((HOST.v4, 5000)).expect("bind"));
    let send = |count| (0..count).for_each(|_| assert!(socket.send_to(b"hello", (WORKLOAD.v4, 7)).is_ok()));
    send(3);
    lab.apply(&denying(20));
    send(4);
    lab.apply(&denying(30));
    send(5);
    // The packets cross one machine without a queue: they were judged when `send` returned.
    let counted = Counted::of(&lab);
    assert_eq!([10, 20, 30].map(|number| counted.acl(number, "ingress")), [3, 4, 5], "{:#}", counted.0);
    assert_conserved(&lab);
}

#[test]
fn records_tell_the_rule() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(&policy());
    let [echo, discard] = [7, 9].map(|port| Server::udp_echo(&lab.workload, WORKLOAD.v4, port));
    assert_udp(&lab.remote, HOST.v4, echo.address(), Outcome::Answered);
    assert_udp(&lab.remote, STRANGER.v4, echo.address(), Outcome::Silent);
    assert_udp(&lab.remote, HOST.v4, discard.address(), Outcome::Silent);
    let id = Counted::of(&lab).group("udp 7")["rule_id"].clone();
    let output = lab.filter_ctl(["flows", "--output", "json"]).ok().stdout;
    let mut told: Vec<_> = output
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        // An interval may have ended before the traffic came.
        .filter(|record| record["log_status"] == "OK")
        .map(|record| {
            let field = |name: &str| record[name].clone();
            (field("filter_reason").to_string(), field("filter_nacl_rule"), field("filter_sg_rule"))
        })
        .collect();
    told.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        ("connection", 30_000, id.clone()),
        ("network-acl", 50, Value::Null),
        ("new-connection", 30_000, id),
        ("security-group", 30_000, Value::Null),
    ];
    let expected =
        expected.map(|(reason, number, rule)| (format!("\"{reason}\""), Value::from(number), rule));
    assert_eq!(told, expected);
}

#[test]
fn counters_begin_with_the_attachment() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(&policy());
    let echo = Server::udp_echo(&lab.workload, WORKLOAD.v4, 7);
    assert_udp(&lab.remote, HOST.v4, echo.address(), Outcome::Answered);
    assert_eq!(Counted::of(&lab).packets("udp 7"), [1, 1]);
    assert_udp(&lab.remote, HOST.v4, echo.address(), Outcome::Answered);
    lab.detach();
    assert!(std::fs::read_dir(lab.state_folder().join("rules")).expect("a folder").next().is_none());
    lab.attach(&policy());
    assert_eq!(Counted::of(&lab).packets("udp 7"), [0, 0]);
    assert_udp(&lab.remote, HOST.v4, echo.address(), Outcome::Answered);
    assert_eq!(Counted::of(&lab).packets("udp 7"), [1, 1]);
}

#[test]
fn an_interface_that_is_not_logged_says_that_nothing_counts() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(&Policy::new().allow_in("udp 7", HOST_RULE));
    let told = lab.filter_ctl(["status", "--rules"]).ok().stdout;
    assert!(told.contains(ENI) && told.contains("nothing is counted by rule"), "{told}");
    assert!(told.contains("attach it with --log"), "{told}");
}

#[test]
fn a_follower_counts_and_others_see_it() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(&policy());
    let echo = Server::udp_echo(&lab.workload, WORKLOAD.v4, 7);
    let mut follower = Background::start(lab.filter_ctl_command().args(["flows", "--follow"]));
    assert_udp(&lab.remote, STRANGER.v4, echo.address(), Outcome::Silent);
    advance(&lab, 61);
    let _ = follower.line("203.0.113.9 10.0.1.20", Duration::from_secs(30));
    // It writes its counters down with its next sweep.
    eventually("the counters", PATIENCE, || (Counted::of(&lab).packets("no-rule") == [1, 0]).then_some(()));
    follower.terminate();
    let _ = follower.exit_code(PATIENCE);
    assert_conserved(&lab);
}

#[test]
fn counters_are_the_sums_over_records_however_often_a_reader_is_killed() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    lab.attach(&policy());
    let socket = lab.remote.run(|| std::net::UdpSocket::bind((STRANGER.v4, 0)).expect("bind"));
    for round in 0..20_u64 {
        // Flows of their own, so that each is a record.
        for port in 0..400_u16 {
            assert!(socket.send_to(b"x", (WORKLOAD.v4, 1000 + port)).is_ok());
        }
        let mut reader = Background::start(lab.filter_ctl_command().args(["flows"]));
        // No event to await: the reader is to die at another moment of its work in each round.
        thread::sleep(Duration::from_millis(5 * round));
        let _ = signal(reader.id(), libc::SIGKILL);
        let _ = reader.exit_code(PATIENCE);
    }
    let recorded = recorded(&lab);
    let counted = Counted::of(&lab);
    assert_eq!(counted.sums("security_groups"), recorded, "{:#}", counted.0);
    assert_eq!(counted.sums("network_acl"), recorded);
    // A killed reader keeps a record twice at worst, and loses none.
    let sent = judged(&lab)[0];
    assert!((sent..=sent + 20).contains(&recorded[0]), "{recorded:?} of {sent}");
}
