//! filter-ctl for the small network, with a state of its own: nothing else that is attached on
//! this machine is touched.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{DEVICE, Namespace, undo};
use crate::shell;

/// Which hooks `attach` is told to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// filter-ctl chooses.
    Auto,
    /// Native XDP for what the device receives.
    Xdp,
}

impl Hook {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Auto => &["--hook", "auto"],
            Self::Xdp => &["--hook", "xdp", "--xdp-mode", "native"],
        }
    }
}

/// filter-ctl in the workload's namespace.
pub(crate) struct Filter {
    binary: PathBuf,
    namespace: Namespace,
    folders: Folders,
}

/// Where one lab's filter-ctl keeps its state and its pins.
struct Folders {
    state: PathBuf,
    pins: PathBuf,
}

impl Folders {
    fn of(name: &str) -> Self {
        Self { state: Path::new("/run").join(name), pins: Path::new("/sys/fs/bpf").join(name) }
    }
}

impl Filter {
    pub(super) fn new(name: &str, binary: &Path, namespace: &Namespace) -> Result<Self> {
        let folders = Folders::of(name);
        let filter = Self { binary: binary.to_owned(), namespace: namespace.clone(), folders };
        let (mut detach, name) = (filter.command(&["detach", DEVICE]), name.to_owned());
        let undo = move || {
            shell::succeeds(detach.process_group(0));
            remove(&name);
        };
        undo::make(undo, || {
            fs::create_dir_all(&filter.folders.state)?;
            Ok(fs::create_dir_all(&filter.folders.pins)?)
        })?;
        Ok(filter)
    }

    /// `filter-ctl ARGUMENTS` in the workload's namespace.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.namespace.command(&self.binary);
        command.args(arguments);
        command.env("FILTER_STATE_DIR", &self.folders.state).env("FILTER_BPFFS", &self.folders.pins);
        command
    }

    /// Attaches the policy to the workload's device; the answer is what filter-ctl said.
    pub(crate) fn attach(&self, policy: &Path, hook: Hook) -> Result<String> {
        self.attach_with(policy, hook.options())
    }

    /// The same with options of one's own.
    pub(crate) fn attach_with(&self, policy: &Path, options: &[&str]) -> Result<String> {
        let mut command = self.command(&["attach", DEVICE, "--side", "workload"]);
        shell::read(command.args(options).arg("--policy").arg(policy))
    }

    /// The device's packets by the name of their reason, of both directions.
    pub(crate) fn reasons(&self) -> Result<BTreeMap<String, u64>> {
        let text = shell::read(&mut self.command(&["status", DEVICE, "--output", "json"]))?;
        let status: Value = serde_json::from_str(&text).context("status wrote what is not JSON")?;
        let reasons = status["interfaces"][0]["reasons"].as_array().context("status names no reasons")?;
        let packets = |reason: &Value| {
            let of = |direction: &str| reason["packets"][direction].as_u64();
            Some((reason["reason"].as_str()?.to_owned(), of("ingress")? + of("egress")?))
        };
        reasons.iter().map(packets).collect::<Option<_>>().context("a reason without a name or packets")
    }

    /// Applies a changed policy to what is attached.
    pub(crate) fn apply(&self, policy: &Path) -> Result<String> {
        shell::read(self.command(&["apply"]).arg(policy))
    }

    pub(crate) fn detach(&self) -> Result<()> {
        shell::read(&mut self.command(&["detach", DEVICE])).map(drop)
    }

    /// The flow-log lines so far.
    pub(crate) fn flows(&self) -> Result<Vec<String>> {
        let text = shell::read(&mut self.command(&["flows"]))?;
        Ok(text
            .lines()
            .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
            .map(str::to_owned)
            .collect())
    }

    /// A folder for files that live as long as the lab.
    pub(crate) fn scratch(&self) -> &Path {
        &self.folders.state
    }
}

/// Removes the state and the pins of the lab of that name; removing a link's pin detaches it.
pub(super) fn remove(name: &str) {
    let Folders { state, pins } = Folders::of(name);
    for folder in [state, pins] {
        if let Err(error) = fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("warning: cannot remove {}: {error}", folder.display());
        }
    }
}
