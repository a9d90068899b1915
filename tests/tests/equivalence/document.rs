//! The facts as files in the shapes of the EC2 API.

use std::{fs, path::Path};

use filter_common::Direction;
use filter_ctl::{
    document::{self, Limits},
    policy::EffectivePolicy,
};
use ipnet::IpNet;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::facts::{ENI, Fact, OTHER_SUBNET, Peer, SUBNET, Service, World};

const VPC: &str = "vpc-0123456789abcdef0";
/// The last interface is in the other subnet.
const OUTSIDER: usize = 3;
/// The lists of which a folder has files of their own.
const LIST_FILE: usize = 2;

/// How a document lies on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    /// JSON is YAML; read by the other parser.
    Yaml,
    /// As the AWS CLI's output is saved.
    Folder,
}

/// Loads what the facts say, through files, as a user's document.
pub(crate) fn load(world: &World<'_>, form: Form) -> Result<EffectivePolicy, String> {
    let folder = TempDir::new().expect("a folder");
    let path = write(world, form, folder.path());
    let loaded = document::load(&path, &Limits::None).map_err(|errors| errors.render(false))?;
    let effective = loaded.document.effective(&interface_id(ENI));
    effective.map(|(policy, _)| policy).map_err(|errors| errors.render(false))
}

fn write(world: &World<'_>, form: Form, folder: &Path) -> std::path::PathBuf {
    let save = |name: &str, value: &Value| {
        let path = folder.join(name);
        fs::write(&path, value.to_string()).expect("write the document");
        path
    };
    let document = render(world);
    match form {
        Form::Json => save("policy.json", &document),
        Form::Yaml => save("policy.yaml", &document),
        Form::Folder => {
            for (kind, objects) in document.as_object().into_iter().flatten() {
                let mut objects = objects.clone();
                for list in objects.as_array_mut().into_iter().flatten() {
                    if let (Some(id), true) = (list["PrefixListId"].as_str(), list["Entries"].is_array()) {
                        let id = id.to_owned();
                        if id == list_id(LIST_FILE) {
                            save(&format!("{id}.json"), &json!({ "Entries": list["Entries"].take() }));
                            list.as_object_mut().expect("a list").remove("Entries");
                        }
                    }
                }
                save(&format!("describe-{kind}.json"), &json!({ kind: objects }));
            }
            folder.to_owned()
        }
    }
}

/// One document of all that the facts say.
pub(crate) fn render(world: &World<'_>) -> Value {
    let mut document = json!({
        "Vpcs": [{
            "VpcId": VPC, "CidrBlock": "10.0.0.0/16",
            "Ipv6CidrBlockAssociationSet": [{ "Ipv6CidrBlock": "2001:db8::/56" }],
        }],
        "Subnets": [subnet(0, SUBNET), subnet(1, OTHER_SUBNET)],
        "NetworkInterfaces": world.interfaces().into_iter().map(|id| interface(world, id)).collect::<Vec<_>>(),
    });
    let mut add = |kind: &str, objects: Vec<Value>| {
        if !objects.is_empty() {
            document[kind] = json!(objects);
        }
    };
    add("SecurityGroups", (0..5).filter(|id| world.describes(*id)).map(|id| group(world, id)).collect());
    add("NetworkAcls", acls(world));
    let (managed, plain): (Vec<usize>, Vec<usize>) = (0..3).partition(|list| *list != 1);
    add("ManagedPrefixLists", managed.into_iter().filter_map(|list| prefix_list(world, list)).collect());
    add("PrefixLists", plain.into_iter().filter_map(|list| prefix_list(world, list)).collect());
    if world.holds(&Fact::FlowLog) {
        add("FlowLogs", vec![json!({ "ResourceId": interface_id(ENI), "MaxAggregationInterval": 60 })]);
    }
    if world.holds(&Fact::ExemptServices) {
        document["Exemptions"] = json!("services");
    }
    document
}

/// A document's lists, each on a line: what people compare.
pub(crate) fn sections(document: &Value) -> Vec<String> {
    let lists = document.as_object().into_iter().flatten();
    lists.map(|(kind, objects)| format!("\"{kind}\": {objects}")).collect()
}

fn interface_id(interface: usize) -> String {
    format!("eni-0000000000000000{interface}")
}

