//! Reading all that is whole of a run, around what is damaged.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use forebay_base::{Offset, PartitionId};

use super::block::{BLOCK_HEADER, Begun, Block, Payload, Reference, Site, begun};
use super::reader::READ_AHEAD;
use super::store::Objects;
use super::writer::Origin;
use super::{Run, SegmentError};
use crate::reader::Stored;

/// Shared payloads that are kept at hand, bytes.
const AT_HAND: usize = 32 << 20;

/// What is met in a run, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rescued {
    /// A whole batch; a shared payload comes with its name.
    Batch(Stored, Option<Origin>),
    /// Offsets of which at least some lay in something damaged.
    Lost(Range<Offset>),
}

/// Hands over what can be read of a run.
///
/// # Errors
/// The store failed. A segment that is missing is one whose runs are lost.
pub(crate) fn rescue(
    objects: &Objects,
    partition: PartitionId,
    run: &Run,
    each: &mut dyn FnMut(Rescued) -> Result<(), SegmentError>,
) -> Result<(), SegmentError> {
    let end = run.at.saturating_add(run.bytes);
    let mut rescue = Rescue {
        objects,
        partition,
        run,
        each,
        next: run.first,
        payloads: HashMap::new(),
        at_hand: 0,
    };
    let mut at = run.at;
    let mut damaged = false;
    while at < end {
        let length = (end - at).min(READ_AHEAD as u64);
        let mut chunk = match objects.read(run.segment, at..at + length) {
            Ok(chunk) => chunk,
            Err(SegmentError::Missing { .. }) => break,
            Err(error) => return Err(error),
        };
        if let Begun::Block { length } = begun(&chunk)
            && length > chunk.len() as u64
            && length <= end - at
        {
            chunk = objects.read(run.segment, at..at + length)?;
        }
        let taken = rescue.chunk(&chunk, at, &mut damaged)?;
        if taken == 0 {
            // Shorter than a block, and nothing follows: the object ends here.
            break;
        }
        at += taken as u64;
    }
    if rescue.next < run.end && (damaged || at < end) {
        let lost = rescue.next..run.end;
        (rescue.each)(Rescued::Lost(lost))?;
    }
    Ok(())
}

struct Rescue<'a> {
    objects: &'a Objects,
    partition: PartitionId,
    run: &'a Run,
    each: &'a mut dyn FnMut(Rescued) -> Result<(), SegmentError>,
    /// The offset after all that was met.
    next: Offset,
    payloads: HashMap<u64, Bytes>,
    at_hand: usize,
}

impl Rescue<'_> {
    /// Takes the blocks at the front of a chunk, and passes over bytes that are none. Gives how
    /// much it has taken: all but a block that the chunk cuts off.
    fn chunk(&mut self, chunk: &Bytes, at: u64, damaged: &mut bool) -> Result<usize, SegmentError> {
        let mut inside = 0;
        while inside < chunk.len() {
            let rest = &chunk[inside..];
            let end = self.run.at.saturating_add(self.run.bytes);
            let here = at + inside as u64;
            if let Begun::Block { length } = begun(rest)
                && length <= end - here
            {
                let Some(bytes) = usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= rest.len())
                    .map(|length| chunk.slice(inside..inside + length))
                else {
                    if inside > 0 {
                        return Ok(inside);
                    }
                    // The object is shorter than its block says.
                    *damaged = true;
                    inside += 1;
                    continue;
                };
                let site = Site {
                    journal_id: self.objects.journal_id,
                    segment: self.run.segment,
                    at: here,
                };
                if let Some(block) = Block::verified(site, bytes)
                    && block.head().partition == self.partition
                {
                    self.block(&block, *damaged)?;
                    *damaged = false;
                    inside += block.bytes.len();
                    continue;
                }
            }
            if rest.len() < BLOCK_HEADER && inside > 0 && here + (rest.len() as u64) < end {
                return Ok(inside);
            }
            // One byte after the other: where the next block begins is not known.
            *damaged = true;
            inside += 1;
        }
        Ok(inside)
    }

    fn block(&mut self, block: &Block, damaged: bool) -> Result<(), SegmentError> {
        let head = block.head();
        if damaged && head.first > self.next {
            (self.each)(Rescued::Lost(self.next..head.first))?;
        }
        let mut at = BLOCK_HEADER;
        while let Some(entry) = block.entry(at) {
            at = entry.next;
            let (payload, origin) = match &entry.payload {
                Payload::Here { range, shared } => {
                    let byte = block.at + range.start as u64;
                    let origin = shared.then_some(self.origin(byte));
                    (Some(block.bytes.slice(range.clone())), origin)
                }
                Payload::Elsewhere(reference) => {
                    (self.payload(reference)?, Some(self.origin(reference.at)))
                }
            };
            let found = match payload {
                Some(batch) => Rescued::Batch(
                    Stored {
                        base_offset: entry.base_offset,
                        records: entry.records,
                        max_timestamp: entry.max_timestamp,
                        batch,
                    },
                    origin,
                ),
                None => Rescued::Lost(entry.base_offset..entry.end()),
            };
            (self.each)(found)?;
        }
        self.next = self.next.max(head.end);
        Ok(())
    }

    fn origin(&self, at: u64) -> Origin {
        Origin {
            source: self.run.segment,
            at,
        }
    }

    /// The payload of a reference; `None` if it is damaged.
    fn payload(&mut self, reference: &Reference) -> Result<Option<Bytes>, SegmentError> {
        if let Some(payload) = self.payloads.get(&reference.at) {
            return Ok(Some(payload.clone()));
        }
        let range = reference.at..reference.at.saturating_add(u64::from(reference.length));
        let payload = self.objects.read(self.run.segment, range)?;
        let whole =
            payload.len() == reference.length as usize && crc32c::crc32c(&payload) == reference.crc;
        if !whole {
            return Ok(None);
        }
        if self.at_hand > AT_HAND {
            self.payloads.clear();
            self.at_hand = 0;
        }
        self.at_hand += payload.len();
        self.payloads.insert(reference.at, payload.clone());
        Ok(Some(payload))
    }
}
