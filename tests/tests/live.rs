//! Rules that change under running traffic.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tests::{
    eventually::{eventually, stretched},
    lab::{HOST, Lab, NEIGHBOUR, WORKLOAD},
    matrix,
    policy::{ANY4, OTHER_GROUP, PREFIX_LIST, Policy},
    servers::Server,
    traffic::{Outcome, PATIENCE, SILENCE, assert_tcp, connect},
};

/// Longest that a download may stand still. The packets cross one machine; what stalls here is
/// the scheduler of a busy one, while a lost connection stalls for good.
const LONGEST_STALL: Duration = Duration::from_secs(2);

/// Sends a line over a connection; whether its echo comes back.
fn echoes(stream: &mut TcpStream, patience: Duration) -> bool {
    stream.set_read_timeout(Some(patience)).expect("set a timeout");
    let mut answer = [0; 6];
    stream.write_all(b"hello\n").is_ok() && stream.read_exact(&mut answer).is_ok()
}

#[track_caller]
fn assert_flows_on(stream: &mut TcpStream) {
    assert!(echoes(stream, PATIENCE), "the connection is cut");
}

#[track_caller]
fn assert_cut(stream: &mut TcpStream) {
    assert!(!echoes(stream, SILENCE), "the connection still lives");
}

/// A download that notes its longest stall.
struct Download {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    reader: thread::JoinHandle<Duration>,
}

impl Download {
    fn start(lab: &Lab, server: &Server) -> Self {
        let mut stream = connect(&lab.remote, HOST.v4, server.address(), PATIENCE).expect("connect");
        stream.write_all(b"GET /stream HTTP/1.0\r\n\r\n").expect("ask");
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("set a timeout");
        let (stop, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let reader = thread::spawn({
            let (stop, bytes) = (Arc::clone(&stop), Arc::clone(&bytes));
            move || {
                let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
                let mut buffer = [0; 65_536];
                while !stop.load(Ordering::Relaxed) {
                    let length = stream.read(&mut buffer).unwrap_or(0);
                    longest = longest.max(last.elapsed());
                    if length > 0 {
                        bytes.fetch_add(length as u64, Ordering::Relaxed);
                        last = Instant::now();
                    }
                }
                longest
            }
        });
        Self { stop, bytes, reader }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends it; its longest stall.
    fn finish(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.reader.join().expect("the reader")
    }
}

/// A download runs through 200 changes of the rules; what begins afterwards follows the new rules at once.
fn a_download_runs_through_two_hundred_applies(lab: &mut Lab) {
    let base = || Policy::new().log("ALL").allow_in("tcp 80", "198.51.100.7/32");
    let documents =
        [81, 82].map(|port| lab.write(&base().allow_in(&format!("tcp {port}"), "198.51.100.7/32")));
    let http = Server::http(&lab.workload, WORKLOAD.v4, 80);
    let ports = [81, 82].map(|port| Server::tcp_echo(&lab.workload, WORKLOAD.v4, port));
    let _ = lab.try_attach(&documents[0], &[]).ok();
    let download = Download::start(lab, &http);
    eventually("the first bytes", PATIENCE, || (download.bytes() > 100_000).then_some(()));
    let mut before = download.bytes();
    for round in 1..=200 {
        let now = round % 2;
        let _ = lab.filter_ctl([Path::new("apply"), &documents[now]]).ok();
        if round % 20 < 2 {
            assert_tcp(&lab.remote, HOST.v4, ports[now].address(), Outcome::Answered);
            assert_tcp(&lab.remote, HOST.v4, ports[1 - now].address(), Outcome::Silent);
            let after = download.bytes();
            assert!(after > before, "round {round}: the download stands still");
            before = after;
        }
    }
    let longest = download.finish();
    assert!(longest < stretched(LONGEST_STALL), "stalled for {longest:?}");
}

/// Semantics 8.15: a tracked connection outlives its rule; a new one does not begin.
fn a_tracked_connection_outlives_its_rule(lab: &mut Lab) {
    lab.attach(&Policy::new().allow_in("tcp 80", "198.51.100.7/32"));
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    let mut stream = connect(&lab.remote, HOST.v4, server.address(), PATIENCE).expect("connect");
    assert_flows_on(&mut stream);
    lab.apply(&Policy::new());
    assert_flows_on(&mut stream);
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Silent);
    lab.apply(&Policy::new().allow_in("tcp 80", "198.51.100.7/32"));
    assert_flows_on(&mut stream);
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Answered);
}

