//! The nearest misses: rules that would have matched a packet but for one thing.
//!
//! A rule has three keys: the other end's address, the protocol, and the destination port or ICMP
//! type and code. Of the rules that fail at exactly one key, the nearest one for each key is told,
//! with what would have had to be different. Three answers and not one: whether a rule that is off
//! by one port or one that is for another address was meant, only the reader knows.
//!
//! How far a miss is: for an address, the bits of the prefix that differ from its first wrong one
//! on; for a port, the ports between. An address of the other family is farther than any other: a
//! rule for 0.0.0.0/0 says nothing about IPv6, which is a common surprise.

use std::net::IpAddr;

use filter_common::service::{ICMP, ICMPV6, TCP, UDP};
use ipnet::IpNet;
use serde::Serialize;

use super::{
    Message, Question,
    matched::{AclRule, NamedRule},
    protocol_name,
};
use crate::policy::{EffectivePolicy, Peer, RuleService};

/// What a rule and a packet do not agree in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Key {
    /// The other end's address.
    Address,
    /// The destination port.
    Port,
    /// The ICMP type or code.
    IcmpType,
    /// The protocol.
    Protocol,
}

impl Key {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Port => "port",
            Self::IcmpType => "ICMP type",
            Self::Protocol => "protocol",
        }
    }
}

/// A rule that would have matched but for one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Miss<R> {
    /// The thing.
    pub key: Key,
    /// By how much, in words.
    pub by: String,
    /// The rule.
    #[serde(flatten)]
    pub rule: R,
}

/// How far a key is off, and that in words; `None`: it fits.
type Off = Option<(u32, String)>;

/// The nearest rule of the groups for each key, the keys in order.
pub(super) fn of_groups(policy: &EffectivePolicy, question: &Question) -> Vec<Miss<NamedRule>> {
    let direction = question.direction;
    let rules =
        policy.groups.iter().flat_map(|group| group.rules(direction).iter().map(move |rule| (group, rule)));
    let parts = rules.map(|(group, rule)| {
        let nobody = match &rule.peer {
            Peer::Cidr(_) => "",
            Peer::Group { .. } => "no interface is in the group, or the document lacks it",
            Peer::PrefixList { .. } => "the list has no entry, or the document lacks it",
        };
        ((group, rule), rule.service, rule.peer.prefixes(), nobody)
    });
    nearest(parts, question, |(group, rule)| NamedRule::new(group, direction, rule, question))
}

/// The nearest allowing rule of the network ACL for each key, the keys in order.
pub(super) fn of_acl(policy: &EffectivePolicy, question: &Question) -> Vec<Miss<AclRule>> {
    let direction = question.direction;
    let rules = policy.nacl.rules(direction).iter();
    let parts = rules
        .filter(|rule| rule.allow)
        .map(|rule| (rule, rule.service, std::slice::from_ref(&rule.prefix), ""));
    nearest(parts, question, |rule| AclRule::new(direction, rule))
}

fn nearest<'a, T, R>(
    rules: impl Iterator<Item = (T, RuleService, &'a [IpNet], &'static str)>,
    question: &Question,
    name: impl Fn(T) -> R,
) -> Vec<Miss<R>> {
    let mut best: Vec<(Key, u32, String, T)> = Vec::new();
    for (rule, service, prefixes, nobody) in rules {
        let (key, (distance, by)) =
            match (address(prefixes, question.remote(), nobody), of_service(service, question)) {
                (Some(off), None) => (Key::Address, off),
                (None, Some((key, distance, by))) => (key, (distance, by)),
                _ => continue,
            };
        match best.iter_mut().find(|known| known.0 == key) {
            // The first of several stays.
            Some(known) if known.1 <= distance => {}
            Some(known) => *known = (key, distance, by, rule),
            None => best.push((key, distance, by, rule)),
        }
    }
    best.sort_by_key(|one| one.0);
    best.into_iter().map(|(key, _, by, rule)| Miss { key, by, rule: name(rule) }).collect()
}

