//! Why the broker says no. Each front end turns these into wire codes in one exhaustive match.

use std::sync::Arc;

use crate::{ExchangeInfo, TopicInfo};
use forebay_base::Offset;
use forebay_stream::{GroupRefusal, ProducerRefusal, TransactionRefusal};

/// Why a command was refused. Nothing has changed when one of these comes back.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No topic has that name or id.
    #[error("no such topic")]
    NoSuchTopic,
    /// A topic has that name already: here it is.
    #[error("topic {:?} exists", .0.name)]
    TopicExists(Arc<TopicInfo>),
    /// The topic belongs to another session alone.
    #[error("the topic is exclusive to another session")]
    TopicLocked,
    /// The topic has consumers (delete if unused), or an exclusive consumer.
    #[error("in use")]
    InUse,
    /// The topic holds messages (delete if empty).
    #[error("not empty")]
    NotEmpty,
    /// No exchange has that name.
    #[error("no such exchange {0:?}")]
    NoSuchExchange(Arc<str>),
    /// An exchange has that name already: here it is.
    #[error("exchange {:?} exists", .0.name)]
    ExchangeExists(Arc<ExchangeInfo>),
    /// The exchange takes messages from other exchanges only.
    #[error("exchange {0:?} is internal")]
    ExchangeInternal(Arc<str>),
    /// The default exchange and those the broker came with cannot be changed.
    #[error("exchange {0:?} cannot be changed")]
    ExchangeReserved(Arc<str>),
    /// No binding like this one.
    #[error("no such binding")]
    NoSuchBinding,
    /// The consumer id is taken in this session, or an exclusive consumer holds the topic.
    #[error("the topic has an exclusive consumer")]
    ConsumerExclusive,
    /// The partition index or id does not exist.
    #[error("no such partition")]
    NoSuchPartition,
    /// A topic can only get more partitions, and an ordered one cannot get any.
    #[error("the topic has {there} partitions, and cannot have that many")]
    PartitionCount {
        /// How many it has.
        there: u32,
    },
    /// The offset lies beyond the last durable record of the partition.
    #[error("the offset is beyond {end}, the end of the partition")]
    BeyondEnd {
        /// The offset after the last durable record.
        end: Offset,
    },
    /// A message is larger than the topic allows.
    #[error("message of {size} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Size of what was sent, bytes.
        size: usize,
        /// What the topic allows, bytes.
        limit: usize,
    },
    /// The disk is full or nearly so; publishing waits until space returns, consuming goes on.
    #[error("storage is full: {0}")]
    StorageFull(Arc<str>),
    /// The topic holds as many messages as it may.
    #[error("the topic is full")]
    TopicFull,
    /// The idempotent producer's rules were broken.
    #[error(transparent)]
    Producer(#[from] ProducerRefusal),
    /// The rules of transactions were broken.
    #[error(transparent)]
    Transaction(#[from] TransactionRefusal),
    /// The consumer group's rules were broken.
    #[error(transparent)]
    Group(#[from] GroupRefusal),
    /// A move from that topic is running already.
    #[error("a move from the topic is running")]
    MoveRunning,
    /// No running move has that id.
    #[error("no such move")]
    NoSuchMove,
    /// The broker is stopping, or the shard has stopped after a disk failure.
    #[error("the broker is stopping")]
    Stopping,
}
