//! Sending frames that no ordinary socket sends: tagged, spoofed, broken.

use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::netns::Namespace;

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
