//! A failing case, made as small as it gets.
//!
//! Delta debugging (Zeller and Hildebrandt, 2002): leave out half of the steps, then quarters, and
//! so on to single ones, and keep what still fails; the same with the facts; then make each packet
//! plainer; and all of it again until nothing can go any more. Every attempt begins with empty
//! tables and runs a few dozen milliseconds. A case of 300 steps and 60 facts takes some 200
//! attempts:
//!
//! ```text
//! 300 steps ─ up to the one that failed ─▶ 211 ─ halves, quarters, … ─▶ 2
//!  60 facts ─ halves, quarters, … ─▶ 3
//! ```
//!
//! Whether it fails counts, not how: a smaller case with another failure is as good a find.
//! (proptest shrinks what its own strategies made, along the ways in which they made it; a sequence
//! whose steps were chosen by what came before is not made like that.)

use std::time::{Duration, Instant};

use tests::model::{Content, Packet, Part};

use crate::case::{Case, Failure, Step};

/// Enough for most; what is left then is small enough.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shrinks a case that fails; `run` tells whether one does.
pub(crate) fn shrink(
    case: Case,
    failure: Failure,
    run: impl FnMut(&Case) -> Option<Failure>,
) -> (Case, Failure, usize) {
    let mut search = Search { case, failure, run, attempts: 0, end: Instant::now() + PATIENCE };
    search.truncate();
    loop {
        let size = search.size();
        search.drop_steps();
        search.drop_facts();
        search.plainer_packets();
        if search.size() == size || Instant::now() > search.end {
            return (search.case, search.failure, search.attempts);
        }
    }
}

struct Search<R> {
    /// The smallest that is known to fail.
    case: Case,
    failure: Failure,
    run: R,
    attempts: usize,
    end: Instant,
}

impl<R: FnMut(&Case) -> Option<Failure>> Search<R> {
    fn size(&self) -> (usize, usize, String) {
        (self.case.steps.len(), self.case.facts.len(), format!("{:?}", self.case.steps))
    }

    /// What comes after the failure has no part in it.
    fn truncate(&mut self) {
        self.case.steps.truncate(self.failure.steps);
    }

    /// Whether a smaller case fails: it takes the place of the former.
    fn attempt(&mut self, smaller: Case) -> bool {
        if Instant::now() > self.end {
            return false;
        }
        self.attempts += 1;
        let Some(failure) = (self.run)(&smaller) else { return false };
        (self.case, self.failure) = (smaller, failure);
        self.truncate();
        true
    }

    fn drop_steps(&mut self) {
        self.drop_parts(
            |case| case.steps.len(),
            |case, from, to| {
                case.steps.drain(from..to);
            },
        );
    }

    fn drop_facts(&mut self) {
        self.drop_parts(
            |case| case.facts.len(),
            |case, from, to| {
                let dropped: Vec<usize> = case.facts.keys().copied().skip(from).take(to - from).collect();
                case.facts.retain(|number, _| !dropped.contains(number));
            },
        );
    }

    /// Leaves out parts of a list, the large ones first, as long as what is left fails.
    fn drop_parts(&mut self, length: fn(&Case) -> usize, drop: fn(&mut Case, usize, usize)) {
        let mut part = length(&self.case);
        while part > 0 {
            let mut from = 0;
            while from < length(&self.case) {
                let mut smaller = self.case.clone();
                drop(&mut smaller, from, (from + part).min(length(&self.case)));
                if !self.attempt(smaller) {
                    from += part;
                }
            }
            part /= 2;
        }
    }

    fn plainer_packets(&mut self) {
        const WAYS: [fn(&mut Packet); 4] = [
            |packet| packet.tags = 0,
            |packet| packet.hop_limit = 64,
            |packet| packet.part = Part::Whole,
            |packet| {
                if let Content::Tcp(_, _, flags) = &mut packet.content {
                    *flags = 2;
                }
            },
        ];
        for place in 0..self.case.steps.len() {
            for plainer in WAYS {
                let mut smaller = self.case.clone();
                let Some(Step::Packet(_, packet)) = smaller.steps.get_mut(place) else { continue };
                let before = packet.clone();
                plainer(packet);
                if *packet != before {
                    self.attempt(smaller);
                }
            }
        }
    }
}
