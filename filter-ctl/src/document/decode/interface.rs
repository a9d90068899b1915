//! `NetworkInterfaces`.

use std::net::{Ipv4Addr, Ipv6Addr};

use filter_common::track::IdleTimeouts;
use ipnet::IpNet;

use super::{
    Decoder, Object,
    cidr::{Family, host_v4, host_v6},
};
use crate::document::{
    diagnostic::Severity,
    model::{Interface, Spanned},
    tree::Value,
};

/// The fields that are read, and those of AWS that only look like a misspelling of one.
pub(super) const FIELDS: &[&str] = &[
    "NetworkInterfaceId",
    "SubnetId",
    "VpcId",
    "OwnerId",
    "Groups",
    "PrivateIpAddress",
    "PrivateIpAddresses",
    "Ipv6Address",
    "Ipv6Addresses",
    "Ipv4Prefix",
    "Ipv4Prefixes",
    "Ipv6Prefix",
    "Ipv6Prefixes",
    "SourceDestCheck",
    "RequesterManaged",
    "ConnectionTrackingConfiguration",
    "ConnectionTrackingSpecification",
    "TagSet",
    "Attachment",
    "AvailabilityZone",
    "AvailabilityZoneId",
    "InterfaceType",
    "StrictTcp",
];

/// An interface's addresses, as they are found.
#[derive(Default)]
struct Addresses {
    primary_v4: Option<Ipv4Addr>,
    primary_v6: Option<Ipv6Addr>,
    own: Vec<Spanned<IpNet>>,
}

impl Addresses {
    /// Adds one; AWS lists the primary address twice.
    fn add(&mut self, address: Spanned<IpNet>) {
        if !self.own.iter().any(|own| own.value == address.value) {
            self.own.push(address);
        }
    }
}

impl Decoder<'_> {
    pub(super) fn network_interface(&mut self, object: &Object<'_>) {
        self.misspelt(object, Severity::Warning, FIELDS);
        let place = self.place(object);
        let id = self.own_id(object, "NetworkInterfaceId", "eni");
        let subnet_id = self.id(object, "SubnetId", "subnet");
        let vpc_id = self.id(object, "VpcId", "vpc");
        let owner = self.owner(object);
        let mut groups = Vec::new();
        self.objects(object, "Groups", |decoder, object, _| groups.extend(decoder.named_group(object)));
        let addresses = self.addresses(object);
        let source_dest_check = self.boolean(object, "SourceDestCheck").unwrap_or(false);
        let requester_managed = self.boolean(object, "RequesterManaged").unwrap_or(false);
        let default_group = !object.has("Groups") && !requester_managed;
        if let Some(field) = object.field("Groups")
            && matches!(&field.value.value, Value::List(items) if items.is_empty())
            && !requester_managed
        {
            let message = "an interface that is in no group lets nothing pass";
            self.report(Severity::Warning, "no-group", field.span, "Groups", message).help = Some(
                "AWS knows none such; leave the field out to put it into its VPC's default group".to_owned(),
            );
        }
        let timeouts = self.timeouts(object);
        let strict_tcp = self.boolean(object, "StrictTcp").unwrap_or(false);
        let tags = self.tags(object, "TagSet");
        let zone = self.zone(object);
        let kind = self.owned(object, "InterfaceType");
        let attached =
            self.nested(object, "Attachment", |decoder, object| decoder.owned(object, "InstanceId"));
        // VPC guide, `flow-log-records`: none for a requester-managed interface.
        let instance_id = attached.flatten().filter(|_| !requester_managed);
        let Addresses { primary_v4, primary_v6, own } = addresses;
        self.model.interfaces.push(Interface {
            place,
            id,
            subnet_id,
            vpc_id,
            owner,
            groups,
            default_group,
            primary_v4,
            primary_v6,
            own,
            source_dest_check,
            strict_tcp,
            timeouts,
            tags,
            zone,
            instance_id,
            kind,
        });
    }

    fn addresses(&mut self, object: &Object<'_>) -> Addresses {
        let mut addresses = Addresses::default();
        if let Some(primary) = self.ipv4(object, "PrivateIpAddress") {
            addresses.primary_v4 = Some(primary.value);
            addresses.add(host_v4(primary));
        }
        self.objects(object, "PrivateIpAddresses", |decoder, object, _| {
            if decoder.scalar(object, "PrivateIpAddress").is_none() {
                decoder.missing(object, "PrivateIpAddress", "an IPv4 address");
            }
            let Some(address) = decoder.ipv4(object, "PrivateIpAddress") else { return };
            if decoder.boolean(object, "Primary") == Some(true) {
                if addresses.primary_v4.is_some_and(|primary| primary != address.value) {
                    let message = "the interface has another primary address already";
                    decoder.error("two-primary-addresses", address.at.span, "PrivateIpAddress", message);
                }
                addresses.primary_v4 = Some(address.value);
            }
            addresses.add(host_v4(address));
        });
        // Written by hand: the first of a list without a primary one is it.
        if addresses.primary_v4.is_none() {
            addresses.primary_v4 = addresses.own.iter().find_map(|own| match own.value {
                IpNet::V4(block) => Some(block.addr()),
                IpNet::V6(_) => None,
            });
        }
        let mut declared = None;
        self.objects(object, "Ipv6Addresses", |decoder, object, _| {
            if decoder.scalar(object, "Ipv6Address").is_none() {
                decoder.missing(object, "Ipv6Address", "an IPv6 address");
            }
            let Some(address) = decoder.ipv6(object, "Ipv6Address") else { return };
            if decoder.boolean(object, "IsPrimaryIpv6") == Some(true) {
                declared = declared.or(Some(address.value));
            }
            addresses.primary_v6 = addresses.primary_v6.or(Some(address.value));
            addresses.add(host_v6(address));
        });
        addresses.primary_v6 = declared.or(addresses.primary_v6);
        for (list, name, family) in
            [("Ipv4Prefixes", "Ipv4Prefix", Family::V4), ("Ipv6Prefixes", "Ipv6Prefix", Family::V6)]
        {
            self.objects(object, list, |decoder, object, _| {
                if let Some(prefix) = decoder.required_cidr(object, name, family) {
                    addresses.add(prefix);
                }
            });
        }
        addresses
    }

    /// Described as `ConnectionTrackingConfiguration`, requested as `…Specification`: both are read.
    fn timeouts(&mut self, object: &Object<'_>) -> IdleTimeouts {
        let mut timeouts = IdleTimeouts::default();
        for name in ["ConnectionTrackingConfiguration", "ConnectionTrackingSpecification"] {
            self.nested(object, name, |decoder, object| {
                let fields = ["TcpEstablishedTimeout", "UdpStreamTimeout", "UdpTimeout"];
                decoder.misspelt(object, Severity::Error, &fields);
                decoder.unknown(object, &fields);
                // EC2 guide, `security-group-connection-tracking`, "Idle connection tracking timeout".
                let mut read = |name, low, high, timeout: &mut u32| {
                    if let Some(seconds) = decoder.integer(object, name, low, high) {
                        *timeout = seconds.value as u32;
                    }
                };
                read(fields[0], 60, 432_000, &mut timeouts.tcp_established);
                read(fields[1], 60, 180, &mut timeouts.udp_stream);
                read(fields[2], 30, 60, &mut timeouts.udp);
            });
        }
        timeouts
    }
}
