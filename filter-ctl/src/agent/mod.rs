//! The agent: the one process of a host that collects flow records for as long as it runs, and
//! publishes every flow log's records at its destination.
//!
//! ```text
//! ring ──▶ Collector ──▶ spool
//!              └──▶ Outlets ──▶ Outlet (one flow log) ──▶ Publisher ──▶ destination
//!                      └── checkpoints: what the destinations have of the spool
//! Board ◀── all of it ──▶ agent.sock, /metrics, /health, systemd
//! ```
//!
//! The collecting loop has the main thread. Whoever asks for something is served by another one, so
//! that no slow reader holds up the ring.

pub mod board;
pub mod checkpoint;
pub mod client;
pub mod destination;
mod http;
mod metrics;
mod outlet;
mod policy;
mod server;
mod sink;
mod socket;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::SignalKind,
    sync::mpsc,
    time::{Interval, interval},
};

use self::{board::Board, checkpoint::Checkpoints, destination::Options, sink::Outlets};
use crate::{
    datapath::{self, Host, Places},
    flowlog::{
        Collector, Error, Folder, HostSource, Result,
        follow::{Control, End, Request, Sink, Stop, run},
        lock::Lock,
    },
};
pub use policy::Apply;

/// How long another reader of the ring is waited for.
const READER: Duration = Duration::from_secs(5);
/// How long a stop waits for the destinations.
const STOP: Duration = Duration::from_secs(20);
/// How often it is looked whether something is attached.
const LOOK: Duration = Duration::from_secs(1);

/// How the agent runs.
pub struct Settings {
    /// The host's folders.
    pub places: Places,
    /// What is set for all destinations.
    pub options: Options,
    /// Where metrics and health are served; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// The document to watch, and what applies it.
    pub policy: Option<(PathBuf, Apply)>,
}

/// Why the agent ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is one already.
    #[error("an agent runs already: {0}")]
    Running(crate::flowlog::lock::Holder),
    /// The flow logs.
    #[error(transparent)]
    FlowLogs(#[from] Error),
    /// The system.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Failure {
    fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::System { action, source }
    }
}

/// The agent's socket.
#[must_use]
pub fn socket_path(places: &Places) -> PathBuf {
    places.state().join("agent.sock")
}

/// What the agent's destinations have of the spool.
#[must_use]
pub fn checkpoints_path(state: &Path) -> PathBuf {
    state.join("agent.json")
}

/// Runs the agent until a signal (interrupt, terminate) stops it.
///
/// # Errors
///
/// If there is one already, another process drains the ring, or something of the host fails.
pub fn serve(settings: Settings) -> Result<(), Failure> {
    let Settings { places, options, listen, policy } = settings;
    let lock = Lock::acquire(&places.state().join("agent.lock"), Duration::ZERO, |_| false);
    let _lock = lock.map_err(|error| match error {
        Error::Busy(holder) => Failure::Running(holder),
        error => error.into(),
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::system("start the event loop"))?;
    runtime.block_on(async {
        // From now on no signal ends the process before its records are delivered.
        let stop = Stop::on(&[SignalKind::interrupt(), SignalKind::terminate()])
            .map_err(Failure::system("listen for signals"))?;
        let board = Arc::new(Board::new());
        let (ask, requests) = mpsc::channel(16);
        let _server = server::start(&places, listen, policy, &board, ask)?;
        let mut agent = Agent::new(&places, options, stop, requests, board)?;
        let ended = agent.collect().await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        let finished = agent.outlets.finish(STOP).await;
        ended?;
        finished.map_err(Failure::system("note what was published"))
    })
}

struct Agent {
    places: Places,
    folder: Folder,
    outlets: Outlets,
    control: Control,
    board: Arc<Board>,
    look: Interval,
}

/// Whether the agent goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Again,
    Stopped,
}

impl Agent {
    fn new(
        places: &Places,
        options: Options,
        stop: Stop,
        requests: mpsc::Receiver<Request>,
        board: Arc<Board>,
    ) -> Result<Self, Failure> {
        let folder = Folder::of(places);
        let path = checkpoints_path(places.state());
        let checkpoints =
            Checkpoints::open(&path).map_err(Failure::system(format!("read {}", path.display())))?;
        Ok(Self {
            places: places.clone(),
            outlets: Outlets::new(folder.spool(), options, checkpoints, Arc::clone(&board)),
            folder,
            control: Control { stop, flushes: true, requests: Some(requests) },
            board,
            look: interval(LOOK),
        })
    }

    async fn collect(&mut self) -> Result<(), Failure> {
        while self.attached().await? == Next::Again {
            self.board.change(|report| report.collecting = false);
            self.outlets.learn(&[]).map_err(Error::Output)?;
            ready();
            if self.wait().await == Next::Stopped {
                break;
            }
        }
        Ok(())
    }

    /// Collects as long as something is attached.
    async fn attached(&mut self) -> Result<Next> {
        match self.drain().await {
            Ok(End::Stopped) => Ok(Next::Stopped),
            Ok(End::Detached) | Err(Error::Host(datapath::Error::NothingAttached)) => Ok(Next::Again),
            Err(error) => Err(error),
        }
    }

    async fn drain(&mut self) -> Result<End> {
        let host = Host::open_in(&self.places)?;
        let lock = Lock::acquire(&self.folder.lock(), READER, |holder| !holder.follows)?;
        let mut source = HostSource::new(&host);
        let mut collector = Collector::open(&self.folder, lock, &mut source)?;
        self.outlets.kept(collector.spool().position());
        let attachments = collector.attachments()?;
        self.outlets.learn(&attachments).map_err(Error::Output)?;
        self.board.change(|report| report.collecting = true);
        ready();
        run(&mut collector, &mut self.outlets, &mut self.control).await
    }

    /// Waits a moment for something to be attached.
    async fn wait(&mut self) -> Next {
        self.board.alive();
        let Control { stop, requests, .. } = &mut self.control;
        let request = async {
            match requests {
                Some(requests) => requests.recv().await,
                None => None,
            }
        };
        tokio::select! {
            () = stop.received() => return Next::Stopped,
            Some(request) = request => {
                // Everything that there was is in the spool.
                let _ = request.send(self.board.told().borrow().end);
            }
            _ = self.look.tick() => {}
        }
        Next::Again
    }
}

/// Tells systemd; where there is none, nobody.
fn ready() {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

/// Tells people something, on standard error.
fn say(text: &str) {
    let mut to = io::stderr().lock();
    for line in text.lines() {
        // That nobody listens is no reason to stop.
        let _ = writeln!(to, "{}", crate::text::shown(line));
    }
}
