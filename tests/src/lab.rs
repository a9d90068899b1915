//! Two namespaces joined by a link, a filter on one of its ends, and all of it gone at the end.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    netns::{self, Namespace},
    policy::Policy,
    process::{Background, Finished, finish},
    records::Record,
};

/// The workload's addresses.
pub const WORKLOAD: Ends = Ends {
    v4: IpAddr::V4(Ipv4Addr::new(10, 0, 1, 20)),
    v6: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x20)),
};
/// The subnet's router: an exempt IPv4 address.
pub const ROUTER: Ends = Ends {
    v4: IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)),
    v6: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1)),
};
/// A neighbour in the workload's subnet.
pub const NEIGHBOUR: Ends = Ends {
    v4: IpAddr::V4(Ipv4Addr::new(10, 0, 1, 30)),
    v6: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x30)),
};
/// A host outside the subnet.
pub const HOST: Ends = Ends {
    v4: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
    v6: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x100, 0, 0, 0, 0, 7)),
};
/// Another host outside the subnet.
pub const STRANGER: Ends = Ends {
    v4: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
    v6: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x200, 0, 0, 0, 0, 9)),
};

/// The addresses of one host.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Its IPv4 address.
    pub v4: IpAddr,
    /// Its IPv6 address.
    pub v6: IpAddr,
}

impl Ends {
    /// Both addresses.
    #[must_use]
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4, self.v6]
    }

    /// The address of the same family as another.
    #[must_use]
    pub fn like(self, other: IpAddr) -> IpAddr {
        if other.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// Which end of the link is filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The workload's own device.
    Workload,
    /// The other end.
    Host,
}

/// What `attach` is asked to hook the receive side with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Its own choice.
    Auto,
    /// TCX.
    Tcx,
    /// A filter of the clsact qdisc.
    Clsact,
    /// XDP in the driver.
    XdpNative,
    /// XDP in the generic receive path.
    XdpGeneric,
}

impl Hook {
    /// The options of `attach` that ask for it.
    #[must_use]
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Hook::Auto => &["--hook", "auto"],
            Hook::Tcx => &["--hook", "tcx"],
            Hook::Clsact => &["--hook", "clsact"],
            Hook::XdpNative => &["--hook", "xdp", "--xdp-mode", "native"],
            Hook::XdpGeneric => &["--hook", "xdp", "--xdp-mode", "generic"],
        }
    }
}

/// A workload, the world around it, and the filter between them.
#[derive(Debug)]
pub struct Lab {
    /// What the filter is attached with.
    pub hook: Hook,
    /// Which end of the link is filtered.
    pub side: Side,
    // Processes end before the namespaces that they are in.
    processes: Vec<Background>,
    /// Where the protected interface's owner runs.
    pub workload: Namespace,
    /// Everybody else: the router, the neighbour, hosts in the world.
    pub remote: Namespace,
    bpffs: Mounted,
    folder: TempDir,
    documents: u32,
    seen: Vec<Record>,
}