fn group_id(group: usize) -> String {
    format!("sg-0000000000000000{group}")
}

/// By which a rule may name it.
fn group_name(group: usize) -> &'static str {
    ["web", "Data base", "cache", "jump", "default"][group]
}

fn list_id(list: usize) -> String {
    format!("pl-0000000000000000{list}")
}

fn subnet(number: usize, [v4, v6]: [&str; 2]) -> Value {
    json!({
        "SubnetId": format!("subnet-{number}"), "VpcId": VPC, "CidrBlock": v4,
        "Ipv6CidrBlockAssociationSet": [{ "Ipv6CidrBlock": v6 }],
    })
}

fn interface(world: &World<'_>, id: usize) -> Value {
    let mut object = json!({
        "NetworkInterfaceId": interface_id(id), "VpcId": VPC,
        "SubnetId": if id == OUTSIDER { "subnet-1" } else { "subnet-0" },
    });
    let (hosts, prefixes): (Vec<IpNet>, Vec<IpNet>) =
        world.addresses(id).iter().partition(|own| own.prefix_len() == own.max_prefix_len());
    let list = |blocks: &[IpNet], v6: bool, render: fn(&IpNet) -> Value| -> Vec<Value> {
        blocks.iter().filter(|own| own.addr().is_ipv6() == v6).map(render).collect()
    };
    let mut v4 = list(&hosts, false, |own| json!({ "PrivateIpAddress": own.addr(), "Primary": false }));
    if let Some(first) = v4.first_mut() {
        first["Primary"] = json!(true);
        object["PrivateIpAddress"] = first["PrivateIpAddress"].clone();
    }
    let lists = [
        ("PrivateIpAddresses", v4),
        ("Ipv6Addresses", list(&hosts, true, |own| json!({ "Ipv6Address": own.addr() }))),
        ("Ipv4Prefixes", list(&prefixes, false, |own| json!({ "Ipv4Prefix": own }))),
        ("Ipv6Prefixes", list(&prefixes, true, |own| json!({ "Ipv6Prefix": own }))),
    ];
    for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
        object[name] = json!(list);
    }
    let groups = world.named_groups(id);
    if !groups.is_empty() {
        let named = groups.iter().map(|id| json!({ "GroupId": group_id(*id), "GroupName": group_name(*id) }));
        object["Groups"] = named.collect();
    }
    if world.holds(&Fact::RequesterManaged(id)) {
        object["RequesterManaged"] = json!(true);
    }
    if id == ENI {
        object["SourceDestCheck"] = json!(world.holds(&Fact::SourceDestCheck));
        object["StrictTcp"] = json!(world.holds(&Fact::StrictTcp));
        if world.0.iter().any(|fact| matches!(fact, Fact::Timeouts { .. })) {
            let timeouts = world.timeouts();
            object["ConnectionTrackingConfiguration"] = json!({
                "TcpEstablishedTimeout": timeouts.tcp_established,
                "UdpStreamTimeout": timeouts.udp_stream, "UdpTimeout": timeouts.udp,
            });
        }
    }
    object
}

fn group(world: &World<'_>, id: usize) -> Value {
    let mut object =
        json!({ "GroupId": group_id(id), "GroupName": group_name(id), "Description": "x", "VpcId": VPC });
    object["IpPermissions"] = permissions(world, id, Direction::Ingress);
    if !world.has_default_egress(id) {
        object["IpPermissionsEgress"] = permissions(world, id, Direction::Egress);
    }
    object
}

/// Peers of one service stand in one permission, as AWS describes them.
fn permissions(world: &World<'_>, id: usize, way: Direction) -> Value {
    let mut permissions: Vec<(Service, Map<String, Value>)> = Vec::new();
    for fact in &world.0 {
        let Fact::Rule { group, direction, service, peer } = fact else { continue };
        if (*group, *direction) != (id, way) {
            continue;
        }
        let place = permissions.iter().position(|(known, _)| known == service).unwrap_or_else(|| {
            permissions.push((*service, permission(service)));
            permissions.len() - 1
        });
        let (list, element) = match *peer {
            Peer::Cidr(block @ IpNet::V4(_)) => ("IpRanges", json!({ "CidrIp": block })),
            Peer::Cidr(block) => ("Ipv6Ranges", json!({ "CidrIpv6": block, "Description": "six" })),
            Peer::List(list) => ("PrefixListIds", json!({ "PrefixListId": list_id(list) })),
            Peer::Group { group, by_name: true } => {
                ("UserIdGroupPairs", json!({ "GroupName": group_name(group), "UserId": "111122223333" }))
            }
            Peer::Group { group, .. } => ("UserIdGroupPairs", json!({ "GroupId": group_id(group) })),
        };
        let list = permissions[place].1.entry(list).or_insert_with(|| json!([]));
        list.as_array_mut().expect("a list").push(element);
    }
    permissions.into_iter().map(|(_, permission)| Value::Object(permission)).collect()
}

