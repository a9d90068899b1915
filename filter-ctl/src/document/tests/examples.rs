//! The documents of `examples/` are correct, and mean what their comments say.

use std::path::{Path, PathBuf};

use super::{Limits, load};
use crate::policy::{Peer, RuleService};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

#[test]
fn the_web_policy_resolves_without_a_warning() {
    let loaded = load(&example("web.yaml"), &Limits::Aws).expect("the example is correct");
    assert_eq!(loaded.warnings.len(), 0);
    let checked = loaded.document.check();
    assert_eq!((checked.errors.len(), checked.warnings.len()), (0, 0));
    let id = loaded.document.select(None, &[]).expect("there is one interface");
    let (policy, warnings) = loaded.document.effective(id).expect("the example is complete");
    assert_eq!(warnings.len(), 0);
    assert_eq!(policy.interface.account_id, "111122223333");
    assert_eq!(policy.interface.primary_v6, "2001:db8:0:1::20".parse().ok());
    let blocks = ["10.0.1.0/30", "10.0.0.2/32"].map(|block| block.parse().expect("a block"));
    assert_eq!(policy.reserved, blocks, "the subnet's first four addresses, the VPC's DNS server");
    assert_eq!(policy.flow_log_interval, Some(60));
    assert_eq!(policy.groups[0].ingress[0].service, RuleService::Tcp(80, 80));
    let [.., ping, ping_v6, own] = &policy.groups[0].ingress[..] else { panic!("more than three rules") };
    assert_eq!(ping.service, RuleService::Icmp(Some(8), None));
    assert_eq!(ping_v6.description.as_deref(), Some("office"));
    let Peer::Group { id, members } = &own.peer else { panic!("a reference to a group") };
    assert_eq!(&**id, "sg-0aaa1111bbbb22223");
    assert_eq!(members.len(), 2, "the group's member has an IPv4 and an IPv6 address");
    assert!(!policy.nacl.ingress[0].allow);
    insta::assert_snapshot!(loaded.document.summary(), @"1 file, 1 VPC, 1 subnet, 1 network interface, 1 security group, 13 security group rules, 1 network ACL, 5 network ACL rules, 0 prefix lists, 1 flow log");
}

#[test]
fn saved_describe_output_is_a_policy() {
    let loaded =
        load(&example("describe"), &Limits::Aws).unwrap_or_else(|errors| panic!("{}", errors.render(false)));
    let checked = loaded.document.check();
    let found = checked.errors.iter().chain(&checked.warnings).chain(&loaded.warnings);
    assert_eq!(found.map(|one| one.render(false)).collect::<String>(), "");
    insta::assert_snapshot!(loaded.document.summary(), @r#"9 files, 1 VPC, 2 subnets, 2 network interfaces, 3 security groups, 14 security group rules, 2 network ACLs, 11 network ACL rules, 2 prefix lists, 2 flow logs"#);
    let front = "10.20.1.10".parse().expect("an address");
    let id = loaded.document.select(None, &[front]).expect("one interface has this address");
    let (policy, _) = loaded.document.effective(id).expect("the example is complete");
    assert!(policy.source_dest_check);
    assert_eq!((policy.timeouts.tcp_established, policy.timeouts.udp), (3600, 60));
    assert_eq!(policy.nacl.ingress.len(), 2, "the catch-all rules of the output are no rules of ours");
    let list = policy.groups[0].ingress.iter().find(|rule| matches!(rule.peer, Peer::PrefixList { .. }));
    let list = list.expect("a rule for a prefix list");
    let offices: Vec<String> = list.peer.prefixes().iter().map(ToString::to_string).collect();
    assert_eq!(offices, ["198.51.100.0/25", "203.0.113.64/26"]);
    let logs = loaded.document.flow_logs_for("eni-07b3d9e5f1a2c8640");
    assert_eq!(logs.len(), 2, "the VPC's and the subnet's");
    assert_eq!(loaded.document.tags(id), [("Name".to_owned(), "web-1".to_owned())]);
    let (database, _) = loaded.document.effective("eni-07b3d9e5f1a2c8640").expect("the example is complete");
    assert_eq!(database.groups.len(), 2);
    assert_eq!(database.groups[0].ingress[0].peer.prefixes().len(), 3, "all addresses of the shop front");
}
