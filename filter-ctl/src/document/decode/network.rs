//! `Vpcs` and `Subnets`.

use ipnet::IpNet;

use super::{Decoder, Object, cidr::Family};
use crate::document::{
    diagnostic::Severity,
    model::{Spanned, Subnet, Vpc, Zone},
};

pub(super) const VPC_FIELDS: &[&str] = &[
    "VpcId",
    "OwnerId",
    "CidrBlock",
    "CidrBlockAssociationSet",
    "Ipv6CidrBlock",
    "Ipv6CidrBlockAssociationSet",
    "Tags",
];

pub(super) const SUBNET_FIELDS: &[&str] = &[
    "SubnetId",
    "VpcId",
    "OwnerId",
    "CidrBlock",
    "Ipv6CidrBlock",
    "Ipv6CidrBlockAssociationSet",
    "Ipv6Native",
    "AvailabilityZone",
    "AvailabilityZoneId",
    "Tags",
];

impl Decoder<'_> {
    pub(super) fn vpc(&mut self, object: &Object<'_>) {
        self.misspelt(object, Severity::Warning, VPC_FIELDS);
        let place = self.place(object);
        let id = self.own_id(object, "VpcId", "vpc");
        let owner = self.owner(object);
        self.tags(object, "Tags");
        let mut blocks: Vec<IpNet> = Vec::new();
        let mut add = |block: Option<Spanned<IpNet>>| {
            // AWS lists a VPC's first block in both places.
            blocks.extend(block.map(|block| block.value).filter(|block| !blocks.contains(block)));
        };
        add(self.cidr(object, "CidrBlock", Family::V4));
        self.objects(object, "CidrBlockAssociationSet", |decoder, object, _| {
            if decoder.associated(object, "CidrBlockState") {
                add(decoder.cidr(object, "CidrBlock", Family::V4));
            }
        });
        for block in self.ipv6_blocks(object) {
            add(Some(block));
        }
        self.model.vpcs.push(Vpc { place, id, owner, blocks });
    }

    pub(super) fn subnet(&mut self, object: &Object<'_>) {
        self.misspelt(object, Severity::Warning, SUBNET_FIELDS);
        let place = self.place(object);
        let id = self.own_id(object, "SubnetId", "subnet");
        let vpc_id = self.id(object, "VpcId", "vpc");
        let owner = self.owner(object);
        self.tags(object, "Tags");
        let zone = self.zone(object);
        let mut blocks: Vec<Spanned<IpNet>> = Vec::new();
        blocks.extend(self.cidr(object, "CidrBlock", Family::V4));
        blocks.extend(self.ipv6_blocks(object));
        let named = ["CidrBlock", "Ipv6CidrBlock", "Ipv6CidrBlockAssociationSet"];
        if !named.iter().any(|name| object.has(name)) {
            self.missing(object, "CidrBlock", "the subnet's block");
        }
        self.model.subnets.push(Subnet { place, id, vpc_id, owner, blocks, zone });
    }

    /// `AvailabilityZone`, `AvailabilityZoneId`
    pub(super) fn zone(&mut self, object: &Object<'_>) -> Zone {
        Zone { name: self.owned(object, "AvailabilityZone"), id: self.owned(object, "AvailabilityZoneId") }
    }

    /// `Ipv6CidrBlockAssociationSet`, or, in documents written by hand, `Ipv6CidrBlock`.
    fn ipv6_blocks(&mut self, object: &Object<'_>) -> Vec<Spanned<IpNet>> {
        let mut blocks: Vec<_> = self.cidr(object, "Ipv6CidrBlock", Family::V6).into_iter().collect();
        self.objects(object, "Ipv6CidrBlockAssociationSet", |decoder, object, _| {
            if decoder.associated(object, "Ipv6CidrBlockState") {
                blocks.extend(decoder.required_cidr(object, "Ipv6CidrBlock", Family::V6));
            }
        });
        blocks
    }

    /// Whether a block is in use: AWS goes on to list those that were taken away.
    fn associated(&mut self, object: &Object<'_>, state: &'static str) -> bool {
        let state = self.nested(object, state, |decoder, object| decoder.owned(object, "State")).flatten();
        state.is_none_or(|state| state == "associated" || state == "associating")
    }
}
