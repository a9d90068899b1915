//! The kernel's clock and the wall's: ticks, stamps, intervals and Unix time.

use std::time::Duration;

use filter_common::abi::{STAMP_SHIFT, Stamp};

/// One reading of both clocks.
///
/// A step of the wall clock shifts what is read after it, never what was recorded before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Clock {
    /// Clock ticks per second (the kernel's `CONFIG_HZ`), as measured.
    pub hz: u32,
    /// The programs' clock at the reading: `bpf_jiffies64` and the test offset.
    pub ticks: u64,
    /// Unix time at the reading, in nanoseconds.
    pub unix_nanos: u64,
}

impl Clock {
    /// Ticks that a number of seconds takes.
    #[must_use]
    pub const fn ticks_of(&self, seconds: u32) -> u64 {
        seconds as u64 * self.hz as u64
    }

    /// Stamps that a number of seconds takes, rounded up, at least 1.
    #[must_use]
    pub fn stamps_of(&self, seconds: u32) -> u32 {
        let stamps = self.ticks_of(seconds).div_ceil(1 << STAMP_SHIFT);
        u32::try_from(stamps.max(1)).unwrap_or(u32::MAX >> 1)
    }

    /// What to add to the programs' ticks to count them from the Unix epoch.
    #[must_use]
    pub fn epoch_phase(&self) -> u64 {
        let since_epoch = u128::from(self.unix_nanos) * u128::from(self.hz) / 1_000_000_000;
        (since_epoch as u64).wrapping_sub(self.ticks)
    }

    /// The stamp at the reading.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        (self.ticks >> STAMP_SHIFT) as Stamp
    }

    /// How long before the reading a stamp was taken; zero for one that was taken after it.
    #[must_use]
    pub fn age(&self, stamp: Stamp) -> Duration {
        let age = self.stamp().wrapping_sub(stamp);
        if age >= 1 << 31 {
            return Duration::ZERO;
        }
        self.span(age)
    }

    /// How long a number of stamps is.
    #[must_use]
    pub fn span(&self, stamps: u32) -> Duration {
        Duration::from_nanos((u64::from(stamps) << STAMP_SHIFT) * 1_000_000_000 / u64::from(self.hz.max(1)))
    }

    /// Unix time, in whole seconds, at which a stamp was taken.
    #[must_use]
    pub fn unix_seconds(&self, stamp: Stamp) -> u64 {
        let age = u64::try_from(self.age(stamp).as_nanos()).unwrap_or(u64::MAX);
        self.unix_nanos.saturating_sub(age) / 1_000_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Clock = Clock { hz: 250, ticks: 1_000_000, unix_nanos: 1_700_000_000_500_000_000 };

    #[test]
    fn a_stamp_from_ten_seconds_ago_is_ten_seconds_old() {
        let stamp = ((CLOCK.ticks - 2_500) >> STAMP_SHIFT) as Stamp;
        assert!(CLOCK.age(stamp).abs_diff(Duration::from_secs(10)) <= Duration::from_millis(64));
        assert_eq!(CLOCK.unix_seconds(stamp), 1_699_999_990);
    }

    #[test]
    fn intervals_start_at_multiples_of_their_length_since_the_epoch() {
        let ticks_since_epoch = CLOCK.ticks.wrapping_add(CLOCK.epoch_phase());
        assert_eq!(ticks_since_epoch / 250, 1_700_000_000);
    }
}
