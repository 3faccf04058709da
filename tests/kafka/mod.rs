//! The Kafka front end from outside.

mod bad_input;
mod groups;
