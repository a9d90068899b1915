//! What each layer says of a packet, in the order in which AWS asks them.
//!
//! Ingress: exempt → network ACL, if the other end is not in the subnet → connection → groups.
//! Egress: exempt → connection → groups → network ACL. Each layer is told for itself, also behind
//! one that rejects: who mends one layer wants to know whether the next one would let the packet pass.

use std::net::IpAddr;

use filter_common::{
    Direction,
    cell::Cell,
    verdict::{Category, Reason},
};
use serde::Serialize;

use super::{
    AclRule, Facts, Matched, Message, Question, is_tracked,
    judgement::{is_untracked, opens},
    protocol_name,
};

/// A layer's say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Layer {
    /// `never-filtered`, `exempt`, `source-dest-check`, `network-acl`, `connection`, `security-group`:
    /// the names that a verdict calls them by.
    pub(super) layer: &'static str,
    /// `yes`, `no`, `allow`, `deny`, `not-asked`.
    pub(super) says: &'static str,
    /// Why, in words.
    pub(super) why: String,
    /// Rules that matched, or nearly did, in words.
    #[serde(skip)]
    pub(super) details: Vec<String>,
}

impl Layer {
    fn new(layer: &'static str, says: &'static str, why: impl Into<String>) -> Self {
        Self { layer, says, why: why.into(), details: Vec::new() }
    }
}

/// All layers that are asked. Without `matched`, rules have no names: only what the tables decide
/// is known.
pub(super) fn layers(
    question: &Question,
    facts: &Facts,
    reason: Reason,
    matched: Option<&Matched>,
) -> Vec<Layer> {
    let mut layers = vec![never_filtered(reason), exempt(question, facts, matched)];
    if matches!(reason.category(), Category::NeverFiltered | Category::Exempt) {
        return layers;
    }
    if facts.source_dest_check {
        layers.push(source_dest_check(question, facts));
    }
    let (acl, groups) = (network_acl(question, facts, matched), groups(question, facts, matched));
    match question.direction {
        Direction::Ingress => layers.extend([acl, connection(question, facts), groups]),
        Direction::Egress => layers.extend([connection(question, facts), groups, acl]),
    }
    layers
}

fn never_filtered(reason: Reason) -> Layer {
    let why = match reason {
        Reason::NeighborDiscovery => "IPv6 neighbour discovery (its hop limit must be 255)",
        Reason::MulticastListener => "IPv6 listener discovery (its hop limit must be 1)",
        Reason::Dhcp => "DHCP on the link",
        _ => {
            return Layer::new(
                "never-filtered",
                "no",
                "neither ARP, neighbour or listener discovery, nor DHCP",
            );
        }
    };
    Layer::new("never-filtered", "yes", why)
}

fn exempt(question: &Question, facts: &Facts, matched: Option<&Matched>) -> Layer {
    let remote = question.remote();
    let is_link_local = matches!(remote, IpAddr::V4(remote) if remote.is_link_local());
    let reserved = matched.and_then(|matched| matched.reserved);
    if !facts.forward.has(Cell::EXEMPT) {
        // Not exempt in spite of it: the document exempts services instead of ranges.
        let why = match reserved {
            _ if is_link_local => "is in 169.254.0.0/16, of which only services are exempt here".to_owned(),
            Some(what) => format!("is {what}: of the subnet's first four only services are exempt here"),
            None => "is neither link-local IPv4 nor reserved in the subnet".to_owned(),
        };
        return Layer::new("exempt", "no", format!("{remote} {why}"));
    }
    let kind = if !facts.forward.has(Cell::LINK_LOCAL) {
        format!("is {}", reserved.unwrap_or("reserved in the subnet or its VPC"))
    } else if is_link_local {
        "is in 169.254.0.0/16".to_owned()
    } else {
        "is a service of the platform".to_owned()
    };
    if facts.is_exempt(question.direction) {
        Layer::new("exempt", "yes", format!("{remote} {kind}"))
    } else {
        let local = question.local();
        let why = format!(
            "{remote} {kind}, but {local} is not an address of the interface: such a source counts only toward one"
        );
        Layer::new("exempt", "no", why)
    }
}

fn source_dest_check(question: &Question, facts: &Facts) -> Layer {
    let local = question.local();
    if facts.own {
        Layer::new("source-dest-check", "allow", format!("{local} is an address of the interface"))
    } else {
        let why = format!("{local} is not an address of the interface, and `SourceDestCheck` is on");
        Layer::new("source-dest-check", "deny", why)
    }
}

