//! Inbound rules that open sensitive ports to the world.
//!
//! "The world" is a block so large that no organization has it: the whole of a family, a half or a
//! quarter of IPv4 (`0.0.0.0/0` to `/2`), or all of IPv6's global unicast addresses (`2000::/3`, RFC
//! 4291, 2.4) and what holds them. The entries of a prefix list count, too, and so do several blocks
//! that make the world together, in one rule or in rules for the same ports.

use std::collections::{BTreeMap, HashMap, HashSet};

use filter_common::{
    Direction,
    service::{TCP, UDP},
};
use ipnet::{IpNet, Ipv6Net};

use super::{About, Finding, Subject, services::Services};
use crate::{
    document::Severity,
    policy::{Peer, RuleService},
};

/// Ports whose services are made for administrators, or for one's own network. `docs/lints.md`
/// lists them, too.
pub(super) const SENSITIVE: &[(u8, u16, &str)] = &[
    (TCP, 20, "FTP data"),
    (TCP, 21, "FTP"),
    (TCP, 22, "SSH"),
    (TCP, 23, "Telnet"),
    (UDP, 69, "TFTP"),
    (TCP, 111, "rpcbind"),
    (UDP, 111, "rpcbind"),
    (TCP, 135, "Windows RPC"),
    (UDP, 137, "NetBIOS"),
    (UDP, 138, "NetBIOS"),
    (TCP, 139, "NetBIOS"),
    (UDP, 161, "SNMP"),
    (TCP, 389, "LDAP"),
    (UDP, 389, "LDAP"),
    (TCP, 445, "SMB"),
    (TCP, 512, "rexec"),
    (TCP, 513, "rlogin"),
    (TCP, 514, "rsh"),
    (UDP, 623, "IPMI"),
    (TCP, 873, "rsync"),
    (TCP, 1433, "SQL Server"),
    (UDP, 1434, "SQL Server browser"),
    (TCP, 1521, "Oracle"),
    (UDP, 1900, "SSDP"),
    (TCP, 2049, "NFS"),
    (TCP, 2181, "ZooKeeper"),
    (TCP, 2375, "Docker"),
    (TCP, 2376, "Docker"),
    (TCP, 2379, "etcd"),
    (TCP, 2380, "etcd"),
    (TCP, 3306, "MySQL"),
    (TCP, 3389, "RDP"),
    (UDP, 3389, "RDP"),
    (TCP, 5432, "PostgreSQL"),
    (TCP, 5601, "Kibana"),
    (TCP, 5900, "VNC"),
    (TCP, 5985, "WinRM"),
    (TCP, 5986, "WinRM"),
    (TCP, 6379, "Redis"),
    (TCP, 6443, "Kubernetes API"),
    (TCP, 7000, "Cassandra"),
    (TCP, 8500, "Consul"),
    (TCP, 9042, "Cassandra"),
    (TCP, 9092, "Kafka"),
    (TCP, 9200, "Elasticsearch"),
    (TCP, 9300, "Elasticsearch"),
    (TCP, 10250, "kubelet"),
    (TCP, 11211, "memcached"),
    (UDP, 11211, "memcached"),
    (TCP, 27017, "MongoDB"),
    (TCP, 27018, "MongoDB"),
    (TCP, 27019, "MongoDB"),
];

/// Ports that a message names; of more it tells how many.
const NAMED: usize = 3;

const GLOBAL_UNICAST: Ipv6Net = Ipv6Net::new_assert(std::net::Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Blocks longer than these are not put together: nobody writes the world in so many.
const PIECES: [u8; 2] = [8, 12];

pub(super) fn lint(subject: &Subject) -> Vec<Finding> {
    let mut found = Vec::new();
    for (position, group) in subject.groups.iter().enumerate() {
        let mut alike: BTreeMap<usize, Vec<IpNet>> = BTreeMap::new();
        let mut first: HashMap<RuleService, usize> = HashMap::new();
        let mut told: HashSet<(RuleService, bool)> = HashSet::new();
        for (number, rule) in group.ingress.iter().enumerate() {
            let Some(what) = opened(rule.service) else { continue };
            let pieces = rule.peer.prefixes().iter().filter(is_piece).copied().collect();
            let Some(block) = world(&pieces) else {
                alike.entry(*first.entry(rule.service).or_insert(number)).or_default().extend(pieces);
                continue;
            };
            told.insert((rule.service, block.addr().is_ipv6()));
            let list = match &rule.peer {
                Peer::PrefixList { id, .. } if rule.peer.prefixes().contains(&block) => {
                    format!(", an entry of {id}")
                }
                _ => String::new(),
            };
            let message = format!(
                "ingress rule {} {} of {} opens {what} to {}{list}",
                rule.service,
                rule.peer,
                group.id,
                in_words(block)
            );
            found.push(finding(position, number, message));
        }
        // What none opens to the world by itself, several may together.
        for (number, pieces) in alike {
            let service = group.ingress[number].service;
            let Some((block, what)) = world(&pieces).zip(opened(service)) else { continue };
            if !told.contains(&(service, block.addr().is_ipv6())) {
                let message = format!(
                    "ingress rules {service} of {} together open {what} to {}",
                    group.id,
                    in_words(block)
                );
                found.push(finding(position, number, message));
            }
        }
    }
    found
}

fn finding(group: usize, rule: usize, message: String) -> Finding {
    Finding {
        id: "open-to-world",
        severity: Severity::Warning,
        about: About::GroupRule(group, Direction::Ingress, rule),
        message,
        help: "name the addresses that need it, or a group or prefix list of them",
    }
}

fn is_piece(block: &&IpNet) -> bool {
    block.prefix_len() <= PIECES[usize::from(block.addr().is_ipv6())]
}

/// The block of some blocks' union that is the world, or nearly.
fn world(pieces: &Vec<IpNet>) -> Option<IpNet> {
    let is_world = |block: &IpNet| match block {
        IpNet::V4(block) => block.prefix_len() <= 2,
        IpNet::V6(block) => block.contains(&GLOBAL_UNICAST),
    };
    IpNet::aggregate(pieces).into_iter().find(is_world)
}

fn in_words(block: IpNet) -> String {
    let family = if block.addr().is_ipv4() { "IPv4" } else { "IPv6" };
    match block.prefix_len() {
        0 => format!("the whole {family} internet"),
        _ => format!("{block}, a large part of the {family} internet"),
    }
}

/// The sensitive ports of a rule in words.
fn opened(service: RuleService) -> Option<String> {
    let services = Services::of(service);
    let has = |(protocol, port, _): &&(u8, u16, &str)| services.has_port(*protocol, *port);
    let ports: Vec<&(u8, u16, &str)> = SENSITIVE.iter().filter(has).collect();
    let named = |(protocol, port, name): &(u8, u16, &str)| {
        format!("{name} ({} {port})", if *protocol == TCP { "tcp" } else { "udp" })
    };
    match ports.as_slice() {
        [] => None,
        _ if service == RuleService::All => Some("every port of every protocol".to_owned()),
        [first, .., last] if ports.len() > NAMED => {
            Some(format!("{} sensitive ports, from {} to {}", ports.len(), named(first), named(last)))
        }
        few => {
            let names: Vec<String> = few.iter().map(|port| named(port)).collect();
            Some(names.join(", "))
        }
    }
}
