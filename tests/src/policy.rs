//! Policy documents for the lab, written as a test thinks of them.
//!
//! A [`Policy`] starts with one interface in one group that allows nothing, below a network ACL
//! that allows everything; a test adds what it is about. It renders to the shapes of the EC2 API.

use serde_json::{Value, json};

/// The protected interface.
pub const ENI: &str = "eni-0a1b2c3d4e5f60718";
/// The neighbour in the same subnet.
pub const NEIGHBOUR_ENI: &str = "eni-0a1b2c3d4e5f60730";
/// Its account.
pub const ACCOUNT: &str = "111122223333";
/// Its first security group.
pub const GROUP: &str = "sg-0aaaaaaaaaaaaaaa1";
/// The group that a test may put the neighbour into.
pub const OTHER_GROUP: &str = "sg-0bbbbbbbbbbbbbbb2";
/// Its prefix list.
pub const PREFIX_LIST: &str = "pl-0cccccccccccccccc";

const VPC: &str = "vpc-0123456789abcdef0";
const SUBNET: &str = "subnet-0123456789abcdef0";
const NACL: &str = "acl-0123456789abcdef0";

/// Every IPv4 address.
pub const ANY4: &str = "0.0.0.0/0";
/// Every IPv6 address.
pub const ANY6: &str = "::/0";

/// A document in the making.
#[derive(Clone, Debug)]
pub struct Policy {
    ingress: Vec<Value>,
    other_ingress: Vec<Value>,
    egress: Vec<Value>,
    entries: Vec<Value>,
    flow_logs: Vec<Value>,
    prefix_list: Vec<Value>,
    neighbour_groups: Vec<&'static str>,
    interface: Value,
    exemptions: Option<&'static str>,
    default_group: bool,
    default_egress: bool,
    default_acl: bool,
}

impl Policy {
    /// Nothing is allowed by the group, everything by the network ACL; nothing is logged.
    #[must_use]
    pub fn new() -> Self {
        let policy = Self {
            ingress: Vec::new(),
            other_ingress: Vec::new(),
            egress: Vec::new(),
            entries: Vec::new(),
            flow_logs: Vec::new(),
            prefix_list: Vec::new(),
            neighbour_groups: vec![OTHER_GROUP],
            interface: json!({}),
            exemptions: None,
            default_group: false,
            default_egress: false,
            default_acl: false,
        };
        [ANY4, ANY6].iter().zip([30_000, 30_001]).fold(policy, |policy, (prefix, number)| {
            policy.acl_in(number, "allow", "-1", prefix).acl_out(number, "allow", "-1", prefix)
        })
    }

    /// Everything is allowed both ways, and tracked only where it always is (ICMP).
    #[must_use]
    pub fn open() -> Self {
        Self::new().allow_in("-1", ANY4).allow_in("-1", ANY6).allow_out("-1", ANY4).allow_out("-1", ANY6)
    }

    /// Lets the group allow a service in: `tcp 80`, `udp 5000-5100`, `icmp 8`, `icmp 3/4`, `47`,
    /// `47 1-2` (ports that nobody asks for), `-1`, from a CIDR block, a group (`sg-…`) or a prefix
    /// list (`pl-…`).
    #[must_use]
    pub fn allow_in(mut self, service: &str, peer: &str) -> Self {
        self.ingress.push(permission(service, peer));
        self
    }

    /// The same for the way out.
    #[must_use]
    pub fn allow_out(mut self, service: &str, peer: &str) -> Self {
        self.egress.push(permission(service, peer));
        self
    }

    /// Puts the interface into [`OTHER_GROUP`], too, and lets that group allow a service in.
    #[must_use]
    pub fn other_group_allows_in(mut self, service: &str, peer: &str) -> Self {
        self.other_ingress.push(permission(service, peer));
        self.interface_field("Groups", json!([{ "GroupId": GROUP }, { "GroupId": OTHER_GROUP }]))
    }

    /// Adds many rules that allow one TCP port each from one host each: `10.B.C.D/32`.
    #[must_use]
    pub fn many(mut self, count: u32) -> Self {
        self.ingress.extend((0..count).map(|number| {
            let [_, second, third, fourth] = number.to_be_bytes();
            let host = format!("10.{}.{third}.{fourth}/32", 100 + second);
            permission(&format!("tcp {}", 1024 + number % 50_000), &host)
        }));
        self
    }

    /// Adds a numbered entry to the network ACL's way in.
    #[must_use]
    pub fn acl_in(self, number: u16, action: &str, service: &str, prefix: &str) -> Self {
        self.entry(number, false, action, service, prefix)
    }

    /// Adds a numbered entry to the network ACL's way out.
    #[must_use]
    pub fn acl_out(self, number: u16, action: &str, service: &str, prefix: &str) -> Self {
        self.entry(number, true, action, service, prefix)
    }

