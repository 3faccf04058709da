//! What a topic is and what it promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_base::{PartitionId, SessionId, Timestamp, TopicId};
use serde::{Deserialize, Serialize};

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// The largest message accepted, with its key, its headers and what a batch of it alone adds,
    /// bytes. Messages that are compressed together count as one.
    pub max_message_bytes: u32,
    /// What ends the topic besides deletion.
    pub lifetime: Lifetime,
    /// Only this session may use the topic, and the topic ends with it.
    pub exclusive: Option<SessionId>,
    /// What a front end must be able to give back and the broker does not act on.
    pub labels: BTreeMap<String, String>,
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
            max_message_bytes: 16 << 20,
            lifetime: Lifetime::default(),
            exclusive: None,
            labels: BTreeMap::new(),
        }
    }
}

/// What ends a topic besides deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifetime {
    /// It is gone after a restart of the broker.
    pub transient: bool,
    /// It is deleted when its last consumer leaves; not before it had one.
    pub auto_delete: bool,
}

/// How long records are kept. A record may go when every bound that is set lets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Keep a record as long as it is not settled as work.
    pub until_settled: bool,
    /// Drop records older than this, milliseconds; settled or not.
    pub ms: Option<u64>,
    /// Drop the oldest records of a partition that holds more than this, bytes.
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
