//! Waiting for something that no file descriptor announces.

use std::time::{Duration, Instant};

/// Asks again and again, a few milliseconds apart, until there is an answer.
///
/// # Panics
///
/// When there is none after `patience`.
pub fn eventually<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
