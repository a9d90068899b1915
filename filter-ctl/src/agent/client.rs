//! The other end of the agent's socket: what the command line asks an agent.

use std::{
    io::{self, BufRead, BufReader, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, Lines};

use super::{
    board::{Report, Told},
    socket_path,
};
use crate::{datapath::Places, flowlog::spool::Position};

/// How long the agent may take to answer; a sweep of full tables takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the agent says of itself; `None`: none runs.
///
/// # Errors
///
/// If there is one that does not answer.
pub fn status(places: &Places) -> io::Result<Option<Report>> {
    ask(places, "status")
}

/// Has the agent bring everything that the kernel has counted to the spool, and returns the spool's end.
///
/// # Errors
///
/// If there is one that does not answer.
pub fn collect(places: &Places) -> io::Result<Option<Position>> {
    ask(places, "collect")
}

/// Hears from the agent how far the spool has got.
#[derive(Debug)]
pub struct Following(Lines<tokio::io::BufReader<tokio::net::UnixStream>>);

impl Following {
    /// Begins, in an event loop; `None`: no agent runs.
    ///
    /// # Errors
    ///
    /// If there is one that refuses.
    pub fn begin(places: &Places) -> io::Result<Option<Self>> {
        let Some(mut stream) = connect(places)? else { return Ok(None) };
        stream.write_all(b"follow\n")?;
        stream.set_nonblocking(true)?;
        let stream = tokio::net::UnixStream::from_std(stream)?;
        Ok(Some(Self(tokio::io::BufReader::new(stream).lines())))
    }

    /// What is new; `None`: the agent has ended.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    pub async fn next(&mut self) -> io::Result<Option<Told>> {
        match self.0.next_line().await? {
            Some(line) => Ok(Some(serde_json::from_str(&line)?)),
            None => Ok(None),
        }
    }
}

fn ask<T: DeserializeOwned>(places: &Places, what: &str) -> io::Result<Option<T>> {
    let Some(mut stream) = connect(places)? else { return Ok(None) };
    stream.write_all(format!("{what}\n").as_bytes())?;
    answer(&mut BufReader::new(stream))
}

/// Connects to the agent, if one listens, and only if it is root's or our own.
fn connect(places: &Places) -> io::Result<Option<UnixStream>> {
    let stream = match UnixStream::connect(socket_path(places)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    // SAFETY: it only reads a number of this process.
    let own = unsafe { libc::geteuid() };
    let peer = peer(&stream)?;
    if peer != 0 && peer != own {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {peer} listens there")));
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(Some(stream))
}

/// The user at the other end.
fn peer(stream: &UnixStream) -> io::Result<libc::uid_t> {
    let mut peer = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are of values that live until the call returns, and `length` is the first one's size.
    let asked = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if asked == 0 { Ok(peer.uid) } else { Err(io::Error::last_os_error()) }
}

/// A line's value; `None` at the end.
fn answer<T: DeserializeOwned>(from: &mut impl BufRead) -> io::Result<Option<T>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}
