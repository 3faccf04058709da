//! What promotion and cleaning decide, and what they come to.

use std::ops::Range;

use bytes::Bytes;
use forebay_base::{Offset, PartitionId};
use serde::{Deserialize, Serialize};

use super::Run;
use crate::position::Position;
use crate::reader::Stored;

/// New segments that are durable, and what the index is to know of them. It becomes true when
/// the commit it is written in is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentChange {
    /// The journal below this position is worked off; 0 if the change is not about the journal.
    pub below: Position,
    /// What was written; empty if nothing was kept.
    pub segments: Vec<NewSegment>,
    /// By rising id.
    pub partitions: Vec<PartitionChange>,
}

/// A segment that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewSegment {
    /// Its number, above that of every segment before.
    pub number: u64,
    /// Bytes of the whole object.
    pub bytes: u64,
}

/// The part of a [`SegmentChange`] that is about one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionChange {
    /// Which partition.
    pub partition: PartitionId,
    /// The first offset the journal is still needed for; `None` if the change is not about the
    /// journal.
    pub journal_from: Option<Offset>,
    /// Runs in this range of offsets give way to `runs`.
    pub replaces: Option<Range<Offset>>,
    /// New runs, by rising offset, without overlaps.
    pub runs: Vec<Run>,
}

/// Decides batch by batch what goes into segments.
pub trait Keeper {
    /// What is to be kept of a batch. Asked once for each batch, partition by partition in
    /// rising id, offsets rising.
    fn keep(&mut self, partition: PartitionId, batch: &Stored) -> Kept;

    /// False if nothing in this range of offsets is kept: batches in it need then not be read.
    /// Asked in the same order as [`Keeper::keep`], but some way ahead of it.
    fn may_keep(&mut self, partition: PartitionId, offsets: Range<Offset>) -> bool {
        let _without_a_look = (partition, offsets);
        true
    }
}

/// What is kept of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it, byte by byte.
    Whole,
    /// Nothing: its offsets will be gone.
    Nothing,
    /// This instead: a batch that takes the same offsets, some of them empty.
    Part {
        /// The batch.
        batch: Bytes,
        /// The latest timestamp in it, milliseconds since 1970.
        max_timestamp: i64,
    },
}
