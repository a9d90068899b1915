//! The same rules in each contender's language.
//!
//! Rule `i` lets UDP from `10.0.0.0/25 + i × 128` to port `1000 + i % 50` in; what no rule lets in
//! is dropped. Measured are packets from anywhere in 10.0.0.0/8 to a port that no rule names, so
//! that all of them are dropped by all of the rules.

use std::fmt::Write;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::sender::Traffic;
use super::stage::WORKLOAD;
use crate::lab::DEVICE;

/// What every contender drops.
pub(super) const DROPPED: Traffic =
    Traffic { source: Ipv4Addr::new(10, 0, 0, 0), mask: 0x00ff_ffff, in_order: false, port: 9 };

/// The flows that are established, each from an address of its own.
pub(super) const FLOWS: Traffic =
    Traffic { source: Ipv4Addr::new(172, 16, 0, 0), mask: 0xffff, in_order: false, port: 2000 };

/// A rule: who may send to which UDP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) prefix: Ipv4Addr,
    length: u8,
    pub(super) port: u16,
}

impl Rule {
    /// A host of the prefix.
    pub(super) fn host(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.prefix.to_bits() + 1)
    }
}

/// The rules of one measurement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// How many; at most 131,072, as many as 10.0.0.0/8 has prefixes of their length.
    pub(super) count: u32,
    /// And one for [`FLOWS`].
    pub(super) flows: bool,
}

/// Where nftables looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// `ingress` of the device.
    Netdev,
    /// `prerouting` of IPv4.
    Prerouting,
}

/// How nftables looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// One rule after the other.
    Linear,
    /// In a set of address and port.
    Set,
    /// In a map of address and port to the verdict.
    Map,
}

/// The name of nftables' table, and of the sets.
pub(super) const TABLE: &str = "bench";

