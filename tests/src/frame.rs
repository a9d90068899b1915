//! Frames, byte by byte: also those that no socket sends and no library builds.
//!
//! A [`Frame`] is described first and rendered by [`Frame::bytes`]; lengths and headers come out
//! right unless a test says otherwise.

use std::net::{IpAddr, SocketAddr};

/// TCP flags, as in the header.
pub mod flags {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Synchronise.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// Acknowledge.
    pub const ACK: u8 = 0x10;
    /// Urgent.
    pub const URG: u8 = 0x20;
    /// Explicit congestion notification echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// EtherType of a VLAN tag by IEEE 802.1Q.
pub const CUSTOMER_TAG: u16 = 0x8100;
/// EtherType of a VLAN tag by IEEE 802.1ad.
pub const SERVICE_TAG: u16 = 0x88a8;

/// Where a piece of a datagram lies in it.
#[derive(Clone, Copy, Debug)]
struct Piece {
    id: u32,
    /// In bytes, a multiple of eight.
    offset: u16,
    more: bool,
}

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct Frame {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// The transport header and what follows it.
    payload: Vec<u8>,
    hop_limit: u8,
    /// EtherType and control information of each.
    tags: Vec<(u16, u16)>,
    ether_type: Option<u16>,
    options: Vec<u8>,
    extensions: Vec<u8>,
    piece: Option<Piece>,
    patches: Vec<(usize, u8)>,
    padding: usize,
    cut: Option<usize>,
}

/// A frame of any protocol between two addresses (ports are ignored).
///
/// # Panics
///
/// When an address is none.
#[must_use]
pub fn protocol(from: &str, to: &str, protocol: u8, payload: &[u8]) -> Frame {
    let (source, destination) = (address(from), address(to));
    assert_eq!(source.is_ipv4(), destination.is_ipv4(), "{from} and {to} are of one family");
    Frame {
        source,
        destination,
        protocol,
        payload: payload.to_vec(),
        hop_limit: 64,
        tags: Vec::new(),
        ether_type: None,
        options: Vec::new(),
        extensions: Vec::new(),
        piece: None,
        patches: Vec::new(),
        padding: 0,
        cut: None,
    }
}

/// A TCP segment without data.
#[must_use]
pub fn tcp(from: &str, to: &str, flags: u8) -> Frame {
    let mut header = vec![0; 20];
    header[0..2].copy_from_slice(&port(from).to_be_bytes());
    header[2..4].copy_from_slice(&port(to).to_be_bytes());
    header[12] = 5 << 4;
    header[13] = flags;
    protocol(from, to, 6, &header)
}

/// A segment that asks for a connection.
#[must_use]
pub fn syn(from: &str, to: &str) -> Frame {
    tcp(from, to, flags::SYN)
}

/// The answer to it.
#[must_use]
pub fn syn_ack(from: &str, to: &str) -> Frame {
    tcp(from, to, flags::SYN | flags::ACK)
}

/// A segment in the middle of a connection.
#[must_use]
pub fn ack(from: &str, to: &str) -> Frame {
    tcp(from, to, flags::ACK)
}

/// A segment that ends its sender's half.
#[must_use]
pub fn fin(from: &str, to: &str) -> Frame {
    tcp(from, to, flags::FIN | flags::ACK)
}

/// A segment that ends the connection at once.
#[must_use]
pub fn rst(from: &str, to: &str) -> Frame {
    tcp(from, to, flags::RST)
}

/// A UDP datagram with eight bytes of data.
#[must_use]
pub fn udp(from: &str, to: &str) -> Frame {
    udp_with(from, to, 8)
}

/// A UDP datagram with data.
///
/// # Panics
///
/// When it is longer than a datagram can be.
#[must_use]
pub fn udp_with(from: &str, to: &str, data: usize) -> Frame {
    let mut datagram = vec![0; 8 + data];
    let length = u16::try_from(datagram.len()).expect("a datagram's length");
    datagram[0..2].copy_from_slice(&port(from).to_be_bytes());
    datagram[2..4].copy_from_slice(&port(to).to_be_bytes());
    datagram[4..6].copy_from_slice(&length.to_be_bytes());
    protocol(from, to, 17, &datagram)
}

/// An ICMP or ICMPv6 message, by its addresses' family. `id` is the identifier of a query.
#[must_use]
pub fn icmp(from: &str, to: &str, (icmp_type, code): (u8, u8), id: u16) -> Frame {
    let [high, low] = id.to_be_bytes();
    let number = if address(from).is_ipv4() { 1 } else { 58 };
    protocol(from, to, number, &[icmp_type, code, 0, 0, high, low, 0, 1])
}

/// A ping.
#[must_use]
pub fn echo(from: &str, to: &str, id: u16) -> Frame {
    icmp(from, to, (if address(from).is_ipv4() { 8 } else { 128 }, 0), id)
}

/// The answer to one.
#[must_use]
pub fn echo_reply(from: &str, to: &str, id: u16) -> Frame {
    icmp(from, to, (if address(from).is_ipv4() { 0 } else { 129 }, 0), id)
}

/// An ICMP error about a packet: its IP header and all that follows.
#[must_use]
pub fn error(from: &str, to: &str, kind: (u8, u8), about: &Frame) -> Frame {
    let mut frame = icmp(from, to, kind, 0);
    frame.payload.extend(about.packet());
    frame
}

/// An ARP request.
#[must_use]
pub fn arp() -> Frame {
    protocol("0.0.0.0", "0.0.0.0", 0, &[0; 28]).ether_type(0x0806)
}

impl Frame {
    /// TTL or hop limit; 64 otherwise.
    #[must_use]
    pub fn hop_limit(mut self, hop_limit: u8) -> Self {
        self.hop_limit = hop_limit;
        self
    }

