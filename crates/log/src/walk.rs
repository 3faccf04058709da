//! Walking one partition's batches, first through segments and then through the journal.

use forebay_base::{Offset, PartitionId};

use crate::cold::Chunk;
use crate::commit::{COMMIT_HEADER, Commit};
use crate::frame::find;
use crate::index::Place;
use crate::position::Position;
use crate::reader::{LogReader, ReadError, Source, Stored};
use crate::segment::{Run, RunFound, RunPlace, RunWalk};

/// Where a reader of one partition stopped. Start with the default; a cursor that does not fit
/// the next read costs time, never correctness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    place: Option<CursorPlace>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CursorPlace {
    pub(crate) partition: PartitionId,
    /// Every batch that ends above this offset lies at `spot` or later.
    pub(crate) next: Offset,
    pub(crate) spot: Spot,
}

/// Where a batch is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    Journal(Frame),
    Segment(RunPlace),
}

/// A frame of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its commit, or a seal before it.
    pub(crate) at: Position,
    /// Where it begins in the commit.
    pub(crate) byte: usize,
    /// The commit follows what was read before.
    pub(crate) sequential: bool,
}

impl Frame {
    pub(crate) fn first_of(at: Position, sequential: bool) -> Self {
        Self {
            at,
            byte: COMMIT_HEADER,
            sequential,
        }
    }
}

impl Cursor {
    pub(crate) fn place(&self) -> Option<&CursorPlace> {
        self.place.as_ref()
    }
}

/// What [`Walk::find`] came to.
pub(crate) enum Found {
    Batch(Stored),
    /// The high watermark was reached.
    End,
    NeedsDisk,
}

/// What one step of [`Walk::find`] came to.
enum Step {
    Found(Found),
    /// Nothing lies below this offset any more.
    OnFrom(Offset),
}

/// What the walk goes through now.
enum Way<'a> {
    /// The index must be asked.
    Unknown,
    Run(Run, Box<RunWalk<'a>>),
    /// The commit at the place, if it was loaded.
    Journal(Option<Commit>),
}

