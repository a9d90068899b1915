//! Records and the rules that they are named after.

use std::net::Ipv4Addr;

use super::*;
use crate::naming::book::{Encoded, tests::policy};

const INGRESS: u8 = Direction::Ingress as u8;
const EGRESS: u8 = Direction::Egress as u8;

struct Place {
    _folder: tempfile::TempDir,
    namer: Namer,
}

impl Place {
    /// Generation 1 is the policy; generation 2 has its groups in the other order.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::new(folder.path());
        shelf.put(3, 1, &Encoded::of(&policy())).expect("written");
        let mut other = policy();
        other.groups.swap(0, 1);
        other.nacl.ingress[1].number = 101;
        shelf.put(3, 2, &Encoded::of(&other)).expect("written");
        Self { _folder: folder, namer: Namer::new(shelf) }
    }

    /// The network ACL's number and the groups' rule, as words.
    fn named(&mut self, record: &FlowRecord) -> (String, String) {
        let Decisions { acl, groups } = self.namer.name(record).expect("readable");
        let policy = policy();
        let place = |id: &str| {
            for place in 0..2 {
                let group = &policy.groups[place];
                for way in Direction::BOTH {
                    let mut ids = group.rules(way).iter().map(|rule| group.rule_id(way, rule));
                    if let Some(position) = ids.position(|known| known == id) {
                        return format!("{place} {} {position}", way.name());
                    }
                }
            }
            panic!("no rule {id}")
        };
        let word = |decision: Option<String>, other: &str| decision.unwrap_or_else(|| other.to_owned());
        let kind = |text: String| text.split(['(', ' ']).next().unwrap_or_default().to_owned();
        (
            word(acl.rule().map(|rule| rule.number.to_string()), &kind(format!("{acl:?}"))),
            word(groups.rule().map(|rule| place(&rule.id)), &kind(format!("{groups:?}"))),
        )
    }
}

/// SSH from the office, let in and tracked under generation 1.
fn record() -> FlowRecord {
    FlowRecord {
        local: Ipv4Addr::new(10, 0, 1, 20).into(),
        remote: Ipv4Addr::new(198, 51, 100, 7).into(),
        local_port: 22,
        remote_port: 40_000,
        protocol: TCP,
        family: 4,
        direction: INGRESS,
        reason: Reason::Connection as u8,
        slot: 3,
        initiator: INGRESS,
        generation: 1,
        opened: 1,
        packets: 1,
        bytes: 40,
        ..FlowRecord::default()
    }
}

fn because(reason: Reason) -> FlowRecord {
    FlowRecord { reason: reason as u8, initiator: 0, opened: 0, ..record() }
}

fn names(acl: &str, groups: &str) -> (String, String) {
    (acl.to_owned(), groups.to_owned())
}

#[test]
fn a_connections_rule_is_the_one_that_admitted_it_in_both_directions_and_under_later_rules() {
    let mut place = Place::new();
    let ssh = "0 ingress 0";
    assert_eq!(place.named(&record()), names("100", ssh));
    let answer = FlowRecord { direction: EGRESS, ..record() };
    assert_eq!(place.named(&answer), names("110", ssh));
    // The network ACL is asked again; the groups are not.
    let later = FlowRecord { generation: 2, ..record() };
    assert_eq!(place.named(&later), names("101", ssh));
    let opened_later = FlowRecord { generation: 2, opened: 2, ..record() };
    assert_eq!(place.named(&opened_later), names("101", "1 ingress 0"));
}

#[test]
fn a_connection_that_the_interface_began_is_its_egress_rules() {
    let began = FlowRecord { initiator: EGRESS, local_port: 40_000, remote_port: 443, ..record() };
    let mut place = Place::new();
    assert_eq!(place.named(&began), names("100", "0 egress 0"));
    assert_eq!(place.named(&FlowRecord { direction: EGRESS, ..began }), names("110", "0 egress 0"));
}

#[test]
fn every_reason_names_what_decided() {
    let mut place = Place::new();
    let (ssh, out) = ("0 ingress 0", "0 egress 0");
    for reason in Reason::ALL.iter().copied().filter(|reason| reason.judged()) {
        let (ingress, egress) = match reason {
            Reason::NewConnection | Reason::Connection => continue,
            Reason::Untracked | Reason::Stray | Reason::StrictTcp | Reason::AllowanceExceeded => {
                (names("100", ssh), names("110", out))
            }
            Reason::Related => (names("100", "NotAsked"), names("110", "NotAsked")),
            // Rules that allow have denied nothing.
            Reason::NetworkAcl => (names("Unknown", "NotAsked"), names("Unknown", "NotAsked")),
            Reason::SecurityGroup => (names("100", "NoRule"), names("NotAsked", "NoRule")),
            Reason::Fragment | Reason::SourceDestCheck => {
                (names("NotAsked", "NotAsked"), names("NotAsked", "NotAsked"))
            }
            other => panic!("say what is named for {other:?}"),
        };
        assert_eq!(place.named(&because(reason)), ingress, "{reason:?}");
        let outward = FlowRecord { direction: EGRESS, ..because(reason) };
        assert_eq!(place.named(&outward), egress, "{reason:?}");
    }
}

#[test]
fn a_rejection_by_the_network_acl_has_its_number_or_that_of_the_star() {
    let mut place = Place::new();
    let from =
        |remote: IpAddr, family| FlowRecord { remote: remote.into(), family, ..because(Reason::NetworkAcl) };
    assert_eq!(place.named(&from([198, 51, 100, 9].into(), 4)).0, "90");
    let v6: IpAddr = "2001:db8::1".parse().expect("an address");
    assert_eq!(place.named(&from(v6, 6)).0, "32768");
}

