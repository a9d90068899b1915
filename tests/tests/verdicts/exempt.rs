//! What is not filtered: exempt remotes, and the traffic that keeps a host on its link.
//!
//! VPC guide, `VPC_Security` (2018), `vpc-security-groups`, `flow-logs-limitations`. Each bound
//! has a packet just outside of it.

use filter_common::{
    Direction::{Egress, Ingress},
    verdict::{
        Category::{Accepted, Rejected},
        Reason::{
            self, Arp, Connection, Dhcp, Exempt, MulticastListener, NeighborDiscovery, NetworkAcl,
            NewConnection, NoPolicy, OrphanFragment, SecurityGroup, SourceDestCheck, Stray,
        },
    },
};
use filter_ctl::policy::EffectivePolicy;
use tests::{
    frame::{Frame, arp, icmp, syn, udp},
    policy::{ANY4, ANY6, Policy},
    program::{Metadata, Receive, Setting, effective, programs},
};

use crate::case::{
    ENI, EVERYWHERE, HOST, HOST_RULE, Step, case, each, egress, ingress, recorded, tracked, walk,
};

/// Both layers deny everything.
fn denied() -> EffectivePolicy {
    let mut policy = effective(&Policy::new());
    policy.nacl.ingress.clear();
    policy.nacl.egress.clear();
    policy
}

/// The places of side `workload`: on side `host` an exempt source must be the host's own.
fn on_the_workloads_side(steps: &[Step]) {
    each(&EVERYWHERE[..2], &denied(), |eni, place| walk(eni, place, steps));
}

/// Conformance 33: With groups and ACL that deny everything, E reaches and is reached by the subnet's first four
/// addresses (router and DNS among them), the VPC's DNS server (its block plus two) and `169.254.0.0/16`, and DHCP
/// passes; no flow log has a record of it.
/// Source: VPC guide of 2018 `VPC_Security`; VPC guide `vpc-security-groups`, `flow-logs-limitations`.
/// Enforced: `filter-ctl/src/document/exempt.rs` (`LINK_LOCAL`, `reserved`); `filter-ctl/src/compile/effects.rs` (`Reserved`, `decide`);
/// `filter-common/src/exempt.rs` (`candidate`, `dhcp`); `filter-ebpf/src/seen.rs` (`exemption_holds`, `is_dhcp_on_the_link`).
#[test]
fn row_33_the_subnets_first_four_addresses_are_exempt_in_both_directions() {
    let mut steps: Vec<Step> = Vec::new();
    for last in 0..4 {
        let remote = format!("10.0.1.{last}:53");
        steps.push(egress(udp("10.0.1.20:50000", &remote), Exempt));
        steps.push(ingress(udp(&remote, "10.0.1.20:50000"), Exempt));
        steps.push(ingress(syn(&remote, "10.0.1.20:22"), Exempt));
    }
    steps.extend([
        // IPv6 has no such addresses: neither the subnet's first ones nor those of AWS's services.
        ingress(udp("[2001:db8:0:1::1]:53", "[2001:db8:0:1::20]:50000"), SecurityGroup),
        egress(udp("[2001:db8:0:1::20]:50000", "[2001:db8:0:1::]:53"), SecurityGroup),
        egress(udp("[2001:db8:0:1::20]:50000", "[fd00:ec2::254]:80"), SecurityGroup),
        egress(udp("[2001:db8:0:1::20]:50000", "[::ffff:169.254.169.254]:80"), SecurityGroup),
        // In the subnet, so only the groups are asked.
        ingress(udp("10.0.1.4:53", "10.0.1.20:50000"), SecurityGroup),
        ingress(udp("10.0.1.255:53", "10.0.1.20:50000"), SecurityGroup),
        ingress(udp("10.0.0.255:53", "10.0.1.20:50000"), NetworkAcl),
        egress(udp("10.0.1.20:50000", "10.0.1.4:53"), SecurityGroup),
        tracked(0),
    ]);
    on_the_workloads_side(&steps);
}

