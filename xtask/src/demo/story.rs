//! What the demo says, and the count of what did not come out as it should.

use anyhow::{Result, bail};

/// Prints the demo and remembers the expectations that failed.
pub(super) struct Story {
    step: usize,
    met: usize,
    failed: Vec<String>,
}

impl Story {
    pub(super) fn begin() -> Self {
        Self { step: 0, met: 0, failed: Vec::new() }
    }

    pub(super) fn title(&mut self, text: &str) {
        self.step = 0;
        println!("\n{text}\n{}", "=".repeat(text.len()));
    }

    pub(super) fn step(&mut self, text: &str) {
        self.step += 1;
        println!("\n{}. {text}", self.step);
    }

    pub(super) fn note(&self, text: &str) {
        println!("   {text}");
    }

    /// What a program printed.
    pub(super) fn output(&self, text: &str) {
        for line in text.lines() {
            println!("   | {line}");
        }
    }

    /// Says what was seen, and whether it was expected.
    pub(super) fn expect(&mut self, met: bool, text: &str) {
        println!("   {} {text}", if met { "ok  " } else { "FAIL" });
        if met {
            self.met += 1;
        } else {
            self.failed.push(text.to_owned());
        }
    }

    pub(super) fn end(self) -> Result<()> {
        println!("\nEverything that was made is removed.");
        println!("{} expectations met, {} not.", self.met, self.failed.len());
        if self.failed.is_empty() {
            return Ok(());
        }
        bail!("not as expected:\n  {}", self.failed.join("\n  "))
    }
}
