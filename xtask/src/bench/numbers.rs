//! What a row of measurements says: its middle and how far it spreads.

use serde_json::{Value, json};

/// Measurements of one thing.
#[derive(Default)]
pub(super) struct Sample {
    /// In the order in which they were made.
    made: Vec<f64>,
    sorted: Vec<f64>,
}

impl Sample {
    pub(super) fn add(&mut self, value: f64) {
        self.made.push(value);
        self.sorted.push(value);
        self.sorted.sort_by(f64::total_cmp);
    }

    /// The middle one; of an even number, the mean of the two in the middle.
    pub(super) fn median(&self) -> f64 {
        let count = self.sorted.len();
        if count == 0 {
            return f64::NAN;
        }
        f64::midpoint(self.sorted[(count - 1) / 2], self.sorted[count / 2])
    }

    pub(super) fn least(&self) -> f64 {
        self.sorted.first().copied().unwrap_or(f64::NAN)
    }

    pub(super) fn most(&self) -> f64 {
        self.sorted.last().copied().unwrap_or(f64::NAN)
    }

    /// The median of the shares that each measurement has of the other's of the same run.
    pub(super) fn share_of(&self, other: &Self) -> f64 {
        self.with(other, |part, whole| part / whole).median()
    }

    /// How much more each measurement is than the other's of the same run.
    pub(super) fn over(&self, other: &Self) -> Self {
        self.with(other, |more, less| more - less)
    }

    fn with(&self, other: &Self, join: fn(f64, f64) -> f64) -> Self {
        let mut joined = Self::default();
        self.made.iter().zip(&other.made).for_each(|(own, other)| joined.add(join(*own, *other)));
        joined
    }

    pub(super) fn json(&self) -> Value {
        json!({ "median": self.median(), "least": self.least(), "most": self.most(), "all": self.made })
    }
}

#[cfg(test)]
mod tests {
    use super::Sample;

    #[test]
    fn the_median_of_odd_and_even_samples() {
        let mut sample = Sample::default();
        [3.0, 1.0, 2.0].into_iter().for_each(|value| sample.add(value));
        assert_eq!((sample.median(), sample.least(), sample.most()), (2.0, 1.0, 3.0));
        sample.add(10.0);
        assert_eq!(sample.median(), 2.5);
    }

    #[test]
    fn shares_are_taken_run_by_run() {
        let (mut part, mut whole) = (Sample::default(), Sample::default());
        for (with, without) in [(9.0, 10.0), (1.0, 2.0), (19.0, 20.0)] {
            part.add(with);
            whole.add(without);
        }
        assert_eq!(part.share_of(&whole), 0.9);
        assert_eq!((whole.over(&part).least(), whole.over(&part).most()), (1.0, 1.0));
    }
}
