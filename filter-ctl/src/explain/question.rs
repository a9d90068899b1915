//! What is asked: one packet, as the network interface sees it.

use std::net::IpAddr;

use filter_common::{
    Direction,
    address::Family,
    packet::{Packet, is_extension_header, query, quote},
    service::{ICMP, ICMPV6, Service, TCP, UDP},
};

use super::endpoint::Endpoint;
use crate::policy::Interface;

/// The source port of a packet that names none: an ephemeral one with Linux (32768 to 60999) and
/// with Windows (49152 to 65535), so one that rules for answers must allow.
pub(super) const EPHEMERAL: u16 = 50_000;

/// Protocols that have a name here (IANA, "Protocol Numbers").
const NAMES: [(&str, u8); 11] = [
    ("tcp", TCP),
    ("udp", UDP),
    ("icmp", ICMP),
    ("icmpv6", ICMPV6),
    ("igmp", 2),
    ("ipip", 4),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ospf", 89),
    ("sctp", 132),
];

/// The number of a protocol, which is given by name or number.
///
/// # Errors
///
/// If it is neither; the text says what was expected.
pub fn protocol_number(text: &str) -> Result<u8, String> {
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
        return Ok(*number);
    }
    match text.parse() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => {
            Err(format!("`{text}` is no protocol: expected tcp, udp, icmp, icmpv6 or a number from 0 to 255"))
        }
    }
}

/// The name of a protocol, or its number.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    NAMES
        .iter()
        .find(|(_, known)| *known == number)
        .map_or_else(|| format!("protocol {number}"), |(name, _)| (*name).to_owned())
}

/// A packet as it was written, which may leave things out.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Towards the interface or away from it.
    pub direction: Direction,
    /// IANA protocol number.
    pub protocol: u8,
    /// Where it comes from. The interface's own end may lack the address, any may lack the port.
    pub source: Endpoint,
    /// Where it goes to. Of TCP and UDP the port is needed.
    pub destination: Endpoint,
    /// Type and code of an ICMP message; the code is 0 where it is left out.
    pub icmp: (Option<u8>, Option<u8>),
    /// Whether it belongs to a tracked connection; else it is the first of a new one.
    pub established: bool,
}

/// Why a question cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The other end has no address.
    #[error("the {0} is the other end and needs an address")]
    Remote(&'static str),
    /// The interface has no address that could stand in.
    #[error("{interface} has no {family} address of its own to be the {end}: name one")]
    Local {
        /// The interface.
        interface: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// `source` or `destination`.
        end: &'static str,
    },
    /// Two families.
    #[error("the source {0} and the destination {1} are of different families: a packet has one")]
    Families(IpAddr, IpAddr),
    /// A type of ICMP over the other family, where it is a protocol like any other.
    #[error("{0} goes over {1}: over {2} it is {3} ({0} over {2} has no types: leave them out)")]
    Icmp(&'static str, &'static str, &'static str, &'static str),
    /// A header that the programs walk over.
    #[error("{0} over IPv6 is an extension header, which is walked over: name the protocol behind it")]
    ExtensionHeader(String),
    /// TCP or UDP without a port.
    #[error("{0} needs a destination port (as in 192.0.2.1:443; `destination_port` in a line of packets)")]
    NoPort(String),
    /// ICMP without a type.
    #[error("{0} needs a type, and may have a code (8/0 is an ICMP echo request, 128/0 an ICMPv6 one)")]
    NoType(String),
    /// Ports where there are none.
    #[error("{0} has no ports: leave the port {1} out")]
    Ports(String, u16),
    /// A type where there is none.
    #[error("{0} has no ICMP type or code: leave them out")]
    Type(String),
    /// A code alone.
    #[error("an ICMP code says nothing without the type")]
    Code,
}

/// What the rules look at beside addresses and protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Source and destination port, of TCP and UDP.
    Ports(u16, u16),
    /// Type and code, of ICMP over IPv4 and of ICMPv6 over IPv6.
    Icmp(u8, u8),
    /// Nothing, of other protocols.
    Nothing,
}

