//! `tcp`: throughput, requests and connections a second over veth, with and without the filter.
//!
//! A small server at the workload, on one processor, and a client at the remote end, on another;
//! the variants take turns. *Requests*: one byte there and one back over one connection, again and
//! again. *Connections*: open one, one byte there and one back, close it, again and again.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::goal::{self, Goal};
use super::numbers::Sample;
use super::{Bench, Report, cpu};
use crate::lab::{self, DEVICE, Family, Hook, Host, Lab};
use crate::shell::{self, progress};

/// A port that the example policy opens for the trusted host alone, so that it is tracked.
const PORT: u16 = 5201;

/// How long anybody waits for the other end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is measured; the first byte of a connection tells the server.
#[derive(Clone, Copy)]
enum Work {
    Throughput = b'T' as isize,
    Requests = b'R' as isize,
    Connections = b'C' as isize,
}

/// Each with its unit, and the share of the unfiltered rate that must be left.
const WORKS: [(Work, &str, f64); 3] = [
    (Work::Throughput, "TCP throughput, Gbit/s", 0.95),
    (Work::Requests, "TCP requests a second", 0.95),
    (Work::Connections, "TCP connections a second, one request each", 0.90),
];

pub(super) fn measure(bench: &Bench) -> Result<Report> {
    let _pinned = cpu::pin()?;
    let lab = Lab::build("tcp", &bench.binary)?;
    let policy = lab::examples().join("web.yaml");
    let target = SocketAddr::new(Host::Workload.address(Family::V4), PORT);
    speak_as_trusted(&lab)?;
    let listener = lab.workload.enter(|| TcpListener::bind(target))??;
    let _server = Server::start(listener)?;
    let window =
        if bench.quick { Duration::from_millis(100) } else { Duration::from_secs(bench.seconds.into()) };
    let mut samples: [[Sample; 2]; WORKS.len()] = std::array::from_fn(|_| Default::default());
    for run in 0..bench.runs {
        progress(&format!("run {} of {}", run + 1, bench.runs));
        for filtered in [false, true] {
            if filtered {
                lab.filter.attach(&policy, Hook::Auto)?;
            }
            for ((work, name, _), samples) in WORKS.iter().zip(&mut samples) {
                let rate = lab.remote.enter(|| work.rate(target, window))?;
                samples[usize::from(filtered)].add(rate.with_context(|| name.to_owned())?);
            }
            if filtered {
                let seen = lab.filter.reasons()?;
                let tracked = seen.get("connection").copied().unwrap_or(0);
                ensure!(tracked > 0, "the filter saw no packet of a connection: {seen:?}");
                lab.filter.detach()?;
            }
        }
    }
    report(&samples)
}

/// Lets the remote end speak from an address that is filtered, which its router's is not.
fn speak_as_trusted(lab: &Lab) -> Result<()> {
    let trusted = Host::Trusted.address(Family::V4).to_string();
    let mut command = lab.remote.command("ip");
    command.args(["route", "replace", "10.0.1.0/24", "dev", DEVICE, "src", &trusted]);
    shell::read(&mut command).map(drop)
}

fn report(samples: &[[Sample; 2]; WORKS.len()]) -> Result<Report> {
    let mut table = format!(
        "{:<46} {:>10} {:>22} {:>10} {:>22} {:>8}\n",
        "", "no filter", "least to most", "auto", "least to most", "share"
    );
    let (mut goals, mut rows) = (Vec::new(), Vec::new());
    for ((_, name, goal), [none, auto]) in WORKS.iter().zip(samples) {
        let share = auto.share_of(none);
        let spread = |sample: &Sample| format!("{:.2} to {:.2}", sample.least(), sample.most());
        writeln!(
            table,
            "{name:<46} {:>10.2} {:>22} {:>10.2} {:>22} {:>6.1} %",
            none.median(),
            spread(none),
            auto.median(),
            spread(auto),
            share * 100.0
        )?;
        let work = format!("{name}: --hook auto against no filter");
        goals.push(Goal::at_least(&work, "%", goal * 100.0, Some(share * 100.0)));
        rows.push(json!({ "work": name, "none": none.json(), "auto": auto.json(), "share": share }));
    }
    let table = format!("{table}\n{}", goal::table(&goals));
    let numbers = json!({ "rates": Value::from(rows), "goals": goal::json(&goals) });
    Ok(Report { table, numbers, wrong: Vec::new() })
}

impl Work {
    /// What a client gets done in a second: transactions, or billions of bits.
    fn rate(self, target: SocketAddr, window: Duration) -> io::Result<f64> {
        let begin = Instant::now();
        let deadline = begin + window;
        let mut done = 0.0;
        match self {
            Self::Throughput => {
                let mut stream = self.connect(target)?;
                let block = vec![0; 256 << 10];
                while Instant::now() < deadline {
                    stream.write_all(&block)?;
                }
                stream.shutdown(Shutdown::Write)?;
                // The server tells how much has arrived.
                let mut bytes = [0; 8];
                stream.read_exact(&mut bytes)?;
                done = u64::from_be_bytes(bytes) as f64 * 8.0 / 1e9;
            }
            Self::Requests => {
                let mut stream = self.connect(target)?;
                while Instant::now() < deadline {
                    stream.write_all(&[1])?;
                    stream.read_exact(&mut [0])?;
                    done += 1.0;
                }
            }
            Self::Connections => {
                while Instant::now() < deadline {
                    // The server closes first: so it, not the client, keeps the port waiting.
                    self.connect(target)?.read_to_end(&mut Vec::new())?;
                    done += 1.0;
                }
            }
        }
        Ok(done / begin.elapsed().as_secs_f64())
    }

    fn connect(self, target: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&[self as u8])?;
        Ok(stream)
    }
}

/// Serves one connection after the other, until it is dropped.
struct Server {
    listener: TcpListener,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(listener: TcpListener) -> Result<Self> {
        let accepting = listener.try_clone()?;
        let thread = thread::Builder::new().spawn(move || {
            // Without a processor of its own it is slower, which is the benchmark's business.
            drop(cpu::assign(0, cpu::RECEIVER));
            while let Ok((stream, _)) = accepting.accept() {
                // A client that goes away in the middle tells of it itself.
                drop(serve(stream));
            }
        })?;
        Ok(Self { listener, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: the descriptor is the listener's, which is live. This wakes up `accept`.
        unsafe { libc::shutdown(self.listener.as_raw_fd(), libc::SHUT_RD) };
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    match byte[0] {
        b'T' => {
            let mut block = vec![0; 256 << 10];
            let mut total = 0;
            loop {
                match stream.read(&mut block) {
                    Ok(0) => return stream.write_all(&u64::to_be_bytes(total)),
                    Ok(read) => total += read as u64,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        b'R' => loop {
            // It ends with the error that there is nothing more to read.
            stream.read_exact(&mut byte)?;
            stream.write_all(&byte)?;
        },
        _ => stream.write_all(&byte),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    use super::{Server, WORKS};

    #[test]
    fn every_work_gets_something_done() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let target = listener.local_addr().expect("an address");
        let _server = Server::start(listener).expect("a server");
        for (work, name, _) in WORKS {
            let rate = work.rate(target, Duration::from_millis(50)).expect(name);
            assert!(rate > 0.0, "{name}: {rate}");
        }
    }
}
