//! Which rule decided: from a flow record to the network ACL's rule and the groups' rule.
//!
//! # The problem
//!
//! The programs judge by classes of addresses and services; they do not know rules. People want to
//! know why a packet was dropped, and which rules are never needed. So user space asks the rules
//! once more, for every record, with what the record tells: tuple, direction, reason, generation.
//!
//! # Where and when
//!
//! Whoever puts a policy into force first writes its rules to the state folder, as the *book* of
//! that interface and generation ([`book`], [`shelf`]). Whoever takes a record from the ring opens
//! the book of the record's generation, finds the rules ([`namer`]), and keeps them with the
//! record. A record is named when it is collected and not when it is read: a book is needed only
//! until all records of its generation are collected, and hit counters are sums over names that
//! never change again.
//!
//! # What is exact
//!
//! All packets of a record were judged by one generation and, but for a tracked connection's, for
//! one reason; ICMP messages are told apart by type and code. So asking for one packet is asking
//! for all. A connection's groups had their say when it was opened: their rule is that of the first
//! packet, in its direction, by the book of the generation that opened it.
//!
//! | reason | network ACL | security groups |
//! | --- | --- | --- |
//! | `new-connection`, `connection` | the rule for this direction, now | the rule that admitted the connection |
//! | `untracked`, `stray` | the rule | the rule |
//! | `conntrack-allowance-exceeded` | the rule | the rule (it allowed; there was no room) |
//! | `strict-tcp` | the rule | the rule (it allowed; the segment may not open a connection) |
//! | `network-acl` | the rule that denied | not asked |
//! | `security-group`, ingress | the rule that allowed | none matched |
//! | `security-group`, egress | not asked: it stands outside of the groups | none matched |
//! | `related` | the rule for the error | not asked: the quoted connection lets it pass |
//! | `fragment`, `source-dest-check` | not asked | not asked |
//!
//! The network ACL is never asked about the interface's own subnet. What no numbered rule matches
//! is the rule `*`: 32767 for IPv4, 32768 for IPv6. Of several rules of the groups that match, the
//! first in the document's order is named. An ICMP query has code 0 (RFC 792). Of one that has another
//! and was let in as a tracked connection, the record does not tell it: the rules are asked as if it
//! had 0, so another rule may be named that decides alike. A rule that decides otherwise is not: of
//! what passed, no deny of the network ACL is named, nor of what it denied an allow; that layer is
//! unknown then, as the groups are when none of their rules matches what they admitted.
//!
//! Rejected: names in the kernel's cells (they would keep cells apart that decide alike, and a
//! packet would have to carry them); naming when records are read (every book for as long as the
//! spool holds a record of it, and counters that a full spool makes forget).

pub mod book;
pub mod namer;
pub mod shelf;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use book::Book;
pub use namer::Namer;
pub use shelf::Shelf;

/// What a layer said of a record's packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision<T> {
    /// A rule decided.
    Rule(T),
    /// No rule matched, which denies.
    NoRule,
    /// It was not asked.
    NotAsked,
    /// The rules of that generation are not known any more.
    #[default]
    Unknown,
}

impl<T> Decision<T> {
    /// The rule, if one decided.
    pub const fn rule(&self) -> Option<&T> {
        match self {
            Self::Rule(rule) => Some(rule),
            Self::NoRule | Self::NotAsked | Self::Unknown => None,
        }
    }

    /// Whether it is not known; for serde.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// A security group rule by its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupRuleName {
    /// `sg-…`
    pub group: Arc<str>,
    /// `sgr-…`: see [`crate::policy::Group::rule_id`].
    pub id: Arc<str>,
}

/// A network ACL rule by its names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AclRuleName {
    /// `acl-…`
    pub acl: Arc<str>,
    /// 1 to 32,766; 32,767 and 32,768 are `*`.
    pub number: u16,
}

/// What both layers said of a record's packets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decisions {
    /// The network ACL.
    #[serde(default, skip_serializing_if = "Decision::is_unknown")]
    pub acl: Decision<AclRuleName>,
    /// The security groups.
    #[serde(default, skip_serializing_if = "Decision::is_unknown")]
    pub groups: Decision<GroupRuleName>,
}
