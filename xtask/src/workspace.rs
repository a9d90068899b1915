//! Where things are, and cargo as this workspace calls it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Set for every build that xtask starts: filter-ctl's build script then fails, instead of
/// warning, when it cannot build the eBPF object.
const REQUIRE_EBPF: &str = "FILTER_EBPF_REQUIRED";

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// A folder for xtask's own files.
pub(crate) fn scratch() -> PathBuf {
    target().join("xtask")
}

/// Cargo, in the workspace, never building a `filter-ctl` without its eBPF object.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).env(REQUIRE_EBPF, "1").arg(subcommand);
    // Set by the `cargo run` that started xtask; they would describe xtask to build scripts.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}