#[test]
fn an_exempt_source_is_believed_on_the_hosts_side_only_if_the_host_made_the_packet() {
    each(&[(Setting::HOST, Receive::Tc)], &denied(), |eni, _| {
        let made_here = Metadata::default();
        let forwarded = Metadata { came_by: 1, ..made_here };
        for (remote, rules) in [("10.0.1.2:53", SecurityGroup), ("169.254.169.254:123", NetworkAcl)] {
            for frame in [udp(remote, "10.0.1.20:50000"), syn(remote, "10.0.1.20:22")] {
                assert_eq!(eni.judge_as(Ingress, &frame, made_here).reason, Exempt, "{remote}");
                assert_eq!(eni.judge_as(Ingress, &frame, forwarded).reason, rules, "{remote}");
            }
            assert_eq!(eni.judge(Egress, &udp("10.0.1.20:50000", remote)).reason, Exempt, "{remote}");
        }
    });
}

/// Conformance 33.
#[test]
fn row_33_the_vpcs_dns_server_is_exempt_and_its_neighbours_are_not() {
    on_the_workloads_side(&[
        egress(udp("10.0.1.20:50000", "10.0.0.2:53"), Exempt),
        ingress(udp("10.0.0.2:53", "10.0.1.20:50000"), Exempt),
        egress(udp("10.0.1.20:50000", "10.0.0.1:53"), SecurityGroup),
        egress(udp("10.0.1.20:50000", "10.0.0.3:53"), SecurityGroup),
    ]);
}

/// An exempt source that is not believed and that the rules admit opens no connection: its answers
/// would be the network ACL's to stop, though their destination is exempt.
#[test]
fn what_goes_to_an_exempt_address_is_exempt_whatever_came_from_there() {
    let policy = Policy::new().allow_in("udp 53", "169.254.0.0/16").acl_out(1, "deny", "-1", ANY4);
    let places = [(Setting::WORKLOAD, Receive::Xdp), (Setting::WORKLOAD, Receive::Tc)];
    let (foreign, forged) = ("10.0.1.99:53", "169.254.7.7:1000");
    each(&places, &effective(&policy), |eni, place| {
        walk(
            eni,
            place,
            &[
                egress(udp(foreign, forged), Exempt),
                ingress(udp(forged, foreign), Stray),
                tracked(0),
                egress(udp(foreign, forged), Exempt),
            ],
        );
    });
}

/// Nothing comes from a group: such a source is no neighbour, to the network ACL or to DHCP.
#[test]
fn a_group_as_source_is_no_neighbour() {
    case(
        denied(),
        &[
            ingress(udp("224.0.0.5:67", "10.0.1.20:68"), NetworkAcl),
            ingress(syn("224.0.0.5:40000", "10.0.1.20:22"), NetworkAcl),
            ingress(syn("[ff02::5]:40000", "[2001:db8:0:1::20]:22"), NetworkAcl),
            egress(udp("10.0.1.20:5353", "224.0.0.251:5353"), SecurityGroup),
        ],
    );
}

/// Conformance 33.
#[test]
fn row_33_link_local_addresses_are_exempt_as_destinations() {
    case(
        denied(),
        &[
            egress(syn("10.0.1.20:50000", "169.254.169.254:80"), Exempt),
            egress(syn("10.0.1.20:50000", "169.254.0.0:80"), Exempt),
            egress(syn("10.0.1.20:50000", "169.254.255.255:80"), Exempt),
            egress(syn("10.0.1.20:50000", "169.253.255.255:80"), SecurityGroup),
            egress(syn("10.0.1.20:50000", "169.255.0.0:80"), SecurityGroup),
        ],
    );
}

