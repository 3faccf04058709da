//! The writer: one commit at a time, durable before the next.

use std::path::PathBuf;
use std::sync::Arc;

use forebay_base::planted;

use crate::commit::{Commit, CommitBuilder, SEAL_LENGTH, encode_seal};
use crate::disk::{At, DiskError};
use crate::file_header::FILE_HEADER;
use crate::position::{Geometry, Position};
use crate::promoter::Promoter;
use crate::reader::LogReader;
use crate::segment::SegmentOptions;
use crate::space::{Space, SpaceGauge};
use crate::supply::{JournalFile, PAGE, Supply, SupplyError};

/// How a journal is laid out and how much it keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// Bytes per journal file: a multiple of 4096 between 4096 and 2 GiB. A journal that exists
    /// keeps the size it was made with. Default 64 MiB.
    pub file_size: u64,
    /// Bytes of the newest commits kept in memory. Default 32 MiB.
    pub cache_bytes: usize,
    /// Bytes kept in memory of what was read back from the journal. Default 16 MiB.
    pub cold_cache_bytes: usize,
    /// Bytes of journal that [`Journal::drop_below`] keeps although nothing needs them. Ignored
    /// while space is low. Default 256 MiB.
    pub retain_bytes: u64,
    /// Bytes of the file system that stay free: no file is allocated that would take them.
    /// Default 64 MiB.
    pub min_free_bytes: u64,
    /// How many dropped files are kept for reuse, two at most while space is low. Default 6: several
    /// are dropped at once when the journal is worked off, and laying out a new one costs as much
    /// as writing it full.
    pub spare_files: usize,
    /// How segments are written and read.
    pub segments: SegmentOptions,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            file_size: 64 << 20,
            cache_bytes: 32 << 20,
            cold_cache_bytes: 16 << 20,
            retain_bytes: 256 << 20,
            min_free_bytes: 64 << 20,
            spare_files: 6,
            segments: SegmentOptions::default(),
        }
    }
}

/// Bytes that the largest commit can have in files of `file_size`.
fn max_commit_bytes(geometry: Geometry) -> u64 {
    geometry.file_size - FILE_HEADER - SEAL_LENGTH
}

/// A commit that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Where it starts.
    pub position: Position,
    /// Where it ends. A snapshot of the state after this commit is saved with this position.
    pub end: Position,
    /// How many bytes it takes.
    pub bytes: u64,
    /// How many bytes a commit can still take in the current file.
    pub room: u64,
}

/// Why a commit was not made durable.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The current file is full and there is no room for another, or it could not be made for
    /// the moment. Nothing was written and nothing is lost: write the commit again when [`Journal::space`] is [`Space::Ok`].
    #[error("the disk has no room for another journal file")]
    NoSpace {
        /// The commit, unchanged.
        commit: CommitBuilder,
    },
    /// The commit does not fit a journal file. Nothing was written.
    #[error("a commit of {bytes} bytes is larger than {limit}, the most a journal file can hold")]
    TooLarge {
        /// Bytes the commit would take.
        bytes: u64,
        /// The most it may take.
        limit: u64,
        /// The commit, unchanged.
        commit: CommitBuilder,
    },
    /// The disk failed. Whether the commit is durable is unknown; nothing is written any more,
    /// and the process should stop: only a restart can tell what the disk holds.
    #[error("the journal has stopped: {0}")]
    Stopped(Arc<DiskError>),
}

/// The writer of the journal. There is one, and it is used by one thread at a time.
pub struct Journal {
    pub(crate) reader: Arc<LogReader>,
    pub(crate) promoter: Promoter,
    pub(crate) supply: Arc<Supply>,
    pub(crate) geometry: Geometry,
    pub(crate) journal_id: u64,
    pub(crate) retain_bytes: u64,
    pub(crate) current: JournalFile,
    /// The end of the last commit, in the current file; the next one starts here.
    pub(crate) at: u64,
    /// The number of the oldest file that was not dropped.
    pub(crate) oldest: u64,
    pub(crate) stopped: Option<Arc<DiskError>>,
}

impl Journal {
    /// Writes a commit and returns when it is durable; readers see it from then on.
    ///
    /// An empty commit is durable at once and takes no bytes.
    pub fn write(&mut self, commit: CommitBuilder) -> Result<Committed, WriteError> {
        if let Some(error) = &self.stopped {
            return Err(WriteError::Stopped(Arc::clone(error)));
        }
        if commit.is_empty() {
            let end = self.end();
            return Ok(Committed {
                position: end,
                end,
                bytes: 0,
                room: self.room(),
            });
        }
        let (bytes, limit) = (commit.len_bytes() as u64, max_commit_bytes(self.geometry));
        if bytes > limit {
            return Err(WriteError::TooLarge {
                bytes,
                limit,
                commit,
            });
        }
        let after = self.end();
        if self.at + bytes + SEAL_LENGTH > self.geometry.file_size {
            match self.supply.take() {
                Ok(next) => self.switch_to(next)?,
                Err(SupplyError::NoSpace | SupplyError::Failed(_)) => {
                    return Err(WriteError::NoSpace { commit });
                }
            }
        }
        let position = self.end();
        let (mut buffer, effects) = commit.seal(position, self.journal_id);
        self.write_synced(&mut buffer)?;
        let held = if buffer.capacity() > buffer.len() * 2 {
            // Better a small copy than a large buffer behind a small commit in the cache.
            buffer = buffer.as_slice().to_vec();
            buffer.len()
        } else {
            buffer.capacity()
        };
        let commit = Commit::new(position, buffer.into());
        let end = commit.end;
        self.at += bytes;
        self.reader.publish(after, commit, held, &effects);
        self.supply.top_up();
        Ok(Committed {
            position,
            end,
            bytes,
            room: self.room(),
        })
    }

