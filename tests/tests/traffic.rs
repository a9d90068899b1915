//! Real traffic, allowed and refused, and the flow-log records that it must leave.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use tests::{
    eventually::eventually,
    lab::{Ends, HOST, Hook, Lab, STRANGER, Side, WORKLOAD},
    matrix,
    policy::{ANY4, ANY6, Policy},
    records::{Sum, assert_sum, list, sum},
    servers::Server,
    tools,
    traffic::{Outcome, PATIENCE, SILENCE, assert_tcp, assert_udp, connect, echo, segments},
};

const ICMP: [u8; 2] = [1, 58];
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The prefix of one host.
fn only(host: IpAddr) -> String {
    format!("{host}/{}", if host.is_ipv4() { 32 } else { 128 })
}

/// A policy that lets one host in to one service, over both families.
fn from_host(policy: Policy, service: &str, host: Ends) -> Policy {
    host.both().into_iter().fold(policy, |policy, host| policy.allow_in(service, &only(host)))
}

/// `count` packets of `size` bytes.
fn packets(count: u64, size: u64) -> Sum {
    Sum { packets: count, bytes: count * size }
}

/// Bytes of an IP header.
fn header(address: IpAddr) -> u64 {
    if address.is_ipv4() { 20 } else { 40 }
}

/// Conformance 1, 3, 4.
///
/// The group's ingress rule lets connections in and their answers out,
/// and nothing else either way.
fn rows_1_3_and_4_a_group_lets_tcp_in_by_its_rules_and_answers_out_by_state(lab: &mut Lab) {
    lab.attach(&from_host(Policy::new().log("ALL"), "tcp 80", HOST));
    for local in WORKLOAD.both() {
        let (host, stranger) = (HOST.like(local), STRANGER.like(local));
        let web = Server::tcp_echo(&lab.workload, local, 80);
        let other = Server::tcp_echo(&lab.workload, local, 81);
        let outside = Server::tcp_echo(&lab.remote, host, 8080);
        assert_tcp(&lab.remote, host, web.address(), Outcome::Answered);
        assert_tcp(&lab.remote, host, other.address(), Outcome::Silent);
        assert_tcp(&lab.remote, stranger, web.address(), Outcome::Silent);
        assert_tcp(&lab.workload, local, outside.address(), Outcome::Silent);
    }
    let records = lab.flows();
    for local in WORKLOAD.both() {
        let (host, stranger) = (HOST.like(local), STRANGER.like(local));
        // One SYN each: 40 bytes of TCP header.
        let syn = packets(1, header(local) + 40);
        assert_sum(&records, (host, local), TCP, "REJECT", syn);
        assert_sum(&records, (stranger, local), TCP, "REJECT", syn);
        assert_sum(&records, (local, host), TCP, "REJECT", syn);
        assert_sum(&records, (stranger, local), TCP, "ACCEPT", Sum::default());
        for (source, destination) in [(host, local), (local, host)] {
            let passed = sum(&records, source, destination, TCP, "ACCEPT");
            assert!(passed.packets >= 2, "{passed:?} in\n{}", list(&records));
        }
    }
}

/// Conformance 2, 10.
///
/// What the workload begins is answered; a rule for one family is none for the other.
fn rows_2_and_10_what_the_workload_begins_is_answered(lab: &mut Lab) {
    lab.attach(&Policy::new().allow_out("tcp 8080", ANY4).allow_out("udp 5353", ANY4).log("ALL"));
    let tcp = HOST.both().map(|host| Server::tcp_echo(&lab.remote, host, 8080));
    let udp = HOST.both().map(|host| Server::udp_echo(&lab.remote, host, 5353));
    assert_tcp(&lab.workload, WORKLOAD.v4, tcp[0].address(), Outcome::Answered);
    assert_tcp(&lab.workload, WORKLOAD.v6, tcp[1].address(), Outcome::Silent);
    assert_udp(&lab.workload, WORKLOAD.v4, udp[0].address(), Outcome::Answered);
    assert_udp(&lab.workload, WORKLOAD.v6, udp[1].address(), Outcome::Silent);
    let records = lab.flows();
    assert_sum(&records, (WORKLOAD.v4, HOST.v4), UDP, "ACCEPT", packets(1, 42));
    assert_sum(&records, (HOST.v4, WORKLOAD.v4), UDP, "ACCEPT", packets(1, 42));
    assert_sum(&records, (WORKLOAD.v6, HOST.v6), UDP, "REJECT", packets(1, 62));
    assert_sum(&records, (HOST.v6, WORKLOAD.v6), UDP, "ACCEPT", Sum::default());
    assert_sum(&records, (WORKLOAD.v6, HOST.v6), TCP, "REJECT", packets(1, 80));
}