/// Semantics 8.16: an untracked connection ends with its rule.
fn an_untracked_connection_ends_with_its_rule(lab: &mut Lab) {
    let closed = Policy::new().allow_out("-1", ANY4);
    lab.attach(&closed.clone().allow_in("tcp 80", ANY4));
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    let mut stream = connect(&lab.remote, HOST.v4, server.address(), PATIENCE).expect("connect");
    assert_flows_on(&mut stream);
    lab.apply(&closed);
    assert_cut(&mut stream);
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Silent);
}

/// Semantics 8.32: a network ACL that denies either direction cuts a tracked connection at once.
fn a_network_acl_cuts_at_once(lab: &mut Lab) {
    let open = Policy::new().allow_in("tcp 80", "198.51.100.7/32");
    lab.attach(&open);
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    for denied in [
        open.clone().acl_in(1, "deny", "tcp 80", "198.51.100.7/32"),
        open.clone().acl_out(1, "deny", "tcp 1024-65535", "198.51.100.0/24"),
    ] {
        let mut stream = connect(&lab.remote, HOST.v4, server.address(), PATIENCE).expect("connect");
        assert_flows_on(&mut stream);
        lab.apply(&denied);
        assert_cut(&mut stream);
        // Tracked as it is, it goes on when the network ACL lets it.
        lab.apply(&open);
        let mut rest = [0; 6];
        stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        stream.read_exact(&mut rest).expect("what was repeated comes through");
    }
}

/// Semantics 8.11, 8.12: a rule that names a group follows its members.
fn a_rule_follows_the_members_of_its_group(lab: &mut Lab) {
    let policy = Policy::new().allow_in("tcp 80", OTHER_GROUP);
    lab.attach(&policy.clone().neighbour_in(&[OTHER_GROUP]));
    for local in WORKLOAD.both() {
        let (host, neighbour) = (HOST.like(local), NEIGHBOUR.like(local));
        let server = Server::tcp_echo(&lab.workload, local, 80);
        assert_tcp(&lab.remote, neighbour, server.address(), Outcome::Answered);
        assert_tcp(&lab.remote, host, server.address(), Outcome::Silent);
        lab.apply(&policy.clone().neighbour_in(&[tests::policy::GROUP]));
        assert_tcp(&lab.remote, neighbour, server.address(), Outcome::Silent);
        lab.apply(&policy.clone().neighbour_in(&[tests::policy::GROUP, OTHER_GROUP]));
        assert_tcp(&lab.remote, neighbour, server.address(), Outcome::Answered);
    }
}

/// Semantics 8.14: a rule that names a prefix list follows its entries.
fn a_rule_follows_the_entries_of_its_prefix_list(lab: &mut Lab) {
    let policy = Policy::new().allow_in("tcp 80", PREFIX_LIST).prefix_list_entry("192.0.2.0/24");
    lab.attach(&policy.clone().prefix_list_entry("198.51.100.7/32"));
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Answered);
    lab.apply(&policy);
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Silent);
}

matrix!(sides:
    a_download_runs_through_two_hundred_applies,
    a_rule_follows_the_members_of_its_group,
    a_rule_follows_the_entries_of_its_prefix_list,
);
matrix!(every:
    a_tracked_connection_outlives_its_rule,
    an_untracked_connection_ends_with_its_rule,
    a_network_acl_cuts_at_once,
);
