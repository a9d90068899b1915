//! An account's `aws ec2 describe-*` output, as the CLI prints it: two regions, three VPCs, peerings,
//! AWS's lists and own ones, interfaces of services, pages, YAML, and what does not concern us.
//! (Own values in the API's shapes: names of files are arbitrary but for those of `pl-….json`.)

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{Limits, Loaded, lines, load};
use crate::policy::Peer;

const WEB: &str = "eni-0fcc76992b0318fed";

fn account() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/document/tests/account")
}

fn loaded(folder: &Path) -> Loaded {
    load(folder, &Limits::Aws).unwrap_or_else(|errors| panic!("{}", errors.render(false)))
}

/// A copy of the account's files, each changed by `change`.
fn copied(change: impl Fn(&str, String) -> String) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    for entry in fs::read_dir(account()).expect("the account's files").flatten() {
        let text = fs::read_to_string(entry.path()).expect("a file");
        let name = entry.file_name();
        let text = change(&name.to_string_lossy(), text);
        fs::write(folder.path().join(name), text).expect("a file can be written");
    }
    folder
}

/// All that is said about the account, and how many interfaces have a policy.
fn said(folder: &Path) -> (String, usize) {
    let loaded = loaded(folder);
    let checked = loaded.document.check();
    let ids = loaded.document.interface_ids();
    let policies = ids.iter().filter(|id| loaded.document.effective(id).is_ok()).count();
    let all = loaded.warnings.into_iter().chain(checked.errors).chain(checked.warnings);
    (lines(all, folder), policies)
}

