//! Writing segments, one behind the other, in bounded memory.

use std::collections::HashMap;

use bytes::Bytes;
use forebay_base::{Offset, PartitionId};

use super::block::{
    BATCH_HEADER, BLOCK_HEADER, BatchHead, BlockHead, REFERENCE_BYTES, Reference, Site,
    finish_block, push_inline, push_reference,
};
use super::layout::{BlockEntry, HEADER, Trailer, header, push_index};
use super::store::{Objects, Upload};
use super::{NewSegment, Run, SegmentError, SegmentOptions};
use crate::reader::Stored;

/// Names a payload that many partitions share, while segments are written: the file or segment
/// it comes from, and where it begins there. A payload is stored once per segment under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) source: u64,
    pub(crate) at: u64,
}

/// What was written, and is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) segments: Vec<NewSegment>,
    /// In the order they were begun, which is by rising id.
    pub(crate) runs: Vec<(PartitionId, Vec<Run>)>,
}

/// Writes runs into segments. A segment that is full is completed and the next number begun; a
/// run may so become several. Dropped unfinished, the segment under way leaves nothing behind.
pub(crate) struct SegmentWriter {
    objects: Objects,
    options: SegmentOptions,
    next_number: u64,
    segment: Option<OpenSegment>,
    run: Option<OpenRun>,
    written: Written,
}

struct OpenSegment {
    number: u64,
    upload: Upload,
    /// What is not with `upload` yet; a block under way is at its end.
    buffer: Vec<u8>,
    /// Bytes that were given to `upload`.
    passed_on: u64,
    runs: Vec<(PartitionId, Run, Vec<BlockEntry>)>,
    trailer: Trailer,
    /// Payloads in this segment that others may refer to.
    shared: HashMap<Origin, Reference>,
}

impl OpenSegment {
    /// The byte of the segment that is written next.
    fn at(&self) -> u64 {
        self.passed_on + self.buffer.len() as u64
    }
}

struct OpenRun {
    partition: PartitionId,
    run: Run,
    index: Vec<BlockEntry>,
    block: Option<OpenBlock>,
    /// The offset after the last batch.
    next: Offset,
}

struct OpenBlock {
    /// Where it begins in the buffer.
    start: usize,
    head: BlockHead,
}

fn no_run(first: Offset, cleaned_at: i64) -> Run {
    Run {
        segment: 0,
        first,
        end: first,
        at: 0,
        bytes: 0,
        shared_bytes: 0,
        index_at: 0,
        blocks: 0,
        records: 0,
        latest: i64::MIN,
        cleaned_at,
    }
}

impl SegmentWriter {
    /// Nothing is written before the first batch comes; its segment has `first_number`.
    pub(crate) fn new(objects: Objects, first_number: u64, options: &SegmentOptions) -> Self {
        Self {
            objects,
            options: options.clone(),
            next_number: first_number,
            segment: None,
            run: None,
            written: Written::default(),
        }
    }

    /// Begins a run that speaks for the offsets from `first` on. Ids rise from run to run, or
    /// stay while offsets rise. `cleaned_at` is in milliseconds since 1970, 0 for the journal's.
    pub(crate) fn begin(&mut self, partition: PartitionId, first: Offset, cleaned_at: i64) {
        self.run = Some(OpenRun {
            partition,
            run: no_run(first, cleaned_at),
            index: Vec::new(),
            block: None,
            next: first,
        });
    }

