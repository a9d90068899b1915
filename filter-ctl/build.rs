//! Builds the kernel programs (`filter-ebpf`) and hands the object to the crate, which embeds it.
//!
//! The programs are a crate for another target, built by a nested cargo into a target directory
//! of its own. Where the tools for that are missing (`cargo xtask setup` installs them), an empty
//! object takes its place, so that `cargo build` and `cargo test` work on any machine; `attach`
//! then says that this binary has no programs. `FILTER_EBPF_OBJECT` names an object that was
//! built elsewhere; `FILTER_EBPF_REQUIRED=1` turns a missing tool into an error.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// What the object is called in `OUT_DIR`.
const OBJECT: &str = "filter-ebpf.o";

include!("../filter-ebpf/flags.rs");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    for path in ["filter-ebpf", "filter-common", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", workspace.join(path).display());
    }
    for name in ["FILTER_EBPF_OBJECT", "FILTER_EBPF_REQUIRED"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let object = out.join(OBJECT);
    if let Some(prebuilt) = env::var_os("FILTER_EBPF_OBJECT").filter(|path| !path.is_empty()) {
        println!("cargo:rerun-if-changed={}", Path::new(&prebuilt).display());
        fs::copy(&prebuilt, &object)?;
        return Ok(());
    }
    let required = env::var("FILTER_EBPF_REQUIRED").is_ok_and(|value| value == "1");
    match missing_tool() {
        Some(tool) if required => return Err(format!("{tool} (`cargo xtask setup` installs it)").into()),
        Some(tool) => {
            println!("cargo:warning={tool}: built without the kernel programs; `cargo xtask setup` helps");
            fs::write(&object, [])?;
        }
        None => match build(&workspace, &out) {
            Ok(built) => {
                fs::copy(built, &object)?;
            }
            Err(error) if required => return Err(error.into()),
            Err(error) => {
                for line in error.to_string().lines() {
                    println!("cargo:warning={line}");
                }
                fs::write(&object, [])?;
            }
        },
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, env::VarError> {
    env::var(name)
}

/// What the nested build needs and this machine lacks.
fn missing_tool() -> Option<&'static str> {
    let linker = Command::new("bpf-linker").arg("--version").output();
    if !linker.is_ok_and(|output| output.status.success()) {
        return Some("bpf-linker is missing");
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Command::new(rustc).args(["--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    let core = Path::new(&sysroot).join("lib/rustlib/src/rust/library/core");
    (!core.is_dir()).then_some("the standard library's source (rust-src) is missing")
}

/// Runs the nested cargo; returns where the object is.
fn build(workspace: &Path, out: &Path) -> io::Result<PathBuf> {
    let target = out.join("ebpf");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let flags = FLAGS.join("\u{1f}").replace("x86_64", &architecture());
    let output = Command::new(cargo)
        .current_dir(workspace)
        .args(["build", "--package", "filter-ebpf", "--bin", "filter-ebpf", "--profile", "ebpf"])
        .args(["--target", "bpfel-unknown-none", "-Z", "build-std=core", "--target-dir"])
        .arg(&target)
        // What the outer build (clippy, a cross build, coverage) sets for its own target.
        .env_remove("RUSTC")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("CARGO_TARGET_DIR")
        // build-std is unstable; the pinned stable compiler gives it under this name.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("the kernel programs do not build:\n{text}")));
    }
    Ok(target.join("bpfel-unknown-none/ebpf/filter-ebpf"))
}

/// The architecture whose register layouts `aya-ebpf` shall assume.
fn architecture() -> String {
    env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| "x86_64".into())
}
