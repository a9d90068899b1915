//! Which rule decided: every record of the real programs names it.
//!
//! The record of each frame is asked for at once, so it stands for that frame alone.

use filter_common::{
    Direction::{self, Egress, Ingress},
    abi::sweep_flags::OPEN_INTERVAL,
    verdict::Reason,
};
use filter_ctl::{
    naming::{Decision, Namer, Shelf, book::Encoded},
    policy::EffectivePolicy,
};
use tests::{
    frame::{Frame, ack, echo, echo_reply, error, icmp, protocol, syn, syn_ack, udp},
    policy::{ANY4, Policy},
    program::{Eni, effective},
};

use crate::case::{ENI, ENI_V6, EVERYWHERE, HOST, HOST_RULE, HOST_V6, NEIGHBOUR, STRANGER, each};

const SSH: &str = "10.0.1.20:22";
const WEB: &str = "10.0.1.20:80";

/// What the network ACL or the groups are expected to say: a rule in words, or why there is none.
const NOT_ASKED: &str = "not asked";
const NO_RULE: &str = "no rule";

struct Names {
    _folder: tempfile::TempDir,
    shelf: Shelf,
    namer: Namer,
    /// Every rule that was ever in force, by its id.
    rules: Vec<(String, String)>,
}

impl Names {
    fn new(eni: &Eni<'_>, policy: &EffectivePolicy) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::new(folder.path());
        let namer = Namer::new(shelf.clone());
        let mut names = Self { _folder: folder, shelf, namer, rules: Vec::new() };
        names.put(eni, policy);
        names
    }

    fn put(&mut self, eni: &Eni<'_>, policy: &EffectivePolicy) {
        self.shelf.put(eni.slot(), eni.generation(), &Encoded::of(policy)).expect("written");
        for group in &policy.groups {
            for (direction, rules) in [(Ingress, &group.ingress), (Egress, &group.egress)] {
                for rule in rules {
                    let words = format!("{} {} {}", direction.name(), rule.service, rule.peer);
                    self.rules.push((group.rule_id(direction, rule), words));
                }
            }
        }
    }

    /// The one record of a frame: its reason, and what the network ACL and the groups said.
    fn judge(&mut self, eni: &mut Eni<'_>, direction: Direction, frame: &Frame) -> (Reason, String, String) {
        let reason = eni.judge(direction, frame).reason;
        eni.sweep(OPEN_INTERVAL);
        let records = eni.records();
        let [record] = records[..] else { panic!("one record: {records:#?}") };
        assert_eq!(Reason::from_number(record.reason), Some(reason));
        let rules = self.namer.name(&record).expect("readable");
        let acl = word(&rules.acl, |rule| rule.number.to_string());
        let groups = word(&rules.groups, |rule| {
            let known = self.rules.iter().find(|(id, _)| **id == *rule.id);
            known.map_or_else(|| rule.id.to_string(), |(_, words)| words.clone())
        });
        (reason, acl, groups)
    }
}

fn word<T>(decision: &Decision<T>, rule: impl FnOnce(&T) -> String) -> String {
    match decision {
        Decision::Rule(name) => rule(name),
        Decision::NoRule => NO_RULE.to_owned(),
        Decision::NotAsked => NOT_ASKED.to_owned(),
        Decision::Unknown => "unknown".to_owned(),
    }
}

/// Takes steps, in their order.
#[track_caller]
fn walk(names: &mut Names, eni: &mut Eni<'_>, place: &str, steps: &[(Direction, Frame, Reason, &str, &str)]) {
    for (number, (direction, frame, reason, acl, groups)) in steps.iter().enumerate() {
        let found = names.judge(eni, *direction, frame);
        let expected = (*reason, (*acl).to_owned(), (*groups).to_owned());
        assert_eq!(found, expected, "step {} ({place}): {} {frame:?}", number + 1, direction.name());
    }
}

/// Of all kinds of rules one. The web server is open to all, and may answer to all: untracked.
fn policy() -> Policy {
    Policy::new()
        .log("ALL")
        .acl_in(90, "deny", "tcp 23", ANY4)
        .acl_in(95, "deny", "icmp 13", ANY4)
        .acl_out(80, "deny", "udp 9", ANY4)
        .allow_in("tcp 22", HOST_RULE)
        .allow_in("icmp 8", HOST_RULE)
        .allow_in("icmp 0", HOST_RULE)
        .allow_in("tcp 80", ANY4)
        .allow_in("50", HOST_RULE)
        // A later rule that matches as well is not the one that is named.
        .allow_in("tcp 22-90", HOST_RULE)
        .allow_out("-1", ANY4)
}