fn permission(service: &Service) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("IpProtocol".into(), json!(protocol(service)));
    if let Some((from, to)) = service.bounds {
        object.insert("FromPort".into(), json!(from));
        object.insert("ToPort".into(), json!(to));
    }
    object
}

fn protocol(service: &Service) -> String {
    let word = match service.protocol {
        None => "all",
        Some(6) => "tcp",
        Some(17) => "udp",
        Some(1) => "icmp",
        Some(58) => "icmpv6",
        Some(_) => "",
    };
    if service.in_words && !word.is_empty() {
        return word.to_owned();
    }
    service.protocol.map_or("-1".to_owned(), |number| number.to_string())
}

fn acls(world: &World<'_>) -> Vec<Value> {
    let own = world.0.iter().find_map(|fact| match fact {
        Fact::Acl { by_default } => Some(*by_default),
        _ => None,
    });
    let own = own.map(|by_default| {
        let associations = if by_default { json!([]) } else { json!([{ "SubnetId": "subnet-0" }]) };
        let catch_all = [(32_767, "CidrBlock", "0.0.0.0/0"), (32_768, "Ipv6CidrBlock", "::/0")];
        let catch_all = catch_all.iter().flat_map(|(number, field, everywhere)| {
            [false, true].map(|egress| {
                json!({ "RuleNumber": number, "Egress": egress, "RuleAction": "deny", "Protocol": "-1", *field: everywhere })
            })
        });
        json!({
            "NetworkAclId": "acl-0", "VpcId": VPC, "IsDefault": by_default, "Associations": associations,
            "Entries": world.0.iter().filter_map(|fact| entry(fact)).chain(catch_all).collect::<Vec<_>>(),
        })
    });
    let other = json!({
        "NetworkAclId": "acl-1", "VpcId": VPC, "Associations": [{ "SubnetId": "subnet-1" }], "Entries": [],
    });
    own.into_iter().chain(world.holds(&Fact::OtherAcl).then_some(other)).collect()
}

fn entry(fact: &Fact) -> Option<Value> {
    let Fact::Entry { number, direction, allow, service, block } = fact else { return None };
    let mut object = json!({
        "RuleNumber": number, "Egress": *direction == Direction::Egress,
        "RuleAction": if *allow { "allow" } else { "deny" }, "Protocol": protocol(service),
    });
    object[if block.addr().is_ipv4() { "CidrBlock" } else { "Ipv6CidrBlock" }] = json!(block);
    match (service.protocol, service.bounds) {
        (Some(1 | 58), Some((kind, code))) => object["IcmpTypeCode"] = json!({ "Type": kind, "Code": code }),
        (_, Some((from, to))) => object["PortRange"] = json!({ "From": from, "To": to }),
        _ => {}
    }
    Some(object)
}

fn prefix_list(world: &World<'_>, id: usize) -> Option<Value> {
    let blocks = world.0.iter().filter_map(|fact| match fact {
        Fact::ListEntry { list, block } if *list == id => Some(*block),
        _ => None,
    });
    let blocks: Vec<IpNet> = blocks.collect();
    if blocks.is_empty() {
        return None;
    }
    let mut object = json!({ "PrefixListId": list_id(id), "PrefixListName": "list" });
    match id {
        1 => object["Cidrs"] = json!(blocks),
        _ => object["Entries"] = blocks.iter().map(|block| json!({ "Cidr": block })).collect(),
    }
    if id == 0 {
        object["AddressFamily"] = json!("IPv4");
    }
    Some(object)
}
