//! A machine that exists only while its tests run: QEMU, emulating all of it in software.
//!
//! Never by /dev/kvm: there are computers on which it is there and fails. The kernel talks to the
//! first serial port, which goes to a file; the tests talk to the second one, which is read here.
//! QEMU's own exit code says nothing: what the guest says does.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::shell::{self, progress};
use crate::test::suite::{self, Outcome};

/// Longest that a kernel may take to its first line.
const BOOT: Duration = Duration::from_secs(180);
/// What the guest gets beyond a suite's limit to kill it and to say so.
const MARGIN: Duration = Duration::from_secs(60);
/// Memory in MiB: the tables of some attachments, and the image twice while it is unpacked.
const MEMORY: u32 = 4096;
/// Virtual processors: two, so that what is counted per processor is.
const PROCESSORS: usize = 2;
/// How a test says that the kernel lacks what it is about, and that it proved the refusal instead.
const INSTEAD: &str = "instead: ";

/// A suite that ran in a machine.
pub(super) struct Ran {
    pub(super) suite: String,
    pub(super) outcome: Outcome,
    /// What its tests proved instead, as the kernel lacks something.
    pub(super) instead: Vec<String>,
}

/// What a machine came to.
pub(super) struct Report {
    pub(super) suites: Vec<Ran>,
    /// Why it ended early, if it did.
    pub(super) trouble: Option<String>,
}

/// What is booted.
pub(super) struct Boot<'a> {
    pub(super) release: &'a str,
    pub(super) kernel: &'a Path,
    pub(super) image: &'a Path,
    /// Where the kernel's own messages go.
    pub(super) console: &'a Path,
    /// Longest that a suite may take.
    pub(super) limit: Duration,
    /// Stands before every line of the guest.
    pub(super) prefix: String,
}

/// QEMU; killed when it goes out of scope.
struct Machine {
    child: Child,
    lines: Receiver<String>,
}

impl Machine {
    fn start(boot: &Boot<'_>) -> Result<Self> {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-machine", "q35"]);
        let processors = thread::available_parallelism().map_or(1, usize::from).min(PROCESSORS);
        qemu.args(["-smp", &processors.to_string(), "-m", &MEMORY.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.arg("-serial").arg(format!("file:{}", boot.console.display())).args(["-serial", "stdio"]);
        qemu.arg("-kernel").arg(boot.kernel).arg("-initrd").arg(boot.image);
        // Without the last word, a kernel panics that does not get enough of a busy host's time to
        // see its timer tick.
        qemu.args(["-append", "console=ttyS0 panic=-1 loglevel=4 mitigations=off no_timer_check"]);
        qemu.stdin(Stdio::null()).stdout(Stdio::piped());
        // SAFETY: between fork and exec one system call is made, with numbers only.
        unsafe {
            qemu.pre_exec(|| {
                // If this process is killed, nobody else would end the machine.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = qemu.spawn().with_context(|| format!("cannot start `{}`", shell::describe(&qemu)))?;
        let output = child.stdout.take().context("QEMU has no standard output")?;
        Ok(Self { child, lines: suite::lines(output) })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Fails if it has ended, as it should have.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Boots a kernel and runs the image's suites; what they print is shown as it comes.
pub(super) fn run(boot: &Boot<'_>) -> Result<Report> {
    let machine = Machine::start(boot)?;
    let mut report = Report { suites: Vec::new(), trouble: None };
    let mut running: Option<(Ran, Instant)> = None;
    let mut deadline = Instant::now() + BOOT;
    loop {
        let line = match machine.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(end) => {
                let what = if end == RecvTimeoutError::Timeout { "hangs" } else { "ended before its time" };
                let what = format!("the machine with {} {what}", boot.release);
                report.trouble =
                    Some(format!("{what}; the kernel's last words:\n{}", last_words(boot.console)));
                break;
            }
        };
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some("@boot"), Some(release)) if release == boot.release => {
                progress(&format!("{release} has booted"));
                deadline = Instant::now() + MARGIN;
            }
            (Some("@boot"), release) => bail!("{} was to be booted, and {release:?} runs", boot.release),
            (Some("@missing"), module) => bail!("{}: the module {module:?} cannot be loaded", boot.release),
            (Some("@suite"), Some(suite)) => {
                progress(&format!("{}: suite {suite}", boot.release));
                let ran = Ran { suite: suite.to_owned(), outcome: Outcome::default(), instead: Vec::new() };
                running = Some((ran, Instant::now()));
                deadline = Instant::now() + boot.limit + MARGIN;
            }
            (Some("@exit"), Some(code)) => {
                if let Some((mut ran, start)) = running.take() {
                    ran.outcome.success = code == "0";
                    ran.outcome.time = start.elapsed();
                    report.suites.push(ran);
                }
                deadline = Instant::now() + MARGIN;
            }
            (Some("@end"), _) => break,
            _ => {
                println!("{}{line}", boot.prefix);
                if let Some((ran, _)) = &mut running {
                    ran.outcome.count(&line);
                    ran.instead.extend(line.strip_prefix(INSTEAD).map(str::to_owned));
                }
            }
        }
    }
    // A suite that never ended has failed.
    report.suites.extend(running.map(|(ran, _)| ran));
    Ok(report)
}

fn last_words(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
