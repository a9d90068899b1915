//! `NetworkAcls`.

use std::collections::HashMap;

use ipnet::IpNet;

use super::{Decoder, Object, cidr::Family};
use crate::{
    document::{
        diagnostic::Severity,
        model::{Acl, Spanned},
    },
    policy::{NetworkAcl, NetworkAclRule, RuleService},
};

pub(super) const FIELDS: &[&str] =
    &["NetworkAclId", "VpcId", "OwnerId", "IsDefault", "Entries", "Associations", "Tags"];

/// The last number that a rule may have; 32767 and 32768 are the catch-all denies `*` of
/// IPv4 and IPv6 (VPC guide, `nacl-rules`).
const LAST: i64 = NetworkAcl::LAST_NUMBER as i64;

/// What is left of an entry after reading it.
enum Entry {
    Rule { egress: bool, rule: NetworkAclRule },
    CatchAll,
}

impl Decoder<'_> {
    pub(super) fn network_acl(&mut self, object: &Object<'_>) {
        self.misspelt(object, Severity::Error, FIELDS);
        let place = self.place(object);
        let id = self.own_id(object, "NetworkAclId", "acl");
        let vpc_id = self.id(object, "VpcId", "vpc");
        self.owner(object);
        self.tags(object, "Tags");
        let default = self.boolean(object, "IsDefault").unwrap_or(false);
        let mut rules: [Vec<NetworkAclRule>; 2] = [Vec::new(), Vec::new()];
        let mut numbers: HashMap<(bool, u16), usize> = HashMap::new();
        let mut places = HashMap::new();
        self.objects(object, "Entries", |decoder, object, index| {
            let Some(Entry::Rule { egress, rule }) = decoder.entry(object) else { return };
            if let Some(earlier) = numbers.insert((egress, rule.number), index) {
                let message =
                    format!("rule {} of this direction is already given by Entries[{earlier}]", rule.number);
                let span = decoder.scalar(object, "RuleNumber").map_or(object.span, |node| node.span);
                decoder.error("duplicate-rule-number", span, "RuleNumber", message).help =
                    Some("numbers are unique for each direction; IPv4 and IPv6 rules share them".to_owned());
            }
            places.entry((egress, rule.number)).or_insert_with(|| decoder.place(object));
            rules[usize::from(egress)].push(rule);
        });
        let associations = self.associations(object, &id);
        let [mut ingress, mut egress] = rules;
        ingress.sort_by_key(|rule| rule.number);
        egress.sort_by_key(|rule| rule.number);
        self.model.acls.push(Acl { place, id, vpc_id, default, associations, ingress, egress, places });
    }

    fn associations(&mut self, object: &Object<'_>, id: &str) -> Vec<Spanned<String>> {
        let mut subnets = Vec::new();
        self.objects(object, "Associations", |decoder, object, _| {
            if let Some(named) = decoder.id(object, "NetworkAclId", "acl")
                && named.value != id
            {
                let message = format!("this association is one of {}, but stands in {id}", named.value);
                decoder.error("foreign-association", named.at.span, "NetworkAclId", message);
            }
            if decoder.scalar(object, "SubnetId").is_none() {
                decoder.missing(object, "SubnetId", "subnet-…");
            }
            subnets.extend(decoder.id(object, "SubnetId", "subnet"));
        });
        subnets
    }

    fn entry(&mut self, object: &Object<'_>) -> Option<Entry> {
        self.only(
            object,
            &[
                "RuleNumber",
                "Protocol",
                "RuleAction",
                "Egress",
                "CidrBlock",
                "Ipv6CidrBlock",
                "PortRange",
                "IcmpTypeCode",
            ],
        );
        for (name, expected) in
            [("RuleNumber", "1 to 32766"), ("Egress", "true for outbound, false for inbound")]
        {
            if self.scalar(object, name).is_none() {
                self.missing(object, name, expected);
            }
        }
        let number = self.rule_number(object);
        let egress = self.boolean(object, "Egress");
        let allow = self.rule_action(object);
        let prefix = self.entry_prefix(object);
        let v6 = prefix.as_ref().map_or(self.has_v6(object), |prefix| matches!(prefix.value, IpNet::V6(_)));
        let service = self.acl_service(object, v6);

        let (number, egress, allow, prefix, service) = (number?, egress?, allow?, prefix?, service?);
        if number.value > LAST {
            let catch_all = !allow && service == RuleService::All && prefix.value.prefix_len() == 0;
            if catch_all && (number.value == LAST + 2) == v6 {
                return Some(Entry::CatchAll);
            }
            let message = format!("{} is the number of the catch-all rule", number.value);
            let error = self.error("out-of-range", number.at.span, "RuleNumber", message);
            error.expected = Some(format!("a whole number from 1 to {LAST}"));
            error.help = Some("what no rule matches is denied; this cannot be changed".to_owned());
            return None;
        }
        if matches!(service, RuleService::Icmp(..)) && v6 {
            let message = "an icmp rule does not match ICMPv6";
            self.report(Severity::Warning, "family-mismatch", prefix.at.span, "Ipv6CidrBlock", message)
                .help = Some("for ICMPv6 write Protocol: \"58\"".to_owned());
        }
        let number = u16::try_from(number.value).ok()?;
        Some(Entry::Rule { egress, rule: NetworkAclRule { number, allow, service, prefix: prefix.value } })
    }

    /// A rule's number, or that of a catch-all rule.
    fn rule_number(&mut self, object: &Object<'_>) -> Option<Spanned<i64>> {
        let number = self.integer(object, "RuleNumber", i64::MIN, i64::MAX)?;
        if !(1..=LAST + 2).contains(&number.value) {
            let expected = format!("a whole number from 1 to {LAST}");
            self.out_of_range(number.at.span, "RuleNumber", number.value, &expected);
            return None;
        }
        Some(number)
    }

    fn has_v6(&self, object: &Object<'_>) -> bool {
        object.has("Ipv6CidrBlock")
    }

    fn rule_action(&mut self, object: &Object<'_>) -> Option<bool> {
        let Some(text) = self.text(object, "RuleAction") else {
            if self.scalar(object, "RuleAction").is_none() {
                self.missing(object, "RuleAction", "allow or deny");
            }
            return None;
        };
        match text.value {
            "allow" => Some(true),
            "deny" => Some(false),
            other => {
                let message = format!("`{other}` is no action");
                self.error("bad-action", text.at.span, "RuleAction", message).expected =
                    Some("allow or deny".to_owned());
                None
            }
        }
    }

    fn entry_prefix(&mut self, object: &Object<'_>) -> Option<Spanned<IpNet>> {
        let given = |name| self.scalar(object, name).is_some();
        match (given("CidrBlock"), given("Ipv6CidrBlock")) {
            (true, false) => self.cidr(object, "CidrBlock", Family::V4),
            (false, true) => self.cidr(object, "Ipv6CidrBlock", Family::V6),
            (false, false) => {
                self.missing(object, "CidrBlock", "CidrBlock or Ipv6CidrBlock");
                None
            }
            (true, true) => {
                let message = "a rule has either CidrBlock or Ipv6CidrBlock, not both";
                let span = object.field("Ipv6CidrBlock").map_or(object.span, |field| field.span);
                self.error("two-families", span, "Ipv6CidrBlock", message).help =
                    Some("write two rules with two numbers".to_owned());
                None
            }
        }
    }
}
