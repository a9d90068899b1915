//! Servers on threads inside a namespace: TCP echo, UDP echo, HTTP.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use crate::netns::Namespace;

/// How often a server looks whether it shall end.
const PULSE: Duration = Duration::from_millis(50);

/// A server thread, ended and joined when it goes out of scope.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Server {
    /// Echoes whatever comes over TCP connections.
    #[must_use]
    pub fn tcp_echo(on: &Namespace, address: IpAddr, port: u16) -> Self {
        Self::tcp(on, SocketAddr::new(address, port), echo)
    }

    /// Reads whatever comes over TCP connections and answers nothing.
    #[must_use]
    pub fn tcp_sink(on: &Namespace, address: IpAddr, port: u16) -> Self {
        Self::tcp(on, SocketAddr::new(address, port), |stream, shared| transfer(stream, shared, false))
    }

    /// Serves HTTP: `GET /bytes/N` yields N bytes, `GET /stream` yields bytes until the client has
    /// enough, everything else a short text.
    #[must_use]
    pub fn http(on: &Namespace, address: IpAddr, port: u16) -> Self {
        Self::tcp(on, SocketAddr::new(address, port), http)
    }

    /// Echoes whatever datagrams come.
    ///
    /// # Panics
    ///
    /// When the port is taken.
    #[must_use]
    pub fn udp_echo(on: &Namespace, address: IpAddr, port: u16) -> Self {
        let socket = on.run(|| UdpSocket::bind((address, port))).expect("bind a UDP server");
        socket.set_read_timeout(Some(PULSE)).expect("set a timeout");
        Self::start(SocketAddr::new(address, port), move |shared| {
            let mut buffer = [0; 65_536];
            while !shared.stop.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
                shared.messages.fetch_add(1, Ordering::Relaxed);
                shared.bytes.fetch_add(length as u64, Ordering::Relaxed);
                let _ = socket.send_to(&buffer[..length], peer);
            }
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Datagrams received, or connections accepted.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// Payload bytes received.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    fn tcp(on: &Namespace, address: SocketAddr, serve: Serve) -> Self {
        let listener = on.run(|| listen(address)).expect("listen");
        Self::start(address, move |shared| {
            let mut connections = Vec::new();
            while !shared.stop.load(Ordering::Relaxed) {
                let Ok((stream, _)) = listener.accept() else { continue };
                shared.messages.fetch_add(1, Ordering::Relaxed);
                let shared = Arc::clone(shared);
                connections.push(thread::spawn(move || {
                    let _ = stream.set_read_timeout(Some(PULSE));
                    let _ = stream.set_write_timeout(Some(PULSE));
                    let _ = serve(stream, &shared);
                }));
            }
            for connection in connections {
                let _ = connection.join();
            }
        })
    }

    fn start(address: SocketAddr, serve: impl FnOnce(&Arc<Shared>) + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(&shared)
        });
        Self { address, shared, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Serve = fn(TcpStream, &Shared) -> io::Result<()>;

/// A listener whose `accept` returns now and then without a connection.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(128)?;
    socket.set_read_timeout(Some(PULSE))?;
    Ok(socket.into())
}

fn echo(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    transfer(stream, shared, true)
}

fn transfer(mut stream: TcpStream, shared: &Shared, answer: bool) -> io::Result<()> {
    let mut buffer = [0; 65_536];
    while !shared.stop.load(Ordering::Relaxed) {
        let length = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if is_pulse(&error) => continue,
            Err(error) => return Err(error),
        };
        shared.bytes.fetch_add(length as u64, Ordering::Relaxed);
        if answer {
            write_all(&mut stream, &buffer[..length], shared)?;
        }
    }
    Ok(())
}

fn http(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or("/");
    if path == "/stream" {
        write_all(&mut stream, b"HTTP/1.0 200 OK\r\n\r\n", shared)?;
        return write_forever(&mut stream, shared);
    }
    let body = match path.strip_prefix("/bytes/").and_then(|count| count.parse().ok()) {
        Some(count) => vec![b'x'; count],
        None => b"hello\n".to_vec(),
    };
    let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    write_all(&mut stream, head.as_bytes(), shared)?;
    write_all(&mut stream, &body, shared)
}

fn write_forever(stream: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    let chunk = [b'x'; 16_384];
    while !shared.stop.load(Ordering::Relaxed) {
        write_all(stream, &chunk, shared)?;
        // Slow enough to leave the processor to what is tested.
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// `write_all` that goes on after a timeout until the server shall stop.
fn write_all(stream: &mut TcpStream, mut bytes: &[u8], shared: &Shared) -> io::Result<()> {
    while !bytes.is_empty() && !shared.stop.load(Ordering::Relaxed) {
        match stream.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if is_pulse(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_pulse(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
