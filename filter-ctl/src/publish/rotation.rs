//! When a file of records is complete.
//!
//! A file belongs to one [`Window`] of its records' ends. Records come some time after their end:
//! an aggregation interval must be over before its records are handed over. So a file stays open
//! beyond its window for a while, and one for late records as long from its first record on.

use super::layout::Window;

/// When files end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Length of the windows in seconds, from 1 to 3600.
    pub window: u32,
    /// How long after its window, and after its first record, a file waits for more, in seconds.
    pub linger: u32,
    /// Bytes of a file, compressed. A file ends with the record that reaches them; what the
    /// compressor and an unfinished row group hold back comes on top.
    pub max_bytes: u64,
    /// Files that may be open at once, at least 1; the oldest window's one ends for another.
    pub max_open: usize,
}

impl Default for Rotation {
    /// AWS's five minutes and 75 MB. A linger of 90 seconds suffices for intervals of 60 seconds.
    fn default() -> Self {
        Self { window: Window::FIVE_MINUTES, linger: 90, max_bytes: 75_000_000, max_open: 16 }
    }
}

impl Rotation {
    /// The window of a record that ended then, in Unix seconds.
    #[must_use]
    pub fn window_of(&self, end: u64) -> Window {
        Window::of(end, self.window)
    }

    /// Whether a window's file that was opened then takes no more records.
    ///
    /// When the clock goes backwards, a file lives longer; the window's length bounds it on the way
    /// back, as records of later windows come into other files.
    #[must_use]
    pub fn is_due(&self, window: Window, opened_at: u64, now: u64) -> bool {
        now >= window.end().max(opened_at).saturating_add(self.linger.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROTATION: Rotation = Rotation { window: 300, linger: 90, max_bytes: 1, max_open: 1 };

    #[test]
    fn a_file_waits_for_the_records_of_the_windows_last_interval() {
        let window = ROTATION.window_of(1_000_000_010);
        let opened = window.start + 70;
        assert!(!ROTATION.is_due(window, opened, window.end()));
        assert!(!ROTATION.is_due(window, opened, window.end() + 89));
        assert!(ROTATION.is_due(window, opened, window.end() + 90));
    }

    #[test]
    fn a_file_for_late_records_waits_for_more_of_them() {
        let window = ROTATION.window_of(1_000_000_010);
        let opened = window.end() + 5000;
        assert!(!ROTATION.is_due(window, opened, opened + 89));
        assert!(ROTATION.is_due(window, opened, opened + 90));
    }
}
