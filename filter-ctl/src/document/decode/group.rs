//! `SecurityGroups`.

use std::{collections::HashSet, sync::Arc};

use super::{Decoder, Object, cidr::Family};
use crate::{
    document::{
        diagnostic::Severity,
        model::{GroupName, Peer, PeerKind, Permission, SecurityGroup, Spanned},
    },
    policy::RuleService,
};

pub(super) const FIELDS: &[&str] = &[
    "GroupId",
    "GroupName",
    "VpcId",
    "OwnerId",
    "IpPermissions",
    "IpPermissionsEgress",
    "Description",
    "Tags",
    "SecurityGroupArn",
];

/// What a name or a description may hold beside letters and digits (API reference, `CreateSecurityGroup`;
/// `&` is listed for some descriptions only, and taken in all).
const PUNCTUATION: &str = " ._-:/()#,@[]+=&;{}!$*";

fn is_foreign(character: &char) -> bool {
    !character.is_ascii_alphanumeric() && !PUNCTUATION.contains(*character)
}

impl Decoder<'_> {
    pub(super) fn security_group(&mut self, object: &Object<'_>) {
        self.misspelt(object, Severity::Error, FIELDS);
        let place = self.place(object);
        let id = self.own_id(object, "GroupId", "sg");
        let name = self.group_name(object).unwrap_or_else(|| Spanned { value: id.clone(), at: place.at });
        let vpc_id = self.id(object, "VpcId", "vpc");
        self.owner(object);
        self.description(object);
        self.tags(object, "Tags");
        let ingress = self.permissions(object, "IpPermissions").unwrap_or_default();
        let egress = self.permissions(object, "IpPermissionsEgress");
        let group = SecurityGroup { place, id, name, vpc_id, from_rules: false, ingress, egress };
        self.model.groups.push(group);
    }

    fn group_name(&mut self, object: &Object<'_>) -> Option<Spanned<String>> {
        let text = self.text(object, "GroupName")?;
        // AWS trims trailing spaces before it stores a name.
        let name = text.value.trim_end_matches(' ');
        let wrong = if name.is_empty() {
            Some("a group's name must not be empty".to_owned())
        } else if name.chars().count() > 255 {
            Some("a group's name has at most 255 characters".to_owned())
        } else if name.starts_with("sg-") {
            Some("a group's name must not begin with `sg-`: that is how ids begin".to_owned())
        } else if name != "default" && name.eq_ignore_ascii_case("default") {
            Some("this name is reserved: the default group of a VPC is `default`".to_owned())
        } else {
            name.chars().find(is_foreign).map(|found| format!("a group's name must not hold `{found}`"))
        };
        if let Some(message) = wrong {
            self.error("bad-group-name", text.at.span, "GroupName", message).expected =
                Some(format!("1 to 255 of a-z A-Z 0-9{PUNCTUATION}"));
        }
        Some(Spanned { value: name.to_owned(), at: text.at })
    }

    fn permissions(&mut self, object: &Object<'_>, list: &'static str) -> Option<Vec<Permission>> {
        let mut permissions = Vec::new();
        let mut seen = HashSet::new();
        self.objects(object, list, |decoder, object, index| {
            decoder.only(
                object,
                &[
                    "IpProtocol",
                    "FromPort",
                    "ToPort",
                    "IpRanges",
                    "Ipv6Ranges",
                    "PrefixListIds",
                    "UserIdGroupPairs",
                ],
            );
            let service = decoder.group_service(object);
            let peers = decoder.peers(object);
            let Some(service) = service else { return };
            decoder.check_permission(object, service, &peers);
            for peer in &peers {
                // The description is not part of what makes two rules the same.
                if !seen.insert((service, peer.kind.clone())) {
                    let message = "the same rule stands above";
                    let span = peer.at.span;
                    decoder.report(Severity::Warning, "duplicate-rule", span, "", message).help =
                        Some("AWS refuses a second rule with the same protocol, ports and peer".to_owned());
                }
            }
            permissions.push(Permission { index: index as u32, service, peers });
        })?;
        Some(permissions)
    }

    fn peers(&mut self, object: &Object<'_>) -> Vec<Peer> {
        let mut peers = Vec::new();
        let mut groups = Vec::new();
        let mut push = |at, index, kind, description| peers.push(Peer::new(at, index, kind, description));
        self.objects(object, "IpRanges", |decoder, range, index| {
            decoder.only(range, &["CidrIp", "Description"]);
            let description = decoder.description(range);
            if let Some(cidr) = decoder.required_cidr(range, "CidrIp", Family::V4) {
                push(cidr.at, index, PeerKind::Cidr(cidr.value), description);
            }
        });
        self.objects(object, "Ipv6Ranges", |decoder, range, index| {
            decoder.only(range, &["CidrIpv6", "Description"]);
            let description = decoder.description(range);
            if let Some(cidr) = decoder.required_cidr(range, "CidrIpv6", Family::V6) {
                push(cidr.at, index, PeerKind::Cidr(cidr.value), description);
            }
        });
        self.objects(object, "PrefixListIds", |decoder, list, index| {
            decoder.only(list, &["PrefixListId", "Description"]);
            let description = decoder.description(list);
            if decoder.scalar(list, "PrefixListId").is_none() {
                decoder.missing(list, "PrefixListId", "pl-…");
            }
            if let Some(id) = decoder.id(list, "PrefixListId", "pl") {
                push(id.at, index, PeerKind::PrefixList(id.value), description);
            }
        });
        self.objects(object, "UserIdGroupPairs", |decoder, pair, index| {
            decoder.only(
                pair,
                &[
                    "GroupId",
                    "GroupName",
                    "UserId",
                    "Description",
                    "VpcId",
                    "VpcPeeringConnectionId",
                    "PeeringStatus",
                ],
            );
            let description = decoder.description(pair);
            if let Some(name) = decoder.named_group(pair) {
                let mut peer = Peer::new(name.at, index, PeerKind::Group(name.value), description);
                peer.lost_peering = decoder.lost_peering(pair);
                groups.push(peer);
            }
        });
        peers.extend(groups);
        peers
    }

    /// The `PeeringStatus` of a reference, unless the peering is active (peering guide,
    /// `vpc-peering-security-groups`: a rule whose peering was deleted is stale).
    pub(super) fn lost_peering(&mut self, pair: &Object<'_>) -> Option<Arc<str>> {
        let status = self.text(pair, "PeeringStatus")?.value;
        (!status.eq_ignore_ascii_case("active")).then(|| status.into())
    }

    /// `Description` of a group or a rule (VPC guide, `security-group-rules`: at most 255 characters).
    pub(super) fn description(&mut self, object: &Object<'_>) -> Option<Arc<str>> {
        let text = self.text(object, "Description")?;
        let wrong = if text.value.chars().count() > 255 {
            Some("a description has at most 255 characters".to_owned())
        } else {
            text.value.chars().find(is_foreign).map(|found| format!("a description must not hold `{found}`"))
        };
        if let Some(message) = wrong {
            let warning =
                self.report(Severity::Warning, "bad-description", text.at.span, "Description", message);
            warning.expected = Some(format!("0 to 255 of a-z A-Z 0-9{PUNCTUATION}"));
        }
        Some(text.value.into())
    }

    /// A group that is named by `GroupId`, or else by `GroupName`.
    pub(super) fn named_group(&mut self, object: &Object<'_>) -> Option<Spanned<GroupName>> {
        if self.scalar(object, "GroupId").is_some() {
            let id = self.id(object, "GroupId", "sg")?;
            return Some(Spanned { value: GroupName::Id(id.value), at: id.at });
        }
        let Some(name) = self.text(object, "GroupName") else {
            self.missing(object, "GroupId", "sg-… (or GroupName, for a group of the same VPC)");
            return None;
        };
        Some(Spanned { value: GroupName::Name(name.value.to_owned()), at: name.at })
    }

    /// What a rule that is well-formed may still lack.
    pub(super) fn check_permission(&mut self, object: &Object<'_>, service: RuleService, peers: &[Peer]) {
        let lists = ["IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs"];
        if peers.is_empty()
            && !lists.iter().any(|list| object.field(list).is_some_and(|field| !field.value.is_empty_list()))
        {
            let message = "this rule names no address, prefix list or group: it allows nothing";
            self.report(Severity::Warning, "rule-without-peer", object.span, "", message).help = Some(
                "everywhere is IpRanges: [{ CidrIp: 0.0.0.0/0 }], Ipv6Ranges: [{ CidrIpv6: ::/0 }]"
                    .to_owned(),
            );
        }
        for peer in peers {
            let PeerKind::Cidr(block) = peer.kind else { continue };
            let mismatch = match service {
                RuleService::Icmp(..) => matches!(block, ipnet::IpNet::V6(_)),
                RuleService::Icmpv6(..) => matches!(block, ipnet::IpNet::V4(_)),
                _ => false,
            };
            if mismatch {
                let (this, other) =
                    if block.addr().is_ipv6() { ("icmp", "icmpv6") } else { ("icmpv6", "icmp") };
                let message = format!("an {this} rule matches nothing at {block}");
                self.report(Severity::Warning, "family-mismatch", peer.at.span, "", message).help =
                    Some(format!("for this address family write IpProtocol: {other}"));
            }
        }
    }
}
