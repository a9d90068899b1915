//! What AWS's API says of documents: what it refuses, what it changes, what it fills in.
//!
//! A document is not a call, so that what the API refuses by an error code is here an error or a
//! warning with an id of its own; the codes stand beside the tests.

mod quotas;

use super::{Limits, document, folder, load};
use crate::policy::{EffectivePolicy, GroupRule, RuleService};

/// A document's subnet and interface, in a VPC without IPv6.
const INTERFACE: &str = "
Vpcs: [{ VpcId: vpc-1, CidrBlock: 10.0.0.0/16 }]
Subnets: [{ SubnetId: subnet-1, CidrBlock: 10.0.1.0/24 }]
NetworkInterfaces: [{ NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20, Groups: [{ GroupId: sg-1 }] }]
";

/// The ids of the errors and of the warnings about a document, in its order.
fn found(text: &str, limits: &Limits) -> (Vec<&'static str>, Vec<&'static str>) {
    let folder = folder(&[("policy.yaml", text)]);
    let loaded = match load(&folder.path().join("policy.yaml"), limits) {
        Ok(loaded) => loaded,
        Err(errors) => return (errors.into_iter().map(|one| one.id).collect(), Vec::new()),
    };
    let checked = loaded.document.check();
    let warnings = loaded.warnings.iter().chain(&checked.warnings);
    (checked.errors.iter().map(|one| one.id).collect(), warnings.map(|one| one.id).collect())
}

/// The errors of a document that nobody's quotas bind.
fn errors(text: &str) -> Vec<&'static str> {
    found(text, &Limits::None).0
}

/// The policy of `eni-1`.
fn policy(text: &str) -> EffectivePolicy {
    document(text).effective("eni-1").unwrap_or_else(|errors| panic!("{}", errors.render(false))).0
}

/// One group with these rules, as its `IpPermissions`.
fn group(permissions: &str) -> String {
    format!("{INTERFACE}SecurityGroups: [{{ GroupId: sg-1, IpPermissions: [{permissions}] }}]\n")
}

/// One network ACL with these entries.
fn acl(entries: &str) -> String {
    format!(
        "NetworkAcls: [{{ NetworkAclId: acl-1, Entries: [{entries}], Associations: [{{ SubnetId: subnet-1 }}] }}]\n"
    )
}

/// An entry that denies everything of an address family.
fn entry(number: i64, egress: bool) -> String {
    format!(
        "{{ RuleNumber: {number}, Egress: {egress}, Protocol: '-1', RuleAction: deny, CidrBlock: 10.0.0.0/8 }}"
    )
}

/// A list of `count` things.
fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (1..=count).map(one).collect::<Vec<_>>().join(", ")
}

/// The addresses that rules are for, rule after rule.
fn addresses(rules: &[GroupRule]) -> Vec<String> {
    rules.iter().flat_map(|rule| rule.peer.prefixes()).map(ToString::to_string).collect()
}

/// Whom the interface's first group lets in.
fn let_in(text: &str) -> Vec<String> {
    addresses(&policy(text).groups[0].ingress)
}

/// Conformance 39: A block's host bits are cleared, and the same rule once more is a duplicate: 100.68.0.18/18 and
/// 100.68.0.0/18 are one, shown as 100.68.0.0/18 (API: `InvalidPermission.Duplicate`; here a warning).
/// Source: EC2 API `AuthorizeSecurityGroupIngress`.
/// Enforced: `filter-ctl/src/document/decode/cidr.rs` (`cidr`, `parse`); `filter-ctl/src/document/decode/group.rs`
/// (`permissions`).
#[test]
fn row_39_a_rule_that_is_there_in_canonical_form_is_a_duplicate() {
    let ssh = "IpProtocol: tcp, FromPort: 22, ToPort: 22";
    let twice = |second: &str| {
        group(&format!("{{ {ssh}, IpRanges: [{{ CidrIp: 100.68.0.18/18 }}] }}, {{ {second} }}"))
    };
    let same = twice(&format!("{ssh}, IpRanges: [{{ CidrIp: 100.68.0.0/18, Description: again }}]"));
    assert_eq!(found(&same, &Limits::None), (vec![], vec!["host-bits", "duplicate-rule"]));
    assert_eq!(let_in(&same), ["100.68.0.0/18"; 2]);
    // The name of a protocol and its number are one; another port, peer or direction is another rule.
    let by_number = twice("IpProtocol: '6', FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: 100.68.0.0/18 }]");
    assert_eq!(found(&by_number, &Limits::None).1, ["host-bits", "duplicate-rule"]);
    for other in [
        "IpProtocol: tcp, FromPort: 22, ToPort: 23, IpRanges: [{ CidrIp: 100.68.0.0/18 }]",
        "IpProtocol: udp, FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: 100.68.0.0/18 }]",
        "IpProtocol: tcp, FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: 100.68.0.0/19 }]",
    ] {
        assert_eq!(found(&twice(other), &Limits::None).1, ["host-bits"], "{other}");
    }
    let other_way = format!(
        "{INTERFACE}SecurityGroups: [{{ GroupId: sg-1, IpPermissions: [{{ {ssh}, IpRanges: [{{ CidrIp: 100.68.0.0/18 }}] }}], IpPermissionsEgress: [{{ {ssh}, IpRanges: [{{ CidrIp: 100.68.0.0/18 }}] }}] }}]\n"
    );
    assert_eq!(found(&other_way, &Limits::None), (vec![], vec![]));
}

