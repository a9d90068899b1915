//! Random policies, random packets: the tables say what the rules say.

use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::compile::{Limits, compile_with};

/// Addresses near each other, so that prefixes nest and touch, and at the ends of the space.
fn v4() -> impl Strategy<Value = IpNet> {
    let base = select(vec![
        0x0000_0000u32,
        0x0a00_0000,
        0x0a01_0000,
        0x0a01_0200,
        0x0a01_0203,
        0x0a01_ffff,
        0x7fff_ffff,
        0x8000_0000,
        0xa9fe_0000,
        0xa9fe_a9fe,
        0xe000_0001,
        0xffff_ffff,
    ]);
    let length = select(vec![0u8, 1, 7, 8, 9, 15, 16, 17, 18, 19, 23, 24, 25, 30, 31, 32]);
    (base, 0..4u32, length).prop_map(|(base, add, length)| {
        let address = Ipv4Addr::from_bits(base.wrapping_add(add));
        IpNet::new(address.into(), length).expect("a length that fits")
    })
}

/// Likewise; lengths and addresses at the borders of the 32-bit words that the tables cut at.
fn v6() -> impl Strategy<Value = IpNet> {
    let base = select(vec![
        0u128,
        0x2001_0db8_0000_0000_0000_0000_0000_0000,
        0x2001_0db8_0000_0001_0000_0000_0000_0000,
        0x2001_0db8_0000_0001_0000_0000_ffff_fffe,
        0x2001_0db8_ffff_ffff_ffff_ffff_ffff_fffe,
        0x2001_0db8_0001_0000_0000_0001_0000_0000,
        0xfe80_0000_0000_0000_0000_0000_0000_0001,
        0xff02_0000_0000_0000_0000_0000_0000_0001,
        u128::MAX,
    ]);
    let length = select(vec![0u8, 1, 9, 10, 16, 31, 32, 33, 48, 63, 64, 65, 95, 96, 97, 127, 128]);
    (base, 0..4u128, length).prop_map(|(base, add, length)| {
        let address = Ipv6Addr::from_bits(base.wrapping_add(add));
        IpNet::new(address.into(), length).expect("a length that fits")
    })
}

fn prefix() -> impl Strategy<Value = IpNet> {
    prop_oneof![v4(), v6()]
}

fn port() -> impl Strategy<Value = u16> {
    select(vec![0, 1, 22, 79, 80, 81, 255, 256, 257, 443, 1023, 1024, 32_768, 65_534, 65_535])
}

fn ports() -> impl Strategy<Value = (u16, u16)> {
    prop_oneof![
        4 => (port(), port()).prop_map(|(a, b)| (a.min(b), a.max(b))),
        1 => Just((0, u16::MAX)),
        1 => port().prop_map(|port| (port, port)),
    ]
}

fn octet() -> impl Strategy<Value = Option<u8>> {
    prop::option::of(select(vec![0, 1, 3, 4, 8, 128, 254, 255]))
}

fn service() -> impl Strategy<Value = RuleService> {
    prop_oneof![
        1 => Just(RuleService::All),
        4 => ports().prop_map(|(first, last)| RuleService::Tcp(first, last)),
        3 => ports().prop_map(|(first, last)| RuleService::Udp(first, last)),
        2 => (octet(), octet()).prop_map(|(icmp_type, code)| RuleService::Icmp(icmp_type, code)),
        2 => (octet(), octet()).prop_map(|(icmp_type, code)| RuleService::Icmpv6(icmp_type, code)),
        2 => select(vec![0, 2, 47, 50, 132, 255]).prop_map(RuleService::Protocol),
    ]
}

fn peer() -> impl Strategy<Value = Peer> {
    let members = || vec(prefix(), 0..4).prop_map(Into::into);
    prop_oneof![
        3 => prefix().prop_map(Peer::Cidr),
        1 => members().prop_map(|members| Peer::Group { id: "sg-2".into(), members }),
        1 => members().prop_map(|entries| Peer::PrefixList { id: "pl-1".into(), entries }),
    ]
}

fn group_rule() -> impl Strategy<Value = GroupRule> {
    (service(), peer()).prop_map(|(service, peer)| GroupRule::new(service, peer))
}

fn some_group() -> impl Strategy<Value = Group> {
    (vec(group_rule(), 0..10), vec(group_rule(), 0..10)).prop_map(|(ingress, egress)| group(ingress, egress))
}

fn acl_rules() -> impl Strategy<Value = Vec<NetworkAclRule>> {
    let rule = (1..40u16, any::<bool>(), service(), prefix())
        .prop_map(|(number, allow, service, prefix)| NetworkAclRule { number, allow, service, prefix });
    vec(rule, 0..10).prop_map(|mut rules| {
        rules.sort_by_key(|rule| rule.number);
        rules.dedup_by_key(|rule| rule.number);
        rules
    })
}

