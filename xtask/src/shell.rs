//! Starting other programs: what was started is said, and what failed is named.

use std::env;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Adds the folders where root's tools and cargo's own installs live, as a login shell would.
pub(crate) fn widen_path() {
    let mut folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let cargo_bin = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .map(|home| home.join("bin"));
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    for folder in cargo_bin.into_iter().chain(system) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    if let Ok(path) = env::join_paths(folders) {
        // SAFETY: called first in `main`, while this is the only thread.
        unsafe { env::set_var("PATH", path) };
    }
}

/// The program of that name on the path, if there is one.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Fails unless this process is root; `why` completes the sentence "… needs root: …".
pub(crate) fn require_root(what: &str, why: &str) -> Result<()> {
    if !is_root() {
        bail!("{what} needs root: {why}. Start it again with sudo, or as root.");
    }
    Ok(())
}

/// Says what is being done.
pub(crate) fn progress(text: &str) {
    eprintln!("==> {text}");
}

/// The command as a person would type it.
pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs a command whose output the user sees; fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", describe(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", describe(command));
    }
    Ok(())
}

/// Runs a command and hands back its standard output; its standard error is part of the failure.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{}`", describe(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}\n{}", describe(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a command succeeds; nothing of it is shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// How a command with a time limit ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    Badly,
    TooLate,
    Enough,
}

/// Runs a command whose output the user sees, for at most `limit`.
pub(crate) fn run_for(command: &mut Command, limit: Duration) -> Result<Ended> {
    run_until(command, limit, || Ok(false))
}

/// Runs a command until it ends, `limit` is over, or `enough` says so, which is asked again and
/// again. What the command has started ends with it, as it is in a process group of its own.
pub(crate) fn run_until(
    command: &mut Command,
    limit: Duration,
    mut enough: impl FnMut() -> Result<bool>,
) -> Result<Ended> {
    let mut child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start `{}`", describe(command)))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { Ended::Well } else { Ended::Badly });
        }
        let is_enough = enough()?;
        if is_enough || Instant::now() >= deadline {
            // SAFETY: a signal to the group that was made above and whose leader is not reaped yet.
            unsafe { libc::kill(-child.id().cast_signed(), libc::SIGKILL) };
            child.wait()?;
            return Ok(if is_enough { Ended::Enough } else { Ended::TooLate });
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// A duration for people: `0.4 s`, `12.3 s`, `3 min 05 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let total = time.as_secs_f64();
    if total < 60.0 {
        return format!("{total:.1} s");
    }
    let whole = time.as_secs();
    format!("{} min {:02} s", whole / 60, whole % 60)
}