    /// Declares everything below `position` unneeded: no snapshot that may be recovered from
    /// points there. Whole files below it are reused or removed, except for the newest
    /// [`JournalOptions::retain_bytes`] of the journal; records in them can no longer be read,
    /// and [`LogReader::bounds`] moves up accordingly.
    ///
    /// # Errors
    /// A file that could not be dropped; it is tried again the next time.
    pub fn drop_below(&mut self, position: Position) -> Result<(), DiskError> {
        let retain = match self.supply.gauge().get() {
            Space::Ok => self.retain_bytes,
            Space::Low => 0,
        };
        let end = self.end();
        let goes = |oldest: u64| {
            let behind = planted!(JournalDroppedEarly => oldest, else oldest + 1);
            let file_end = self.geometry.start_of(behind);
            file_end <= position && file_end.0.saturating_add(retain) <= end.0
        };
        let oldest = (self.oldest..self.current.number)
            .find(|oldest| !goes(*oldest))
            .unwrap_or(self.current.number);
        if oldest > self.oldest {
            self.reader.forget_below(oldest);
        }
        while self.oldest < oldest {
            // Readers that find the file gone know that what they read of it is void.
            self.reader.remove_file(self.oldest);
            self.supply.give_back(self.oldest)?;
            self.oldest += 1;
        }
        self.supply.top_up();
        Ok(())
    }

    /// Whether there is room for a next file.
    pub fn space(&self) -> SpaceGauge {
        self.supply.gauge()
    }

    /// What moves batches out of the journal into segments. All clones are the same one.
    pub fn promoter(&self) -> Promoter {
        self.promoter.clone()
    }

    /// Where the next commit would start in the current file.
    pub fn end(&self) -> Position {
        self.geometry.position(self.current.number, self.at)
    }

    /// The start of the oldest file that is kept.
    pub fn oldest(&self) -> Position {
        self.geometry.start_of(self.oldest)
    }

    /// Bytes of each of its files.
    pub fn file_size(&self) -> u64 {
        self.geometry.file_size
    }

    /// Bytes a commit can still take in the current file.
    pub fn room(&self) -> u64 {
        let used = self.at.saturating_add(SEAL_LENGTH);
        self.geometry.file_size.saturating_sub(used)
    }

    /// Bytes the largest commit can take.
    pub fn max_commit_bytes(&self) -> u64 {
        max_commit_bytes(self.geometry)
    }

    /// Ends the current file with a seal and goes on in `next`.
    fn switch_to(&mut self, next: JournalFile) -> Result<(), WriteError> {
        let mut seal = encode_seal(self.end(), self.journal_id);
        self.write_synced(&mut seal)?;
        self.reader.add_file(next.number);
        self.current = next;
        self.at = FILE_HEADER;
        Ok(())
    }

    /// Writes at the end and syncs; any failure stops the journal for good.
    ///
    /// The write is filled up with zeros to a whole page: a page that is written whole need not
    /// be read first, and recovery knows torn bytes by the missing zeros.
    fn write_synced(&mut self, buffer: &mut Vec<u8>) -> Result<(), WriteError> {
        let length = buffer.len();
        let page_end = (self.at + length as u64).next_multiple_of(PAGE as u64);
        let padded = page_end.min(self.geometry.file_size) - self.at;
        buffer.resize(usize::try_from(padded).unwrap_or(length), 0);
        let JournalFile { file, path, .. } = &self.current;
        let written = file.write_at(self.at, buffer).at("write", path).and_then(
            |()| planted!(JournalNotSynced => Ok(()), else file.sync_data().at("sync", path)),
        );
        buffer.truncate(length);
        planted!(FailedSyncIgnored => return Ok(()));
        written.map_err(|error| self.stop(Arc::new(error)))
    }

    fn stop(&mut self, error: Arc<DiskError>) -> WriteError {
        tracing::error!(%error, "the journal has stopped; nothing is written any more");
        self.stopped = Some(Arc::clone(&error));
        WriteError::Stopped(error)
    }
}

/// Where the journal's files are in a data directory.
pub(crate) fn journal_dir(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("journal")
}
