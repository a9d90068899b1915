//! Small servers for the protected end: threads, not processes, so that nothing is left running.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often a server looks whether it should stop.
const PULSE: Duration = Duration::from_millis(10);

/// A server that stops when it is dropped.
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        Self { stop, thread: Some(thread::spawn(move || work(&seen))) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Answers every HTTP request, and so every connection, with one line.
pub(crate) fn greet(listener: TcpListener) -> io::Result<Server> {
    serve(listener, |stream| {
        let mut request = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        while request.read_line(&mut line)? > 2 {
            line.clear();
        }
        let body = "hello\n";
        let length = body.len();
        write!(&stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
    })
}

/// Sends every line back.
pub(crate) fn echo_lines(listener: TcpListener) -> io::Result<Server> {
    serve(listener, |stream| {
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            (&stream).write_all(line.as_bytes())?;
            line.clear();
        }
        Ok(())
    })
}

/// Sends every datagram back.
pub(crate) fn echo_udp(socket: UdpSocket) -> io::Result<Server> {
    socket.set_read_timeout(Some(PULSE))?;
    Ok(Server::start(move |stop| {
        let mut datagram = [0_u8; 2048];
        while !stop.load(Ordering::SeqCst) {
            if let Ok((length, from)) = socket.recv_from(&mut datagram) {
                // Nobody waits for an echo that cannot be sent.
                drop(socket.send_to(&datagram[..length], from));
            }
        }
    }))
}

fn serve(listener: TcpListener, talk: fn(TcpStream) -> io::Result<()>) -> io::Result<Server> {
    listener.set_nonblocking(true)?;
    Ok(Server::start(move |stop| {
        while !stop.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((stream, _)) => drop(thread::spawn(move || talk_for_a_while(stream, talk))),
                Err(_) => thread::sleep(PULSE),
            }
        }
    }))
}

/// A client that falls silent must not hold its thread for ever.
fn talk_for_a_while(stream: TcpStream, talk: fn(TcpStream) -> io::Result<()>) {
    let limit = Some(Duration::from_secs(10));
    let ready = stream.set_nonblocking(false).and_then(|()| stream.set_read_timeout(limit));
    // A client that goes away in the middle is no concern of the server's.
    drop(ready.and_then(|()| talk(stream)));
}
