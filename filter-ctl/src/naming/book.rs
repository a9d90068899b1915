//! A book: the rules of one interface under one generation, as they are kept in a file.
//!
//! What it leaves out changes no name: the interface's own addresses, group names, a rule's
//! position in the document. Two policies with the same book name alike.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use filter_common::{Direction, service::Service, track::IdleTimeouts};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{AclRuleName, Decision, GroupRuleName};
use crate::{
    policy::{EffectivePolicy, Exemptions, Group, GroupRule, Interface, NetworkAcl, Peer, RuleService},
    reference::Reference,
};

/// Version of the files' format.
const VERSION: u32 = 1;

/// A book's file. Lists of addresses stand in it once, however many rules name them.
#[derive(Serialize, Deserialize)]
struct File {
    filter_rules: u32,
    subnet: Vec<IpNet>,
    lists: Vec<Arc<[IpNet]>>,
    groups: Vec<FileGroup>,
    network_acl: NetworkAcl,
}

#[derive(Serialize, Deserialize)]
struct FileGroup {
    id: String,
    ingress: Vec<FileRule>,
    egress: Vec<FileRule>,
}

/// Service, peer, the document's id, description. A tuple: there may be 100,000 of them.
#[derive(Serialize, Deserialize)]
struct FileRule(RuleService, FilePeer, Option<Arc<str>>, Option<Arc<str>>);

#[derive(Serialize, Deserialize)]
enum FilePeer {
    Cidr(IpNet),
    Group(Arc<str>, usize),
    PrefixList(Arc<str>, usize),
}

/// A book's bytes, and what tells them from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    pub(super) bytes: Vec<u8>,
    pub(super) hash: u64,
}

impl Encoded {
    /// The book of a policy.
    #[must_use]
    pub fn of(policy: &EffectivePolicy) -> Self {
        let mut lists = Lists::default();
        let file = File {
            filter_rules: VERSION,
            subnet: policy.subnet.clone(),
            groups: policy.groups.iter().map(|group| lists.group(group)).collect(),
            lists: lists.all,
            network_acl: policy.nacl.clone(),
        };
        // A vector takes every write, and the file has no map.
        let bytes = serde_json::to_vec(&file).unwrap_or_default();
        // Another version of the standard library may hash otherwise: then an apply that changes
        // nothing counts as a change, once.
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self { hash: hasher.finish(), bytes }
    }
}

/// Lists by where they are in memory: rules that name one list share it.
#[derive(Default)]
struct Lists {
    all: Vec<Arc<[IpNet]>>,
    known: HashMap<(*const IpNet, usize), usize>,
}

impl Lists {
    fn group(&mut self, group: &Group) -> FileGroup {
        let mut rules = |rules: &[GroupRule]| rules.iter().map(|rule| self.rule(rule)).collect();
        FileGroup { id: group.id.clone(), ingress: rules(&group.ingress), egress: rules(&group.egress) }
    }

    fn rule(&mut self, rule: &GroupRule) -> FileRule {
        let peer = match &rule.peer {
            Peer::Cidr(prefix) => FilePeer::Cidr(*prefix),
            Peer::Group { id, members } => FilePeer::Group(Arc::clone(id), self.list(members)),
            Peer::PrefixList { id, entries } => FilePeer::PrefixList(Arc::clone(id), self.list(entries)),
        };
        FileRule(rule.service, peer, rule.given_id.clone(), rule.description.clone())
    }

    fn list(&mut self, list: &Arc<[IpNet]>) -> usize {
        *self.known.entry((list.as_ptr(), list.len())).or_insert_with(|| {
            self.all.push(Arc::clone(list));
            self.all.len() - 1
        })
    }
}

/// An open book.
#[derive(Clone, Debug)]
pub struct Book {
    /// Only what decides about rules; the rest says nothing.
    policy: EffectivePolicy,
    acl: Arc<str>,
}

