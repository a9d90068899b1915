//! A TCP connection that stays up: a line goes out and comes back ten times a second.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::lab::{self, Family, Host, Lab};

const PAUSE: Duration = Duration::from_millis(100);

/// The connection, and the thread that talks over it.
pub(super) struct Conversation {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    exchanged: AtomicU64,
    failure: Mutex<Option<String>>,
    longest: Mutex<Duration>,
}

impl Conversation {
    /// Opens a connection from the trusted host to the workload's port 22.
    pub(super) fn open(lab: &Lab, family: Family) -> Result<Self> {
        let source = Host::Trusted.address(family);
        let target = SocketAddr::new(Host::Workload.address(family), 22);
        let limit = Duration::from_secs(2);
        let stream = lab.remote.enter(|| lab::connect(source, target, limit))?;
        let stream = stream.with_context(|| format!("cannot connect from {source} to {target}"))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.set_nodelay(true)?;
        let shared = Arc::new(Shared::default());
        let seen = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            if let Err(error) = talk(stream, &seen) {
                *seen.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            }
        });
        Ok(Self { shared, thread: Some(thread) })
    }

    /// How many lines have gone out and come back.
    pub(super) fn exchanged(&self) -> u64 {
        self.shared.exchanged.load(Ordering::SeqCst)
    }

    /// Waits until that many more lines have come back; an error if the connection broke.
    pub(super) fn goes_on(&self, more: u64) -> Result<()> {
        let goal = self.exchanged() + more;
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.exchanged() < goal {
            if let Some(failure) = &*self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) {
                return Err(anyhow!("the connection broke: {failure}"));
            }
            if Instant::now() > deadline {
                return Err(anyhow!("the connection fell silent"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The longest time that one line took to go out and come back.
    pub(super) fn longest(&self) -> Duration {
        *self.shared.longest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn talk(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut answer = String::new();
    for number in 0_u64.. {
        if shared.stop.load(Ordering::SeqCst) {
            break;
        }
        let start = Instant::now();
        let line = format!("line {number}\n");
        stream.write_all(line.as_bytes())?;
        answer.clear();
        answers.read_line(&mut answer)?;
        if answer != line {
            return Err(anyhow!("{line:?} came back as {answer:?}"));
        }
        let mut longest = shared.longest.lock().unwrap_or_else(PoisonError::into_inner);
        *longest = start.elapsed().max(*longest);
        drop(longest);
        shared.exchanged.fetch_add(1, Ordering::SeqCst);
        thread::sleep(PAUSE);
    }
    Ok(())
}
