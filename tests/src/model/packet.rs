//! The model's packets: what they say, not how it is written.

use std::net::{IpAddr, SocketAddr};

use filter_common::service::Service;

use crate::frame::{self, Frame, flags};

/// What a packet is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A TCP segment: ports, flags.
    Tcp(u16, u16, u8),
    /// A UDP datagram: ports.
    Udp(u16, u16),
    /// An ICMP or ICMPv6 message: type, code, identifier.
    Icmp(u8, u8, u16),
    /// An ICMP or ICMPv6 error: type, code, what it quotes.
    Error(u8, u8, Box<Packet>),
    /// Another protocol.
    Other(u8),
}

/// Which part of its datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All.
    Whole,
    /// The first one, of a datagram with this identification.
    First(u16),
    /// A later one, at an offset.
    Later(u16, u16),
}

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// From.
    pub source: IpAddr,
    /// To.
    pub destination: IpAddr,
    /// What it is about.
    pub content: Content,
    /// Which part of it.
    pub part: Part,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// VLAN tags.
    pub tags: usize,
}

impl Packet {
    /// Its protocol's number.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        match self.content {
            Content::Tcp(..) => 6,
            Content::Udp(..) => 17,
            Content::Icmp(..) | Content::Error(..) => {
                if self.source.is_ipv4() {
                    1
                } else {
                    58
                }
            }
            Content::Other(protocol) => protocol,
        }
    }

    /// Its source and destination port.
    #[must_use]
    pub fn ports(&self) -> (u16, u16) {
        match self.content {
            Content::Tcp(source, destination, _) | Content::Udp(source, destination) => (source, destination),
            _ => (0, 0),
        }
    }

    /// As bytes.
    #[must_use]
    pub fn frame(&self) -> Frame {
        let (source, destination) = (self.source.to_string(), self.destination.to_string());
        let end = |address: IpAddr, port| SocketAddr::new(address, port).to_string();
        let (from, to) = self.ports();
        let (from, to) = (end(self.source, from), end(self.destination, to));
        let whole = match &self.content {
            Content::Tcp(.., flags) => frame::tcp(&from, &to, *flags).data(44),
            Content::Udp(..) => frame::udp_with(&from, &to, 56),
            Content::Icmp(kind, code, id) => frame::icmp(&source, &destination, (*kind, *code), *id).data(56),
            Content::Error(kind, code, quoted) => {
                frame::error(&source, &destination, (*kind, *code), &quoted.frame())
            }
            Content::Other(protocol) => frame::protocol(&source, &destination, *protocol, &[0; 64]),
        };
        let frame = match self.part {
            Part::Whole => whole,
            Part::First(id) => whole.fragments(id.into(), 32).0,
            Part::Later(id, offset) => whole.later(id.into(), offset),
        };
        let tags: Vec<u16> = (1..).take(self.tags).collect();
        frame.hop_limit(self.hop_limit).tags(&tags)
    }

    pub(super) fn is_icmp(&self) -> bool {
        matches!(self.content, Content::Icmp(..) | Content::Error(..))
    }

    pub(super) fn icmp(&self) -> Option<(u8, u8)> {
        match self.content {
            Content::Icmp(kind, code, _) | Content::Error(kind, code, _) => Some((kind, code)),
            _ => None,
        }
    }

    /// What it asks for.
    #[must_use]
    pub fn service(&self) -> Service {
        match self.icmp() {
            Some((kind, code)) => Service::icmp(self.protocol(), kind, code),
            None => Service::new(self.protocol(), self.ports().1),
        }
    }

    pub(super) fn flags(&self) -> u8 {
        if let Content::Tcp(.., flags) = self.content { flags } else { 0 }
    }

    /// Whether it asks for a TCP connection.
    pub(super) fn is_syn(&self) -> bool {
        let asked = self.flags() & (flags::SYN | flags::ACK | flags::RST | flags::FIN);
        matches!(self.content, Content::Tcp(..)) && asked == flags::SYN
    }
}
