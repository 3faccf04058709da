//! Health and metrics over HTTP, for whoever watches over a broker.
//!
//! Everything here is read from the broker's door as any front end reads it: the counters, the
//! directory, and whether the shard answers. The management API of `forebay_management` is served
//! beside that. Absent from here: every way to change something, and any state besides the
//! connections.

mod health;
mod metrics;
mod page;
mod serve;

pub use serve::{Options, serve};
