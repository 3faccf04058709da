//! What is measured of the broker as a whole.

use std::sync::Arc;

/// Whether publishing is held up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    /// It is not.
    #[default]
    None,
    /// The disk is full or nearly so; the text says more.
    StorageFull(Arc<str>),
}

/// Counts since the start, but for those that say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Topics there are.
    pub topics: u64,
    /// Sessions open.
    pub sessions: u64,
    /// Commits made durable. Each took one write and one sync.
    pub commits: u64,
    /// Bytes of these commits.
    pub journal_bytes: u64,
    /// Records appended.
    pub records_in: u64,
    /// Bytes of record batches appended.
    pub bytes_in: u64,
    /// Records handed out as work.
    pub records_out: u64,
    /// Of these, not for the first time.
    pub redelivered: u64,
    /// Records settled.
    pub settled: u64,
    /// Records that became dead letters.
    pub dead_lettered: u64,
    /// Bytes the journal holds now, the preallocated rest of its last file left out.
    pub journal_size: u64,
    /// Bytes written to segments: what outlived the journal, and what was written anew since.
    pub promoted_bytes: u64,
    /// Segments there are now.
    pub segments: u64,
    /// Bytes of all segments there are now.
    pub segment_bytes: u64,
    /// Why nothing can be written to segments now, or deleted; it is tried again.
    pub storage_error: Option<Arc<str>>,
}
