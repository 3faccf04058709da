//! The SQS front end from outside.

mod bad_input;
mod waiting;
