//! The kernel programs of benchmarks, built as filter-ctl's build script builds the others.

use std::path::PathBuf;

use anyhow::Result;

use crate::{shell, workspace};

include!("../../../filter-ebpf/flags.rs");

/// Builds a binary of `filter-ebpf`; the answer is the object's path.
pub(super) fn build(binary: &str) -> Result<PathBuf> {
    let target = workspace::target().join("bench-ebpf");
    let flags = FLAGS.join("\u{1f}").replace("x86_64", std::env::consts::ARCH);
    let mut command = workspace::cargo("build");
    command.args(["--quiet", "--package", "filter-ebpf", "--bin", binary, "--profile", "ebpf"]);
    command.args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"]).arg(&target);
    shell::run(command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_ENCODED_RUSTFLAGS", flags))?;
    Ok(target.join("bpfel-unknown-none/ebpf").join(binary))
}
