//! What a packet asks for: protocol and destination port, or ICMP type and code.

/// `IPPROTO_ICMP`.
pub const ICMP: u8 = 1;
/// `IPPROTO_TCP`.
pub const TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub const UDP: u8 = 17;
/// `IPPROTO_ICMPV6`.
pub const ICMPV6: u8 = 58;

/// Which table a [`Service`] is looked up in.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceKind {
    /// TCP by destination port.
    Tcp = 0,
    /// UDP by destination port.
    Udp = 1,
    /// ICMP by type and code.
    Icmp = 2,
    /// ICMPv6 by type and code.
    Icmpv6 = 3,
    /// Any other protocol, by its number.
    Other = 4,
}

/// Number of [`ServiceKind`]s.
pub const SERVICE_KINDS: usize = 5;

/// A service: a kind and 16 bits, which are the destination port, `type << 8 | code`, or the
/// protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// The table.
    pub kind: ServiceKind,
    /// The place in the table.
    pub value: u16,
}

impl Service {
    /// The service of a TCP or UDP port, or of a protocol that has none.
    #[inline(always)]
    #[must_use]
    pub const fn new(protocol: u8, port: u16) -> Self {
        match protocol {
            TCP => Self { kind: ServiceKind::Tcp, value: port },
            UDP => Self { kind: ServiceKind::Udp, value: port },
            ICMP => Self { kind: ServiceKind::Icmp, value: port },
            ICMPV6 => Self { kind: ServiceKind::Icmpv6, value: port },
            other => Self { kind: ServiceKind::Other, value: other as u16 },
        }
    }

    /// The service of an ICMP or ICMPv6 message.
    #[inline(always)]
    #[must_use]
    pub const fn icmp(protocol: u8, icmp_type: u8, code: u8) -> Self {
        Self::new(protocol, (icmp_type as u16) << 8 | code as u16)
    }

    /// Its place on the line of all services, which holds the tables one after the other.
    #[must_use]
    pub const fn place(self) -> u32 {
        (self.kind as u32) << 16 | self.value as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_count_for_four_protocols_only() {
        for protocol in 0..=255 {
            let service = Service::new(protocol, 0x0304);
            let (kind, value) = match protocol {
                1 => (ServiceKind::Icmp, 0x0304),
                6 => (ServiceKind::Tcp, 0x0304),
                17 => (ServiceKind::Udp, 0x0304),
                58 => (ServiceKind::Icmpv6, 0x0304),
                other => (ServiceKind::Other, u16::from(other)),
            };
            assert_eq!(service, Service { kind, value });
            assert!((service.kind as usize) < SERVICE_KINDS);
        }
        assert_eq!(Service::icmp(ICMP, 3, 4), Service::new(ICMP, 0x0304));
    }
}
