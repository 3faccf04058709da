//! Walking the batches of a run.

use bytes::Bytes;
use forebay_base::{Offset, PartitionId};

use super::block::{BLOCK_HEADER, Block, Entry, Payload, Reference};
use super::reader::{READ_ONCE, Runs};
use super::writer::Origin;
use super::{Run, SegmentError};
use crate::reader::{Source, Stored};

/// Where a walk stopped. One that does not fit the next walk costs time, never correctness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunPlace {
    segment: u64,
    run_at: u64,
    /// Every batch of the run that ends above this offset lies in the block at `at`, byte
    /// `byte`, or later.
    next: Offset,
    at: u64,
    byte: u32,
    /// Bytes to read when something must be read.
    ahead: u32,
    /// Up to here, blocks were read ahead.
    loaded: u64,
}

/// What [`RunWalk::find`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RunFound {
    Batch(Stored),
    /// The run has no batch that ends above the offset.
    End,
    /// The store must be read and may not.
    NeedsDisk,
}

/// One read's way through a run.
pub(crate) struct RunWalk<'a> {
    runs: Runs<'a>,
    partition: PartitionId,
    run: Run,
    source: Source,
    place: RunPlace,
    /// The block at the place.
    block: Option<Block>,
    /// The batch that was found last: its end, and the byte behind it.
    found: Option<Found>,
}

#[derive(Clone, Copy)]
struct Found {
    end: Offset,
    after: u32,
    origin: Option<Origin>,
}

impl RunPlace {
    /// Where a walk of `run` starts that comes from this place: where it stopped, or, in another
    /// run, where the stretch after it begins, and how much is read at a time.
    pub(crate) fn stretch(&self, run: &Run) -> (u64, usize) {
        let here = self.segment == run.segment && self.run_at == run.at;
        let at = if here { self.at } else { run.at };
        (at, self.ahead as usize)
    }
}

impl<'a> RunWalk<'a> {
    pub(crate) fn new(
        runs: Runs<'a>,
        partition: PartitionId,
        run: Run,
        place: Option<RunPlace>,
        source: Source,
    ) -> Self {
        let start = RunPlace {
            segment: run.segment,
            run_at: run.at,
            next: run.first,
            at: run.at,
            byte: BLOCK_HEADER as u32,
            ahead: READ_ONCE as u32,
            loaded: 0,
        };
        let place = match place {
            Some(place) if place.segment == run.segment && place.run_at == run.at => place,
            // Who comes from the run before reads on as fast as there.
            Some(place) if place.next >= run.first && place.next < run.end => RunPlace {
                ahead: place.ahead,
                ..start
            },
            _ => start,
        };
        Self {
            runs,
            partition,
            run,
            source,
            place,
            block: None,
            found: None,
        }
    }

    /// Where the next walk may go on.
    pub(crate) fn place(&self) -> RunPlace {
        self.place
    }

    /// The name of the payload found last, if it is shared.
    pub(crate) fn origin(&self) -> Option<Origin> {
        self.found.and_then(|found| found.origin)
    }

    /// Reads as far ahead as is allowed from the start.
    pub(crate) fn hurry(&mut self) {
        self.place.ahead = u32::try_from(self.runs.most).unwrap_or(u32::MAX);
    }

    /// The first batch that holds an offset of `offset` or above. The walk stays before it until
    /// [`RunWalk::accept`].
    pub(crate) fn find(&mut self, offset: Offset) -> Result<RunFound, SegmentError> {
        self.found = None;
        if offset >= self.run.end {
            return Ok(RunFound::End);
        }
        if offset < self.place.next {
            self.go_to(self.run.at, offset.min(self.run.first), READ_ONCE);
            if !self.jump(offset)? {
                return Ok(RunFound::NeedsDisk);
            }
        }
        loop {
            if self.place.at >= self.run.at.saturating_add(self.run.bytes) {
                return Ok(RunFound::End);
            }
            if self.block.is_none() && offset > self.place.next && !self.jump(offset)? {
                return Ok(RunFound::NeedsDisk);
            }
            let Some(block) = self.block()? else {
                return Ok(RunFound::NeedsDisk);
            };
            let (head_end, after) = (block.head().end, block.after());
            if head_end > offset
                && let Some(entry) = self.entry(offset)?
            {
                return self.serve(entry);
            }
            self.leave_block();
            let place = RunPlace {
                next: head_end.max(self.place.next),
                at: after,
                byte: BLOCK_HEADER as u32,
                ..self.place
            };
            self.place = place;
        }
    }

    /// Goes on behind the batch that was found last.
    pub(crate) fn accept(&mut self) {
        let Some(found) = self.found.take() else {
            return;
        };
        self.place.next = found.end;
        self.place.byte = found.after;
        let done = self.block.as_ref();
        if let Some(block) = done.filter(|block| found.after as usize >= block.bytes.len()) {
            self.place.at = block.after();
            self.place.byte = BLOCK_HEADER as u32;
            self.leave_block();
        }
    }

    /// All of the block was gone through.
    fn leave_block(&mut self) {
        if let Some(block) = self.block.take() {
            self.runs.cache.set_done(self.run.segment, block.at);
        }
    }

    /// Goes before the first block with a timestamp of `timestamp` or later, and gives the
    /// offset to go on from. Reads the store.
    pub(crate) fn seek_time(&mut self, timestamp: i64) -> Result<Offset, SegmentError> {
        if self.run.blocks <= 1 {
            return Ok(self.run.first);
        }
        let is = |entry: &super::layout::BlockEntry| entry.latest_before < timestamp;
        match self.runs.last_entry(&self.run, Source::Disk, is)? {
            Some(Some(entry)) => {
                self.go_to(entry.at, entry.first, entry.length as usize);
                Ok(entry.first)
            }
            _ => Ok(self.run.first),
        }
    }

