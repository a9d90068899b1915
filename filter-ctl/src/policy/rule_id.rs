//! Ids of security group rules.
//!
//! Hit counters, records and explanations name a rule, and must name it the same after the
//! document was rewritten. `describe-security-groups` tells no rule ids, so one is derived from
//! what makes two rules the same to AWS (API, `AuthorizeSecurityGroupIngress`: direction, protocol,
//! ports, peer; not the description): a hash in the shape of AWS's own, `sgr-` and 17 hex digits.

use std::fmt::{self, Write};

use filter_common::Direction;

use super::{Group, GroupRule};

/// FNV-1a with 128 bits (Fowler, Noll, Vo; draft-eastlake-fnv): the same in every process.
struct Fnv(u128);

impl Fnv {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
}

impl Write for Fnv {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(Self::PRIME);
        }
        Ok(())
    }
}

impl Group {
    /// The id of one of its rules: the document's, else one that is derived from what the rule says.
    #[must_use]
    pub fn rule_id(&self, direction: Direction, rule: &GroupRule) -> String {
        rule_id(&self.id, direction, rule)
    }
}

/// The id of a rule of the group `group_id`, see [`Group::rule_id`].
#[must_use]
pub fn rule_id(group_id: &str, direction: Direction, rule: &GroupRule) -> String {
    if let Some(id) = &rule.given_id {
        return id.to_string();
    }
    let mut hash = Fnv(Fnv::BASIS);
    // A write to the hash never fails.
    let _ = write!(hash, "{group_id}|{}|{}|{}", direction.name(), rule.service, rule.peer);
    format!("sgr-{:017x}", hash.0 >> 60)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::policy::{Peer, RuleService};

    fn group(id: &str) -> Group {
        Group { id: id.into(), name: id.into(), ingress: Vec::new(), egress: Vec::new() }
    }

    fn rule(service: RuleService, prefix: &str) -> GroupRule {
        GroupRule::new(service, Peer::Cidr(prefix.parse().expect("a prefix")))
    }

    #[test]
    fn an_id_depends_on_all_that_makes_a_rule_and_on_nothing_else() {
        use Direction::{Egress, Ingress};
        let ssh = RuleService::Tcp(22, 22);
        let office = rule(ssh, "192.0.2.0/24");
        let id = group("sg-1").rule_id(Ingress, &office);
        // Written down: ids are kept over updates of the program, too.
        assert_eq!(id, "sgr-e8ec4c7f52528da60");
        let described = GroupRule {
            description: Some("office".into()),
            position: crate::policy::Position::Nested(3, 4),
            ..office.clone()
        };
        assert_eq!(group("sg-1").rule_id(Ingress, &described), id);
        let list = Peer::PrefixList {
            id: "pl-1".into(),
            entries: ["192.0.2.0/24".parse().expect("a prefix")].into(),
        };
        let others = [
            group("sg-2").rule_id(Ingress, &office),
            group("sg-1").rule_id(Egress, &office),
            group("sg-1").rule_id(Ingress, &rule(RuleService::Tcp(22, 23), "192.0.2.0/24")),
            group("sg-1").rule_id(Ingress, &rule(RuleService::Udp(22, 22), "192.0.2.0/24")),
            group("sg-1").rule_id(Ingress, &rule(ssh, "192.0.2.0/25")),
            group("sg-1").rule_id(Ingress, &GroupRule::new(ssh, list)),
        ];
        let all: HashSet<_> = others.iter().chain([&id]).collect();
        assert_eq!(all.len(), others.len() + 1);
    }

    #[test]
    fn the_documents_id_comes_first() {
        let named = GroupRule { given_id: Some("sgr-1".into()), ..rule(RuleService::All, "0.0.0.0/0") };
        assert_eq!(group("sg-1").rule_id(Direction::Ingress, &named), "sgr-1");
    }

    #[test]
    fn the_hash_is_fnv_1a() -> fmt::Result {
        let mut hash = Fnv(Fnv::BASIS);
        hash.write_str("foobar")?;
        assert_eq!(hash.0, 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
        Ok(())
    }
}
