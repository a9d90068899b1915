//! Policies of the sizes that budgets are about: they compile, they fit, and they say what the
//! rules say. Times are printed (`--nocapture`) and not asserted, as machines differ.

use std::time::Instant;

use super::*;
use crate::compile::{CompileError, Limits, Statistics, block::lay_out, cells::Decisions, compile_with};

/// Compiles, prints time and sizes, and asks about `probes` addresses at the edges of remotes.
fn check(name: &str, policy: &EffectivePolicy, probes: usize) -> Statistics {
    let start = Instant::now();
    let compiled = compile(policy).expect("it fits");
    println!("{name}: {:.0?}, tier {}, {:?}", start.elapsed(), compiled.tier, compiled.statistics);

    let block = compiled.block(&CLOCK, 1);
    let reference = Reference::new(policy);
    let rules: Vec<_> =
        policy.groups.iter().flat_map(|group| group.ingress.iter().chain(&group.egress)).collect();
    let acl = &policy.nacl.ingress;
    let mut numbers = Numbers(7);
    let mut pick = |length: usize| numbers.below(length as u64) as usize;
    for _ in 0..probes {
        let from_acl = !acl.is_empty() && pick(2) == 0;
        let (prefix, service) = if from_acl {
            let rule = &acl[pick(acl.len())];
            (rule.prefix, rule.service)
        } else {
            let prefixes = rules[pick(rules.len())].peer.prefixes();
            (prefixes[pick(prefixes.len())], rules[pick(rules.len())].service)
        };
        let remote = edges(&prefix)[pick(4)];
        let port = match service {
            RuleService::Tcp(first, last) => {
                [first, last, first.wrapping_sub(1), last.wrapping_add(1)][pick(4)]
            }
            _ => pick(65_536) as u16,
        };
        assert_eq!(disagreement(&block, &reference, remote, tcp(port)), None, "{name}");
    }
    compiled.statistics
}

/// A policy with an open egress, a network ACL that allows all, and these ingress rules.
fn ingress(rules: Vec<GroupRule>) -> EffectivePolicy {
    let everywhere = ["0.0.0.0/0", "::/0"];
    let mut policy = empty();
    policy.groups = vec![group(rules, super::rules(RuleService::All, everywhere))];
    for (number, prefix) in [(100, everywhere[0]), (101, everywhere[1])] {
        policy.nacl.ingress.push(acl_rule(number, true, RuleService::All, prefix));
        policy.nacl.egress.push(acl_rule(number, true, RuleService::All, prefix));
    }
    policy.subnet = vec![net("10.0.0.0/24")];
    policy
}

/// Lengths as in a routing table: /24 55 %, /20 to /23 20 %, /16 to /19 10 %, /26 to /32 15 %.
fn random_v4(numbers: &mut Numbers) -> IpNet {
    let length = match numbers.below(100) {
        0..55 => 24,
        55..75 => 20 + numbers.below(4),
        75..85 => 16 + numbers.below(4),
        _ => 26 + numbers.below(7),
    };
    IpNet::new(Ipv4Addr::from_bits(numbers.next() as u32).into(), length as u8)
        .expect("a length that fits")
        .trunc()
}

fn random_v6(numbers: &mut Numbers) -> IpNet {
    let block = (0x2001_0000 + numbers.below(4096) as u128) << 96;
    let inside = u128::from(numbers.next()) << 32 | u128::from(numbers.next() as u32);
    let length = [32, 40, 44, 48, 48, 48, 48, 56, 64, 128][numbers.below(10) as usize];
    IpNet::new(Ipv6Addr::from_bits(block | inside).into(), length).expect("a length that fits").trunc()
}

fn host(number: u32) -> IpNet {
    IpNet::new(Ipv4Addr::from_bits(number).into(), 32).expect("a length that fits")
}

#[test]
fn a_hundred_thousand_hosts_with_one_rule_are_one_class() {
    let https = |index: u32| cidr(RuleService::Tcp(443, 443), host(0xc000_0000 + 3 * index));
    let policy = ingress((0..100_000).map(https).collect());
    let statistics = check("100,000 hosts, one port", &policy, 300);
    // Outside, the hosts, the subnet, the link's groups, link-local.
    assert_eq!(statistics.address_classes_v4, 5);
    assert_eq!(statistics.service_classes, 2);
}

#[test]
fn a_hundred_thousand_prefixes_with_a_thousand_ports_fit() {
    let mut numbers = Numbers(1);
    let rules = (0..100_000)
        .map(|_| {
            let port = 1000 + numbers.below(1000) as u16;
            cidr(RuleService::Tcp(port, port), random_v4(&mut numbers))
        })
        .collect();
    check("100,000 IPv4 prefixes, each one of 1,000 ports", &ingress(rules), 300);
}

#[test]
fn a_hundred_thousand_ipv6_prefixes_fit() {
    let mut numbers = Numbers(2);
    let rules = (0..100_000)
        .map(|_| {
            let port = 1000 + numbers.below(64) as u16;
            cidr(RuleService::Tcp(port, port), random_v6(&mut numbers))
        })
        .collect();
    check("100,000 IPv6 prefixes, each one of 64 ports", &ingress(rules), 300);
}

#[test]
fn ten_thousand_rules_that_share_nothing_fit() {
    let mut numbers = Numbers(3);
    let rules = (0..10_000)
        .map(|_| {
            let (a, b) = (numbers.below(65_536) as u16, numbers.below(65_536) as u16);
            cidr(RuleService::Tcp(a.min(b), a.max(b)), random_v4(&mut numbers))
        })
        .collect();
    let statistics = check("10,000 prefixes, each its own port range", &ingress(rules), 1000);
    assert!(statistics.sparse);
}

