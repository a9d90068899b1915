//! AWS's behaviours with real traffic, several in one lab: the rules change under way.
//!
//! Every test is named after the rows that it walks through. The exact edges (a second before a
//! timeout, every field of a tuple) are those of the suite `verdicts`; here kernels speak to each other.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

use serde_json::json;
use tests::{
    lab::{Ends, HOST, Lab, NEIGHBOUR, ROUTER, STRANGER, WORKLOAD},
    matrix,
    policy::{ANY4, ANY6, GROUP, OTHER_GROUP, PREFIX_LIST, Policy},
    process::finish,
    records::{Record, Sum, advance, assert_sum, list, sum},
    servers::Server,
    tools,
    traffic::{Outcome, PATIENCE, SILENCE, arrivals, assert_tcp, assert_udp, connect, echo},
};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;

const HOST_RULE: &str = "198.51.100.7/32";

/// One host's answer to TCP on a port of the workload.
fn tcp(lab: &Lab, host: Ends, server: &Server, expected: Outcome) {
    assert_tcp(&lab.remote, host.like(server.address().ip()), server.address(), expected);
}

/// Packets of one protocol from one address to another, by action.
fn packets(records: &[Record], from: IpAddr, to: IpAddr, protocol: u8, action: &str) -> u64 {
    sum(records, from, to, protocol, action).packets
}

/// Asserts what the flow log says of a flow: accepted or rejected, and nothing else.
#[track_caller]
fn assert_action(records: &[Record], from: IpAddr, to: IpAddr, protocol: u8, action: &str) {
    let other = if action == "ACCEPT" { "REJECT" } else { "ACCEPT" };
    let found = [action, other].map(|action| packets(records, from, to, protocol, action));
    assert!(found[0] > 0 && found[1] == 0, "{from} > {to}, {action}: {found:?} in\n{}", list(records));
}

/// Conformance 2, 5, 6, 7, 8, 9, 10.
fn rows_2_and_5_to_10_what_groups_let_pass(lab: &mut Lab) {
    let ports = [22, 80, 443, 6999, 7000, 8000, 8001];
    let servers = ports.map(|port| Server::tcp_echo(&lab.workload, WORKLOAD.v4, port));
    let outside = Server::tcp_echo(&lab.remote, HOST.v4, 443);

    // 2: a new group.
    lab.attach(&Policy::new().default_egress().log("ALL"));
    assert_tcp(&lab.workload, WORKLOAD.v4, outside.address(), Outcome::Answered);
    let records = lab.new_flows();
    assert_action(&records, WORKLOAD.v4, HOST.v4, TCP, "ACCEPT");
    assert_action(&records, HOST.v4, WORKLOAD.v4, TCP, "ACCEPT");

    // 5 and 6: one group allows 22 and a range, another one 80.
    let policy = Policy::new().allow_in("tcp 22", HOST_RULE).allow_in("tcp 7000-8000", HOST_RULE);
    lab.apply(&policy.other_group_allows_in("tcp 80", HOST_RULE).log("ALL"));
    for (port, server) in ports.iter().zip(&servers) {
        let allowed = [22, 80, 7000, 8000].contains(port);
        tcp(lab, HOST, server, if allowed { Outcome::Answered } else { Outcome::Silent });
    }

    // 7 and 8: types and codes. 9: a protocol without ports.
    let policy = Policy::new().allow_in("icmp 8", HOST_RULE).allow_in("icmp 3/4", HOST_RULE);
    lab.apply(&policy.allow_in("47 1000-2000", HOST_RULE).log("ALL"));
    let message = |kind: u8, code: u8| [kind, code, 0, 0, 0x5e, kind, 0, code];
    let messages = [message(8, 0), message(8, 9), message(3, 4), message(13, 0), message(3, 1)];
    let messages: Vec<&[u8]> = messages.iter().map(|one| &one[..]).collect();
    let to = (&lab.workload, WORKLOAD.v4);
    let arrived = arrivals((&lab.remote, HOST.v4), to, ICMP, &messages);
    assert_eq!(arrived, [true, true, true, false, false]);
    assert_eq!(arrivals((&lab.remote, HOST.v4), to, GRE, &[b"\0\0\x08\0host"]), [true]);
    assert_eq!(arrivals((&lab.remote, STRANGER.v4), to, GRE, &[b"\0\0\x08\0stranger"]), [false]);

    // 10: all of IPv4 is nothing of IPv6.
    lab.apply(&Policy::new().allow_in("-1", ANY4).log("ALL"));
    let v6 = Server::tcp_echo(&lab.workload, WORKLOAD.v6, 80);
    tcp(lab, HOST, &servers[2], Outcome::Answered);
    tcp(lab, HOST, &v6, Outcome::Silent);
    assert_action(&lab.new_flows(), HOST.v6, WORKLOAD.v6, TCP, "REJECT");
}

