//! The link layer: what is IP, and behind how many tags.

use super::*;

const CUSTOMER: u16 = 0x8100;
const SERVICE: u16 = 0x88a8;

fn packets() -> [(u16, Vec<u8>); 2] {
    [(IPV4, v4(TCP, &tcp(2, &[]))), (IPV6, v6(UDP, &udp(b"x")))]
}

#[test]
fn up_to_two_tags_of_both_ethertypes_change_nothing() {
    for (ether_type, payload) in packets() {
        let bare = ip(&payload).expect("it is valid");
        for tags in [
            &[][..],
            &[CUSTOMER],
            &[SERVICE],
            &[CUSTOMER, CUSTOMER],
            &[SERVICE, CUSTOMER],
            &[CUSTOMER, SERVICE],
            &[SERVICE, SERVICE],
        ] {
            let frame = tagged(tags, ether_type, &payload);
            let packet = read_frame(&frame.as_slice()).expect("it is valid");
            let link = 14 + 4 * tags.len() as u32;
            let offset = bare.transport_offset + link;
            let fragmented_from = if ether_type == IPV4 { bare.fragmented_from + link } else { 0 };
            assert_eq!(packet, Packet { transport_offset: offset, fragmented_from, ..bare }, "{tags:x?}");
        }
    }
}

#[test]
fn three_tags_are_refused() {
    for (ether_type, payload) in packets() {
        for outer in [CUSTOMER, SERVICE] {
            for inner in [CUSTOMER, SERVICE] {
                let frame = tagged(&[outer, inner, CUSTOMER], ether_type, &payload);
                assert_eq!(read_frame(&frame.as_slice()), Err(Reason::VlanDepth));
                let deeper = tagged(&[outer, inner, SERVICE, inner, outer], ether_type, &payload);
                assert_eq!(read_frame(&deeper.as_slice()), Err(Reason::VlanDepth));
            }
        }
    }
}

#[test]
fn a_tag_in_the_metadata_counts_like_one_in_the_data() {
    for (ether_type, payload) in packets() {
        for (in_data, allowed) in [(0, true), (1, true), (2, false), (3, false)] {
            let frame = tagged(&vec![CUSTOMER; in_data], ether_type, &payload);
            let read = read_frame(&Frame::tagged(&frame, 1));
            assert_eq!(read.err(), if allowed { None } else { Some(Reason::VlanDepth) }, "{in_data} in data");
        }
    }
}

#[test]
fn a_frame_that_ends_in_its_tags_is_truncated() {
    let frame = tagged(&[SERVICE, CUSTOMER], IPV4, &[]);
    for length in 0..frame.len() {
        assert_eq!(read_frame(&&frame[..length]), Err(Reason::Truncated), "{length} bytes");
    }
}

#[test]
fn arp_is_told_behind_up_to_two_tags() {
    for tags in [&[][..], &[CUSTOMER], &[SERVICE, CUSTOMER]] {
        let frame = tagged(tags, 0x0806, &[0; 28]);
        assert_eq!(read_frame(&frame.as_slice()), Err(Reason::Arp));
    }
    let frame = tagged(&[CUSTOMER; 3], 0x0806, &[0; 28]);
    assert_eq!(
        read_frame(&frame.as_slice()),
        Err(Reason::VlanDepth),
        "an exemption needs a frame that is read"
    );
}

#[test]
fn arp_of_etherparse_is_told() {
    let builder = etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [255; 6]);
    let request = etherparse::ArpPacket::new(
        etherparse::ArpHardwareId::ETHERNET,
        etherparse::EtherType::IPV4,
        etherparse::ArpOperation::REQUEST,
        &[2, 0, 0, 0, 0, 1],
        &SOURCE,
        &[0; 6],
        &DESTINATION,
    )
    .expect("the lengths fit");
    let mut frame = Vec::new();
    builder.arp(request).write(&mut frame).expect("a vector takes it");
    assert_eq!(read_frame(&frame.as_slice()), Err(Reason::Arp));
}

#[test]
fn what_is_not_ip_is_refused() {
    let payload = v4(TCP, &tcp(2, &[]));
    // Lengths of 802.3 frames, a frame of an LLC header, IPX, PPPoE, MPLS, LLDP, the old QinQ number.
    for ether_type in [0, 46, 1500, 0x05ff, 0x0600, 0x8137, 0x8864, 0x8847, 0x88cc, 0x9100, 0xffff] {
        let frame = ethernet(ether_type, &payload);
        assert_eq!(read_frame(&frame.as_slice()), Err(Reason::NotIp), "{ether_type:#06x}");
    }
    let llc_snap = ethernet(60, &concat(&[&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &payload]));
    assert_eq!(read_frame(&llc_snap.as_slice()), Err(Reason::NotIp), "IP in 802.3 with SNAP");
}

#[test]
fn the_ethertype_and_the_version_must_agree() {
    let frame = ethernet(IPV6, &v4(UDP, &udp(&[0; 40])));
    assert_eq!(read_frame(&frame.as_slice()), Err(Reason::BadIpHeader));
    let frame = ethernet(IPV4, &v6(UDP, &udp(&[0; 40])));
    assert_eq!(read_frame(&frame.as_slice()), Err(Reason::BadIpHeader));
}

#[test]
fn without_a_link_layer_the_version_tells_the_family() {
    assert_eq!(ip(&v4(UDP, &udp(&[]))).map(|packet| packet.family), Ok(crate::address::Family::V4));
    assert_eq!(ip(&v6(UDP, &udp(&[]))).map(|packet| packet.family), Ok(crate::address::Family::V6));
    for version in [0, 1, 2, 3, 5, 7, 15] {
        assert_eq!(ip(&[version << 4; 60]), Err(Reason::NotIp), "version {version}");
    }
    for length in 0..4 {
        assert_eq!(ip(&[0x45; 4][..length]), Err(Reason::Truncated));
    }
}
