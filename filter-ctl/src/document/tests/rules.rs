//! What documents come to: defaults, references, warnings.

use std::net::IpAddr;

use filter_common::{
    Direction,
    service::{ICMP, ICMPV6, Service},
};
use ipnet::IpNet;
use proptest::prelude::*;

use super::{Document, SelectErrorText as _, document, lines, loaded};
use crate::{
    document::{Limits, load},
    policy::{EffectivePolicy, Exemptions, Peer, Position::Nested, RuleService},
    reference::Reference,
};

/// The policy of an interface and the warnings about it, one on a line.
pub(super) fn effective(document: &Document, id: &str) -> (EffectivePolicy, String) {
    let (policy, warnings) =
        document.effective(id).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let folder = warnings.first().map(|one| one.file.clone()).unwrap_or_default();
    (policy, lines(warnings, folder.trim_end_matches("/policy.yaml").as_ref()))
}

fn refused(document: &Document, id: &str) -> String {
    let errors = document.effective(id).expect_err("something is missing");
    let folder = errors.all()[0].file.clone();
    lines(errors, folder.trim_end_matches("/policy.yaml").as_ref())
}

fn block(text: &str) -> IpNet {
    text.parse().expect("a block")
}

fn prefixes(rule: &crate::policy::GroupRule) -> Vec<String> {
    rule.peer.prefixes().iter().map(ToString::to_string).collect()
}

