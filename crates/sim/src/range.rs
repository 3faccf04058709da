//! Many worlds, on some threads.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world::Trace;
use crate::{Outcome, Stats, Violation, run};

/// A seed whose world broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// At which step; 0 if it panicked.
    pub step: u64,
    /// What was broken.
    pub violation: Violation,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            step,
            violation,
        } = self;
        writeln!(f, "seed {seed} broke a promise at step {step}")?;
        writeln!(f, "{violation}")?;
        write!(
            f,
            "  replay:   cargo run -p forebay-sim -- --seed {seed} --trace"
        )
    }
}

/// What many worlds have seen.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Of all worlds that came to their end.
    pub stats: Stats,
    /// Those that did not, by seed.
    pub failures: Vec<Failure>,
}

/// Runs one world; a panic in it counts as a broken promise.
pub fn run_caught(seed: u64, trace: Option<Trace>) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| run(seed, trace))) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            let violation = Violation {
                promised: "the broker does not panic".to_owned(),
                seen: text.unwrap_or("it did").to_owned(),
            };
            Outcome {
                stats: Stats::default(),
                digest: 0,
                broken: Some((0, violation)),
            }
        }
    }
}

/// Runs the worlds of all seeds on `jobs` threads. `progress` hears of every one that ended; when
/// it says no, no further world begins.
pub fn run_all(
    seeds: Range<u64>,
    jobs: usize,
    progress: &(dyn Fn(u64, &Outcome) -> bool + Sync),
) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run_caught(seed, None);
                    let more = progress(seed, &outcome);
                    let mut summary = summary
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    summary.stats += outcome.stats;
                    if let Some((step, violation)) = outcome.broken {
                        summary.failures.push(Failure {
                            seed,
                            step,
                            violation,
                        });
                    }
                    if !more {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut summary = summary
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    summary.failures.sort_by_key(|failure| failure.seed);
    summary
}
