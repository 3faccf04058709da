//! What lies in the oldest part of the journal: the first pass of promotion.

use std::collections::HashMap;
use std::ops::Range;

use forebay_base::{Offset, PartitionId};

use crate::commit::{COMMIT_HEADER, Commit};
use crate::disk::At;
use crate::file_header::FILE_HEADER;
use crate::frame::{APPEND_HEADER, FrameRef, parse};
use crate::position::Position;
use crate::reader::{LogReader, ReadError};
use crate::scan::{Scan, Scanned};

/// The oldest sealed files of the journal that are not worked off yet, and where each batch lies
/// in them. Takes 32 bytes of memory for each batch.
#[derive(Debug)]
pub struct Chunk {
    end: Position,
    /// By rising id.
    pub(crate) spans: Vec<Span>,
    /// By partition, then by offset.
    pub(crate) batches: Vec<BatchAt>,
}

/// One partition's part of a chunk.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) partition: PartitionId,
    pub(crate) first: Offset,
    pub(crate) end: Offset,
    /// Its part of [`Chunk::batches`].
    pub(crate) batches: Range<usize>,
}

/// One batch of one partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchAt {
    pub(crate) base_offset: Offset,
    /// Where its frame begins in the journal.
    pub(crate) frame: Position,
    /// From there to the payload.
    pub(crate) skip: u32,
    pub(crate) length: u32,
    /// Over the frame's head and the payload, so that they can be believed when they are read
    /// again.
    pub(crate) crc: u32,
    /// Its place in [`Chunk::spans`].
    span: u32,
}

impl BatchAt {
    /// Where the frame ends, and its payload.
    pub(crate) fn end(&self) -> u64 {
        let length = u64::from(self.skip) + u64::from(self.length);
        self.frame.0.saturating_add(length)
    }
}

impl Chunk {
    /// The start of the first file behind the chunk.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Each partition that has batches in the chunk, by rising id: the offset of the first batch,
    /// and the offset after the last one.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionId, Offset, Offset)> {
        let spans = self.spans.iter();
        spans.map(|span| (span.partition, span.first, span.end))
    }

    /// How many batches it holds, one that was given to many partitions counted for each.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }
}

/// Gathers a chunk.
pub(crate) struct Survey<'a> {
    reader: &'a LogReader,
    spans: Vec<Span>,
    batches: Vec<BatchAt>,
    known: HashMap<PartitionId, Known>,
}

/// What the index says of a partition.
#[derive(Clone, Copy)]
struct Known {
    /// Batches that end at or below this offset are not needed from the journal; `None` if the
    /// partition was removed.
    from: Option<Offset>,
    /// Its place in the spans, once it has one.
    span: Option<u32>,
}

impl<'a> Survey<'a> {
    pub(crate) fn new(reader: &'a LogReader) -> Self {
        Self {
            reader,
            spans: Vec::new(),
            batches: Vec::new(),
            known: HashMap::new(),
        }
    }

    /// Reads sealed files below `below`, the oldest first, until more than `max_batches` are in
    /// hand; at least one.
    pub(crate) fn run(mut self, below: Position, max_batches: usize) -> Result<Chunk, ReadError> {
        let geometry = self.reader.geometry;
        let worked_off = self.reader.index.read().worked_off;
        let current = geometry.file_of(self.reader.durable_end());
        let oldest = self.reader.files.oldest().unwrap_or(current);
        let limit = geometry.file_of(below).min(current);
        let mut number = geometry.file_of(worked_off).max(oldest);
        while number < limit && self.batches.len() <= max_batches {
            self.file(number)?;
            number += 1;
        }
        Ok(self.finish(geometry.start_of(number)))
    }