/// Conformance 41: The numbers of entries are 1 to 32766: 0 and 32767 are refused (API:
/// `InvalidParameterValue`).
/// Source: EC2 API `CreateNetworkAclEntry`.
/// Enforced: `filter-ctl/src/document/decode/acl.rs` (`LAST`, `rule_number`).
#[test]
fn row_41_a_number_out_of_range_is_refused() {
    let with = |number| {
        errors(&format!("{INTERFACE}SecurityGroups: [{{ GroupId: sg-1 }}]\n{}", acl(&entry(number, false))))
    };
    for number in [1, 100, 32_766] {
        assert!(with(number).is_empty(), "{number}");
    }
    for number in [-1, 0, 32_767, 32_768, 65_535, 65_536] {
        assert_eq!(with(number), ["out-of-range"], "{number}");
    }
}

/// Conformance 42: A number is given once in a direction (API: `NetworkAclEntryAlreadyExists`), whatever the
/// family; the other direction has its own.
/// Source: EC2 API `CreateNetworkAclEntry`.
/// Enforced: `filter-ctl/src/document/decode/acl.rs` (`network_acl`).
#[test]
fn row_42_a_number_is_given_once_in_a_direction() {
    let with = |entries: &[String]| {
        errors(&format!("{INTERFACE}SecurityGroups: [{{ GroupId: sg-1 }}]\n{}", acl(&entries.join(", "))))
    };
    assert_eq!(with(&[entry(100, false), entry(100, false)]), ["duplicate-rule-number"]);
    let other_family =
        "{ RuleNumber: 100, Egress: false, Protocol: '-1', RuleAction: deny, Ipv6CidrBlock: '::/0' }";
    assert_eq!(with(&[entry(100, false), other_family.to_owned()]), ["duplicate-rule-number"]);
    assert!(with(&[entry(100, false), entry(100, true), entry(101, false)]).is_empty());
}

/// Conformance 46: Names are unique in a VPC without regard to case: `Web` and `web` are one (API:
/// `InvalidGroup.Duplicate`); another VPC has its own.
/// Source: EC2 API `CreateSecurityGroup`; VPC guide `vpc-security-groups`.
/// Enforced: `filter-ctl/src/document/index.rs` (`name_groups`).
#[test]
fn row_46_names_differ_by_more_than_case() {
    let with = |second: &str| {
        errors(&format!(
            "Vpcs: [{{ VpcId: vpc-1 }}, {{ VpcId: vpc-2 }}]\nSecurityGroups: [{{ GroupId: sg-1, VpcId: vpc-1, GroupName: Web }}, \
             {{ GroupId: sg-2, {second} }}]\n"
        ))
    };
    assert_eq!(with("VpcId: vpc-1, GroupName: web"), ["duplicate-group-name"]);
    assert_eq!(with("VpcId: vpc-1, GroupName: Web"), ["duplicate-group-name"]);
    assert!(with("VpcId: vpc-1, GroupName: web2").is_empty());
    assert!(with("VpcId: vpc-2, GroupName: web").is_empty());
}