/// Conformance 33.
#[test]
fn a_link_local_source_is_exempt_on_the_workloads_side_only_towards_its_own_addresses() {
    let places = [(Setting::WORKLOAD, Receive::Xdp), (Setting::WORKLOAD, Receive::Tc)];
    each(&places, &denied(), |eni, place| {
        for (to, reason) in
            [("10.0.1.20:50000", Exempt), ("10.0.1.21:50000", NetworkAcl), ("10.0.1.255:50000", NetworkAcl)]
        {
            let outcome = eni.judge(Ingress, &udp("169.254.169.254:123", to));
            assert_eq!(outcome.reason, reason, "{to}, {place}");
        }
        for (from, reason) in [
            ("169.254.0.0:123", Exempt),
            ("169.254.255.255:123", Exempt),
            ("169.253.255.255:123", NetworkAcl),
            ("169.255.0.0:123", NetworkAcl),
        ] {
            let outcome = eni.judge(Ingress, &udp(from, "10.0.1.20:50000"));
            assert_eq!(outcome.reason, reason, "{from}, {place}");
        }
    });
}

/// Conformance 34: DNS of E to a server of its own at H is filtered like anything else, and logged.
/// Source: VPC guide `flow-logs-limitations`.
/// Enforced: `filter-ebpf/src/pipeline.rs` (`open`, `judge_read`).
#[test]
fn row_34_a_name_server_of_ones_own_is_filtered() {
    let own_server = udp("10.0.1.20:50000", "198.51.100.7:53");
    let answer = udp("198.51.100.7:53", "10.0.1.20:50000");
    case(
        Policy::new().log("ALL"),
        &[egress(own_server.clone(), SecurityGroup), recorded(&[(Egress, Rejected, 1)])],
    );
    case(
        Policy::new().allow_out("udp 53", HOST_RULE).log("ALL"),
        &[
            egress(own_server, NewConnection),
            ingress(answer, Connection),
            recorded(&[(Ingress, Accepted, 1), (Egress, Accepted, 1)]),
        ],
    );
}

#[test]
fn later_fragments_of_exempt_traffic_are_exempt() {
    let datagram = udp("10.0.1.2:53", "10.0.1.20:50000");
    on_the_workloads_side(&[
        ingress(datagram.later(1, 8), Exempt),
        ingress(udp(HOST, "10.0.1.20:50000").later(1, 8), OrphanFragment),
    ]);
}

/// Conformance 4.3-a: ARP is neither filtered nor logged, also behind a VLAN tag.
/// Source: VPC guide `flow-logs-limitations`.
/// Enforced: `filter-common/src/packet/link.rs` (`read`).
#[test]
fn arp_is_never_filtered() {
    case(denied(), &[ingress(arp(), Arp), egress(arp(), Arp), ingress(arp().tags(&[5]), Arp)]);
}

/// A message of the link, on the way in.
fn link_message(from: &str, to: &str, kind: (u8, u8), hop_limit: u8) -> Frame {
    icmp(from, to, kind, 0).hop_limit(hop_limit)
}

/// Conformance 4.3-b: Neighbour discovery, IPv6's ARP, is not filtered, with hop limit 255 and code 0 only.
/// Source: VPC guide `flow-logs-limitations`; RFC `4861`.
/// Enforced: `filter-common/src/exempt.rs` (`icmpv6`).
#[test]
fn neighbour_discovery_is_never_filtered_and_no_wider() {
    let (router, own) = ("fe80::1", "fe80::20");
    let message = |kind, hop_limit| link_message(router, own, kind, hop_limit);
    let mut steps: Vec<Step> =
        (133..=137).map(|kind| ingress(message((kind, 0), 255), NeighborDiscovery)).collect();
    steps.extend([
        egress(link_message(own, "ff02::1:ff00:1", (135, 0), 255), NeighborDiscovery),
        ingress(link_message("::", "ff02::1:ff00:20", (135, 0), 255), NeighborDiscovery),
        ingress(message((135, 0), 254), SecurityGroup),
        ingress(message((135, 1), 255), SecurityGroup),
        ingress(message((132, 0), 255), SecurityGroup),
        ingress(message((138, 0), 255), SecurityGroup),
        // RFC 6980: never in fragments.
        ingress(message((135, 0), 255).fragments(1, 8).0, SecurityGroup),
    ]);
    case(denied(), &steps);
}