#[test]
fn every_record_names_the_rules_that_decided() {
    let policy = effective(&policy());
    let about = udp("10.0.1.20:50000", "203.0.113.9:53");
    let (first, later) = syn(HOST, WEB).data(64).fragments(7, 40);
    let steps = [
        (Ingress, syn(HOST, SSH), Reason::NewConnection, "30000", "ingress tcp 22 198.51.100.7/32"),
        (Egress, syn_ack(SSH, HOST), Reason::Connection, "30000", "ingress tcp 22 198.51.100.7/32"),
        (Ingress, ack(HOST, SSH), Reason::Connection, "30000", "ingress tcp 22 198.51.100.7/32"),
        (Ingress, echo(HOST, ENI, 1), Reason::NewConnection, "30000", "ingress icmp type 8 198.51.100.7/32"),
        (
            Egress,
            echo_reply(ENI, HOST, 1),
            Reason::Connection,
            "30000",
            "ingress icmp type 8 198.51.100.7/32",
        ),
        (Egress, echo(ENI, HOST, 2), Reason::NewConnection, "30000", "egress all 0.0.0.0/0"),
        (Ingress, echo_reply(HOST, ENI, 2), Reason::Connection, "30000", "egress all 0.0.0.0/0"),
        (
            Ingress,
            protocol(HOST, ENI, 50, &[0; 8]),
            Reason::NewConnection,
            "30000",
            "ingress protocol 50 198.51.100.7/32",
        ),
        (Egress, about.clone(), Reason::NewConnection, "30000", "egress all 0.0.0.0/0"),
        (
            Ingress,
            udp("203.0.113.9:53", "10.0.1.20:50000"),
            Reason::Connection,
            "30000",
            "egress all 0.0.0.0/0",
        ),
        (Ingress, error("203.0.113.1", ENI, (3, 1), &about), Reason::Related, "30000", NOT_ASKED),
        (Ingress, syn(STRANGER, WEB), Reason::Untracked, "30000", "ingress tcp 80 0.0.0.0/0"),
        (Egress, syn_ack(WEB, STRANGER), Reason::Untracked, "30000", "egress all 0.0.0.0/0"),
        (Ingress, echo_reply(HOST, ENI, 9), Reason::Stray, "30000", "ingress icmp type 0 198.51.100.7/32"),
        (Ingress, first, Reason::Untracked, "30000", "ingress tcp 80 0.0.0.0/0"),
        (Ingress, later, Reason::Fragment, NOT_ASKED, NOT_ASKED),
        (Ingress, syn(STRANGER, SSH), Reason::SecurityGroup, "30000", NO_RULE),
        (Ingress, syn(NEIGHBOUR, SSH), Reason::SecurityGroup, NOT_ASKED, NO_RULE),
        (Ingress, syn(HOST_V6, "[2001:db8:0:1::20]:22"), Reason::SecurityGroup, "30001", NO_RULE),
        (Egress, echo(ENI_V6, HOST_V6, 1), Reason::SecurityGroup, NOT_ASKED, NO_RULE),
        (Ingress, syn(HOST, "10.0.1.20:23"), Reason::NetworkAcl, "90", NOT_ASKED),
        (Ingress, icmp(HOST, ENI, (13, 0), 3), Reason::NetworkAcl, "95", NOT_ASKED),
        (Egress, udp("10.0.1.20:50001", "203.0.113.9:9"), Reason::NetworkAcl, "80", NOT_ASKED),
    ];
    each(&EVERYWHERE, &policy, |eni, place| {
        let mut names = Names::new(eni, &policy);
        walk(&mut names, eni, place, &steps);
    });
}

#[test]
fn what_no_numbered_rule_matches_is_the_star_of_its_family() {
    let mut policy = effective(&policy());
    policy.nacl.ingress.clear();
    let steps = [
        (Ingress, syn(HOST, SSH), Reason::NetworkAcl, "32767", NOT_ASKED),
        (Ingress, syn(HOST_V6, "[2001:db8:0:1::20]:22"), Reason::NetworkAcl, "32768", NOT_ASKED),
    ];
    each(&EVERYWHERE[..1], &policy, |eni, place| {
        let mut names = Names::new(eni, &policy);
        walk(&mut names, eni, place, &steps);
    });
}