#[test]
fn the_smallest_document_gets_every_default() {
    let document = document(
        "Subnets: [{ CidrBlock: 10.0.1.0/24 }]\nNetworkInterfaces: [{ PrivateIpAddress: 10.0.1.20 }]\n",
    );
    let (policy, warnings) = effective(&document, "eni-00000000000000001");
    insta::assert_snapshot!(warnings, @"");
    insta::assert_debug_snapshot!(policy, @r#"
EffectivePolicy {
    interface: Interface {
        id: "eni-00000000000000001",
        vpc_id: "vpc-00000000000000001",
        subnet_id: "subnet-00000000000000001",
        account_id: "000000000000",
        primary_v4: Some(
            10.0.1.20,
        ),
        primary_v6: None,
        own: [
            10.0.1.20/32,
        ],
        vpc_blocks: [
            10.0.1.0/24,
        ],
        placement: Placement {
            region: None,
            az_id: None,
            instance_id: None,
            interface_type: None,
        },
        tags: [],
    },
    subnet: [
        10.0.1.0/24,
    ],
    exemptions: Ranges,
    reserved: [
        10.0.1.0/30,
    ],
    platform: [
        169.254.0.0/16,
    ],
    groups: [
        Group {
            id: "sg-default",
            name: "default",
            ingress: [
                GroupRule {
                    service: All,
                    peer: Group {
                        id: "sg-default",
                        members: [
                            10.0.1.20/32,
                        ],
                    },
                    given_id: None,
                    description: None,
                    position: Default,
                },
            ],
            egress: [
                GroupRule {
                    service: All,
                    peer: Cidr(
                        0.0.0.0/0,
                    ),
                    given_id: None,
                    description: None,
                    position: Default,
                },
            ],
        },
    ],
    nacl: NetworkAcl {
        id: "acl-default",
        ingress: [
            NetworkAclRule {
                number: 100,
                allow: true,
                service: All,
                prefix: 0.0.0.0/0,
            },
            NetworkAclRule {
                number: 101,
                allow: true,
                service: All,
                prefix: ::/0,
            },
        ],
        egress: [
            NetworkAclRule {
                number: 100,
                allow: true,
                service: All,
                prefix: 0.0.0.0/0,
            },
            NetworkAclRule {
                number: 101,
                allow: true,
                service: All,
                prefix: ::/0,
            },
        ],
    },
    timeouts: IdleTimeouts {
        tcp_established: 432000,
        udp_stream: 180,
        udp: 30,
    },
    allowance: None,
    source_dest_check: false,
    strict_tcp: false,
    flow_log_interval: None,
    flow_logs: [],
}
"#);
}

#[test]
fn absent_egress_is_everything_and_an_empty_list_is_nothing() {
    let text = |egress: &str, subnet: &str| {
        format!(
            "Subnets: [{{ CidrBlock: 10.0.1.0/24{subnet} }}]\nNetworkInterfaces: [{{ PrivateIpAddress: 10.0.1.20, \
             Groups: [{{ GroupId: sg-1 }}] }}]\nSecurityGroups: [{{ GroupId: sg-1{egress} }}]\n"
        )
    };
    let egress = |text: &str| {
        let (policy, _) = effective(&document(text), "eni-00000000000000001");
        policy.groups[0].egress.iter().flat_map(prefixes).collect::<Vec<_>>()
    };
    assert_eq!(egress(&text("", "")), ["0.0.0.0/0"]);
    assert_eq!(egress(&text("", ", Ipv6CidrBlock: \"2001:db8::/64\"")), ["0.0.0.0/0", "::/0"]);
    assert!(egress(&text(", IpPermissionsEgress: []", "")).is_empty());
}

const REFERENCES: &str = r#"
Subnets: [{ SubnetId: subnet-1, CidrBlock: 10.0.1.0/24, Ipv6CidrBlock: "2001:db8::/64" }]
SecurityGroups:
  - GroupId: sg-1
    GroupName: web
    IpPermissions:
      - { IpProtocol: tcp, FromPort: 443, ToPort: 443, UserIdGroupPairs: [{ GroupId: sg-2 }, { GroupName: web }] }
      - { IpProtocol: tcp, FromPort: 80, ToPort: 80, PrefixListIds: [{ PrefixListId: pl-1 }, { PrefixListId: pl-2 }] }
      - { IpProtocol: "-1", UserIdGroupPairs: [{ GroupId: sg-3 }, { GroupName: default }] }
      - { IpProtocol: "47", FromPort: 1, ToPort: 2, PrefixListIds: [{ PrefixListId: pl-3 }] }
  - GroupId: sg-2
    GroupName: app
NetworkInterfaces:
  - { NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20, Groups: [{ GroupId: sg-1 }, { GroupName: APP }, { GroupId: sg-1 }] }
  - NetworkInterfaceId: eni-2
    PrivateIpAddresses: [{ PrivateIpAddress: 10.0.1.31 }, { PrivateIpAddress: 10.0.1.30, Primary: true }]
    Ipv6Addresses: [{ Ipv6Address: "2001:db8::30" }, { Ipv6Address: "2001:db8::31", IsPrimaryIpv6: true }]
    Ipv4Prefixes: [{ Ipv4Prefix: 10.0.1.32/28 }]
    Ipv6Prefixes: [{ Ipv6Prefix: "2001:db8::1:0:0:0/80" }]
    Groups: [{ GroupId: sg-2 }]
  - { NetworkInterfaceId: eni-3, PrivateIpAddress: 10.0.1.40 }
ManagedPrefixLists:
  - { PrefixListId: pl-1, MaxEntries: 5, Entries: [{ Cidr: 192.0.2.0/24 }, { Cidr: 198.51.100.7/24 }] }
  - { PrefixListId: pl-2, PrefixListName: com.amazonaws.eu-west-1.s3 }
PrefixLists: [{ PrefixListId: pl-2, Cidrs: [203.0.113.0/24, "2001:db8:5::/48"] }]
"#;

#[test]
fn references_become_the_private_addresses_of_the_members() {
    let (policy, warnings) = effective(&document(REFERENCES), "eni-1");
    let groups: Vec<&str> = policy.groups.iter().map(|group| group.id.as_str()).collect();
    assert_eq!(groups, ["sg-1", "sg-2"], "each once, in the interface's order");
    let [app, web, partners, s3, stale, default, gre] = &policy.groups[0].ingress[..] else {
        panic!("a rule for each peer: {:#?}", policy.groups[0].ingress)
    };
    let of_app = ["10.0.1.20/32", "10.0.1.31/32", "10.0.1.30/32", "2001:db8::30/128", "2001:db8::31/128"];
    let of_app = [&of_app[..], &["10.0.1.32/28", "2001:db8:0:0:1::/80"]].concat();
    assert_eq!(prefixes(app), of_app, "all members of sg-2, eni-1 too");
    assert_eq!(prefixes(web), ["10.0.1.20/32"]);
    assert!(matches!(&web.peer, Peer::Group { id, .. } if &**id == "sg-1"), "named by its name");
    assert_eq!((app.position, web.position, gre.position), (Nested(0, 0), Nested(0, 1), Nested(3, 0)));
    assert_eq!(prefixes(partners), ["192.0.2.0/24", "198.51.100.0/24"]);
    assert_eq!(prefixes(s3), ["203.0.113.0/24", "2001:db8:5::/48"]);
    assert!(prefixes(stale).is_empty(), "sg-3 is stale");
    assert_eq!(prefixes(default), ["10.0.1.40/32"], "eni-3 is in the default group");
    assert_eq!(gre.service, RuleService::Protocol(47), "the ports are ignored");
    assert!(prefixes(gre).is_empty());
    let document = document(REFERENCES);
    assert_eq!(document.check().warnings.len(), 2);
    assert_eq!(document.trouble_elsewhere(&["eni-2"]).len(), 2);
    assert_eq!(document.trouble_elsewhere(&["eni-1"]).len(), 0, "what it reaches is told when it is used");
    insta::assert_snapshot!(warnings, @r#"
policy.yaml:9:59 [stale-reference] SecurityGroups[0].IpPermissions[2].UserIdGroupPairs[0]: the document has no security group sg-3 | the rule is stale: it matches nothing
policy.yaml:10:85 [stale-reference] SecurityGroups[0].IpPermissions[3].PrefixListIds[0]: the document has no prefix list pl-3 | the rule is stale: it matches nothing
"#);
}

#[test]
fn icmp_is_for_ipv4_and_icmpv6_for_ipv6() {
    let text = r#"
Subnets: [{ CidrBlock: 10.0.1.0/24, Ipv6CidrBlock: "2001:db8::/64" }]
NetworkInterfaces: [{ PrivateIpAddress: 10.0.1.20, Ipv6Addresses: [{ Ipv6Address: "2001:db8::20" }], Groups: [{ GroupId: sg-1 }] }]
SecurityGroups:
  - GroupId: sg-1
    IpPermissions:
      - { IpProtocol: icmp, FromPort: -1, ToPort: -1, Ipv6Ranges: [{ CidrIpv6: "::/0" }], UserIdGroupPairs: [{ GroupId: sg-1 }] }
      - { IpProtocol: "58", IpRanges: [{ CidrIp: 0.0.0.0/0 }], UserIdGroupPairs: [{ GroupId: sg-1 }] }
"#;
    let (policy, _) = effective(&document(text), "eni-00000000000000001");
    let reference = Reference::new(&policy);
    let matching = |remote: &str, protocol| {
        let service = Service::icmp(protocol, 8, 0);
        let remote = remote.parse().expect("an address");
        reference.group_rules(Direction::Ingress, remote, service).count()
    };
    assert_eq!(
        (matching("10.0.1.20", ICMP), matching("2001:db8::20", ICMP), matching("2001:db8::21", ICMP)),
        (1, 0, 0)
    );
    assert_eq!(
        (matching("10.0.1.20", ICMPV6), matching("2001:db8::20", ICMPV6), matching("192.0.2.1", ICMPV6)),
        (0, 1, 0)
    );
}

#[test]
fn an_interface_has_its_declared_primary_addresses() {
    let (policy, _) = effective(&document(REFERENCES), "eni-2");
    assert_eq!(policy.interface.primary_v4, "10.0.1.30".parse().ok());
    assert_eq!(policy.interface.primary_v6, "2001:db8::31".parse().ok());
    assert_eq!(policy.interface.own.len(), 6);
    assert_eq!(policy.subnet, [block("10.0.1.0/24"), block("2001:db8::/64")]);
    assert_eq!(policy.reserved, [block("10.0.1.0/30")]);
}

#[test]
fn warnings_about_single_objects() {
    let text = r#"
NetworkInterfaces: [{ NetworkInterfaceId: eni-1, SubnetID: subnet-1, GroupSet: [] }]
SecurityGroups:
  - GroupId: sg-1
    IpPermissions:
      - { IpProtocol: tcp, FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: 100.68.0.18/18 }, { CidrIp: 100.68.0.0/18, Description: again }] }
      - { IpProtocol: 6, FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: 100.68.0.0/18 }] }
      - { IpProtocol: icmp, FromPort: -1, ToPort: -1, Ipv6Ranges: [{ CidrIpv6: "::/0" }] }
      - { IpProtocol: icmpv6, IpRanges: [{ CidrIp: 0.0.0.0/0 }] }
      - { IpProtocol: "-1", FromPort: -1, ToPort: -1, IpRanges: [] }
      - { IpProtocol: "-1", FromPort: 22, IpRanges: [{ CidrIp: 0.0.0.0/0 }] }