impl Lab {
    /// Makes the namespaces and the link; nothing is filtered yet.
    ///
    /// # Panics
    ///
    /// When the kernel refuses: the tests need root.
    #[must_use]
    pub fn new(hook: Hook, side: Side) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        netns::remove_leftovers("filter-lab-");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("filter-lab-{}-{number}", std::process::id());
        let workload = Namespace::new(&format!("{name}-workload"));
        let remote = Namespace::new(&format!("{name}-remote"));
        let folder = tempfile::Builder::new().prefix(&name).tempdir().expect("make a temporary folder");
        let bpffs = Mounted::bpffs(&folder.path().join("bpffs"));
        connect(&workload, &remote);
        let processes = Vec::new();
        Self { hook, side, processes, workload, remote, bpffs, folder, documents: 0, seen: Vec::new() }
    }

    /// The namespace and the name of the device that is filtered.
    #[must_use]
    pub fn device(&self) -> (&Namespace, &'static str) {
        match self.side {
            Side::Workload => (&self.workload, "eth0"),
            Side::Host => (&self.remote, "veth0"),
        }
    }

    /// `filter-ctl`, ready to be given arguments, in the namespace of the filtered device.
    #[must_use]
    pub fn filter_ctl_command(&self) -> Command {
        self.with_environment(self.device().0.command(filter_ctl_path()))
    }

    /// Runs `filter-ctl` to its end.
    ///
    /// # Panics
    ///
    /// When it takes longer than a minute.
    #[must_use]
    pub fn filter_ctl<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Finished {
        finish(self.filter_ctl_command().args(arguments), Duration::from_secs(60))
    }

    /// Points a command at this lab's private folders.
    #[must_use]
    pub fn with_environment(&self, mut command: Command) -> Command {
        command
            .env("FILTER_STATE_DIR", self.state_folder())
            .env("FILTER_BPFFS", self.pins())
            .env("NO_COLOR", "1");
        command
    }

    /// Where `filter-ctl` keeps its state.
    #[must_use]
    pub fn state_folder(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The folder in a bpffs of the lab's own below which `filter-ctl` pins.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.bpffs.path.join("filter")
    }

    /// A folder for whatever a test writes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a policy to a file of its own.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn write(&mut self, policy: &Policy) -> PathBuf {
        self.write_text("json", &policy.document().to_string())
    }

    /// Writes a document to a file of its own, `json` or `yaml`.
    ///
    /// # Panics
    ///
    /// When the file cannot be written.
    pub fn write_text(&mut self, extension: &str, text: &str) -> PathBuf {
        self.documents += 1;
        let path = self.folder.path().join(format!("policy-{}.{extension}", self.documents));
        fs::write(&path, text).expect("write a policy document");
        path
    }

    /// Attaches the filter with the lab's hook and side and further options.
    #[must_use]
    pub fn try_attach(&self, document: &Path, options: &[&str]) -> Finished {
        let (_, device) = self.device();
        let side = match self.side {
            Side::Workload => "workload",
            Side::Host => "host",
        };
        let mut command = self.filter_ctl_command();
        command.args(["attach", device, "--policy"]).arg(document);
        command.args(["--interface-id", crate::policy::ENI, "--side", side]);
        command.args(self.hook.options()).args(options);
        finish(&mut command, Duration::from_secs(60))
    }

    /// Attaches the filter with this policy.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn attach(&mut self, policy: &Policy) -> Finished {
        let document = self.write(policy);
        self.try_attach(&document, &[]).ok()
    }

    /// Applies a policy to what is attached.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn apply(&mut self, policy: &Policy) -> Finished {
        let document = self.write(policy);
        self.filter_ctl([Path::new("apply"), &document]).ok()
    }

    /// Detaches the filter.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn detach(&self) -> Finished {
        self.filter_ctl(["detach", self.device().1]).ok()
    }

    /// Reads every record there is, the open interval's included; lines without traffic (`NODATA`)
    /// are left out.
    ///
    /// # Panics
    ///
    /// When `flows` fails or a line is none of the default format.
    #[must_use]
    pub fn flows(&self) -> Vec<Record> {
        let output = self.filter_ctl(["flows"]).ok();
        Record::parse_all(&output.stdout).into_iter().filter(|record| record.status != "NODATA").collect()
    }

    /// The records that have come since the last call.
    ///
    /// # Panics
    ///
    /// As [`Lab::flows`], and when a record that was there before is gone.
    #[must_use]
    pub fn new_flows(&mut self) -> Vec<Record> {
        let all = self.flows();
        let mut new = all.clone();
        for seen in std::mem::replace(&mut self.seen, all) {
            let at = new.iter().position(|record| *record == seen);
            let _ = new.swap_remove(at.unwrap_or_else(|| panic!("no longer shown: {seen}")));
        }
        new
    }

    /// What is tracked, as `filter-ctl connections --output json` tells it.
    ///
    /// # Panics
    ///
    /// When nothing is attached.
    #[must_use]
    pub fn connections(&self) -> Vec<serde_json::Value> {
        let output = self.filter_ctl(["connections", "--output", "json"]).ok().json();
        output["connections"].as_array().expect("a list").clone()
    }

    /// Keeps a process until the end of the lab.
    pub fn keep(&mut self, process: Background) -> u32 {
        let id = process.id();
        self.processes.push(process);
        id
    }
}

/// Joins the namespaces, gives every host its addresses and routes.
fn connect(workload: &Namespace, remote: &Namespace) {
    let mut here = format!(
        "link set lo up\n\
         link add eth0 type veth peer name veth0 netns {}\n\
         link set eth0 up\n",
        remote.name()
    );
    let mut there = "link set lo up\nlink set veth0 up\n".to_owned();
    for address in WORKLOAD.both() {
        here +=
            &format!("address add {address}/{} dev eth0 nodad\n", if address.is_ipv4() { 24 } else { 64 });
    }
    for address in [ROUTER, NEIGHBOUR].into_iter().flat_map(Ends::both) {
        there +=
            &format!("address add {address}/{} dev veth0 nodad\n", if address.is_ipv4() { 24 } else { 64 });
    }
    for address in [HOST, STRANGER].into_iter().flat_map(Ends::both) {
        let length = if address.is_ipv4() { 32 } else { 128 };
        there += &format!("address add {address}/{length} dev veth0 nodad\n");
    }
    batch(workload, &here);
    batch(remote, &there);
    batch(workload, &format!("route add 0.0.0.0/0 via {}\nroute add ::/0 via {}\n", ROUTER.v4, ROUTER.v6));
}

/// Runs `ip` once for all of the commands.
fn batch(namespace: &Namespace, commands: &str) {
    let script = tempfile::NamedTempFile::new().expect("make a temporary file");
    fs::write(script.path(), commands).expect("write a script for ip");
    let mut ip = namespace.command("ip");
    let _ = finish(ip.arg("-batch").arg(script.path()), Duration::from_secs(10)).ok();
}

/// A file system of our own, unmounted at the end: what is pinned in it goes with it.
#[derive(Debug)]
struct Mounted {
    path: PathBuf,
}

impl Mounted {
    fn bpffs(path: &Path) -> Self {
        fs::create_dir(path).expect("make a folder for bpffs");
        netns::mount("bpf", path, Some("bpf"), 0).expect("mount a bpffs");
        Self { path: path.to_owned() }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = netns::unmount(&self.path);
    }
}

/// The binary under test: `FILTER_CTL`, or the one beside the test's own profile folder, built
/// first if it is missing or older than the test.
#[must_use]
pub fn filter_ctl_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(path) = std::env::var_os("FILTER_CTL") {
            return path.into();
        }
        let test = std::env::current_exe().expect("the path of the test");
        let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
        let path = profile.join("filter-ctl");
        let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        if modified(&path) < modified(&test) {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut command = Command::new(cargo);
            command.args(["build", "--quiet", "--package", "filter-ctl", "--bin", "filter-ctl"]);
            if profile.ends_with("release") {
                command.arg("--release");
            }
            let _ = finish(&mut command, Duration::from_secs(600)).ok();
        }
        path
    })
}
