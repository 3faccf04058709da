//! The queue view: each message of one partition as work that is ready, delayed, leased or
//! settled. It exists as a crate of its own so that this life cycle is plain data: no I/O, no
//! clock, no randomness. Whoever owns a [`QueueView`] asks it what to do (`take`, `settle`,
//! `expire`), writes the [`QueueEvent`]s it proposes down, and gives them back to
//! [`QueueView::apply`], which is the only way it changes.
//!
//! Memory follows exceptions, not backlog: messages that nobody touched are one number, the
//! cursor; only what is out of line (leased, delayed, returned) is kept, as runs of neighbours.
//! A view that keeps groups in order spends eight bytes more on each message that waits, and some
//! sixty on each group that has one. A view that is fair between groups keeps a run for each stretch
//! of neighbours of one group, and a bounded number of these.

mod apply;
mod backoff;
mod decide;
mod delivery;
mod event;
mod expiry;
mod hashed;
mod lanes;
mod recent;
mod run;
mod saved;
mod tenants;
mod view;

pub use backoff::Backoff;
pub use delivery::{Attempted, Depth, Held, Lease, Limits, Outcome, Receipt};
pub use event::QueueEvent;
pub use expiry::{Ends, end_after};
pub use recent::{Recent, Sent};
pub use saved::BrokenView;
pub use tenants::Tenants;
pub use view::QueueView;
