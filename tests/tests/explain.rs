//! `filter-ctl explain`: it says what the programs in the kernel do, and what their tables hold.

#[path = "explain/chance.rs"]
mod chance;
#[path = "explain/live.rs"]
mod live;

use std::collections::HashSet;

use chance::Chance;
use filter_common::{
    Direction,
    abi::Side,
    verdict::{Category, Reason},
};
use filter_ctl::{
    compile::compile,
    datapath::tables::Tables,
    explain::{Explanation, Facts, Message, Question},
    policy::EffectivePolicy,
};
use tests::{
    frame::{self, Frame, flags},
    policy::Policy,
    program::{Eni, Metadata, Receive, Setting, effective, programs},
};

const POLICIES: usize = 80;
const PACKETS: usize = 150;

/// The frame of a question; `flags` are for TCP.
fn frame(question: &Question, flags: u8) -> Frame {
    let Question { source, destination, protocol, message, .. } = *question;
    let (from, to) = (source.to_string(), destination.to_string());
    let frame = match message {
        Message::Ports(from_port, to_port) => {
            let end = |address, port| std::net::SocketAddr::new(address, port).to_string();
            let (from, to) = (end(source, from_port), end(destination, to_port));
            if protocol == 6 { frame::tcp(&from, &to, flags) } else { frame::udp_with(&from, &to, 8) }
        }
        Message::Icmp(icmp_type, code) => frame::icmp(&from, &to, (icmp_type, code), 7),
        Message::Nothing => frame::protocol(&from, &to, protocol, &[0; 16]),
    };
    frame.hop_limit(question.packet().hop_limit)
}

/// What tells conversations apart, whoever began them.
fn conversation(question: &Question) -> impl Eq + std::hash::Hash + use<> {
    let (local, remote) = (question.local(), question.remote());
    let ports = match (question.message, question.direction) {
        (Message::Ports(from, to), Direction::Egress) => (from, to),
        (Message::Ports(from, to), Direction::Ingress) => (to, from),
        _ => (0, 0),
    };
    (question.protocol, local, remote, ports)
}

struct Asking<'a> {
    eni: Eni<'a>,
    policy: EffectivePolicy,
    side: Side,
}

impl Asking<'_> {
    /// What the programs do with a packet. What an exempt source sends comes from this host.
    fn judged(&mut self, question: &Question, flags: u8) -> Reason {
        let metadata = Metadata { came_by: 0, segments: None };
        self.eni.judge_as(question.direction, &frame(question, flags), metadata).reason
    }

    /// The packet, its answer and a further packet of its connection: each is judged as explained.
    fn compare(&mut self, question: &Question, seen: &mut [u64]) {
        let explanation = Explanation::on_side(&self.policy, *question, self.side);
        let tell = || format!("{question:?}\nunder {:?}", self.policy);
        let (reason, told) = (explanation.reason(), tell());
        assert_eq!(self.judged(question, flags::SYN), reason, "{told}");
        seen[reason as usize] += 1;
        let accepted = matches!(reason.category(), Category::Accepted);
        let Some((answer, expected)) = explanation.reply().filter(|_| accepted) else { return };
        // A client that asks its neighbour for DHCP may have a connection by the rules: its answers
        // then are the connection's.
        if !expected.judged() {
            return;
        }
        assert_eq!(self.judged(&answer, flags::SYN | flags::ACK), expected, "the answer to {told}");
        if expected == Reason::Connection {
            let further = Question { established: true, ..*question };
            let expected = Explanation::on_side(&self.policy, further, self.side).reason();
            assert_eq!(self.judged(&further, flags::ACK), expected, "after the answer to {told}");
            seen[expected as usize] += 1;
        }
    }
}

#[test]
fn the_programs_do_what_is_explained() {
    let mut chance = Chance::new();
    let base = effective(&Policy::new());
    let mut seen = vec![0; Reason::COUNT];
    let places = [
        (Setting::WORKLOAD, Receive::Xdp),
        (Setting::WORKLOAD, Receive::Tc),
        (Setting::HOST, Receive::Xdp),
        (Setting::HOST, Receive::Tc),
    ];
    let mut programs = programs();
    for number in 0..POLICIES {
        let (setting, receive) = places[number % places.len()];
        let policy = chance.policy(&base);
        let side = if setting.host_side { Side::Host } else { Side::Workload };
        let eni = programs.eni(setting, receive, &policy);
        let mut asking = Asking { eni, policy, side };
        let mut known = HashSet::new();
        for _ in 0..PACKETS {
            let question = chance.question();
            // Each is the first packet of its conversation.
            if known.insert(conversation(&question)) {
                asking.compare(&question, &mut seen);
            }
        }
    }
    for (reason, count) in Reason::ALL.iter().zip(&seen).filter(|(_, count)| **count > 0) {
        println!("{count:>8} {}", reason.name());
    }
    use Reason::*;
    for reason in [
        NewConnection,
        Connection,
        Untracked,
        Stray,
        NetworkAcl,
        SecurityGroup,
        SourceDestCheck,
        NeighborDiscovery,
        MulticastListener,
        Dhcp,
        Exempt,
    ] {
        assert!(seen[reason as usize] > 10, "{} was met {} times", reason.name(), seen[reason as usize]);
    }
}

#[test]
fn the_tables_in_the_kernel_are_read_as_the_programs_read_them() {
    let mut chance = Chance::new();
    let base = effective(&Policy::new());
    let mut programs = programs();
    for _ in 0..20 {
        let (policy, other) = (chance.policy(&base), chance.policy(&base));
        let eni = programs.eni(Setting::WORKLOAD, Receive::Xdp, &policy);
        let tables = Tables::in_force(eni.host(), eni.slot()).expect("readable").expect("a policy");
        for _ in 0..100 {
            let question = chance.question();
            let expected = Facts::of_rules(&policy, &question, Side::Workload);
            assert_eq!(Facts::of_tables(&tables, &question, Side::Workload), expected, "{question:?}");
        }
        let clock = eni.host().clock().expect("read the clock");
        let [own, other] = [&policy, &other].map(|policy| compile(policy).expect("a small policy compiles"));
        assert!(tables.are(&own, &clock), "{policy:?}");
        // Other rules may come to the same tables.
        assert_eq!(tables.are(&other, &clock), own.fingerprint == other.fingerprint, "{policy:?}");
        let logged = EffectivePolicy { flow_log_interval: Some(600), ..policy };
        let logged = compile(&logged).expect("a small policy compiles");
        assert!(!tables.are(&logged, &clock), "what the header holds counts, too");
    }
}