    /// Puts it behind VLAN tags, the outer one first: 802.1ad outside of another tag, else 802.1Q.
    #[must_use]
    pub fn tags(mut self, tags: &[u16]) -> Self {
        let kind = |number: usize| if number + 1 < tags.len() { SERVICE_TAG } else { CUSTOMER_TAG };
        self.tags = tags.iter().enumerate().map(|(number, tag)| (kind(number), *tag)).collect();
        self
    }

    /// Puts it behind VLAN tags of these EtherTypes, the outer one first.
    #[must_use]
    pub fn tags_of(mut self, kinds: &[u16]) -> Self {
        self.tags = kinds.iter().zip(5..).map(|(kind, tag)| (*kind, tag)).collect();
        self
    }

    /// Says another EtherType (or an 802.3 length) than its family's.
    #[must_use]
    pub fn ether_type(mut self, ether_type: u16) -> Self {
        self.ether_type = Some(ether_type);
        self
    }

    /// Adds IPv4 options, padded to whole words.
    #[must_use]
    pub fn options(mut self, words: usize) -> Self {
        // No operation.
        self.options = vec![1; words * 4];
        self
    }

    /// Adds IPv6 extension headers of eight bytes each (destination options).
    #[must_use]
    pub fn extensions(self, count: usize) -> Self {
        self.extension_headers(&vec![60; count])
    }

    /// Adds IPv6 extension headers by their numbers, eight bytes each.
    #[must_use]
    pub fn extension_headers(mut self, numbers: &[u8]) -> Self {
        self.extensions.extend(numbers);
        self
    }

    /// Adds data behind the transport header.
    #[must_use]
    pub fn data(mut self, length: usize) -> Self {
        self.payload.extend(vec![0; length]);
        self
    }

    /// The first fragment of this datagram and a later one, cut at a multiple of eight bytes.
    #[must_use]
    pub fn fragments(&self, id: u32, at: u16) -> (Self, Self) {
        let (head, tail) = self.payload.split_at(usize::from(at));
        let piece = |payload: &[u8], offset, more| Self {
            payload: payload.to_vec(),
            piece: Some(Piece { id, offset, more }),
            ..self.clone()
        };
        (piece(head, 0, true), piece(tail, at, false))
    }