/// A packet that can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Towards the interface or away from it.
    pub direction: Direction,
    /// Its source.
    pub source: IpAddr,
    /// Its destination, of the same family.
    pub destination: IpAddr,
    /// IANA protocol number.
    pub protocol: u8,
    /// What fits the protocol.
    pub message: Message,
    /// Whether it belongs to a tracked connection.
    pub established: bool,
    /// Whether the source port is an ephemeral one because none was given.
    pub assumed_port: bool,
}

fn family_name(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The interface's address of the other end's family.
fn own(interface: &Interface, remote: IpAddr, end: &'static str) -> Result<IpAddr, AskError> {
    let own = match remote {
        IpAddr::V4(_) => interface.primary_v4.map(IpAddr::V4),
        IpAddr::V6(_) => interface.primary_v6.map(IpAddr::V6),
    };
    own.ok_or_else(|| AskError::Local { interface: interface.id.clone(), family: family_name(remote), end })
}

impl Asked {
    /// The interface's end, if it is written.
    #[must_use]
    pub const fn local(&self) -> Option<IpAddr> {
        match self.direction {
            Direction::Ingress => self.destination.address,
            Direction::Egress => self.source.address,
        }
    }

    /// Fills in what was left out, for a network interface.
    ///
    /// # Errors
    ///
    /// If something is needed and missing, or contradicts something else.
    pub fn complete(&self, interface: &Interface) -> Result<Question, AskError> {
        let (source, destination) = match self.direction {
            Direction::Ingress => {
                let remote = self.source.address.ok_or(AskError::Remote("source"))?;
                (remote, self.destination.address.map_or_else(|| own(interface, remote, "destination"), Ok)?)
            }
            Direction::Egress => {
                let remote = self.destination.address.ok_or(AskError::Remote("destination"))?;
                (self.source.address.map_or_else(|| own(interface, remote, "source"), Ok)?, remote)
            }
        };
        let typed = self.icmp != (None, None);
        match (self.protocol, source) {
            _ if source.is_ipv4() != destination.is_ipv4() => {
                return Err(AskError::Families(source, destination));
            }
            (protocol, IpAddr::V6(_)) if is_extension_header(protocol) => {
                return Err(AskError::ExtensionHeader(protocol_name(protocol)));
            }
            (ICMP, IpAddr::V6(_)) if typed => {
                return Err(AskError::Icmp("icmp", "IPv4", "IPv6", "icmpv6"));
            }
            (ICMPV6, IpAddr::V4(_)) if typed => {
                return Err(AskError::Icmp("icmpv6", "IPv6", "IPv4", "icmp"));
            }
            _ => {}
        }
        Ok(Question {
            direction: self.direction,
            source,
            destination,
            protocol: self.protocol,
            message: self.message(Family::of(source))?,
            established: self.established,
            assumed_port: matches!(self.protocol, TCP | UDP) && self.source.port.is_none(),
        })
    }

    fn message(&self, family: Family) -> Result<Message, AskError> {
        let name = || protocol_name(self.protocol);
        let (icmp_type, code) = self.icmp;
        let is_icmp = matches!((self.protocol, family), (ICMP, Family::V4) | (ICMPV6, Family::V6));
        if !is_icmp && (icmp_type.is_some() || code.is_some()) {
            return Err(AskError::Type(name()));
        }
        if matches!(self.protocol, TCP | UDP) {
            let to = self.destination.port.ok_or_else(|| AskError::NoPort(name()))?;
            return Ok(Message::Ports(self.source.port.unwrap_or(EPHEMERAL), to));
        }
        // Flow logs write port 0 where a protocol has none, so it stands for none.
        if let Some(port) =
            [self.source.port, self.destination.port].into_iter().flatten().find(|port| *port != 0)
        {
            return Err(AskError::Ports(name(), port));
        }
        match (is_icmp, icmp_type, code) {
            (false, ..) => Ok(Message::Nothing),
            (true, Some(icmp_type), code) => Ok(Message::Icmp(icmp_type, code.unwrap_or(0))),
            (true, None, Some(_)) => Err(AskError::Code),
            (true, None, None) => Err(AskError::NoType(name())),
        }
    }
}

impl Question {
    /// The other end.
    #[must_use]
    pub const fn remote(&self) -> IpAddr {
        match self.direction {
            Direction::Ingress => self.source,
            Direction::Egress => self.destination,
        }
    }

    /// The interface's end.
    #[must_use]
    pub const fn local(&self) -> IpAddr {
        match self.direction {
            Direction::Ingress => self.destination,
            Direction::Egress => self.source,
        }
    }

    /// Its family.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.source)
    }

    /// What rules match it by.
    #[must_use]
    pub const fn service(&self) -> Service {
        match self.message {
            Message::Ports(_, to) => Service::new(self.protocol, to),
            Message::Icmp(icmp_type, code) => Service::icmp(self.protocol, icmp_type, code),
            Message::Nothing => Service::new(self.protocol, 0),
        }
    }

    /// What rules match its answer by. An ICMP message that asks nothing has none; its own then
    /// stands in, of which nothing depends.
    #[must_use]
    pub fn mirror_service(&self) -> Service {
        self.reply().map_or(self.service(), |reply| reply.service())
    }

    /// The query that it belongs to, of an ICMP message.
    #[must_use]
    pub const fn query(&self) -> Option<query::Query> {
        match self.message {
            Message::Icmp(icmp_type, _) => query::of(self.family(), icmp_type),
            Message::Ports(..) | Message::Nothing => None,
        }
    }

    /// Whether it can belong to a connection: of ICMP messages, queries, their answers, and errors can.
    #[must_use]
    pub const fn can_belong(&self) -> bool {
        match self.message {
            Message::Icmp(..) => self.query().is_some() || self.is_error(),
            Message::Ports(..) | Message::Nothing => true,
        }
    }

    /// Whether it is an ICMP error, which quotes the packet that it is about.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        match self.message {
            Message::Icmp(icmp_type, _) => quote::is_error_type(self.family(), icmp_type),
            Message::Ports(..) | Message::Nothing => false,
        }
    }

    /// Its answer, which is established if the packet makes a connection; `None`: an ICMP message
    /// that asks nothing gets none.
    #[must_use]
    pub fn reply(&self) -> Option<Self> {
        let message = match self.message {
            Message::Ports(from, to) => Message::Ports(to, from),
            Message::Icmp(icmp_type, _) => match self.query()? {
                query::Query { is_answer: true, .. } => return None,
                // RFC 792: an answer's type is the request's plus one, but echo's, which is 0; ICMPv6
                // (RFC 4443) 129.
                _ if icmp_type == 8 => Message::Icmp(0, 0),
                _ => Message::Icmp(icmp_type + 1, 0),
            },
            Message::Nothing => Message::Nothing,
        };
        let (source, destination) = (self.destination, self.source);
        let direction = self.direction.reverse();
        Some(Self {
            direction,
            source,
            destination,
            message,
            established: true,
            assumed_port: false,
            ..*self
        })
    }

    /// The packet as the programs would have read it. What a question does not tell is as it is
    /// for traffic that is in order: neighbour discovery has hop limit 255, listener discovery 1.
    #[must_use]
    pub fn packet(&self) -> Packet {
        const NEIGHBOR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;
        const LISTENER_DISCOVERY: [u8; 4] = [130, 131, 132, 143];
        let (source_port, destination_port) = match self.message {
            Message::Ports(from, to) => (from, to),
            Message::Icmp(icmp_type, code) => (0, u16::from_be_bytes([icmp_type, code])),
            Message::Nothing => (0, 0),
        };
        let hop_limit = match self.message {
            Message::Icmp(icmp_type, _) if self.protocol == ICMPV6 => {
                if NEIGHBOR_DISCOVERY.contains(&icmp_type) {
                    255
                } else if LISTENER_DISCOVERY.contains(&icmp_type) {
                    1
                } else {
                    64
                }
            }
            _ => 64,
        };
        Packet {
            source: self.source.into(),
            destination: self.destination.into(),
            family: self.family(),
            protocol: self.protocol,
            hop_limit,
            source_port,
            destination_port,
            ..Packet::EMPTY
        }
    }
}