#[test]
fn three_thousand_nested_prefixes_with_port_ranges_of_their_own_fit() {
    let mut numbers = Numbers(4);
    let rules = (0..3_000)
        .map(|_| {
            let first = numbers.below(65_000) as u16;
            let length = 17 + numbers.below(16) as u8;
            let address = 0x0a00_0000 | numbers.below(1 << 16) as u32;
            let prefix =
                IpNet::new(Ipv4Addr::from_bits(address).into(), length).expect("a length that fits").trunc();
            cidr(RuleService::Tcp(first, first + 3), prefix)
        })
        .collect();
    check("3,000 prefixes within 10.0.0.0/16, each its own port range", &ingress(rules), 500);
}

#[test]
fn a_blocklist_before_allow_all_is_two_decisions() {
    let mut policy = ingress(vec![rule(RuleService::All, "0.0.0.0/0")]);
    let denied = (1..=30_000).map(|number: u16| NetworkAclRule {
        number,
        allow: false,
        service: RuleService::All,
        prefix: host(0xc000_0000 + 5 * u32::from(number)),
    });
    policy.nacl.ingress = denied.chain([acl_rule(32_000, true, RuleService::All, "0.0.0.0/0")]).collect();
    let statistics = check("network ACL of 30,000 denied hosts", &policy, 300);
    assert_eq!(statistics.address_classes_v4, 5);
}

#[test]
fn a_hundred_thousand_hosts_below_a_rule_of_many_ports_are_few_decisions() {
    let mut rules: Vec<_> =
        (0..2_000).map(|index| rule(RuleService::Tcp(7 * index, 7 * index + 2), "0.0.0.0/0")).collect();
    for service in [RuleService::Tcp(22, 22), RuleService::Tcp(3389, 3389), RuleService::All] {
        let first = 0xc000_0000 + rules.len() as u32 % 3;
        rules.extend((0..33_000).map(|index| cidr(service, host(first + 3 * index))));
    }
    let statistics = check("2,000 ports for all and 99,000 hosts with more", &ingress(rules), 300);
    assert!(!statistics.sparse);
}

#[test]
fn too_many_service_classes_are_refused_with_advice() {
    // Each port of TCP and of UDP has an address that is allowed nothing else.
    let rules = (0..=u16::MAX)
        .flat_map(|port| [RuleService::Tcp(port, port), RuleService::Udp(port, port)])
        .zip(0x0b00_0000..)
        .map(|(service, address)| cidr(service, host(address)))
        .collect();
    let error = compile(&ingress(rules)).expect_err("131,072 classes");
    assert!(matches!(error, CompileError::ServiceClasses { classes: 131_073, .. }), "{error}");
    assert!(error.to_string().contains("use port ranges"), "{error}");
}

#[test]
fn prefixes_and_ports_that_combine_without_end_are_refused_with_advice() {
    // Each host is a row of its own: a few runs, beside those of the network around it.
    let ports = (0..100).map(|port| rule(RuleService::Tcp(2 * port, 2 * port), "10.0.0.0/24"));
    let hosts = (0..100)
        .map(|port| cidr(RuleService::Tcp(2 * port + 1, 2 * port + 1), host(0x0a00_0000 + u32::from(port))));
    let policy = ingress(ports.chain(hosts).collect());
    assert!(compile(&policy).is_ok());
    for limits in [Limits { runs: 200, ..Limits::DEFAULT }, Limits { steps: 200, ..Limits::DEFAULT }] {
        let error = compile_with(&policy, limits).expect_err("it takes more");
        assert!(matches!(error, CompileError::Entangled { .. }), "{error}");
        assert!(error.to_string().contains("fewer different port ranges"), "{error}");
    }
}

#[test]
fn a_block_that_is_too_large_is_refused_with_its_sizes() {
    let row: Vec<_> = (0..65_536).map(|column| (column, column as u16 & 1)).collect();
    let decisions = Decisions {
        v4: vec![(0, 0)],
        v6: vec![(0, 0)],
        classes: vec![(0, 0)],
        columns: 65_536,
        rows: vec![row; 130],
    };
    let own = [vec![(0, 0)], vec![(0, 0)]];
    let Err(error) = lay_out(&decisions, &own, &Limits::DEFAULT) else {
        panic!("130 times 65,536 runs do not fit")
    };
    assert!(matches!(error, CompileError::TooLarge { rows: 130, columns: 65_536, .. }), "{error}");
    assert!(error.to_string().contains("67108864 is the most"), "{error}");
}

/// Every other /64 below one /32.
fn crowd(prefixes: u128) -> EffectivePolicy {
    let rules = (0..prefixes)
        .map(|index| IpNet::new(Ipv6Addr::from_bits(0x2001_0db8 << 96 | index << 65).into(), 64))
        .map(|prefix| cidr(RuleService::Tcp(1, 1), prefix.expect("a length that fits")));
    ingress(rules.collect())
}

#[test]
fn a_hundred_thousand_prefixes_below_one_ipv6_network_fit() {
    let statistics = check("100,000 prefixes below one /32", &crowd(100_000), 300);
    assert_eq!(statistics.address_classes_v6, 4);
}

#[test]
fn too_many_ranges_below_one_ipv6_network_are_refused_by_name() {
    let error = compile(&crowd(1_060_000)).expect_err("2,120,000 ranges below 2001:db8::/32");
    assert!(error.to_string().contains("below 2001:db8::/32"), "{error}");
}
