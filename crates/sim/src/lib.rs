//! A world from a seed: the real shard, journal, segments and views on a simulated disk and clock.
//!
//! It exists to find what no test written by hand looks for. A seed decides everything: what
//! clients do, when the broker's workers get on, when time passes, what fails, when the power
//! goes. Auditors keep a naive ledger of what clients were told and compare it with what they see;
//! they never ask the broker's state. Equal seeds give equal runs, byte by byte, so that a failing
//! seed is one command to replay. `docs/simulation.md` says how to use it.

mod body;
mod chance;
mod ledger;
mod objects;
mod profile;
mod range;
mod stats;
mod violation;
mod world;

pub use range::{Failure, Summary, run_all, run_caught};
pub use stats::Stats;
pub use violation::Violation;
pub use world::{Outcome, Trace, run};
