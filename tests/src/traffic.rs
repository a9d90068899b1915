//! Probes: one question to the network each, and what came of it.

use std::{
    io::{self, ErrorKind, Read},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::Namespace;

/// How long to wait for what shall come. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for what shall not come: less than the second after which a SYN is repeated.
pub const SILENCE: Duration = Duration::from_millis(400);

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other end answered.
    Answered,
    /// The other end has nobody there (RST, port unreachable): the packets passed the filter.
    Refused,
    /// Nothing came back.
    Silent,
}

/// Opens a TCP connection from an address of the namespace.
///
/// # Errors
///
/// Refused, timed out, unreachable.
pub fn connect(
    from: &Namespace,
    source: IpAddr,
    to: SocketAddr,
    patience: Duration,
) -> io::Result<TcpStream> {
    from.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&to.into(), patience)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// Tries to open a TCP connection: one SYN if nothing answers.
///
/// # Panics
///
/// When the attempt fails in another way than being refused or ignored.
#[must_use]
pub fn tcp(from: &Namespace, source: IpAddr, to: SocketAddr, patience: Duration) -> Outcome {
    outcome(connect(from, source, to, patience).map(drop))
}

/// Sends one UDP datagram and waits for its echo.
///
/// # Panics
///
/// When the attempt fails in another way than being refused or ignored.
#[must_use]
pub fn udp(from: &Namespace, source: IpAddr, to: SocketAddr, patience: Duration) -> Outcome {
    outcome(from.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect(&to.into())?;
        socket.set_read_timeout(Some(patience))?;
        let socket = std::net::UdpSocket::from(socket);
        match socket.send(b"are you there?") {
            // A drop on the way out of this very host is told to the sender.
            Err(error) if is_local_drop(&error) => {}
            other => drop(other?),
        }
        socket.recv(&mut [0; 64]).map(drop)
    }))
}

/// Sends echo requests of 64 bytes of ICMP, each once; returns how many were answered.
///
/// `ping` is not as exact: it repeats what a filter on its own host's way out drops.
///
/// # Panics
///
/// When the kernel refuses a raw socket.
#[must_use]
pub fn echo(from: &Namespace, source: IpAddr, to: IpAddr, count: u16) -> u32 {
    let (domain, protocol, request, reply, skip) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8, 0, 20),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128, 129, 0),
    };
    // Another identifier each time: by it the filter tells one conversation from another.
    static IDENTIFIER: AtomicU16 = AtomicU16::new(1);
    let identifier = IDENTIFIER.fetch_add(1, Ordering::Relaxed);
    from.run(|| {
        let socket = Socket::new(domain, Type::RAW, Some(protocol)).expect("a raw socket");
        socket.bind(&SocketAddr::new(source, 0).into()).expect("bind a raw socket");
        socket.connect(&SocketAddr::new(to, 0).into()).expect("connect a raw socket");
        socket.set_read_timeout(Some(SILENCE)).expect("set a timeout");
        for number in 0..count {
            let mut message = [0; 64];
            message[0] = request;
            message[4..6].copy_from_slice(&identifier.to_be_bytes());
            message[6..8].copy_from_slice(&number.to_be_bytes());
            if to.is_ipv4() {
                let sum = checksum(&message);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
            }
            let _ = socket.send(&message);
        }
        let (mut answers, mut answer) = (0, [0; 256]);
        while answers < u32::from(count) {
            let Ok(length) = (&socket).read(&mut answer) else { break };
            // Other ICMP messages come, too: what counts is the replies to these requests.
            let found = answer.get(skip..length).unwrap_or_default();
            let ours = found.get(4..6) == Some(&identifier.to_be_bytes());
            answers += u32::from(ours && found.first() == Some(&reply));
        }
        answers
    })
}

