//! Edges, one by one, each named after the rule it proves.

use filter_common::{
    abi::CONNECTIONS,
    cell::untracked,
    policy::{HEADER_WORDS, PolicyHeader, TIERS, flags},
    track::Phase,
};

use super::*;

#[test]
fn no_group_at_all_denies_both_ways() {
    let policy = empty();
    let checked = Checked::new(&policy);
    for direction in DIRECTIONS {
        assert_eq!(checked.cell(direction, "192.0.2.1", tcp(22)), Cell(0));
        assert_eq!(checked.cell(direction, "2001:db8::1", tcp(22)), Cell(0));
    }
}

#[test]
fn port_ranges_hold_to_both_ends() {
    let rules =
        [(7000, 8000), (0, 0), (65_535, 65_535)].map(|(a, b)| rule(RuleService::Tcp(a, b), "192.0.2.0/24"));
    let policy = EffectivePolicy { groups: vec![group(rules.into(), vec![])], ..empty() };
    let checked = Checked::new(&policy);
    let allowed = [6999, 7000, 8000, 8001, 0, 1, 65_534, 65_535]
        .map(|port| checked.groups_allow("192.0.2.9", tcp(port)));
    assert_eq!(allowed, [false, true, true, false, true, false, false, true]);
    assert!(!checked.groups_allow("192.0.2.9", Service { kind: ServiceKind::Udp, value: 7000 }));
    assert!(!checked.groups_allow("192.0.3.0", tcp(7000)));
}

/// Conformance 7.
#[test]
fn row_7_icmp_rules_ask_for_type_and_code() {
    let icmp = |icmp_type, code| rules(RuleService::Icmp(icmp_type, code), ["192.0.2.0/24", "2001:db8::/32"]);
    let policy = EffectivePolicy {
        groups: vec![group([icmp(Some(8), None), icmp(Some(3), Some(4))].concat(), vec![])],
        ..empty()
    };
    let checked = Checked::new(&policy);
    let allowed =
        |remote: &str, icmp_type, code| checked.groups_allow(remote, Service::icmp(1, icmp_type, code));
    assert!(allowed("192.0.2.1", 8, 0) && allowed("192.0.2.1", 8, 255) && allowed("192.0.2.1", 3, 4));
    assert!(!allowed("192.0.2.1", 3, 1) && !allowed("192.0.2.1", 13, 0) && !allowed("192.0.2.1", 9, 0));
    // An `icmp` rule for an IPv6 range matches nothing.
    assert!(!allowed("2001:db8::1", 8, 0));
}

/// Conformance 10.
#[test]
fn row_10_all_protocols_from_everywhere_is_of_one_family() {
    let policy =
        EffectivePolicy { groups: vec![group(vec![rule(RuleService::All, "0.0.0.0/0")], vec![])], ..empty() };
    let checked = Checked::new(&policy);
    for kind in KINDS {
        assert!(checked.groups_allow("192.0.2.1", Service { kind, value: 47 }));
        assert!(!checked.groups_allow("2001:db8::1", Service { kind, value: 47 }));
    }
}

/// Conformance 25.
#[test]
fn row_25_the_lowest_number_wins() {
    let mut policy = empty();
    policy.nacl.ingress = vec![
        acl_rule(100, false, RuleService::Tcp(22, 22), "192.0.2.7/32"),
        acl_rule(110, true, RuleService::All, "0.0.0.0/0"),
        acl_rule(120, false, RuleService::All, "0.0.0.0/0"),
    ];
    let checked = Checked::new(&policy);
    assert!(!checked.acl_allows("192.0.2.7", tcp(22)));
    assert!(checked.acl_allows("192.0.2.7", tcp(23)));
    assert!(checked.acl_allows("192.0.2.8", tcp(22)));
    assert!(!checked.acl_allows("2001:db8::1", tcp(22)));
}

