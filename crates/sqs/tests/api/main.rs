//! The SQS API as a client meets it over HTTP, with a real broker on a real disk behind it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attributes;
mod beyond;
mod errors;
mod fifo;
mod messages;
mod move_tasks;
mod query;
mod queues;
mod receipts;
mod restart;
mod signed;
mod tenants;
mod waiting;
mod world;