impl Book {
    /// Whether the subnet has IPv6 addresses.
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.policy.subnet.iter().any(|block| block.addr().is_ipv6())
    }

    /// Opens a book; `None` if it is none, or of another version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let file: File = serde_json::from_slice(bytes).ok()?;
        if file.filter_rules != VERSION {
            return None;
        }
        let File { subnet, lists, groups, network_acl, .. } = file;
        let groups: Option<Vec<_>> = groups.into_iter().map(|group| group.open(&lists)).collect();
        let policy = EffectivePolicy {
            interface: Interface::default(),
            subnet,
            exemptions: Exemptions::default(),
            reserved: Vec::new(),
            platform: Vec::new(),
            groups: groups?,
            nacl: network_acl,
            timeouts: IdleTimeouts::default(),
            allowance: None,
            source_dest_check: false,
            strict_tcp: false,
            flow_log_interval: None,
            flow_logs: Vec::new(),
        };
        Some(Self { acl: policy.nacl.id.as_str().into(), policy })
    }

    /// The groups, in the document's order.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.policy.groups
    }

    /// The network ACL.
    #[must_use]
    pub const fn network_acl(&self) -> &NetworkAcl {
        &self.policy.nacl
    }

    /// The network ACL's rule that decides about packets in a direction.
    #[must_use]
    pub fn acl(
        &self,
        direction: Direction,
        remote: std::net::IpAddr,
        service: Service,
    ) -> Decision<AclRuleName> {
        let reference = Reference::new(&self.policy);
        if reference.is_same_subnet(direction, remote) {
            return Decision::NotAsked;
        }
        let number = match reference.nacl_rule(direction, remote, service) {
            Some(rule) => rule.number,
            None => NetworkAcl::star(remote.is_ipv4()),
        };
        Decision::Rule(AclRuleName { acl: Arc::clone(&self.acl), number })
    }

    /// Whether a rule of the network ACL allows; `*` denies.
    #[must_use]
    pub fn allows(&self, direction: Direction, rule: &AclRuleName) -> bool {
        let rules = match direction {
            Direction::Ingress => &self.policy.nacl.ingress,
            Direction::Egress => &self.policy.nacl.egress,
        };
        rules.iter().any(|known| known.number == rule.number && known.allow)
    }

    /// The groups' rule that admits packets in a direction: the first that matches.
    #[must_use]
    pub fn group_rule(
        &self,
        direction: Direction,
        remote: std::net::IpAddr,
        service: Service,
    ) -> Decision<GroupRuleName> {
        match Reference::new(&self.policy).group_rules(direction, remote, service).next() {
            Some((group, rule)) => Decision::Rule(GroupRuleName {
                group: group.id.as_str().into(),
                id: group.rule_id(direction, rule).into(),
            }),
            None => Decision::NoRule,
        }
    }
}

impl FileGroup {
    fn open(self, lists: &[Arc<[IpNet]>]) -> Option<Group> {
        let rules = |rules: Vec<FileRule>| rules.into_iter().map(|rule| rule.open(lists)).collect();
        let (ingress, egress): (Option<Vec<_>>, Option<Vec<_>>) = (rules(self.ingress), rules(self.egress));
        Some(Group { id: self.id, name: String::new(), ingress: ingress?, egress: egress? })
    }
}

