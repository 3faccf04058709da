//! How a broker is opened, and why it may not open.

use std::path::PathBuf;
use std::sync::Arc;

use forebay_log::{DataDirError, RealDisk, RecoverError, SegmentStore, SnapshotError};

use crate::FrameError;

/// How to open a broker.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything lies. Made if it is not there.
    pub data_dir: PathBuf,
    /// Size of one journal file, bytes: a multiple of 4096, at least 16 MiB for messages of the
    /// largest size. A journal that exists keeps the size it was made with.
    pub journal_file_bytes: u64,
    /// So much of the newest journal is kept although nothing in it is needed any more, so that
    /// recent work can be replayed, bytes.
    pub journal_retain_bytes: u64,
    /// Where records go that outlive the journal. In the data directory itself, if `None`.
    pub segments: Option<SegmentStore>,
    /// Memory for the newest records, bytes.
    pub cache_bytes: usize,
    /// Publishing waits while the disk has less than this free, bytes.
    pub min_free_bytes: u64,
    /// Commands other than publishes that may wait for the shard.
    pub mailbox_commands: usize,
    /// Payload bytes that may wait to become durable; at least 32 MiB.
    pub pending_bytes: usize,
    /// How often it is looked whether records have been there long enough, milliseconds.
    pub retention_every_ms: u64,
}

impl Options {
    /// The defaults, on `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            journal_file_bytes: 64 << 20,
            journal_retain_bytes: 256 << 20,
            segments: None,
            cache_bytes: 32 << 20,
            min_free_bytes: 64 << 20,
            mailbox_commands: 16 << 10,
            pending_bytes: 64 << 20,
            retention_every_ms: 60_000,
        }
    }
}

/// Segments in a directory of their own.
pub fn segment_directory(dir: &std::path::Path) -> SegmentStore {
    SegmentStore::directory(Arc::new(RealDisk), dir)
}

/// Why a broker did not open. Each says in one sentence what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] RecoverError),
    /// The snapshots cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Something that was durable cannot be read.
    #[error(
        "journal file {} is damaged at byte {byte} (position {position}){}; nothing was changed: run \
         `forebay check` to see what that means, then restore the file from a copy, or see what a \
         repair gives up",
        file.display(),
        match others { 0 => String::new(), more => format!(" and in {more} places more") }
    )]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage starts in the journal.
        position: u64,
        /// Where it starts in the file.
        byte: u64,
        /// How many further damaged places there are.
        others: usize,
    },
    /// The newest segment is not where segments are said to be.
    #[error(
        "segment {number:016x} is not where segments are looked for: if that is the wrong place, \
         name the right one; if the segment is lost, run `forebay check` to see what that means"
    )]
    SegmentMissing {
        /// Its number.
        number: u64,
    },
    /// A frame or snapshot of a later version, or none of ours.
    #[error("the journal holds a frame that {0}; use the program that wrote it or a later one")]
    Frame(#[from] FrameError),
    /// A thread could not be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Sizes that a simulation makes small, so that everything happens often. The default is life.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(any(test, feature = "simulation")),
    expect(unreachable_pub, reason = "only a simulation chooses")
)]
pub struct Tuning {
    /// A snapshot is due when the journal has grown by so much since the last one, bytes.
    pub snapshot_every_bytes: u64,
    /// A single commit takes at most so much, unless one batch alone is larger, bytes.
    pub commit_bytes: usize,
    /// The journal is worked off when it is longer by so many files than what is kept of it
    /// anyway.
    pub promote_files: u64,
    /// So many batches are worked off at once, or one file.
    pub promote_batches: usize,
    /// Runs of segments are written anew in portions of so much, bytes.
    pub clean_bytes: u64,
    /// Between the beginnings of two passes of cleaning at least, milliseconds.
    pub clean_every_ms: u64,
    /// Between two looks for what is to be compacted, while nothing is, milliseconds.
    pub compact_every_ms: u64,
    /// Less than this left in the last file of a full disk is taken in small sips, bytes.
    pub reserve_bytes: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            snapshot_every_bytes: 64 << 20,
            commit_bytes: crate::shard::COMMIT_AT_MOST,
            promote_files: 4,
            promote_batches: 256 << 10,
            clean_bytes: 64 << 20,
            clean_every_ms: 10_000,
            compact_every_ms: 15_000,
            reserve_bytes: 4 << 20,
        }
    }
}