/// Conformance 11, 12, 13, 14, 1.1-a, 1.4-a, 1.5-a.
fn rows_11_to_14_groups_and_lists_as_sources(lab: &mut Lab) {
    let web = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    let web_v6 = Server::tcp_echo(&lab.workload, WORKLOAD.v6, 80);

    // 11 and 12: a group, its member, and who is none any more.
    let policy = Policy::new().allow_in("tcp 80", OTHER_GROUP).log("ALL");
    lab.attach(&policy);
    for server in [&web, &web_v6] {
        tcp(lab, NEIGHBOUR, server, Outcome::Answered);
        tcp(lab, HOST, server, Outcome::Silent);
    }
    lab.apply(&policy.clone().neighbour_in(&[GROUP]));
    tcp(lab, NEIGHBOUR, &web, Outcome::Silent);
    lab.apply(&policy.neighbour_in(&[GROUP, OTHER_GROUP]));
    tcp(lab, NEIGHBOUR, &web_v6, Outcome::Answered);

    // 13: the default group, whatever the port and whoever begins.
    lab.apply(&Policy::new().in_default_group().log("ALL"));
    let _ = lab.new_flows();
    for port in [22, 50_000] {
        let there = Server::tcp_echo(&lab.remote, NEIGHBOUR.v4, port);
        assert_tcp(&lab.workload, WORKLOAD.v4, there.address(), Outcome::Answered);
        let here = Server::udp_echo(&lab.workload, WORKLOAD.v4, port);
        assert_udp(&lab.remote, NEIGHBOUR.v4, here.address(), Outcome::Answered);
    }
    tcp(lab, HOST, &web, Outcome::Silent);
    let records = lab.new_flows();
    for protocol in [TCP, UDP] {
        assert_action(&records, WORKLOAD.v4, NEIGHBOUR.v4, protocol, "ACCEPT");
        assert_action(&records, NEIGHBOUR.v4, WORKLOAD.v4, protocol, "ACCEPT");
    }
    // In one group, but of no rule.
    lab.apply(&Policy::new().neighbour_in(&[GROUP]));
    tcp(lab, NEIGHBOUR, &web, Outcome::Silent);

    // 14: a prefix list with and without its entry; groups and lists as destinations.
    let policy = Policy::new()
        .allow_in("tcp 80", PREFIX_LIST)
        .allow_out("tcp 81", PREFIX_LIST)
        .allow_out("tcp 81", OTHER_GROUP)
        .prefix_list_entry("192.0.2.0/24");
    lab.apply(&policy.clone().prefix_list_entry(HOST_RULE));
    let outside = [HOST, NEIGHBOUR, STRANGER].map(|host| Server::tcp_echo(&lab.remote, host.v4, 81));
    tcp(lab, HOST, &web, Outcome::Answered);
    for (server, expected) in outside.iter().zip([Outcome::Answered, Outcome::Answered, Outcome::Silent]) {
        assert_tcp(&lab.workload, WORKLOAD.v4, server.address(), expected);
    }
    lab.apply(&policy);
    tcp(lab, HOST, &web, Outcome::Silent);
}

/// A question over UDP and who can answer it.
struct Asked {
    asker: UdpSocket,
    server: UdpSocket,
    from: SocketAddr,
}