/// Conformance 1.3-d: TCP and UDP rules have both ports, ICMP rules a type and a code; an ICMPv6 rule without them is for
/// all types.
/// Source: EC2 API `IpPermission`.
/// Enforced: `filter-ctl/src/document/decode/service.rs` (`group_service`, `both`).
/// Conformance 1.3-e: Type -1 takes code -1.
/// Source: EC2 API `IpPermission`.
/// Enforced: `filter-ctl/src/document/decode/service.rs` (`icmp`).
#[test]
fn what_a_rule_says_of_ports_and_types() {
    let service = |service: &str| {
        let peer = "IpRanges: [{ CidrIp: 192.0.2.0/24 }], Ipv6Ranges: [{ CidrIpv6: '2001:db8::/32' }]";
        group(&format!("{{ IpProtocol: {service}, {peer} }}"))
    };
    for protocol in ["tcp", "udp", "icmp", "'6'", "'17'", "'1'"] {
        for (fields, missing) in
            [("", 2), (", FromPort: 3", 1), (", ToPort: 3", 1), (", FromPort: 3, ToPort: 4", 0)]
        {
            let found = errors(&service(&format!("{protocol}{fields}")));
            assert_eq!(found, vec!["missing-field"; missing], "{protocol}{fields}");
        }
    }
    for (text, expected) in [
        ("icmpv6", RuleService::Icmpv6(None, None)),
        ("'58', FromPort: 128, ToPort: -1", RuleService::Icmpv6(Some(128), None)),
        ("icmp, FromPort: -1, ToPort: -1", RuleService::Icmp(None, None)),
        ("icmp, FromPort: 3, ToPort: 4", RuleService::Icmp(Some(3), Some(4))),
        ("tcp, FromPort: 0, ToPort: 65535", RuleService::Tcp(0, 65_535)),
        ("'-1'", RuleService::All),
        ("'47', FromPort: 1, ToPort: 2", RuleService::Protocol(47)),
    ] {
        assert_eq!(policy(&service(text)).groups[0].ingress[0].service, expected, "{text}");
    }
    assert_eq!(errors(&service("icmp, FromPort: -1, ToPort: 4")), ["icmp-code"]);
    assert_eq!(errors(&service("tcp, FromPort: 80, ToPort: 22")), ["backward-ports"]);
    assert_eq!(errors(&service("tcp, FromPort: 80, ToPort: 65536")), ["out-of-range"]);
}

/// Conformance 3.3-e: Entries for 6 and 17 have a port range; those for 1, and for 58 with an IPv6 block, a type and a
/// code; others have neither.
/// Source: EC2 API `CreateNetworkAclEntry`.
/// Enforced: `filter-ctl/src/document/decode/service.rs` (`acl_service`, `part`).
/// Conformance 3.1-h: An entry names a CIDR block of one family, and neither a group nor a prefix list.
/// Source: VPC guide `nacl-rules`.
/// Enforced: `filter-ctl/src/document/decode/acl.rs` (`entry`, `entry_prefix`).
#[test]
fn what_an_entry_says() {
    let with = |fields: &str| {
        let entry = format!("{{ RuleNumber: 1, Egress: false, RuleAction: deny, {fields} }}");
        errors(&format!("{INTERFACE}SecurityGroups: [{{ GroupId: sg-1 }}]\n{}", acl(&entry)))
    };
    let (v4, v6) = ("CidrBlock: 192.0.2.0/24", "Ipv6CidrBlock: '2001:db8::/32'");
    for (protocol, block, missing) in [
        ("'6'", v4, 1),
        ("'17'", v6, 1),
        ("'1'", v4, 1),
        ("'58'", v6, 1),
        ("'58'", v4, 0),
        ("'47'", v4, 0),
        ("'-1'", v6, 0),
    ] {
        let found = with(&format!("Protocol: {protocol}, {block}"));
        assert_eq!(found, vec!["missing-field"; missing], "{protocol}, {block}");
    }
    assert!(with(&format!("Protocol: '6', PortRange: {{ From: 22, To: 22 }}, {v4}")).is_empty());
    assert!(with(&format!("Protocol: '58', IcmpTypeCode: {{ Type: 128, Code: -1 }}, {v6}")).is_empty());
    assert_eq!(with(&format!("Protocol: '-1', {v4}, {v6}")), ["two-families"]);
    assert_eq!(with("Protocol: '-1'"), ["missing-field"]);
    assert_eq!(with(&format!("Protocol: '-1', {v4}, PrefixListId: pl-1")), ["unknown-field"]);
    assert_eq!(with(&format!("Protocol: '-1', {v4}, GroupId: sg-1")), ["unknown-field"]);
}