#[test]
fn multicast_listeners_are_never_filtered_and_no_wider() {
    let (router, all) = ("fe80::1", "ff02::16");
    let mut steps: Vec<Step> = [130, 131, 132, 143]
        .into_iter()
        .map(|kind| ingress(link_message(router, all, (kind, 0), 1), MulticastListener))
        .collect();
    steps.extend([
        egress(link_message("fe80::20", all, (143, 0), 1).extension_headers(&[0]), MulticastListener),
        ingress(link_message(router, all, (143, 0), 2), SecurityGroup),
        ingress(link_message(router, all, (142, 0), 1), SecurityGroup),
        ingress(link_message(router, all, (144, 0), 1), SecurityGroup),
        ingress(link_message("2001:db8:9::1", all, (143, 0), 1), NetworkAcl),
        ingress(link_message("fec0::1", all, (143, 0), 1), NetworkAcl),
        ingress(link_message("febf::1", all, (143, 0), 1), MulticastListener),
    ]);
    case(denied(), &steps);
}

/// Conformance 33.
#[test]
fn dhcp_is_never_filtered_on_the_link_and_no_wider() {
    let broadcast = "255.255.255.255";
    let client = |remote: &str| udp("10.0.1.20:68", &format!("{remote}:67"));
    let server = |remote: &str| udp(&format!("{remote}:67"), "10.0.1.20:68");
    case(
        denied(),
        &[
            egress(udp("0.0.0.0:68", "255.255.255.255:67"), Dhcp),
            egress(client(broadcast), Dhcp),
            egress(client("10.0.1.1"), Exempt),
            egress(client("169.254.169.254"), Exempt),
            egress(client("10.0.1.30"), SecurityGroup),
            egress(client("198.51.100.7"), SecurityGroup),
            ingress(server("10.0.1.30"), Dhcp),
            ingress(udp("10.0.1.30:67", "255.255.255.255:68"), Dhcp),
            ingress(server("198.51.100.7"), NetworkAcl),
            ingress(udp("198.51.100.7:67", "255.255.255.255:68"), NetworkAcl),
            // Other ports, another protocol, the other way round.
            egress(udp("10.0.1.20:69", "255.255.255.255:67"), SecurityGroup),
            egress(udp("10.0.1.20:68", "255.255.255.255:66"), SecurityGroup),
            egress(udp("10.0.1.20:67", "255.255.255.255:68"), SecurityGroup),
            ingress(udp("10.0.1.30:66", "10.0.1.20:68"), SecurityGroup),
            ingress(udp("10.0.1.30:68", "255.255.255.255:67"), SecurityGroup),
            ingress(syn("10.0.1.30:67", "10.0.1.20:68"), SecurityGroup),
        ],
    );
    on_the_workloads_side(&[ingress(server("10.0.1.1"), Exempt)]);
    // What is forwarded with an exempt source is not exempt, but from a server still DHCP.
    each(&EVERYWHERE[2..], &denied(), |eni, place| {
        let mut steps = Vec::new();
        for remote in ["10.0.1.1", "169.254.169.254"] {
            steps.push(ingress(server(remote), Dhcp));
            let rules = if remote.starts_with("10.") { SecurityGroup } else { NetworkAcl };
            steps.push(ingress(udp(&format!("{remote}:67"), "10.0.1.20:69"), rules));
        }
        // Fragments are read no further than the first, so they are no DHCP.
        steps.push(ingress(udp("10.0.1.30:67", "10.0.1.20:68").fragments(1, 8).0, SecurityGroup));
        walk(eni, place, &steps);
    });
}