impl Asked {
    fn new(lab: &Lab, port: u16) -> Self {
        let server = lab.remote.run(|| UdpSocket::bind((HOST.v4, port))).expect("bind");
        let asker = lab.workload.run(|| UdpSocket::bind((WORKLOAD.v4, 0))).expect("bind");
        let from = asker.local_addr().expect("an address");
        let asked = Self { asker, server, from };
        asked.ask();
        asked
    }

    fn ask(&self) {
        let to = self.server.local_addr().expect("an address");
        let _ = self.asker.send_to(b"?", to).expect("ask");
        self.server.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        let _ = self.server.recv(&mut [0; 8]).expect("the question passes");
    }

    /// Whether an answer comes through.
    fn answered(&self, patience: Duration) -> bool {
        // What the filter drops on this host's own way out, the sender is told.
        let _ = self.server.send_to(b"!", self.from);
        self.asker.set_read_timeout(Some(patience)).expect("set a timeout");
        self.asker.recv(&mut [0; 8]).is_ok()
    }
}

/// A connection that the workload has opened, and its other end.
fn connected(lab: &Lab) -> (TcpStream, TcpStream) {
    let listener = lab.remote.run(|| TcpListener::bind((HOST.v4, 8080))).expect("listen");
    let here = connect(&lab.workload, WORKLOAD.v4, listener.local_addr().expect("an address"), PATIENCE);
    (here.expect("connect"), listener.accept().expect("accept").0)
}

/// Conformance 17, 18, 19, 20, 21, 22, 23.
fn rows_17_to_23_what_is_tracked_and_for_how_long(lab: &mut Lab) {
    let web = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    let open = Policy::new().allow_in("tcp 80", ANY4).allow_in("icmp", ANY4).allow_out("-1", ANY4);
    // 17: rules for everywhere, both ways.
    lab.attach(&open);
    tcp(lab, HOST, &web, Outcome::Answered);
    let connections = lab.connections();
    assert!(connections.is_empty(), "{connections:#?}");

    // 19: ICMP all the same.
    assert_eq!(echo(&lab.remote, HOST.v4, WORKLOAD.v4, 2), 2);
    let connections = lab.connections();
    assert!(connections.len() == 1 && connections[0]["protocol"] == ICMP, "{connections:#?}");

    // 18: only one way on all ports.
    lab.apply(&Policy::new().allow_in("tcp 80", ANY4).allow_out("tcp 443", ANY4));
    tcp(lab, HOST, &web, Outcome::Answered);
    let connections = lab.connections();
    let tracked: Vec<_> = connections.iter().filter(|one| one["protocol"] == TCP).collect();
    assert!(tracked.len() == 1 && tracked[0]["local_port"] == 80, "{connections:#?}");

    let policy = Policy::new()
        .allow_out("-1", ANY4)
        .interface_field("ConnectionTrackingSpecification", json!({ "TcpEstablishedTimeout": 60 }))
        .log("ALL");
    lab.apply(&policy);

    // 20: one way.
    let (early, late) = (Asked::new(lab, 5300), Asked::new(lab, 5301));
    advance(lab, 25);
    assert!(early.answered(PATIENCE), "an answer within UdpTimeout");
    advance(lab, 6);
    assert!(!late.answered(SILENCE), "an answer after UdpTimeout");

    // 21: more than one exchange.
    let stream = Asked::new(lab, 5302);
    assert!(stream.answered(PATIENCE));
    stream.ask();
    assert!(stream.answered(PATIENCE));
    advance(lab, 175);
    assert!(stream.answered(PATIENCE), "an answer within UdpStreamTimeout");
    advance(lab, 181);
    assert!(!stream.answered(SILENCE), "an answer after UdpStreamTimeout");

    // 23: another protocol.
    let (here, there) = ((&lab.workload, WORKLOAD.v4), (&lab.remote, HOST.v4));
    for (idle, arrives) in [(590, true), (601, false)] {
        assert_eq!(arrivals(here, there, GRE, &[b"\0\0\x08\0there"]), [true]);
        advance(lab, idle);
        assert_eq!(arrivals(there, here, GRE, &[b"\0\0\x08\0back"]), [arrives], "after {idle} s");
    }
    // Each packet begins the time anew.
    advance(lab, 601);

    // 22: an established connection, by the interface's own timeout.
    let _ = lab.new_flows();
    let (mut here, mut there) = connected(lab);
    let mut answer = [0; 5];
    advance(lab, 55);
    there.write_all(b"early").expect("send");
    here.read_exact(&mut answer).expect("data within TcpEstablishedTimeout");
    let records = lab.new_flows();
    assert_action(&records, HOST.v4, WORKLOAD.v4, TCP, "ACCEPT");
    advance(lab, 61);
    let _ = there.write_all(b"later");
    here.set_read_timeout(Some(SILENCE)).expect("set a timeout");
    assert!(here.read_exact(&mut answer).is_err(), "data after TcpEstablishedTimeout");
    let records = lab.new_flows();
    assert_action(&records, HOST.v4, WORKLOAD.v4, TCP, "REJECT");
}

