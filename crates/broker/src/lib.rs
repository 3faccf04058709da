//! The shard and the only door to it.
//!
//! A [`Broker`] is what every front end holds. Commands go in as plain data through one bounded
//! mailbox; one thread, the shard, decides them in order, writes frames to the journal and sends
//! replies when the commit they rest on is durable. Payload never passes through the shard's
//! hands on the way out: the shard says *which offsets* go to whom, and the front end reads the
//! bytes through [`Broker::records`] or [`Broker::read`].
//!
//! Absent from here: sockets, wire formats, every protocol's field names.

mod catalog;
mod check;
mod command;
mod compaction;
mod dead_letters;
mod deaths;
mod directory;
mod door;
mod dump;
mod engine;
pub mod envelope;
mod exchange;
mod fields;
mod frame;
mod fuzz;
mod mailbox;
mod measures;
mod moves;
pub mod namespace;
mod options;
mod promotion;
mod reading;
mod records;
mod recovery;
mod refusal;
mod repair;
mod retention;
mod routing;
mod runner;
mod session;
mod settings;
mod shard;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod snapshots;
mod stability;
mod state;
mod stored;
mod topic;

pub use check::{CheckError, CheckReport, Contents, Loss, LostChanges, SnapshotSeen, check};
pub use command::{
    Command, ConsumerId, ConsumerMode, Deliveries, Durability, Event, Expectation, GroupCommand,
    Identity, OffsetCommit, Outcome, Outgoing, Placed, Publish, Receipt, Receive, Reply, RequestId,
    Run, Settled, Subscribe, Target, TopicStats, TopicWork, TransactionCommand, Transactional,
    WhenFull,
};
pub use deaths::{Death, Deaths};
pub use directory::Directory;
pub use door::Broker;
pub use dump::{DumpOptions, Dumped, Label, batch_records, dump};
pub use exchange::{Binding, Destination, ExchangeConfig, ExchangeInfo, ExchangeKind};
pub use fields::{Condition, Conditions, FieldValue, Fields};
pub use frame::FrameError;
pub use fuzz::{fuzz_replay, fuzz_snapshot};
pub use measures::{Counters, Pressure};
pub use moves::{MoveId, MoveInfo, MoveStatus};
pub use options::{OpenError, Options, segment_directory};
pub use reading::{Bounds, Cursor, Delivered, Portion, Stored};
pub use records::ReadError;
pub use refusal::Refusal;
pub use repair::{RepairError, Repaired, repair};
pub use runner::Running;
pub use session::{Session, SessionHandle};
pub use settings::{SettingChange, SettingKey, Settings};
pub use topic::{
    Compaction, DeadLetterTarget, Lifetime, Overflow, Retention, TopicConfig, TopicInfo,
};

pub use forebay_queue::Backoff;
pub use forebay_record::Record;

pub use forebay_stream::{
    Aborted, ActiveProducer, Committed, GroupDescription, GroupListing, GroupPhase, GroupRefusal,
    GroupReply, HeartbeatRequest, JoinRefused, JoinRequest, Joined, JoinedMember, LeaveRequest,
    Leaver, Left, MemberDescription, ProducerRefusal, SyncRequest, Synced, TRANSACTION_MS_AT_MOST,
    TransactionDescription, TransactionPhase, TransactionRefusal,
};

pub use forebay_log::{
    Damage, DamageKind, DamagedSegment, DataDirError, Examined, Part, Position, Progress,
    Run as SegmentRun, SegmentChange, SegmentInfo, SegmentStore,
};