/// Conformance 3.2-a: The denies `*`, 32767 for IPv4 and 32768 for IPv6, are always there and cannot be changed.
/// Source: VPC guide `nacl-rules`, `default-network-acl`.
/// Enforced: `filter-ctl/src/document/decode/acl.rs` (`entry`); `filter-ctl/src/compile/effects.rs` (`NOTHING`).
#[test]
fn the_last_rule_cannot_be_changed() {
    let with = |action: &str, protocol: &str, block: &str, number: u32| {
        let entry = format!(
            "{{ RuleNumber: {number}, Egress: true, Protocol: '{protocol}', RuleAction: {action}, {block} }}"
        );
        format!("{INTERFACE}SecurityGroups: [{{ GroupId: sg-1 }}]\n{}", acl(&entry))
    };
    let (v4, v6) = ("CidrBlock: 0.0.0.0/0", "Ipv6CidrBlock: '::/0'");
    for shown in [with("deny", "-1", v4, 32_767), with("deny", "-1", v6, 32_768)] {
        assert!(errors(&shown).is_empty(), "as AWS describes it: {shown}");
        assert!(policy(&shown).nacl.egress.is_empty(), "it is no numbered rule");
    }
    for changed in [
        with("allow", "-1", v4, 32_767),
        with("deny", "47", v4, 32_767),
        with("deny", "-1", "CidrBlock: 10.0.0.0/8", 32_767),
        with("deny", "-1", v6, 32_767),
        with("deny", "-1", v4, 32_768),
    ] {
        assert_eq!(errors(&changed), ["out-of-range"], "{changed}");
    }
}

/// Conformance 3.1-i: A subnet has one network ACL; one ACL may be of many subnets.
/// Source: VPC guide `vpc-network-acls`.
/// Enforced: `filter-ctl/src/document/index.rs` (`associate`).
/// Conformance 3.4-b: The numbered rules of a default ACL may be removed: it denies what is left.
/// Source: VPC guide `default-network-acl`.
/// Enforced: `filter-ctl/src/document/index.rs` (`acl`); `filter-ctl/src/document/resolve.rs` (`resolve`).
/// Conformance 3.1-f.
#[test]
fn which_network_acl_a_subnet_has() {
    let group = "SecurityGroups: [{ GroupId: sg-1 }]\n";
    let twice = format!(
        "{INTERFACE}{group}NetworkAcls: [{{ NetworkAclId: acl-1, Associations: [{{ SubnetId: subnet-1 }}] }}, {{ NetworkAclId: acl-2, Associations: [{{ SubnetId: subnet-1 }}] }}]\n"
    );
    assert_eq!(errors(&twice), ["duplicate-association"]);
    let default = format!(
        "{INTERFACE}{group}NetworkAcls: [{{ NetworkAclId: acl-1, IsDefault: true, Entries: [{}] }}]\n",
        entry(7, false)
    );
    let nacl = policy(&default).nacl;
    assert_eq!((nacl.id.as_str(), nacl.ingress.len(), nacl.egress.len()), ("acl-1", 1, 0));
    let of_vpc = |id: &str| {
        let text = default.replace("Vpcs: [", "Vpcs: [{ VpcId: vpc-2 }, ");
        let text = text.replace("[{ SubnetId: subnet-1,", "[{ SubnetId: subnet-1, VpcId: vpc-1,");
        let text = text.replace("[{ GroupId: sg-1 }]\n", "[{ GroupId: sg-1, VpcId: vpc-1 }]\n");
        text.replace("NetworkAclId: acl-1,", &format!("NetworkAclId: acl-1, VpcId: {id},"))
    };
    assert_eq!(policy(&of_vpc("vpc-1")).nacl.id, "acl-1");
    assert_eq!(policy(&of_vpc("vpc-2")).nacl.ingress.len(), 2, "vpc-1 has the one that AWS makes");
    let undescribed = policy(&format!("{INTERFACE}{group}")).nacl;
    assert_eq!(
        undescribed.ingress.iter().map(|rule| (rule.number, rule.allow)).collect::<Vec<_>>(),
        [(100, true), (101, true)]
    );
}

