//! Where an interface stands in AWS, as flow logs tell it.

use super::model::{Interface, Subnet};
use crate::policy::Placement;

/// What an interface's own object and its subnet's say.
pub(super) fn of(interface: &Interface, subnet: &Subnet) -> Placement {
    let zone = interface.zone.name.as_deref().or(subnet.zone.name.as_deref());
    let zone = zone.map(Zone::parse);
    let az_id = interface.zone.id.as_ref().or(subnet.zone.id.as_ref());
    Placement {
        region: zone.as_ref().and_then(|zone| zone.region).map(str::to_owned),
        // VPC guide, `flow-log-records`: none for traffic from a sublocation.
        az_id: az_id.filter(|_| !zone.is_some_and(|zone| zone.sublocation)).cloned(),
        instance_id: interface.instance_id.clone(),
        interface_type: interface.kind.as_deref().and_then(kind).map(str::to_owned),
    }
}

/// The kinds that flow logs name (VPC guide, `flow-log-records`, *interface-type*), by the API's
/// names for them (`NetworkInterface`).
fn kind(api: &str) -> Option<&'static str> {
    match api {
        "natGateway" | "nat_gateway" => Some("nat_gateway"),
        "regional_nat_gateway" => Some("regional_nat_gateway"),
        "network_load_balancer" => Some("network_load_balancer"),
        "transit_gateway" => Some("transit_gateway"),
        "vpc_endpoint" => Some("vpc_endpoint"),
        _ => None,
    }
}

/// What the name of an availability zone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Zone<'n> {
    region: Option<&'n str>,
    /// A local zone or a wavelength zone.
    sublocation: bool,
}

impl<'n> Zone<'n> {
    /// A region is words and a number, `us-gov-west-1`; a zone of it has a letter more, and a place
    /// outside of it more words: `us-west-2-lax-1a`, `us-east-1-wl1-bos-wlz-1`.
    fn parse(name: &'n str) -> Self {
        let mut end = 0;
        for word in name.split('-') {
            let digits = word.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 0 && end > 0 {
                let rest = &name[end + digits..];
                return Self { region: Some(&name[..end + digits]), sublocation: rest.starts_with('-') };
            }
            end += word.len() + 1;
        }
        Self { region: None, sublocation: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zones_name_tells_the_region() {
        let parsed = |name| {
            let Zone { region, sublocation } = Zone::parse(name);
            (region, sublocation)
        };
        assert_eq!(parsed("eu-west-1b"), (Some("eu-west-1"), false));
        assert_eq!(parsed("us-gov-west-1a"), (Some("us-gov-west-1"), false));
        assert_eq!(parsed("ap-southeast-12c"), (Some("ap-southeast-12"), false));
        assert_eq!(parsed("us-west-2-lax-1a"), (Some("us-west-2"), true));
        assert_eq!(parsed("us-east-1-wl1-bos-wlz-1"), (Some("us-east-1"), true));
        assert_eq!(parsed("rack"), (None, false));
    }
}
