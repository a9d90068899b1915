//! The hard packets (docs/semantics.md), sent as frames through every hook, both ways.
//!
//! `verdicts/` asks the programs about more of them, by test runs; here the kernel hands them over.

use std::time::Duration;

use filter_common::{
    Direction::{self, Egress, Ingress},
    verdict::Reason::{
        self, Arp, BadIpHeader, BadTransportHeader, ExtensionHeaders, Fragment, NewConnection, NotIp,
        OrphanFragment, Related, SecurityGroup, Stray, TinyFragment, Truncated, VlanDepth,
    },
};
use tests::{
    frame::{CUSTOMER_TAG, Frame, SERVICE_TAG, arp, echo, error, flags, protocol, syn, tcp, udp, udp_with},
    lab::Lab,
    netns::Namespace,
    policy::Policy,
    process::finish,
    wire::Wire,
};

/// One direction and family: who sends to whom.
struct Way {
    direction: Direction,
    from: &'static str,
    to: &'static str,
    /// Who may not send, or may not be sent to: takes the place of the other end.
    stranger: (&'static str, &'static str),
}

const V4: [&str; 3] = ["198.51.100.7", "10.0.1.20", "203.0.113.9"];
const V6: [&str; 3] = ["2001:db8:100::7", "2001:db8:0:1::20", "2001:db8:200::9"];

fn ways() -> [Way; 4] {
    [(Ingress, V4), (Ingress, V6), (Egress, V4), (Egress, V6)].map(|(direction, [host, own, stranger])| {
        match direction {
            Ingress => Way { direction, from: host, to: own, stranger: (stranger, own) },
            Egress => Way { direction, from: own, to: host, stranger: (own, stranger) },
        }
    })
}

impl Way {
    fn is_v4(&self) -> bool {
        !self.from.contains(':')
    }

    /// A SYN that the rules allow.
    fn web(&self, port: u16) -> Frame {
        syn(&end(self.from, port), &end(self.to, 80))
    }

    /// One that they do not.
    fn strange(&self) -> Frame {
        syn(&end(self.stranger.0, 1), &end(self.stranger.1, 80))
    }

    fn dns(&self, port: u16, length: usize) -> Frame {
        udp_with(&end(self.from, port), &end(self.to, 53), length)
    }

    fn expect(&self, wire: &Wire<'_>, rows: &[(&str, Frame, Reason)]) {
        for (what, frame, reason) in rows {
            wire.expect(self.direction, &frame.bytes(), *reason, what);
        }
    }
}

