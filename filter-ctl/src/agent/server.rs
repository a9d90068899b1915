//! The thread that serves whoever asks: the socket, metrics and health, SIGHUP, systemd's watchdog.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::PathBuf,
    sync::Arc,
    thread,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    time::interval,
};

use super::{
    Failure,
    board::Board,
    http,
    policy::{Apply, Reload, watch},
    say, socket, socket_path,
};
use crate::{datapath::Places, flowlog::follow::Request};

/// The thread and the socket's file; both go with this.
pub(super) struct Server {
    path: PathBuf,
    _end: oneshot::Sender<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Left behind, it would only be refused by the next `connect`.
        let _ = fs::remove_file(&self.path);
    }
}

/// Begins to serve.
///
/// # Errors
///
/// If an address or the socket cannot be listened at.
pub(super) fn start(
    places: &Places,
    listen: Option<SocketAddr>,
    policy: Option<(PathBuf, Apply)>,
    board: &Arc<Board>,
    ask: mpsc::Sender<Request>,
) -> Result<Server, Failure> {
    let path = socket_path(places);
    let local = bind(&path).map_err(Failure::system(format!("listen at {}", path.display())))?;
    let loopback = listen.map(|address| {
        let listener = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        listener.map_err(Failure::system(format!("listen at {address}")))
    });
    let loopback = loopback.transpose()?;
    if let Some(address) = loopback.as_ref().and_then(|listener| listener.local_addr().ok()) {
        say(&format!("metrics and health at http://{address}"));
    }
    let reload = policy.map(|(path, apply)| watch(path, apply, Arc::clone(board))).transpose();
    let reload = reload.map_err(Failure::system("start a thread"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::system("start an event loop"))?;
    let (end, ended) = oneshot::channel();
    let (places, board) = (places.clone(), Arc::clone(board));
    let serve = async move {
        let tasks = serve(places, local, loopback, reload, board, ask);
        tokio::select! {
            served = tasks => if let Err(error) = served { say(&format!("cannot serve requests: {error}")) },
            _ = ended => {}
        }
    };
    let thread = thread::Builder::new().name("server".into());
    thread.spawn(move || runtime.block_on(serve)).map_err(Failure::system("start a thread"))?;
    Ok(Server { path, _end: end })
}

/// Listens at a socket that is root's alone, in place of one that an agent left behind: this one
/// holds the agents' lock.
fn bind(path: &PathBuf) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Its folder is root's alone, too.
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

async fn serve(
    places: Places,
    local: UnixListener,
    loopback: Option<TcpListener>,
    reload: Option<Reload>,
    board: Arc<Board>,
    ask: mpsc::Sender<Request>,
) -> io::Result<()> {
    let local = tokio::net::UnixListener::from_std(local)?;
    let loopback = loopback.map(tokio::net::TcpListener::from_std).transpose()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let patience = sd_notify::watchdog_enabled();
    // Three times as often as it must be.
    let mut watchdog = interval(patience.map_or(Duration::from_secs(3600), |patience| patience / 3));
    loop {
        tokio::select! {
            accepted = local.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(socket::serve(stream, Arc::clone(&board), ask.clone()))),
                Err(error) => refused(&error).await,
            },
            accepted = accept(loopback.as_ref()) => match accepted {
                Ok(stream) => drop(tokio::spawn(http::serve(stream, places.clone(), Arc::clone(&board)))),
                Err(error) => refused(&error).await,
            },
            _ = hangup.recv() => match &reload {
                // It ends only with us.
                Some(reload) => drop(reload.send(())),
                None => say("SIGHUP: there is no document to apply again; --policy names one"),
            },
            _ = watchdog.tick() => {
                if patience.is_some_and(|patience| board.idle_seconds() < patience.as_secs().max(2)) {
                    let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
                }
            }
        }
    }
}

async fn accept(listener: Option<&tokio::net::TcpListener>) -> io::Result<tokio::net::TcpStream> {
    match listener {
        Some(listener) => Ok(listener.accept().await?.0),
        None => std::future::pending().await,
    }
}

/// Too many open files, most likely: others must end first.
async fn refused(error: &io::Error) {
    say(&format!("cannot accept a connection: {error}"));
    tokio::time::sleep(Duration::from_millis(100)).await;
}