/// Conformance 30, 31.
///
/// The four rows of the classic set, for ICMP and ICMPv6.
fn rows_30_and_31_the_classic_four_pings_leave_the_classic_records(lab: &mut Lab) {
    let nobody = Policy::new().log("ALL");
    let pinged = nobody.clone().allow_in("icmp", ANY4).allow_in("icmpv6", ANY6);
    let deny = |policy: &Policy, egress: bool| {
        [("icmp", ANY4), ("icmpv6", ANY6)].iter().zip([10, 11]).fold(
            policy.clone(),
            |policy, (rule, number)| {
                if egress {
                    policy.acl_out(number, "deny", rule.0, rule.1)
                } else {
                    policy.acl_in(number, "deny", rule.0, rule.1)
                }
            },
        )
    };
    let rows = [
        // group and network ACL, answers, records of the request, records of the answer
        ("the network ACL stops the answer", deny(&pinged, true), 0, "ACCEPT", Some("REJECT")),
        ("the answer passes by state", pinged.clone(), 3, "ACCEPT", Some("ACCEPT")),
        ("the group refuses", nobody.clone(), 0, "REJECT", None),
        ("the network ACL refuses", deny(&pinged, false), 0, "REJECT", None),
    ];
    for (number, (name, policy, answers, request, answer)) in rows.into_iter().enumerate() {
        if number == 0 {
            lab.attach(&policy)
        } else {
            lab.apply(&policy)
        };
        for (local, protocol) in WORKLOAD.both().into_iter().zip(ICMP) {
            let found = echo(&lab.remote, HOST.like(local), local, 3);
            assert_eq!(found, answers, "{name}, protocol {protocol}");
        }
        let records = lab.new_flows();
        for (local, protocol) in WORKLOAD.both().into_iter().zip(ICMP) {
            let host = HOST.like(local);
            let pings = packets(3, header(local) + 64);
            let expected = |wanted: bool| if wanted { pings } else { Sum::default() };
            for action in ["ACCEPT", "REJECT"] {
                assert_sum(&records, (host, local), protocol, action, expected(action == request));
                assert_sum(&records, (local, host), protocol, action, expected(Some(action) == answer));
            }
        }
    }
}

/// The law of conservation, seen from outside: what one end sent and the other received is what
/// the records say, packet for packet and byte for byte.
fn records_count_what_the_ends_count(lab: &mut Lab) {
    lab.attach(&from_host(from_host(Policy::new().log("ALL"), "tcp 80", HOST), "udp 80", HOST));
    let mut streams = Vec::new();
    for local in WORKLOAD.both() {
        let host = HOST.like(local);
        let sink = Server::tcp_sink(&lab.workload, local, 80);
        let mut stream = connect(&lab.remote, host, sink.address(), PATIENCE).expect("connect");
        stream.write_all(&vec![0; 1_000_000]).expect("send a megabyte");
        eventually("everything to be acknowledged", PATIENCE, || {
            (segments(&stream).in_flight == 0 && sink.bytes() == 1_000_000).then_some(())
        });
        let echo = Server::udp_echo(&lab.workload, local, 80);
        let socket = lab.remote.run(|| UdpSocket::bind((host, 0))).expect("bind");
        socket.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        for _ in 0..200 {
            socket.send_to(&[0; 500], echo.address()).expect("send");
            let _ = socket.recv(&mut [0; 500]).expect("the echo");
        }
        assert_eq!(echo.messages(), 200);
        streams.push((stream, sink));
    }
    let counted: Vec<_> = streams.iter().map(|(stream, _)| segments(stream)).collect();
    let records = lab.flows();
    assert!(records.iter().all(|record| record.action == "ACCEPT"), "{}", list(&records));
    for (local, counted) in WORKLOAD.both().into_iter().zip(counted) {
        let host = HOST.like(local);
        let datagrams = packets(200, header(local) + 508);
        assert_sum(&records, (host, local), UDP, "ACCEPT", datagrams);
        assert_sum(&records, (local, host), UDP, "ACCEPT", datagrams);
        // Headers: 40 bytes of TCP in the SYN, 32 in all others.
        let headers = |packets: u64| packets * (header(local) + 32) + 8;
        let [forth, back] = [(host, local), (local, host)]
            .map(|(source, destination)| sum(&records, source, destination, TCP, "ACCEPT"));
        assert_eq!(back.packets, counted.received, "{counted:?}\n{}", list(&records));
        if merges_before_us(lab) {
            assert!(forth.packets <= counted.sent, "{forth:?}, {counted:?}");
        } else {
            assert_eq!(forth.packets, counted.sent, "{counted:?}\n{}", list(&records));
        }
        // A busy machine may repeat a segment; how long it and its answer are, nobody tells.
        if counted.repeated == 0 {
            assert_eq!(back.bytes, headers(back.packets), "{counted:?}\n{}", list(&records));
            assert_eq!(forth.bytes, 1_000_000 + headers(forth.packets), "{counted:?}\n{}", list(&records));
        }
    }
    // What the programs counted is what the records say; nothing was lost or not understood.
    let status = lab.filter_ctl(["status", "--output", "json"]).ok().json();
    let counted = &status["interfaces"][0];
    let recorded: u64 = records.iter().map(|record| record.packets).sum();
    assert_eq!(counted["packets"]["accepted"], recorded, "{counted:#}");
    assert_eq!(counted["packets"]["unparsable"], 0, "{counted:#}");
    for direction in ["ingress", "egress"] {
        assert_eq!(counted["lost"]["packets"][direction], 0, "{counted:#}");
    }
}