NetworkAcls:
  - Entries: [{ RuleNumber: 1, Egress: false, Protocol: icmp, RuleAction: deny, Ipv6CidrBlock: "::/0", IcmpTypeCode: { Type: -1, Code: -1 } }]
"#;
    let loaded = loaded(text);
    let folder = loaded.warnings[0].file.clone();
    let warnings = lines(loaded.warnings, folder.trim_end_matches("/policy.yaml").as_ref());
    insta::assert_snapshot!(warnings, @r#"
policy.yaml:2:50 [unknown-field] NetworkInterfaces[0].SubnetID: there is no field `SubnetID` here | did you mean `SubnetId`?
policy.yaml:2:70 [unknown-field] NetworkInterfaces[0].GroupSet: there is no field `GroupSet` here | did you mean `Groups`?
policy.yaml:6:75 [host-bits] SecurityGroups[0].IpPermissions[0].IpRanges[0].CidrIp: `100.68.0.18/18` has host bits; it means 100.68.0.0/18
policy.yaml:6:103 [duplicate-rule] SecurityGroups[0].IpPermissions[0]: the same rule stands above | AWS refuses a second rule with the same protocol, ports and peer
policy.yaml:7:73 [duplicate-rule] SecurityGroups[0].IpPermissions[1]: the same rule stands above | AWS refuses a second rule with the same protocol, ports and peer
policy.yaml:8:80 [family-mismatch] SecurityGroups[0].IpPermissions[2]: an icmp rule matches nothing at ::/0 | for this address family write IpProtocol: icmpv6
policy.yaml:9:52 [family-mismatch] SecurityGroups[0].IpPermissions[3]: an icmpv6 rule matches nothing at 0.0.0.0/0 | for this address family write IpProtocol: icmp
policy.yaml:10:9 [rule-without-peer] SecurityGroups[0].IpPermissions[4]: this rule names no address, prefix list or group: it allows nothing | everywhere is IpRanges: [{ CidrIp: 0.0.0.0/0 }], Ipv6Ranges: [{ CidrIpv6: ::/0 }]
policy.yaml:11:29 [ports-ignored] SecurityGroups[0].IpPermissions[5].FromPort: this is ignored: the rule's protocol has no ports here | only tcp, udp, icmp and icmpv6 rules have ports, or a type and a code
policy.yaml:13:96 [family-mismatch] NetworkAcls[0].Entries[0].Ipv6CidrBlock: an icmp rule does not match ICMPv6 | for ICMPv6 write Protocol: "58"
"#);
}

