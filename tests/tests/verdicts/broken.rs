//! Packets in unusual clothes, and packets that lie.

use filter_common::{
    Direction::Ingress,
    verdict::Reason::{
        self, BadIpHeader, BadTransportHeader, Connection, ExtensionHeaders, NetworkAcl, NewConnection,
        NotIp, SecurityGroup, Truncated, VlanDepth,
    },
};
use tests::{
    frame::{CUSTOMER_TAG, Frame, SERVICE_TAG, arp, echo, protocol, syn, syn_ack, udp},
    policy::Policy,
    program::{Metadata, Receive, Setting},
};

use crate::case::{
    ENI, EVERYWHERE, HOST, HOST_RULE, HOST_RULE_V6, HOST_V6, Rules, STRANGER, Step, case, each, egress,
    ingress, walk,
};

const WEB: &str = "10.0.1.20:80";
const WEB_V6: &str = "[2001:db8:0:1::20]:80";
const DNS: &str = "10.0.1.20:53";

fn server() -> Policy {
    Policy::new()
        .allow_in("tcp 80", HOST_RULE)
        .allow_in("udp 53", HOST_RULE)
        .allow_in("icmp 8", HOST_RULE)
        .allow_in("tcp 80", HOST_RULE_V6)
        .allow_in("udp 53", HOST_RULE_V6)
}

/// Each frame and what becomes of it, each with a table of its own.
#[track_caller]
fn rows(rows: &[(Frame, Reason)]) {
    let steps: Vec<Step> = rows.iter().map(|(frame, reason)| ingress(frame.clone(), *reason)).collect();
    case(server(), &steps);
}

fn from(port: u16) -> String {
    format!("198.51.100.7:{port}")
}

fn web(port: u16) -> Frame {
    syn(&from(port), WEB)
}

fn web_v6(port: u16) -> Frame {
    syn(&format!("[2001:db8:100::7]:{port}"), WEB_V6)
}

#[test]
fn ipv4_headers_that_lie_are_refused() {
    rows(&[
        (web(1), NewConnection),
        (web(2).cut(39), Truncated),
        (web(2).patch(3, 41), Truncated),
        (web(2).patch(2, 0xff), Truncated),
        (web(2).patch(3, 0), BadIpHeader),
        (web(2).patch(3, 19), BadIpHeader),
        (web(2).patch(0, 0x44), BadIpHeader),
        (web(2).patch(0, 0x40), BadIpHeader),
        (web(2).patch(0, 0x65), BadIpHeader),
        (web(2).patch(0, 0x05), BadIpHeader),
        (web(2).patch(0, 0x4f), BadIpHeader),
        (web(2).data(20).ether_type(0x86dd), BadIpHeader),
    ]);
}

#[test]
fn ipv6_headers_that_lie_are_refused() {
    rows(&[
        (web_v6(1), NewConnection),
        (web_v6(2).cut(59), Truncated),
        (web_v6(2).patch(5, 21), Truncated),
        (web_v6(2).patch(5, 19), Truncated),
        (web_v6(2).patch(5, 0), Truncated),
        (web_v6(2).patch(0, 0x40), BadIpHeader),
        (web_v6(2).patch(0, 0x45).ether_type(0x0800), BadIpHeader),
    ]);
}

#[test]
fn transport_headers_that_lie_are_refused() {
    let dns = |port: u16| udp(&from(port), DNS);
    rows(&[
        // TCP: fewer bytes than a header; a data offset below and beyond it.
        (web(2).patch(3, 39), Truncated),
        (web(2).patch(20 + 12, 4 << 4), BadTransportHeader),
        (web(2).patch(20 + 12, 0), BadTransportHeader),
        (web(2).patch(20 + 12, 6 << 4), BadTransportHeader),
        (web(3).data(4).patch(20 + 12, 6 << 4), NewConnection),
        // UDP: a length below its header's and beyond the packet's; a shorter one is padding.
        (dns(2).patch(20 + 5, 7), BadTransportHeader),
        (dns(2).patch(20 + 5, 0), BadTransportHeader),
        (dns(2).patch(20 + 5, 17), BadTransportHeader),
        (dns(2).patch(20 + 4, 1), BadTransportHeader),
        (dns(2).patch(3, 27), Truncated),
        (dns(3).patch(20 + 5, 8), NewConnection),
        // ICMP: eight bytes at least.
        (echo(HOST, ENI, 1).patch(3, 27).cut(27), Truncated),
        (echo(HOST, ENI, 1), NewConnection),
    ]);
}

#[test]
fn bytes_behind_the_packet_are_padding() {
    each(&EVERYWHERE, &server().rules(), |eni, place| {
        let outcome = eni.judge(Ingress, &web(1).padding(6));
        assert_eq!((outcome.reason, outcome.bytes), (NewConnection, 40), "{place}");
        // What lies in the padding is not part of the packet.
        let short = web(2).patch(3, 30).padding(100);
        assert_eq!(eni.judge(Ingress, &short).reason, Truncated, "{place}");
    });
}

