//! Walking commits in search of one partition's batches.

use forebay_base::{Offset, PartitionId};

use crate::commit::{COMMIT_HEADER, Commit};
use crate::frame::find;
use crate::position::Position;
use crate::reader::{LogReader, ReadError, Source, Stored};

/// Bytes read from the disk for a reader that jumps.
const READ_ONCE: usize = 64 << 10;
/// Bytes read from the disk for a reader that goes through commits one after the other.
const READ_AHEAD: usize = 1 << 20;

/// Where a reader of one partition stopped. Start with the default; a cursor that does not fit
/// the next read costs time, never correctness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    place: Option<CursorPlace>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CursorPlace {
    partition: PartitionId,
    /// Every batch that ends above this offset lies at `at`, frame byte `frame`, or later.
    next: Offset,
    at: Position,
    frame: usize,
    /// The commit at `at` follows what was read before.
    sequential: bool,
}

/// What [`Walk::find`] came to.
pub(crate) enum Found {
    Batch(Stored),
    /// The high watermark was reached.
    End,
    NeedsDisk,
}

/// One read's way through the journal.
pub(crate) struct Walk<'a> {
    reader: &'a LogReader,
    partition: PartitionId,
    source: Source,
    cursor: &'a mut Cursor,
    place: Option<CursorPlace>,
    commit: Option<Commit>,
    /// The high watermark as it was when the index was last asked.
    end: Offset,
    /// Where to go on after the batch that was found, once it is accepted.
    after: Option<(Offset, usize)>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(
        reader: &'a LogReader,
        partition: PartitionId,
        source: Source,
        cursor: &'a mut Cursor,
    ) -> Self {
        let place = cursor.place.filter(|place| place.partition == partition);
        Self {
            reader,
            partition,
            source,
            cursor,
            place,
            commit: None,
            end: 0,
            after: None,
        }
    }

    /// The first batch that holds an offset of `offset` or above. The walk stays before it until
    /// [`Walk::accept`].
    pub(crate) fn find(&mut self, offset: Offset) -> Result<Found, ReadError> {
        let goes_on = self.commit.is_some()
            && offset < self.end
            && self.place.is_some_and(|place| place.next == offset);
        if !goes_on && !self.consult_index(offset)? {
            return Ok(Found::End);
        }
        loop {
            let Some(place) = self.place else {
                return Ok(Found::End);
            };
            self.load(place)
                .map_err(|error| self.or_trimmed(error, offset))?;
            let Some(commit) = &self.commit else {
                return Ok(Found::NeedsDisk);
            };
            let (position, next_commit) = (commit.position, commit.end);
            let frames = commit.unpadded();
            let hit = find(frames, place.frame, self.partition, offset)
                .map_err(|_| self.reader.damaged(position))?;
            if let Some(hit) = hit {
                let batch = Stored {
                    base_offset: hit.base_offset,
                    records: hit.records,
                    max_timestamp: hit.max_timestamp,
                    batch: commit.bytes.slice(hit.payload),
                };
                self.after = Some((hit.base_offset + u64::from(hit.records), hit.next));
                return Ok(Found::Batch(batch));
            }
            self.commit = None;
            self.put(CursorPlace {
                partition: self.partition,
                next: offset,
                at: next_commit,
                frame: COMMIT_HEADER,
                sequential: true,
            });
            if !self.consult_index(offset)? {
                return Ok(Found::End);
            }
        }
    }

    /// Goes on behind the batch that was found last.
    pub(crate) fn accept(&mut self) {
        if let (Some((next, frame)), Some(place)) = (self.after.take(), self.place) {
            self.put(CursorPlace {
                next,
                frame,
                ..place
            });
        }
    }

    fn put(&mut self, place: CursorPlace) {
        self.place = Some(place);
        self.cursor.place = self.place;
    }

    /// Jumps forward if the index knows a later place for `offset`, or back if the walk is past
    /// it. False if `offset` is not durable yet.
    fn consult_index(&mut self, offset: Offset) -> Result<bool, ReadError> {
        let Some(known) = self.reader.place(self.partition, offset) else {
            return Ok(false);
        };
        if offset < known.start {
            return Err(ReadError::OutOfRange {
                offset,
                start: known.start,
            });
        }
        self.end = known.end;
        let Some(at) = known.at.filter(|_| offset < known.end) else {
            return Ok(false);
        };
        let stays = self
            .place
            .is_some_and(|place| place.next <= offset && place.at >= at);
        if !stays {
            self.commit = None;
            self.put(CursorPlace {
                partition: self.partition,
                next: offset,
                at,
                frame: COMMIT_HEADER,
                sequential: false,
            });
        }
        Ok(true)
    }

    /// A file is dropped when all in it was trimmed, perhaps while this read was on its way.
    fn or_trimmed(&self, error: ReadError, offset: Offset) -> ReadError {
        match (error, self.reader.bounds(self.partition)) {
            (ReadError::Dropped(_), Some(bounds)) if offset < bounds.start => {
                ReadError::OutOfRange {
                    offset,
                    start: bounds.start,
                }
            }
            (error, _) => error,
        }
    }

    /// Has the commit at `place` in `self.commit`, unless it needs the disk and may not use it.
    fn load(&mut self, place: CursorPlace) -> Result<(), ReadError> {
        if self.commit.is_some() {
            return Ok(());
        }
        let ahead = if place.sequential {
            READ_AHEAD
        } else {
            READ_ONCE
        };
        self.commit = self.reader.load(place.at, self.source, ahead)?;
        if let Some(commit) = &self.commit {
            // Behind a seal the commit lies in the next file.
            let at = commit.position;
            self.put(CursorPlace { at, ..place });
        }
        Ok(())
    }
}
