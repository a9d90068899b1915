//! Rules in words.

use std::fmt;

use super::{Peer, RuleService};

impl fmt::Display for RuleService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports = |f: &mut fmt::Formatter<'_>, name, first, last| match (first, last) {
            (0, u16::MAX) => write!(f, "{name}"),
            (first, last) if first == last => write!(f, "{name} {first}"),
            (first, last) => write!(f, "{name} {first}-{last}"),
        };
        let icmp = |f: &mut fmt::Formatter<'_>, name, kind: Option<u8>, code: Option<u8>| match (kind, code) {
            (None, _) => write!(f, "{name}"),
            (Some(kind), None) => write!(f, "{name} type {kind}"),
            (Some(kind), Some(code)) => write!(f, "{name} type {kind} code {code}"),
        };
        match *self {
            Self::All => write!(f, "all"),
            Self::Tcp(first, last) => ports(f, "tcp", first, last),
            Self::Udp(first, last) => ports(f, "udp", first, last),
            Self::Icmp(kind, code) => icmp(f, "icmp", kind, code),
            Self::Icmpv6(kind, code) => icmp(f, "icmpv6", kind, code),
            Self::Protocol(number) => write!(f, "protocol {number}"),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cidr(prefix) => prefix.fmt(f),
            Self::Group { id, .. } | Self::PrefixList { id, .. } => f.write_str(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_told_shortly() {
        for (service, told) in [
            (RuleService::Tcp(443, 443), "tcp 443"),
            (RuleService::Udp(0, 65535), "udp"),
            (RuleService::Icmp(Some(3), Some(4)), "icmp type 3 code 4"),
            (RuleService::Protocol(50), "protocol 50"),
        ] {
            assert_eq!(service.to_string(), told);
        }
    }
}
