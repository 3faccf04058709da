//! How many messages are out, and how many that were lately.

use forebay_base::Timestamp;

/// What happened so long ago counts for about a third, milliseconds.
const MEMORY_MS: f64 = 60_000.0;

/// A number that changes, and its mean over the last minute or so. The mean of what is out is the
/// time spent on it, by the time that went by.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    count: u64,
    mean: f64,
    /// When `mean` was last brought up to date.
    at: Timestamp,
}

impl Meter {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn more(&mut self, by: u64, now: Timestamp) {
        self.update(now);
        self.count = self.count.saturating_add(by);
    }

    pub(crate) fn less(&mut self, by: u64, now: Timestamp) {
        self.update(now);
        self.count = self.count.saturating_sub(by);
    }

    /// The mean up to `now`.
    pub(crate) fn lately(&self, now: Timestamp) -> f64 {
        let count = self.count as f64;
        count + (self.mean - count) * (-(now.ms_since(self.at) as f64) / MEMORY_MS).exp()
    }

    fn update(&mut self, now: Timestamp) {
        self.mean = self.lately(now);
        self.at = now;
    }
}
