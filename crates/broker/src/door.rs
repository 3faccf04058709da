//! The door: how front ends reach the shard and read what it hands out.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use forebay_base::{Offset, PartitionId, SessionId, Timestamp, TopicId};
use forebay_record::Record;

use crate::*;

/// How to open a broker.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything lies. Made if it is not there.
    pub data_dir: PathBuf,
    /// Size of one journal file, bytes. At least 4 MiB; bounds the largest message to a quarter.
    pub journal_file_bytes: u64,
    /// So much of the newest journal is kept although nothing in it is needed any more, so that
    /// recent work can be replayed, bytes.
    pub journal_retain_bytes: u64,
    /// Memory for the newest records, bytes.
    pub cache_bytes: usize,
    /// Publishing waits while the disk has less than this free, bytes.
    pub min_free_bytes: u64,
    /// Commands that may wait in the shard's mailbox.
    pub mailbox_commands: usize,
    /// Payload bytes that may wait to become durable.
    pub pending_bytes: usize,
}

impl Options {
    /// The defaults, on `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self;
}

impl Broker {
    /// Opens the data directory, recovers, and starts the shard. Blocking: call it before the
    /// listeners open, or from a blocking task.
    pub fn open(options: Options, clock: Arc<dyn forebay_base::Clock>) -> Result<(Broker, Running), OpenError>;
    /// The topics and exchanges.
    pub fn directory(&self) -> &Directory;
    /// The present moment, by the broker's clock.
    pub fn now(&self) -> Timestamp;
    /// Opens a session. Dropping the [`Session`] ends it: its leases are released, its consumers
    /// and exclusive topics go.
    pub fn session(&self) -> Session;
    /// Sends one command and waits for its reply, outside any session (leases then need a time).
    /// Dropping the future cancels a waiting receive or watch.
    pub async fn call(&self, command: Command) -> Result<Reply, Refusal>;

    // The same, typed.
    pub async fn publish(&self, publish: Publish) -> Result<Vec<Result<Placed, Refusal>>, Refusal>;
    pub async fn create_topic(&self, name: &str, config: TopicConfig) -> Result<Arc<TopicInfo>, Refusal>;
    pub async fn alter_topic(&self, topic: TopicId, config: TopicConfig) -> Result<Arc<TopicInfo>, Refusal>;
    pub async fn delete_topic(&self, topic: TopicId, only_if: Expectation) -> Result<u64, Refusal>;
    pub async fn receive(&self, receive: Receive) -> Result<Deliveries, Refusal>;
    pub async fn settle(&self, receipts: Vec<Receipt>, outcome: Outcome) -> Result<Vec<Settled>, Refusal>;
    pub async fn purge(&self, topic: TopicId, leased: bool) -> Result<u64, Refusal>;
    pub async fn stats(&self, topic: TopicId) -> Result<TopicStats, Refusal>;
    pub async fn watch(&self, partitions: Vec<(PartitionId, Offset)>, until: Timestamp) -> Result<(), Refusal>;

    /// Reads the records of deliveries, in order. From memory if they are there, else from disk on
    /// a blocking thread. A record that retention dropped meanwhile is left out.
    pub async fn records(&self, deliveries: &Deliveries, cursor: &mut Cursor) -> Result<Vec<Delivered>, ReadError>;
    /// Reads batches from `from` on: first the one that contains it, at least one even if larger
    /// than `max_bytes`, none beyond the high watermark.
    pub async fn read(&self, partition: PartitionId, from: Offset, max_bytes: usize, cursor: &mut Cursor) -> Result<Vec<Stored>, ReadError>;
    /// The readable offsets of a partition, durable ones only.
    pub fn bounds(&self, partition: PartitionId) -> Bounds;
    /// The first record whose timestamp is at or after `timestamp`, and that record's timestamp.
    pub async fn offset_for_time(&self, partition: PartitionId, timestamp: i64) -> Result<Option<(Offset, i64)>, ReadError>;
    /// Whether publishing is held up, and why; changes as it changes.
    pub fn pressure(&self) -> tokio::sync::watch::Receiver<Pressure>;
    /// Counters of the whole broker, for the metrics page.
    pub fn counters(&self) -> Counters;
}

/// Remembers where the last read stopped, so that the next one in sequence finds its place at
/// once. One for each stream of reads; costs nothing to make.
pub struct Cursor;   // Default

/// The readable offsets of a partition.
pub struct Bounds { pub start: Offset, pub end: Offset /* the high watermark: one past the last durable record */ }

/// One stored batch; its bytes carry base offset 0: the true one stands beside them.
pub struct Stored { pub base_offset: Offset, pub records: u32, pub batch: Bytes }

/// One message handed out.
pub struct Delivered { pub receipt: Receipt, pub record: Record }

pub enum Pressure { None, StorageFull(Arc<str>) }

pub struct Counters { pub topics: u64, pub commits: u64, pub syncs: u64, pub records_in: u64, pub bytes_in: u64, pub records_out: u64, pub settled: u64, pub redelivered: u64, pub dead_lettered: u64, pub sessions: u64, pub journal_bytes: u64 }

/// A session. Events in the order they happened.
pub struct Session;
impl Session {
    pub fn id(&self) -> SessionId;
    pub fn handle(&self) -> SessionHandle;                 // Clone, Send
    pub async fn next(&mut self) -> Option<Event>;         // None: the broker stopped. Cancel-safe.
    pub fn try_next(&mut self) -> Option<Event>;
}
impl SessionHandle {
    /// Sends a command without waiting for its reply, which comes as [`Event::Reply`]. Waits while the
    /// mailbox is full: backpressure. Commands of one session are decided in the order sent.
    pub async fn submit(&self, command: Command) -> Result<RequestId, Refusal>;
    /// Sends a command whose reply nobody wants.
    pub async fn tell(&self, command: Command) -> Result<(), Refusal>;
    /// Sends a command and waits for its reply (in order with `submit`).
    pub async fn call(&self, command: Command) -> Result<Reply, Refusal>;
}

/// The running shard; owned by the binary.
pub struct Running;
impl Running {
    /// Completes when the shard has stopped by itself: a disk failure. The text says what and what to do.
    pub async fn failed(&mut self) -> String;
    /// Refuses new commands, makes everything accepted durable, writes a snapshot, stops.
    pub async fn shutdown(self) -> Result<(), String>;
}