impl FileRule {
    fn open(self, lists: &[Arc<[IpNet]>]) -> Option<GroupRule> {
        let Self(service, peer, given_id, description) = self;
        let peer = match peer {
            FilePeer::Cidr(prefix) => Peer::Cidr(prefix),
            FilePeer::Group(id, list) => Peer::Group { id, members: Arc::clone(lists.get(list)?) },
            FilePeer::PrefixList(id, list) => Peer::PrefixList { id, entries: Arc::clone(lists.get(list)?) },
        };
        Some(GroupRule { given_id, description, ..GroupRule::new(service, peer) })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::policy::NetworkAclRule;

    pub(crate) fn net(text: &str) -> IpNet {
        text.parse().expect("a block")
    }

    /// SSH from an office, HTTPS from a list, everything to everywhere; the network ACL denies one host.
    pub(crate) fn policy() -> EffectivePolicy {
        let list: Arc<[IpNet]> = [net("203.0.113.0/24"), net("2001:db8:9::/48")].into();
        let in_list = |service| {
            GroupRule::new(service, Peer::PrefixList { id: "pl-1".into(), entries: Arc::clone(&list) })
        };
        let cidr = |service, prefix| GroupRule::new(service, Peer::Cidr(net(prefix)));
        let acl = |number, allow, prefix| NetworkAclRule {
            number,
            allow,
            service: RuleService::All,
            prefix: net(prefix),
        };
        EffectivePolicy {
            interface: Interface::default(),
            subnet: vec![net("10.0.1.0/24")],
            exemptions: Exemptions::default(),
            reserved: Vec::new(),
            platform: Vec::new(),
            groups: vec![
                Group {
                    id: "sg-1".into(),
                    name: "web".into(),
                    ingress: vec![
                        GroupRule {
                            description: Some("office".into()),
                            ..cidr(RuleService::Tcp(22, 22), "198.51.100.0/24")
                        },
                        in_list(RuleService::Tcp(443, 443)),
                        in_list(RuleService::Icmp(Some(8), None)),
                    ],
                    egress: vec![cidr(RuleService::All, "0.0.0.0/0")],
                },
                Group {
                    id: "sg-2".into(),
                    name: "all".into(),
                    ingress: vec![GroupRule {
                        given_id: Some("sgr-given".into()),
                        ..cidr(RuleService::Tcp(0, 1023), "198.51.100.0/24")
                    }],
                    egress: Vec::new(),
                },
            ],
            nacl: NetworkAcl {
                id: "acl-1".into(),
                ingress: vec![acl(90, false, "198.51.100.9/32"), acl(100, true, "0.0.0.0/0")],
                egress: vec![acl(110, true, "0.0.0.0/0")],
            },
            timeouts: IdleTimeouts::default(),
            allowance: None,
            source_dest_check: false,
            strict_tcp: false,
            flow_log_interval: Some(60),
            flow_logs: Vec::new(),
        }
    }

    pub(crate) fn book(policy: &EffectivePolicy) -> Book {
        Book::decode(&Encoded::of(policy).bytes).expect("a book")
    }

    #[test]
    fn a_book_says_what_its_policy_says() {
        let policy = policy();
        let book = Book::decode(&Encoded::of(&policy).bytes).expect("a book");
        assert_eq!(book.network_acl(), &policy.nacl);
        for (known, group) in book.groups().iter().zip(&policy.groups) {
            assert_eq!((&known.ingress, &known.egress), (&group.ingress, &group.egress));
        }
        let ask = |remote: &str, port| {
            let remote: IpAddr = remote.parse().expect("an address");
            let service = Service::new(6, port);
            let acl = book.acl(Direction::Ingress, remote, service).rule().map(|rule| rule.number);
            let group = book.group_rule(Direction::Ingress, remote, service);
            (acl, group.rule().map(|rule| rule.id.to_string()))
        };
        let id = |group: usize, rule: usize| {
            let group = &policy.groups[group];
            Some(group.rule_id(Direction::Ingress, &group.ingress[rule]))
        };
        assert_eq!(ask("198.51.100.7", 22), (Some(100), id(0, 0)), "the first of two that match");
        assert_eq!(ask("198.51.100.9", 80), (Some(90), Some("sgr-given".into())));
        assert_eq!(ask("203.0.113.1", 443), (Some(100), id(0, 1)));
        assert_eq!(ask("203.0.113.1", 444), (Some(100), None));
        assert_eq!(ask("2001:db8:9::1", 443), (Some(32_768), id(0, 1)));
        assert_eq!(ask("10.0.1.30", 443), (None, None), "the own subnet");
    }

    #[test]
    fn lists_stand_in_a_book_once() {
        let text = String::from_utf8(Encoded::of(&policy()).bytes).expect("text");
        assert_eq!(text.matches("2001:db8:9::/48").count(), 1, "{text}");
    }

    #[test]
    fn only_what_names_changes_a_book() {
        let known = Encoded::of(&policy());
        let mut same = policy();
        same.flow_log_interval = None;
        same.groups[0].name = "renamed".into();
        same.groups[0].ingress[0].position = crate::policy::Position::Nested(7, 8);
        assert_eq!(Encoded::of(&same), known);
        let mut reordered = policy();
        reordered.groups.swap(0, 1);
        let mut described = policy();
        described.groups[0].ingress[0].description = None;
        for other in [reordered, described] {
            assert_ne!(Encoded::of(&other), known);
        }
    }

    #[test]
    fn what_is_no_book_is_not_opened() {
        for text in ["", "{}", "[1]"] {
            assert!(Book::decode(text.as_bytes()).is_none(), "{text}");
        }
        let text = String::from_utf8(Encoded::of(&policy()).bytes).expect("text");
        assert!(Book::decode(text.replace("\"filter_rules\":1", "\"filter_rules\":2").as_bytes()).is_none());
        assert!(Book::decode(text.replace("[\"pl-1\",0]", "[\"pl-1\",7]").as_bytes()).is_none());
    }
}
