//! What the agent answers at its socket, to root only.
//!
//! A client sends one line and gets lines of JSON: `status` one [`Report`](super::board::Report);
//! `collect` the spool's end once it has everything that the kernel has counted until now; `follow` a
//! [`Told`](super::board::Told) at once and with every change.

use std::{io, sync::Arc, time::Duration};

use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::board::Board;
use crate::flowlog::follow::Request;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest line that is read.
const LONGEST: u64 = 64;

/// Answers a client.
pub(super) async fn serve(stream: UnixStream, board: Arc<Board>, ask: mpsc::Sender<Request>) {
    // A client that goes away is no trouble of ours.
    let _ = answer(stream, &board, &ask).await;
}

async fn answer(mut stream: UnixStream, board: &Board, ask: &mpsc::Sender<Request>) -> io::Result<()> {
    // SAFETY: it only reads a number of this process.
    let own = unsafe { libc::geteuid() };
    let peer = stream.peer_cred()?.uid();
    if peer != 0 && peer != own {
        return Ok(());
    }
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(LONGEST));
    timeout(PATIENCE, reader.read_line(&mut line)).await??;
    match line.trim_end() {
        "status" => write(&mut stream, &board.report()).await,
        "collect" => {
            let (request, end) = oneshot::channel();
            ask.send(request).await.map_err(io::Error::other)?;
            write(&mut stream, &end.await.map_err(io::Error::other)?).await
        }
        "follow" => follow(stream, board).await,
        _ => stream.write_all(b"{\"error\":\"expected status, collect or follow\"}\n").await,
    }
}

async fn follow(mut stream: UnixStream, board: &Board) -> io::Result<()> {
    let mut told = board.told();
    loop {
        let now = told.borrow_and_update().clone();
        write(&mut stream, &now).await?;
        let mut end = [0];
        tokio::select! {
            changed = told.changed() => changed.map_err(io::Error::other)?,
            // It says nothing more, so this is its end.
            _ = stream.read(&mut end) => return Ok(()),
        }
    }
}

async fn write(stream: &mut UnixStream, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    stream.write_all(&line).await
}
