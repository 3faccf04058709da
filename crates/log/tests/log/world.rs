//! A journal on a simulated disk, and what is needed to talk about it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_base::{Offset, PartitionId};
use forebay_log::{
    CommitBuilder, Committed, FrameRef, Journal, JournalOptions, LogReader, Position, RecoverError,
    ReplayFrom, SegmentStore, SimDisk, WriteError,
};

pub(crate) const ID: u64 = 0x0123_4567_89ab_cdef;

/// A frame as replay told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Append {
        entries: Vec<(PartitionId, Offset)>,
        records: u32,
        latest: i64,
        payload: Vec<u8>,
    },
    State(Vec<u8>),
    /// Seen in replay only.
    Segments(Vec<u8>),
}

impl From<FrameRef<'_>> for Frame {
    fn from(frame: FrameRef<'_>) -> Self {
        match frame {
            FrameRef::Append(append) => Self::Append {
                entries: append.entries().collect(),
                records: append.records,
                latest: append.max_timestamp,
                payload: append.payload.to_vec(),
            },
            FrameRef::State(payload) => Self::State(payload.to_vec()),
            FrameRef::Segments(payload) => Self::Segments(payload.to_vec()),
        }
    }
}

impl Frame {
    pub(crate) fn push(&self, commit: &mut CommitBuilder) {
        match self {
            Self::Append {
                entries,
                records,
                latest,
                payload,
            } => {
                commit.push_append(entries, *records, *latest, payload);
            }
            Self::State(payload) => commit.push_state(payload),
            Self::Segments(_) => panic!("a change is pushed as what it is"),
        }
    }
}

/// One batch of `records` for one partition; `payload` tells batches apart.
pub(crate) fn append(partition: u64, base: Offset, records: u32, payload: &[u8]) -> Frame {
    Frame::Append {
        entries: vec![(PartitionId(partition), base)],
        records,
        latest: i64::try_from(base).unwrap(),
        payload: payload.to_vec(),
    }
}

pub(crate) fn commit_of(frames: &[Frame]) -> CommitBuilder {
    let mut commit = CommitBuilder::with_capacity(64);
    for frame in frames {
        frame.push(&mut commit);
    }
    commit
}

pub(crate) struct Opened {
    pub(crate) journal: Journal,
    pub(crate) reader: Arc<LogReader>,
    pub(crate) replayed: Vec<(Position, Frame)>,
}

impl Opened {
    pub(crate) fn write(&mut self, frames: &[Frame]) -> Result<Committed, WriteError> {
        self.journal.write(commit_of(frames))
    }
}

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) options: JournalOptions,
}

impl World {
    pub(crate) fn new(file_size: u64) -> Self {
        let options = JournalOptions {
            file_size,
            retain_bytes: 0,
            min_free_bytes: 0,
            ..JournalOptions::default()
        };
        Self {
            disk: SimDisk::new(),
            options,
        }
    }

    pub(crate) fn dir() -> &'static Path {
        Path::new("/data")
    }

    pub(crate) fn file(number: u64) -> PathBuf {
        Self::dir().join(format!("journal/{number:016x}.journal"))
    }

    pub(crate) fn open(&self) -> Opened {
        self.try_open(None).unwrap()
    }

    pub(crate) fn try_open(&self, from: Option<ReplayFrom<'_>>) -> Result<Opened, RecoverError> {
        let mut replayed = Vec::new();
        let (journal, reader) = Journal::open(
            Arc::new(self.disk.clone()),
            Self::dir(),
            &self.options,
            ID,
            SegmentStore::local(Arc::new(self.disk.clone()), Self::dir()),
            from,
            &mut |position, frame| replayed.push((position, Frame::from(frame))),
        )?;
        Ok(Opened {
            journal,
            reader,
            replayed,
        })
    }
}
