//! Reading: shared by every thread that serves consumers.
//!
//! A read asks the index where to start, then walks the blocks of segments and behind them the
//! commits of the journal: from the tail cache, from what was lately read back, or from the disk.
//! What comes from the disk is served only if its checksum holds.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use forebay_base::{Offset, OffsetRange, PartitionId};
use parking_lot::{Mutex, RwLock};

use crate::cold::Cold;
use crate::commit::{Commit, Effects};
use crate::disk::DiskError;
use crate::file_header::FILE_HEADER;
use crate::handles::Handles;
use crate::index::{Index, Place};
use crate::index_export;
use crate::position::{Geometry, Position};
use crate::segment::{Objects, Run, SegmentError, SegmentInfo, SegmentOptions, SegmentReader};
use crate::tail::Tail;
use crate::walk::{Cursor, Found, Walk};

/// One record batch, and where it lies in its partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The offset of the first record. The offsets inside the batch are relative to it; what the
    /// batch's own header says is what its producer wrote.
    pub base_offset: Offset,
    /// How many offsets the batch takes.
    pub records: u32,
    /// The latest timestamp in the batch, milliseconds since 1970.
    pub max_timestamp: i64,
    /// The batch: a slice of what was read with it, which it keeps in memory.
    pub batch: Bytes,
}

/// What a partition holds that is durable and not trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest offset that can be read.
    pub start: Offset,
    /// The offset after the last one that can be read: the high watermark.
    pub end: Offset,
    /// The latest timestamp ever appended, milliseconds since 1970.
    pub max_timestamp: i64,
}

/// Where a read may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In memory only; never blocks on the disk.
    CacheOnly,
    /// In memory and on the disk; may block.
    Disk,
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is below what the partition still holds.
    #[error("offset {offset} is below {start}, the lowest that is kept")]
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The lowest offset that can be read.
        start: Offset,
    },
    /// The journal file was dropped although the index still pointed to it.
    #[error("journal position {0} was dropped")]
    Dropped(Position),
    /// What lies on the disk is not what was written. It is not served.
    #[error(
        "journal file {} is damaged at position {position} (byte {byte}); the damaged commit is \
         not served; run `forebay check` and restore the file from a copy",
        file.display()
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damaged commit starts in the journal.
        position: Position,
        /// Where it starts in the file.
        byte: u64,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A segment cannot be read.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

impl ReadError {
    /// True if what was looked for is not where it was looked for: the index may know better.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Dropped(_) => true,
            Self::Segment(error) => error.is_missing(),
            _ => false,
        }
    }
}

/// Reads everything durable. One per journal, shared by all threads.
pub struct LogReader {
    pub(crate) index: RwLock<Index>,
    pub(crate) tail: RwLock<Tail>,
    pub(crate) cold: Mutex<Cold>,
    pub(crate) files: Handles,
    pub(crate) segments: SegmentReader,
    durable: AtomicU64,
    pub(crate) geometry: Geometry,
    pub(crate) journal_id: u64,
}

/// Budgets for [`LogReader::new`], bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CacheBudgets {
    pub(crate) tail: usize,
    pub(crate) cold: usize,
}

impl LogReader {
    pub(crate) fn new(
        geometry: Geometry,
        journal_id: u64,
        files: Handles,
        index: Index,
        budgets: CacheBudgets,
        (objects, options): (Objects, &SegmentOptions),
    ) -> Self {
        Self {
            index: RwLock::new(index),
            tail: RwLock::new(Tail::new(budgets.tail)),
            cold: Mutex::new(Cold::new(budgets.cold)),
            files,
            segments: SegmentReader::new(objects, options),
            durable: AtomicU64::new(0),
            geometry,
            journal_id,
        }
    }

    /// What the partition holds; `None` if nothing was ever appended to it, or it was removed.
    pub fn bounds(&self, partition: PartitionId) -> Option<Bounds> {
        let index = self.index.read();
        let track = index.get(partition)?;
        Some(Bounds {
            start: track.start,
            end: track.end,
            max_timestamp: track.latest,
        })
    }

    /// Forgets the offsets below `below`: they can no longer be read.
    pub fn trim(&self, partition: PartitionId, below: Offset) {
        self.index.write().trim(partition, below);
    }

    /// Forgets a partition. To be called when nothing will be appended to it any more, commits
    /// under way included.
    pub fn remove(&self, partition: PartitionId) {
        self.index.write().remove(partition);
    }