/// Conformance 4.3-c: DHCPv6 is not filtered, between ports 546 and 547 and with a link-local source only.
/// Source: VPC guide `vpc-security-groups`, `flow-logs-limitations`; RFC `8415`.
/// Enforced: `filter-common/src/exempt.rs` (`dhcpv6`).
#[test]
fn dhcpv6_is_never_filtered_from_a_link_local_source_and_no_wider() {
    let all_servers = "[ff02::1:2]:547";
    case(
        denied(),
        &[
            egress(udp("[fe80::20]:546", all_servers), Dhcp),
            egress(udp("[2001:db8:0:1::20]:546", all_servers), SecurityGroup),
            egress(udp("[fe80::20]:545", all_servers), SecurityGroup),
            egress(udp("[fe80::20]:546", "[ff02::1:2]:546"), SecurityGroup),
            ingress(udp("[fe80::1]:547", "[fe80::20]:546"), Dhcp),
            ingress(udp("[2001:db8:9::1]:547", "[fe80::20]:546"), NetworkAcl),
            ingress(udp("[fe80::1]:546", "[fe80::20]:547"), SecurityGroup),
            ingress(udp("[fec0::1]:547", "[fe80::20]:546"), NetworkAcl),
        ],
    );
}

#[test]
fn with_source_dest_check_only_ones_own_addresses_pass() {
    let policy = Policy::new().allow_in("-1", HOST_RULE).allow_in("-1", ANY6);
    let mut policy = effective(&policy);
    let relay = ingress(syn(HOST, "10.0.1.21:22"), NewConnection);
    case(policy.clone(), &[relay]);
    policy.source_dest_check = true;
    case(
        policy,
        &[
            ingress(syn(HOST, "10.0.1.20:22"), NewConnection),
            ingress(syn(HOST, "10.0.1.21:22"), SourceDestCheck),
            ingress(syn("[2001:db8:100::7]:1", "[2001:db8:0:1::20]:22"), NewConnection),
            ingress(syn("[2001:db8:100::7]:1", "[2001:db8:0:1::21]:22"), SourceDestCheck),
            ingress(syn("[fe80::1]:1", "[fe80::20]:22"), NewConnection),
            egress(syn("[2001:db8:0:1::21]:1", "[2001:db8:100::7]:22"), SourceDestCheck),
            egress(syn("10.0.1.21:1", "198.51.100.7:22"), SourceDestCheck),
            egress(syn("10.0.1.21:1", "169.254.169.254:80"), Exempt),
        ],
    );
}

#[test]
fn without_a_policy_everything_is_dropped() {
    let mut programs = programs();
    let vacant = Setting { twin: true, ..Setting::WORKLOAD };
    for receive in [Receive::Xdp, Receive::Tc] {
        let mut eni = programs.vacant(vacant, receive);
        let ping = icmp(HOST, ENI, (8, 0), 1);
        for (direction, frame) in [
            (Ingress, syn(HOST, "10.0.1.20:22")),
            (Egress, syn("10.0.1.20:1", HOST)),
            (Ingress, ping.clone()),
            (Ingress, arp()),
            (Ingress, udp("10.0.1.2:53", "10.0.1.20:50000")),
            (Ingress, ping.patch(0, 0)),
        ] {
            assert_eq!(eni.judge(direction, &frame).reason, NoPolicy, "{frame:?}");
        }
    }
}

#[test]
fn reasons_pass_or_drop_as_their_category_says() {
    // The harness compares what the program returns with `Reason::passes`; here, that with the words.
    for reason in Reason::ALL {
        let stays =
            matches!(reason.name(), "network-acl" | "security-group" | "source-dest-check" | "no-policy");
        assert!(!(stays && reason.passes()), "{}", reason.name());
    }
    each(&EVERYWHERE, &denied(), |eni, _| {
        assert!(!eni.run(Ingress, &syn(HOST, "10.0.1.20:22").bytes(), Metadata::default()));
        assert!(eni.run(Ingress, &arp().bytes(), Metadata::default()));
    });
}