/// Conformance 25, 26, 27, 28, 29, 3.1-a.
fn rows_25_to_29_what_the_network_acl_says(lab: &mut Lab) {
    let servers = [22, 80].map(|port| Server::tcp_echo(&lab.workload, WORKLOAD.v4, port));
    let v6 = Server::tcp_echo(&lab.workload, WORKLOAD.v6, 22);
    let outside = Server::tcp_echo(&lab.remote, HOST.v4, 443);
    let open = Policy::open().log("ALL");

    // 28: not asked within the subnet.
    let denied = open.clone().acl_of_nothing().acl_in(1, "deny", "-1", ANY4).acl_in(2, "deny", "-1", ANY6);
    lab.attach(&denied.acl_out(1, "deny", "-1", ANY4).acl_out(2, "deny", "-1", ANY6));
    for server in [&servers[0], &v6] {
        tcp(lab, NEIGHBOUR, server, Outcome::Answered);
        tcp(lab, HOST, server, Outcome::Silent);
    }
    let records = lab.new_flows();
    for local in WORKLOAD.both() {
        assert_action(&records, NEIGHBOUR.like(local), local, TCP, "ACCEPT");
        assert_action(&records, local, NEIGHBOUR.like(local), TCP, "ACCEPT");
        assert_action(&records, HOST.like(local), local, TCP, "REJECT");
    }

    // 25: the lowest number.
    lab.apply(&open.clone().acl_in(110, "allow", "-1", ANY4).acl_in(100, "deny", "tcp 22", HOST_RULE));
    tcp(lab, HOST, &servers[0], Outcome::Silent);
    assert_action(&lab.new_flows(), HOST.v4, WORKLOAD.v4, TCP, "REJECT");
    tcp(lab, HOST, &servers[1], Outcome::Answered);
    tcp(lab, STRANGER, &servers[0], Outcome::Answered);
    tcp(lab, HOST, &v6, Outcome::Answered);

    // 26: no match.
    lab.apply(&open.clone().acl_of_nothing().acl_in(100, "allow", "tcp 22", HOST_RULE).acl_out(
        100,
        "allow",
        "tcp 1024-65535",
        HOST_RULE,
    ));
    let _ = lab.new_flows();
    tcp(lab, HOST, &servers[0], Outcome::Answered);
    tcp(lab, STRANGER, &servers[0], Outcome::Silent);
    tcp(lab, HOST, &v6, Outcome::Silent);
    assert_eq!(echo(&lab.remote, HOST.v4, WORKLOAD.v4, 1), 0);
    let records = lab.new_flows();
    assert_action(&records, HOST.v4, WORKLOAD.v4, TCP, "ACCEPT");
    assert_action(&records, STRANGER.v4, WORKLOAD.v4, TCP, "REJECT");
    assert_action(&records, HOST.v6, WORKLOAD.v6, TCP, "REJECT");
    assert_action(&records, HOST.v4, WORKLOAD.v4, ICMP, "REJECT");

    // 27: a new one.
    lab.apply(&open.clone().acl_of_nothing());
    let _ = lab.new_flows();
    tcp(lab, HOST, &servers[0], Outcome::Silent);
    assert_tcp(&lab.workload, WORKLOAD.v4, outside.address(), Outcome::Silent);
    let records = lab.new_flows();
    assert_action(&records, HOST.v4, WORKLOAD.v4, TCP, "REJECT");
    assert_action(&records, WORKLOAD.v4, HOST.v4, TCP, "REJECT");
    assert_eq!(outside.messages(), 0, "nothing comes to the other end");

    // 29: no ephemeral ports.
    let web = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 443);
    let forgotten = open.acl_of_nothing().acl_in(100, "allow", "tcp 443", ANY4);
    lab.apply(&forgotten.acl_out(100, "allow", "tcp 443", ANY4));
    tcp(lab, HOST, &web, Outcome::Silent);
    let mut records = lab.new_flows();
    records.retain(|record| record.source_port == 443 || record.destination_port == 443);
    assert_sum(&records, (HOST.v4, WORKLOAD.v4), TCP, "ACCEPT", Sum { packets: 1, bytes: 60 });
    assert_action(&records, WORKLOAD.v4, HOST.v4, TCP, "REJECT");
}

