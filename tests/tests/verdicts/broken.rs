//! Packets in unusual clothes, and packets that lie.

use filter_common::{
    Direction::Ingress,
    verdict::Reason::{
        self, BadIpHeader, BadTransportHeader, ExtensionHeaders, NewConnection, NotIp, SecurityGroup,
        Truncated, VlanDepth,
    },
};
use tests::{
    frame::{Frame, echo, protocol, syn, udp},
    policy::Policy,
    program::{Metadata, Receive, Setting},
};

use crate::case::{
    ENI, EVERYWHERE, HOST, HOST_RULE, HOST_RULE_V6, HOST_V6, Rules, STRANGER, Step, case, each, ingress, walk,
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
    for (number, tags) in [&[][..], &[5], &[7, 5]].into_iter().enumerate() {
        let port = 100 + number as u16;
        steps.push(ingress(web(port).tags(tags), NewConnection));
        steps.push(ingress(web_v6(port).tags(tags), NewConnection));
        steps.push(ingress(syn(STRANGER, WEB).tags(tags), SecurityGroup));
        steps.push(ingress(syn(&from(port), "10.0.1.20:81").tags(tags), SecurityGroup));
        steps.push(ingress(web(port).tags(tags).cut(39), Truncated));
    }
    steps.push(ingress(web(1).tags(&[1, 2, 3]), VlanDepth));
    steps.push(ingress(web(1).tags(&[1, 2, 3, 4]), VlanDepth));
    steps.push(ingress(web(1).tags(&[1]).ether_type(0x88cc), NotIp));
    case(server(), &steps);
}

#[test]
fn what_is_not_ip_is_dropped() {
    // 802.3 lengths, LLDP, MPLS, PPPoE, the old tag of double tagging.
    let rows: Vec<_> = [46, 1500, 0x88cc, 0x8847, 0x8864, 0x9100, 0x0801, 0x86de]
        .into_iter()
        .map(|ether_type| ingress(web(1).ether_type(ether_type), NotIp))
        .collect();
    case(server(), &rows);
}

/// At XDP only: the kernel itself refuses to test such frames at TC.
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
