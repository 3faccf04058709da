//! The Kafka front end: lets unmodified Kafka clients produce to and consume from the broker's
//! topics, with consumer groups, idempotent producers and transactions.
//!
//! Record batches pass through unopened: what a producer sends is checked and stored as it is, and
//! what a consumer fetches is what is stored, with the offset written over. A connection is one
//! task that holds nothing but its socket, the request it is at, and the produce requests whose
//! commits are under way; everything else is the broker's. The protocol is described at
//! <https://kafka.apache.org/protocol.html>; its messages come from the `kafka-protocol` crate.
//!
//! [`serve`] is the way in. `versions` lists what is served, `api` has one file for each kind of
//! request, `error` says which refusal has which code.

mod api;
mod connection;
mod error;
mod frame;
mod layout;
mod old_produce;
mod outgoing;
mod request;
mod serve;
mod topic;
mod topic_config;
mod versions;

pub use serve::{Options, serve};

/// Decodes one frame, for the fuzzer. What is a request must be the same request when encoded and
/// decoded again.
///
/// # Panics
/// If it is not.
#[doc(hidden)]
pub fn fuzz_request(frame: &[u8]) {
    match request::parse(bytes::Bytes::copy_from_slice(frame)) {
        Ok(request::Incoming::Request(request)) => request.assert_same_again(),
        Ok(request::Incoming::OldProduce { version, body, .. }) => {
            let _ = old_produce::answer(version, &body);
        }
        Ok(request::Incoming::FutureApiVersions { .. }) | Err(_) => {}
    }
}