fn network_acl(question: &Question, facts: &Facts, matched: Option<&Matched>) -> Layer {
    if facts.forward.has(Cell::SAME_SUBNET) {
        let why = format!("{} is in the interface's subnet, or on its link", question.remote());
        return Layer::new("network-acl", "not-asked", why);
    }
    let says = if facts.forward.has(Cell::NACL_ALLOW) { "allow" } else { "deny" };
    let Some(matched) = matched else { return Layer::new("network-acl", says, "by the tables in force") };
    let acl = &matched.acl;
    let why = if acl.is_star() {
        format!("{} {} ({})", matched.acl_id, acl.rule, acl.number)
    } else {
        format!("{} rule {}: {} {}", matched.acl_id, acl.number, acl.action, acl.rule)
    };
    let details = matched.acl_misses.iter().map(|miss| {
        let AclRule { number, action, rule } = &miss.rule;
        format!("but for the {}: rule {number}: {action} {rule}; {}", miss.key.name(), miss.by)
    });
    Layer { details: details.collect(), ..Layer::new("network-acl", says, why) }
}

fn connection(question: &Question, facts: &Facts) -> Layer {
    if question.established {
        Layer::new("connection", "yes", "it belongs to a tracked connection")
    } else if is_untracked(question, facts) {
        Layer::new("connection", "no", "its flow is not tracked")
    } else if question.is_error() {
        Layer::new("connection", "no", "an ICMP error belongs to one only if it quotes a packet of it")
    } else if !opens(question) {
        Layer::new("connection", "no", "it answers nothing that is tracked, and opens none")
    } else {
        Layer::new("connection", "no", "it is the first packet of a new one")
    }
}

fn groups(question: &Question, facts: &Facts, matched: Option<&Matched>) -> Layer {
    if question.established {
        return Layer::new("security-group", "not-asked", "they had their say when the connection began");
    }
    let says = if facts.forward.has(Cell::GROUP_ALLOW) { "allow" } else { "deny" };
    let Some(matched) = matched else { return Layer::new("security-group", says, "by the tables in force") };
    let name = |rule: &super::NamedRule| {
        let through = rule.through.map(|prefix| format!(" ({prefix})")).unwrap_or_default();
        let description = rule.description.as_ref().map(|text| format!(", {text:?}")).unwrap_or_default();
        let position = rule.position.as_deref().unwrap_or("(AWS's default)");
        format!("{} {} {position}: {}{through}{description}", rule.group_id, rule.rule_id, rule.rule)
    };
    let all = match matched.group_rules {
        1 => format!("1 {} rule", question.direction.name()),
        count => format!("{count} {} rules", question.direction.name()),
    };
    if matched.groups.is_empty() {
        let details = matched
            .group_misses
            .iter()
            .map(|miss| format!("but for the {}: {}; {}", miss.key.name(), name(&miss.rule), miss.by));
        let why = if matched.group_ids.is_empty() {
            "the interface is in no security group".to_owned()
        } else {
            format!("none of the {all} of {} matches", matched.group_ids.join(", "))
        };
        Layer { details: details.collect(), ..Layer::new("security-group", says, why) }
    } else {
        let why = format!("{} of the {all} of {}", matched.groups.len(), matched.group_ids.join(", "));
        Layer {
            details: matched.groups.iter().map(name).collect(),
            ..Layer::new("security-group", says, why)
        }
    }
}

/// Why a packet is tracked or is not (EC2 guide, `security-group-connection-tracking`).
pub(super) fn tracking(question: &Question, facts: &Facts, reason: Reason) -> String {
    match reason.category() {
        Category::Rejected | Category::Unparsable => {
            return "what is rejected opens no connection".to_owned();
        }
        Category::NeverFiltered | Category::Exempt => {
            return "what is not judged opens no connection".to_owned();
        }
        Category::Accepted => {}
    }
    match (reason, question.message) {
        (Reason::Related, _) => "an ICMP error about a tracked connection".to_owned(),
        (Reason::Stray, _) if facts.forward.has(Cell::EXEMPT) => {
            "what comes from an exempt address that is not believed opens no connection".to_owned()
        }
        (Reason::Stray, _) => "an ICMP message that asks nothing opens no connection".to_owned(),
        _ if question.established => "it belongs to a tracked connection".to_owned(),
        (Reason::Untracked, _) => {
            "rules for any address allow it and its answers, and one of them is for all ports".to_owned()
        }
        (_, Message::Icmp(..)) => "ICMP queries always are".to_owned(),
        (_, Message::Nothing) => {
            format!("{} always is, by the pair of addresses", protocol_name(question.protocol))
        }
        (_, Message::Ports(from, _)) => {
            debug_assert!(is_tracked(reason));
            let back = question.direction.reverse().name();
            if !facts.forward.has(Cell::ANY_ADDRESS) {
                "no rule for any address allows it".to_owned()
            } else if !facts.mirror.has(Cell::ANY_ADDRESS) {
                format!("no {back} rule for any address allows its answers, to port {from}")
            } else {
                "rules for any address allow it and its answers, but none of them is for all ports".to_owned()
            }
        }
    }
}
