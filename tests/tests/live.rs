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
    eventually::eventually,
    lab::{HOST, Lab, WORKLOAD},
    matrix,
    policy::{ANY4, Policy},
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
    assert!(longest < LONGEST_STALL, "stalled for {longest:?}");
}

/// Conformance 15.
///
/// A tracked connection outlives its rule; a new one does not begin.
fn row_15_a_tracked_connection_outlives_its_rule(lab: &mut Lab) {
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

/// Conformance 16.
///
/// An untracked connection ends with its rule.
fn row_16_an_untracked_connection_ends_with_its_rule(lab: &mut Lab) {
    let closed = Policy::new().allow_out("-1", ANY4);
    lab.attach(&closed.clone().allow_in("tcp 80", ANY4));
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    let mut stream = connect(&lab.remote, HOST.v4, server.address(), PATIENCE).expect("connect");
    assert_flows_on(&mut stream);
    lab.apply(&closed);
    assert_cut(&mut stream);
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Silent);
}

/// Conformance 32.
///
/// A network ACL that denies either direction cuts a tracked connection at once.
fn row_32_a_network_acl_cuts_at_once(lab: &mut Lab) {
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

/// Strict about TCP, a connection that is older than the filter ends, and no change of the rules
/// makes the interface less strict.
fn strict_tcp_picks_up_nothing_and_stays_strict(lab: &mut Lab) {
    let open = Policy::new().allow_in("tcp 80", "198.51.100.7/32");
    let document = lab.write(&open);
    let server = Server::tcp_echo(&lab.workload, WORKLOAD.v4, 80);
    let older = || connect(&lab.remote, HOST.v4, server.address(), PATIENCE).expect("connect");
    let (mut first, mut second, mut third) = (older(), older(), older());
    let attached = lab.try_attach(&document, &["--strict-tcp"]).ok();
    assert!(attached.stdout.contains("strict TCP"), "{}", attached.stdout);
    assert_cut(&mut first);
    assert_tcp(&lab.remote, HOST.v4, server.address(), Outcome::Answered);
    lab.apply(&open.clone().allow_in("tcp 81", "198.51.100.7/32"));
    assert_cut(&mut second);
    let status = lab.filter_ctl(["status", "--output", "json"]).ok().json();
    assert_eq!(status["interfaces"][0]["attachment"]["rules"]["strict_tcp"], true);
    // Without the flag the document says it, each time anew.
    let _ = lab.detach();
    let strict = open.clone().interface_field("StrictTcp", serde_json::json!(true));
    let document = lab.write(&strict);
    let _ = lab.try_attach(&document, &[]).ok();
    assert_cut(&mut third);
    let changed = lab.apply(&open);
    assert!(changed.stdout.contains("strict TCP on → off"), "{}", changed.stdout);
    assert_flows_on(&mut third);
}

matrix!(sides:
    strict_tcp_picks_up_nothing_and_stays_strict,
    a_download_runs_through_two_hundred_applies,
);
matrix!(every:
    row_15_a_tracked_connection_outlives_its_rule,
    row_16_an_untracked_connection_ends_with_its_rule,
    row_32_a_network_acl_cuts_at_once,
);
