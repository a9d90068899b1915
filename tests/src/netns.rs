//! Network namespaces: made, entered and removed without starting a process.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, RawFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::process::system_call;

/// Where `ip netns` and `nsenter --net=` look for names.
const FOLDER: &str = "/run/netns";

/// A network namespace that is removed when it goes out of scope.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// Makes an empty namespace with its loopback device down.
    ///
    /// # Panics
    ///
    /// When the kernel refuses: the tests need root.
    #[must_use]
    pub fn new(name: &str) -> Self {
        fs::create_dir_all(FOLDER).expect("make /run/netns");
        let path = Path::new(FOLDER).join(name);
        File::create_new(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        // A thread of its own, because `unshare` moves the caller for good.
        thread::scope(|scope| {
            let made = scope.spawn(|| {
                // SAFETY: takes a flag, touches no memory of ours.
                system_call("unshare", unsafe { libc::unshare(libc::CLONE_NEWNET) })?;
                // Read while "accept_dad" still is a default: addresses are usable at once.
                fs::write("/proc/sys/net/ipv6/conf/default/accept_dad", "0")?;
                fs::write("/proc/sys/net/ipv6/conf/all/accept_dad", "0")?;
                mount("/proc/thread-self/ns/net", &path, None, libc::MS_BIND)
            });
            made.join().expect("the thread that makes a namespace")
        })
        .unwrap_or_else(|error| panic!("make the network namespace {name} (root?): {error}"));
        let handle = File::open(&path).expect("open the namespace");
        Self { name: name.to_owned(), handle }
    }

    /// Its name below `/run/netns`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `nsenter --net=` takes.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Runs something on a thread inside the namespace; sockets that it opens stay inside.
    ///
    /// # Panics
    ///
    /// When it does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                enter(self.handle.as_raw_fd()).expect("enter the network namespace");
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that runs inside the namespace and ends with the thread that starts it.
    ///
    /// It enters only the network namespace: unlike `ip netns exec` it keeps sight of bpffs.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let handle = self.handle.as_raw_fd();
        // SAFETY: between fork and exec only two system calls are made, on a descriptor that the
        // parent keeps open: `spawn` returns after the child's exec.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                enter(handle)
            });
        }
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.path());
    }
}

/// Moves the calling thread.
fn enter(handle: RawFd) -> io::Result<()> {
    // SAFETY: takes numbers, touches no memory of ours.
    system_call("setns", unsafe { libc::setns(handle, libc::CLONE_NEWNET) })
}

/// `mount(2)` of a file system (`kind`) or, with flags, of a folder or file on another.
///
/// # Errors
///
/// The kernel's refusal.
pub fn mount(source: &str, target: &Path, kind: Option<&str>, flags: libc::c_ulong) -> io::Result<()> {
    let source = std::ffi::CString::new(source)?;
    let target = std::ffi::CString::new(target.as_os_str().as_encoded_bytes())?;
    let kind = std::ffi::CString::new(kind.unwrap_or("none"))?;
    // SAFETY: three strings that end in NUL and outlive the call; no data.
    system_call("mount", unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null())
    })
}

/// `umount2(2)` with `MNT_DETACH`: gone from sight at once, for good with its last user.
///
/// # Errors
///
/// The kernel's refusal.
pub fn unmount(target: &Path) -> io::Result<()> {
    let target = std::ffi::CString::new(target.as_os_str().as_encoded_bytes())?;
    // SAFETY: a string that ends in NUL and outlives the call.
    system_call("umount2", unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })
}

/// Unbinds a namespace from its name. The kernel removes it when nobody is inside any more.
fn remove(path: &Path) {
    let _ = unmount(path);
    let _ = fs::remove_file(path);
}

/// Removes what test processes left that were killed before they could clean up: namespaces, and
/// folders with a file system mounted in them.
pub(crate) fn remove_leftovers(prefix: &str) {
    let left = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let of_the_dead = entries.filter(|entry| {
            let name = entry.file_name();
            let owner = name.to_str().and_then(|name| name.strip_prefix(prefix)?.split('-').next());
            owner.is_some_and(|process| !Path::new("/proc").join(process).exists())
        });
        of_the_dead.map(|entry| entry.path()).collect()
    };
    for namespace in left(Path::new(FOLDER)) {
        remove(&namespace);
    }
    for folder in left(&std::env::temp_dir()) {
        let _ = unmount(&folder.join("bpffs"));
        let _ = fs::remove_dir_all(&folder);
    }
}
