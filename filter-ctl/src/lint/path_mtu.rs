//! Network ACLs that let TCP pass, but not the ICMP message that says "this packet is too large".
//!
//! VPC guide, `path_mtu_discovery`: without it (ICMP type 3 code 4, ICMPv6 type 2) large packets vanish
//! where a path's MTU is smaller than the interface's: connections open, and then hang.

use std::collections::BTreeSet;

use filter_common::{Direction, service::TCP};

use super::{
    About, Finding, Subject,
    classes::{Classes, ports},
    ephemeral::everywhere,
    services::Services,
};
use crate::{document::Severity, policy::RuleService};

pub(super) fn lint(subject: &Subject) -> Vec<Finding> {
    let used: BTreeSet<usize> =
        subject.interfaces.iter().map(|interface| subject.subnets[interface.subnet].acl).collect();
    let mut found = Vec::new();
    for position in used {
        let acl = &subject.acls[position];
        for (v6, too_large, told) in [
            (false, RuleService::Icmp(Some(3), Some(4)), "ICMP type 3 code 4 (fragmentation needed)"),
            (true, RuleService::Icmpv6(Some(2), Some(0)), "ICMPv6 type 2 (packet too big)"),
        ] {
            // Routers on the way are anywhere: the rules for all addresses decide.
            let everywhere = everywhere(v6);
            let classes = Classes::new(acl, everywhere);
            let Some(class) = classes.most_of(everywhere) else { continue };
            let tcp = ports(TCP, 0, u16::MAX);
            let both_ways = class.iter().all(|allowed| !allowed.all.and(&tcp).is_empty());
            if both_ways && !class[Direction::Ingress.index()].all.contains(&Services::of(too_large)) {
                found.push(Finding {
                    id: "path-mtu-discovery",
                    severity: Severity::Note,
                    about: About::Acl(position, Direction::Ingress),
                    message: format!(
                        "{} lets tcp pass with {everywhere}, but refuses {told} inbound",
                        acl.id
                    ),
                    help: "connections over a path with a smaller MTU hang; allow that message in",
                });
            }
        }
    }
    found
}
