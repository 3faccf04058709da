//! The durable changes of the stream view.

use forebay_base::{Offset, PartitionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::offsets::Committed;

/// One durable change. These are written to the journal, where a variant is known by its place:
/// new variants go to the end, and none is ever removed or reordered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StreamEvent {
    /// A group committed how far it has read.
    OffsetsCommitted {
        /// The group.
        group: String,
        /// When.
        at: Timestamp,
        /// Where it stands in each of these partitions.
        entries: Vec<(PartitionId, Committed)>,
    },
    /// A group was deleted with all it had committed.
    GroupDeleted {
        /// The group.
        group: String,
    },
    /// What a group had committed for some partitions was deleted.
    OffsetsDeleted {
        /// The group.
        group: String,
        /// The partitions.
        partitions: Vec<PartitionId>,
    },
    /// Producer ids below `next` are used up.
    ProducerAllocated {
        /// The lowest id that may be given out from now on.
        next: i64,
    },
    /// Partitions are gone, and with them all that was known about them.
    PartitionsRemoved {
        /// The partitions.
        partitions: Vec<PartitionId>,
    },
    /// A producer named itself: it has no transaction now, and this id and epoch.
    TransactionalProducer {
        /// The name.
        name: String,
        /// Its producer id.
        producer: i64,
        /// Its epoch.
        epoch: i16,
        /// The epoch before, which a repeated request may name; -1 if none may.
        last_epoch: i16,
        /// How long its transactions may take, milliseconds.
        timeout_ms: u64,
        /// When.
        at: Timestamp,
    },
    /// A transaction may append to these partitions; it begins with that if there is none.
    TransactionPartitionsAdded {
        /// The producer.
        producer: i64,
        /// The partitions.
        partitions: Vec<PartitionId>,
        /// When.
        at: Timestamp,
    },
    /// A transaction may commit offsets for this group; it begins with that if there is none.
    TransactionGroupAdded {
        /// The producer.
        producer: i64,
        /// The group.
        group: String,
        /// When.
        at: Timestamp,
    },
    /// A transaction commits these offsets if it is committed itself.
    TransactionOffsetsHeld {
        /// The producer.
        producer: i64,
        /// The group.
        group: String,
        /// Where it will stand in each of these partitions.
        entries: Vec<(PartitionId, Committed)>,
        /// When.
        at: Timestamp,
    },
    /// A transaction ended. What it commits of offsets, and its markers, are told by frames of
    /// their own in the same commit.
    TransactionEnded {
        /// The producer.
        producer: i64,
        /// The producer's epoch from now on.
        epoch: i16,
        /// Whether it was committed, and not aborted.
        committed: bool,
        /// Where its markers lie.
        markers: Vec<(PartitionId, Offset)>,
        /// When.
        at: Timestamp,
    },
}
