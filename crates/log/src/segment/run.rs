//! What the index remembers of a segment.

use forebay_base::Offset;
use serde::{Deserialize, Serialize};

/// A contiguous range of offsets of one partition in one segment.
///
/// A run speaks for its whole range: an offset from `first` to `end` that no batch in it holds
/// was dropped (settled, compacted, expired) and will never be seen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The number of the segment it lies in.
    pub segment: u64,
    /// The first offset it speaks for.
    pub first: Offset,
    /// The offset after the last one it speaks for; above `first`.
    pub end: Offset,
    /// The byte of the segment its blocks begin at.
    pub at: u64,
    /// Bytes of its blocks, which lie one behind the other; more than 0.
    pub bytes: u64,
    /// Bytes of payload that its blocks refer to instead of holding them, because they are
    /// stored once for many partitions. What a reader gets is about `bytes + shared_bytes`.
    pub shared_bytes: u64,
    /// The byte of the segment its block index begins at; 0 if it has one block only.
    pub index_at: u64,
    /// How many blocks; at least 1.
    pub blocks: u32,
    /// How many offsets its batches take: at most `end - first`.
    pub records: u64,
    /// The latest timestamp in it, milliseconds since 1970.
    pub latest: i64,
    /// When it was last written anew by cleaning or compaction, milliseconds since 1970; 0 if
    /// it came from the journal.
    pub cleaned_at: i64,
}

/// A segment as the index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number, unique in the journal.
    pub number: u64,
    /// Bytes of the whole object.
    pub bytes: u64,
    /// Bytes of the runs in it that are still needed.
    pub live_bytes: u64,
}