#[test]
fn every_interface_of_unmodified_output_has_its_policy() {
    let folder = account();
    let (said, policies) = said(&folder);
    // Nothing but the stale rules: a group of another account that the folder lacks, and a peering that is gone.
    insta::assert_snapshot!(said, @r"
eu-west-1 groups, page 1.json:291:40 [stale-reference] SecurityGroups[2].IpPermissions[8].UserIdGroupPairs[0]: the document has no security group sg-03de999866efce587 | the rule is stale: it matches nothing
eu-west-1 groups, page 1.json:297:40 [stale-reference] SecurityGroups[2].IpPermissions[8].UserIdGroupPairs[1]: the VPC peering over which sg-06f3b737ac1661bd7 was reached is deleted | the rule is stale: it matches nothing
");
    assert_eq!(policies, 14);
    let document = loaded(&folder).document;
    insta::assert_snapshot!(document.summary(), @"20 files, 3 VPCs, 6 subnets, 14 network interfaces, 9 security groups, 38 security group rules, 4 network ACLs, 23 network ACL rules, 4 prefix lists, 3 flow logs");
}

#[test]
fn the_policy_of_one_of_them_is_what_the_files_say() {
    let document = loaded(&account()).document;
    let (web, _) = document.effective(WEB).expect("a policy");
    let own: Vec<String> = web.interface.own.iter().map(ToString::to_string).collect();
    assert_eq!(
        own,
        ["10.40.0.20/32", "10.40.0.21/32", "10.40.0.22/32", "2001:db8:40::20/128", "2001:db8:40::21/128"]
    );
    assert_eq!(web.interface.primary_v6, "2001:db8:40::21".parse().ok(), "IsPrimaryIpv6");
    assert_eq!((web.timeouts.tcp_established, web.source_dest_check), (350, true));
    assert_eq!(web.flow_log_interval, Some(60), "its own flow log's, shorter than the VPC's");
    assert_eq!((web.nacl.ingress.len(), web.nacl.egress.len()), (13, 2), "without the catch-all rules");
    let group = &web.groups[0];
    let rules = |id: &str| {
        let rules = group.ingress.iter().filter(move |rule| rule.peer.to_string() == id);
        rules.flat_map(|rule| rule.peer.prefixes()).map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(rules("pl-0d735316b2e66dd12"), ["198.51.100.0/25", "203.0.113.0/26"], "a list of one's own");
    assert_eq!(rules("sg-059329d1e51ef1614"), ["10.40.0.7/32"], "the load balancer's interface");
    assert_eq!(rules("sg-06f3b737ac1661bd7"), [""; 0], "a peering that was deleted");
    // Every rule has its id from describe-security-group-rules.
    let all = document.interface_ids().into_iter().filter_map(|id| document.effective(id).ok());
    for (policy, _) in all.filter(|(policy, _)| policy.interface.vpc_id != "vpc-018a764eaceccdf72") {
        for group in &policy.groups {
            assert!(
                group.ingress.iter().chain(&group.egress).all(|rule| rule.given_id.is_some()),
                "{}",
                group.id
            );
        }
    }
}

#[test]
fn references_over_an_active_peering_are_the_other_vpcs_interfaces() {
    let document = loaded(&account()).document;
    let (database, _) = document.effective("eni-02be0819d8cad0363").expect("a policy");
    let warehouse = &database.groups[0].ingress[2].peer;
    assert!(matches!(warehouse, Peer::Group { .. }));
    assert_eq!(warehouse.prefixes(), ["10.50.1.30/32".parse().expect("an address")]);
}

#[test]
fn an_interface_that_aws_made_without_groups_is_in_none() {
    let document = loaded(&account()).document;
    let (nat, _) = document.effective("eni-07789deb6c2e5e88c").expect("a policy");
    assert!(nat.groups.is_empty());
}

#[test]
fn byte_order_marks_and_line_ends_of_windows_change_nothing() {
    let folder = copied(|_, text| format!("\u{feff}{}", text.replace('\n', "\r\n")));
    let (windows, policies) = said(folder.path());
    assert_eq!(policies, 14);
    assert_eq!(windows, said(&account()).0);
}

#[test]
fn describe_run_twice_is_read_once_and_differing_runs_are_refused() {
    let folder = copied(|_, text| text);
    let enis = fs::read_to_string(folder.path().join("eu-west-1 enis.json")).expect("a file");
    fs::write(folder.path().join("eu-west-1 enis again.json"), &enis).expect("a file can be written");
    // What changes by itself is not compared.
    let subnets = fs::read_to_string(folder.path().join("eu-west-1 subnets.json")).expect("a file");
    let later = subnets.replace("\"AvailableIpAddressCount\": 4000", "\"AvailableIpAddressCount\": 3999");
    assert_ne!(later, subnets);
    fs::write(folder.path().join("eu-west-1 subnets later.json"), &later).expect("a file can be written");
    let (said, policies) = said(folder.path());
    assert_eq!(policies, 14);
    let notes: Vec<&str> = said.lines().filter(|line| line.contains("repeated-object")).collect();
    assert_eq!(
        notes,
        [
            "eu-west-1 enis.json:3:9 [repeated-object] NetworkInterfaces: 12 objects stand here again, with the same contents (the first of them as in eu-west-1 enis again.json:3) | they are read once",
            "eu-west-1 subnets.json:3:9 [repeated-object] Subnets: 5 objects stand here again, with the same contents (the first of them as in eu-west-1 subnets later.json:3) | they are read once",
        ]
    );

    let other = enis.replacen("10.40.0.22", "10.40.0.23", 1);
    fs::write(folder.path().join("eu-west-1 enis again.json"), other).expect("a file can be written");
    let errors = load(folder.path(), &Limits::None).expect_err("which of the two holds?");
    insta::assert_snapshot!(lines(errors, folder.path()), @"eu-west-1 enis.json:3:9 [duplicate-id] NetworkInterfaces[0]: eni-0fcc76992b0318fed is given twice, with different contents | the other one stands in eu-west-1 enis again.json:3; an object stands in one file only");
}

#[test]
fn an_unknown_field_of_a_rule_is_refused() {
    for (file, field, instead) in [
        ("eu-west-1 groups, page 1.json", "\"CidrIp\"", "\"CidrIpNot\": \"\", \"CidrIp\""),
        ("eu-west-1 rules.json", "\"IsEgress\"", "\"Deny\": true, \"IsEgress\""),
        ("eu-west-1 acls.json", "\"RuleAction\"", "\"Priority\": 1, \"RuleAction\""),
    ] {
        let folder = copied(|name, text| if name == file { text.replacen(field, instead, 1) } else { text });
        let errors = load(folder.path(), &Limits::None).expect_err("a rule that we may misread");
        assert_eq!(errors.all().len(), 1, "{file}");
        assert_eq!(errors.all()[0].id, "unknown-field", "{file}");
    }
}
