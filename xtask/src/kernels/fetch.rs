//! Kernels as Debian packages: downloaded, unpacked below the target folder, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::series::{Kernel, PACKAGES, SUITES, among};
use crate::setup::Suites;
use crate::shell::{self, progress};
use crate::workspace;

/// Says that a kernel is unpacked whole.
const COMPLETE: &str = "complete";

/// The kernels that can be had, and how.
pub(super) struct Archive {
    suites: Suites,
    packages: Vec<String>,
}

/// An unpacked kernel.
pub(super) struct Unpacked {
    folder: PathBuf,
    release: String,
}

/// The folder of everything about kernels.
pub(super) fn folder() -> PathBuf {
    workspace::scratch().join("kernels")
}

impl Archive {
    /// Reads the package lists.
    pub(super) fn open() -> Result<Self> {
        progress("reading the lists of Debian's kernels");
        let suites = Suites::open(&folder().join("apt"), &SUITES)?;
        let mut packages = Vec::new();
        for prefix in PACKAGES {
            packages.extend(suites.names(prefix)?);
        }
        Ok(Self { suites, packages })
    }

    /// The newest kernel of each series.
    pub(super) fn kernels(&self) -> Vec<Kernel> {
        among(&self.packages)
    }

    /// A kernel with its modules, out of the cache if it was unpacked before.
    pub(super) fn unpack(&self, kernel: &Kernel) -> Result<Unpacked> {
        let folder = folder().join(&kernel.release);
        let unpacked = Unpacked { folder, release: kernel.release.clone() };
        let complete = unpacked.folder.join(COMPLETE);
        if complete.exists() {
            return Ok(unpacked);
        }
        progress(&format!("fetching the kernel {}", kernel.name()));
        fs::create_dir_all(&unpacked.folder)?;
        for package in PACKAGES.map(|prefix| format!("{prefix}{}", kernel.release)) {
            if self.packages.contains(&package) {
                let archive = self.suites.download(&package)?;
                shell::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&unpacked.folder))?;
                fs::remove_file(&archive)?;
            }
        }
        let (base, _) = unpacked.modules()?;
        shell::run(Command::new("depmod").arg("--basedir").arg(base).arg(&kernel.release))?;
        unpacked.image()?;
        fs::write(complete, "")?;
        Ok(unpacked)
    }
}

impl Unpacked {
    /// The kernel itself. It lies in another place from 7.2 on.
    pub(super) fn image(&self) -> Result<PathBuf> {
        let (_, modules) = self.modules()?;
        let places =
            [self.folder.join("boot").join(format!("vmlinuz-{}", self.release)), modules.join("vmlinuz")];
        let found = places.into_iter().find(|place| place.is_file());
        found.with_context(|| format!("the packages of {} hold no kernel", self.release))
    }

    /// What stands for `/` to the tools of modules, and the folder of the modules. It lies below
    /// `/lib` or `/usr/lib`.
    fn modules(&self) -> Result<(PathBuf, PathBuf)> {
        for base in [self.folder.join("usr"), self.folder.clone()] {
            let modules = base.join("lib/modules").join(&self.release);
            if modules.is_dir() {
                return Ok((base, modules));
            }
        }
        bail!("the packages of {} hold no modules", self.release)
    }

    /// The files of the modules and of those that they need, in the order in which they are loaded.
    pub(super) fn module_files(&self, names: &[&str]) -> Result<Vec<PathBuf>> {
        let (base, _) = self.modules()?;
        let mut files: Vec<PathBuf> = Vec::new();
        for name in names {
            let mut modprobe = Command::new("modprobe");
            modprobe.arg("--dirname").arg(&base).args([
                "--set-version",
                &self.release,
                "--show-depends",
                name,
            ]);
            let said = shell::read(&mut modprobe)?;
            // Lines are `insmod FILE` or, for what the kernel holds anyway, `builtin NAME`.
            let found = said.lines().filter_map(|line| line.strip_prefix("insmod ")).map(str::trim);
            for file in found.map(Path::new) {
                if !files.iter().any(|known| known == file) {
                    files.push(file.to_owned());
                }
            }
        }
        Ok(files)
    }
}
