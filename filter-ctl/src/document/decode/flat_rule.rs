//! `SecurityGroupRules`: the flat form, one element for each rule, with the rule's id.

use super::{Decoder, Object, cidr::Family};
use crate::document::model::{FlatRule, GroupName, Peer, PeerKind, Permission, Spanned};

pub(super) const FIELDS: &[&str] = &[
    "SecurityGroupRuleId",
    "GroupId",
    "GroupOwnerId",
    "IsEgress",
    "IpProtocol",
    "FromPort",
    "ToPort",
    "CidrIpv4",
    "CidrIpv6",
    "PrefixListId",
    "ReferencedGroupInfo",
    "Description",
    "Tags",
    "SecurityGroupRuleArn",
];

const REFERENCE: &[&str] =
    &["GroupId", "GroupName", "UserId", "VpcId", "VpcPeeringConnectionId", "PeeringStatus"];

const PEERS: [&str; 4] = ["CidrIpv4", "CidrIpv6", "PrefixListId", "ReferencedGroupInfo"];

impl Decoder<'_> {
    pub(super) fn flat_rule(&mut self, object: &Object<'_>, index: usize) {
        self.only(object, FIELDS);
        let place = self.place(object);
        let id = self.id(object, "SecurityGroupRuleId", "sgr").map(|id| id.value);
        for (name, expected) in
            [("GroupId", "sg-…: whose rule it is"), ("IsEgress", "true for outbound, false for inbound")]
        {
            if self.scalar(object, name).is_none() {
                self.missing(object, name, expected);
            }
        }
        let group_id = self.id(object, "GroupId", "sg");
        let egress = self.boolean(object, "IsEgress");
        let service = self.group_service(object);
        self.tags(object, "Tags");
        let peer = self.flat_peer(object, index);
        let (Some(group_id), Some(egress), Some(service), Some(peer)) = (group_id, egress, service, peer)
        else {
            return;
        };
        let peers = vec![peer];
        self.check_permission(object, service, &peers);
        let permission = Permission { index: index as u32, service, peers };
        self.model.flat_rules.push(FlatRule { place, id, group_id: group_id.value, egress, permission });
    }

    fn flat_peer(&mut self, object: &Object<'_>, index: usize) -> Option<Peer> {
        let description = self.description(object);
        let given: Vec<&str> = PEERS.into_iter().filter(|name| self.scalar(object, name).is_some()).collect();
        match given.as_slice() {
            [] => {
                self.missing(object, "CidrIpv4", "CidrIpv4, CidrIpv6, PrefixListId or ReferencedGroupInfo");
                return None;
            }
            [_] => {}
            [_, second, ..] => {
                let span = object.field(second).map_or(object.span, |field| field.span);
                self.error("two-peers", span, second, "a rule has one peer").help =
                    Some("write a rule for each".to_owned());
                return None;
            }
        }
        let mut lost_peering = None;
        let kind = match given[0] {
            "CidrIpv4" => Self::block(self.cidr(object, "CidrIpv4", Family::V4)?),
            "CidrIpv6" => Self::block(self.cidr(object, "CidrIpv6", Family::V6)?),
            "PrefixListId" => {
                let list = self.id(object, "PrefixListId", "pl")?;
                Spanned { value: PeerKind::PrefixList(list.value), at: list.at }
            }
            _ => self.nested(object, "ReferencedGroupInfo", |decoder, reference| {
                decoder.only(reference, REFERENCE);
                lost_peering = decoder.lost_peering(reference);
                if decoder.scalar(reference, "GroupId").is_none() {
                    decoder.missing(reference, "GroupId", "sg-…");
                }
                let group = decoder.id(reference, "GroupId", "sg")?;
                Some(Spanned { value: PeerKind::Group(GroupName::Id(group.value)), at: group.at })
            })??,
        };
        Some(Peer { lost_peering, ..Peer::new(kind.at, index, kind.value, description) })
    }

    fn block(block: Spanned<ipnet::IpNet>) -> Spanned<PeerKind> {
        Spanned { value: PeerKind::Cidr(block.value), at: block.at }
    }
}