#[test]
fn ipv4_options_are_walked_over() {
    rows(&[
        (web(1).options(1), NewConnection),
        (web(2).options(10), NewConnection),
        (syn(STRANGER, WEB).options(10), SecurityGroup),
        (syn(&from(3), "10.0.1.20:81").options(10), SecurityGroup),
    ]);
}

#[test]
fn eight_ipv6_extension_headers_are_walked_over_and_no_more() {
    rows(&[
        (web_v6(1).extensions(1), NewConnection),
        (web_v6(2).extensions(8), NewConnection),
        (web_v6(3).extensions(9), ExtensionHeaders),
        (web_v6(3).extensions(20), ExtensionHeaders),
        (syn("[2001:db8:100::8]:1", WEB_V6).extensions(8), SecurityGroup),
        // Every kind: hop-by-hop, routing, destination options.
        (web_v6(4).extension_headers(&[0, 60, 43, 60]), NewConnection),
        // The fragment header counts.
        (web_v6(5).extensions(7).fragments(1, 20 / 8 * 8 + 8 - 8).0, Reason::TinyFragment),
        (web_v6(5).data(12).extensions(7).fragments(2, 24).0, NewConnection),
        (web_v6(6).data(12).extensions(8).fragments(3, 24).0, ExtensionHeaders),
        // A length beyond the packet, and one that swallows the transport header.
        (web_v6(7).extensions(1).patch(41, 200), Truncated),
        (web_v6(7).extensions(1).patch(41, 2), Truncated),
        // No next header, and an unknown one: protocols without rules.
        (protocol(HOST_V6, WEB_V6, 59, &[]), SecurityGroup),
        (protocol(HOST_V6, WEB_V6, 253, &[0; 8]), SecurityGroup),
    ]);
}

