//! The SQS API as a client meets it over HTTP, with a real broker on a real disk behind it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attributes;
mod errors;
mod fifo;
mod messages;
mod move_tasks;
mod query;
mod queues;
mod receipts;
mod waiting;
mod world;
