//! The durable changes of the stream view.

use forebay_base::{PartitionId, Timestamp};
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
}