#[test]
fn a_connection_keeps_the_rule_that_admitted_it_and_meets_the_network_acl_of_now() {
    let policies = [
        policy(),
        // Another rule admits SSH from now on.
        policy_of("tcp 22", "198.51.100.0/24").acl_in(60, "allow", "-1", HOST_RULE),
        // And none does.
        policy_of("tcp 443", ANY4).acl_out(70, "deny", "-1", HOST_RULE),
    ]
    .map(|policy| effective(&policy));
    let admitted = "ingress tcp 22 198.51.100.7/32";
    let other = "198.51.100.8:40000";
    each(&EVERYWHERE, &policies[0], |eni, place| {
        let mut names = Names::new(eni, &policies[0]);
        walk(
            &mut names,
            eni,
            place,
            &[
                (Ingress, syn(HOST, SSH), Reason::NewConnection, "30000", admitted),
                (Egress, syn_ack(SSH, HOST), Reason::Connection, "30000", admitted),
            ],
        );
        eni.apply(&policies[1]);
        names.put(eni, &policies[1]);
        walk(
            &mut names,
            eni,
            place,
            &[
                (Ingress, ack(HOST, SSH), Reason::Connection, "60", admitted),
                (Egress, ack(SSH, HOST), Reason::Connection, "30000", admitted),
                (Ingress, syn(other, SSH), Reason::NewConnection, "30000", "ingress tcp 22 198.51.100.0/24"),
            ],
        );
        eni.apply(&policies[2]);
        names.put(eni, &policies[2]);
        walk(
            &mut names,
            eni,
            place,
            &[
                (Ingress, ack(HOST, SSH), Reason::Connection, "30000", admitted),
                (Egress, ack(SSH, HOST), Reason::NetworkAcl, "70", NOT_ASKED),
                (Ingress, syn("198.51.100.7:40001", SSH), Reason::SecurityGroup, "30000", NO_RULE),
            ],
        );
    });
}

fn policy_of(service: &str, peer: &str) -> Policy {
    Policy::new().log("ALL").allow_in(service, peer).allow_out("-1", ANY4)
}

#[test]
fn what_there_was_no_room_for_names_the_rule_that_would_have_let_it_in() {
    let mut policy = effective(&policy());
    policy.allowance = Some(1);
    let ssh = "ingress tcp 22 198.51.100.7/32";
    let steps = [
        (Ingress, syn(HOST, SSH), Reason::NewConnection, "30000", ssh),
        (Egress, syn_ack(SSH, HOST), Reason::Connection, "30000", ssh),
        (Ingress, ack(HOST, SSH), Reason::Connection, "30000", ssh),
        (Ingress, syn("198.51.100.7:40001", SSH), Reason::AllowanceExceeded, "30000", ssh),
    ];
    each(&EVERYWHERE[..1], &policy, |eni, place| {
        let mut names = Names::new(eni, &policy);
        walk(&mut names, eni, place, &steps);
    });
}

#[test]
fn what_strictness_refuses_names_the_rule_that_would_have_let_it_in() {
    let mut policy = effective(&policy());
    policy.strict_tcp = true;
    let ssh = "ingress tcp 22 198.51.100.7/32";
    each(&EVERYWHERE[..1], &policy, |eni, place| {
        let mut names = Names::new(eni, &policy);
        walk(&mut names, eni, place, &[(Ingress, ack(HOST, SSH), Reason::StrictTcp, "30000", ssh)]);
    });
}

#[test]
fn a_sweep_tells_the_oldest_generation_that_is_still_needed() {
    let policy = effective(&policy());
    each(&EVERYWHERE[..1], &policy, |eni, _| {
        let oldest = |eni: &Eni<'_>, flags| {
            let slots = (filter_common::abi::CONNECTIONS + filter_common::abi::FLOWS) as u32;
            let firsts = (0..slots).step_by(1 << 16);
            let swept =
                firsts.map(|first| eni.host().sweep(first, (1 << 16).min(slots - first), eni.slot(), flags));
            swept.map(|swept| swept.expect("sweep").oldest).min().expect("a sweep")
        };
        assert_eq!(oldest(eni, OPEN_INTERVAL), u32::MAX, "nothing is left");
        let first = eni.generation();
        eni.judge(Ingress, &syn(STRANGER, SSH));
        assert_eq!(oldest(eni, 0), first, "counts of the open interval are left");
        assert_eq!(oldest(eni, OPEN_INTERVAL), u32::MAX);
        eni.judge(Ingress, &syn(HOST, SSH));
        eni.apply(&policy);
        eni.judge(Ingress, &syn(STRANGER, SSH));
        assert_eq!(oldest(eni, OPEN_INTERVAL), first, "a connection lives");
        eni.wait(121);
        assert_eq!(oldest(eni, OPEN_INTERVAL), u32::MAX, "it has expired");
    });
}
