//! The house of the black-box tests: it starts the real `forebay` program as a process of its own,
//! opens real clients on it (`aws-sdk-sqs`, `lapin`, `rdkafka`) or raw sockets where a client would
//! refuse to misbehave, kills it, starts it again, and reads what an operator could read: its trace,
//! its metrics, its memory. It knows nothing of the program's insides.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

pub mod amqp;
pub mod amqp_wire;
pub mod backlog;
pub mod kafka;
pub mod kafka_wire;
pub mod letter;
pub mod patience;
pub mod ports;
pub mod program;
pub mod raw;
pub mod sqs;
pub mod tmpfs;

pub use letter::{Letter, Protocol};
pub use patience::until;
pub use program::{Forebay, Start};
