//! What AWS would refuse although it can be enforced, and quotas; rules in the flat form; folders.

use std::fs;

use super::{Limits, Severity, errors, errors_with, folder, lines, load, loaded};
use crate::policy::Peer;

/// The warnings of one file, and that they are errors with AWS's limits.
fn warned(text: &str) -> String {
    let mut warnings = loaded(text).warnings;
    warnings.retain(|one| one.severity == Severity::Warning);
    let Some(first) = warnings.first() else { return errors_with("policy.yaml", text, &Limits::Aws) };
    let folder = first.file.trim_end_matches("/policy.yaml").to_owned();
    let said = lines(warnings, folder.as_ref());
    assert_eq!(errors_with("policy.yaml", text, &Limits::Aws), said, "warnings are errors with --limits aws");
    said
}

#[test]
fn tags_are_bounded_and_aws_tags_are_its_own() {
    let many: Vec<String> = (0..51).map(|number| format!("{{ Key: k{number}, Value: v }}")).collect();
    let text = format!(
        "SecurityGroups:\n  - {{ GroupId: sg-1, Tags: [{}] }}\n  - {{ GroupId: sg-2, Tags: [{{ Key: {}, Value: v }}, {{ Key: k, Value: {} }}, {{ Key: k, Value: w }}] }}\n  - {{ GroupId: sg-3, Tags: [{{ Key: \"aws:x\", Value: v }}, {{ Value: v }}] }}\n  - {{ GroupId: sg-4, Tags: {{ Name: web }} }}\n",
        many.join(", "),
        "k".repeat(129),
        "v".repeat(257),
    );
    insta::assert_snapshot!(warned(&text).replace(&"k".repeat(129), "k…"), @r"
policy.yaml:2:28 [bad-tag] SecurityGroups[0].Tags: 51 tags; AWS allows 50
policy.yaml:3:29 [bad-tag] SecurityGroups[1].Tags[0]: a tag's key has at most 128 characters
policy.yaml:3:179 [bad-tag] SecurityGroups[1].Tags[1]: a tag's value has at most 256 characters
policy.yaml:3:457 [bad-tag] SecurityGroups[1].Tags[2]: there is a tag `k` above
policy.yaml:4:29 [bad-tag] SecurityGroups[2].Tags[0]: `aws:x`: keys that begin with `aws:` are reserved
policy.yaml:4:57 [bad-tag] SecurityGroups[2].Tags[1]: a tag is { Key: …, Value: … }
policy.yaml:5:28 [bad-tag] SecurityGroups[3].Tags: tags are a list of { Key: …, Value: … }
");
    // Described objects have AWS's tags, which do not count.
    let mut described = many;
    described[0] = "{ Key: \"aws:autoscaling:groupName\", Value: web }".to_owned();
    let described = format!(
        "SecurityGroups: [{{ GroupId: sg-1, OwnerId: \"111122223333\", Tags: [{}] }}]\n",
        described.join(", ")
    );
    assert_eq!(warned(&described), "no errors");
}

#[test]
fn descriptions_of_groups_are_checked_as_those_of_rules() {
    let text = format!(
        "SecurityGroups:\n  - {{ GroupId: sg-1, Description: \"don't\" }}\n  - {{ GroupId: sg-2, Description: {} }}\n  - {{ GroupId: sg-3, Description: \"Web & ssh; see wiki/web (2026)\" }}\n  - {{ GroupId: sg-4 }}\n",
        "d".repeat(256)
    );
    insta::assert_snapshot!(warned(&text), @r"
policy.yaml:2:35 [bad-description] SecurityGroups[0].Description: a description must not hold `'` | 0 to 255 of a-z A-Z 0-9 ._-:/()#,@[]+=&;{}!$*
policy.yaml:3:35 [bad-description] SecurityGroups[1].Description: a description has at most 255 characters | 0 to 255 of a-z A-Z 0-9 ._-:/()#,@[]+=&;{}!$*
");
}

#[test]
fn prefix_lists_keep_to_their_size_their_family_and_their_names() {
    let text = r#"
ManagedPrefixLists:
  - { PrefixListId: pl-1, MaxEntries: 1, Entries: [{ Cidr: 192.0.2.0/24 }, { Cidr: 192.0.2.7/24 }] }
  - { PrefixListId: pl-2, Entries: [{ Cidr: 192.0.2.0/24 }, { Cidr: "2001:db8::/32" }] }
  - { PrefixListId: pl-3, PrefixListName: com.amazonaws.mine, OwnerId: "111122223333" }
  - { PrefixListId: pl-4, PrefixListName: com.amazonaws.mine, MaxEntries: 3 }
  - { PrefixListId: pl-5, PrefixListName: com.amazonaws.eu-west-1.s3, OwnerId: AWS }
  - { PrefixListId: pl-6, PrefixListName: com.amazonaws.eu-west-1.dynamodb }
"#;
    insta::assert_snapshot!(warned(text), @r"
policy.yaml:3:39 [too-many-entries] ManagedPrefixLists[0].MaxEntries: pl-1 has 2 entries, more than MaxEntries
policy.yaml:3:84 [duplicate-entry] ManagedPrefixLists[0].Entries: 192.0.2.0/24 is an entry of pl-1 already
policy.yaml:4:69 [mixed-families] ManagedPrefixLists[1].Entries: pl-2 has entries of both address families | a list on AWS has one family
policy.yaml:5:43 [reserved-list-name] ManagedPrefixLists[2].PrefixListName: names that begin with `com.amazonaws` are AWS's own lists'
policy.yaml:6:43 [reserved-list-name] ManagedPrefixLists[3].PrefixListName: names that begin with `com.amazonaws` are AWS's own lists'
");
    // The size and the entries may stand in different files.
    let folder = folder(&[
        (
            "lists.json",
            r#"{ "PrefixLists": [{ "PrefixListId": "pl-1", "AddressFamily": "IPv4", "MaxEntries": 1 }] }"#,
        ),
        ("pl-1.json", r#"{ "Entries": [{ "Cidr": "192.0.2.0/24" }, { "Cidr": "198.51.100.0/24" }] }"#),
    ]);
    let loaded = load(folder.path(), &Limits::None).expect("no error");
    assert_eq!(loaded.warnings[0].id, "too-many-entries");
}

#[test]
fn a_prefix_list_has_at_most_a_thousand_entries() {
    let list = |fields: &str| format!("ManagedPrefixLists: [{{ PrefixListId: pl-1, {fields} }}]\n");
    let entries = |count: usize| {
        let entries: Vec<String> =
            (0..count).map(|n| format!("{{ Cidr: 10.{}.{}.0/24 }}", n / 256, n % 256)).collect();
        list(&format!("Entries: [{}]", entries.join(", ")))
    };
    insta::assert_snapshot!(errors_with("policy.yaml", &list("MaxEntries: 1001"), &Limits::Aws), @"policy.yaml:1:56 [quota] ManagedPrefixLists[0].MaxEntries: 1001 MaxEntries of pl-1; AWS allows 1000");
    insta::assert_snapshot!(errors_with("policy.yaml", &entries(1001), &Limits::Aws), @"policy.yaml:1:22 [quota] ManagedPrefixLists[0].Entries: 1001 entries of pl-1; AWS allows 1000");
    assert_eq!(errors_with("policy.yaml", &entries(1000), &Limits::Aws), "no errors");
    assert_eq!(errors_with("policy.yaml", &list("MaxEntries: 1000"), &Limits::Aws), "no errors");
    let own = format!("{}Limits: {{ EntriesPerPrefixList: 10 }}\n", entries(11));
    insta::assert_snapshot!(errors("policy.yaml", &own), @"policy.yaml:1:22 [quota] ManagedPrefixLists[0].Entries: 11 entries of pl-1; the document's Limits allow 10");
    assert_eq!(errors("policy.yaml", &entries(1001)), "no errors", "a warning without --limits");
}

#[test]
fn quotas_that_aws_raises_say_how_far() {
    let rules: Vec<String> = (1..=21)
        .map(|n| format!("{{ RuleNumber: {n}, Egress: true, RuleAction: allow, Protocol: all, CidrBlock: 10.0.{n}.0/24 }}"))
        .collect();
    let text = format!(
        "NetworkAcls: [{{ NetworkAclId: acl-1, IsDefault: true, Entries: [{}] }}]\n",
        rules.join(", ")
    );
    insta::assert_snapshot!(errors_with("policy.yaml", &text, &Limits::Aws), @"policy.yaml:1:15 [quota] NetworkAcls[0].Entries: 21 IPv4 egress rules of acl-1; AWS allows 20, on request up to 40");
}

const DEFAULT_BY_ANY_NAME: &str = "
Subnets: [{ SubnetId: subnet-1, CidrBlock: 10.0.1.0/24 }]
NetworkInterfaces: [{ NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20, Groups: [{ GroupName: Default }] }]
";

#[test]
fn the_default_group_is_meant_in_upper_and_lower_case() {
    let (policy, _) = loaded(DEFAULT_BY_ANY_NAME).document.effective("eni-1").expect("AWS's default group");
    assert_eq!(policy.groups[0].id, "sg-default");
    for name in ["DEFAULT", "Default", "sg-web"] {
        let text = format!("SecurityGroups: [{{ GroupId: sg-1, GroupName: {name} }}]\n");
        assert!(errors("policy.yaml", &text).contains("[bad-group-name]"), "{name}");
    }
}

const FLAT: &str = r#"
Subnets: [{ SubnetId: subnet-1, CidrBlock: 10.0.1.0/24 }]
NetworkInterfaces:
  - { NetworkInterfaceId: eni-1, PrivateIpAddress: 10.0.1.20, Groups: [{ GroupId: sg-1 }] }
SecurityGroupRules:
  - { SecurityGroupRuleId: sgr-1, GroupId: sg-1, IsEgress: false, IpProtocol: tcp, FromPort: 22, ToPort: 22, CidrIpv4: 192.0.2.7/24, Description: office }
  - { SecurityGroupRuleId: sgr-2, GroupId: sg-1, IsEgress: false, IpProtocol: "-1", FromPort: -1, ToPort: -1, ReferencedGroupInfo: { GroupId: sg-1, UserId: "111122223333" } }
  - { SecurityGroupRuleId: sgr-3, GroupId: sg-1, IsEgress: true, IpProtocol: icmp, FromPort: -1, ToPort: -1, CidrIpv4: 0.0.0.0/0 }
"#;

fn ids(text: &str) -> Vec<String> {
    let (policy, _) = loaded(text).document.effective("eni-1").expect("a policy");
    let group = &policy.groups[0];
    let id = |rule: &crate::policy::GroupRule| rule.given_id.as_deref().unwrap_or("derived").to_owned();
    group.ingress.iter().chain(&group.egress).map(id).collect()
}

#[test]
fn flat_rules_give_the_rules_of_described_groups_their_ids() {
    let groups = r#"
SecurityGroups:
  - GroupId: sg-1
    IpPermissions:
      - { IpProtocol: "-1", UserIdGroupPairs: [{ GroupId: sg-1 }] }
      - { IpProtocol: tcp, FromPort: 22, ToPort: 22, IpRanges: [{ CidrIp: 198.51.100.0/24 }, { CidrIp: 192.0.2.0/24 }] }
"#;
    let text = format!("{FLAT}{groups}");
    // The default outbound rule stays: SecurityGroups decides.
    assert_eq!(ids(&text), ["sgr-2", "derived", "sgr-1", "derived"]);
    let loaded = loaded(&text);
    let (policy, _) = loaded.document.effective("eni-1").expect("a policy");
    assert_eq!(policy.groups[0].ingress[2].description.as_deref(), Some("office"));
    let said: Vec<String> = loaded.warnings.iter().map(|one| format!("{} {one}", one.id)).collect();
    assert_eq!(
        said[1..],
        [
            "unmatched-rule SecurityGroupRules[2]: SecurityGroups has no such rule in sg-1: this one is not enforced"
        ]
    );
}

#[test]
fn a_group_that_only_flat_rules_tell_of_is_made_of_them() {
    assert_eq!(ids(FLAT), ["sgr-1", "sgr-2", "sgr-3"]);
    let document = loaded(FLAT).document;
    let (policy, warnings) = document.effective("eni-1").expect("a policy");
    assert!(warnings.is_empty());
    let group = &policy.groups[0];
    assert_eq!(group.egress.len(), 1, "not AWS's default: the rules tell all");
    let Peer::Group { members, .. } = &group.ingress[1].peer else { panic!("a reference") };
    assert_eq!(members.len(), 1);
    // Several VPCs: the interface tells which, and without one nothing needs it.
    let many = format!(
        "{FLAT}  - {{ SecurityGroupRuleId: sgr-9, GroupId: sg-9, IsEgress: false, IpProtocol: \"-1\", CidrIpv4: 10.0.0.0/8 }}\nVpcs: [{{ VpcId: vpc-1 }}, {{ VpcId: vpc-2 }}]\n"
    )
    .replace("SubnetId: subnet-1,", "SubnetId: subnet-1, VpcId: vpc-2,");
    assert_eq!(ids(&many), ["sgr-1", "sgr-2", "sgr-3"]);
    assert!(loaded(&many).document.check().errors.is_empty());
}

#[test]
fn flat_rules_are_checked_as_rules() {
    let rule = |fields: &str| errors("policy.yaml", &format!("SecurityGroupRules: [{{ {fields} }}]\n"));
    let all = [
        rule("GroupId: sg-1, IsEgress: false, IpProtocol: tcp, FromPort: 22, ToPort: 22"),
        rule("GroupId: sg-1, IsEgress: false, IpProtocol: \"-1\", CidrIpv4: 10.0.0.0/8, CidrIpv6: \"::/0\""),
        rule("IpProtocol: \"-1\", CidrIpv4: 10.0.0.0/8"),
        rule("GroupId: sg-1, IsEgress: true, IpProtocol: \"-1\", CidrIpv4: \"::/0\""),
        rule("GroupId: sg-1, IsEgress: true, IpProtocol: \"-1\", ReferencedGroupInfo: { UserId: x }"),
        rule("GroupId: sg-1, IsEgress: true, IpProtocol: \"-1\", Source: any, CidrIpv4: 10.0.0.0/8"),
    ]
    .join("\n");
    insta::assert_snapshot!(all, @r"
policy.yaml:1:22 [missing-field] SecurityGroupRules[0].CidrIpv4: this field is missing | CidrIpv4, CidrIpv6, PrefixListId or ReferencedGroupInfo
policy.yaml:1:96 [two-peers] SecurityGroupRules[0].CidrIpv6: a rule has one peer | write a rule for each
policy.yaml:1:22 [missing-field] SecurityGroupRules[0].GroupId: this field is missing | sg-…: whose rule it is
policy.yaml:1:22 [missing-field] SecurityGroupRules[0].IsEgress: this field is missing | true for outbound, false for inbound
policy.yaml:1:83 [bad-cidr] SecurityGroupRules[0].CidrIpv4: `::/0` is an IPv6 block | an IPv4 block as in 192.0.2.0/24
policy.yaml:1:94 [missing-field] SecurityGroupRules[0].ReferencedGroupInfo.GroupId: this field is missing | sg-…
policy.yaml:1:73 [unknown-field] SecurityGroupRules[0].Source: there is no field `Source` here | the fields are SecurityGroupRuleId, GroupId, GroupOwnerId, IsEgress, IpProtocol, FromPort, ToPort, CidrIpv4, CidrIpv6, PrefixListId, ReferencedGroupInfo, Description, Tags, SecurityGroupRuleArn
");
}

#[test]
fn folders_in_a_folder_are_named_if_they_hold_documents() {
    let folder = folder(&[("a.yml", "Subnets: [{ CidrBlock: 10.0.1.0/24 }]\n")]);
    for name in ["eu-west-1", "notes", ".git"] {
        fs::create_dir(folder.path().join(name)).expect("a folder can be made");
    }
    for file in ["eu-west-1/b.json", ".git/c.json", "notes/readme.txt"] {
        fs::write(folder.path().join(file), "{}").expect("a file can be written");
    }
    let loaded = load(folder.path(), &Limits::None).expect("no error");
    insta::assert_snapshot!(lines(loaded.warnings, folder.path()), @"eu-west-1 [folder-not-read] eu-west-1: this folder holds documents, but lies in one: they are not read");
}

#[test]
fn utf_16_says_where_it_comes_from() {
    let folder = folder(&[]);
    let bytes: Vec<u8> = "\u{feff}{ \"Vpcs\": [] }".encode_utf16().flat_map(u16::to_le_bytes).collect();
    fs::write(folder.path().join("a.json"), bytes).expect("a file can be written");
    let errors = load(folder.path(), &Limits::None).expect_err("not UTF-8");
    let help = errors.all()[0].help.as_deref().unwrap_or_default();
    assert!(help.contains("PowerShell"), "{help}");
}

#[test]
fn what_is_no_file_in_a_folder_is_refused_unread() {
    let folder = folder(&[("a.yaml", "Vpcs: []")]);
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("b.json")).expect("a link can be made");
    let errors = load(folder.path(), &Limits::None).expect_err("a device");
    insta::assert_snapshot!(lines(errors, folder.path()), @"b.json [not-a-file] b.json: in a folder of documents, this is a pipe, a socket or a device");
}
