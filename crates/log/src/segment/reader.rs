//! Reading segments: shared by every thread that serves consumers.

use std::ops::ControlFlow;

use bytes::Bytes;
use forebay_base::{Offset, PartitionId};

use super::block::{BLOCK_HEADER, Begun, Block, Reference, Site, begun};
use super::cache::Cache;
use super::layout::{BlockEntry, IndexPart, index_part, index_parts};
use super::store::Objects;
use super::walk::{RunFound, RunPlace, RunWalk};
use super::writer::Origin;
use super::{Run, SegmentError, SegmentOptions};
use crate::reader::{Source, Stored};

/// Bytes read for a reader that jumps.
pub(crate) const READ_ONCE: usize = 64 << 10;
/// The most that is read at a time for a reader that goes through a partition in order.
pub(crate) const READ_AHEAD: usize = 4 << 20;

/// Reads runs. A block is served only if its checksum holds, whatever the store gave.
pub(crate) struct SegmentReader {
    objects: Objects,
    cache: Cache,
    /// The most to read at a time, so that what was read is still there when it is wanted.
    pub(crate) most: usize,
}

impl SegmentReader {
    pub(crate) fn new(objects: Objects, options: &SegmentOptions) -> Self {
        Self {
            objects,
            cache: Cache::new(options.cache_bytes),
            most: most(options.cache_bytes),
        }
    }

    /// A way through the batches of `run`. `place` is where an earlier walk of this partition
    /// stopped, in this run or another.
    pub(crate) fn walk(
        &self,
        partition: PartitionId,
        run: &Run,
        place: Option<RunPlace>,
        source: Source,
    ) -> RunWalk<'_> {
        RunWalk::new(self.runs(), partition, *run, place, source)
    }

    /// Has in memory what a reader that stopped at `place` wants next of `run`, be it the run it
    /// stopped in or the one after; may read the store. True if all the rest of the run is there.
    pub(crate) fn load_ahead(&self, run: &Run, place: &RunPlace) -> Result<bool, SegmentError> {
        let runs = self.runs();
        let (start, ahead) = place.stretch(run);
        let ahead = ahead.min(self.cache.room_ahead()).max(READ_ONCE);
        let end = run.at.saturating_add(run.bytes);
        let limit = start.saturating_add(ahead as u64).min(end);
        let mut at = start;
        while at < limit {
            match runs.block_at_hand(run.segment, at) {
                Some(block) => at = block.after(),
                None => (_, at) = runs.load_blocks(run, at, ahead)?,
            }
        }
        Ok(at >= end)
    }

    fn runs(&self) -> Runs<'_> {
        Runs {
            objects: &self.objects,
            cache: &self.cache,
            most: self.most,
        }
    }

    /// The first batch that ends above `from` and has a timestamp of `timestamp` or later: its
    /// first offset and its latest timestamp. Reads the store.
    pub(crate) fn offset_for_time(
        &self,
        partition: PartitionId,
        run: &Run,
        timestamp: i64,
        from: Offset,
    ) -> Result<Option<(Offset, i64)>, SegmentError> {
        if run.latest < timestamp {
            return Ok(None);
        }
        let mut walk = self.walk(partition, run, None, Source::Disk);
        let mut next = walk.seek_time(timestamp)?.max(from);
        while let RunFound::Batch(batch) = walk.find(next)? {
            if batch.max_timestamp >= timestamp {
                return Ok(Some((batch.base_offset, batch.max_timestamp)));
            }
            walk.accept();
            next = batch.base_offset.saturating_add(u64::from(batch.records));
        }
        Ok(None)
    }

    /// Every batch of a run, in order, past the cache. A payload that is shared comes with the
    /// name to give [`super::SegmentWriter::push`].
    pub(crate) fn scan(
        &self,
        partition: PartitionId,
        run: &Run,
        each: &mut dyn FnMut(Stored, Option<Origin>) -> ControlFlow<()>,
    ) -> Result<(), SegmentError> {
        let cache = Cache::new(SCAN_CACHE);
        let runs = Runs {
            objects: &self.objects,
            cache: &cache,
            most: READ_AHEAD,
        };
        let mut walk = RunWalk::new(runs, partition, *run, None, Source::Disk);
        walk.hurry();
        let mut next = run.first;
        while let RunFound::Batch(batch) = walk.find(next)? {
            let origin = walk.origin();
            walk.accept();
            next = batch.base_offset.saturating_add(u64::from(batch.records));
            if each(batch, origin).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The object of a segment is deleted, or about to be.
    pub(crate) fn forget(&self, segment: u64) {
        self.cache.forget(segment);
    }
}

/// Holds two stretches of blocks and two of shared payloads.
const SCAN_CACHE: usize = 4 * READ_AHEAD + (4 << 20);

fn most(cache_bytes: usize) -> usize {
    READ_AHEAD.min(cache_bytes / 4)
}

/// What a walk reads from: the store, and a cache before it.
#[derive(Clone, Copy)]
pub(crate) struct Runs<'a> {
    pub(crate) objects: &'a Objects,
    pub(crate) cache: &'a Cache,
    pub(crate) most: usize,
}

