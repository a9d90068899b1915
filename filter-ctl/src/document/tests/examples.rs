//! The documents of `examples/` are correct, and mean what their comments say.

use std::path::{Path, PathBuf};

use super::{Limits, load};
use crate::policy::{Origin, RuleService};

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
    assert_eq!(policy.reserved, ["10.0.1.0/30".parse().expect("a block")]);
    assert_eq!(policy.flow_log_interval, Some(60));
    assert_eq!(policy.groups[0].ingress[0].service, RuleService::Tcp(80, 80));
    assert_eq!(policy.groups[0].ingress[4].service, RuleService::Icmp(Some(8), None));
    let members = &policy.groups[0].ingress[6].remotes;
    assert_eq!(members.len(), 2, "the group's member has an IPv4 and an IPv6 address");
    assert_eq!(members[0].origin, Origin::Group("sg-0aaa1111bbbb22223".to_owned()));
    assert!(!policy.nacl.ingress[0].allow);
    insta::assert_snapshot!(loaded.document.summary(), @"1 file, 1 VPC, 1 subnet, 1 network interface, 1 security group, 13 security group rules, 1 network ACL, 5 network ACL rules, 0 prefix lists, 1 flow log");
}
