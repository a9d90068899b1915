//! What is said about documents that are wrong.

use std::fs;

use super::{Diagnostic, Limits, errors, errors_with, folder, lines, load, loaded};

#[test]
fn ten_different_errors_are_reported_at_once_with_their_lines() {
    let text = r#"
Vpcs: [{ VpcId: vpc-1, CidrBlock: 10.0.0.0/33 }]
Subnets: [{ SubnetId: net-1, CidrBlock: 10.0.1.0/24 }]
NetworkInterfaces: [{ PrivateIpAddress: 10.0.1.256 }]
SecurityGroups:
  - GroupName: sg-web
    IpPermissions:
      - { IpProtocol: tcp, FromPort: 8080, ToPort: 80, IpRanges: [{ CidrIp: 0.0.0.0/0 }] }
      - { IpProtocol: tcp, FromPort: 80, ToPort: 65536, IpRanges: [{ CidrIp: 0.0.0.0/0 }] }
      - { IpProtocol: sctp, IpRanges: [{ CidrIp: 0.0.0.0/0 }] }
      - { IpProtocol: icmp, FromPort: -1, ToPort: 4, IpRanges: [{ CidrIp: 0.0.0.0/0 }] }
      - { IpProtocol: "-1", IpRange: [{ CidrIp: 0.0.0.0/0 }] }
NetworkAcls:
  - Entries:
      - { RuleNumber: 0, Egress: no, Protocol: 6, RuleAction: permit, CidrBlock: 0.0.0.0/0 }
FlowLogs: [{ TrafficType: all, MaxAggregationInterval: 61 }]
"#;
    insta::assert_snapshot!(errors("policy.yaml", text), @r#"
policy.yaml:2:35 [bad-cidr] Vpcs[0].CidrBlock: `10.0.0.0/33` has no prefix length from 0 to 32 | an IPv4 block as in 192.0.2.0/24
policy.yaml:3:23 [malformed-id] Subnets[0].SubnetId: `net-1` is no id of this kind | subnet- followed by letters, digits and hyphens
policy.yaml:4:41 [bad-address] NetworkInterfaces[0].PrivateIpAddress: `10.0.1.256` is no such address | an IPv4 address as in 192.0.2.20
policy.yaml:6:16 [bad-group-name] SecurityGroups[0].GroupName: a group's name must not begin with `sg-`: that is how ids begin | 1 to 255 of a-z A-Z 0-9 ._-:/()#,@[]+=&;{}!$*
policy.yaml:8:38 [backward-ports] SecurityGroups[0].IpPermissions[0].FromPort: the port range runs backwards | FromPort must not exceed ToPort (80) | for ports 80 to 8080 write FromPort: 80, ToPort: 8080
policy.yaml:9:50 [out-of-range] SecurityGroups[0].IpPermissions[1].ToPort: 65536 is out of range | a port from 0 to 65535
policy.yaml:10:23 [bad-protocol] SecurityGroups[0].IpPermissions[2].IpProtocol: `sctp` is no protocol | tcp, udp, icmp, icmpv6, a protocol number from 0 to 255, or -1 for all
policy.yaml:11:51 [icmp-code] SecurityGroups[0].IpPermissions[3].ToPort: a code needs a type | -1, because FromPort is -1
policy.yaml:12:29 [unknown-field] SecurityGroups[0].IpPermissions[4].IpRange: there is no field `IpRange` here | did you mean `IpRanges`?
policy.yaml:15:9 [missing-field] NetworkAcls[0].Entries[0].PortRange: this field is missing | { From: …, To: … }
policy.yaml:15:23 [out-of-range] NetworkAcls[0].Entries[0].RuleNumber: 0 is out of range | a whole number from 1 to 32766
policy.yaml:15:34 [wrong-type] NetworkAcls[0].Entries[0].Egress: expected true or false, found a string | true or false goes here
policy.yaml:15:63 [bad-action] NetworkAcls[0].Entries[0].RuleAction: `permit` is no action | allow or deny
policy.yaml:16:27 [bad-traffic-type] FlowLogs[0].TrafficType: `all` is no traffic type | ACCEPT, REJECT or ALL
policy.yaml:16:56 [bad-interval] FlowLogs[0].MaxAggregationInterval: 600 is no multiple of 61 | 60 or 600; for tests also a shorter divisor of 600
"#);
}

#[test]
fn a_document_with_an_error_in_each_of_two_files_reports_both() {
    let folder = folder(&[
        ("a.json", r#"{ "SecurityGroups": [ { "GroupId": "sg-1", } ] }"#),
        ("b.yaml", "SecurityGroups:\n  - GroupId: sg-1\n GroupName: web\n"),
        ("notes.txt", "not a document"),
    ]);
    let errors = load(folder.path(), &Limits::None).expect_err("both are wrong");
    insta::assert_snapshot!(lines(errors, folder.path()), @r#"
a.json:1:44 [syntax] expected a field name in double quotes, found `}` | a comma must not stand before a closing bracket
b.yaml:3:2 [syntax] while parsing a block mapping, did not find expected key | a value that begins with a special character or holds `: ` or ` #` needs quotes
"#);
}

#[test]
fn json_is_strict() {
    let cases = [
        "{",
        "{ \"Vpcs\": [ }",
        "{ 'Vpcs': [] }",
        "{ \"Vpcs\": [] } // done",
        "{ \"OwnerId\": 000000000000 }",
        "{ \"a\": \"\n\" }",
        "{ \"a\": \"\\ud800\" }",
        "{ \"a\": \"\\x41\" }",
        "{ \"a\": tru }",
        "{ \"a\": 1. }",
        "{ \"a\": \"b }",
        "{ \"a\": 1 \"b\": 2 }",
        "{ \"a\": 1, \"b\": 2, \"a\": 3 }",
    ];
    let all: Vec<String> = cases.iter().map(|text| errors("a.json", text)).collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
a.json:1:2 [syntax] the file ends where a field name in double quotes should follow
a.json:1:13 [syntax] expected a value, found `}` | a comma must not stand before a closing bracket
a.json:1:3 [syntax] expected a field name in double quotes, found `'` | JSON strings stand in double quotes
a.json:1:16 [syntax] expected the end of the file, found `/` | JSON has no comments; YAML files have them
a.json:1:14 [syntax] a number must not begin with 0 | account ids and the like are strings: put them in double quotes
a.json:1:9 [syntax] a control character stands inside of a string | write a line break as \n, a tab as \t
a.json:1:9 [syntax] this escape is half of a character
a.json:1:10 [syntax] expected an escape (one of " \ / b f n r t u), found `x`
a.json:1:8 [syntax] expected a value, found `t`
a.json:1:10 [syntax] expected a digit, found ` `
a.json:1:8 [syntax] this string has no closing double quote
a.json:1:10 [syntax] expected `,` or `}`, found `"`
a.json:1:19 [duplicate-field] the field `a` is given twice | keep one of them; items of the same kind belong into one list
"#);
}

#[test]
fn nesting_and_aliases_are_bounded() {
    let deep = "[".repeat(10_000);
    insta::assert_snapshot!(errors("a.json", &deep), @r#"a.json:1:65 [too-deep] lists and objects are nested more than 64 deep"#);
    insta::assert_snapshot!(errors("a.yaml", &deep), @r#"a.yaml:1:256 [too-deep] lists and objects are nested more than 64 deep"#);
    let indented: String = (0..100).map(|depth| format!("{}- \n", " ".repeat(depth))).collect();
    insta::assert_snapshot!(errors("b.yaml", &indented), @r#"b.yaml:65:65 [too-deep] lists and objects are nested more than 64 deep"#);
    let mut laughs = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs += &format!("a{level}: &a{level} [{aliases}]\n");
    }
    insta::assert_snapshot!(errors("c.yaml", &laughs), @r#"c.yaml:6:40 [too-many-aliases] aliases stand for more than 1000000 values"#);
}

#[test]
fn yaml_faults_have_a_line() {
    let cases = [
        "Vpcs:\n\t- VpcId: vpc-1\n",
        "Vpcs: [*unknown]\n",
        "Vpcs: [{ VpcId: vpc-1 }\n",
        "Vpcs: []\nSubnets: []\nVpcs: []\n",
        "? [a]\n: b\n",
        "# only a comment\n",
        "- Vpcs\n",
    ];
    let all: Vec<String> = cases.iter().map(|text| errors("a.yaml", text)).collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
a.yaml:2:2 [syntax] tabs disallowed within this context (block indentation) | indent with spaces
a.yaml:1:8 [syntax] while parsing node, found unknown anchor | a string that begins with * needs quotes
a.yaml:2:1 [syntax] while parsing a flow sequence, expected ',' or ']' | a value that begins with a special character or holds `: ` or ` #` needs quotes
a.yaml:3:1 [duplicate-field] the field `Vpcs` is given twice | keep one of them; items of the same kind belong into one list
a.yaml:1:3 [syntax] a field's name must be a string
a.yaml [empty-file] a.yaml: the file holds nothing
a.yaml:1:1 [not-an-object] a document is an object, not a list | as in { "SecurityGroups": […], "NetworkInterfaces": […] }
"#);
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let files = folder(&[("empty.yaml", " \n"), ("kept.txt", "Vpcs: []")]);
    let path = files.path();
    fs::write(path.join("latin.yaml"), b"# caf\xe9\n").expect("a file can be written");
    fs::create_dir(path.join("none")).expect("a folder can be made");
    let all: Vec<String> = ["absent.yaml", "empty.yaml", "latin.yaml", "none"]
        .map(|name| load(&path.join(name), &Limits::None).expect_err("it cannot be read"))
        .into_iter()
        .map(|errors| lines(errors, path))
        .collect();
    insta::assert_snapshot!(all.join("\n"), @r#"
absent.yaml [missing-file] absent.yaml: there is no such file or folder
empty.yaml [empty-file] empty.yaml: the file is empty
latin.yaml:1:6 [not-utf8] this is not UTF-8 | save the file as UTF-8
none [no-documents] none: this folder holds no document | documents are files named *.json, *.yaml or *.yml; folders in it are not looked into
"#);
}

#[test]
fn a_misspelt_key_is_an_error_and_a_foreign_one_is_not() {
    let text = "
SecurityGroup: []
networkAcls: []
Reservations: []
RouteTables: []
NextToken: abc
SecurityGroups: [{ GroupId: sg-1, IpPermissionEgress: [], OwnFreeText: 1 }]
Subnets: [{ CidrBlock: 10.0.1.0/24, MapPublicIpOnLaunch: false }]
";
    insta::assert_snapshot!(errors("policy.yaml", text), @r#"
policy.yaml:2:1 [unknown-key] SecurityGroup: there is no `SecurityGroup` in a document | did you mean `SecurityGroups`?
policy.yaml:3:1 [unknown-key] networkAcls: there is no `networkAcls` in a document | did you mean `NetworkAcls`?
policy.yaml:7:35 [unknown-field] SecurityGroups[0].IpPermissionEgress: there is no field `IpPermissionEgress` here | did you mean `IpPermissionsEgress`?
"#);
}

#[test]
fn unknown_fields_of_rules_are_errors() {
    let text = r#"
SecurityGroups:
  - IpPermissions:
      - IpProtocol: "-1"
        CidrIp: 10.0.0.0/8
        IpRanges: [{ CidrIP: 10.0.0.0/8 }]
        UserIdGroupPairs: [{ GroupId: sg-1, Group: web }]
NetworkAcls:
  - Entries:
      - { RuleNumber: 1, Egress: true, Protocol: tcp, RuleAction: allow, CidrBlock: 10.0.0.0/8, Ports: 80 }
      - { RuleNumber: 2, Egress: true, Protocol: tcp, RuleAction: allow, CidrBlock: 10.0.0.0/8, PortRange: { from: 1, To: 2 } }
"#;
    insta::assert_snapshot!(errors("policy.yaml", text), @r#"
policy.yaml:5:9 [unknown-field] SecurityGroups[0].IpPermissions[0].CidrIp: there is no field `CidrIp` here | the fields are IpProtocol, FromPort, ToPort, IpRanges, Ipv6Ranges, PrefixListIds, UserIdGroupPairs
policy.yaml:6:20 [missing-field] SecurityGroups[0].IpPermissions[0].IpRanges[0].CidrIp: this field is missing | an IPv4 block as in 192.0.2.0/24
policy.yaml:6:22 [unknown-field] SecurityGroups[0].IpPermissions[0].IpRanges[0].CidrIP: there is no field `CidrIP` here | did you mean `CidrIp`?
policy.yaml:7:45 [unknown-field] SecurityGroups[0].IpPermissions[0].UserIdGroupPairs[0].Group: there is no field `Group` here | the fields are GroupId, GroupName, UserId, Description, VpcId, VpcPeeringConnectionId, PeeringStatus
policy.yaml:10:9 [missing-field] NetworkAcls[0].Entries[0].PortRange: this field is missing | { From: …, To: … }
policy.yaml:10:97 [unknown-field] NetworkAcls[0].Entries[0].Ports: there is no field `Ports` here | the fields are RuleNumber, Protocol, RuleAction, Egress, CidrBlock, Ipv6CidrBlock, PortRange, IcmpTypeCode
policy.yaml:11:108 [missing-field] NetworkAcls[0].Entries[1].PortRange.From: this field is missing | a port from 0 to 65535 (tcp and udp need both)
policy.yaml:11:110 [unknown-field] NetworkAcls[0].Entries[1].PortRange.from: there is no field `from` here | did you mean `From`?
"#);
}

#[test]
fn values_of_the_wrong_type() {
    let text = r#"
Vpcs: { VpcId: vpc-1 }
Subnets: [10.0.1.0/24]
NetworkInterfaces: [{ Groups: , SourceDestCheck: "true", OwnerId: 12, SubnetId: [] }]
SecurityGroups:
  - GroupName: true
    IpPermissions: [{ IpProtocol: tcp, FromPort: "80", ToPort: 80.5, IpRanges: [{ CidrIp: 10.0.0.1 }, { CidrIp: "::/0" }] }]
"#;
    insta::assert_snapshot!(errors("policy.yaml", text), @r#"
policy.yaml:2:7 [wrong-type] Vpcs: expected a list, found an object | a list goes here
policy.yaml:3:11 [wrong-type] Subnets[0]: expected an object, found a string | an object goes here
policy.yaml:4:29 [wrong-type] NetworkInterfaces[0].Groups: expected a list, found nothing | a list goes here | write [] for a list without items, or leave the field out
policy.yaml:4:50 [wrong-type] NetworkInterfaces[0].SourceDestCheck: expected true or false, found a string | true or false goes here
policy.yaml:4:67 [malformed-id] NetworkInterfaces[0].OwnerId: `12` is no account id | twelve digits
policy.yaml:4:81 [wrong-type] NetworkInterfaces[0].SubnetId: expected a string, found a list | a string goes here
policy.yaml:6:16 [wrong-type] SecurityGroups[0].GroupName: expected a string, found a boolean | a string goes here
policy.yaml:7:50 [wrong-type] SecurityGroups[0].IpPermissions[0].FromPort: expected a number, found a string | a number goes here | leave the quotes out
policy.yaml:7:64 [out-of-range] SecurityGroups[0].IpPermissions[0].ToPort: 80.5 is out of range | a whole number from -1 to 65535
policy.yaml:7:91 [bad-cidr] SecurityGroups[0].IpPermissions[0].IpRanges[0].CidrIp: `10.0.0.1` has no prefix length; this one address is 10.0.0.1/32 | an IPv4 block as in 192.0.2.0/24
policy.yaml:7:113 [bad-cidr] SecurityGroups[0].IpPermissions[0].IpRanges[1].CidrIp: `::/0` is an IPv6 block | an IPv4 block as in 192.0.2.0/24
"#);
}

#[test]
fn what_a_rule_lacks() {
    let text = r#"
SecurityGroups:
  - IpPermissions:
      - { FromPort: 80, ToPort: 80, IpRanges: [{ CidrIp: 10.0.0.0/8 }] }
      - { IpProtocol: tcp, FromPort: 80, IpRanges: [{ Description: all }] }
      - { IpProtocol: udp, FromPort: -1, ToPort: 80, UserIdGroupPairs: [{ UserId: "111122223333" }] }
      - { IpProtocol: icmp, PrefixListIds: [{}] }
NetworkAcls:
  - Entries:
      - {}
      - { RuleNumber: 10, Egress: false, Protocol: tcp, RuleAction: deny, CidrBlock: 10.0.0.0/8 }
      - { RuleNumber: 20, Egress: false, Protocol: "58", RuleAction: deny, Ipv6CidrBlock: "::/0" }
      - { RuleNumber: 30, Egress: false, Protocol: "-1", RuleAction: deny, CidrBlock: 10.0.0.0/8, Ipv6CidrBlock: "::/0" }
"#;
    insta::assert_snapshot!(errors("policy.yaml", text), @r#"
policy.yaml:4:9 [missing-field] SecurityGroups[0].IpPermissions[0].IpProtocol: this field is missing | tcp, udp, icmp, icmpv6, a protocol number from 0 to 255, or -1 for all
policy.yaml:5:9 [missing-field] SecurityGroups[0].IpPermissions[1].ToPort: this field is missing | a port from 0 to 65535 (tcp and udp need both)
policy.yaml:5:53 [missing-field] SecurityGroups[0].IpPermissions[1].IpRanges[0].CidrIp: this field is missing | an IPv4 block as in 192.0.2.0/24
policy.yaml:6:38 [out-of-range] SecurityGroups[0].IpPermissions[2].FromPort: -1 is out of range | a port from 0 to 65535
policy.yaml:6:73 [missing-field] SecurityGroups[0].IpPermissions[2].UserIdGroupPairs[0].GroupId: this field is missing | sg-… (or GroupName, for a group of the same VPC)
policy.yaml:7:9 [missing-field] SecurityGroups[0].IpPermissions[3].FromPort: this field is missing | an ICMP type or code from 0 to 255, or -1 for all (icmp needs both)
policy.yaml:7:9 [missing-field] SecurityGroups[0].IpPermissions[3].ToPort: this field is missing | an ICMP type or code from 0 to 255, or -1 for all (icmp needs both)
policy.yaml:7:45 [missing-field] SecurityGroups[0].IpPermissions[3].PrefixListIds[0].PrefixListId: this field is missing | pl-…
policy.yaml:10:9 [missing-field] NetworkAcls[0].Entries[0].CidrBlock: this field is missing | CidrBlock or Ipv6CidrBlock
policy.yaml:10:9 [missing-field] NetworkAcls[0].Entries[0].Egress: this field is missing | true for outbound, false for inbound
policy.yaml:10:9 [missing-field] NetworkAcls[0].Entries[0].Protocol: this field is missing | tcp, udp, icmp, icmpv6, a protocol number from 0 to 255, or -1 for all
policy.yaml:10:9 [missing-field] NetworkAcls[0].Entries[0].RuleAction: this field is missing | allow or deny
policy.yaml:10:9 [missing-field] NetworkAcls[0].Entries[0].RuleNumber: this field is missing | 1 to 32766
policy.yaml:11:9 [missing-field] NetworkAcls[0].Entries[1].PortRange: this field is missing | { From: …, To: … }
policy.yaml:12:9 [missing-field] NetworkAcls[0].Entries[2].IcmpTypeCode: this field is missing | { Type: …, Code: … }
policy.yaml:13:99 [two-families] NetworkAcls[0].Entries[3].Ipv6CidrBlock: a rule has either CidrBlock or Ipv6CidrBlock, not both | write two rules with two numbers
"#);
}

#[test]
fn numbers_of_network_acl_rules() {
    let text = r#"
NetworkAcls:
  - Entries:
      - { RuleNumber: 10, Egress: false, Protocol: "-1", RuleAction: deny, CidrBlock: 10.0.0.0/8 }
      - { RuleNumber: 10, Egress: true, Protocol: "-1", RuleAction: deny, CidrBlock: 10.0.0.0/8 }
      - { RuleNumber: 10, Egress: false, Protocol: "-1", RuleAction: deny, Ipv6CidrBlock: "::/0" }
      - { RuleNumber: 32767, Egress: false, Protocol: "-1", RuleAction: deny, CidrBlock: 0.0.0.0/0 }
      - { RuleNumber: 32768, Egress: false, Protocol: "-1", RuleAction: deny, Ipv6CidrBlock: "::/0" }
      - { RuleNumber: 32767, Egress: true, Protocol: "-1", RuleAction: allow, CidrBlock: 0.0.0.0/0 }
      - { RuleNumber: 32768, Egress: true, Protocol: "-1", RuleAction: deny, CidrBlock: 0.0.0.0/0 }
      - { RuleNumber: 32769, Egress: true, Protocol: "-1", RuleAction: deny, CidrBlock: 0.0.0.0/0 }
"#;
    insta::assert_snapshot!(errors("policy.yaml", text), @r#"
policy.yaml:6:23 [duplicate-rule-number] NetworkAcls[0].Entries[2].RuleNumber: rule 10 of this direction is already given by Entries[0] | numbers are unique for each direction; IPv4 and IPv6 rules share them
policy.yaml:9:23 [out-of-range] NetworkAcls[0].Entries[5].RuleNumber: 32767 is the number of the catch-all rule | a whole number from 1 to 32766 | what no rule matches is denied; this cannot be changed
policy.yaml:10:23 [out-of-range] NetworkAcls[0].Entries[6].RuleNumber: 32768 is the number of the catch-all rule | a whole number from 1 to 32766 | what no rule matches is denied; this cannot be changed
policy.yaml:11:23 [out-of-range] NetworkAcls[0].Entries[7].RuleNumber: 32769 is out of range | a whole number from 1 to 32766
"#);
}

#[test]
fn two_objects_cannot_claim_the_same() {
    let text = r#"
Vpcs: [{ VpcId: vpc-1 }]
Subnets: [{ SubnetId: subnet-1, CidrBlock: 10.0.1.0/24 }, { SubnetId: subnet-1, CidrBlock: 10.0.2.0/24 }]
SecurityGroups:
  - { GroupId: sg-1, GroupName: Web }
  - { GroupId: sg-2, GroupName: web }
  - { GroupId: sg-3, GroupName: Default }
NetworkAcls:
  - { NetworkAclId: acl-1, IsDefault: true, Associations: [{ SubnetId: subnet-1 }] }
  - { NetworkAclId: acl-2, IsDefault: true, Associations: [{ SubnetId: subnet-1, NetworkAclId: acl-3 }] }
ManagedPrefixLists:
  - { PrefixListId: pl-1, AddressFamily: IPv4, Entries: [{ Cidr: "2001:db8::/32" }] }
  - { PrefixListId: pl-1 }
Entries: []
"#;
    insta::assert_snapshot!(errors("policy.yaml", text), @r#"
policy.yaml:3:59 [duplicate-id] Subnets[1]: subnet-1 is given twice, with different contents | the other one stands in policy.yaml:3; an object stands in one file only
policy.yaml:6:33 [duplicate-group-name] SecurityGroups[1].GroupName: vpc-1 already has a group of this name, sg-1 | names are unique in a VPC; upper and lower case are the same
policy.yaml:7:33 [bad-group-name] SecurityGroups[2].GroupName: this name is reserved: the default group of a VPC is `default` | 1 to 255 of a-z A-Z 0-9 ._-:/()#,@[]+=&;{}!$*
policy.yaml:10:5 [duplicate-default-acl] NetworkAcls[1].IsDefault: vpc-1 has a default network ACL already, acl-1
policy.yaml:10:72 [duplicate-association] NetworkAcls[1].Associations: subnet-1 is associated with acl-1 already | a subnet has one network ACL
policy.yaml:10:96 [foreign-association] NetworkAcls[1].Associations[0].NetworkAclId: this association is one of acl-3, but stands in acl-2
policy.yaml:12:66 [prefix-list-family] ManagedPrefixLists[0].Entries: 2001:db8::/32 does not belong into pl-1, an IPv4 list
policy.yaml:13:5 [duplicate-id] ManagedPrefixLists[1]: pl-1 is given twice, with different contents | the other one stands in policy.yaml:12; an object stands in one file only
policy.yaml:14:1 [entries-without-list] Entries: these entries do not say of which prefix list they are | name the file after the list, as in pl-0123456789abcdef0.json
"#);
}

#[test]
fn a_vpc_is_inferred_only_if_there_is_one() {
    let text =
        "Vpcs: [{ VpcId: vpc-1 }, { VpcId: vpc-2 }]\nSecurityGroups: [{ GroupId: sg-1 }]\nFlowLogs: [{}]\n";
    insta::assert_snapshot!(errors("policy.yaml", text), @r#"
policy.yaml:2:18 [missing-field] SecurityGroups[0].VpcId: this field is missing | one of the document's 2 VPCs
policy.yaml:3:12 [missing-field] FlowLogs[0].ResourceId: this field is missing | vpc-…, subnet-… or eni-…: what the flow log is for
"#);
}

#[test]
fn quotas_are_warnings_unless_they_are_asked_for() {
    let ranges: String = (0..61).map(|host| format!("{{ CidrIp: 10.0.0.{host}/32 }}, ")).collect();
    let text = format!(
        "SecurityGroups:\n  - GroupId: sg-1\n    IpPermissions: \
         [{{ IpProtocol: \"-1\", IpRanges: [{ranges}], Ipv6Ranges: [{{ CidrIpv6: \"::/0\" }}] }}]\n"
    );
    insta::assert_snapshot!(errors_with("a.yaml", &text, &Limits::Aws), @r#"a.yaml:2:5 [quota] SecurityGroups[0].IpPermissions: 61 IPv4 rules in one direction of sg-1; AWS allows 60"#);
    assert_eq!(loaded(&text).warnings.len(), 1);
    let own = format!("{text}Limits: {{ RulesPerSecurityGroup: 61 }}\n");
    assert_eq!(loaded(&own).warnings.len(), 0);
    let own = format!("{text}Limits: {{ RulesPerSecurityGroup: 50 }}\n");
    insta::assert_snapshot!(errors("a.yaml", &own), @r#"a.yaml:2:5 [quota] SecurityGroups[0].IpPermissions: 61 IPv4 rules in one direction of sg-1; the document's Limits allow 50"#);
}

#[test]
fn own_limits_come_from_a_file() {
    let folder =
        folder(&[("limits.yaml", "RulesPerSecurityGroup: 1000\n"), ("wrong.yaml", "RulesPerGroup: 0\n")]);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let Ok(Limits::Own(numbers)) = Limits::from_argument(&file("limits.yaml")) else {
        panic!("the file is correct")
    };
    assert_eq!((numbers.rules_per_group, numbers.groups_per_interface), (1000, 5));
    let errors = Limits::from_argument(&file("wrong.yaml")).expect_err("there is no such field");
    insta::assert_snapshot!(lines(errors, folder.path()), @r#"wrong.yaml:1:1 [unknown-field] RulesPerGroup: there is no field `RulesPerGroup` here | the fields are RulesPerSecurityGroup, SecurityGroupsPerInterface, RulesTimesSecurityGroups, RulesPerNetworkAcl, EntriesPerPrefixList"#);
    let errors = Limits::from_argument("awz").expect_err("there is no such file");
    insta::assert_snapshot!(lines(errors, folder.path()), @r#"awz [missing-file] awz: there is no such file or folder | --limits takes none, aws, or a file"#);
}

#[test]
fn an_error_is_rendered_with_its_line() {
    let text = "SecurityGroups:\n  - GroupId: sg-1\n    IpPermissions:\n      - { IpProtocol: tcp, FromPort: 8080, ToPort: 80, IpRanges: [{ CidrIp: 0.0.0.0/0 }] }\n";
    let folder = folder(&[("web.yaml", text)]);
    let errors = load(&folder.path().join("web.yaml"), &Limits::None).expect_err("the range runs backwards");
    let rendered = errors.render(false).replace(&format!("{}/", folder.path().display()), "");
    insta::assert_snapshot!(rendered, @r#"
backward-ports

  × SecurityGroups[0].IpPermissions[0].FromPort: the port range runs backwards
   ╭─[web.yaml:4:38]
 3 │     IpPermissions:
 4 │       - { IpProtocol: tcp, FromPort: 8080, ToPort: 80, IpRanges: [{ CidrIp: 0.0.0.0/0 }] }
   ·                                      ──┬─
   ·                                        ╰── FromPort must not exceed ToPort (80)
   ╰────
  help: for ports 80 to 8080 write FromPort: 80, ToPort: 8080
"#);
    let json = serde_json::to_string_pretty(&errors).expect("errors can be serialised");
    insta::assert_snapshot!(json.replace(&format!("{}/", folder.path().display()), ""), @r#"
[
  {
    "severity": "error",
    "id": "backward-ports",
    "file": "web.yaml",
    "line": 4,
    "column": 38,
    "field": "SecurityGroups[0].IpPermissions[0].FromPort",
    "message": "the port range runs backwards",
    "expected": "FromPort must not exceed ToPort (80)",
    "help": "for ports 80 to 8080 write FromPort: 80, ToPort: 8080",
    "rule": null
  }
]
"#);
}

#[test]
fn of_a_very_long_line_only_the_neighbourhood_is_shown() {
    let rule = r#"{ "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }, "#.repeat(1000);
    let text = format!(
        r#"{{ "SecurityGroups": [{{ "GroupId": "sg-1", "Description": "naïve", "IpPermissions": [{rule} {{ "IpProtocol": "ö" }}] }}] }}"#
    );
    let folder = folder(&[("web.json", &text)]);
    let errors = load(&folder.path().join("web.json"), &Limits::None).expect_err("there is no such protocol");
    let rendered = errors.render(false).replace(&format!("{}/", folder.path().display()), "");
    insta::assert_snapshot!(rendered, @r#"
bad-protocol

  × SecurityGroups[0].IpPermissions[1000].IpProtocol: `ö` is no protocol
   ╭─[web.json:1:65103]
 1 │ "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] },  { "IpProtocol": "ö" }] }] }
   ·                                                                                 ─┬─
   ·                                                                                  ╰── tcp, udp, icmp, icmpv6, a protocol number from 0 to 255, or -1 for all
   ╰────
"#);
}

#[test]
fn columns_count_characters_also_behind_umlauts() {
    let text = "# Büro: Zürich\nVpcs: [{ Tags: größer ä, VpcId: vpc_1 }]\nSubnets: [{ SubnetId: x }]\n";
    insta::assert_snapshot!(errors("policy.yaml", text), @r#"
policy.yaml:2:33 [malformed-id] Vpcs[0].VpcId: `vpc_1` is no id of this kind | vpc- followed by letters, digits and hyphens
policy.yaml:3:11 [missing-field] Subnets[0].CidrBlock: this field is missing | the subnet's block
policy.yaml:3:23 [malformed-id] Subnets[0].SubnetId: `x` is no id of this kind | subnet- followed by letters, digits and hyphens
"#);
}

#[test]
fn a_document_commands_no_terminal_and_floods_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a\u{1b}[2Jb.json");
    let long = "x".repeat(5 << 20);
    let text = format!(
        "{{\"Vpcs\": [\u{1b}[31m\n\"\\u001b]0;title\\u0007 {long}\", {{\"\\u009b\\u202e{long}\": 1}}]}}"
    );
    let yaml = "Vpcs: [{VpcId: \"vpc-\\e[31m\", CidrBlock: \"\\e]0;title\\a\"}]\n\"\\e[1m\": 1\n";
    let mut seen = String::new();
    for text in [text.as_str(), &text.replace('\u{1b}', ""), yaml] {
        let path = if text == yaml { path.with_extension("yaml") } else { path.clone() };
        std::fs::write(&path, text).expect("a file");
        let found = crate::document::load(&path, &Limits::default()).expect_err("it is wrong");
        seen += &found.render(false);
        seen += &found.to_string();
        assert!(serde_json::to_string(&found).is_ok_and(|json| json.contains(r"a\u001b[2Jb")));
    }
    let obeyed = |character: &char| character.is_control() && *character != '\n' || *character == '\u{202e}';
    assert_eq!(seen.chars().find(obeyed), None, "{seen:?}");
    assert!(seen.len() < 20_000, "{} bytes", seen.len());
    assert!(seen.contains(r"\u{1b}[2Jb"), "{seen}");
}

/// EC2 guide, `security-group-connection-tracking`: each timeout has a range, and both ends belong to it.
#[test]
fn idle_timeouts_have_aws_ranges() {
    let document = |name: &str, seconds: &str| {
        format!(
            "Subnets: [{{ CidrBlock: 10.0.1.0/24 }}]\nNetworkInterfaces:\n  - PrivateIpAddress: 10.0.1.20\n    \
             ConnectionTrackingSpecification: {{ {name}: {seconds} }}\n"
        )
    };
    for (name, low, high) in
        [("TcpEstablishedTimeout", 60, 432_000), ("UdpStreamTimeout", 60, 180), ("UdpTimeout", 30, 60)]
    {
        for seconds in [low, high] {
            let _ = loaded(&document(name, &seconds.to_string()));
        }
        for seconds in [low - 1, high + 1, 0, -1] {
            let found = errors("policy.yaml", &document(name, &seconds.to_string()));
            let expected = format!(
                "NetworkInterfaces[0].ConnectionTrackingSpecification.{name}: {seconds} is out of range | a whole \
                 number from {low} to {high}"
            );
            assert!(found.contains(&expected), "{found}");
        }
    }
    let found = errors("policy.yaml", &document("UdpTimeouts", "30"));
    assert!(found.contains("did you mean `UdpTimeout`?"), "{found}");
}

#[test]
fn strict_tcp_is_true_or_false() {
    let found = errors("policy.yaml", "NetworkInterfaces: [{ StrictTcp: 1 }]");
    assert!(found.contains("[wrong-type] NetworkInterfaces[0].StrictTcp: expected true or false"), "{found}");
}

#[test]
fn exemptions_are_one_of_two_for_the_whole_document() {
    insta::assert_snapshot!(errors("policy.yaml", "Exemptions: all"), @"policy.yaml:1:13 [bad-exemptions] Exemptions: `all` is no choice of what is exempt | ranges or services");
    insta::assert_snapshot!(errors("policy.yaml", "Exemptions: [services]"), @"policy.yaml:1:13 [wrong-type] Exemptions: expected a string, found a list | a string goes here");
    insta::assert_snapshot!(errors("policy.yaml", "Exemption: services"), @"policy.yaml:1:1 [unknown-key] Exemption: there is no `Exemption` in a document | did you mean `Exemptions`?");
    let folder = folder(&[
        ("a.yaml", "Exemptions: services"),
        ("b.yaml", "Exemptions: services"),
        ("c.json", "{ \"Exemptions\": \"ranges\" }"),
    ]);
    let errors = load(folder.path(), &Limits::None).expect_err("one says otherwise");
    insta::assert_snapshot!(lines(errors, folder.path()), @"c.json:1:17 [two-exemptions] Exemptions: another file of the document says otherwise | one choice for the whole document");
}

/// Of one file: what is worth knowing about it.
fn warned(text: &str) -> String {
    let found = loaded(text).warnings;
    let told = |one: &Diagnostic| {
        let help = one.help.as_deref().unwrap_or_default();
        format!("[{}] {one} | {help}", one.id)
    };
    found.iter().map(told).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_connection_tracking_does_not_know_is_told() {
    let with = |field: &str| {
        warned(&format!("NetworkInterfaces: [{{ {field}: {{ TcpIdle: 60, UdpTimeout: 40 }} }}]"))
    };
    for field in ["ConnectionTrackingConfiguration", "ConnectionTrackingSpecification"] {
        let warned = with(field);
        assert!(warned.contains("[unknown-field]") && warned.contains("`TcpIdle`"), "{warned}");
        assert!(warned.contains("TcpEstablishedTimeout, UdpStreamTimeout, UdpTimeout"), "{warned}");
        assert!(!warned.contains("`UdpTimeout`"), "{warned}");
    }
}

#[test]
fn two_files_limits_are_the_same_or_an_error() {
    let with = |second: &str| {
        let folder = folder(&[("a.yaml", "Limits: { RulesPerNetworkAcl: 30 }"), ("b.yaml", second)]);
        load(folder.path(), &Limits::None).map(drop).map_err(|errors| lines(errors, folder.path()))
    };
    assert_eq!(with("Limits: { RulesPerNetworkAcl: 30 }"), Ok(()));
    insta::assert_snapshot!(with("Limits: { RulesPerNetworkAcl: 31 }").expect_err("two"), @"b.yaml:1:1 [two-limits] Limits: another file of the document says otherwise | one choice for the whole document");
}
