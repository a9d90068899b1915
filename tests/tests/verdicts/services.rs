//! `Exemptions: services`: what is exempt are the services that today's pages name, and no ranges.
//!
//! VPC guide, `vpc-security-groups`, `vpc-network-acls`: Amazon DNS, DHCP, instance metadata, ECS task
//! metadata, Windows activation, Time Sync, the router's reserved address. Each has a packet beside it.

use filter_common::verdict::Reason::{
    Dhcp, Exempt, NetworkAcl, NewConnection, OrphanFragment, SecurityGroup,
};
use filter_ctl::policy::EffectivePolicy;
use tests::{
    frame::{syn, udp},
    policy::{ANY4, Policy},
    program::{Metadata, Receive, Setting, effective},
};

use crate::case::{EVERYWHERE, Step, apply, case, each, egress, ingress, walk};

const OWN: &str = "10.0.1.20:50000";
const OWN_V6: &str = "[2001:db8:0:1::20]:50000";

/// The services, and how their packets are told from others: on the link or beyond it.
const SERVICES: [&str; 11] = [
    "169.254.169.254:80",
    "169.254.169.253:53",
    "169.254.169.123:123",
    "169.254.170.2:80",
    "169.254.169.250:1688",
    "169.254.169.251:1688",
    "10.0.1.1:53",
    "10.0.0.2:53",
    "[fd00:ec2::254]:80",
    "[fd00:ec2::253]:53",
    "[fd00:ec2::123]:123",
];

/// Addresses beside them, outside of the subnet.
const BESIDE: [&str; 16] = [
    "169.254.169.252:53",
    "169.254.169.255:80",
    "169.254.169.122:123",
    "169.254.169.124:123",
    "169.254.169.249:1688",
    "169.254.170.1:80",
    "169.254.170.3:80",
    "169.254.0.1:53",
    "10.0.0.1:53",
    "10.0.0.3:53",
    "10.0.2.1:53",
    "[fd00:ec2::252]:53",
    "[fd00:ec2::255]:80",
    "[fd00:ec2::122]:123",
    "[fd00:ec2:0:1::254]:80",
    "[fd01:ec2::254]:80",
];

fn own(remote: &str) -> &'static str {
    if remote.starts_with('[') { OWN_V6 } else { OWN }
}

/// Both layers deny everything.
fn denied(policy: &Policy) -> EffectivePolicy {
    let mut policy = effective(policy);
    policy.nacl.ingress.clear();
    policy.nacl.egress.clear();
    policy
}

fn services() -> Policy {
    Policy::new().exempt("services")
}

#[test]
fn a_service_is_exempt_as_destination_and_what_is_beside_it_is_not() {
    let mut steps: Vec<Step> = Vec::new();
    for remote in SERVICES {
        steps.push(egress(udp(own(remote), remote), Exempt));
        steps.push(egress(syn(own(remote), remote), Exempt));
    }
    for remote in BESIDE {
        steps.push(egress(udp(own(remote), remote), SecurityGroup));
    }
    // In the subnet: its first addresses but the router's; and no router of IPv6.
    for remote in ["10.0.1.0:53", "10.0.1.2:53", "10.0.1.3:53", "10.0.1.4:53", "[2001:db8:0:1::1]:53"] {
        steps.push(egress(udp(own(remote), remote), SecurityGroup));
        steps.push(ingress(udp(remote, own(remote)), SecurityGroup));
    }
    case(denied(&services()), &steps);
}

#[test]
fn a_service_is_exempt_as_source_on_the_workloads_side() {
    let mut steps: Vec<Step> = Vec::new();
    for remote in SERVICES {
        steps.push(ingress(udp(remote, own(remote)), Exempt));
        steps.push(ingress(udp(remote, own(remote)).later(1, 8), Exempt));
    }
    for remote in BESIDE {
        steps.push(ingress(udp(remote, own(remote)), NetworkAcl));
        steps.push(ingress(udp(remote, own(remote)).later(1, 8), OrphanFragment));
    }
    // The platform's, to the interface's own addresses only.
    steps.push(ingress(udp("169.254.169.254:80", "10.0.1.21:50000"), NetworkAcl));
    steps.push(ingress(udp("[fd00:ec2::254]:80", "[2001:db8:0:1::21]:50000"), NetworkAcl));
    steps.push(ingress(udp("10.0.0.2:53", "10.0.1.21:50000"), Exempt));
    each(&EVERYWHERE[..2], &denied(&services()), |eni, place| walk(eni, place, &steps));
}

#[test]
fn a_service_is_exempt_as_source_on_the_hosts_side_if_the_host_made_the_packet() {
    each(&[(Setting::HOST, Receive::Tc)], &denied(&services()), |eni, _| {
        for remote in SERVICES {
            let frame = udp(remote, own(remote));
            let made_here = Metadata::default();
            assert_eq!(eni.judge_as(filter_common::Direction::Ingress, &frame, made_here).reason, Exempt);
            let forwarded = Metadata { came_by: 1, ..made_here };
            let reason = eni.judge_as(filter_common::Direction::Ingress, &frame, forwarded).reason;
            assert_eq!(reason, if remote.starts_with("10.0.1.") { SecurityGroup } else { NetworkAcl });
        }
    });
}

#[test]
fn dhcp_is_a_service_either_way() {
    let client = |remote: &str| udp("10.0.1.20:68", &format!("{remote}:67"));
    let server = |remote: &str| udp(&format!("{remote}:67"), "10.0.1.20:68");
    case(
        denied(&services()),
        &[
            egress(udp("0.0.0.0:68", "255.255.255.255:67"), Dhcp),
            egress(client("10.0.1.1"), Exempt),
            ingress(server("10.0.1.3"), Dhcp),
            ingress(udp("10.0.1.3:67", "255.255.255.255:68"), Dhcp),
            // To one server, only the router is known to be one.
            egress(client("10.0.1.3"), SecurityGroup),
            egress(client("169.254.7.7"), SecurityGroup),
            ingress(server("169.254.7.7"), NetworkAcl),
        ],
    );
}

#[test]
fn what_is_no_longer_exempt_meets_the_rules_at_once() {
    let rules = || Policy::new().allow_out("udp 53", ANY4);
    let (reserved, link_local) = (udp(OWN, "10.0.1.2:53"), udp(OWN, "169.254.7.7:123"));
    case(
        rules(),
        &[
            egress(reserved.clone(), Exempt),
            egress(link_local.clone(), Exempt),
            apply(rules().exempt("services")),
            egress(reserved.clone(), NewConnection),
            egress(link_local.clone(), SecurityGroup),
            apply(rules().exempt("ranges")),
            egress(reserved, Exempt),
            egress(link_local, Exempt),
        ],
    );
}
