//! The AMQP front end from outside.

mod bad_input;
mod routing;
