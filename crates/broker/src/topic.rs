//! What a topic is and what it promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_base::{PartitionId, SessionId, Timestamp, TopicId};
use forebay_queue::Backoff;
use serde::{Deserialize, Serialize};

use crate::stored::Stored;

/// A topic as the directory shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicInfo {
    /// Its identity; a topic made again under the same name has another.
    pub id: TopicId,
    /// Its name: at most 255 bytes, not empty. Front ends narrow that to their own rules.
    pub name: Arc<str>,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionId>,
    /// Its policy.
    pub config: TopicConfig,
    /// When it was made.
    pub created: Timestamp,
    /// When its policy last changed.
    pub modified: Timestamp,
}

/// The policy of a topic.
///
/// Its stored form can grow: a new field goes to the end of [`Stored`]'s list. The types of the
/// fields that are there cannot change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct TopicConfig {
    /// How many partitions it is made with; at least 1. Queues have 1.
    pub partitions: u32,
    /// How long a received message stays leased when the receiver names no time of its own,
    /// milliseconds.
    pub lease_ms: u64,
    /// How long a new message waits before it is first handed out, milliseconds.
    pub delay_ms: u64,
    /// After so many deliveries without an ack a message goes to `dead_letter`.
    pub max_deliveries: Option<u32>,
    /// Where messages go that were rejected or delivered too often. Without a target a rejected
    /// message is settled and `max_deliveries` settles it too.
    pub dead_letter: Option<DeadLetterTarget>,
    /// How long records are kept.
    pub retention: Retention,
    /// Whether only the latest record of each key is kept, and how soon the others go.
    pub compaction: Option<Compaction>,
    /// The largest message accepted, with its key, its headers and what a batch of it alone adds,
    /// bytes. Messages that are compressed together count as one.
    pub max_message_bytes: u32,
    /// What ends the topic besides deletion.
    pub lifetime: Lifetime,
    /// Only this session may use the topic, and the topic ends with it.
    pub exclusive: Option<SessionId>,
    /// What a front end must be able to give back and the broker does not act on.
    pub labels: BTreeMap<String, String>,
    /// Messages with the same record key are a group and are handed out in order, one lane each;
    /// those without a key are a group too. Cannot be changed later.
    pub ordered: bool,
    /// For how long a message with an [`Identity`](crate::Identity) makes a second one with the
    /// same key a duplicate, milliseconds; 0 for never.
    pub dedup_ms: u64,
    /// How many messages may be leased at once, in each partition.
    pub max_leased: Option<u64>,
    /// Messages with the same record key are a group, and no group's backlog holds up the others:
    /// those that have few messages out are served first. Has no effect where `ordered` is set.
    pub fair: bool,
    /// How long a message waits that is given back at once, or whose lease ends by itself, before
    /// it is handed out again. Not one that a session leaves behind.
    pub backoff: Option<Backoff>,
    /// For how long after the topic was deleted [`crate::Directory::resting`] tells so,
    /// milliseconds.
    pub name_rests_ms: u64,
    /// How long a message is worth something, milliseconds; 0 if it is only to whoever waits for
    /// it. It goes when that is over and it is the first of those that are ready.
    pub message_ms: Option<u64>,
    /// So many messages may be ready in each partition.
    pub max_length: Option<u64>,
    /// What becomes of a message that is too many.
    pub overflow: Overflow,
    /// How long the topic may be unused (without a consumer, not received from, not declared
    /// again) before it is deleted, milliseconds.
    pub idle_ms: Option<u64>,
    /// Of the standing consumers only the one that came first is served; when it leaves, the next.
    pub single_active: bool,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            partitions: 1,
            lease_ms: 30_000,
            delay_ms: 0,
            max_deliveries: None,
            dead_letter: None,
            retention: Retention::until_settled(),
            compaction: None,
            max_message_bytes: 16 << 20,
            lifetime: Lifetime::default(),
            exclusive: None,
            labels: BTreeMap::new(),
            ordered: false,
            dedup_ms: 0,
            max_leased: None,
            fair: false,
            backoff: None,
            name_rests_ms: 0,
            message_ms: None,
            max_length: None,
            overflow: Overflow::default(),
            idle_ms: None,
            single_active: false,
        }
    }
}

impl From<TopicConfig> for Stored {
    fn from(config: TopicConfig) -> Self {
        Self::default()
            .with(&config.partitions)
            .with(&config.lease_ms)
            .with(&config.delay_ms)
            .with(&config.max_deliveries)
            .with(&config.dead_letter)
            .with(&config.retention)
            .with(&config.max_message_bytes)
            .with(&config.lifetime)
            .with(&config.exclusive)
            .with(&config.labels)
            .with(&config.compaction)
            .with(&config.ordered)
            .with(&config.dedup_ms)
            .with(&config.max_leased)
            .with(&config.fair)
            .with(&config.backoff)
            .with(&config.name_rests_ms)
            .with(&config.message_ms)
            .with(&config.max_length)
            .with(&config.overflow)
            .with(&config.idle_ms)
            .with(&config.single_active)
    }
}

