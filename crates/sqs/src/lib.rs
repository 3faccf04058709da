//! The Amazon SQS front end: unmodified AWS SDKs use Forebay's topics as their queues.
//!
//! It speaks both protocols of SQS over HTTP/1.1, on one port: JSON (`X-Amz-Target:
//! AmazonSQS.<Action>`, `application/x-amz-json-1.0`) and the older query protocol (`Action=<Action>`
//! in a form or the URL, answers in XML). A request is read and judged here, put to the [`Broker`] in its
//! own words, and answered with the texts, codes and digests SDKs expect. Signatures are verified if
//! the operator names credentials; else any are accepted, and none. Nothing is kept here but the
//! connections.
//!
//! Absent from here: files, the clock, and what a message means to other protocols beyond the
//! mapping of `docs/mapping.md`.
//!
//! [`Broker`]: forebay_broker::Broker

mod attributes;
mod batch;
mod credentials;
mod dispatch;
mod error;
mod fifo;
mod fuzz;
mod http;
mod incoming;
mod json;
mod limits;
mod md5;
mod message_attributes;
mod operations;
mod options;
mod origin;
mod outgoing;
mod page;
mod policy;
mod query;
mod queue_name;
mod receipt;
mod redrive;
mod request_body;
mod retry;
mod serve;
mod server;
mod signature;
mod tags;
mod text;

pub use credentials::Credentials;
#[doc(hidden)]
pub use fuzz::fuzz_request;
pub use options::Options;
pub use serve::serve;