/// Conformance 28.
#[test]
fn row_28_the_network_acl_is_not_asked_within_the_subnet() {
    let mut policy = empty();
    policy.subnet = vec![net("10.0.1.0/24"), net("2001:db8:0:1::/64")];
    policy.nacl.ingress = vec![acl_rule(1, false, RuleService::All, "0.0.0.0/0")];
    let checked = Checked::new(&policy);
    for inside in ["10.0.1.0", "10.0.1.255", "2001:db8:0:1::9", "fe80::1", "febf::1"] {
        assert!(checked.acl_allows(inside, tcp(22)), "{inside}");
    }
    for outside in ["10.0.2.0", "10.0.0.255", "2001:db8:0:2::", "fec0::1", "ff05::1", "224.0.1.0"] {
        assert!(!checked.acl_allows(outside, tcp(22)), "{outside}");
    }
    // The link's groups are in the subnet, but nothing comes from a group.
    for group in ["ff02::1", "224.0.0.251"] {
        let asked = |direction| !checked.cell(direction, group, tcp(22)).has(Cell::NACL_ALLOW);
        assert_eq!((asked(Direction::Ingress), asked(Direction::Egress)), (true, false), "{group}");
    }
}

#[test]
fn a_denied_protocol_58_of_ipv4_stays_denied() {
    let mut policy = empty();
    policy.nacl.ingress = vec![
        acl_rule(1, false, RuleService::Icmpv6(None, None), "0.0.0.0/0"),
        acl_rule(2, true, RuleService::All, "0.0.0.0/0"),
    ];
    let checked = Checked::new(&policy);
    assert!(!checked.acl_allows("192.0.2.1", Service::icmp(58, 128, 0)));
    assert!(checked.acl_allows("192.0.2.1", Service::icmp(1, 8, 0)));
}

#[test]
fn exempt_addresses_keep_their_other_bits() {
    let mut policy = EffectivePolicy {
        groups: vec![group(vec![rule(RuleService::Tcp(80, 80), "0.0.0.0/0")], vec![])],
        reserved: vec![net("10.0.1.0/30")],
        subnet: vec![net("10.0.1.0/24")],
        ..empty()
    };
    let checked = Checked::new(&policy);
    let allowed = Cell::GROUP_ALLOW | Cell::ANY_ADDRESS | Cell::NARROW;
    let cell = |remote| checked.cell(Direction::Ingress, remote, tcp(80)).0;
    let subnet = Cell::SAME_SUBNET | Cell::NACL_ALLOW | allowed;
    assert_eq!(cell("10.0.1.3"), Cell::EXEMPT | subnet);
    assert_eq!(cell("10.0.1.4"), subnet);
    assert_eq!(cell("169.254.169.254"), Cell::EXEMPT | Cell::LINK_LOCAL | allowed);
    assert_eq!(cell("169.255.0.0"), allowed);
    assert_eq!(checked.cell(Direction::Egress, "169.254.0.0", tcp(1)), Cell(Cell::EXEMPT | Cell::LINK_LOCAL));

    // What is reserved is exempt in its own right, and not only as link-local.
    policy.reserved = vec![net("169.254.7.0/30")];
    let checked = Checked::new(&policy);
    assert_eq!(checked.cell(Direction::Egress, "169.254.7.3", tcp(1)), Cell(Cell::EXEMPT));
}

/// EC2 guide, `security-group-connection-tracking`: the page's example.
#[test]
fn an_open_port_with_open_egress_is_untracked_and_a_narrow_one_is_not() {
    let ingress =
        vec![rule(RuleService::Tcp(22, 22), "203.0.113.1/32"), rule(RuleService::Tcp(80, 80), "0.0.0.0/0")];
    let policy = EffectivePolicy {
        groups: vec![group(ingress, vec![rule(RuleService::All, "0.0.0.0/0")])],
        ..empty()
    };
    let checked = Checked::new(&policy);
    let is_untracked = |remote, port| {
        let request = checked.cell(Direction::Ingress, remote, tcp(port));
        let answer = checked.cell(Direction::Egress, remote, tcp(40_000));
        untracked(request, answer) && untracked(answer, request)
    };
    assert!(is_untracked("203.0.113.1", 80));
    assert!(!is_untracked("203.0.113.1", 22));
}