/// Whether the kernel hands the receive side packets that are merged from several on the wire
/// without saying from how many: it runs generic XDP after receive offload.
fn merges_before_us(lab: &Lab) -> bool {
    lab.hook == Hook::XdpGeneric && lab.side == Side::Workload
}

/// Conformance 34.
///
/// HTTP by curl, DNS by dig (one's own DNS server is filtered and logged), both families.
fn row_34_http_and_dns_follow_the_rules(lab: &mut Lab) {
    let mut policy = Policy::new().log("ALL");
    for host in HOST.both() {
        policy = policy.allow_out("tcp 80", &only(host)).allow_out("udp 53", &only(host));
    }
    lab.attach(&policy);
    for local in WORKLOAD.both() {
        let (host, stranger) = (HOST.like(local), STRANGER.like(local));
        let web = Server::http(&lab.remote, host, 80);
        let closed = Server::http(&lab.remote, stranger, 80);
        let length = tools::curl(&lab.workload, &tools::url(web.address(), "/bytes/300000"), PATIENCE);
        assert_eq!(length, Ok(300_000));
        assert_eq!(tools::curl(&lab.workload, &tools::url(closed.address(), "/"), SILENCE), Err(28));
        tools::dns_server(lab, host);
        assert_eq!(tools::dig(&lab.workload, host, false, PATIENCE).as_deref(), Some("192.0.2.80"));
        assert_eq!(tools::dig(&lab.workload, host, true, SILENCE), None, "DNS over TCP is not allowed");
    }
    let records = lab.flows();
    for local in WORKLOAD.both() {
        let (host, stranger) = (HOST.like(local), STRANGER.like(local));
        let answer = sum(&records, host, local, TCP, "ACCEPT");
        assert!(answer.bytes > 300_000, "{answer:?} in\n{}", list(&records));
        assert_eq!(sum(&records, local, stranger, TCP, "REJECT").packets, 1);
        for (source, destination) in [(local, host), (host, local)] {
            let found = sum(&records, source, destination, UDP, "ACCEPT");
            assert!(found.packets == 1, "{found:?} in\n{}", list(&records));
        }
    }
}

/// iperf3, TCP and UDP, both families, both ways; and refused where no rule lets it in.
fn iperf3_runs_where_it_may(lab: &mut Lab) {
    let policy = from_host(from_host(Policy::new().log("ALL"), "tcp 5201", HOST), "udp 5201", HOST);
    lab.attach(&policy);
    for local in WORKLOAD.both() {
        let host = HOST.like(local);
        let server = SocketAddr::new(local, 5201);
        let mut received = 0;
        for options in [&["--bytes", "20M"][..], &["--bytes", "20M", "--reverse"]] {
            let tcp = tools::iperf3((&lab.remote, host), (&lab.workload, server), options).expect("iperf3");
            assert!(tcp.bytes > 5_000_000, "{local} {options:?}: {tcp:?}");
            received += tcp.bytes;
        }
        let options = ["--udp", "--bitrate", "50M", "--bytes", "1M", "--length", "1000"];
        let udp = tools::iperf3((&lab.remote, host), (&lab.workload, server), &options).expect("iperf3");
        assert!(udp.datagrams > 1000, "{udp:?}");
        let refused = SocketAddr::new(local, 5202);
        assert!(tools::iperf3((&lab.remote, host), (&lab.workload, refused), &["--bytes", "1M"]).is_err());
        // Besides the measured datagrams there is one each way to begin.
        let records = lab.new_flows();
        let forth = sum(&records, host, local, UDP, "ACCEPT");
        assert_eq!(forth.packets, udp.datagrams + 1, "{}", list(&records));
        let [forth, back] = [(host, local), (local, host)].map(|(source, destination)| {
            assert_eq!(sum(&records, source, destination, UDP, "REJECT").packets, 0);
            sum(&records, source, destination, TCP, "ACCEPT").bytes
        });
        assert!(forth + back > received, "{forth} + {back} recorded, {received} received");
    }
}

matrix!(every:
    rows_1_3_and_4_a_group_lets_tcp_in_by_its_rules_and_answers_out_by_state,
    rows_2_and_10_what_the_workload_begins_is_answered,
    rows_30_and_31_the_classic_four_pings_leave_the_classic_records,
    records_count_what_the_ends_count,
    row_34_http_and_dns_follow_the_rules,
    iperf3_runs_where_it_may,
);
