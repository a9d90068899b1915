//! A network namespace: made, entered by threads, and given to programs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

use anyhow::{Context, Result, anyhow};

use super::{filter, undo};
use crate::shell;

const FOLDER: &str = "/run/netns";

/// A named network namespace.
#[derive(Clone)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace; the lab's guard removes it.
    pub(super) fn create(name: &str) -> Result<Self> {
        let undo = {
            let name = name.to_owned();
            move || remove(&name)
        };
        undo::make(undo, || shell::read(Command::new("ip").args(["netns", "add", name])))?;
        Ok(Self { name: name.to_owned() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// A program that will run in the namespace. Not by `ip netns exec`, which would give it
    /// another /sys and so hide bpffs.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }

    /// Starts a program in the namespace that the lab's guard ends.
    pub(crate) fn start(&self, command: &mut Command) -> Result<Child> {
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("cannot start `{}`", shell::describe(command)))?;
        let id = i32::try_from(child.id())?;
        let end = move || {
            // SAFETY: signals and reaps the process that was started above, which nobody else
            // reaps; a null status is allowed.
            unsafe {
                libc::kill(id, libc::SIGTERM);
                libc::waitpid(id, std::ptr::null_mut(), 0);
            }
        };
        undo::make(end, || Ok(child))
    }

    /// Runs `ip` on the namespace.
    pub(super) fn ip(&self, arguments: &[&str]) -> Result<()> {
        shell::read(Command::new("ip").args(["-n", &self.name]).args(arguments)).map(drop)
    }

    /// Gives a device an address that can be used at once.
    pub(crate) fn address(&self, address: IpAddr, length: u8, device: &str) -> Result<()> {
        let prefix = format!("{address}/{length}");
        let mut arguments = vec!["address", "add", &prefix, "dev", device];
        if address.is_ipv6() {
            arguments.push("nodad");
        }
        self.ip(&arguments)
    }

    /// A device's Ethernet address.
    pub(crate) fn hardware_address(&self, device: &str) -> Result<[u8; 6]> {
        let text = shell::read(Command::new("ip").args(["-n", &self.name, "-json", "link", "show", device]))?;
        let parsed: serde_json::Value = serde_json::from_str(&text).context("ip wrote what is not JSON")?;
        let written = parsed[0]["address"].as_str().with_context(|| format!("{device} has no address"))?;
        let mut address = [0; 6];
        let mut parts = written.split(':');
        for byte in &mut address {
            let part = parts.next().with_context(|| format!("no Ethernet address: {written}"))?;
            *byte = u8::from_str_radix(part, 16)?;
        }
        Ok(address)
    }

    /// Makes IPv6 addresses of devices to come usable at once, their link-local ones included:
    /// nobody else is on this link who could have them.
    pub(super) fn without_address_detection(&self) -> Result<()> {
        let file = "/proc/sys/net/ipv6/conf/default/accept_dad";
        self.enter(|| fs::write(file, "0"))?
            .with_context(|| format!("cannot write {file}: is IPv6 switched off?"))
    }

    /// Does something in a thread that has entered the namespace. Sockets made there stay in
    /// it, whoever uses them later.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let namespace = File::open(self.path()).with_context(|| format!("no namespace {}", self.name))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // SAFETY: setns only changes the calling thread, which ends right after.
                if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                    let error = std::io::Error::last_os_error();
                    return Err(anyhow!("cannot enter the namespace {}: {error}", self.name));
                }
                Ok(work())
            });
            inside.join().map_err(|_| anyhow!("a thread in the namespace {} panicked", self.name))?
        })
    }

    /// Reads a file of /proc/net as the namespace has it.
    pub(crate) fn proc_net(&self, file: &str) -> Result<String> {
        let path = format!("/proc/thread-self/net/{file}");
        self.enter(|| fs::read_to_string(&path))?.with_context(|| format!("cannot read {path}"))
    }

    pub(super) fn has_carrier(&self, device: &str) -> bool {
        shell::read(Command::new("ip").args(["-n", &self.name, "link", "show", device]))
            .is_ok_and(|text| text.contains("LOWER_UP") && !text.contains("NO-CARRIER"))
    }
}

/// Removes the namespace and its device. The device goes first: a socket that someone still
/// holds would keep both alive.
fn remove(name: &str) {
    if !Path::new(FOLDER).join(name).exists() {
        return;
    }
    let quiet = |arguments: &[&str]| shell::succeeds(Command::new("ip").process_group(0).args(arguments));
    quiet(&["-n", name, "link", "delete", super::DEVICE]);
    quiet(&["netns", "delete", name]);
}

/// Removes what runs of this purpose left behind whose process is gone.
pub(super) fn remove_stale(purpose: &str) -> Result<()> {
    let prefix = format!("filter-{purpose}-");
    let Ok(folder) = fs::read_dir(FOLDER) else { return Ok(()) };
    for entry in folder {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some((id, _)) = name.strip_prefix(&prefix).and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        if !Path::new("/proc").join(id).exists() {
            shell::progress(&format!("removing {name}, left by a run that was killed"));
            filter::remove(&format!("{prefix}{id}"));
            remove(&name);
        }
    }
    Ok(())
}