#[test]
fn a_prefix_list_or_group_that_covers_everything_is_no_any_address_rule() {
    let everywhere = || [net("0.0.0.0/0")].into();
    for peer in [
        Peer::PrefixList { id: "pl-1".into(), entries: everywhere() },
        Peer::Group { id: "sg-2".into(), members: everywhere() },
    ] {
        let rules = vec![GroupRule::new(RuleService::All, peer)];
        let policy = EffectivePolicy { groups: vec![group(rules, vec![])], ..empty() };
        let cell = Checked::new(&policy).cell(Direction::Ingress, "192.0.2.1", tcp(80));
        assert_eq!(cell, Cell(Cell::GROUP_ALLOW | Cell::NARROW));
    }
}

#[test]
fn host_bits_of_a_prefix_do_not_matter() {
    let policy = EffectivePolicy {
        groups: vec![group(vec![rule(RuleService::All, "100.68.0.18/18")], vec![])],
        ..empty()
    };
    let checked = Checked::new(&policy);
    assert!(checked.groups_allow("100.68.0.0", tcp(1)) && checked.groups_allow("100.68.63.255", tcp(1)));
    assert!(!checked.groups_allow("100.68.64.0", tcp(1)));
}

#[test]
fn own_addresses_are_known() {
    let mut policy = empty();
    policy.interface.own = vec![net("10.0.1.20/32"), net("10.0.1.64/28"), net("2001:db8::20/128")];
    let block = compile(&policy).expect("a small policy compiles").block(&CLOCK, 1);
    let is_own = |text: &str| {
        let address: IpAddr = text.parse().expect("a test's address");
        policy::is_own(&block, &address.into(), Family::of(address))
    };
    assert!(["10.0.1.20", "10.0.1.64", "10.0.1.79", "2001:db8::20"].into_iter().all(is_own));
    assert!(!["10.0.1.19", "10.0.1.21", "10.0.1.80", "2001:db8::21", "::"].into_iter().any(is_own));
}

#[test]
fn a_small_policy_is_a_small_dense_block() {
    let mut policy = empty();
    policy.groups = vec![group(vec![rule(RuleService::Tcp(443, 443), "10.0.0.0/8")], vec![])];
    let compiled = compile(&policy).expect("a small policy compiles");
    let statistics = compiled.statistics;
    assert_eq!(
        (compiled.tier, statistics.rules, statistics.service_classes, statistics.sparse),
        (0, 1, 2, false)
    );
    assert!(statistics.block_bytes < 10_000, "{statistics:?}");
    assert_eq!(compiled.header.v4.bits, 8);
}

#[test]
fn the_fingerprint_is_of_what_is_enforced() {
    let mut policy = empty();
    policy.groups = vec![group(
        vec![rule(RuleService::Tcp(80, 80), "10.0.0.0/8"), rule(RuleService::Tcp(81, 90), "10.0.0.0/8")],
        vec![],
    )];
    let fingerprint =
        |policy: &EffectivePolicy| compile(policy).expect("a small policy compiles").fingerprint;
    let before = fingerprint(&policy);
    // The compiler's hash tables and signatures have other secrets each time, as in another process.
    assert_eq!(compile(&policy), compile(&policy));

    let mut alike = policy.clone();
    alike.groups[0].name = "another name".into();
    alike.groups[0].ingress = rules(RuleService::Tcp(80, 90), ["10.128.0.0/9", "10.0.0.0/9"]);
    assert_eq!(fingerprint(&alike), before);

    let changes: [fn(&mut EffectivePolicy); 9] = [
        |policy| policy.groups[0].ingress.truncate(1),
        |policy| policy.timeouts.udp = 31,
        |policy| policy.allowance = Some(0),
        |policy| policy.flow_log_interval = Some(60),
        |policy| policy.source_dest_check = true,
        |policy| policy.strict_tcp = true,
        |policy| policy.interface.own.push(net("10.0.0.9/32")),
        |policy| policy.reserved.push(net("10.0.0.0/30")),
        |policy| policy.platform.push(net("fd00:ec2::254/128")),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        let mut changed = policy.clone();
        change(&mut changed);
        assert_ne!(fingerprint(&changed), before, "change {index}");
    }
}

