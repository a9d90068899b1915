//! Where things are kept: pins in bpffs, state in a folder of files.

use std::path::{Path, PathBuf};

use filter_common::abi::ABI_VERSION;

use crate::naming::Shelf;

/// Environment variable that moves the state folder.
pub const STATE_DIR: &str = "FILTER_STATE_DIR";
/// Environment variable that moves the folder in bpffs.
pub const BPFFS: &str = "FILTER_BPFFS";

/// The folders of this host.
#[derive(Clone, Debug)]
pub struct Places {
    state: PathBuf,
    bpffs: PathBuf,
}

impl Places {
    /// The folder of pinned links below a version's.
    pub(super) const INTERFACES: &str = "interfaces";

    /// Folders of one's own: state, and a place in bpffs.
    #[must_use]
    pub fn new(state: PathBuf, bpffs: PathBuf) -> Self {
        Self { state, bpffs }
    }

    /// `/run/filter` and `/sys/fs/bpf/filter`, or what the environment says.
    #[must_use]
    pub fn from_environment() -> Self {
        let place = |name, default: &str| {
            std::env::var_os(name)
                .filter(|path| !path.is_empty())
                .map_or_else(|| default.into(), PathBuf::from)
        };
        Self { state: place(STATE_DIR, "/run/filter"), bpffs: place(BPFFS, "/sys/fs/bpf/filter") }
    }

    /// Folder of the state files.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// One file per attached device.
    #[must_use]
    pub fn attachments(&self) -> PathBuf {
        self.state.join("attachments")
    }

    /// Facts about the host: the tick rate, the last generation.
    #[must_use]
    pub fn host(&self) -> PathBuf {
        self.state.join("host.json")
    }

    /// The lock that commands hold while they change something.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// The rules of each interface and generation, by which flow records are named.
    #[must_use]
    pub fn shelf(&self) -> Shelf {
        Shelf::new(&self.state)
    }

    /// Our folder in bpffs.
    #[must_use]
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Everything of this layout version.
    #[must_use]
    pub fn version(&self) -> PathBuf {
        self.bpffs.join(format!("v{ABI_VERSION}"))
    }

    /// Pinned maps.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.version().join("maps")
    }

    /// Pinned programs that are run by hand.
    #[must_use]
    pub fn programs(&self) -> PathBuf {
        self.version().join("programs")
    }

    /// Pinned links: a folder per attached device.
    #[must_use]
    pub fn interfaces(&self) -> PathBuf {
        self.version().join(Self::INTERFACES)
    }
}
