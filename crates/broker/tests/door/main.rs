//! The broker through its door, on a real disk: what belongs to one test of the whole rather than
//! to the shard alone.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compacted;
mod crash;
mod fair;
mod lifetime;
mod moves;
mod ordered;
mod pressure;
mod replay;
mod retention;
mod transactions;
mod waiting;
mod world;