/// One read's way through a partition.
pub(crate) struct Walk<'a> {
    reader: &'a LogReader,
    partition: PartitionId,
    source: Source,
    cursor: &'a mut Cursor,
    place: Option<CursorPlace>,
    way: Way<'a>,
    /// Bytes that the reader will take, if there are as many.
    wants: usize,
    /// What was read from the disk last; here it cannot be evicted by others.
    chunk: Option<Chunk>,
    /// The high watermark as it was when the index was last asked, and where the journal ended.
    end: Offset,
    published: Position,
    /// The batch that was found: its end, and in the journal the frame behind it.
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
            way: Way::Unknown,
            wants: 0,
            chunk: None,
            end: 0,
            published: Position(0),
            after: None,
        }
    }

    /// Tells that the reader will take so many bytes more.
    pub(crate) fn wants(&mut self, bytes: usize) {
        self.wants = bytes;
    }

    /// The first batch that holds an offset of `offset` or above. The walk stays before it until
    /// [`Walk::accept`].
    pub(crate) fn find(&mut self, offset: Offset) -> Result<Found, ReadError> {
        let mut wanted = offset;
        // Where batches had gone from when the index was asked again.
        let mut gone = None;
        loop {
            match self.step(wanted) {
                Ok(Step::Found(found)) => return Ok(found),
                Ok(Step::OnFrom(next)) => wanted = next.max(wanted),
                Err(error) if error.is_gone() && gone != Some(self.location()) => {
                    // Promoted, cleaned or trimmed while this read was on its way.
                    gone = Some(self.location());
                    self.place = None;
                    self.way = Way::Unknown;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn step(&mut self, wanted: Offset) -> Result<Step, ReadError> {
        let goes_on = wanted < self.end
            && match &self.way {
                Way::Unknown => false,
                Way::Run(run, _) => run.first <= wanted && wanted < run.end,
                Way::Journal(commit) => {
                    commit.is_some() && self.place.is_some_and(|place| place.next == wanted)
                }
            };
        if !goes_on && let Some(step) = self.consult_index(wanted)? {
            return Ok(step);
        }
        match &mut self.way {
            Way::Unknown => Ok(Step::Found(Found::End)),
            Way::Run(run, walk) => {
                let end = run.end;
                let found = walk.find(wanted)?;
                self.keep_run_place(wanted);
                match found {
                    RunFound::Batch(batch) => {
                        self.after = Some((batch_end(&batch), 0));
                        Ok(Step::Found(Found::Batch(batch)))
                    }
                    RunFound::NeedsDisk => Ok(Step::Found(Found::NeedsDisk)),
                    RunFound::End => Ok(Step::OnFrom(end)),
                }
            }
            Way::Journal(_) => self.step_journal(wanted),
        }
    }

    /// Looks through one commit.
    fn step_journal(&mut self, wanted: Offset) -> Result<Step, ReadError> {
        let Some(CursorPlace {
            spot: Spot::Journal(frame),
            ..
        }) = self.place
        else {
            return Ok(Step::Found(Found::End));
        };
        let (commit, frame) = match self.load(frame, wanted)? {
            Some(loaded) => loaded,
            None => return Ok(Step::Found(Found::NeedsDisk)),
        };
        let hit = find(commit.unpadded(), frame.byte, self.partition, wanted)
            .map_err(|_| self.reader.damaged(commit.position))?;
        if let Some(hit) = hit {
            let batch = Stored {
                base_offset: hit.base_offset,
                records: hit.records,
                max_timestamp: hit.max_timestamp,
                batch: commit.bytes.slice(hit.payload),
            };
            self.after = Some((batch_end(&batch), hit.next));
            self.way = Way::Journal(Some(commit));
            return Ok(Step::Found(Found::Batch(batch)));
        }
        self.put(wanted, Spot::Journal(Frame::first_of(commit.end, true)));
        self.way = Way::Journal(None);
        self.leave_chunk(commit.end);
        Ok(Step::OnFrom(wanted))
    }

    /// Goes on behind the batch that was found last.
    pub(crate) fn accept(&mut self) {
        let (Some((next, byte)), Some(place)) = (self.after.take(), self.place) else {
            return;
        };
        match (&mut self.way, place.spot) {
            (Way::Run(_, walk), _) => {
                walk.accept();
                self.keep_run_place(next);
            }
            (_, Spot::Journal(frame)) => {
                self.put(next, Spot::Journal(Frame { byte, ..frame }));
            }
            _ => {}
        }
    }

    fn put(&mut self, next: Offset, spot: Spot) {
        self.place = Some(CursorPlace {
            partition: self.partition,
            next,
            spot,
        });
        self.cursor.place = self.place;
    }

    fn keep_run_place(&mut self, next: Offset) {
        if let Way::Run(_, walk) = &self.way {
            let spot = Spot::Segment(walk.place());
            self.put(next, spot);
        }
    }

    /// Finds the way to `wanted`, or an answer.
    fn consult_index(&mut self, wanted: Offset) -> Result<Option<Step>, ReadError> {
        let Some(known) = self.reader.place(self.partition, wanted) else {
            return Ok(Some(Step::Found(Found::End)));
        };
        if wanted < known.start {
            return Err(ReadError::OutOfRange {
                offset: wanted,
                start: known.start,
            });
        }
        self.end = known.end;
        self.published = known.published;
        if wanted >= known.end {
            return Ok(Some(Step::Found(Found::End)));
        }
        if let Some(run) = known.run {
            self.enter_run(run, wanted);
            return Ok(None);
        }
        if known.from > wanted {
            return Ok(Some(Step::OnFrom(known.from)));
        }
        Ok(self.enter_journal(&known, wanted))
    }

    fn enter_run(&mut self, run: Run, wanted: Offset) {
        let from = self.place.and_then(|place| match place.spot {
            Spot::Segment(at) if place.next <= wanted => Some(at),
            _ => None,
        });
        let segments = &self.reader.segments;
        let walk = segments.walk(self.partition, &run, from, self.source);
        self.way = Way::Run(run, Box::new(walk));
    }

    /// Jumps forward if the index knows a later place, or back if the walk is past it.
    fn enter_journal(&mut self, known: &Place, wanted: Offset) -> Option<Step> {
        let Some(at) = known.at else {
            return Some(Step::Found(Found::End));
        };
        let stays = self.place.is_some_and(|place| match place.spot {
            Spot::Journal(frame) => place.next <= wanted && frame.at >= at,
            Spot::Segment(_) => false,
        });
        if !stays {
            // Who comes from a segment reads on in order.
            let from_segment = |place: CursorPlace| matches!(place.spot, Spot::Segment(_));
            let sequential = self.place.is_some_and(from_segment);
            self.put(wanted, Spot::Journal(Frame::first_of(at, sequential)));
        }
        if !stays || !matches!(self.way, Way::Journal(_)) {
            self.way = Way::Journal(None);
        }
        match self.location() {
            // All that is below the high watermark was looked through: the rest is gone.
            Location::Journal(at) if at >= self.published => Some(Step::Found(Found::End)),
            _ => None,
        }
    }

    /// The commit of `frame`, unless it needs the disk and may not use it.
    fn load(&mut self, frame: Frame, wanted: Offset) -> Result<Option<(Commit, Frame)>, ReadError> {
        if let Way::Journal(commit) = &mut self.way
            && let Some(commit) = commit.take()
        {
            return Ok(Some((commit, frame)));
        }
        let wants = self.wants;
        let commit = self
            .reader
            .load(frame, self.source, wants, &mut self.chunk)?;
        Ok(commit.map(|commit| {
            // Behind a seal the commit lies in the next file.
            let at = commit.position;
            let frame = Frame { at, ..frame };
            let next = self.place.map_or(wanted, |place| place.next);
            self.put(next, Spot::Journal(frame));
            (commit, frame)
        }))
    }

    /// Tells the cache of a chunk that was gone through.
    fn leave_chunk(&mut self, at: Position) {
        if self.chunk.as_ref().is_some_and(|chunk| at >= chunk.end)
            && let Some(chunk) = self.chunk.take()
        {
            self.reader.done_with(&chunk);
        }
    }

    fn location(&self) -> Location {
        match (&self.way, self.place) {
            (Way::Run(run, _), _) => Location::Run(run.segment, run.first),
            (_, Some(place)) => match place.spot {
                Spot::Journal(frame) => Location::Journal(frame.at),
                Spot::Segment(_) => Location::None,
            },
            _ => Location::None,
        }
    }
}

/// Where a walk is, to tell whether the index has sent it elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Location {
    None,
    Run(u64, Offset),
    Journal(Position),
}

fn batch_end(batch: &Stored) -> Offset {
    batch.base_offset.saturating_add(u64::from(batch.records))
}