#[test]
fn the_network_acl_is_not_asked_about_neighbours() {
    let near = FlowRecord { remote: Ipv4Addr::new(10, 0, 1, 30).into(), ..because(Reason::SecurityGroup) };
    assert_eq!(Place::new().named(&near), names("NotAsked", "NoRule"));
}

#[test]
fn icmp_is_asked_by_type() {
    let mut place = Place::new();
    let from_list = FlowRecord {
        remote: Ipv4Addr::new(203, 0, 113, 5).into(),
        protocol: ICMP,
        local_port: 77,
        remote_port: u16::from_be_bytes([8, INGRESS]),
        ..record()
    };
    assert_eq!(place.named(&from_list), names("100", "0 ingress 2"));
    assert_eq!(place.named(&FlowRecord { direction: EGRESS, ..from_list }), names("110", "0 ingress 2"));
    let message = |icmp_type: u8, reason: Reason| FlowRecord {
        local_port: 0,
        remote_port: u16::from_be_bytes([icmp_type, 0]),
        reason: reason as u8,
        ..from_list
    };
    assert_eq!(place.named(&message(8, Reason::Stray)), names("100", "0 ingress 2"));
    // The kernel would not say so of a type that no rule admits.
    assert_eq!(place.named(&message(13, Reason::Stray)), names("100", "Unknown"));
}

#[test]
fn a_rule_that_decides_otherwise_is_not_named() {
    use crate::policy::{NetworkAclRule, RuleService};
    let mut policy = policy();
    policy.nacl.ingress[0] = NetworkAclRule {
        service: RuleService::Icmp(Some(8), Some(0)),
        prefix: ipnet::Ipv4Net::default().into(),
        ..policy.nacl.ingress[0].clone()
    };
    let mut place = Place::new();
    place.namer.shelf().put(3, 7, &Encoded::of(&policy)).expect("written");
    // An echo request of code 5: rule 100 has let it in, and the record tells no code.
    let passed = FlowRecord {
        remote: Ipv4Addr::new(203, 0, 113, 5).into(),
        protocol: ICMP,
        remote_port: u16::from_be_bytes([8, INGRESS]),
        generation: 7,
        ..record()
    };
    assert_eq!(place.named(&passed), names("Unknown", "0 ingress 2"));
    let denied = FlowRecord { reason: Reason::NetworkAcl as u8, ..passed };
    let denied_8_0 = FlowRecord { remote_port: u16::from_be_bytes([8, 0]), ..denied };
    assert_eq!(place.named(&denied_8_0).0, "90");
    assert_eq!(place.named(&FlowRecord { protocol: TCP, ..denied }).0, "Unknown");
}

#[test]
fn rules_that_are_gone_are_unknown_and_what_is_no_record_is_too() {
    let mut place = Place::new();
    let unknown = names("Unknown", "Unknown");
    assert_eq!(place.named(&FlowRecord { slot: 4, ..record() }), unknown);
    assert_eq!(place.named(&FlowRecord { opened: 9, ..record() }), names("100", "Unknown"));
    assert_eq!(place.named(&FlowRecord { family: 5, ..record() }), unknown);
    assert_eq!(place.named(&FlowRecord { reason: 250, ..record() }), unknown);
}

/// Times are printed (`--nocapture`) and not asserted, as machines differ.
#[test]
fn a_hundred_thousand_rules_are_kept_and_found() {
    use std::time::Instant;

    use crate::policy::{GroupRule, Peer, RuleService};
    for count in [100_u32, 1_000, 100_000] {
        let mut policy = policy();
        policy.groups[0].ingress = (0..count)
            .map(|number| {
                let host = Ipv4Addr::from_bits(0x2c00_0000 + number);
                let port = 1024 + (number % 50_000) as u16;
                let rule =
                    GroupRule::new(RuleService::Tcp(port, port), Peer::Cidr(IpAddr::from(host).into()));
                GroupRule { description: Some(format!("host {number}").into()), ..rule }
            })
            .collect();
        let folder = tempfile::tempdir().expect("a folder");
        let shelf = Shelf::new(folder.path());
        let start = Instant::now();
        let book = Encoded::of(&policy);
        let encoded = start.elapsed();
        shelf.put(3, 1, &book).expect("written");
        let written = start.elapsed();
        let mut namer = Namer::new(shelf);
        let record = |number: u32| FlowRecord {
            remote: Ipv4Addr::from_bits(0x2c00_0000 + number).into(),
            local_port: 1024 + (number % 50_000) as u16,
            ..record()
        };
        let start = Instant::now();
        namer.name(&record(0)).expect("readable");
        let opened = start.elapsed();
        let asked = 100.min(count);
        let start = Instant::now();
        for number in (0..count).step_by((count / asked) as usize) {
            let named = namer.name(&record(number)).expect("readable");
            let group = &policy.groups[0];
            let expected = group.rule_id(Direction::Ingress, &group.ingress[number as usize]);
            assert_eq!(named.groups.rule().map(|rule| &*rule.id), Some(&*expected));
        }
        let new = start.elapsed() / asked;
        let start = Instant::now();
        for _ in 0..100_000 {
            namer.name(&record(0)).expect("readable");
        }
        println!(
            "{count} rules: {} bytes, {encoded:.1?} to encode, {written:.1?} with writing; {opened:.1?} to open; \
             a new question {new:.1?}, one that is remembered {:.0?}",
            book.bytes.len(),
            start.elapsed() / 100_000
        );
    }
}