    fn file(&mut self, number: u64) -> Result<(), ReadError> {
        let reader = self.reader;
        let geometry = reader.geometry;
        let start = geometry.position(number, FILE_HEADER);
        let file = reader.files.get(number)?;
        let file = file.ok_or(ReadError::Dropped(start))?;
        let path = reader.files.path(number);
        let mut scan = Scan::new(&*file, number, geometry, reader.journal_id);
        let mut at = FILE_HEADER;
        loop {
            match scan.at(at).at("read", &path)? {
                Scanned::Commit(commit) => {
                    self.commit(&commit)?;
                    at = geometry.byte_of(commit.end);
                }
                Scanned::Seal => return Ok(()),
                Scanned::Version(_) | Scanned::Nothing { .. } => {
                    return Err(reader.damaged(geometry.position(number, at)));
                }
            }
        }
    }

    fn commit(&mut self, commit: &Commit) -> Result<(), ReadError> {
        let bytes = commit.unpadded();
        let mut at = COMMIT_HEADER;
        while at < bytes.len() {
            let (frame, next) =
                parse(bytes, at).map_err(|_| self.reader.damaged(commit.position))?;
            if let FrameRef::Append(append) = frame {
                let length = append.payload.len();
                let mut batch = BatchAt {
                    base_offset: 0,
                    frame: Position(commit.position.0 + at as u64),
                    // Both are parts of a commit, which has at most 4 GiB.
                    skip: u32::try_from(next - length - at).unwrap_or(u32::MAX),
                    length: u32::try_from(length).unwrap_or(u32::MAX),
                    crc: checksum(&bytes[at..at + APPEND_HEADER], append.payload),
                    span: 0,
                };
                for (partition, base) in append.entries() {
                    batch.base_offset = base;
                    let end = base.saturating_add(u64::from(append.records));
                    self.batch(partition, end, batch);
                }
            }
            at = next;
        }
        Ok(())
    }

    fn batch(&mut self, partition: PartitionId, end: Offset, mut batch: BatchAt) {
        let reader = self.reader;
        let known = self.known.entry(partition).or_insert_with(|| {
            let index = reader.index.read();
            let journal = index.runs.journal_from(partition);
            Known {
                from: index.get(partition).map(|track| track.start.max(journal)),
                span: None,
            }
        });
        let needed = known.from.is_some_and(|from| end > from);
        if !needed || batch.base_offset >= end {
            return;
        }
        let number = *known.span.get_or_insert_with(|| {
            self.spans.push(Span {
                partition,
                first: batch.base_offset,
                end,
                batches: 0..0,
            });
            // As many partitions do not fit the memory.
            u32::try_from(self.spans.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(span) = self.spans.get_mut(number as usize) {
            span.end = span.end.max(end);
            batch.span = number;
            if self.batches.len() == self.batches.capacity() {
                // A quarter more, not twice as much: there may be millions.
                let more = (self.batches.len() / 4).max(1024);
                self.batches.reserve_exact(more);
            }
            self.batches.push(batch);
        }
    }

    /// Brings the batches into order.
    fn finish(self, end: Position) -> Chunk {
        let Self {
            spans, mut batches, ..
        } = self;
        let mut order: Vec<u32> = (0..).take(spans.len()).collect();
        order.sort_unstable_by_key(|number| spans[*number as usize].partition);
        let mut rank = vec![0u32; spans.len()];
        for (place, number) in (0u32..).zip(&order) {
            rank[*number as usize] = place;
        }
        for batch in &mut batches {
            batch.span = rank[batch.span as usize];
        }
        batches.sort_unstable_by_key(|batch| (batch.span, batch.base_offset));
        let mut sorted: Vec<Span> = order
            .iter()
            .map(|number| spans[*number as usize].clone())
            .collect();
        let mut at = 0;
        for (number, span) in (0u32..).zip(&mut sorted) {
            let count = batches[at..].partition_point(|batch| batch.span == number);
            span.batches = at..at + count;
            at += count;
        }
        Chunk {
            end,
            spans: sorted,
            batches,
        }
    }
}

/// Over the head of an append frame and its payload.
pub(crate) fn checksum(head: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), payload)
}
