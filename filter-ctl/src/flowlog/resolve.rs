//! From the kernel's record, which knows slots and stamps, to one that knows names and times.

use std::{collections::HashMap, net::IpAddr};

use filter_common::{
    Direction,
    address::Family,
    record::FlowRecord,
    service::{TCP, UDP},
    verdict::Reason,
};

use super::record::{Content, Flow, Loss, Record};
use crate::{
    clock::Clock,
    naming::Decisions,
    policy::{Interface, Placement},
    state::Attachment,
};

/// Which interface stood behind a slot, and when.
///
/// It remembers the interfaces that were detached since it was made: a reader that follows the
/// log finds their last records in the ring after they are gone.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    /// By slot, in the order of their attachment.
    slots: HashMap<u32, Vec<Attachment>>,
}

impl Resolver {
    /// Learns what is attached now.
    pub fn learn(&mut self, attachments: Vec<Attachment>) {
        for attachment in attachments {
            let known = self.slots.entry(attachment.slot).or_default();
            match known.iter_mut().find(|known| same(known, &attachment)) {
                Some(known) => *known = attachment,
                None => known.push(attachment),
            }
        }
    }

    /// The interface that has each slot, or had it last.
    pub fn latest(&self) -> impl Iterator<Item = &Attachment> {
        self.slots.values().filter_map(|known| known.last())
    }

    /// The interface that had a slot at a time. A record that seems older than every attachment
    /// that is known goes to the oldest one: a step of the clock can make it seem so.
    fn at(&self, slot: u32, unix_seconds: u64) -> Option<&Attachment> {
        let known = self.slots.get(&slot)?;
        known.iter().rev().find(|known| known.attached_at <= unix_seconds).or_else(|| known.first())
    }

    /// Resolves a record, whose rules are named already.
    #[must_use]
    pub fn resolve(&self, record: &FlowRecord, rules: Decisions, clock: &Clock) -> Record {
        let (start, end) = (clock.unix_seconds(record.first), clock.unix_seconds(record.last));
        let attachment = self.at(u32::from(record.slot), end);
        let direction =
            if record.direction == Direction::Ingress as u8 { Direction::Ingress } else { Direction::Egress };
        let flow = flow(record, rules, attachment, end);
        // What cannot be read still counts: as a loss.
        let loss = Loss { packets: record.packets, bytes: record.bytes, records: 1 };
        Record {
            direction: Some(direction),
            // Two CPUs' stamps can differ by a tick.
            end: end.max(start),
            start,
            content: flow.map_or(Content::Lost(loss), Content::Flow),
            ..blank(attachment.map(|known| &known.interface))
        }
    }
}

/// A record about an interface that says nothing yet.
#[must_use]
pub(super) fn blank(interface: Option<&Interface>) -> Record {
    let name = |name: fn(&Interface) -> &String| interface.map(|known| name(known).clone());
    let placement = interface.map(|known| &known.placement);
    Record {
        interface_id: name(|interface| &interface.id),
        account_id: name(|interface| &interface.account_id),
        vpc_id: name(|interface| &interface.vpc_id),
        subnet_id: name(|interface| &interface.subnet_id),
        placement: placement.filter(|known| ***known != Placement::default()).cloned(),
        direction: None,
        start: 0,
        end: 0,
        content: Content::Idle,
    }
}

/// Whether two descriptions are of the same attachment.
fn same(one: &Attachment, other: &Attachment) -> bool {
    one.attached_at == other.attached_at && one.interface.id == other.interface.id
}

/// The flow in a record; `None` if its family or its reason are none that we know.
fn flow(record: &FlowRecord, rules: Decisions, attachment: Option<&Attachment>, end: u64) -> Option<Flow> {
    let family = match record.family {
        4 => Family::V4,
        6 => Family::V6,
        _ => return None,
    };
    let (local, remote) = (record.local.to_ip(family), record.remote.to_ip(family));
    let outgoing = record.direction == Direction::Egress as u8;
    // Of other protocols the key has other things in the ports' place.
    let ports = matches!(record.protocol, TCP | UDP).then_some((record.local_port, record.remote_port));
    let (local_port, remote_port) = ports.unwrap_or_default();
    Some(Flow {
        local,
        shown: attachment.map_or(local, |known| shown(local, &known.interface)),
        remote,
        local_port,
        remote_port,
        protocol: record.protocol,
        packets: record.packets,
        bytes: record.bytes,
        tcp_flags: record.tcp_flags.into(),
        reason: Reason::from_number(record.reason)?,
        interval: record.interval,
        interval_seconds: interval_seconds(record.interval, attachment.and_then(|known| known.interval), end),
        traffic_path: attachment
            .filter(|_| outgoing)
            .and_then(|known| traffic_path(remote, &known.interface)),
        generation: record.generation,
        rules,
    })
}

