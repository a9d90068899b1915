//! A TCP connection from a chosen address, which the standard library cannot open.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Connects from `source` to `target`; gives up after `limit`.
pub(crate) fn connect(source: IpAddr, target: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let (source, source_length) = raw(SocketAddr::new(source, 0));
    let (target, target_length) = raw(target);
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: no memory is involved.
    let descriptor = unsafe { libc::socket(i32::from(source.ss_family), kind, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and nobody else owns it.
    let stream = TcpStream::from(unsafe { OwnedFd::from_raw_fd(descriptor) });
    // On Linux the send timeout is also the time that a blocking connect may take.
    stream.set_write_timeout(Some(limit))?;
    // SAFETY: the address is live and of the length given.
    check(unsafe { libc::bind(stream.as_raw_fd(), (&raw const source).cast(), source_length) })?;
    // SAFETY: the address is live and of the length given.
    check(unsafe { libc::connect(stream.as_raw_fd(), (&raw const target).cast(), target_length) })?;
    Ok(stream)
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The address as system calls want it, and its length.
fn raw(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeroes is a valid sockaddr_storage: plain integers and arrays of them.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let port = address.port().to_be();
    let length = match address.ip() {
        IpAddr::V4(ip) => {
            let s_addr = u32::from_ne_bytes(ip.octets());
            let sin_addr = libc::in_addr { s_addr };
            let value = libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: port,
                sin_addr,
                sin_zero: [0; 8],
            };
            // SAFETY: sockaddr_storage is large enough and aligned for every address family.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(value) };
            mem::size_of::<libc::sockaddr_in>()
        }
        IpAddr::V6(ip) => {
            let value = libc::sockaddr_in6 {
                sin6_family: family(libc::AF_INET6),
                sin6_port: port,
                sin6_flowinfo: 0,
                sin6_addr: libc::in6_addr { s6_addr: ip.octets() },
                sin6_scope_id: 0,
            };
            // SAFETY: sockaddr_storage is large enough and aligned for every address family.
            unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(value) };
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

fn family(number: libc::c_int) -> libc::sa_family_t {
    number as libc::sa_family_t
}
