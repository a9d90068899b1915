//! Waiting for something that no file descriptor announces, and for how long.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

/// A limit as this machine needs it: `FILTER_PATIENCE` times as long. Only for the limits of what
/// shall come; a pass costs none of it. (An emulated machine is ten times slower.)
///
/// # Panics
///
/// When `FILTER_PATIENCE` is no number.
#[must_use]
pub fn stretched(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = FACTOR.get_or_init(|| {
        let Ok(given) = std::env::var("FILTER_PATIENCE") else { return 1 };
        given.parse().unwrap_or_else(|_| panic!("FILTER_PATIENCE={given} is no number"))
    });
    limit * *factor
}

/// Asks again and again, a few milliseconds apart, until there is an answer.
///
/// # Panics
///
/// When there is none after `patience`, [stretched].
pub fn eventually<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let patience = stretched(patience);
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