impl TryFrom<Stored> for TopicConfig {
    type Error = postcard::Error;

    fn try_from(stored: Stored) -> Result<Self, postcard::Error> {
        let mut fields = stored.fields();
        let default = Self::default();
        Ok(Self {
            partitions: fields.next(default.partitions)?,
            lease_ms: fields.next(default.lease_ms)?,
            delay_ms: fields.next(default.delay_ms)?,
            max_deliveries: fields.next(default.max_deliveries)?,
            dead_letter: fields.next(default.dead_letter)?,
            retention: fields.next(default.retention)?,
            max_message_bytes: fields.next(default.max_message_bytes)?,
            lifetime: fields.next(default.lifetime)?,
            exclusive: fields.next(default.exclusive)?,
            labels: fields.next(default.labels)?,
            compaction: fields.next(default.compaction)?,
            ordered: fields.next(default.ordered)?,
            dedup_ms: fields.next(default.dedup_ms)?,
            max_leased: fields.next(default.max_leased)?,
            fair: fields.next(default.fair)?,
            backoff: fields.next(default.backoff)?,
            name_rests_ms: fields.next(default.name_rests_ms)?,
            message_ms: fields.next(default.message_ms)?,
            max_length: fields.next(default.max_length)?,
            overflow: fields.next(default.overflow)?,
            idle_ms: fields.next(default.idle_ms)?,
            single_active: fields.next(default.single_active)?,
        })
    }
}

/// What becomes of a message that is one too many for its topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overflow {
    /// It is taken, and the oldest that is ready goes, to the dead-letter target if there is one.
    #[default]
    DropOldest,
    /// It is refused, and whoever published it is told.
    Refuse,
    /// It is refused, and goes to the dead-letter target.
    RefuseAndDeadLetter,
}

/// What ends a topic besides deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// It is gone after a restart of the broker.
    pub transient: bool,
    /// It is deleted when its last consumer leaves; not before it had one.
    pub auto_delete: bool,
}

/// How long records are kept. Each rule works by itself: a record goes by the first that lets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// A record may go when it is settled as work. Without this, settling has no effect on how
    /// long a record is kept.
    pub until_settled: bool,
    /// Records older than this go, settled or not, milliseconds. What is not settled is then gone
    /// as work too. Exact to the batch: one goes when its latest record is too old.
    pub ms: Option<u64>,
    /// The oldest records of a partition that holds more than this go, settled or not, bytes.
    pub bytes: Option<u64>,
}

impl Retention {
    /// The rule of work queues: kept until settled, and then for as long as the journal has not
    /// been reused (so that recent work can be replayed).
    pub fn until_settled() -> Self {
        Self {
            until_settled: true,
            ms: None,
            bytes: None,
        }
    }

    /// The rule of streams: kept for a time, whoever read them.
    pub fn for_ms(ms: u64) -> Self {
        Self {
            until_settled: false,
            ms: Some(ms),
            bytes: None,
        }
    }
}

/// Keeping the latest record of each key only, as Kafka's `cleanup.policy=compact`. A record
/// without a key is never superseded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// A record younger than this stays, superseded or not, milliseconds.
    pub min_lag_ms: u64,
    /// A superseded record goes at the latest when it is about so old, milliseconds.
    pub max_lag_ms: u64,
    /// How long the last record of a key stays that has no value (the key is deleted), after what
    /// it supersedes is gone, milliseconds: readers have so long to see it.
    pub delete_retention_ms: u64,
    /// The share of a partition, per mille of its bytes, that must be uncleaned before it is
    /// cleaned again. `max_lag_ms` does not wait for it.
    pub min_dirty_ratio: u16,
}

impl Default for Compaction {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            min_lag_ms: 0,
            max_lag_ms: i64::MAX as u64,
            delete_retention_ms: 24 * 60 * 60 * 1000,
            min_dirty_ratio: 500,
        }
    }
}

/// Where dead letters go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeadLetterTarget {
    /// Straight to a topic. While no topic has that name, messages stay where they are.
    Topic(String),
    /// Through an exchange; a message that no binding wants is settled.
    Exchange {
        /// The exchange's name; empty for the default exchange.
        exchange: String,
        /// The routing key; `None` keeps the one it was published with.
        routing_key: Option<String>,
    },
}

#[cfg(test)]
mod tests;
