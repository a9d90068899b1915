//! The lab itself, without a filter: if these fail, no other failure means anything.

use std::{net::SocketAddr, path::Path};

use tests::{
    foreign::{Foreign, Place},
    kernel,
    lab::{HOST, Hook, Lab, NEIGHBOUR, ROUTER, STRANGER, Side, WORKLOAD},
    servers::Server,
    tools,
    traffic::{Outcome, PATIENCE, assert_tcp, assert_udp, connect, segments},
};

#[test]
fn everybody_reaches_everybody() {
    let lab = Lab::new(Hook::Auto, Side::Workload);
    for remote in [ROUTER, NEIGHBOUR, HOST, STRANGER].into_iter().flat_map(tests::lab::Ends::both) {
        let local = WORKLOAD.like(remote);
        assert_eq!(tools::ping(&lab.workload, local, remote, 1), 1, "{local} > {remote}");
        assert_eq!(tools::ping(&lab.remote, remote, local, 1), 1, "{remote} > {local}");
    }
}

#[test]
fn probes_tell_answered_from_refused_and_silent() {
    let lab = Lab::new(Hook::Auto, Side::Workload);
    for local in WORKLOAD.both() {
        let remote = HOST.like(local);
        let tcp = Server::tcp_echo(&lab.workload, local, 80);
        let udp = Server::udp_echo(&lab.workload, local, 80);
        assert_tcp(&lab.remote, remote, tcp.address(), Outcome::Answered);
        assert_udp(&lab.remote, remote, udp.address(), Outcome::Answered);
        let nobody = SocketAddr::new(local, 81);
        assert_tcp(&lab.remote, remote, nobody, Outcome::Refused);
        assert_udp(&lab.remote, remote, nobody, Outcome::Refused);
    }
    // The neighbour's end answers no ARP request for an address that nobody has.
    let nobody = SocketAddr::new("10.0.1.99".parse().expect("an address"), 80);
    let found = lab.workload.run(|| std::net::TcpStream::connect_timeout(&nobody, tests::traffic::SILENCE));
    assert!(found.is_err());
}

#[test]
fn the_programs_that_people_use_work() {
    let mut lab = Lab::new(Hook::Auto, Side::Workload);
    for local in WORKLOAD.both() {
        let remote = HOST.like(local);
        let http = Server::http(&lab.remote, remote, 80);
        assert_eq!(
            tools::curl(&lab.workload, &tools::url(http.address(), "/bytes/100000"), PATIENCE),
            Ok(100_000)
        );
        tools::dns_server(&mut lab, remote);
        for tcp in [false, true] {
            let answer = tools::dig(&lab.workload, remote, tcp, PATIENCE);
            assert_eq!(answer.as_deref(), Some("192.0.2.80"));
        }
        let server = SocketAddr::new(local, 5201);
        let tcp = tools::iperf3((&lab.remote, remote), (&lab.workload, server), &["--bytes", "10M"]);
        assert!(tcp.expect("iperf3").bytes > 5_000_000);
        let udp = tools::iperf3(
            (&lab.remote, remote),
            (&lab.workload, server),
            &["--udp", "--bitrate", "20M", "--time", "1"],
        );
        assert!(udp.expect("iperf3").datagrams > 100);
    }
}

#[test]
fn segments_are_counted_as_they_are_on_the_wire() {
    let lab = Lab::new(Hook::Auto, Side::Workload);
    let server = Server::tcp_sink(&lab.workload, WORKLOAD.v4, 80);
    let mut stream = connect(&lab.remote, HOST.v4, server.address(), PATIENCE).expect("connect");
    std::io::Write::write_all(&mut stream, &vec![0; 1_000_000]).expect("write");
    tests::eventually::eventually("all to be acknowledged", PATIENCE, || {
        (segments(&stream).in_flight == 0 && server.bytes() == 1_000_000).then_some(())
    });
    let segments = segments(&stream);
    assert!((690..760).contains(&segments.sent), "{segments:?}");
    assert!(segments.received > 2, "{segments:?}");
}

#[test]
fn a_lab_leaves_nothing_behind_even_when_its_test_panics() {
    let (name, pins) = std::thread::spawn(|| {
        let mut lab = Lab::new(Hook::Auto, Side::Host);
        tools::dns_server(&mut lab, HOST.v4);
        let names = (lab.workload.name().to_owned(), lab.pins());
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _lab = lab;
            std::panic::resume_unwind(Box::new("a test fails"));
        }));
        assert!(panic.is_err());
        names
    })
    .join()
    .expect("the lab's thread");
    assert!(!Path::new("/run/netns").join(name).exists());
    assert!(!pins.exists());
    let mounts = std::fs::read_to_string("/proc/mounts").expect("read mounts");
    assert!(!mounts.contains(pins.parent().and_then(Path::to_str).expect("a path in UTF-8")));
}

#[test]
fn a_foreign_program_lets_everything_pass() {
    let lab = Lab::new(Hook::Auto, Side::Workload);
    for place in [Place::XdpNative, Place::XdpGeneric, Place::TcxIngress] {
        if place == Place::TcxIngress && !kernel::has_tcx() {
            kernel::instead("no TCX in this kernel; only programs at XDP were tested");
            continue;
        }
        let foreign = Foreign::attach(&lab.workload, "eth0", place);
        assert_eq!(tools::ping(&lab.remote, HOST.v4, WORKLOAD.v4, 1), 1, "{place:?}");
        drop(foreign);
    }
}
