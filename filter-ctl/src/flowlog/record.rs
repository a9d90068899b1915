//! A flow-log record with everything resolved: what the spool keeps and the formats print.

use std::{net::IpAddr, sync::Arc};

use filter_common::{
    Direction,
    verdict::{Category, Reason},
};
use serde::{Deserialize, Serialize};

use crate::{naming::Decisions, policy::Placement};

/// One line of a flow log to be.
///
/// It holds names, not slots: it stays true when the interface is detached and its slot serves
/// another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// `eni-…`; `None` if nobody knows the interface any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_id: Option<String>,
    /// The interface's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// `vpc-…`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
    /// `subnet-…`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet_id: Option<String>,
    /// Where the interface stands in AWS, as far as the document tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Arc<Placement>>,
    /// Towards the interface or away from it; `None` for a record about both.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "direction")]
    pub direction: Option<Direction>,
    /// When the first packet was seen, in Unix seconds; for other than flows, where the time begins
    /// that the record is about.
    pub start: u64,
    /// When the last packet was seen; likewise.
    pub end: u64,
    /// What is said.
    pub content: Content,
}

/// What a record says: AWS's `log-status`, with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Packets of a flow.
    #[serde(rename = "OK")]
    Flow(Flow),
    /// The interface had no traffic.
    #[serde(rename = "NODATA")]
    Idle,
    /// Packets that no record counts.
    #[serde(rename = "SKIPDATA")]
    Lost(Loss),
}

impl Content {
    /// `log-status`
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Flow(_) => "OK",
            Self::Idle => "NODATA",
            Self::Lost(_) => "SKIPDATA",
        }
    }

    /// Packets that the record stands for.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        match self {
            Self::Flow(flow) => flow.packets,
            Self::Idle => 0,
            Self::Lost(loss) => loss.packets,
        }
    }
}

/// One direction of one conversation in one interval, judged by one generation for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The local address in the packets.
    pub local: IpAddr,
    /// The local address that the log shows instead: the interface's primary one.
    pub shown: IpAddr,
    /// The other end's address.
    pub remote: IpAddr,
    /// The local port; 0 where there is none, and for ICMP.
    pub local_port: u16,
    /// The other end's port; likewise.
    pub remote_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// Packets on the wire.
    pub packets: u64,
    /// Bytes, from the IP header on.
    pub bytes: u64,
    /// FIN 1, SYN 2, RST 4, SYN-ACK 18, OR-ed.
    pub tcp_flags: u16,
    /// Why the packets got their verdict; of a connection, the first one.
    #[serde(with = "reason")]
    pub reason: Reason,
    /// Number of the kernel's interval since the Unix epoch.
    pub interval: u32,
    /// Length of that interval in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<u32>,
    /// `traffic-path`, as far as it can be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_path: Option<u8>,
    /// Generation of the policy that judged the packets.
    pub generation: u32,
    /// The rules that decided. (Earlier versions did not tell.)
    #[serde(default)]
    pub rules: Decisions,
}

impl Flow {
    /// When its interval begins, in Unix seconds by the kernel's count; `None`: that is not known.
    #[must_use]
    pub fn interval_start(&self) -> Option<u64> {
        Some(u64::from(self.interval) * u64::from(self.interval_seconds?))
    }

    /// `action`
    #[must_use]
    pub const fn action(&self) -> Action {
        match self.reason.category() {
            Category::Accepted | Category::NeverFiltered | Category::Exempt => Action::Accept,
            Category::Rejected | Category::Unparsable => Action::Reject,
        }
    }
}

/// Packets that no record counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// How many.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that would have counted them, as far as known.
    pub records: u64,
}

/// What became of a flow's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Action {
    /// They passed the security groups and the network ACL.
    #[value(name = "ACCEPT")]
    Accept,
    /// One of the two stopped them.
    #[value(name = "REJECT")]
    Reject,
}

impl Action {
    /// AWS's word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "ACCEPT",
            Self::Reject => "REJECT",
        }
    }
}

/// A direction by its name.
mod direction {
    use filter_common::Direction;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(direction: &Option<Direction>, to: S) -> Result<S::Ok, S::Error> {
        match direction {
            Some(direction) => to.serialize_str(direction.name()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Direction>, D::Error> {
        let name = Option::<&str>::deserialize(from)?;
        match name {
            None => Ok(None),
            Some("ingress") => Ok(Some(Direction::Ingress)),
            Some("egress") => Ok(Some(Direction::Egress)),
            Some(other) => Err(de::Error::unknown_variant(other, &["ingress", "egress"])),
        }
    }
}

/// A reason by its stable name: its number belongs to one version of the programs.
mod reason {
    use filter_common::verdict::Reason;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(reason.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Reason, D::Error> {
        let name = <&str>::deserialize(from)?;
        let known = Reason::ALL.iter().find(|reason| reason.name() == name);
        known.copied().ok_or_else(|| de::Error::custom(format_args!("unknown reason `{name}`")))
    }
}