    /// Forgets every partition that `keep` does not name; for after recovery, when appends to
    /// partitions that were removed later have been replayed.
    pub fn retain(&self, keep: impl FnMut(PartitionId) -> bool) {
        self.index.write().retain(keep);
    }

    /// The batches from the one that contains `from` on, in order, up to the high watermark.
    ///
    /// Stops before `max_bytes` of batches are exceeded, but gives at least one batch if there is
    /// one. An empty list means that nothing durable lies at or after `from` yet. `None`, only
    /// with [`Source::CacheOnly`], means that the disk must be read. `cursor` makes the next read
    /// from where this one ended cheap; pass a new one per reader.
    pub fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        max_bytes: usize,
        cursor: &mut Cursor,
        source: Source,
    ) -> Result<Option<Vec<Stored>>, ReadError> {
        let mut walk = Walk::new(self, partition, source, cursor);
        let mut batches = Vec::new();
        let (mut next, mut bytes) = (from, 0usize);
        loop {
            walk.wants(max_bytes.saturating_sub(bytes));
            match walk.find(next)? {
                Found::Batch(batch) => {
                    bytes = bytes.saturating_add(batch.batch.len());
                    if bytes > max_bytes && !batches.is_empty() {
                        break;
                    }
                    walk.accept();
                    next = batch.base_offset.saturating_add(u64::from(batch.records));
                    batches.push(batch);
                    if bytes >= max_bytes {
                        break;
                    }
                }
                Found::End => break,
                Found::NeedsDisk if batches.is_empty() => return Ok(None),
                Found::NeedsDisk => break,
            }
        }
        Ok(Some(batches))
    }

    /// The batches that contain the given offsets, each batch once, in order.
    ///
    /// `offsets` is sorted. Offsets that were trimmed or are not durable yet are passed over.
    /// `None`, only with [`Source::CacheOnly`], means that the disk must be read for one of them.
    pub fn read_at(
        &self,
        partition: PartitionId,
        offsets: &[OffsetRange],
        cursor: &mut Cursor,
        source: Source,
    ) -> Result<Option<Vec<Stored>>, ReadError> {
        let Some(bounds) = self.bounds(partition) else {
            return Ok(Some(Vec::new()));
        };
        let mut walk = Walk::new(self, partition, source, cursor);
        let mut batches = Vec::new();
        let mut covered = bounds.start;
        for range in offsets {
            let range_end = range.first.saturating_add(u64::from(range.count));
            let mut next = range.first.max(covered);
            while next < range_end {
                match walk.find(next)? {
                    Found::Batch(batch) if batch.base_offset < range_end => {
                        walk.accept();
                        next = batch.base_offset.saturating_add(u64::from(batch.records));
                        covered = next;
                        batches.push(batch);
                    }
                    Found::Batch(_) | Found::End => break,
                    Found::NeedsDisk => return Ok(None),
                }
            }
        }
        Ok(Some(batches))
    }

    /// The first batch with a timestamp of `timestamp` or later: its first offset and its latest
    /// timestamp. The caller looks inside the batch. May read the disk.
    pub fn offset_for_time(
        &self,
        partition: PartitionId,
        timestamp: i64,
    ) -> Result<Option<(Offset, i64)>, ReadError> {
        let (runs, from) = {
            let index = self.index.read();
            let Some(track) = index.get(partition) else {
                return Ok(None);
            };
            if track.latest < timestamp || track.start == track.end {
                return Ok(None);
            }
            let runs: Vec<Run> = index.runs.of(partition).to_vec();
            let entry = track.entry_for_time(timestamp);
            let from = entry.map_or(track.start, |entry| entry.offset);
            let journal = index.runs.journal_from(partition);
            (runs, from.max(track.start).max(journal))
        };
        let start = |reader: &Self| reader.bounds(partition).map_or(0, |bounds| bounds.start);
        for run in runs.iter().filter(|run| run.latest >= timestamp) {
            let from = start(self).max(run.first);
            match self
                .segments
                .offset_for_time(partition, run, timestamp, from)
            {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                // The run was cleaned or trimmed meanwhile: its batches are looked through below.
                Err(error) if error.is_missing() => {
                    return self.walk_to_time(partition, timestamp, start(self));
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.walk_to_time(partition, timestamp, from.max(start(self)))
    }

    /// Goes through all batches from `from` on.
    fn walk_to_time(
        &self,
        partition: PartitionId,
        timestamp: i64,
        from: Offset,
    ) -> Result<Option<(Offset, i64)>, ReadError> {
        let mut cursor = Cursor::default();
        let mut walk = Walk::new(self, partition, Source::Disk, &mut cursor);
        let mut next = from;
        while let Found::Batch(batch) = walk.find(next)? {
            if batch.max_timestamp >= timestamp {
                return Ok(Some((batch.base_offset, batch.max_timestamp)));
            }
            walk.accept();
            next = batch.base_offset.saturating_add(u64::from(batch.records));
        }
        Ok(None)
    }

    /// The partition's runs in segments, by rising offset.
    pub fn runs(&self, partition: PartitionId) -> Vec<Run> {
        self.index.read().runs.of(partition).to_vec()
    }

    /// Every partition that has runs in segments, by rising id.
    pub fn partitions_with_runs(&self) -> Vec<PartitionId> {
        let index = self.index.read();
        let lanes = index.runs.lanes().filter(|(_, lane)| !lane.runs.is_empty());
        lanes.map(|(partition, _)| partition).collect()
    }

    /// Every segment there is, by rising number; those without live bytes wait to be deleted.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.index.read().runs.segments().collect()
    }

    /// The last offset known such that `bytes` of the partition's batches lie at or after it: what
    /// lies below is more than that, and may go. The lowest offset held if there are not as many.
    ///
    /// A little more stays than is asked for, as exact as the index: some 64 KiB in the journal,
    /// more in a very long one. In segments it is right as far as batches are of similar size.
    pub fn offset_for_size(&self, partition: PartitionId, bytes: u64) -> Offset {
        self.index.read().offset_for_size(partition, bytes)
    }

    /// Below this offset nothing of the partition is left, whether its start has been moved up or
    /// not.
    pub fn gone_below(&self, partition: PartitionId) -> Offset {
        self.index.read().gone_below(partition)
    }

    /// Bytes of the batches that the partition holds, as exact as the index.
    pub fn bytes(&self, partition: PartitionId) -> u64 {
        self.index.read().bytes(partition)
    }

    /// The lowest position that the journal is needed from for what the partition holds at or
    /// after `offset`; `None` if nothing of that is in the journal.
    pub fn position_of(&self, partition: PartitionId, offset: Offset) -> Option<Position> {
        self.place(partition, offset)?.at
    }

    /// The lowest position that any partition still needs; `None` if none needs anything.
    /// Visits every partition.
    pub fn lowest_needed(&self) -> Option<Position> {
        self.index.read().lowest_needed()
    }

    /// The position after the last durable commit.
    pub fn durable_end(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    /// The index as bytes for a snapshot, for [`crate::ReplayFrom`]. It may already know commits
    /// that the rest of the snapshot does not; recovery evens that out.
    pub fn export_index(&self) -> Vec<u8> {
        index_export::encode(&self.index.read())
    }

    pub(crate) fn published(&self) -> Position {
        self.index.read().published
    }

    pub(crate) fn add_file(&self, number: u64) {
        self.files.add(number);
    }

    /// The journal below file `number` is gone, or is about to go.
    pub(crate) fn forget_below(&self, number: u64) {
        let first = self.geometry.position(number, FILE_HEADER);
        let mut index = self.index.write();
        index.clamp_below(first);
        index.raise_starts();
    }

    pub(crate) fn remove_file(&self, number: u64) {
        self.files.remove(number);
    }

    /// Makes a durable commit visible: first its bytes, then the index that leads to them.
    pub(crate) fn publish(&self, after: Position, commit: Commit, held: usize, effects: &Effects) {
        let (position, end) = (commit.position, commit.end);
        self.tail.write().push(after, commit, held);
        self.durable.store(end.0, Ordering::Release);
        self.index.write().publish(position, end, effects);
    }

    /// Recovery read everything there is before `end`.
    pub(crate) fn set_durable(&self, end: Position) {
        self.durable.store(end.0, Ordering::Release);
        let mut index = self.index.write();
        index.published = index.published.max(end);
        index.raise_starts();
    }

    /// Where to start looking for `offset`, and the partition's bounds.
    pub(crate) fn place(&self, partition: PartitionId, offset: Offset) -> Option<Place> {
        self.index.read().place(partition, offset)
    }
}