/// An address with a port.
fn end(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// The same is allowed both ways: with the host, of either family.
fn policy() -> Policy {
    let families = [("198.51.100.7/32", "icmp 8"), ("2001:db8:100::7/128", "icmpv6 128")];
    families.into_iter().fold(Policy::new(), |policy, (host, ping)| {
        ["tcp 80", "udp 53", ping]
            .into_iter()
            .fold(policy, |policy, service| policy.allow_in(service, host).allow_out(service, host))
    })
}

/// Rules hold behind no, one and two VLAN tags of both EtherTypes; behind three, and where no IP
/// packet follows, nothing passes. At TC the kernel has moved the outer tag beside the packet.
pub(crate) fn the_link_layer(lab: &mut Lab) {
    lab.attach(&policy());
    let wire = Wire::of(lab);
    let kinds = [CUSTOMER_TAG, SERVICE_TAG];
    let pairs = || kinds.iter().flat_map(|outer| kinds.map(|inner| vec![*outer, inner]));
    let triples = || pairs().flat_map(|pair| kinds.map(|inner| [&pair[..], &[inner]].concat()));
    let few: Vec<Vec<u16>> =
        std::iter::once(vec![]).chain(kinds.map(|kind| vec![kind])).chain(pairs()).collect();
    for way in ways() {
        for (tags, port) in few.iter().zip(100..) {
            let what = format!("behind {tags:04x?}");
            way.expect(
                &wire,
                &[
                    (&what, way.web(port).tags_of(tags), NewConnection),
                    (&what, way.strange().tags_of(tags), SecurityGroup),
                    (&what, way.web(1).cut(39).tags_of(tags), Truncated),
                    (&what, arp().tags_of(tags), Arp),
                    (&what, way.web(1).ether_type(0x88cc).tags_of(tags), NotIp),
                ],
            );
        }
        for tags in triples().chain([vec![CUSTOMER_TAG; 4]]) {
            let what = format!("behind {tags:04x?}");
            way.expect(&wire, &[(&what, way.web(1).tags_of(&tags), VlanDepth)]);
            way.expect(&wire, &[(&what, arp().tags_of(&tags), VlanDepth)]);
        }
        // 802.3: a length instead of an EtherType; LLC and SNAP with an IP packet in it; MPLS; PPPoE.
        for length in [0, 46, 1500, 0x0600, 0x8847, 0x8864] {
            way.expect(&wire, &[("802.3", way.web(1).ether_type(length), NotIp)]);
        }
        let mut snap = way.web(1).bytes();
        let inner: Vec<u8> = [&[0xaa, 0xaa, 3, 0, 0, 0][..], &snap[12..]].concat();
        snap.truncate(12);
        snap.extend((inner.len() as u16).to_be_bytes());
        snap.extend(inner);
        wire.expect(way.direction, &snap, NotIp, "802.2 SNAP");
        // Frames that end before their IP header does.
        let whole = way.web(1).bytes();
        for length in [14, 15, 14 + 19, 14 + 39] {
            wire.expect(way.direction, &whole[..length], Truncated, &format!("cut to {length}"));
        }
    }
}

/// IP, transport, fragments, errors: what lies in one frame.
pub(crate) fn the_layers_above(lab: &mut Lab) {
    lab.attach(&policy());
    let wire = Wire::of(lab);
    for way in ways() {
        if way.is_v4() {
            way.expect(
                &wire,
                &[
                    ("one word of options", way.web(200).options(1), NewConnection),
                    ("ten words of options", way.web(201).options(10), NewConnection),
                    ("options of a stranger", way.strange().options(10), SecurityGroup),
                    ("four words of header", way.web(1).patch(0, 0x44), BadIpHeader),
                    ("no version", way.web(1).patch(0, 0x05), BadIpHeader),
                    ("a total length beyond the end", way.web(1).patch(3, 41), Truncated),
                    ("a total length within the header", way.web(1).patch(3, 19), BadIpHeader),
                    ("a total length of nothing", way.web(1).patch(3, 0), BadIpHeader),
                    ("data behind the packet", way.web(202).padding(20), NewConnection),
                ],
            );
        } else {
            way.expect(
                &wire,
                &[
                    ("eight extension headers", way.web(200).extensions(8), NewConnection),
                    ("nine extension headers", way.web(1).extensions(9), ExtensionHeaders),
                    ("extension headers of a stranger", way.strange().extensions(8), SecurityGroup),
                    (
                        "an extension header beyond the end",
                        way.web(1).extensions(1).patch(41, 200),
                        Truncated,
                    ),
                    ("a payload beyond the end", way.web(1).patch(5, 21), Truncated),
                    ("no payload", way.web(1).patch(5, 0), Truncated),
                    ("no version", way.web(1).patch(0, 0x40), BadIpHeader),
                ],
            );
        }
        let ip = if way.is_v4() { 20 } else { 40 };
        way.expect(
            &wire,
            &[
                ("a data offset of four words", way.web(1).patch(ip + 12, 4 << 4), BadTransportHeader),
                ("a data offset beyond the end", way.web(1).patch(ip + 12, 6 << 4), BadTransportHeader),
                ("a UDP length beyond the end", way.dns(1, 8).patch(ip + 5, 17), BadTransportHeader),
                ("a UDP length within the header", way.dns(1, 8).patch(ip + 5, 7), BadTransportHeader),
                ("zero ports", udp(&end(way.from, 0), &end(way.to, 0)), SecurityGroup),
                ("a zero source port", way.dns(0, 8), NewConnection),
            ],
        );
        let odd = [0, flags::FIN | flags::PSH | flags::URG, flags::SYN | flags::FIN, flags::SYN | flags::RST];
        for (flags, port) in odd.into_iter().zip(300..) {
            let segment = tcp(&end(way.from, port), &end(way.to, 80), flags);
            way.expect(&wire, &[(&format!("flags {flags:02x}"), segment, Stray)]);
        }
        fragments(&wire, &way);
        errors(&wire, &way);
    }
}

fn fragments(wire: &Wire<'_>, way: &Way) {
    let datagram = way.dns(400, 64);
    let (first, later) = datagram.fragments(400, 32);
    let segment = way.web(401).data(44);
    way.expect(
        wire,
        &[
            ("a later fragment before its first one", later.clone(), OrphanFragment),
            ("a first fragment", first, NewConnection),
            ("a later fragment", later, Fragment),
            ("a later fragment of another datagram", datagram.later(401, 32), OrphanFragment),
            ("a tiny fragment", segment.fragments(402, 16).0, TinyFragment),
            ("a later fragment of a tiny one", segment.fragments(402, 16).1, OrphanFragment),
            ("a first fragment of TCP", segment.fragments(403, 24).0, NewConnection),
            ("a fragment over its header", segment.later(403, 16), OrphanFragment),
            ("a fragment behind its header", segment.later(403, 24), Fragment),
            ("a first fragment of a stranger", way.strange().data(44).fragments(404, 32).0, SecurityGroup),
            ("a fragment beyond 65,535 bytes", datagram.later(400, 65_528), BadIpHeader),
        ],
    );
}

fn errors(wire: &Wire<'_>, way: &Way) {
    let (from, to) = (way.from, way.to);
    // The answering way's packet, so that an error about it goes this way.
    let kind = if way.is_v4() { (3, 4) } else { (2, 0) };
    let asked = syn(&end(to, 500), &end(from, 80));
    let other = syn(&end(to, 501), &end(from, 80));
    wire.expect(way.direction.reverse(), &asked.bytes(), NewConnection, "what is quoted");
    let (ip, quoted) = if way.is_v4() { (20, 28) } else { (40, 48) };
    // As long as it takes to name the ports, and less.
    let cut = |length: usize| {
        let frame = error(from, to, kind, &asked);
        if way.is_v4() {
            frame.patch(3, length as u8).cut(length)
        } else {
            frame.patch(5, (length - 40) as u8).cut(length)
        }
    };
    way.expect(
        wire,
        &[
            ("an error about a connection", error(from, to, kind, &asked), Related),
            (
                "an error from a router",
                error(way.stranger.0, way.stranger.1, kind, &asked),
                if way.direction == Ingress { Related } else { SecurityGroup },
            ),
            ("an error about nothing", error(from, to, kind, &other), SecurityGroup),
            ("an error with a whole quote", cut(ip + 8 + ip + 8), Related),
            ("an error without the quoted ports", cut(ip + 8 + ip + 3), SecurityGroup),
            ("an error with half of a quoted header", cut(quoted + 10), SecurityGroup),
            ("an error that quotes nothing", cut(quoted), SecurityGroup),
            ("an error cut off in its own header", cut(quoted - 1), Truncated),
            ("a ping", echo(from, to, 500), NewConnection),
            ("an error about an error", error(from, to, kind, &error(to, from, kind, &asked)), SecurityGroup),
        ],
    );
}

/// Frames of up to 9,000 bytes: over several buffers at XDP, in pages at TC; also those whose
/// headers lie beyond the first buffer.
pub(crate) fn jumbo_frames(lab: &mut Lab) {
    let set_mtu = |on: &Namespace, device: &str| {
        let mut ip = on.command("ip");
        let _ = finish(ip.args(["link", "set", device, "mtu", "9000"]), Duration::from_secs(10)).ok();
    };
    set_mtu(&lab.remote, "veth0");
    set_mtu(&lab.workload, "eth0");
    lab.attach(&policy());
    let wire = Wire::of(lab);
    for way in ways() {
        let ip = if way.is_v4() { 20 } else { 40 };
        way.expect(
            &wire,
            &[
                ("8,900 bytes", way.dns(600, 8_900), NewConnection),
                ("8,900 bytes behind two tags", way.dns(601, 8_900).tags(&[7, 5]), NewConnection),
                ("8,900 bytes of a stranger", way.strange().data(8_900), SecurityGroup),
                (
                    "a UDP length beyond 8,900 bytes",
                    way.dns(1, 8_900).patch(ip + 4, 0x23),
                    BadTransportHeader,
                ),
                ("a jumbo frame cut off", way.dns(1, 8_900).cut(8_000), Truncated),
            ],
        );
        if !way.is_v4() {
            // Two extension headers of 2,048 bytes: TCP begins at byte 4,150.
            let deep = |frame: Frame, (from, to): (&str, &str), next: u8| {
                let option = |next: u8| [&[next, 255][..], &[0; 2046]].concat();
                let transport = &frame.packet()[40..];
                protocol(from, to, 60, &[&option(60), &option(next), transport].concat())
            };
            let ends = (way.from, way.to);
            let other_port = syn(&end(way.from, 604), &end(way.to, 81));
            way.expect(
                &wire,
                &[
                    ("a deep header", deep(way.web(602), ends, 6), NewConnection),
                    ("a deep header of another port", deep(other_port, ends, 6), SecurityGroup),
                    ("a deep header of a stranger", deep(way.strange(), way.stranger, 6), SecurityGroup),
                    (
                        "a deep header that lies",
                        deep(way.web(1), ends, 6).patch(40 + 4096 + 12, 0),
                        BadTransportHeader,
                    ),
                    ("a deep header cut off", deep(way.web(1), ends, 6).cut(40 + 4096 + 19), Truncated),
                    ("a chain beyond the end", deep(way.web(1), ends, 60), Truncated),
                ],
            );
        }
    }
}
