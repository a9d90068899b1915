//! `etherparse` reads the same.

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv4Options, Ipv6Extensions,
    Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, NetSlice, PacketBuilder, SlicedPacket,
    TcpHeader, TransportSlice, VlanId,
};
use proptest::{collection::vec, prelude::*};

use super::{
    fuzz::{check, end},
    *,
};
use crate::{address::Address, packet::Fragment};

/// What `etherparse` shall write: a link layer, an IP header, a transport header.
#[derive(Clone, Debug)]
struct Plan {
    tags: u8,
    is_v6: bool,
    source: [u8; 16],
    destination: [u8; 16],
    options: usize,
    extensions: bool,
    atomic: bool,
    transport: u8,
    ports: (u16, u16),
    tcp_options: Vec<u8>,
    payload: Vec<u8>,
}

impl Plan {
    fn ip_headers(&self) -> IpHeaders {
        if self.is_v6 {
            let raw =
                || Ipv6RawExtHeader::new_raw(IpNumber::TCP, &[0; 14]).expect("14 bytes are 16 of header");
            let fragment = Ipv6FragmentHeader::new(IpNumber::TCP, IpFragOffset::ZERO, false, 7);
            let extensions = Ipv6Extensions {
                hop_by_hop_options: self.extensions.then(raw),
                destination_options: self.extensions.then(raw),
                fragment: self.atomic.then_some(fragment),
                ..Ipv6Extensions::default()
            };
            let header = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: 0,
                next_header: IpNumber::TCP,
                hop_limit: 9,
                source: self.source,
                destination: self.destination,
            };
            return IpHeaders::Ipv6(header, extensions);
        }
        let [a, b, c, d, ..] = self.source;
        let [e, f, g, h, ..] = self.destination;
        let header =
            Ipv4Header::new(0, 9, IpNumber::TCP, [a, b, c, d], [e, f, g, h]).expect("no payload yet");
        let options = Ipv4Options::try_from(&[1; 40][..self.options * 4]).expect("whole words, up to ten");
        IpHeaders::Ipv4(Ipv4Header { options, ..header }, Ipv4Extensions::default())
    }

    fn write(&self) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let id = VlanId::try_new(100).expect("below 4096");
        let ip = match self.tags {
            0 => ethernet.ip(self.ip_headers()),
            1 => ethernet.single_vlan(id).ip(self.ip_headers()),
            _ => ethernet.double_vlan(id, id).ip(self.ip_headers()),
        };
        let mut frame = Vec::new();
        let written = match self.transport {
            0 => {
                let mut header = TcpHeader::new(self.ports.0, self.ports.1, 1, 1024);
                (header.syn, header.ack) = (true, true);
                header.set_options_raw(&self.tcp_options).expect("up to 40 bytes");
                ip.tcp_header(header).write(&mut frame, &self.payload)
            }
            1 => ip.udp(self.ports.0, self.ports.1).write(&mut frame, &self.payload),
            _ if self.is_v6 => ip.icmpv6_echo_request(self.ports.0, 1).write(&mut frame, &self.payload),
            _ => ip.icmpv4_echo_request(self.ports.0, 1).write(&mut frame, &self.payload),
        };
        written.expect("a vector takes it");
        frame
    }
}

fn plan() -> impl Strategy<Value = Plan> {
    let link = (0u8..3, any::<bool>());
    let ip = (any::<[u8; 16]>(), any::<[u8; 16]>(), 0usize..=10, any::<bool>(), any::<bool>());
    let transport = (0u8..3, any::<(u16, u16)>(), vec(Just(1u8), 0..=40), vec(any::<u8>(), 0..200));
    (link, ip, transport).prop_map(|((tags, is_v6), ip, (transport, ports, tcp_options, payload))| {
        let (source, destination, options, extensions, atomic) = ip;
        Plan {
            tags,
            is_v6,
            source,
            destination,
            options,
            extensions,
            atomic,
            transport,
            ports,
            tcp_options,
            payload,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn etherparse_reads_the_same(plan in plan(), padding in vec(any::<u8>(), 0..20)) {
        let frame = plan.write();
        let sliced = SlicedPacket::from_ethernet(&frame).expect("it wrote it");
        let padded = [&frame[..], &padding].concat();
        let packet = read_frame(&padded.as_slice()).expect("it is valid");

        prop_assert_eq!(end(&packet, &padded, Link::Ethernet), frame.len());
        prop_assert_eq!(packet.fragment, Fragment::Whole);
        let (source, destination): (Address, Address) = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                prop_assert_eq!(ip.payload_ip_number().0, packet.protocol);
                prop_assert_eq!(ip.header().total_len(), packet.length as u16);
                prop_assert_eq!(ip.header().ttl(), packet.hop_limit);
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            Some(NetSlice::Ipv6(ip)) => {
                prop_assert_eq!(ip.payload().ip_number.0, packet.protocol);
                prop_assert_eq!(u32::from(ip.header().payload_length()) + 40, packet.length);
                prop_assert_eq!(ip.header().hop_limit(), packet.hop_limit);
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!((packet.source, packet.destination), (source, destination));

        let ports = (packet.source_port, packet.destination_port);
        let header = match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                prop_assert_eq!(ports, (tcp.source_port(), tcp.destination_port()));
                prop_assert_eq!(packet.tcp_flags, 18);
                tcp.header_slice().len()
            }
            Some(TransportSlice::Udp(udp)) => {
                prop_assert_eq!(ports, (udp.source_port(), udp.destination_port()));
                8
            }
            Some(TransportSlice::Icmpv4(icmp)) => {
                prop_assert_eq!((packet.icmp_type(), packet.icmp_code()), (icmp.type_u8(), icmp.code_u8()));
                prop_assert_eq!(packet.icmp_identifier, plan.ports.0);
                8
            }
            Some(TransportSlice::Icmpv6(icmp)) => {
                prop_assert_eq!((packet.icmp_type(), packet.icmp_code()), (icmp.type_u8(), icmp.code_u8()));
                prop_assert_eq!(packet.icmp_identifier, plan.ports.0);
                8
            }
            other => return Err(TestCaseError::fail(format!("{other:?}"))),
        };
        prop_assert_eq!(usize::from(packet.transport_length), header);
        check(&padded, Link::Ethernet);
    }
}
