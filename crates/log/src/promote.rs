//! Writing what is kept of a chunk into segments: the second pass of promotion.

use std::collections::BTreeMap;

use bytes::Bytes;
use forebay_base::planted;

use crate::disk::At;
use crate::file_header::{u32_at, u64_at};
use crate::frame::{APPEND_HEADER, ENTRY};
use crate::position::Position;
use crate::promoter::PromoteError;
use crate::reader::{LogReader, ReadError, Stored};
use crate::segment::{Keeper, Kept, Origin, SegmentWriter};
use crate::survey::{BatchAt, Chunk, Span, checksum};

/// Bytes of batches in memory at a time, besides the part that is being written.
const WINDOW: u64 = 32 << 20;
/// The most that is read at a time.
const STRETCH: u64 = 4 << 20;
/// What is rather read through than jumped over.
const GAP: u64 = 32 << 10;
/// A payload of more partitions is stored once.
const FEW: usize = 4;

/// Goes through a chunk's batches in order of partitions. They are read from the journal a window
/// at a time, in the order they lie there.
pub(crate) struct Promotion<'a> {
    pub(crate) reader: &'a LogReader,
    pub(crate) chunk: &'a Chunk,
    pub(crate) keeper: &'a mut dyn Keeper,
    pub(crate) writer: &'a mut SegmentWriter,
}

impl Promotion<'_> {
    pub(crate) fn run(&mut self) -> Result<(), PromoteError> {
        let chunk = self.chunk;
        let mut window = Window::default();
        for span in &chunk.spans {
            self.writer.begin(span.partition, span.first, 0);
            for number in span.batches.clone() {
                if number >= window.end {
                    window = self.load(span, number)?;
                }
                planted!(RunEndsEarly => if number + 1 == span.batches.end { continue });
                self.batch(span, &chunk.batches[number], &window)?;
            }
            self.writer.end(span.end)?;
        }
        Ok(())
    }

    fn batch(&mut self, span: &Span, batch: &BatchAt, window: &Window) -> Result<(), PromoteError> {
        // What the keeper did not want to see was not read.
        let Some(payload) = window.payloads.get(&batch.frame) else {
            return Ok(());
        };
        let entries = (batch.skip as usize - APPEND_HEADER) / ENTRY;
        let origin = (entries > FEW).then_some(Origin {
            source: 0,
            at: batch.frame.0,
        });
        let stored = Stored {
            base_offset: batch.base_offset,
            records: payload.records,
            max_timestamp: payload.max_timestamp,
            batch: payload.batch.clone(),
        };
        let kept = self.keeper.keep(span.partition, &stored);
        push_kept(self.writer, kept, stored, origin)
    }

    /// Reads the batches from `number` on that the keeper wants to see, as many as a window holds.
    fn load(&mut self, span: &Span, number: usize) -> Result<Window, PromoteError> {
        let chunk = self.chunk;
        let mut wanted = BTreeMap::new();
        let mut bytes = 0;
        let mut at = number;
        let later = chunk
            .spans
            .iter()
            .skip_while(|other| other.partition < span.partition);
        'full: for span in later {
            for number in span.batches.start.max(number)..span.batches.end {
                let batch = &chunk.batches[number];
                if bytes >= WINDOW {
                    break 'full;
                }
                at = number + 1;
                let next = chunk.batches[..span.batches.end].get(number + 1);
                let end = next.map_or(span.end, |next| next.base_offset);
                if self.keeper.may_keep(span.partition, batch.base_offset..end)
                    && wanted.insert(batch.frame, *batch).is_none()
                {
                    bytes += u64::from(batch.length);
                }
            }
        }
        let wanted: Vec<BatchAt> = wanted.into_values().collect();
        let mut window = Window {
            end: at,
            payloads: BTreeMap::new(),
        };
        let mut rest = wanted.as_slice();
        while !rest.is_empty() {
            let (stretch, behind) = rest.split_at(stretch(self.reader, rest));
            self.read(stretch, &mut window)?;
            rest = behind;
        }
        Ok(window)
    }

    /// Reads frames that lie close to each other in one file.
    fn read(&self, frames: &[BatchAt], window: &mut Window) -> Result<(), ReadError> {
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
            return Ok(());
        };
        let geometry = self.reader.geometry;
        let start = first.frame;
        let number = geometry.file_of(start);
        let file = self.reader.files.get(number)?;
        let file = file.ok_or(ReadError::Dropped(start))?;
        let path = self.reader.files.path(number);
        let length = usize::try_from(last.end() - start.0).unwrap_or(usize::MAX);
        let mut bytes = vec![0; length];
        file.read_at(geometry.byte_of(start), &mut bytes)
            .at("read", &path)?;
        let bytes = Bytes::from(bytes);
        let kept: u64 = frames.iter().map(|frame| u64::from(frame.length)).sum();
        // A few batches are not to keep the room of all that lies between them.
        let copy = kept * 2 < length as u64;
        for frame in frames {
            let payload = payload(frame, start, &bytes);
            let mut payload = payload.ok_or_else(|| self.reader.damaged(frame.frame))?;
            if copy {
                payload.batch = Bytes::copy_from_slice(&payload.batch);
            }
            window.payloads.insert(frame.frame, payload);
        }
        Ok(())
    }
}

/// Batches that were read, by their frames.
#[derive(Default)]
struct Window {
    /// The number of the first batch behind it.
    end: usize,
    payloads: BTreeMap<Position, Payload>,
}

struct Payload {
    records: u32,
    max_timestamp: i64,
    batch: Bytes,
}

/// How many of the frames, which are in order, are read at once.
fn stretch(reader: &LogReader, frames: &[BatchAt]) -> usize {
    let Some(first) = frames.first() else {
        return 0;
    };
    let number = reader.geometry.file_of(first.frame);
    let pairs = frames.iter().zip(frames.iter().skip(1));
    1 + pairs
        .take_while(|(one, next)| {
            next.frame.0 <= one.end().saturating_add(GAP)
                && next.end() - first.frame.0 <= STRETCH
                && reader.geometry.file_of(next.frame) == number
        })
        .count()
}

/// The payload of a frame in what was read from `start` on; `None` if it is not what was there.
fn payload(frame: &BatchAt, start: Position, bytes: &Bytes) -> Option<Payload> {
    let at = usize::try_from(frame.frame.0 - start.0).ok()?;
    let head = bytes.get(at..at + APPEND_HEADER)?;
    let from = at + frame.skip as usize;
    let batch = bytes.get(from..from + frame.length as usize)?;
    if checksum(head, batch) != frame.crc {
        return None;
    }
    Some(Payload {
        records: u32_at(head, 12),
        max_timestamp: u64_at(head, 16).cast_signed(),
        batch: bytes.slice_ref(batch),
    })
}

/// Writes what is kept of a batch.
pub(crate) fn push_kept(
    writer: &mut SegmentWriter,
    kept: Kept,
    stored: Stored,
    origin: Option<Origin>,
) -> Result<(), PromoteError> {
    match kept {
        Kept::Whole => writer.push(&stored, origin)?,
        Kept::Nothing => {}
        Kept::Part {
            batch,
            max_timestamp,
        } => {
            let part = Stored {
                batch,
                max_timestamp,
                ..stored
            };
            writer.push(&part, None)?;
        }
    }
    Ok(())
}
