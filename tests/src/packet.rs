//! Frames that no ordinary socket sends: tagged, spoofed, broken.

use std::{net::IpAddr, time::Duration};

use etherparse::PacketBuilder;
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::{netns::Namespace, process::finish};

/// Hardware address of a device.
///
/// # Panics
///
/// When there is no such device.
#[must_use]
pub fn hardware_address(on: &Namespace, device: &str) -> [u8; 6] {
    let mut ip = on.command("ip");
    let links =
        finish(ip.args(["-json", "link", "show", "dev", device]), Duration::from_secs(10)).ok().json();
    let text = links[0]["address"].as_str().expect("a hardware address");
    let mut address = [0; 6];
    for (byte, part) in address.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(part, 16).expect("two hexadecimal digits");
    }
    address
}

/// A TCP SYN without options in an Ethernet frame: 40 bytes of IP and TCP header, 60 with IPv6.
///
/// # Panics
///
/// When the families of the addresses differ.
#[must_use]
pub fn syn(hardware: ([u8; 6], [u8; 6]), ends: (IpAddr, IpAddr), ports: (u16, u16)) -> Vec<u8> {
    let frame = PacketBuilder::ethernet2(hardware.0, hardware.1);
    let packet = match ends {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.ipv6(source.octets(), destination.octets(), 64)
        }
        _ => panic!("addresses of different families: {ends:?}"),
    };
    let mut bytes = Vec::new();
    packet.tcp(ports.0, ports.1, 1, 64_240).syn().write(&mut bytes, &[]).expect("build a SYN");
    bytes
}

/// Puts VLAN tags into a frame, the outer one first: 802.1ad outside of another tag, else 802.1Q.
#[must_use]
pub fn tagged(frame: &[u8], tags: &[u16]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(12);
    let mut bytes = addresses.to_vec();
    for (number, tag) in tags.iter().enumerate() {
        let kind: u16 = if number + 1 < tags.len() { 0x88a8 } else { 0x8100 };
        bytes.extend(kind.to_be_bytes());
        bytes.extend(tag.to_be_bytes());
    }
    bytes.extend(rest);
    bytes
}

/// Sends a frame as it is out of a device. Whether it arrives is the filter's business.
///
/// # Panics
///
/// When there is no such device.
pub fn send(on: &Namespace, device: &str, frame: &[u8]) {
    let name = std::ffi::CString::new(device).expect("a device name");
    on.run(|| {
        let socket =
            Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).expect("a packet socket");
        // SAFETY: a string that ends in NUL and outlives the call.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
        assert!(index > 0, "no device {device}");
        // The drop of one's own filter on the way out comes back as an error: that is no failure here.
        let _ = socket.send_to(frame, &device_address(index));
    });
}

fn device_address(index: u32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: the storage is larger than any address, and all zeros is a `sockaddr_ll`.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = libc::AF_PACKET.unsigned_abs() as libc::sa_family_t;
    address.sll_ifindex = index.cast_signed();
    // SAFETY: the storage holds an address of exactly this family and length.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}