impl Rules {
    pub(super) fn rule(number: u32) -> Rule {
        let prefix = Ipv4Addr::from_bits(DROPPED.source.to_bits() + number * 128);
        Rule { prefix, length: 25, port: 1000 + (number % 50) as u16 }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Rule> {
        let flows = Rule { prefix: FLOWS.source, length: 16, port: FLOWS.port };
        (0..self.count).map(Self::rule).chain(self.flows.then_some(flows))
    }

    /// For `nft -f`. With `conntrack`, established flows pass first, and a counter behind that
    /// counts what is left.
    pub(super) fn nftables(self, hook: Hook, style: Style, conntrack: bool) -> String {
        let (family, place) = match hook {
            Hook::Netdev => ("netdev", format!("ingress device \"{DEVICE}\" priority 0")),
            // Behind connection tracking, or before anything else.
            Hook::Prerouting if conntrack => ("ip", "prerouting priority -150".to_owned()),
            Hook::Prerouting => ("ip", "prerouting priority -300".to_owned()),
        };
        let (kind, verdict) = match style {
            Style::Linear => ("", ""),
            Style::Set => ("set", ""),
            Style::Map => ("map", " : verdict"),
        };
        let mut text = format!("table {family} {TABLE} {{\n");
        if style != Style::Linear {
            text += &format!(
                "{kind} allowed {{ type ipv4_addr . inet_service{verdict}; flags interval; elements = {{\n"
            );
            let accept = if style == Style::Map { " : accept" } else { "" };
            for Rule { prefix, length, port } in self.iter() {
                let _ = writeln!(text, "{prefix}/{length} . {port}{accept},");
            }
            text += "} }\n";
        }
        text += &format!("chain receive {{ type filter hook {place}; policy drop;\n");
        if conntrack {
            text += "ct state established accept\ncounter\n";
        }
        match style {
            Style::Linear => {
                for Rule { prefix, length, port } in self.iter() {
                    let _ = writeln!(text, "ip saddr {prefix}/{length} udp dport {port} accept");
                }
            }
            Style::Set => text += "ip saddr . udp dport @allowed accept\n",
            Style::Map => text += "ip saddr . udp dport vmap @allowed\n",
        }
        text + "}\n}\n"
    }

    /// For `iptables-restore`: in the table that comes before connection tracking.
    pub(super) fn iptables(self) -> String {
        let mut text = "*raw\n:PREROUTING DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n".to_owned();
        for Rule { prefix, length, port } in self.iter() {
            let _ = writeln!(text, "-A PREROUTING -s {prefix}/{length} -p udp --dport {port} -j ACCEPT");
        }
        text + "COMMIT\n"
    }

    /// For `ipset restore`, and the one rule for `iptables-restore` that asks it.
    pub(super) fn ipset(self) -> [String; 2] {
        let room = self.count.next_power_of_two().max(1 << 10);
        let mut set = format!("create {TABLE} hash:net,port maxelem {room} hashsize {room}\n");
        for Rule { prefix, length, port } in self.iter() {
            let _ = writeln!(set, "add {TABLE} {prefix}/{length},udp:{port}");
        }
        let table = format!(
            "*raw\n:PREROUTING DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n-A PREROUTING -m set --match-set {TABLE} src,dst -j ACCEPT\nCOMMIT\n"
        );
        [set, table]
    }

    /// A policy document: one security group with these rules, open on the way out, below a
    /// network ACL that lets everything through.
    pub(super) fn document(self) -> Value {
        let mut permissions: Vec<Value> = Vec::new();
        let mut of_port = std::collections::BTreeMap::new();
        for Rule { prefix, length, port } in self.iter() {
            let at = *of_port.entry(port).or_insert_with(|| {
                permissions
                    .push(json!({ "IpProtocol": "udp", "FromPort": port, "ToPort": port, "IpRanges": [] }));
                permissions.len() - 1
            });
            if let Some(ranges) = permissions[at]["IpRanges"].as_array_mut() {
                ranges.push(json!({ "CidrIp": format!("{prefix}/{length}") }));
            }
        }
        let everything = |egress: bool| {
            json!({ "RuleNumber": 100, "Egress": egress, "RuleAction": "allow", "Protocol": "-1",
                    "CidrBlock": "0.0.0.0/0" })
        };
        json!({
            "Vpcs": [{ "VpcId": "vpc-bench", "CidrBlock": "192.0.2.0/24" }],
            "Subnets": [{ "SubnetId": "subnet-bench", "CidrBlock": "192.0.2.0/24" }],
            "NetworkInterfaces": [{
                "NetworkInterfaceId": "eni-bench", "SubnetId": "subnet-bench",
                "PrivateIpAddress": WORKLOAD, "Groups": [{ "GroupId": "sg-bench" }],
            }],
            "SecurityGroups": [{
                "GroupId": "sg-bench", "GroupName": "bench", "Description": "bench",
                "IpPermissions": permissions,
                "IpPermissionsEgress": [{ "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }] }],
            }],
            "NetworkAcls": [{
                "NetworkAclId": "acl-bench", "Associations": [{ "SubnetId": "subnet-bench" }],
                "Entries": [everything(false), everything(true)],
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{FLOWS, Hook, Rules, Style};

    const THREE: Rules = Rules { count: 3, flows: false };

    #[test]
    fn each_language_has_every_rule() {
        let languages = [
            THREE.nftables(Hook::Netdev, Style::Linear, false),
            THREE.nftables(Hook::Prerouting, Style::Map, true),
            THREE.iptables(),
            THREE.ipset()[0].clone(),
            THREE.document().to_string(),
        ];
        for text in languages {
            for (prefix, port) in
                [("10.0.0.0/25", "1000"), ("10.0.0.128/25", "1001"), ("10.0.1.0/25", "1002")]
            {
                assert!(text.contains(prefix) && text.contains(port), "no {prefix} {port} in {text}");
            }
        }
    }

    #[test]
    fn nftables_looks_in_a_map() {
        let expected = "table ip bench {\n\
            map allowed { type ipv4_addr . inet_service : verdict; flags interval; elements = {\n\
            10.0.0.0/25 . 1000 : accept,\n\
            } }\n\
            chain receive { type filter hook prerouting priority -150; policy drop;\n\
            ct state established accept\n\
            counter\n\
            ip saddr . udp dport vmap @allowed\n\
            }\n}\n";
        let one = Rules { count: 1, flows: false };
        assert_eq!(one.nftables(Hook::Prerouting, Style::Map, true), expected);
    }

    #[test]
    fn the_rule_for_the_flows_comes_on_top() {
        let last = Rules { count: 3, flows: true }.iter().last();
        assert_eq!(last.map(|rule| (rule.prefix, rule.port)), Some((FLOWS.source, FLOWS.port)));
    }

    #[test]
    fn rules_of_one_port_are_one_permission() {
        let document = Rules { count: 100, flows: false }.document();
        let permissions = document["SecurityGroups"][0]["IpPermissions"].as_array().expect("a list");
        assert_eq!(permissions.len(), 50);
        assert_eq!(permissions[49]["IpRanges"][1]["CidrIp"], "10.0.49.128/25");
    }
}
