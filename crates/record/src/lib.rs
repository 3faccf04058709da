//! The format of every message at rest: Kafka's record batch v2.
//!
//! One public, checksummed, compressible format carries a message from the producer to the
//! consumer, so a batch of a Kafka client is stored and served again without being opened, and
//! what the other front ends publish is readable by every Kafka client. This crate takes batches
//! apart and puts them together; it does no I/O and knows no clock. The format is described in
//! <https://kafka.apache.org/documentation/#recordbatch> and KIP-98.
//!
//! Nothing here trusts a length it has not compared with the bytes that are there, and no input
//! makes it panic.

mod batch;
mod builder;
mod compression;
mod error;
mod header;
mod keep;
mod keys;
mod marker;
mod murmur2;
mod record;
mod varint;

pub use batch::Batch;
pub use builder::BatchBuilder;
pub use compression::Compression;
pub use error::BatchError;
pub use header::{BATCH_OVERHEAD, BatchHeader, LEADER_EPOCH, NO_PRODUCER_ID, TimestampType};
pub use marker::Marker;
pub use murmur2::{murmur2, partition_for_key};
pub use record::{HeaderIter, Headers, Record, Records};
