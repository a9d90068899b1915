//! Child processes that never outlive their test.

use std::{
    io::{self, BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::eventually::stretched;

/// A system call's result as Rust says it.
pub(crate) fn system_call(name: &str, result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        let error = io::Error::last_os_error();
        return Err(io::Error::new(error.kind(), format!("{name}: {error}")));
    }
    Ok(())
}

/// A process in the background, killed and waited for when it goes out of scope.
#[derive(Debug)]
pub struct Background {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Background {
    /// Starts it, both of its outputs read line by line.
    ///
    /// # Panics
    ///
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        let out = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn io::Read + Send>);
        let err = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn io::Read + Send>);
        for pipe in [out, err].into_iter().flatten() {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines }
    }

    /// Waits for a line that contains `part` and returns it.
    ///
    /// # Panics
    ///
    /// When none comes in time, [stretched].
    pub fn line(&self, part: &str, patience: Duration) -> String {
        let patience = stretched(patience);
        let mut seen = Vec::new();
        let deadline = std::time::Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(std::time::Instant::now())) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("no line with {part:?} within {patience:?}; seen: {seen:#?}"),
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end, as a service manager does.
    ///
    /// # Panics
    ///
    /// When it is gone already.
    pub fn terminate(&self) {
        signal(self.id(), libc::SIGTERM).expect("SIGTERM");
    }

    /// Waits until it ends and returns its exit code; `None` if a signal ended it.
    ///
    /// # Panics
    ///
    /// When it does not end in time.
    pub fn exit_code(&mut self, patience: Duration) -> Option<i32> {
        crate::eventually::eventually("a process to end", patience, || {
            self.child.try_wait().expect("wait for a child")
        })
        .code()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process that this test started.
///
/// # Errors
///
/// When the process is gone.
pub fn signal(process: u32, number: libc::c_int) -> io::Result<()> {
    let process = libc::pid_t::try_from(process).map_err(io::Error::other)?;
    // SAFETY: takes numbers, touches no memory of ours.
    system_call("kill", unsafe { libc::kill(process, number) })
}

/// What a process left: its exit code and both outputs as text.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// The same, having asserted that it succeeded.
    ///
    /// # Panics
    ///
    /// With both outputs, when it did not.
    #[must_use]
    pub fn ok(self) -> Self {
        self.code(0)
    }

    /// The same, having asserted its exit code.
    ///
    /// # Panics
    ///
    /// With both outputs, when the exit code is another.
    #[must_use]
    pub fn code(self, expected: i32) -> Self {
        assert!(
            self.code == expected,
            "exit code {} instead of {expected}\n{}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Standard output read as one JSON document.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}):\n{}{}", self.stdout, self.stderr))
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command to its end; a command that hangs is killed after `patience`, [stretched].
///
/// # Panics
///
/// When it cannot be started or does not end in time.
#[must_use]
pub fn finish(command: &mut Command, patience: Duration) -> Finished {
    let patience = stretched(patience);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let process = child.id();
    let (sender, ended) = mpsc::channel();
    let reader = thread::spawn(move || {
        let output = child.wait_with_output();
        let _ = sender.send(());
        output
    });
    let in_time = ended.recv_timeout(patience).is_ok();
    if !in_time {
        let _ = signal(process, libc::SIGKILL);
    }
    let output = reader.join().expect("read a child's output").expect("wait for a child");
    let finished = Finished::from(output);
    assert!(in_time, "still running after {patience:?}: {command:?}\n{}{}", finished.stdout, finished.stderr);
    finished
}
