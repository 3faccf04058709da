//! Real clients and raw sockets against the running program; the folders mirror the front ends.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod amqp;
mod kafka;
mod pairs;
mod sqs;