/// The address of the instance metadata service.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Conformance 33, 34.
fn rows_33_and_34_platform_services_pass_and_others_do_not(lab: &mut Lab) {
    let mut ip = lab.remote.command("ip");
    let _ = finish(ip.args(["address", "add", "169.254.169.254/32", "dev", "veth0"]), PATIENCE).ok();
    let metadata = Server::http(&lab.remote, METADATA, 80);
    let router = Server::udp_echo(&lab.remote, ROUTER.v4, 53);
    let resolver = Server::udp_echo(&lab.remote, HOST.v4, 53);
    lab.attach(&Policy::new().acl_of_nothing().log("ALL"));

    let length = tools::curl(&lab.workload, &tools::url(metadata.address(), "/bytes/5000"), PATIENCE);
    assert_eq!(length, Ok(5000));
    assert_udp(&lab.workload, WORKLOAD.v4, router.address(), Outcome::Answered);
    assert_eq!(tools::ping(&lab.workload, WORKLOAD.v4, ROUTER.v4, 2), 2);
    assert_eq!(tools::ping(&lab.remote, ROUTER.v4, WORKLOAD.v4, 2), 2);
    assert!(dhcp(lab), "a DHCP server hears its client and is heard");

    // 34: one's own DNS server is another matter. It is all that the flow log tells of.
    assert_udp(&lab.workload, WORKLOAD.v4, resolver.address(), Outcome::Silent);
    let mut records = lab.new_flows();
    records.retain(|record| record.source.is_some_and(|source| source.is_ipv4()));
    assert_action(&records, WORKLOAD.v4, HOST.v4, UDP, "REJECT");
    assert!(records.iter().all(|one| one.destination == Some(HOST.v4)), "{}", list(&records));

    lab.apply(&Policy::new().allow_out("udp 53", HOST_RULE).log("ALL"));
    assert_udp(&lab.workload, WORKLOAD.v4, resolver.address(), Outcome::Answered);
    let records = lab.new_flows();
    assert_action(&records, WORKLOAD.v4, HOST.v4, UDP, "ACCEPT");
    assert_action(&records, HOST.v4, WORKLOAD.v4, UDP, "ACCEPT");
}

/// Broadcasts from DHCP's client port and answers from its server port; whether both arrive.
fn dhcp(lab: &Lab) -> bool {
    let server = lab.remote.run(|| UdpSocket::bind(("0.0.0.0", 67))).expect("bind");
    let client = lab.workload.run(|| UdpSocket::bind(("0.0.0.0", 68))).expect("bind");
    client.set_broadcast(true).expect("allow broadcasts");
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
    }
    let _ = client.send_to(b"discover", ("255.255.255.255", 67)).expect("broadcast");
    let heard = server.recv(&mut [0; 16]).is_ok();
    let _ = server.send_to(b"offer", (WORKLOAD.v4, 68)).expect("answer");
    heard && client.recv(&mut [0; 16]).is_ok()
}

matrix!(every:
    rows_2_and_5_to_10_what_groups_let_pass,
    rows_11_to_14_groups_and_lists_as_sources,
    rows_17_to_23_what_is_tracked_and_for_how_long,
    rows_25_to_29_what_the_network_acl_says,
    rows_33_and_34_platform_services_pass_and_others_do_not,
);