    /// Adds a batch to the run that was begun. Offsets rise. A payload with an `origin` is
    /// stored once in each segment, however many runs it goes to.
    pub(crate) fn push(
        &mut self,
        batch: &Stored,
        origin: Option<Origin>,
    ) -> Result<(), SegmentError> {
        let known = |segment: Option<&OpenSegment>| -> Option<Reference> {
            segment?.shared.get(&origin?).copied()
        };
        let before = known(self.segment.as_ref());
        let takes = before.map_or(batch.batch.len(), |_| REFERENCE_BYTES);
        self.make_room(batch.base_offset, takes)?;
        // The room may be in a next segment, which does not have the payload.
        let reference = known(self.segment.as_ref());
        let (Some(segment), Some(run)) = (&mut self.segment, &mut self.run) else {
            return Ok(());
        };
        let block = run.block.get_or_insert_with(|| {
            let start = segment.buffer.len();
            segment.buffer.resize(start + BLOCK_HEADER, 0);
            OpenBlock {
                start,
                head: BlockHead {
                    partition: run.partition,
                    first: batch.base_offset,
                    end: batch.base_offset,
                    latest: i64::MIN,
                    batches: 0,
                },
            }
        });
        let head = BatchHead {
            base_offset: batch.base_offset,
            records: batch.records,
            max_timestamp: batch.max_timestamp,
        };
        match reference {
            Some(reference) => {
                push_reference(&mut segment.buffer, &head, &reference);
                run.run.shared_bytes += u64::from(reference.length);
            }
            None => {
                let length = length_u32(&self.objects, segment.number, batch.batch.len())?;
                let at = segment.at() + BATCH_HEADER as u64;
                let shared = origin.is_some();
                push_inline(&mut segment.buffer, &head, &batch.batch, length, shared);
                if let Some(origin) = origin {
                    let crc = crc32c::crc32c(&batch.batch);
                    let reference = Reference { at, length, crc };
                    segment.shared.insert(origin, reference);
                }
            }
        }
        let end = batch.base_offset.saturating_add(u64::from(batch.records));
        block.head.end = end;
        block.head.latest = block.head.latest.max(batch.max_timestamp);
        block.head.batches += 1;
        segment.trailer.batches += 1;
        run.run.records += u64::from(batch.records);
        run.next = end;
        Ok(())
    }

    /// Ends the run, which speaks for the offsets below `end`. Without a batch there is no run.
    pub(crate) fn end(&mut self, end: Offset) -> Result<(), SegmentError> {
        self.close_block()?;
        if let Some(run) = self.run.take() {
            let end = end.max(run.next);
            self.close_run(run, end);
        }
        Ok(())
    }

    /// Completes the last segment. All that was written is durable then.
    pub(crate) fn finish(mut self) -> Result<Written, SegmentError> {
        if let Some(next) = self.run.as_ref().map(|run| run.next) {
            self.end(next)?;
        }
        self.close_segment()?;
        Ok(self.written)
    }

    /// Sees that a batch that takes `bytes` fits the block and the segment, or begins new ones.
    fn make_room(&mut self, offset: Offset, bytes: usize) -> Result<(), SegmentError> {
        let bytes = BATCH_HEADER.saturating_add(bytes);
        if let (Some(segment), Some(run)) = (&self.segment, &self.run)
            && let Some(block) = &run.block
        {
            let length = segment.buffer.len() - block.start;
            if length.saturating_add(bytes) <= self.options.block_bytes {
                return Ok(());
            }
            self.close_block()?;
        }
        let block = (BLOCK_HEADER.saturating_add(bytes)) as u64;
        let full = self.segment.as_ref().is_some_and(|segment| {
            let at = segment.at();
            at > HEADER as u64 && at.saturating_add(block) > self.options.target_bytes
        });
        if full {
            if let Some(run) = self.run.take() {
                let (partition, cleaned_at) = (run.partition, run.run.cleaned_at);
                let first = if run.run.blocks == 0 {
                    run.run.first
                } else {
                    offset
                };
                self.close_run(run, offset);
                self.begin(partition, first, cleaned_at);
            }
            self.close_segment()?;
        }
        if self.segment.is_none() {
            self.open_segment();
        }
        Ok(())
    }

    fn open_segment(&mut self) {
        let number = self.next_number;
        self.next_number += 1;
        let room = self.options.part_bytes + self.options.block_bytes;
        let mut buffer = Vec::with_capacity(room);
        buffer.extend_from_slice(&header(self.objects.journal_id, number));
        self.segment = Some(OpenSegment {
            number,
            upload: self.objects.put(number),
            buffer,
            passed_on: 0,
            runs: Vec::new(),
            trailer: Trailer::default(),
            shared: HashMap::new(),
        });
    }

