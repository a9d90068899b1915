//! Which remotes are exempt: neither filtered nor logged.
//!
//! The seed (VPC guide, `VPC_Security`, 2018) exempts ranges: link-local addresses, and the first four
//! addresses of the subnet. Today's pages (`vpc-security-groups`, `vpc-network-acls`) exempt services
//! instead: Amazon DNS, DHCP, instance metadata, ECS task metadata, Windows activation, Time Sync, and
//! the router's reserved address. `Exemptions` chooses; DHCP is never filtered either way
//! (`filter_common::exempt`), and DNS at the VPC's own address never is either: the base of its
//! primary block plus two, which AWS reserves, lies in the first four addresses of one subnet only.
//!
//! The services' IPv6 addresses belong to the same services, and are exempt with them. The ranges
//! are IPv4's alone: the seed names no others. Of IPv6's routers nothing is exempt: what they do on
//! the link is neighbour discovery.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::model::{Subnet, Vpc};
use crate::policy::Exemptions;

/// Link-local addresses (RFC 3927), which carry the platform's services.
const LINK_LOCAL: &str = "169.254.0.0/16";

/// The platform's services, at the addresses that AWS's guides give them; those of ECS and of Windows
/// activation are what is seen on instances.
const SERVICES: [&str; 9] = [
    // Instance metadata.
    "169.254.169.254",
    "fd00:ec2::254",
    // DNS.
    "169.254.169.253",
    "fd00:ec2::253",
    // Time Sync.
    "169.254.169.123",
    "fd00:ec2::123",
    // ECS task metadata.
    "169.254.170.2",
    // Windows activation.
    "169.254.169.250",
    "169.254.169.251",
];

/// Exempt remotes outside of every subnet.
pub(super) fn platform(exemptions: Exemptions) -> Vec<IpNet> {
    match exemptions {
        Exemptions::Ranges => vec![LINK_LOCAL.parse().expect("a constant block")],
        Exemptions::Services => SERVICES
            .iter()
            .map(|address| address.parse::<IpAddr>().expect("a constant address").into())
            .collect(),
    }
}

/// Exempt remotes in the subnet and in its VPC.
pub(super) fn reserved(exemptions: Exemptions, subnet: &Subnet, vpc: Option<&Vpc>) -> Vec<IpNet> {
    match exemptions {
        Exemptions::Ranges => {
            first_four(subnet).into_iter().chain(vpc.and_then(resolver).map(host)).collect()
        }
        Exemptions::Services => routers(subnet).chain(vpc.and_then(resolver)).map(host).collect(),
    }
}

/// The first four addresses of each IPv4 block of a subnet (VPC guide, `subnet-sizing`).
pub(super) fn first_four(subnet: &Subnet) -> Vec<IpNet> {
    let first_four = |block: Ipv4Net| Ipv4Net::new(block.network(), block.prefix_len().max(30)).ok();
    v4_blocks(subnet).filter_map(first_four).map(IpNet::V4).collect()
}

/// The second address of each of them is the router's.
fn routers(subnet: &Subnet) -> impl Iterator<Item = Ipv4Addr> {
    v4_blocks(subnet).filter_map(|block| nth(block, 1))
}

/// The VPC's DNS server: two above the base of its primary block (VPC guide, `vpc-dns`).
pub(super) fn resolver(vpc: &Vpc) -> Option<Ipv4Addr> {
    let primary = vpc.blocks.iter().find_map(|block| match block {
        IpNet::V4(block) => Some(*block),
        IpNet::V6(_) => None,
    })?;
    nth(primary, 2)
}

fn v4_blocks(subnet: &Subnet) -> impl Iterator<Item = Ipv4Net> {
    subnet.blocks.iter().filter_map(|block| match block.value {
        IpNet::V4(block) => Some(block),
        IpNet::V6(_) => None,
    })
}

fn nth(block: Ipv4Net, number: u32) -> Option<Ipv4Addr> {
    let address = Ipv4Addr::from_bits(block.network().to_bits().checked_add(number)?);
    block.contains(&address).then_some(address)
}

fn host(address: Ipv4Addr) -> IpNet {
    IpNet::from(IpAddr::V4(address))
}
