//! The file system that a machine boots into: an archive in memory with the tools that tests
//! start, filter-ctl, the test programs, and the kernel's modules.
//!
//! The programs are this machine's own, with the libraries that they are linked to: nothing is
//! linked statically for the purpose, and nothing of this machine is shared with the guest. (The
//! cloud kernels have no 9p with which it could be.)

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::fetch::{self, Unpacked};
use crate::setup::TESTS;
use crate::shell;
use crate::test::programs::{Built, Program};

/// Modules that the tests need; where a kernel has one built in, nothing is loaded.
const MODULES: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];

/// The first program of the guest.
const INIT: &str = include_str!("init.sh");

/// Which suites run in the guest, and how.
pub(super) struct Job<'a> {
    pub(super) suites: Vec<&'a Program>,
    /// After these seconds a suite is killed.
    pub(super) limit: u64,
    /// For the test programs.
    pub(super) arguments: &'a [String],
    pub(super) environment: Vec<(String, String)>,
}

/// Everything but the kernel's modules: the same for every kernel.
pub(super) struct Image {
    archive: PathBuf,
}

impl Image {
    /// Packs what the tests need.
    pub(super) fn pack(built: &Built, suites: &[&Program]) -> Result<Self> {
        let root = fetch::folder().join("root");
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        for folder in
            ["bin", "dev", "etc", "modules", "proc", "root", "run", "sys", "tests", "tmp", "usr", "var"]
        {
            fs::create_dir_all(root.join(folder))?;
        }
        for (to, link) in
            [("bin", "sbin"), ("../bin", "usr/bin"), ("../bin", "usr/sbin"), ("/run", "var/run")]
        {
            symlink(to, root.join(link))?;
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\n")?;
        fs::write(root.join("init"), INIT)?;
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;

        let busybox = shell::find("busybox").context("no busybox")?;
        fs::copy(busybox, root.join("bin/busybox"))?;
        symlink("busybox", root.join("bin/sh"))?;
        for (tool, package) in TESTS {
            let file = shell::find(tool).with_context(|| format!("no {tool} ({package})"))?;
            add(&root, &file.canonicalize()?, &Path::new("bin").join(tool))?;
        }
        let filter_ctl = built.binary("filter-ctl").context("cargo built no filter-ctl")?;
        add(&root, filter_ctl, Path::new("bin/filter-ctl"))?;
        for suite in suites {
            add(&root, suite.executable(), &Path::new("tests").join(file_name(suite)))?;
        }
        let archive = fetch::folder().join("base.cpio");
        cpio(&root, &archive)?;
        Ok(Self { archive })
    }

    /// The whole image for a kernel and a job, in files of this name.
    pub(super) fn complete(&self, name: &str, kernel: &Unpacked, job: &Job<'_>) -> Result<PathBuf> {
        let root = fetch::folder().join(format!("{name}.root"));
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(root.join("modules"))?;
        let mut order = String::new();
        for file in kernel.module_files(&MODULES)? {
            let name = file.file_name().context("a module without a name")?.to_string_lossy().into_owned();
            let (name, unpack): (&str, &[&str]) = match name.rsplit_once('.') {
                Some((name, "xz")) => (name, &["xz", "--decompress", "--stdout"]),
                Some((name, "zst")) => (name, &["zstd", "--quiet", "--decompress", "--stdout"]),
                _ => (&name, &["cat"]),
            };
            let to = File::create(root.join("modules").join(name))?;
            shell::run(Command::new(unpack[0]).args(&unpack[1..]).arg(&file).stdout(to))?;
            order += &format!("{name}\n");
        }
        fs::write(root.join("modules/order"), order)?;
        fs::write(root.join("job.sh"), script(job))?;
        // Archives may follow each other.
        let image = fetch::folder().join(format!("{name}.cpio"));
        let more = fetch::folder().join(format!("{name}.more.cpio"));
        cpio(&root, &more)?;
        fs::copy(&self.archive, &image)?;
        let mut whole = File::options().append(true).open(&image)?;
        whole.write_all(&fs::read(&more)?)?;
        Ok(image)
    }
}

/// The suite's name as a file's.
fn file_name(suite: &Program) -> String {
    suite.suite().replace('/', "-")
}

/// What `init` reads: the environment, and a line for each suite.
fn script(job: &Job<'_>) -> String {
    let mut script = String::new();
    for (name, value) in &job.environment {
        script += &format!("export {name}={}\n", quoted(value));
    }
    let arguments: Vec<_> = job.arguments.iter().map(|argument| quoted(argument)).collect();
    for suite in &job.suites {
        let (name, file) = (suite.suite(), file_name(suite));
        script += &format!("suite {name} {} /tests/{file} {}\n", job.limit, arguments.join(" "));
    }
    script
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Adds a program and the libraries that it is linked to, these at the places where it looks.
fn add(root: &Path, program: &Path, to: &Path) -> Result<()> {
    fs::copy(program, root.join(to)).with_context(|| format!("cannot copy {}", program.display()))?;
    // Lines are `NAME => FILE (ADDRESS)` or, for the loader, `FILE (ADDRESS)`.
    for line in shell::read(Command::new("ldd").arg(program))?.lines() {
        if line.contains("not found") {
            bail!("{} misses a library: {}", program.display(), line.trim());
        }
        let Some(file) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
        let place = root.join(file.trim_start_matches('/'));
        if !place.exists() {
            fs::create_dir_all(place.parent().unwrap_or(root))?;
            fs::copy(file, &place).with_context(|| format!("cannot copy {file}"))?;
        }
    }
    Ok(())
}

/// Packs a folder in the format that the kernel unpacks.
fn cpio(root: &Path, archive: &Path) -> Result<()> {
    let mut find = Command::new("find");
    let mut found =
        find.current_dir(root).arg(".").stdout(Stdio::piped()).spawn().context("cannot start find")?;
    let mut cpio = Command::new("cpio");
    cpio.current_dir(root).args(["--create", "--format=newc", "--quiet"]);
    cpio.stdin(found.stdout.take().context("find has no standard output")?);
    cpio.stdout(File::create(archive)?);
    let packed = shell::run(&mut cpio);
    found.wait()?;
    packed
}

#[cfg(test)]
mod tests {
    #[test]
    fn words_reach_the_guest_s_shell_as_they_are() {
        assert_eq!(super::quoted("a b"), "'a b'");
        assert_eq!(super::quoted("it's"), r"'it'\''s'");
    }
}
