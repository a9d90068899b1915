//! The compiler against the reference.

pub(crate) mod agreement;
mod edges;
mod large;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use filter_common::{
    Direction,
    address::Family,
    cell::Cell,
    policy::{self, Words},
    service::{Service, ServiceKind},
    track::IdleTimeouts,
};
use ipnet::IpNet;

use super::compile;
use crate::{
    clock::Clock,
    policy::{
        EffectivePolicy, Exemptions, Group, GroupRule, Interface, NetworkAcl, NetworkAclRule, Peer,
        RuleService,
    },
    reference::Reference,
};

const CLOCK: Clock = Clock { hz: 250, ticks: 1_000_000, unix_nanos: 1_700_000_000_500_000_000 };

const KINDS: [ServiceKind; 5] =
    [ServiceKind::Tcp, ServiceKind::Udp, ServiceKind::Icmp, ServiceKind::Icmpv6, ServiceKind::Other];

/// A policy that has nothing: no group, an empty network ACL.
pub(crate) fn empty() -> EffectivePolicy {
    EffectivePolicy {
        interface: Interface {
            id: "eni-1".into(),
            vpc_id: "vpc-1".into(),
            subnet_id: "subnet-1".into(),
            account_id: "123456789012".into(),
            primary_v4: None,
            primary_v6: None,
            own: Vec::new(),
            ..Interface::default()
        },
        subnet: Vec::new(),
        exemptions: Exemptions::Ranges,
        reserved: Vec::new(),
        platform: vec![net("169.254.0.0/16")],
        groups: Vec::new(),
        nacl: NetworkAcl { id: "acl-1".into(), ingress: Vec::new(), egress: Vec::new() },
        timeouts: IdleTimeouts::default(),
        allowance: None,
        source_dest_check: false,
        strict_tcp: false,
        flow_log_interval: None,
        flow_logs: Vec::new(),
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a test's prefix")
}

fn cidr(service: RuleService, prefix: IpNet) -> GroupRule {
    GroupRule::new(service, Peer::Cidr(prefix))
}

fn rule(service: RuleService, prefix: &str) -> GroupRule {
    cidr(service, net(prefix))
}

fn rules<const COUNT: usize>(service: RuleService, prefixes: [&str; COUNT]) -> Vec<GroupRule> {
    prefixes.map(|prefix| rule(service, prefix)).into()
}

fn group(ingress: Vec<GroupRule>, egress: Vec<GroupRule>) -> Group {
    Group { id: "sg-1".into(), name: "group".into(), ingress, egress }
}

fn acl_rule(number: u16, allow: bool, service: RuleService, prefix: &str) -> NetworkAclRule {
    NetworkAclRule { number, allow, service, prefix: net(prefix) }
}

fn tcp(port: u16) -> Service {
    Service { kind: ServiceKind::Tcp, value: port }
}

fn compiled_cell(block: &Words, direction: Direction, remote: IpAddr, service: Service) -> Cell {
    policy::cell(block, direction, &remote.into(), Family::of(remote), service)
}

/// Asks both and compares; `None` if they agree.
fn disagreement(
    block: &Words,
    reference: &Reference<'_>,
    remote: IpAddr,
    service: Service,
) -> Option<(Direction, IpAddr, Service, Cell, Cell)> {
    Direction::BOTH.into_iter().find_map(|direction| {
        let compiled = compiled_cell(block, direction, remote, service);
        let expected = reference.cell(direction, remote, service);
        (compiled != expected).then_some((direction, remote, service, compiled, expected))
    })
}

/// Compiles, and asserts what a packet's cell is, in both.
struct Checked<'a> {
    policy: &'a EffectivePolicy,
    block: Words,
}

impl<'a> Checked<'a> {
    fn new(policy: &'a EffectivePolicy) -> Self {
        let block = compile(policy).expect("a small policy compiles").block(&CLOCK, 1);
        Self { policy, block }
    }

    #[track_caller]
    fn cell(&self, direction: Direction, remote: &str, service: Service) -> Cell {
        let remote = remote.parse().expect("a test's address");
        let cell = compiled_cell(&self.block, direction, remote, service);
        assert_eq!(
            cell,
            Reference::new(self.policy).cell(direction, remote, service),
            "{remote} {service:?}"
        );
        cell
    }

    #[track_caller]
    fn groups_allow(&self, remote: &str, service: Service) -> bool {
        self.cell(Direction::Ingress, remote, service).has(Cell::GROUP_ALLOW)
    }

    #[track_caller]
    fn acl_allows(&self, remote: &str, service: Service) -> bool {
        self.cell(Direction::Ingress, remote, service).has(Cell::NACL_ALLOW)
    }
}

/// First and last address of a prefix, and their neighbours outside.
fn edges(prefix: &IpNet) -> [IpAddr; 4] {
    match prefix {
        IpNet::V4(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpNet::V6(net) => {
            let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

/// A simple generator of numbers (SplitMix64; Steele, Lea, Flood 2014): the large policies are the
/// same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