    /// Takes every numbered entry out of the network ACL: what is left is as good as a new one.
    #[must_use]
    pub fn acl_of_nothing(mut self) -> Self {
        self.entries.clear();
        self
    }

    /// Leaves the network ACL out of the document: the subnet has its VPC's default one.
    #[must_use]
    pub fn default_acl(mut self) -> Self {
        self.default_acl = true;
        self
    }

    /// Says nothing of the group's way out: it is that of a new group.
    #[must_use]
    pub fn default_egress(mut self) -> Self {
        self.default_egress = true;
        self
    }

    /// Names no groups: interface and neighbour are in their VPC's default group.
    #[must_use]
    pub fn in_default_group(mut self) -> Self {
        self.default_group = true;
        self
    }

    /// Logs `ALL`, `ACCEPT` or `REJECT` traffic of the interface, in intervals of a minute.
    #[must_use]
    pub fn log(self, traffic: &str) -> Self {
        self.log_of(ENI, traffic)
    }

    /// Logs the traffic of every interface in the subnet.
    #[must_use]
    pub fn log_subnet(self, traffic: &str) -> Self {
        self.log_of(SUBNET, traffic)
    }

    /// Adds a flow log of the interface, in intervals of a minute, with further fields or other values.
    ///
    /// # Panics
    ///
    /// When they are no object.
    #[must_use]
    pub fn flow_log(self, fields: Value) -> Self {
        let mut policy = self.log_of(ENI, "ALL");
        let log = policy.flow_logs.last_mut().expect("the one that was just added");
        for (name, value) in fields.as_object().expect("an object") {
            log[name] = value.clone();
        }
        policy
    }

    fn log_of(mut self, resource: &str, traffic: &str) -> Self {
        self.flow_logs.push(json!({
            "FlowLogId": format!("fl-0123456789abcde{:02}", self.flow_logs.len()),
            "ResourceId": resource,
            "TrafficType": traffic,
            "MaxAggregationInterval": 60,
        }));
        self
    }

    /// Adds an entry to the prefix list [`PREFIX_LIST`].
    #[must_use]
    pub fn prefix_list_entry(mut self, prefix: &str) -> Self {
        self.prefix_list.push(json!({ "Cidr": prefix }));
        self
    }