/// Conformance 1.4-b: A reference to a group means all private addresses of its members, IPv6 and delegated prefixes
/// too, and never a public one.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/document/index.rs` (`join`); `filter-ctl/src/document/decode/interface.rs` (`addresses`).
/// Conformance 1.4-c: A reference does not import the referenced group's rules.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`peer`).
#[test]
fn a_reference_means_addresses_and_not_rules() {
    let text = "
Subnets: [{ CidrBlock: 10.0.1.0/24, Ipv6CidrBlock: '2001:db8::/64' }]
NetworkInterfaces:
  - { NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20, Groups: [{ GroupId: sg-1 }] }
  - NetworkInterfaceId: eni-2
    Groups: [{ GroupId: sg-2 }]
    PrivateIpAddresses: [{ Primary: true, PrivateIpAddress: 10.0.1.30, Association: { PublicIp: 203.0.113.30 } }, { PrivateIpAddress: 10.0.1.31 }]
    Ipv6Addresses: [{ Ipv6Address: '2001:db8::30' }]
    Ipv4Prefixes: [{ Ipv4Prefix: 10.0.1.32/28 }]
SecurityGroups:
  - { GroupId: sg-1, IpPermissions: [{ IpProtocol: '-1', UserIdGroupPairs: [{ GroupId: sg-2 }] }] }
  - { GroupId: sg-2, IpPermissions: [{ IpProtocol: '-1', IpRanges: [{ CidrIp: 198.51.100.0/24 }] }] }
";
    assert_eq!(let_in(text), ["10.0.1.30/32", "10.0.1.31/32", "2001:db8::30/128", "10.0.1.32/28"]);
    assert_eq!(policy(text).groups.iter().map(|group| group.id.as_str()).collect::<Vec<_>>(), ["sg-1"]);
}

/// Conformance 1.1-d: An interface that names no group is in its VPC's default group.
/// Source: VPC guide `default-security-group`.
/// Enforced: `filter-ctl/src/document/index.rs` (`groups_of`).
/// Conformance 1.6-a: The default group lets everything in from itself, and everything out: to `::/0` only in a VPC with
/// IPv6.
/// Source: VPC guide `default-security-group`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`group`, `default_egress`).
/// Conformance 1.6-b: A new group lets nothing in, and everything out likewise.
/// Source: VPC guide `security-group-rules`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`default_egress`).
#[test]
fn what_groups_allow_by_default() {
    let egress = |text: &str| {
        let rules = policy(text).groups.swap_remove(0).egress;
        assert!(rules.iter().all(|rule| rule.service == RuleService::All));
        addresses(&rules)
    };
    let v6 = |text: &str| text.replace("10.0.1.0/24", "10.0.1.0/24, Ipv6CidrBlock: '2001:db8::/64'");

    let unnamed = INTERFACE.replace(", Groups: [{ GroupId: sg-1 }]", "");
    assert_eq!(policy(&unnamed).groups[0].name, "default");
    assert_eq!(let_in(&unnamed), ["10.0.1.20/32"]);
    assert_eq!(egress(&unnamed), ["0.0.0.0/0"]);
    assert_eq!(egress(&v6(&unnamed)), ["0.0.0.0/0", "::/0"]);

    let new = format!("{INTERFACE}SecurityGroups: [{{ GroupId: sg-1 }}]\n");
    assert!(let_in(&new).is_empty());
    assert_eq!(egress(&new), ["0.0.0.0/0"]);
    assert_eq!(egress(&v6(&new)), ["0.0.0.0/0", "::/0"]);
    let none = format!("{INTERFACE}SecurityGroups: [{{ GroupId: sg-1, IpPermissionsEgress: [] }}]\n");
    assert!(egress(&none).is_empty());
}

/// Conformance 1.2-a: A group's name has 1 to 255 characters of AWS's set, does not begin with `sg-`, and is `default` for the
/// default group only.
/// Source: EC2 API `CreateSecurityGroup`.
/// Enforced: `filter-ctl/src/document/decode/group.rs` (`group_name`).
#[test]
fn what_a_group_may_be_called() {
    let with = |name: &str| errors(&format!("SecurityGroups: [{{ GroupId: sg-1, GroupName: '{name}' }}]\n"));
    for good in ["web", "a b._-:/()#,@[]+=&;{}!$*", "default", "my-sg-1", &"x".repeat(255)] {
        assert!(with(good).is_empty(), "{good}");
    }
    for bad in ["", " ", "sg-web", "Default", "caf\u{e9}", "a|b", "a%b", &"x".repeat(256)] {
        assert_eq!(with(bad), ["bad-group-name"], "{bad}");
    }
}