    fn close_block(&mut self) -> Result<(), SegmentError> {
        let (Some(segment), Some(run)) = (&mut self.segment, &mut self.run) else {
            return Ok(());
        };
        let Some(block) = run.block.take() else {
            return Ok(());
        };
        let at = segment.passed_on + block.start as u64;
        let site = Site {
            journal_id: self.objects.journal_id,
            segment: segment.number,
            at,
        };
        let bytes = &mut segment.buffer[block.start..];
        let length = length_u32(&self.objects, segment.number, bytes.len())?;
        finish_block(bytes, &block.head, length - BLOCK_HEADER as u32, site);
        if run.run.blocks == 0 {
            run.run.segment = segment.number;
            run.run.at = at;
        }
        run.index.push(BlockEntry {
            first: block.head.first,
            latest_before: run.run.latest,
            at,
            length,
        });
        run.run.blocks += 1;
        run.run.bytes += u64::from(length);
        run.run.latest = run.run.latest.max(block.head.latest);
        segment.trailer.blocks += 1;
        self.pass_on()
    }

    /// Gives whole parts of the buffer to the store.
    fn pass_on(&mut self) -> Result<(), SegmentError> {
        let part = self.options.part_bytes.max(1);
        let Some(segment) = &mut self.segment else {
            return Ok(());
        };
        if segment.buffer.len() < part {
            return Ok(());
        }
        let whole = Bytes::from(std::mem::take(&mut segment.buffer));
        let mut at = 0;
        while whole.len() - at >= part {
            segment.upload.part(whole.slice(at..at + part))?;
            at += part;
        }
        segment.passed_on += at as u64;
        // A store that is done with the bytes lets their memory be used again.
        segment.buffer = match whole.is_unique() {
            true => {
                let mut buffer = Vec::from(whole);
                buffer.drain(..at);
                buffer
            }
            false => {
                let mut buffer = Vec::with_capacity(part + self.options.block_bytes);
                buffer.extend_from_slice(&whole[at..]);
                buffer
            }
        };
        Ok(())
    }

    fn close_run(&mut self, mut open: OpenRun, end: Offset) {
        let Some(segment) = &mut self.segment else {
            return;
        };
        if open.run.blocks == 0 {
            return;
        }
        open.run.end = end;
        if open.run.blocks == 1 {
            open.index = Vec::new();
        }
        segment.runs.push((open.partition, open.run, open.index));
    }

    fn close_segment(&mut self) -> Result<(), SegmentError> {
        let Some(mut segment) = self.segment.take() else {
            return Ok(());
        };
        let blocks_end = segment.at();
        let site = Site {
            journal_id: self.objects.journal_id,
            segment: segment.number,
            at: blocks_end,
        };
        let mut indexes = Vec::new();
        for (partition, mut run, index) in std::mem::take(&mut segment.runs) {
            if !index.is_empty() {
                run.index_at = blocks_end + indexes.len() as u64;
                push_index(&mut indexes, &index, site);
            }
            segment.trailer.runs += 1;
            match self.written.runs.last_mut() {
                Some((last, runs)) if *last == partition => runs.push(run),
                _ => self.written.runs.push((partition, vec![run])),
            }
        }
        segment.trailer.blocks_end = blocks_end;
        segment.trailer.indexes_end = blocks_end + indexes.len() as u64;
        segment.trailer.indexes_crc = crc32c::crc32c(&indexes);
        segment.buffer.append(&mut indexes);
        let trailer = segment
            .trailer
            .encode(self.objects.journal_id, segment.number);
        segment.buffer.extend_from_slice(&trailer);
        let new = NewSegment {
            number: segment.number,
            bytes: segment.at(),
        };
        self.segment = Some(segment);
        self.pass_on()?;
        if let Some(OpenSegment { upload, buffer, .. }) = self.segment.take() {
            upload.complete(buffer.into())?;
            self.written.segments.push(new);
        }
        Ok(())
    }
}

/// A length as it is written. No journal file can hold a batch that has another.
fn length_u32(objects: &Objects, segment: u64, length: usize) -> Result<u32, SegmentError> {
    u32::try_from(length).map_err(|_| SegmentError::TooLarge {
        object: objects.name(segment),
        bytes: length as u64,
    })
}
