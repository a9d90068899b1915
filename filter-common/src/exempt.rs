//! Traffic that is never filtered: what keeps a host on its link, and no wider.
//!
//! ARP is told by the parser. The rest: neighbour discovery (RFC 4861: hop limit 255, so never
//! from beyond the link), multicast listener discovery (RFC 2710, RFC 3810: hop limit 1 and a
//! link-local source), DHCP (RFC 2131) and DHCPv6 (RFC 8415) between a client's and a server's
//! ports and addresses on the link. AWS: "Amazon DHCP" and ARP are neither filtered nor logged
//! (VPC guide, `vpc-security-groups`, `flow-logs-limitations`).

use crate::{
    Direction,
    address::Family,
    packet::{Fragment, Packet},
    service::{ICMPV6, UDP},
    verdict::Reason,
};

const ND_FIRST: u8 = 133;
const ND_LAST: u8 = 137;
const MLD_QUERY: u8 = 130;
const MLD_REPORT: u8 = 131;
const MLD_DONE: u8 = 132;
const MLD2_REPORT: u8 = 143;

const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
const DHCPV6_CLIENT: u16 = 546;
const DHCPV6_SERVER: u16 = 547;

/// What a never-filtered packet is, without regard to addresses that only the policy knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Candidate {
    /// It is never filtered.
    Yes(Reason),
    /// DHCPv4 with a remote that must be link-local, reserved or (ingress) in the same subnet: ask the policy.
    Dhcp,
    /// It is filtered.
    No,
}

/// Whether a packet is never filtered.
#[inline(always)]
#[must_use]
pub const fn candidate(packet: &Packet, direction: Direction) -> Candidate {
    if !matches!(packet.fragment, Fragment::Whole) {
        return Candidate::No;
    }
    match packet.family {
        Family::V6 if packet.protocol == ICMPV6 => icmpv6(packet),
        Family::V6 if packet.protocol == UDP => dhcpv6(packet, direction),
        Family::V4 if packet.protocol == UDP => dhcp(packet, direction),
        _ => Candidate::No,
    }
}

#[inline(always)]
const fn icmpv6(packet: &Packet) -> Candidate {
    let (icmp_type, code) = (packet.icmp_type(), packet.icmp_code());
    if icmp_type >= ND_FIRST && icmp_type <= ND_LAST && code == 0 && packet.hop_limit == 255 {
        return Candidate::Yes(Reason::NeighborDiscovery);
    }
    let listener = matches!(icmp_type, MLD_QUERY | MLD_REPORT | MLD_DONE | MLD2_REPORT);
    if listener && packet.hop_limit == 1 && packet.source.is_v6_link_local() {
        return Candidate::Yes(Reason::MulticastListener);
    }
    Candidate::No
}

#[inline(always)]
const fn dhcpv6(packet: &Packet, direction: Direction) -> Candidate {
    let (local_port, remote_port) = ports(packet, direction);
    if local_port == DHCPV6_CLIENT && remote_port == DHCPV6_SERVER && packet.source.is_v6_link_local() {
        return Candidate::Yes(Reason::Dhcp);
    }
    Candidate::No
}

#[inline(always)]
const fn dhcp(packet: &Packet, direction: Direction) -> Candidate {
    let (local_port, remote_port) = ports(packet, direction);
    if local_port != DHCP_CLIENT || remote_port != DHCP_SERVER {
        return Candidate::No;
    }
    let broadcast = packet.destination.0[0] == u32::MAX;
    if matches!(direction, Direction::Egress) && broadcast {
        return Candidate::Yes(Reason::Dhcp);
    }
    Candidate::Dhcp
}

#[inline(always)]
const fn ports(packet: &Packet, direction: Direction) -> (u16, u16) {
    match direction {
        Direction::Ingress => (packet.destination_port, packet.source_port),
        Direction::Egress => (packet.source_port, packet.destination_port),
    }
}

#[cfg(test)]
mod tests;