#[test]
fn an_authentication_header_counts_its_length_in_words() {
    // Twelve bytes: RFC 4302 has the length in words less two.
    let mut transport = vec![6, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    transport.extend(&web_v6(1).packet()[40..]);
    rows(&[
        (protocol("[2001:db8:100::7]:1", WEB_V6, 51, &transport), NewConnection),
        (protocol("[2001:db8:100::8]:1", WEB_V6, 51, &transport), SecurityGroup),
    ]);
}

#[test]
fn every_rule_holds_behind_up_to_two_vlan_tags() {
    let mut steps = Vec::new();
    let (customer, service) = (CUSTOMER_TAG, SERVICE_TAG);
    let pairs = [[customer, customer], [customer, service], [service, customer], [service, service]];
    let mut all = vec![vec![], vec![customer], vec![service]];
    all.extend(pairs.map(Vec::from));
    for (tags, port) in all.iter().zip(100..) {
        steps.push(ingress(web(port).tags_of(tags), NewConnection));
        steps.push(ingress(web_v6(port).tags_of(tags), NewConnection));
        steps.push(ingress(syn(STRANGER, WEB).tags_of(tags), SecurityGroup));
        steps.push(ingress(syn(&from(port), "10.0.1.20:81").tags_of(tags), SecurityGroup));
        steps.push(ingress(web(port).tags_of(tags).cut(39), Truncated));
    }
    for innermost in [customer, service] {
        for [outer, inner] in pairs {
            steps.push(ingress(web(1).tags_of(&[outer, inner, innermost]), VlanDepth));
            steps.push(ingress(arp().tags_of(&[outer, inner, innermost]), VlanDepth));
        }
    }
    steps.push(ingress(web(1).tags(&[1, 2, 3, 4]), VlanDepth));
    steps.push(ingress(web(1).tags(&[1]).ether_type(0x88cc), NotIp));
    case(server(), &steps);
}

#[test]
fn what_is_not_ip_is_dropped() {
    // 802.3 lengths, LLDP, MPLS, PPPoE, the old tag of double tagging, RARP and ARP's neighbours.
    let rows: Vec<_> = [46, 1500, 0x88cc, 0x8847, 0x8864, 0x9100, 0x0801, 0x86de, 0x8035, 0x0805, 0x0807]
        .into_iter()
        .map(|ether_type| ingress(web(1).ether_type(ether_type), NotIp))
        .collect();
    case(server(), &rows);
}

/// At XDP only: the kernel itself refuses to test such frames at TC (`frames` sends them there).
#[test]
fn a_frame_that_ends_before_its_ip_header_does_is_dropped() {
    each(&EVERYWHERE[..1], &server().rules(), |eni, _| {
        let (plain, tagged) = (web(1), web(1).tags(&[5]));
        for (length, frame, reason) in [
            (14, &plain, Truncated),
            (15, &plain, Truncated),
            (14 + 19, &plain, Truncated),
            (14 + 39, &web_v6(1), Truncated),
            (14, &tagged, Truncated),
            (17, &tagged, Truncated),
            (18, &tagged, Truncated),
            (18 + 19, &tagged, Truncated),
            (14 + 39, &web(1).ether_type(0x86dd), Truncated),
        ] {
            let bytes = &frame.bytes()[..length];
            assert_eq!(eni.judge_bytes(Ingress, bytes, Metadata::default()).reason, reason, "{length}");
        }
    });
}

#[test]
fn a_device_without_a_link_layer_begins_with_the_ip_header() {
    let bare = Setting { bare: true, ..Setting::WORKLOAD };
    each(&[(bare, Receive::Xdp), (bare, Receive::Tc)], &server().rules(), |eni, place| {
        walk(
            eni,
            place,
            &[
                ingress(web(1), NewConnection),
                ingress(web_v6(1), NewConnection),
                ingress(syn(STRANGER, WEB), SecurityGroup),
                ingress(web(2).patch(0, 0x05), NotIp),
                ingress(web(2).patch(0, 0x75), NotIp),
                ingress(web(2).patch(3, 41), Truncated),
            ],
        );
    });
}

#[test]
fn a_gso_packet_counts_as_its_segments() {
    each(&[(Setting::WORKLOAD, Receive::Tc)], &server().rules(), |eni, _| {
        // 2,500 bytes in segments of 1,000: three, each with 40 bytes of headers.
        for (port, count) in [(1, 3), (2, 0)] {
            let metadata = Metadata { came_by: 1, segments: Some((1000, count)) };
            let outcome = eni.judge_as(Ingress, &web(port).data(2500), metadata);
            assert_eq!((outcome.reason, outcome.packets, outcome.bytes), (NewConnection, 3, 2620), "{count}");
        }
    });
}

#[test]
fn zero_is_a_port_like_any_other() {
    let at_zero = |to: &str| [syn(&from(1), to), udp(&from(1), to)];
    let [tcp_zero, udp_zero] = at_zero("10.0.1.20:0");
    case(server(), &[ingress(tcp_zero.clone(), SecurityGroup), ingress(udp_zero.clone(), SecurityGroup)]);
    case(
        Policy::new().allow_in("tcp 0-79", HOST_RULE).allow_in("udp", HOST_RULE),
        &[ingress(tcp_zero.clone(), NewConnection), ingress(udp_zero.clone(), NewConnection)],
    );
    case(
        Policy::new().allow_in("tcp 1-65535", HOST_RULE).allow_in("udp 1-65535", HOST_RULE),
        &[ingress(tcp_zero, SecurityGroup), ingress(udp_zero, SecurityGroup)],
    );
    // As a source it is no key of a rule, but one of the connection.
    case(
        server(),
        &[
            ingress(syn(&from(0), WEB), NewConnection),
            egress(syn_ack(WEB, &from(0)), Connection),
            egress(syn_ack(WEB, &from(1)), SecurityGroup),
        ],
    );
}

#[test]
fn multicast_and_broadcast_are_addresses_like_any_other() {
    let everybody = ["255.255.255.255:53", "10.0.1.255:53", "224.0.0.251:53", "239.1.2.3:53"];
    let mut steps = Vec::new();
    for (to, port) in everybody.into_iter().zip(1..) {
        // In: the rule is asked about who sends. Out: about the group that it goes to.
        steps.push(ingress(udp(&from(port), to), NewConnection));
        steps.push(ingress(udp(STRANGER, to), SecurityGroup));
        steps.push(egress(udp("10.0.1.20:50000", to), SecurityGroup));
        // An answer comes from one host, which nobody has asked.
        steps.push(egress(udp(DNS, &from(port)), SecurityGroup));
    }
    steps.push(ingress(udp("[2001:db8:100::7]:1", "[ff02::fb]:53"), NewConnection));
    steps.push(ingress(udp("[2001:db8:100::8]:1", "[ff02::fb]:53"), SecurityGroup));
    // Not never-filtered: the listeners of IPv4 (IGMP).
    steps.push(ingress(protocol(HOST, "224.0.0.22", 2, &[0x22; 8]), SecurityGroup));
    case(server(), &steps);
    // On its link no network ACL is asked; beyond it, it is.
    let open = Policy::new().allow_out("udp 53", "224.0.0.0/4").acl_out(1, "deny", "-1", "224.0.0.0/4");
    case(
        open,
        &[
            egress(udp("10.0.1.20:50000", "224.0.0.251:53"), NewConnection),
            egress(udp("10.0.1.20:50000", "224.0.1.1:53"), NetworkAcl),
        ],
    );
}

/// Options that route a packet elsewhere are walked over and not obeyed.
#[test]
fn a_source_route_changes_no_verdict() {
    // Loose source route through 203.0.113.9.
    let mut routed = web(1).options(2);
    for (at, byte) in [131, 7, 4, 203, 0, 113, 9, 0].into_iter().enumerate() {
        routed = routed.patch(20 + at, byte);
    }
    let (allowed, refused) = (web_v6(1).extension_headers(&[43]), syn("[2001:db8:100::8]:1", WEB_V6));
    rows(&[
        (routed, NewConnection),
        (allowed, NewConnection),
        (refused.extension_headers(&[43]), SecurityGroup),
    ]);
}