/// Conformance 1.5-c: A prefix list is of one family.
/// Source: VPC guide `managed-prefix-lists`.
/// Enforced: `filter-ctl/src/document/defaults.rs` (`merge_prefix_lists`).
#[test]
fn a_prefix_list_is_of_one_family() {
    let with = |family: &str, block: &str| {
        errors(&format!(
            "ManagedPrefixLists: [{{ PrefixListId: pl-1, AddressFamily: {family}, Entries: [{{ Cidr: '{block}' }}] }}]\n"
        ))
    };
    for (family, block) in [("IPv4", "192.0.2.0/24"), ("IPv6", "2001:db8::/32")] {
        assert!(with(family, block).is_empty());
    }
    for (family, block) in [("IPv6", "192.0.2.0/24"), ("IPv4", "2001:db8::/32")] {
        assert_eq!(with(family, block), ["prefix-list-family"]);
    }
}

/// Conformance 1.7-a: A rule that refers to a group or list that is gone is stale: it stays, matches nothing, and is told;
/// when the group is back, it counts again.
/// Source: VPC peering guide `vpc-peering-security-groups`; EC2 API `DescribeStaleSecurityGroups`.
/// Enforced: `filter-ctl/src/document/resolve.rs` (`peer`); `filter-ctl/src/document/reach.rs` (`check_permissions`).
#[test]
fn a_stale_rule_matches_nothing_and_is_told() {
    let text = group(
        "{ IpProtocol: '-1', UserIdGroupPairs: [{ GroupId: sg-9 }], PrefixListIds: [{ PrefixListId: pl-9 }], \
         IpRanges: [{ CidrIp: 192.0.2.0/24 }] }",
    );
    assert_eq!(found(&text, &Limits::None), (vec![], vec!["stale-reference"; 2]));
    assert_eq!(let_in(&text), ["192.0.2.0/24"]);
    let back = text.replace("[{ GroupId: sg-1, Ip", "[{ GroupId: sg-9 }, { GroupId: sg-1, Ip");
    let back = back.replace(
        "Groups: [{ GroupId: sg-1 }] }]",
        "Groups: [{ GroupId: sg-1 }] }, { NetworkInterfaceId: eni-9, PrivateIpAddress: 10.0.1.90, Groups: [{ GroupId: sg-9 }] }]",
    );
    assert_eq!(found(&back, &Limits::None), (vec![], vec!["stale-reference"]));
    assert_eq!(let_in(&back), ["192.0.2.0/24", "10.0.1.90/32"]);
}

/// Conformance 2.3-d: The timeouts of an interface are 60 to 432,000 s for established TCP, 30 to 60 s for UDP, 60 to 180 s
/// for UDP streams; 432,000, 30 and 180 s if it says nothing.
/// Source: EC2 API `ConnectionTrackingSpecificationRequest`; EC2 guide `security-group-connection-tracking`.
/// Enforced: `filter-ctl/src/document/decode/interface.rs` (`timeouts`); `filter-common/src/track.rs` (`default`).
#[test]
fn timeouts_stay_within_aws_bounds() {
    let with = |timeouts: &str| {
        let field = format!("eni-1, ConnectionTrackingSpecification: {{ {timeouts} }}");
        INTERFACE.replace("eni-1", &field) + "SecurityGroups: [{ GroupId: sg-1 }]\n"
    };
    for (name, low, high) in
        [("TcpEstablishedTimeout", 60, 432_000), ("UdpTimeout", 30, 60), ("UdpStreamTimeout", 60, 180)]
    {
        for seconds in [low, high] {
            assert!(errors(&with(&format!("{name}: {seconds}"))).is_empty(), "{name}: {seconds}");
        }
        for seconds in [low - 1, high + 1] {
            assert_eq!(errors(&with(&format!("{name}: {seconds}"))), ["out-of-range"], "{name}: {seconds}");
        }
    }
    let timeouts = policy(&with("UdpTimeout: 45")).timeouts;
    assert_eq!((timeouts.tcp_established, timeouts.udp, timeouts.udp_stream), (432_000, 45, 180));
}