    fn go_to(&mut self, at: u64, next: Offset, bytes: usize) {
        self.block = None;
        self.place = RunPlace {
            segment: self.run.segment,
            run_at: self.run.at,
            next,
            at,
            byte: BLOCK_HEADER as u32,
            ahead: u32::try_from(bytes.max(READ_ONCE)).unwrap_or(u32::MAX),
            loaded: 0,
        };
    }

    /// Goes forward to the block `offset` lies in, if the index knows one further on. False if
    /// the index must be read and may not.
    fn jump(&mut self, offset: Offset) -> Result<bool, SegmentError> {
        if self.run.blocks <= 1 || offset <= self.run.first {
            return Ok(true);
        }
        let is = |entry: &super::layout::BlockEntry| entry.first <= offset;
        let Some(found) = self.runs.last_entry(&self.run, self.source, is)? else {
            return Ok(false);
        };
        if let Some(entry) = found.filter(|entry| entry.at > self.place.at) {
            let inside = entry.at < self.run.at.saturating_add(self.run.bytes);
            if !inside {
                return Err(self.damaged(self.run.index_at, "a block index leads out of its run"));
            }
            self.go_to(entry.at, entry.first, entry.length as usize);
        }
        Ok(true)
    }

    /// The block at the place; `None` if the store must be read and may not.
    fn block(&mut self) -> Result<Option<&Block>, SegmentError> {
        if self.block.is_none() {
            let (segment, at) = (self.run.segment, self.place.at);
            let block = match self.runs.block_at_hand(segment, at) {
                Some(block) => block,
                None if self.source == Source::CacheOnly => return Ok(None),
                None => self.load_block()?,
            };
            let head = block.head();
            let fits = head.partition == self.partition
                && head.first >= self.run.first
                && head.end <= self.run.end;
            if !fits {
                return Err(self.damaged(at, "a block of another run lies here"));
            }
            self.block = Some(block);
        }
        Ok(self.block.as_ref())
    }

    fn load_block(&mut self) -> Result<Block, SegmentError> {
        let at = self.place.at;
        let most = self.runs.most.max(READ_ONCE);
        let mut ahead = self.place.ahead as usize;
        if at < self.place.loaded {
            // What was read ahead did not stay: there are too many readers for so much of it.
            ahead = READ_ONCE;
        }
        let room = self.runs.cache.room_ahead();
        ahead = ahead.min(room).max(READ_ONCE);
        let (block, loaded) = self.runs.load_blocks(&self.run, at, ahead)?;
        self.place.loaded = loaded;
        self.place.ahead = u32::try_from(ahead.saturating_mul(2).min(most)).unwrap_or(u32::MAX);
        Ok(block)
    }

    /// The first batch at the place or behind it in the block that ends above `offset`. The place
    /// moves up to it.
    fn entry(&mut self, offset: Offset) -> Result<Option<Entry>, SegmentError> {
        let Some(block) = &self.block else {
            return Ok(None);
        };
        let mut at = self.place.byte as usize;
        while at < block.bytes.len() {
            let Some(entry) = block.entry(at) else {
                return Err(self.damaged(block.at, "a block holds something that is no batch"));
            };
            if entry.end() > offset {
                return Ok(Some(entry));
            }
            at = entry.next;
            self.place.byte = u32::try_from(at).unwrap_or(u32::MAX);
            self.place.next = self.place.next.max(entry.end());
        }
        Ok(None)
    }

    fn serve(&mut self, entry: Entry) -> Result<RunFound, SegmentError> {
        let Some(block) = &self.block else {
            return Ok(RunFound::End);
        };
        let origin_at = |at| {
            Some(Origin {
                source: self.run.segment,
                at,
            })
        };
        let (batch, origin) = match &entry.payload {
            Payload::Here { range, shared } => {
                let at = block.at + range.start as u64;
                let origin = shared.then(|| origin_at(at)).flatten();
                (block.bytes.slice(range.clone()), origin)
            }
            Payload::Elsewhere(reference) => match self.payload(block, reference, entry.next)? {
                Some(payload) => (payload, origin_at(reference.at)),
                None => return Ok(RunFound::NeedsDisk),
            },
        };
        self.found = Some(Found {
            end: entry.end(),
            after: u32::try_from(entry.next).unwrap_or(u32::MAX),
            origin,
        });
        Ok(RunFound::Batch(Stored {
            base_offset: entry.base_offset,
            records: entry.records,
            max_timestamp: entry.max_timestamp,
            batch,
        }))
    }

    /// The payload behind a reference of `block`, whose next batch begins at byte `next`.
    fn payload(
        &self,
        block: &Block,
        reference: &Reference,
        next: usize,
    ) -> Result<Option<Bytes>, SegmentError> {
        let segment = self.run.segment;
        if let Some(payload) = self.runs.payload_at_hand(segment, reference) {
            return Ok(Some(payload));
        }
        if self.source == Source::CacheOnly {
            return Ok(None);
        }
        let mut at = next;
        let others = std::iter::from_fn(|| {
            loop {
                let entry = block.entry(at)?;
                at = entry.next;
                if let Payload::Elsewhere(reference) = entry.payload {
                    return Some(reference);
                }
            }
        });
        self.runs
            .load_payloads(
                segment,
                reference,
                others,
                self.place.ahead.max(READ_ONCE as u32) as usize,
            )
            .map(Some)
    }

    fn damaged(&self, byte: u64, detail: &str) -> SegmentError {
        self.runs.damaged(self.run.segment, byte, detail)
    }
}
