//! `cargo xtask install`: the binary, its manual pages and shell completions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build;
use crate::shell::{self, progress};

/// Installs filter-ctl, its manual pages and its shell completions.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to install: the binary goes to PREFIX/bin, the rest to PREFIX/share.
    #[arg(long, visible_alias = "root", default_value = "/usr/local", value_name = "PREFIX")]
    prefix: PathBuf,
}

/// A shell, and where under `share` it looks for completions of `filter-ctl`.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "bash-completion/completions/filter-ctl"),
    ("zsh", "zsh/site-functions/_filter-ctl"),
    ("fish", "fish/vendor_completions.d/filter-ctl.fish"),
];

pub(crate) fn perform(arguments: &Arguments) -> Result<()> {
    let built = build::release()?;
    let installed = arguments.prefix.join("bin/filter-ctl");
    replace(&built, &installed)?;

    let share = arguments.prefix.join("share");
    let manuals = share.join("man/man1");
    create(&manuals)?;
    shell::run(Command::new(&installed).args(["man", "--folder"]).arg(&manuals))?;
    for (name, file) in COMPLETIONS {
        let script = shell::read(Command::new(&installed).args(["completions", name]))?;
        write(&share.join(file), &script)?;
    }
    progress(&format!(
        "installed {}, manual pages and completions under {}",
        installed.display(),
        share.display()
    ));
    Ok(())
}

/// Puts the new binary in place in one step, so that a running one is never half overwritten.
fn replace(built: &Path, installed: &Path) -> Result<()> {
    let folder = installed.parent().context("the prefix has no parent folder")?;
    create(folder)?;
    let new = folder.join(".filter-ctl.new");
    fs::copy(built, &new).with_context(|| format!("cannot write {}", new.display()))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, installed).with_context(|| format!("cannot write {}", installed.display()))
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    create(file.parent().context("a completion file has a folder")?)?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
