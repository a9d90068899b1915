//! What a row of measurements says: its middle and how far it spreads.

use serde_json::{Value, json};

/// Measurements of one thing.
#[derive(Default)]
pub(super) struct Sample(Vec<f64>);

impl Sample {
    pub(super) fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one; of an even number, the mean of the two in the middle.
    pub(super) fn median(&self) -> f64 {
        let count = self.0.len();
        if count == 0 {
            return f64::NAN;
        }
        f64::midpoint(self.0[(count - 1) / 2], self.0[count / 2])
    }

    pub(super) fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    pub(super) fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }

    pub(super) fn json(&self) -> Value {
        json!({ "median": self.median(), "least": self.least(), "most": self.most(), "all": self.0 })
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
}
