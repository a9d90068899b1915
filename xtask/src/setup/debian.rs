//! Packages from a Debian suite that this machine does not use, without changing its apt.
//!
//! apt gets a state of its own under the target folder: one source line that names the suite on
//! the mirror which the machine's own sources name. Nothing is installed; a package is
//! downloaded and unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A private apt that knows one suite.
pub(super) struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Reads the suite's package lists into `folder`.
    pub(super) fn open(folder: &Path, suite: &str) -> Result<Self> {
        if shell::find("apt-get").is_none() || shell::find("dpkg-deb").is_none() {
            bail!("this machine has neither a working rustup nor apt");
        }
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        let mirror = mirror().context("no Debian mirror in /etc/apt/sources.list or sources.list.d")?;
        let signed =
            if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
        fs::write(folder.join("debian.list"), format!("deb {signed}{mirror} {suite} main\n"))?;
        let opened = Self { folder: folder.to_owned() };
        shell::run(opened.apt().args(["-qq", "update"]))?;
        Ok(opened)
    }

    /// Downloads the newest package whose version matches and unpacks one folder of it; the
    /// answer is the folder that stands for `/`.
    pub(super) fn unpack(&self, package: &str, version: &str, member: &str) -> Result<PathBuf> {
        shell::run(self.apt().args(["-qq", "download", &format!("{package}={version}")]))
            .with_context(|| format!("no package {package} of version {version}"))?;
        let archive = fs::read_dir(&self.folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                name.is_some_and(|name| name.starts_with(&format!("{package}_")) && name.ends_with(".deb"))
            })
            .with_context(|| format!("apt-get download brought no {package}"))?;
        let root = self.folder.join("root");
        fs::create_dir_all(&root)?;
        let mut dpkg = Command::new("dpkg-deb");
        let mut contents = dpkg.arg("--fsys-tarfile").arg(&archive).stdout(Stdio::piped()).spawn()?;
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--directory").arg(&root).arg(format!("./{member}"));
        tar.stdin(contents.stdout.take().context("dpkg-deb has no standard output")?);
        shell::run(&mut tar).with_context(|| format!("{package} has no {member}"))?;
        contents.wait()?;
        Ok(root)
    }

    fn apt(&self) -> Command {
        let mut apt = Command::new("apt-get");
        apt.current_dir(&self.folder).env("DEBIAN_FRONTEND", "noninteractive");
        let folder = self.folder.display();
        for option in [
            format!("Dir::State::Lists={folder}/lists"),
            format!("Dir::Etc::SourceList={folder}/debian.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::Cache={folder}/cache"),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            apt.args(["-o", &option]);
        }
        apt
    }
}

/// The address of the mirror that the machine's own sources name for Debian itself.
fn mirror() -> Option<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(folder) = fs::read_dir("/etc/apt/sources.list.d") {
        let named = folder.filter_map(|entry| Some(entry.ok()?.path()));
        files.extend(
            named.filter(|path| path.extension().is_some_and(|kind| kind == "list" || kind == "sources")),
        );
    }
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).find_map(|text| archive_in(&text))
}

/// The first `…/debian` address in a source list of either style.
fn archive_in(text: &str) -> Option<String> {
    let lines =
        text.lines().map(str::trim).filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut words = lines.flat_map(str::split_whitespace);
    words
        .find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::archive_in;

    #[test]
    fn the_mirror_is_found_in_both_styles_of_source_lists() {
        let old = "# deb http://no.example/debian x main\ndeb [arch=amd64] http://mirror.example/debian bookworm main\n";
        assert_eq!(archive_in(old).as_deref(), Some("http://mirror.example/debian"));
        let new = "Types: deb\nURIs: http://mirror.example/debian/\nSuites: trixie\n";
        assert_eq!(archive_in(new).as_deref(), Some("http://mirror.example/debian/"));
        assert_eq!(archive_in("URIs: http://mirror.example/debian-security\n"), None);
        assert_eq!(archive_in("deb http://mirror.example/ubuntu noble main\n"), None);
    }
}
