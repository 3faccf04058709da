//! The front end as clients see it: a real broker in a temporary directory, and on the other side
//! of a socket either single messages of the protocol or a whole client library.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

mod admin;
mod bad_input;
mod connections;
mod fetch;
mod groups;
mod librdkafka;
mod librdkafka_transactions;
mod list_offsets;
mod produce;
mod server;
mod topics;
mod transactions;
mod versions;
mod wire;
