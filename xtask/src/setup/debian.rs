//! Packages from Debian suites that this machine does not use, without changing its apt.
//!
//! apt gets a state of its own under the target folder: source lines that name the suites on
//! the mirror which the machine's own sources name. Nothing is installed; a package is
//! downloaded and unpacked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::shell::{self, Ended, progress};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// How long reading the package lists, or downloading one package, may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A private apt that knows some suites.
pub(crate) struct Suites {
    folder: PathBuf,
}

impl Suites {
    /// Reads the suites' package lists into `folder`. Where that fails, for lack of a network or
    /// because the mirror has dropped a suite, it says so and goes on with what was read.
    pub(crate) fn open(folder: &Path, suites: &[&str]) -> Result<Self> {
        if shell::find("apt-get").is_none() || shell::find("dpkg-deb").is_none() {
            bail!("this machine has no apt, with which packages of Debian are fetched");
        }
        fs::create_dir_all(folder.join("lists/partial"))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        let mirror = mirror().context("no Debian mirror in /etc/apt/sources.list or sources.list.d")?;
        let signed =
            if Path::new(KEYRING).exists() { format!("[signed-by={KEYRING}] ") } else { String::new() };
        let lines = suites.iter().map(|suite| format!("deb {signed}{mirror} {suite} main\n"));
        fs::write(folder.join("debian.list"), lines.collect::<String>())?;
        let opened = Self { folder: folder.to_owned() };
        let update = shell::run_for(opened.apt("apt-get").args(["-qq", "update"]), PATIENCE)?;
        if update != Ended::Well {
            progress("not all package lists could be read anew; going on with those that are there");
        }
        Ok(opened)
    }

    /// The names of all packages that begin like this.
    pub(crate) fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let text = shell::read(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Downloads a package, `NAME` or `NAME=VERSION` with a pattern; the answer is its file.
    pub(crate) fn download(&self, package: &str) -> Result<PathBuf> {
        let download = shell::run_for(self.apt("apt-get").args(["-qq", "download", package]), PATIENCE)?;
        if download != Ended::Well {
            bail!("apt-get cannot download {package}");
        }
        let (name, _) = package.split_once('=').unwrap_or((package, ""));
        fs::read_dir(&self.folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| {
                let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
                file.is_some_and(|file| file.starts_with(&format!("{name}_")) && file.ends_with(".deb"))
            })
            .with_context(|| format!("apt-get download brought no {name}"))
    }

    /// Downloads the newest package whose version matches and unpacks one folder of it; the
    /// answer is the folder that stands for `/`.
    pub(super) fn unpack(&self, package: &str, version: &str, member: &str) -> Result<PathBuf> {
        let archive = self
            .download(&format!("{package}={version}"))
            .with_context(|| format!("no package {package} of version {version}"))?;
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

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
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