#[test]
fn the_header_is_in_the_clocks_units() {
    let mut policy = empty();
    policy.flow_log_interval = Some(60);
    policy.source_dest_check = true;
    let compiled = compile(&policy).expect("a small policy compiles");
    let header = compiled.header(&CLOCK, 7);
    assert_eq!((header.generation, header.interval_ticks, header.allowance), (7, 15_000, CONNECTIONS as u32));
    assert_eq!(header.interval_phase, CLOCK.epoch_phase());
    assert_eq!(header.timeouts[Phase::UdpStream as usize], CLOCK.stamps_of(180));
    assert_eq!(header.flags, flags::SOURCE_DEST_CHECK);
}

#[test]
fn what_is_written_is_what_was_compiled() {
    let mut policy = empty();
    policy.groups = vec![group(rules(RuleService::Tcp(443, 443), ["10.0.0.0/8", "2001:db8::/33"]), vec![])];
    policy.flow_log_interval = Some(60);
    let compiled = compile(&policy).expect("a small policy compiles");
    let header = compiled.header(&CLOCK, 7);
    // Aligned as a map's value is, and full of what an earlier policy may have left.
    let mut memory = vec![u64::MAX; TIERS[compiled.tier] / 8];
    // SAFETY: eight bytes per element, any bytes are valid numbers, and `memory` is not used meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts_mut(memory.as_mut_ptr().cast::<u8>(), memory.len() * 8) };
    compiled.write(&header, bytes);
    let words: Vec<u32> =
        bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes"))).collect();
    // SAFETY: the memory is aligned for the header, larger than it, and was written in full.
    let written = unsafe { memory.as_ptr().cast::<PolicyHeader>().read() };
    assert_eq!(written, header);
    assert_eq!(words[HEADER_WORDS..compiled.words.len()], compiled.words[HEADER_WORDS..]);
    assert_eq!(size_of::<PolicyHeader>(), HEADER_WORDS * 4, "a header without padding");

    // And it is asked in place, a tier's whole size, as the kernel programs do.
    let block = Words::new(written, words);
    let allowed = |remote: &str| {
        let remote = remote.parse().expect("a test's address");
        compiled_cell(&block, Direction::Ingress, remote, tcp(443)).has(Cell::GROUP_ALLOW)
    };
    assert!(allowed("10.255.255.255") && allowed("2001:db8:7fff::1"));
    assert!(!allowed("11.0.0.0") && !allowed("2001:db8:8000::1"));
}

#[test]
fn the_reference_names_the_rules_that_match() {
    let second = Group {
        id: "sg-2".into(),
        ..group(
            vec![rule(RuleService::Tcp(22, 23), "10.0.0.0/8"), rule(RuleService::All, "192.0.2.0/24")],
            vec![],
        )
    };
    let first = group(rules(RuleService::Tcp(1, 80), ["0.0.0.0/0", "192.0.2.7/32"]), vec![]);
    let mut policy = EffectivePolicy { groups: vec![first, second], ..empty() };
    policy.nacl.egress = vec![
        acl_rule(90, true, RuleService::Udp(0, 65_535), "0.0.0.0/0"),
        acl_rule(100, false, RuleService::Tcp(22, 22), "192.0.2.0/24"),
        acl_rule(110, true, RuleService::All, "0.0.0.0/0"),
    ];
    let reference = Reference::new(&policy);
    let remote = "192.0.2.7".parse().expect("a test's address");
    let groups = |direction| -> Vec<(&str, String)> {
        let rules = reference.group_rules(direction, remote, tcp(22));
        rules.map(|(group, rule)| (group.id.as_str(), rule.peer.to_string())).collect()
    };
    let matching = [("sg-1", "0.0.0.0/0"), ("sg-1", "192.0.2.7/32"), ("sg-2", "192.0.2.0/24")];
    assert_eq!(groups(Direction::Ingress), matching.map(|(group, peer)| (group, peer.to_owned())));
    assert_eq!(groups(Direction::Egress), []);
    let number = |direction, port| reference.nacl_rule(direction, remote, tcp(port)).map(|rule| rule.number);
    assert_eq!(number(Direction::Egress, 22), Some(100));
    assert_eq!(number(Direction::Egress, 23), Some(110));
    assert_eq!(number(Direction::Ingress, 22), None);
}
