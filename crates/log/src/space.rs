//! Whether there is room to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the journal has its next file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// The next file is ready or being made.
    Ok,
    /// No next file can be made. What is left of the current file is for consumers: whoever
    /// brings in new records should be held back.
    Low,
}

/// A view of [`Space`] that can be read at any time from any thread.
#[derive(Clone, Debug, Default)]
pub struct SpaceGauge {
    low: Arc<AtomicBool>,
    ready: Arc<AtomicBool>,
}

impl SpaceGauge {
    /// What it shows now.
    pub fn get(&self) -> Space {
        if self.low.load(Ordering::Acquire) {
            Space::Low
        } else {
            Space::Ok
        }
    }

    /// Whether the next file stands ready. While it does not, and space is not low, it is being
    /// made: until that is done nobody knows whether there is room for it.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    pub(crate) fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Shows `space`; true if it showed something else before.
    pub(crate) fn set(&self, space: Space) -> bool {
        let low = space == Space::Low;
        self.low.swap(low, Ordering::AcqRel) != low
    }
}
