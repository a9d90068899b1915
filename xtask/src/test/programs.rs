//! The test programs of the workspace: one cargo call builds them all and says where they are.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{setup, shell, workspace};

/// The crate whose tests need root.
const PRIVILEGED: &str = "tests";
/// The suite that starts Python programs.
pub(super) const WITH_PYTHON: &str = "filter-ctl/publish";

/// All that one build made.
pub(crate) struct Built {
    pub(crate) tests: Vec<Program>,
    /// Ordinary programs by name, which tests start.
    binaries: Vec<(String, PathBuf)>,
}

/// One test program.
pub(crate) struct Program {
    package: String,
    target: String,
    /// Where the package's `Cargo.toml` is: tests run there.
    folder: PathBuf,
    executable: PathBuf,
}

/// Builds the programs and all tests of the workspace, by one call, so that features are
/// resolved once and nothing is compiled twice.
pub(crate) fn build(unprivileged: bool) -> Result<Built> {
    let mut command = workspace::cargo("build");
    command.args(["--workspace", "--bins", "--lib", "--tests"]);
    if unprivileged {
        command.args(["--exclude", PRIVILEGED]);
    }
    command.arg("--message-format=json-render-diagnostics").stdout(Stdio::piped());
    let mut child =
        command.spawn().with_context(|| format!("cannot start `{}`", shell::describe(&command)))?;
    let mut built = Built { tests: Vec::new(), binaries: Vec::new() };
    let messages = child.stdout.take().context("cargo has no standard output")?;
    for line in BufReader::new(messages).lines() {
        built.take(&serde_json::from_str(&line?).context("cargo wrote what is not JSON")?);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{}` failed: {status}", shell::describe(&command));
    }
    built.tests.sort_by_key(Program::suite);
    Ok(built)
}

/// The examples in the documentation, with the same packages and so the same features.
pub(crate) fn documentation(arguments: &[String]) -> Command {
    let mut command = workspace::cargo("test");
    command.args(["--workspace", "--doc", "--exclude", PRIVILEGED, "--"]).args(arguments);
    command
}

impl Built {
    /// The binary of that name.
    pub(crate) fn binary(&self, name: &str) -> Option<&Path> {
        self.binaries.iter().find(|(found, _)| found == name).map(|(_, path)| path.as_path())
    }

    fn take(&mut self, message: &Value) {
        let (Some("compiler-artifact"), Some(executable)) =
            (message["reason"].as_str(), message["executable"].as_str())
        else {
            return;
        };
        let executable = PathBuf::from(executable);
        let target = message["target"]["name"].as_str().unwrap_or_default().to_owned();
        if message["profile"]["test"] != true {
            self.binaries.push((target, executable));
            return;
        }
        let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
        let folder = manifest.parent().unwrap_or(workspace::root()).to_owned();
        let package = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.tests.push(Program { package, target, folder, executable });
    }
}

impl Program {
    /// The suite's name: the package, and the target where it is another.
    pub(crate) fn suite(&self) -> String {
        if self.target == self.package || self.target == self.package.replace('-', "_") {
            return self.package.clone();
        }
        format!("{}/{}", self.package, self.target)
    }

    /// The file that is run.
    pub(crate) fn executable(&self) -> &Path {
        &self.executable
    }

    pub(crate) fn privileged(&self) -> bool {
        self.package == PRIVILEGED
    }

    /// The command that runs it, in the environment that `cargo test` would give it.
    pub(crate) fn command(&self, built: &Built, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).args(arguments);
        command.env("CARGO_MANIFEST_DIR", &self.folder).env("CARGO_PKG_NAME", &self.package);
        command.env("FILTER_PYTHON", setup::python::folder());
        for (name, path) in &built.binaries {
            command.env(format!("CARGO_BIN_EXE_{name}"), path);
            if name == "filter-ctl" {
                command.env("FILTER_CTL", path);
            }
        }
        command
    }
}
