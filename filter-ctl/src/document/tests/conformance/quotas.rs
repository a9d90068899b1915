//! AWS's quotas, asked for by `--limits aws`, and what counts.

use super::{INTERFACE, Limits, acl, entry, errors, found, group, many};

/// The errors of a document that keeps to AWS's quotas.
fn by_quota(text: &str) -> Vec<&'static str> {
    found(text, &Limits::Aws).0
}

/// Conformance 43: A group has at most 60 rules in one direction and family (API:
/// `RulesPerSecurityGroupLimitExceeded`): the 61st for IPv4 exceeds the quota, one for IPv6 still fits.
/// Source: VPC guide `amazon-vpc-limits`.
/// Enforced: `filter-ctl/src/document/limits.rs` (`check_rules`, `AWS`).
#[test]
fn row_43_the_61st_ipv4_rule_exceeds_the_quota_and_an_ipv6_rule_fits() {
    let rules = |v4, v6| {
        let v4 = many(v4, |host| format!("{{ CidrIp: 10.0.0.{host}/32 }}"));
        let v6 = many(v6, |host| format!("{{ CidrIpv6: '2001:db8::{host}/128' }}"));
        format!("[{{ IpProtocol: '-1', IpRanges: [{v4}], Ipv6Ranges: [{v6}] }}]")
    };
    let with = |ingress: &str, egress: &str| {
        format!(
            "{INTERFACE}SecurityGroups: [{{ GroupId: sg-1, IpPermissions: {ingress}, IpPermissionsEgress: {egress} }}]\n"
        )
    };
    assert!(by_quota(&with(&rules(60, 60), &rules(60, 60))).is_empty());
    for exceeded in [with(&rules(61, 1), "[]"), with(&rules(1, 61), "[]"), with("[]", &rules(61, 0))] {
        assert_eq!(by_quota(&exceeded), ["quota"]);
        // Enforced nevertheless where nobody asks for AWS's quotas.
        assert_eq!(found(&exceeded, &Limits::None), (vec![], vec!["quota"]));
    }
}

/// Conformance 44: A prefix list uses as many rules as it may have entries: one with MaxEntries 20 and one entry
/// uses 20 of 60.
/// Source: VPC guide `security-group-rules`, `amazon-vpc-limits`.
/// Enforced: `filter-ctl/src/document/limits.rs` (`weight`).
/// Conformance 1.5-b: A list of AWS's uses its published weight: CloudFront's 55, Lattice's 10, Ground Station's 5, those
/// of S3 and DynamoDB 1.
/// Source: VPC guide `working-with-aws-managed-prefix-lists`.
/// Enforced: `filter-ctl/src/document/limits.rs` (`weight`).
#[test]
fn row_44_a_prefix_list_counts_as_its_max_entries() {
    let with = |list: &str, beside| {
        let beside = many(beside, |host| format!("{{ CidrIp: 10.0.0.{host}/32 }}"));
        group(&format!(
            "{{ IpProtocol: '-1', PrefixListIds: [{{ PrefixListId: pl-1 }}], IpRanges: [{beside}] }}"
        )) + &format!(
            "ManagedPrefixLists: [{{ PrefixListId: pl-1, Entries: [{{ Cidr: 192.0.2.0/24 }}], {list} }}]\n"
        )
    };
    let uses = |list: &str, weight: usize| {
        assert!(by_quota(&with(list, 60 - weight)).is_empty(), "{list}");
        assert_eq!(by_quota(&with(list, 61 - weight)), ["quota"], "{list}");
    };
    uses("MaxEntries: 20", 20);
    uses("MaxEntries: 1", 1);
    for (service, weight) in [("s3", 1), ("dynamodb", 1), ("groundstation", 5), ("vpc-lattice", 10)] {
        uses(&format!("PrefixListName: com.amazonaws.eu-west-1.{service}"), weight);
    }
    uses("PrefixListName: com.amazonaws.global.cloudfront.origin-facing", 55);
}

/// Conformance 47: An interface is in at most five groups: the sixth exceeds the quota (API:
/// `SecurityGroupsPerInterfaceLimitExceeded`).
/// Source: VPC guide `amazon-vpc-limits`.
/// Enforced: `filter-ctl/src/document/limits.rs` (`check_interface`, `AWS`).
#[test]
fn row_47_the_sixth_group_of_an_interface_exceeds_the_quota() {
    let with = |count| {
        let groups = many(count, |number| format!("{{ GroupId: sg-{number} }}"));
        let text = INTERFACE.replace("[{ GroupId: sg-1 }]", &format!("[{groups}]"));
        format!("{text}SecurityGroups: [{groups}]\n")
    };
    assert!(by_quota(&with(5)).is_empty());
    assert_eq!(by_quota(&with(6)), ["quota"]);
    assert_eq!(found(&with(6), &Limits::None), (vec![], vec!["quota"]));
}

/// Conformance 1.9-a: The rules of a group times the groups of an interface are at most 1,000.
/// Source: VPC guide `amazon-vpc-limits`.
/// Enforced: `filter-ctl/src/document/limits.rs` (`check_interface`).
#[test]
fn rules_times_groups_are_at_most_a_thousand() {
    let with = |rules| {
        let groups = many(10, |number| format!("{{ GroupId: sg-{number} }}"));
        let others = many(9, |number| format!("{{ GroupId: sg-{} }}", number + 1));
        let text = INTERFACE.replace("[{ GroupId: sg-1 }]", &format!("[{groups}]"));
        let ranges = many(rules, |host| format!("{{ CidrIp: 10.0.0.{host}/32 }}"));
        format!(
            "Limits: {{ RulesPerSecurityGroup: 200, SecurityGroupsPerInterface: 16 }}\n{text}SecurityGroups: [{{ GroupId: sg-1, \
             IpPermissions: [{{ IpProtocol: '-1', IpRanges: [{ranges}] }}] }}, {others}]\n"
        )
    };
    assert!(errors(&with(100)).is_empty());
    assert_eq!(errors(&with(101)), ["quota"]);
}

/// Conformance 3.5-a: A network ACL has at most 20 rules in one direction and family; the `*` is none of them.
/// Source: VPC guide `amazon-vpc-limits`.
/// Enforced: `filter-ctl/src/document/limits.rs` (`check_acl`).
#[test]
fn a_network_acl_has_twenty_rules_in_a_direction() {
    let with = |count: usize| {
        let numbered = many(count, |number| entry(number as i64, false));
        let more = many(20, |number| entry(number as i64, true));
        let star =
            "{ RuleNumber: 32767, Egress: false, Protocol: '-1', RuleAction: deny, CidrBlock: 0.0.0.0/0 }";
        format!(
            "{INTERFACE}SecurityGroups: [{{ GroupId: sg-1 }}]\n{}",
            acl(&format!("{numbered}, {more}, {star}"))
        )
    };
    assert!(by_quota(&with(20)).is_empty());
    assert_eq!(by_quota(&with(21)), ["quota"]);
}