    /// A later fragment of this datagram, of eight bytes.
    #[must_use]
    pub fn later(&self, id: u32, offset: u16) -> Self {
        Self { payload: vec![0; 8], piece: Some(Piece { id, offset, more: false }), ..self.clone() }
    }

    /// Overwrites a byte, counted from the start of the IP header.
    #[must_use]
    pub fn patch(mut self, at: usize, byte: u8) -> Self {
        self.patches.push((at, byte));
        self
    }

    /// Adds bytes behind the IP packet, as short Ethernet frames have.
    #[must_use]
    pub fn padding(mut self, length: usize) -> Self {
        self.padding = length;
        self
    }

    /// Cuts the frame off after so many bytes of the IP packet.
    #[must_use]
    pub fn cut(mut self, length: usize) -> Self {
        self.cut = Some(length);
        self
    }

    /// The length of the IP packet.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.packet().len() as u64
    }

    /// The IP packet.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let mut packet = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (id, field) = self.piece.map_or((0, 0), |piece| {
                    (piece.id as u16, piece.offset >> 3 | if piece.more { 0x2000 } else { 0 })
                });
                let header = 20 + self.options.len();
                let mut bytes = vec![0x40 | (header / 4) as u8, 0];
                bytes.extend(((header + self.payload.len()) as u16).to_be_bytes());
                bytes.extend(id.to_be_bytes());
                bytes.extend(field.to_be_bytes());
                bytes.extend([self.hop_limit, self.protocol, 0, 0]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                bytes.extend(&self.options);
                bytes
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut headers: Vec<(u8, [u8; 8])> =
                    self.extensions.iter().map(|number| (*number, [0; 8])).collect();
                // An authentication header counts its length in words less two.
                headers.iter_mut().filter(|(number, _)| *number == 51).for_each(|(_, bytes)| bytes[1] = 0);
                if let Some(piece) = self.piece {
                    let [a, b] = (piece.offset | u16::from(piece.more)).to_be_bytes();
                    let [c, d, e, f] = piece.id.to_be_bytes();
                    headers.push((44, [0, 0, a, b, c, d, e, f]));
                }
                let mut bytes = vec![0x60, 0, 0, 0];
                bytes.extend(((headers.len() * 8 + self.payload.len()) as u16).to_be_bytes());
                bytes.extend([headers.first().map_or(self.protocol, |(number, _)| *number), self.hop_limit]);
                bytes.extend(source.octets());
                bytes.extend(destination.octets());
                for (place, (_, header)) in headers.iter().enumerate() {
                    bytes.push(headers.get(place + 1).map_or(self.protocol, |(number, _)| *number));
                    bytes.extend(&header[1..]);
                }
                bytes
            }
            _ => Vec::new(),
        };
        packet.extend(&self.payload);
        packet
    }

    /// The whole frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        for (kind, tag) in &self.tags {
            bytes.extend(kind.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        let family = if self.source.is_ipv4() { 0x0800 } else { 0x86dd };
        bytes.extend(self.ether_type.unwrap_or(family).to_be_bytes());
        let start = bytes.len();
        bytes.extend(self.bare());
        debug_assert!(bytes.len() >= start);
        bytes
    }

    /// What stands behind the link-layer header: all of the frame on a device that has none.
    #[must_use]
    pub fn bare(&self) -> Vec<u8> {
        let mut packet = self.packet();
        for (at, byte) in &self.patches {
            packet[*at] = *byte;
        }
        packet.extend(vec![0; self.padding]);
        packet.truncate(self.cut.unwrap_or(usize::MAX));
        packet
    }
}

/// `198.51.100.7`, `198.51.100.7:80`, `2001:db8::7`, `[2001:db8::7]:80`.
fn address(text: &str) -> IpAddr {
    text.parse::<SocketAddr>()
        .map(|end| end.ip())
        .or_else(|_| text.parse())
        .unwrap_or_else(|_| panic!("not an address: {text:?}"))
}

fn port(text: &str) -> u16 {
    text.parse::<SocketAddr>().unwrap_or_else(|_| panic!("not an address with a port: {text:?}")).port()
}