pub(crate) fn some_policy() -> impl Strategy<Value = EffectivePolicy> {
    let blocks = || vec(prefix(), 0..3);
    (vec(some_group(), 0..3), acl_rules(), acl_rules(), blocks(), [blocks(), blocks()], blocks()).prop_map(
        |(groups, ingress, egress, subnet, [reserved, platform], own)| {
            let mut policy = EffectivePolicy { groups, subnet, reserved, platform, ..empty() };
            policy.nacl.ingress = ingress;
            policy.nacl.egress = egress;
            policy.interface.own = own;
            policy
        },
    )
}

/// Every address at an edge of a prefix that the policy names or implies.
pub(crate) fn addresses_to_ask(policy: &EffectivePolicy) -> Vec<IpAddr> {
    let rules = policy.groups.iter().flat_map(|group| group.ingress.iter().chain(&group.egress));
    let acl = policy.nacl.ingress.iter().chain(&policy.nacl.egress);
    let implied = ["0.0.0.0/0", "::/0", "224.0.0.0/24", "fe80::/10", "ff02::/16"].map(net);
    let mut addresses: Vec<_> = rules
        .flat_map(|rule| rule.peer.prefixes())
        .chain(acl.map(|rule| &rule.prefix))
        .chain(
            policy.subnet.iter().chain(&policy.reserved).chain(&policy.platform).chain(&policy.interface.own),
        )
        .chain(&implied)
        .flat_map(edges)
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Every service at an edge of a rule's services.
pub(crate) fn services_to_ask(policy: &EffectivePolicy) -> Vec<Service> {
    let rules = policy.groups.iter().flat_map(|group| group.ingress.iter().chain(&group.egress));
    let acl = policy.nacl.ingress.iter().chain(&policy.nacl.egress);
    let mut services: Vec<_> =
        KINDS.into_iter().flat_map(|kind| [0, u16::MAX].map(|value| Service { kind, value })).collect();
    for service in rules.map(|rule| rule.service).chain(acl.map(|rule| rule.service)) {
        let icmp = |icmp_type: Option<u8>, code: Option<u8>| {
            let value = u16::from_be_bytes([icmp_type.unwrap_or(9), code.unwrap_or(9)]);
            (value, if code.is_none() { value | 0xff } else { value })
        };
        let (kind, (first, last)) = match service {
            RuleService::All => continue,
            RuleService::Tcp(first, last) => (ServiceKind::Tcp, (first, last)),
            RuleService::Udp(first, last) => (ServiceKind::Udp, (first, last)),
            RuleService::Icmp(icmp_type, code) => (ServiceKind::Icmp, icmp(icmp_type, code)),
            RuleService::Icmpv6(icmp_type, code) => (ServiceKind::Icmpv6, icmp(icmp_type, code)),
            RuleService::Protocol(number) => (ServiceKind::Other, (number.into(), number.into())),
        };
        let values = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
        services.extend(values.map(|value| Service { kind, value }));
    }
    services.sort_unstable();
    services.dedup();
    services
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_tables_say_what_the_rules_say(policy in some_policy(), seed in any::<u64>()) {
        let reference = Reference::new(&policy);
        let no_matrix = Limits { dense_bytes: 0, ..Limits::DEFAULT };
        let dense = compile(&policy).expect("a small policy compiles");
        let sparse = compile_with(&policy, no_matrix).expect("a small policy compiles");
        prop_assert!(!dense.statistics.sparse && sparse.statistics.sparse);
        let blocks = [dense, sparse].map(|compiled| compiled.block(&CLOCK, 1));

        let (addresses, services) = (addresses_to_ask(&policy), services_to_ask(&policy));
        let mut numbers = Numbers(seed);
        for &remote in &addresses {
            for _ in 0..12 {
                let service = services[numbers.below(services.len() as u64) as usize];
                for block in &blocks {
                    prop_assert_eq!(disagreement(block, &reference, remote, service), None);
                }
            }
        }
        for &service in &services {
            let remote = match numbers.below(2) {
                0 => IpAddr::V4(Ipv4Addr::from_bits(numbers.next() as u32)),
                _ => addresses[numbers.below(addresses.len() as u64) as usize],
            };
            prop_assert_eq!(disagreement(&blocks[0], &reference, remote, service), None);
        }
        for &local in &addresses {
            let own = policy.interface.own.iter().any(|block| block.contains(&local));
            prop_assert_eq!(policy::is_own(&blocks[0], &local.into(), Family::of(local)), own, "{}", local);
        }
    }
}