/// How far an address is from the nearest of some prefixes.
fn address(prefixes: &[IpNet], remote: IpAddr, nobody: &str) -> Off {
    const OTHER_FAMILY: u32 = 200;
    if prefixes.iter().any(|prefix| prefix.contains(&remote)) {
        return None;
    }
    let missing = |prefix: &IpNet| {
        let (common, length) = match (prefix, remote) {
            (IpNet::V4(net), IpAddr::V4(remote)) => {
                ((net.network().to_bits() ^ remote.to_bits()).leading_zeros(), net.prefix_len())
            }
            (IpNet::V6(net), IpAddr::V6(remote)) => {
                ((net.network().to_bits() ^ remote.to_bits()).leading_zeros(), net.prefix_len())
            }
            _ => return (OTHER_FAMILY, 0),
        };
        (u32::from(length).saturating_sub(common), common)
    };
    let Some((prefix, (distance, common))) =
        prefixes.iter().map(|prefix| (prefix, missing(prefix))).min_by_key(|(_, missing)| missing.0)
    else {
        return Some((OTHER_FAMILY + 1, nobody.to_owned()));
    };
    let by = if distance == OTHER_FAMILY {
        let (of_rule, of_packet) = if remote.is_ipv4() { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
        format!("{prefix} is {of_rule}, and {remote} {of_packet}")
    } else {
        format!("{remote} is not in {prefix}: {common} of {} bits agree", prefix.prefix_len())
    };
    Some((distance, by))
}

/// How far a packet's protocol, port, type or code is from a rule's; `None`: they fit.
fn of_service(rule: RuleService, question: &Question) -> Option<(Key, u32, String)> {
    let wanted = match rule {
        RuleService::All => return None,
        RuleService::Tcp(..) => TCP,
        RuleService::Udp(..) => UDP,
        RuleService::Icmp(..) => ICMP,
        RuleService::Icmpv6(..) => ICMPV6,
        RuleService::Protocol(number) => number,
    };
    if wanted != question.protocol {
        let by = format!(
            "the rule is for {}, the packet is {}",
            protocol_name(wanted),
            protocol_name(question.protocol)
        );
        // With the port right, or as near as can be.
        let distance = match (rule, question.message) {
            (RuleService::Tcp(first, last) | RuleService::Udp(first, last), Message::Ports(_, port)) => {
                beside(first, last, port)
            }
            _ => u32::from(u16::MAX),
        };
        return Some((Key::Protocol, distance, by));
    }
    match (rule, question.message) {
        (RuleService::Tcp(first, last) | RuleService::Udp(first, last), Message::Ports(_, port)) => {
            let distance = beside(first, last, port);
            let (side, end) = if port < first { ("below", first) } else { ("above", last) };
            (distance > 0).then(|| (Key::Port, distance, format!("port {port} is {distance} {side} {end}")))
        }
        (
            RuleService::Icmp(kind, code) | RuleService::Icmpv6(kind, code),
            Message::Icmp(icmp_type, icmp_code),
        ) => {
            let fits = |wanted: Option<u8>, is: u8| wanted.is_none_or(|wanted| wanted == is);
            let (kind_fits, code_fits) = (fits(kind, icmp_type), fits(code, icmp_code));
            let by = match (kind_fits, code_fits) {
                (true, true) => return None,
                (false, _) => format!("type {icmp_type} instead of {}", kind.unwrap_or_default()),
                (true, false) => format!("code {icmp_code} instead of {}", code.unwrap_or_default()),
            };
            Some((Key::IcmpType, if kind_fits { 0 } else { 1 }, by))
        }
        // ICMP over the other family.
        (RuleService::Icmp(Some(_), _) | RuleService::Icmpv6(Some(_), _), Message::Nothing) => {
            Some((Key::IcmpType, 2, "the packet is of the other family, so that it has no type".to_owned()))
        }
        _ => None,
    }
}

/// Ports between a port and a range.
fn beside(first: u16, last: u16, port: u16) -> u32 {
    u32::from(first.saturating_sub(port)) + u32::from(port.saturating_sub(last))
}