const TROUBLE: &str = r#"
Vpcs: [{ VpcId: vpc-1, CidrBlock: 10.0.0.0/16 }, { VpcId: vpc-2, CidrBlock: 10.2.0.0/16 }]
Subnets:
  - { SubnetId: subnet-1, VpcId: vpc-1, CidrBlock: 10.0.1.0/24 }
  - { SubnetId: subnet-2, VpcId: vpc-1, CidrBlock: 10.9.1.0/24 }
  - { SubnetId: subnet-3, VpcId: vpc-3, CidrBlock: 10.3.1.0/24 }
NetworkInterfaces:
  - { NetworkInterfaceId: eni-good, SubnetId: subnet-1, PrivateIpAddress: 10.0.1.20 }
  - { NetworkInterfaceId: eni-alien, SubnetId: subnet-9, VpcId: vpc-1, PrivateIpAddress: 10.0.1.21, Groups: [{ GroupId: sg-9 }] }
  - { NetworkInterfaceId: eni-outside, SubnetId: subnet-2, PrivateIpAddress: 10.0.1.20 }
  - { NetworkInterfaceId: eni-lost, VpcId: vpc-2, PrivateIpAddress: 10.0.1.22 }
  - { NetworkInterfaceId: eni-torn, SubnetId: subnet-1, VpcId: vpc-2, PrivateIpAddress: 10.0.1.2, Groups: [{ GroupId: sg-1 }] }
