//! The stream view: what a broker knows about those who read and write a log as history. It is a
//! crate of its own so that consumer groups, committed offsets and producer sequences are plain
//! data that moves only when called: no I/O, no clock, no randomness.
//!
//! Committed offsets, producer ids and transactions are durable: they change by [`StreamEvent`]s
//! that the caller journals. A producer's sequences are recovered from the record batches themselves. Group
//! membership is soft: after a restart, members join again.

mod event;
mod groups;
mod offsets;
mod producer;
mod transactions;

pub use event::StreamEvent;
pub use groups::{
    GroupDescription, GroupListing, GroupPhase, GroupRefusal, GroupReply, GroupSettings, Groups,
    HeartbeatRequest, JoinRefused, JoinRequest, Joined, JoinedMember, LeaveRequest, Leaver, Left,
    MemberDescription, SyncRequest, Synced, Token,
};
pub use offsets::{Committed, GroupOffsets};
pub use producer::{
    ActiveProducer, Fresh, PRODUCER_IDLE_MS, ProducerBatch, ProducerRefusal, Producers,
    REMEMBERED_BATCHES,
};
pub use transactions::{
    Aborted, Ending, Registration, TRANSACTION_MS_AT_MOST, TRANSACTIONAL_IDLE_MS,
    TransactionDescription, TransactionPhase, TransactionRefusal, Transactions,
};