/// Sends messages of a protocol without ports, ICMP included, each once and to nobody's answer; which
/// of them the other end's kernel got.
///
/// # Panics
///
/// When the kernel refuses a raw socket.
#[must_use]
pub fn arrivals(
    from: (&Namespace, IpAddr),
    to: (&Namespace, IpAddr),
    protocol: u8,
    messages: &[&[u8]],
) -> Vec<bool> {
    let domain = if to.1.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let open = |on: &Namespace, address: IpAddr| {
        on.run(|| {
            let protocol = Protocol::from(i32::from(protocol));
            let socket = Socket::new(domain, Type::RAW, Some(protocol)).expect("a raw socket");
            socket.bind(&SocketAddr::new(address, 0).into()).expect("bind a raw socket");
            socket
        })
    };
    let (sender, receiver) = (open(from.0, from.1), open(to.0, to.1));
    // The drop of a filter on this host's own way out comes back as an error: here that is no failure.
    for message in messages {
        let _ = sender.send_to(message, &SocketAddr::new(to.1, 0).into());
    }
    receiver.set_read_timeout(Some(SILENCE)).expect("set a timeout");
    let mut arrived = vec![false; messages.len()];
    let mut buffer = [0; 2048];
    while arrived.contains(&false) {
        let Ok(length) = (&receiver).read(&mut buffer) else { break };
        // With IPv4 its header stands before the message.
        let found = &buffer[..length];
        for (arrived, message) in arrived.iter_mut().zip(messages) {
            *arrived |= found.ends_with(message);
        }
    }
    arrived
}

/// RFC 1071, of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// Whether the error says that the filter on this host's own way out dropped the packet.
#[must_use]
pub fn is_local_drop(error: &io::Error) -> bool {
    error.kind() == ErrorKind::PermissionDenied || error.raw_os_error() == Some(libc::ENOBUFS)
}

fn outcome(result: io::Result<()>) -> Outcome {
    match result.map_err(|error| (error.kind(), error)) {
        Ok(()) => Outcome::Answered,
        Err((ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset, _)) => Outcome::Refused,
        Err((ErrorKind::TimedOut | ErrorKind::WouldBlock, _)) => Outcome::Silent,
        Err((_, error)) => panic!("a probe failed: {error}"),
    }
}

/// Asserts that a TCP connection can be opened, or that nothing answers.
///
/// # Panics
///
/// When it is otherwise.
#[track_caller]
pub fn assert_tcp(from: &Namespace, source: IpAddr, to: SocketAddr, expected: Outcome) {
    let found = tcp(from, source, to, patience(expected));
    assert!(found == expected, "TCP {source} > {to}: {found:?} instead of {expected:?}");
}

/// Asserts that a UDP datagram is echoed, or that nothing answers.
///
/// # Panics
///
/// When it is otherwise.
#[track_caller]
pub fn assert_udp(from: &Namespace, source: IpAddr, to: SocketAddr, expected: Outcome) {
    let found = udp(from, source, to, patience(expected));
    assert!(found == expected, "UDP {source} > {to}: {found:?} instead of {expected:?}");
}

fn patience(expected: Outcome) -> Duration {
    if expected == Outcome::Silent { SILENCE } else { PATIENCE }
}

/// What the kernel knows about a connection (`TCP_INFO`): segments as they are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// Segments sent, repeated ones included.
    pub sent: u64,
    /// Segments received.
    pub received: u64,
    /// Segments repeated.
    pub repeated: u64,
    /// Segments sent and not yet acknowledged.
    pub in_flight: u64,
}

/// Reads `TCP_INFO`.
///
/// # Panics
///
/// When the kernel refuses.
#[must_use]
pub fn segments(stream: &TcpStream) -> Segments {
    use std::os::fd::AsRawFd;

    // The stable offsets of `struct tcp_info` (linux/tcp.h); libc's binding ends before them.
    const UNACKED: usize = 24;
    const TOTAL_RETRANS: usize = 100;
    const SEGS_OUT: usize = 136;
    const SEGS_IN: usize = 140;

    let mut info = [0_u8; 256];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: buffer and length outlive the call and belong together.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    assert!(result == 0 && length as usize >= SEGS_IN + 4, "TCP_INFO: {}", io::Error::last_os_error());
    let field = |offset: usize| {
        let bytes = info[offset..offset + 4].try_into().expect("four bytes");
        u64::from(u32::from_ne_bytes(bytes))
    };
    Segments {
        sent: field(SEGS_OUT),
        received: field(SEGS_IN),
        repeated: field(TOTAL_RETRANS),
        in_flight: field(UNACKED),
    }
}
