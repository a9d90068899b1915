//! How long to wait before trying again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Waits that double from try to try, each shortened at random so that many clients of one server do not
/// come back at once (AWS Architecture Blog, "Exponential Backoff and Jitter": full jitter).
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    tries: u32,
    random: RandomState,
}

impl Default for Backoff {
    /// From half a second to half a minute.
    fn default() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }
}

impl Backoff {
    /// Waits of at most `first` after the first failure, and of at most `most` ever.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, tries: 0, random: RandomState::new() }
    }

    /// The wait after one more failure: at least half of what the doubling comes to, so that it never is none.
    pub fn wait(&mut self) -> Duration {
        let limit = self.first.saturating_mul(1 << self.tries.min(20)).min(self.most);
        self.tries = self.tries.saturating_add(1);
        // Keyed at random; the number of the try makes it another one each time.
        let random = self.random.hash_one(self.tries) as u32;
        limit / 2 + (limit / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Begins anew: it went well.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew_after_a_success() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(8));
        for limit in [1, 2, 4, 8, 8, 8] {
            let wait = backoff.wait();
            assert!(wait >= seconds(limit) / 2 && wait <= seconds(limit), "{wait:?} of {limit} s");
        }
        backoff.reset();
        assert!(backoff.wait() <= seconds(1));
    }

    #[test]
    fn two_clients_do_not_wait_alike() {
        let mut waits = [Backoff::default(), Backoff::default()].map(|mut backoff| backoff.wait());
        waits.sort();
        assert_ne!(waits[0], waits[1]);
    }

    #[test]
    fn a_long_outage_overflows_nothing() {
        let mut backoff = Backoff { tries: u32::MAX, ..Backoff::default() };
        assert!(backoff.wait() <= Duration::from_secs(30));
    }
}