impl Runs<'_> {
    fn site(self, segment: u64, at: u64) -> Site {
        Site {
            journal_id: self.objects.journal_id,
            segment,
            at,
        }
    }

    pub(crate) fn damaged(self, segment: u64, byte: u64, detail: &str) -> SegmentError {
        SegmentError::Damaged {
            object: self.objects.name(segment),
            byte,
            detail: detail.to_owned(),
        }
    }

    /// The block at `at`, if it is in memory.
    pub(crate) fn block_at_hand(self, segment: u64, at: u64) -> Option<Block> {
        Some(Block::known(at, self.cache.block(segment, at)?))
    }

    /// Reads the block at byte `at` of a run, and those behind it within `ahead` bytes. Gives
    /// the block and where the last one that was read ends.
    pub(crate) fn load_blocks(
        self,
        run: &Run,
        at: u64,
        ahead: usize,
    ) -> Result<(Block, u64), SegmentError> {
        let end = run.at.saturating_add(run.bytes);
        let room = end.saturating_sub(at);
        let mut chunk = self.read(run.segment, at, room.min(ahead.max(BLOCK_HEADER) as u64))?;
        let Begun::Block { length } = begun(&chunk) else {
            return Err(self.damaged(run.segment, at, "no block begins here"));
        };
        if length > room {
            return Err(self.damaged(run.segment, at, "a block is longer than its run"));
        }
        if length > chunk.len() as u64 {
            chunk = self.read(run.segment, at, length)?;
        }
        let mut blocks = Vec::with_capacity(chunk.len() / READ_ONCE + 2);
        let mut inside = 0;
        while let Begun::Block { length } = begun(&chunk[inside..]) {
            let Some(after) = usize::try_from(length)
                .ok()
                .and_then(|length| inside.checked_add(length))
                .filter(|after| *after <= chunk.len())
            else {
                break;
            };
            let site = self.site(run.segment, at + inside as u64);
            match Block::verified(site, chunk.slice(inside..after)) {
                Some(block) => blocks.push(block),
                // Whoever comes to it will be told.
                None => break,
            }
            inside = after;
        }
        let Some(first) = blocks.first().cloned() else {
            return Err(self.damaged(run.segment, at, "the checksum of a block is wrong"));
        };
        let put = blocks.into_iter().map(|block| (block.at, block.bytes));
        self.cache.put_blocks(run.segment, put);
        Ok((first, at + inside as u64))
    }

    /// The payload behind a reference, if it is in memory.
    pub(crate) fn payload_at_hand(self, segment: u64, reference: &Reference) -> Option<Bytes> {
        self.cache
            .block(segment, reference.at)
            .filter(|payload| payload.len() == reference.length as usize)
    }

    /// Reads the payload behind `first`, and with it those behind as many of `others` as lie
    /// close behind it. `segment_end` bounds what is believed of lengths.
    pub(crate) fn load_payloads(
        self,
        segment: u64,
        first: &Reference,
        others: impl Iterator<Item = Reference>,
        ahead: usize,
    ) -> Result<Bytes, SegmentError> {
        let end_of =
            |reference: &Reference| reference.at.saturating_add(u64::from(reference.length));
        let limit = first.at.saturating_add(ahead as u64);
        let mut wanted = vec![*first];
        let mut end = end_of(first);
        for other in others {
            if other.at < end || end_of(&other) > limit {
                break;
            }
            end = end_of(&other);
            wanted.push(other);
        }
        let chunk = self.read(segment, first.at, end - first.at)?;
        let mut payloads = Vec::with_capacity(wanted.len());
        for reference in &wanted {
            let start = usize::try_from(reference.at - first.at).unwrap_or(usize::MAX);
            let payload = start
                .checked_add(reference.length as usize)
                .filter(|after| *after <= chunk.len())
                .map(|after| chunk.slice(start..after))
                .filter(|payload| crc32c::crc32c(payload) == reference.crc);
            match payload {
                Some(payload) => payloads.push((reference.at, payload)),
                None => break,
            }
        }
        let Some((_, payload)) = payloads.first().cloned() else {
            return Err(self.damaged(
                segment,
                first.at,
                "the checksum of a shared payload is wrong",
            ));
        };
        self.cache.put_payloads(segment, payloads);
        Ok(payload)
    }

    /// The last block entry of a run that `is`; those that are come before those that are not.
    /// `None` in the outer place means that the store must be read and may not.
    pub(crate) fn last_entry(
        self,
        run: &Run,
        source: Source,
        is: impl Fn(&BlockEntry) -> bool,
    ) -> Result<Option<Option<BlockEntry>>, SegmentError> {
        let mut found = None;
        let (mut low, mut high) = (0, index_parts(run.blocks));
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(part) = self.index_part(run, middle, source)? else {
                return Ok(None);
            };
            match part.last_where(&is) {
                Some(entry) => (found, low) = (Some(entry), middle + 1),
                None => high = middle,
            }
        }
        Ok(Some(found))
    }

    fn index_part(
        self,
        run: &Run,
        number: u32,
        source: Source,
    ) -> Result<Option<IndexPart>, SegmentError> {
        let (inside, length) = index_part(run.blocks, number);
        let at = run.index_at.saturating_add(inside);
        if let Some(bytes) = self.cache.index(run.segment, at) {
            return Ok(Some(IndexPart::known(bytes)));
        }
        if source == Source::CacheOnly {
            return Ok(None);
        }
        let bytes = self.read(run.segment, at, length as u64)?;
        let part = (bytes.len() == length)
            .then(|| IndexPart::verified(self.site(run.segment, at), bytes))
            .flatten();
        let Some(part) = part else {
            let detail = "the checksum of a block index is wrong";
            return Err(self.damaged(run.segment, at, detail));
        };
        self.cache.put_index(run.segment, at, part.bytes().clone());
        Ok(Some(part))
    }

    fn read(self, segment: u64, at: u64, length: u64) -> Result<Bytes, SegmentError> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        self.objects.read(segment, at..at.saturating_add(length))
    }
}