SecurityGroups: [{ GroupId: sg-1, VpcId: vpc-1 }]
NetworkAcls:
  - { NetworkAclId: acl-1, VpcId: vpc-1 }
  - { NetworkAclId: acl-2, VpcId: vpc-2, Associations: [{ SubnetId: subnet-2 }, { SubnetId: subnet-9 }] }
FlowLogs:
  - { ResourceId: eni-good, MaxAggregationInterval: 60 }
  - { ResourceId: vpc-1, TrafficType: REJECT }
  - { ResourceId: eni-9 }
  - { ResourceId: vpc-1, MaxAggregationInterval: 10, FlowLogStatus: ERROR }
  - { ResourceId: subnet-2, MaxAggregationInterval: 40 }
  - { ResourceId: eni-outside, MaxAggregationInterval: 60 }
"#;

#[test]
fn what_a_used_interface_lacks_is_an_error() {
    let document = document(TROUBLE);
    let (policy, warnings) = effective(&document, "eni-good");
    assert_eq!(
        (warnings.as_str(), policy.flow_log_interval),
        ("", Some(60)),
        "others' trouble is not its own"
    );
    let logs: Vec<_> = document.flow_logs_for("eni-good").iter().map(|log| log.interval).collect();
    assert_eq!(logs, [60, 600]);
    let refused = ["eni-alien", "eni-outside", "eni-lost", "eni-torn"].map(|id| refused(&document, id));
    insta::assert_snapshot!(refused.join("\n"), @r#"
policy.yaml:9:48 [unknown-subnet] NetworkInterfaces[1].SubnetId: the document has no subnet subnet-9 | a subnet of Subnets
policy.yaml:9:121 [unknown-group] NetworkInterfaces[1].Groups[0]: the document has no security group sg-9 | a group of SecurityGroups | without it, what eni-alien lets through is not known
policy.yaml:5:52 [subnet-outside-vpc] Subnets[1].CidrBlock: 10.9.1.0/24 lies outside of vpc-1 | a part of 10.0.0.0/16
policy.yaml:10:78 [address-outside-subnet] NetworkInterfaces[2].PrivateIpAddress: 10.0.1.20 lies outside of subnet-2 | an address of 10.9.1.0/24
policy.yaml:16:35 [foreign-acl] NetworkAcls[1].VpcId: acl-2 is of vpc-2, but subnet-2 is in vpc-1
policy.yaml:23:5 [interval-mismatch] FlowLogs[5].MaxAggregationInterval: eni-outside is also covered by a flow log of 40 s; 60 s is no multiple of it
policy.yaml:11:5 [unknown-subnet] NetworkInterfaces[3].SubnetId: eni-lost names no subnet, and its address does not tell | subnet-…
policy.yaml:12:64 [foreign-subnet] NetworkInterfaces[4].VpcId: eni-torn is in vpc-2, but its subnet in vpc-1
"#);
    assert!(document.effective("eni-9").is_err());
}

#[test]
fn a_check_takes_every_interface_as_used() {
    let document = document(TROUBLE);
    let checked = document.check();
    let folder = checked.errors[0].file.trim_end_matches("/policy.yaml").to_owned();
    let errors = checked.errors.len();
    insta::assert_snapshot!(lines(checked.errors, folder.as_ref()), @r#"
policy.yaml:5:52 [subnet-outside-vpc] Subnets[1].CidrBlock: 10.9.1.0/24 lies outside of vpc-1 | a part of 10.0.0.0/16
policy.yaml:9:48 [unknown-subnet] NetworkInterfaces[1].SubnetId: the document has no subnet subnet-9 | a subnet of Subnets
policy.yaml:9:121 [unknown-group] NetworkInterfaces[1].Groups[0]: the document has no security group sg-9 | a group of SecurityGroups | without it, what eni-alien lets through is not known
policy.yaml:10:78 [address-outside-subnet] NetworkInterfaces[2].PrivateIpAddress: 10.0.1.20 lies outside of subnet-2 | an address of 10.9.1.0/24
policy.yaml:11:5 [unknown-subnet] NetworkInterfaces[3].SubnetId: eni-lost names no subnet, and its address does not tell | subnet-…
policy.yaml:12:64 [foreign-subnet] NetworkInterfaces[4].VpcId: eni-torn is in vpc-2, but its subnet in vpc-1
policy.yaml:16:35 [foreign-acl] NetworkAcls[1].VpcId: acl-2 is of vpc-2, but subnet-2 is in vpc-1
policy.yaml:23:5 [interval-mismatch] FlowLogs[5].MaxAggregationInterval: eni-outside is also covered by a flow log of 40 s; 60 s is no multiple of it
"#);
    insta::assert_snapshot!(lines(checked.warnings, folder.as_ref()), @r#"
policy.yaml:6:34 [unknown-vpc] Subnets[2].VpcId: the document has no VPC vpc-3 | whether the subnet lies in it is not checked
policy.yaml:10:78 [shared-address] NetworkInterfaces[2].PrivateIpAddress: 10.0.1.20 is an address of eni-good too
policy.yaml:12:89 [reserved-address] NetworkInterfaces[4].PrivateIpAddress: 10.0.1.2 is reserved in subnet-1 | the first four addresses of a subnet are AWS's own; traffic with them is not filtered
policy.yaml:12:119 [foreign-group] NetworkInterfaces[4].Groups: sg-1 is of vpc-1, but eni-torn is in vpc-2 | AWS allows that only for groups that are associated with the other VPC
policy.yaml:15:5 [unused-acl] NetworkAcls[0].Associations: acl-1 is of no subnet: it decides nothing | name its subnets, as in Associations: [{ SubnetId: subnet-… }], or write IsDefault: true
policy.yaml:16:93 [unknown-subnet] NetworkAcls[1].Associations: the document has no subnet subnet-9
policy.yaml:20:19 [unknown-resource] FlowLogs[2].ResourceId: the document has no eni-9
"#);
    let elsewhere = document.trouble_elsewhere(&["eni-good"]);
    assert!(elsewhere.len() > errors, "what were errors are warnings now, and the warnings are there");
    assert!(elsewhere.iter().all(|one| one.severity != crate::document::Severity::Error));
}

#[test]
fn too_many_groups_and_rules_on_an_interface() {
    let groups: String = (1..=6).map(|group| format!("{{ GroupId: sg-{group} }}, ")).collect();
    let ranges: String = (0..200).map(|host| format!("{{ CidrIp: 10.0.0.{host}/32 }}, ")).collect();
    let text = format!(
        "Limits: {{ RulesPerSecurityGroup: 200 }}\nSubnets: [{{ CidrBlock: 10.0.1.0/24 }}]\n\
         NetworkInterfaces: [{{ NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20, Groups: [{groups}] }}]\n\
         SecurityGroups: [{groups}{{ GroupId: sg-7 }}]\n"
    );
    let text = text.replace("{ GroupId: sg-1 }, { GroupId: sg-2 }, { GroupId: sg-3 }, { GroupId: sg-4 }, { GroupId: sg-5 }, { GroupId: sg-6 }, { GroupId: sg-7 }",
        &format!("{{ GroupId: sg-1, IpPermissions: [{{ IpProtocol: tcp, FromPort: 1, ToPort: 1, IpRanges: [{ranges}] }}] }}, {{ GroupId: sg-2 }}, {{ GroupId: sg-3 }}, {{ GroupId: sg-4 }}, {{ GroupId: sg-5 }}, {{ GroupId: sg-6 }}"));
    insta::assert_snapshot!(refused(&document(&text), "eni-1"), @r#"
policy.yaml:3:21 [quota] NetworkInterfaces[0].Groups: 1200 rules (those of its largest group times its groups) on eni-1; the document's Limits allow 1000
policy.yaml:3:21 [quota] NetworkInterfaces[0].Groups: 6 security groups on eni-1; the document's Limits allow 5
"#);
}

#[test]
fn a_device_is_matched_by_primary_address() {
    let document = document(REFERENCES);
    let select = |wanted: Option<&str>, device: &[&str]| {
        let device: Vec<IpAddr> = device.iter().map(|text| text.parse().expect("an address")).collect();
        document.select(wanted, &device).map(str::to_owned).text()
    };
    assert_eq!(select(Some("eni-3"), &[]), "eni-3");
    assert_eq!(select(None, &["10.0.1.30", "fe80::1"]), "eni-2");
    assert_eq!(select(None, &["2001:db8::31"]), "eni-2");
    insta::assert_snapshot!(select(Some("eni-4"), &[]), @r#"the document has no network interface eni-4; it has eni-1 (10.0.1.20), eni-2 (10.0.1.30), eni-3 (10.0.1.40)"#);
    insta::assert_snapshot!(select(None, &["10.0.1.31"]), @r#"no network interface of the document has its primary address on the device; name one of eni-1 (10.0.1.20), eni-2 (10.0.1.30), eni-3 (10.0.1.40)"#);
    insta::assert_snapshot!(select(None, &["10.0.1.20", "10.0.1.40"]), @r#"several network interfaces have their primary address on the device; name one of eni-1 (10.0.1.20), eni-3 (10.0.1.40)"#);
    insta::assert_snapshot!(super::document("Vpcs: []").select(None, &[]).map(str::to_owned).text(), @r#"the document describes no network interface"#);
}

#[test]
fn aliases_and_several_yaml_documents() {
    let text = "
SecurityGroups:
  - GroupId: sg-1
    IpPermissions: [{ IpProtocol: tcp, FromPort: 22, ToPort: 22, IpRanges: &office [{ CidrIp: 198.51.100.0/24 }] }]
    IpPermissionsEgress: [{ IpProtocol: '-1', IpRanges: *office }]
---
Subnets: [{ CidrBlock: 10.0.1.0/24 }]
NetworkInterfaces: [{ PrivateIpAddress: 10.0.1.20, Groups: [{ GroupId: sg-1 }] }]
";
    let (policy, _) = effective(&document(text), "eni-00000000000000001");
    assert_eq!(policy.groups[0].ingress[0].peer, policy.groups[0].egress[0].peer);
}

#[test]
fn as_many_findings_as_rules_in_one_line_take_no_longer() {
    let ranges = vec![r#"{"CidrIp":"10.0.0.1/8","Description":"ä"}"#; 50_000].join(",");
    let text = format!(
        r#"{{"SecurityGroups":[{{"IpPermissions":[{{"IpProtocol":"-1","IpRanges":[{ranges}]}}]}}]}}"#
    );
    let loaded = loaded(&text);
    assert_eq!(loaded.warnings.len(), 149_999 + 1, "host bits, descriptions, duplicates, and the quota");
    let last = loaded.warnings.last().expect("there are many");
    assert_eq!(last.column, text.rfind("\"ä").map(|offset| text[..offset].chars().count() + 1));
}

#[test]
fn a_hundred_thousand_rules_are_loaded() {
    let range = |index: u32| {
        let [_, a, b, c] = index.to_be_bytes();
        format!(r#"{{"CidrIp":"{}.{a}.{b}.{c}/32"}}"#, 10)
    };
    let ranges: Vec<String> = (0..100_000).map(range).collect();
    let text = format!(
        r#"{{"Subnets":[{{"CidrBlock":"10.0.1.0/24"}}],"NetworkInterfaces":[{{"PrivateIpAddress":"10.0.1.20","Groups":[{{"GroupId":"sg-1"}}]}}],
        "SecurityGroups":[{{"GroupId":"sg-1","IpPermissions":[{{"IpProtocol":"tcp","FromPort":22,"ToPort":22,"IpRanges":[{}]}}]}}]}}"#,
        ranges.join(",")
    );
    // JSON is YAML: both parsers read the same text, and must come to the same policy.
    let folder = super::folder(&[("a.json", &text), ("b.yaml", &text)]);
    let policies = ["a.json", "b.yaml"].map(|name| {
        let begin = std::time::Instant::now();
        let document = load(&folder.path().join(name), &Limits::None).expect("it is correct").document;
        let (policy, _) = document.effective("eni-00000000000000001").expect("it is complete");
        println!("{name}: {:?}", begin.elapsed());
        policy
    });
    assert_eq!(policies[0].groups[0].ingress.len(), 100_000);
    assert_eq!(policies[0], policies[1]);
}

proptest! {
    #[test]
    fn a_cidr_block_means_its_canonical_form(address: [u8; 4], length in 0u8..=32, wide: u128, long in 0u8..=128) {
        let v4 = IpNet::new(IpAddr::from(address), length).expect("in range");
        let v6 = IpNet::new(IpAddr::from(wide.to_be_bytes()), long).expect("in range");
        let text = format!(
            "Subnets: [{{ CidrBlock: 10.0.1.0/24 }}]\nNetworkInterfaces: [{{ PrivateIpAddress: 10.0.1.20, \
             Groups: [{{ GroupId: sg-1 }}] }}]\nSecurityGroups: [{{ GroupId: sg-1, IpPermissions: [{{ IpProtocol: \"-1\", \
             IpRanges: [{{ CidrIp: {v4} }}], Ipv6Ranges: [{{ CidrIpv6: \"{v6}\" }}] }}] }}]\n"
        );
        let loaded = loaded(&text);
        let notes = usize::from(v4 != v4.trunc()) + usize::from(v6 != v6.trunc());
        prop_assert_eq!(loaded.warnings.len(), notes);
        let (policy, _) = loaded.document.effective("eni-00000000000000001").expect("it is complete");
        let blocks: Vec<IpNet> = policy.groups[0].ingress.iter().flat_map(|rule| rule.peer.prefixes()).copied().collect();
        prop_assert_eq!(blocks, [v4.trunc(), v6.trunc()]);
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "[\\[\\]{}:,\"'&*|>#a-z0-9 \n\t\\\\-]{0,60}") {
        let folder = super::folder(&[("a.json", &text), ("b.yaml", &text)]);
        let _either = load(folder.path(), &Limits::None).map_err(|errors| errors.render(false));
    }
}

#[test]
fn services_are_exempt_instead_of_ranges_where_the_document_says_so() {
    let text = |first: &str| {
        format!(
            "{first}\nSubnets: [{{ SubnetId: subnet-1, CidrBlock: 10.0.1.0/24, Ipv6CidrBlock: '2001:db8::/64' }}]\n\
             NetworkInterfaces: [{{ NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20 }}]"
        )
    };
    let vpc = "Vpcs: [{ VpcId: vpc-1, CidrBlock: 10.0.0.0/16, CidrBlockAssociationSet: [{ CidrBlock: 10.9.0.0/16 }] }]";
    let (policy, _) = document(&text(vpc)).effective("eni-1").expect("it is complete");
    let reserved = vec![block("10.0.1.0/30"), block("10.0.0.2/32")];
    assert_eq!((policy.exemptions, policy.reserved), (Exemptions::Ranges, reserved));
    assert_eq!(policy.platform, [block("169.254.0.0/16")]);

    let services = document(&text(&format!("Exemptions: services\n{vpc}")));
    let (policy, warnings) = services.effective("eni-1").expect("it is complete");
    assert!(warnings.is_empty(), "{warnings:?}");
    // The router of the subnet, the DNS server of the VPC.
    assert_eq!(policy.reserved, [block("10.0.1.1/32"), block("10.0.0.2/32")]);
    for service in ["169.254.169.254/32", "169.254.170.2/32", "fd00:ec2::123/128"] {
        assert!(policy.platform.contains(&block(service)), "{service}");
    }
    assert_eq!((policy.exemptions, policy.platform.len()), (Exemptions::Services, 9));

    let (policy, warnings) = effective(&document(&text("Exemptions: services")), "eni-1");
    assert_eq!(policy.reserved, [block("10.0.1.1/32")]);
    insta::assert_snapshot!(warnings, @"policy.yaml:1:13 [unknown-resolver] Exemptions: the DNS server of vpc-00000000000000001 is not exempt: its address is not known | tell the VPC's CidrBlock, as in Vpcs: [{ VpcId: vpc-00000000000000001, CidrBlock: 10.0.0.0/16 }]");
}

#[test]
fn no_group_is_not_the_default_group() {
    let groups = |field: &str| {
        let loaded = loaded(&format!(
            "Subnets: [{{ CidrBlock: 10.0.1.0/24 }}]\n\
             NetworkInterfaces: [{{ NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20{field} }}]"
        ));
        let (policy, _) = effective(&loaded.document, "eni-1");
        let ids: Vec<String> = policy.groups.into_iter().map(|group| group.id).collect();
        (ids.join(", "), loaded.warnings.iter().map(|one| one.id).collect::<Vec<_>>().join(", "))
    };
    let told = |ids: &str, warnings: &str| (ids.to_owned(), warnings.to_owned());
    assert_eq!(groups(""), told("sg-default", ""));
    assert_eq!(groups(", Groups: []"), told("", "no-group"));
    assert_eq!(groups(", RequesterManaged: true"), told("", ""));
    assert_eq!(groups(", Groups: [], RequesterManaged: true"), told("", ""));
}