/// The length of a record's interval: `now`, unless the number says that it was counted before an
/// `apply` changed that. The number of an interval since the epoch tells the length of those that
/// documents can have (up to 600 s) even by a clock that is days off.
fn interval_seconds(number: u32, now: Option<u32>, unix_seconds: u64) -> Option<u32> {
    let fits = |length: &u32| (unix_seconds / u64::from(*length)).abs_diff(u64::from(number)) <= 1;
    let told = || {
        let seconds = (unix_seconds as f64 / (f64::from(number) + 0.5)).round();
        (number > 0 && (1.0..=86_400.0).contains(&seconds)).then_some(seconds as u32)
    };
    now.filter(|length| *length > 0).filter(fits).or_else(told)
}

/// The way of outgoing traffic (VPC guide, `flow-log-records`, *traffic-path*).
///
/// 1 is "through another resource in the same VPC". A VPC's blocks are routed locally, so a remote
/// address in them is one. Which gateway traffic to other addresses takes is known to AWS's routers
/// alone.
fn traffic_path(remote: IpAddr, interface: &Interface) -> Option<u8> {
    interface.vpc_blocks.iter().any(|block| block.contains(&remote)).then_some(1)
}

/// The local address that a flow log shows.
///
/// VPC guide, `flow-log-records`: *srcaddr* of outgoing traffic and *dstaddr* of incoming traffic
/// are "the primary private IPv4 address" of the network interface, whatever the packet had; the
/// packet's own are *pkt-srcaddr* and *pkt-dstaddr*. IPv6 addresses have no such rank: one of the
/// interface's is shown as it is.
fn shown(local: IpAddr, interface: &Interface) -> IpAddr {
    match local {
        IpAddr::V4(_) => interface.primary_v4.map_or(local, IpAddr::V4),
        IpAddr::V6(_) if interface.own.iter().any(|own| own.contains(&local)) => local,
        IpAddr::V6(_) => interface.primary_v6.map_or(local, IpAddr::V6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowlog::fake::{CLOCK, attachment, record};

    fn resolve(record: &FlowRecord) -> Record {
        let mut resolver = Resolver::default();
        resolver.learn(vec![attachment(3, "eni-0a1")]);
        resolver.resolve(record, Decisions::default(), &CLOCK)
    }

    fn flow_of(record: &Record) -> &Flow {
        match &record.content {
            Content::Flow(flow) => flow,
            other => panic!("no flow: {other:?}"),
        }
    }

    /// Conformance 38: A packet to a secondary address of E: `dstaddr` is the primary one, `pkt-dstaddr` the packet's.
    /// Source: VPC guide `flow-logs-limitations`.
    /// Enforced: `filter-ctl/src/flowlog/resolve.rs` (`shown`, `flow`).
    #[test]
    fn row_38_the_primary_address_is_shown_and_the_packets_own_is_kept() {
        let resolved = resolve(&FlowRecord { local: [10, 0, 1, 99].into_address(), ..record(3) });
        let flow = flow_of(&resolved);
        assert_eq!(flow.shown.to_string(), "10.0.1.20");
        assert_eq!(flow.local.to_string(), "10.0.1.99");
    }

    #[test]
    fn an_ipv6_address_of_the_interface_is_shown_as_it_is_and_a_foreign_one_as_the_first() {
        let v6 = |text: &str| match text.parse::<IpAddr>() {
            Ok(address) => address.into(),
            Err(error) => panic!("{text}: {error}"),
        };
        let with_local = |local| FlowRecord { family: 6, local, remote: v6("2001:db8:9::1"), ..record(3) };
        let own = resolve(&with_local(v6("2001:db8:1::21")));
        assert_eq!(flow_of(&own).shown.to_string(), "2001:db8:1::21");
        let foreign = resolve(&with_local(v6("2001:db8:7::7")));
        assert_eq!(flow_of(&foreign).shown.to_string(), "2001:db8:1::20");
        assert_eq!(flow_of(&foreign).local.to_string(), "2001:db8:7::7");
    }

    #[test]
    fn a_record_of_an_unknown_slot_is_kept_without_names() {
        let resolved = resolve(&record(9));
        assert_eq!(resolved.interface_id, None);
        assert_eq!(flow_of(&resolved).packets, record(9).packets);
    }

    #[test]
    fn a_record_with_an_unknown_reason_counts_as_lost() {
        let resolved = resolve(&FlowRecord { reason: 250, ..record(3) });
        let packets = record(3).packets;
        assert_eq!(resolved.content, Content::Lost(Loss { packets, bytes: record(3).bytes, records: 1 }));
        assert_eq!(resolved.interface_id.as_deref(), Some("eni-0a1"));
    }

    #[test]
    fn a_slots_former_interface_keeps_its_records() {
        let mut resolver = Resolver::default();
        let seen = CLOCK.unix_seconds(record(3).last);
        resolver.learn(vec![Attachment { attached_at: seen - 100, ..attachment(3, "eni-old") }]);
        resolver.learn(vec![Attachment { attached_at: seen + 5, ..attachment(3, "eni-new") }]);
        let interface =
            |record: &FlowRecord| resolver.resolve(record, Decisions::default(), &CLOCK).interface_id;
        assert_eq!(interface(&record(3)).as_deref(), Some("eni-old"));
        let later = FlowRecord { last: CLOCK.stamp(), ..record(3) };
        assert_eq!(interface(&later).as_deref(), Some("eni-new"));
    }

    #[test]
    fn a_number_tells_its_intervals_length() {
        for seconds in [1, 2, 3, 7, 10, 59, 60, 61, 300, 599, 600] {
            for now in [1_500_000_000_u64, 1_700_000_123, 4_000_000_000] {
                let number = (now / u64::from(seconds)) as u32;
                // Of another length by now; a day's difference between the clocks.
                for (length, clock) in [(seconds, now), (seconds + 1, now), (20, now), (60, now + 86_400)] {
                    let told = interval_seconds(number, Some(length), clock);
                    assert_eq!(told, Some(seconds), "{seconds} s at {now}, {length} s");
                }
            }
        }
        assert_eq!(interval_seconds(19_675, Some(86_400), 1_700_000_000), Some(86_400));
        assert_eq!(interval_seconds(0, None, 1_700_000_000), None);
    }

    /// Conformance 5.6-a: `traffic-path` is 1 for outgoing traffic to the same VPC, and `-` for incoming traffic.
    /// Source: VPC guide `flow-log-records`.
    /// Enforced: `filter-ctl/src/flowlog/resolve.rs` (`traffic_path`, `flow`).
    #[test]
    fn outgoing_traffic_to_the_same_vpc_has_path_1_and_no_other_is_known() {
        let interface =
            Interface { vpc_blocks: vec!["10.0.0.0/16".parse().expect("a block")], ..Interface::default() };
        let path = |remote: [u8; 4]| traffic_path(IpAddr::from(remote), &interface);
        assert_eq!([path([10, 0, 200, 1]), path([198, 51, 100, 7])], [Some(1), None]);
        let mut resolver = Resolver::default();
        resolver.learn(vec![Attachment { interface, ..attachment(3, "eni-0a1") }]);
        let within = FlowRecord { remote: [10, 0, 2, 2].into_address(), ..record(3) };
        let out = FlowRecord { direction: Direction::Egress as u8, ..within };
        let path = |record| flow_of(&resolver.resolve(record, Decisions::default(), &CLOCK)).traffic_path;
        assert_eq!([path(&within), path(&out)], [None, Some(1)]);
    }

    #[test]
    fn only_tcp_and_udp_have_ports() {
        for (protocol, ports) in [(6, (22, 40022)), (17, (22, 40022)), (1, (0, 0)), (50, (0, 0))] {
            let resolved = resolve(&FlowRecord { protocol, ..record(3) });
            let flow = flow_of(&resolved);
            assert_eq!((flow.local_port, flow.remote_port), ports, "protocol {protocol}");
        }
    }

    trait IntoAddress {
        fn into_address(self) -> filter_common::address::Address;
    }

    impl IntoAddress for [u8; 4] {
        fn into_address(self) -> filter_common::address::Address {
            IpAddr::from(self).into()
        }
    }
}