    /// Puts the neighbour into these groups.
    #[must_use]
    pub fn neighbour_in(mut self, groups: &[&'static str]) -> Self {
        self.neighbour_groups = groups.to_vec();
        self
    }

    /// Sets a field of the interface, such as `ConnectionTrackingSpecification`.
    #[must_use]
    pub fn interface_field(mut self, name: &str, value: Value) -> Self {
        self.interface[name] = value;
        self
    }

    /// Says what is exempt: `ranges` or `services`.
    #[must_use]
    pub fn exempt(mut self, exemptions: &'static str) -> Self {
        self.exemptions = Some(exemptions);
        self
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> Value {
        let mut interface = interface(ENI, "10.0.1.20", "2001:db8:0:1::20", &[GROUP]);
        for (name, value) in self.interface.as_object().into_iter().flatten() {
            interface[name] = value.clone();
        }
        let mut neighbour = interface_of_neighbour(&self.neighbour_groups);
        let mut own_group = group(GROUP, "web", &self.ingress, &self.egress);
        for (is_default, object, field) in [
            (self.default_group, &mut interface, "Groups"),
            (self.default_group, &mut neighbour, "Groups"),
            (self.default_egress, &mut own_group, "IpPermissionsEgress"),
        ] {
            if let Some(object) = object.as_object_mut().filter(|_| is_default) {
                let _ = object.remove(field);
            }
        }
        let mut document = json!({
            "Vpcs": [{
                "VpcId": VPC, "OwnerId": ACCOUNT, "CidrBlock": "10.0.0.0/16",
                "Ipv6CidrBlockAssociationSet": [{ "Ipv6CidrBlock": "2001:db8::/56" }],
            }],
            "Subnets": [{
                "SubnetId": SUBNET, "VpcId": VPC, "OwnerId": ACCOUNT, "CidrBlock": "10.0.1.0/24",
                "Ipv6CidrBlockAssociationSet": [{ "Ipv6CidrBlock": "2001:db8:0:1::/64" }],
            }],
            "NetworkInterfaces": [interface, neighbour],
            "SecurityGroups": [own_group, group(OTHER_GROUP, "other", &self.other_ingress, &[])],
            "NetworkAcls": [{
                "NetworkAclId": NACL, "VpcId": VPC, "OwnerId": ACCOUNT, "IsDefault": false,
                "Associations": [{
                    "NetworkAclAssociationId": "aclassoc-0123456789abcdef0",
                    "NetworkAclId": NACL, "SubnetId": SUBNET,
                }],
                "Entries": self.entries,
            }],
        });
        if let Some(exemptions) = self.exemptions {
            document["Exemptions"] = json!(exemptions);
        }
        if self.default_acl {
            document["NetworkAcls"] = json!([]);
        }
        if !self.flow_logs.is_empty() {
            document["FlowLogs"] = json!(self.flow_logs);
        }
        if !self.prefix_list.is_empty() {
            document["ManagedPrefixLists"] = json!([{
                "PrefixListId": PREFIX_LIST, "PrefixListName": "partners", "AddressFamily": "IPv4",
                "MaxEntries": self.prefix_list.len(), "Entries": self.prefix_list,
            }]);
        }
        document
    }

    fn entry(mut self, number: u16, egress: bool, action: &str, service: &str, prefix: &str) -> Self {
        let (name, range) = service.split_once(' ').unwrap_or((service, ""));
        let protocol = match name {
            "tcp" => "6",
            "udp" => "17",
            "icmp" => "1",
            "icmpv6" => "58",
            other => other,
        };
        let family = if prefix.contains(':') { "Ipv6CidrBlock" } else { "CidrBlock" };
        let mut entry = json!({
            "RuleNumber": number, "Egress": egress, "RuleAction": action, "Protocol": protocol,
            family: prefix,
        });
        match name {
            "tcp" | "udp" => {
                let (from, to) = ports(range);
                entry["PortRange"] = json!({ "From": from, "To": to });
            }
            "icmp" | "icmpv6" => {
                let (kind, code) = type_and_code(range);
                entry["IcmpTypeCode"] = json!({ "Type": kind, "Code": code });
            }
            _ if range.is_empty() => {}
            _ => {
                let (from, to) = ports(range);
                entry["PortRange"] = json!({ "From": from, "To": to });
            }
        }
        self.entries.push(entry);
        self
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::new()
    }
}

fn interface_of_neighbour(groups: &[&str]) -> Value {
    interface(NEIGHBOUR_ENI, "10.0.1.30", "2001:db8:0:1::30", groups)
}

fn interface(id: &str, v4: &str, v6: &str, groups: &[&str]) -> Value {
    let groups: Vec<_> = groups.iter().map(|id| json!({ "GroupId": id })).collect();
    json!({
        "NetworkInterfaceId": id, "OwnerId": ACCOUNT, "VpcId": VPC, "SubnetId": SUBNET,
        "PrivateIpAddress": v4,
        "PrivateIpAddresses": [{ "Primary": true, "PrivateIpAddress": v4 }],
        "Ipv6Addresses": [{ "Ipv6Address": v6 }],
        "Groups": groups,
    })
}

fn group(id: &str, name: &str, ingress: &[Value], egress: &[Value]) -> Value {
    json!({
        "GroupId": id, "GroupName": name, "Description": name, "OwnerId": ACCOUNT, "VpcId": VPC,
        "IpPermissions": ingress, "IpPermissionsEgress": egress,
    })
}

/// One element of `IpPermissions`.
fn permission(service: &str, peer: &str) -> Value {
    let (protocol, range) = service.split_once(' ').unwrap_or((service, ""));
    let mut permission = json!({ "IpProtocol": protocol });
    let bounds = match protocol {
        "tcp" | "udp" => Some(ports(range)),
        "icmp" | "icmpv6" => Some(type_and_code(range)),
        _ if range.is_empty() => None,
        _ => Some(ports(range)),
    };
    if let Some((from, to)) = bounds {
        permission["FromPort"] = json!(from);
        permission["ToPort"] = json!(to);
    }
    let (list, element) = match peer {
        group if group.starts_with("sg-") => ("UserIdGroupPairs", json!({ "GroupId": group })),
        list if list.starts_with("pl-") => ("PrefixListIds", json!({ "PrefixListId": list })),
        v6 if v6.contains(':') => ("Ipv6Ranges", json!({ "CidrIpv6": v6 })),
        v4 => ("IpRanges", json!({ "CidrIp": v4 })),
    };
    permission[list] = json!([element]);
    permission
}

/// `80`, `5000-5100`, or nothing for all ports.
fn ports(range: &str) -> (i32, i32) {
    match range.split_once('-') {
        _ if range.is_empty() => (0, 65_535),
        Some((from, to)) => (number(from), number(to)),
        None => (number(range), number(range)),
    }
}

/// `8`, `3/4`, or nothing for all types.
fn type_and_code(range: &str) -> (i32, i32) {
    match range.split_once('/') {
        _ if range.is_empty() => (-1, -1),
        Some((kind, code)) => (number(kind), number(code)),
        None => (number(range), -1),
    }
}

fn number(text: &str) -> i32 {
    text.parse().unwrap_or_else(|_| panic!("not a number in a rule: {text:?}"))
}
