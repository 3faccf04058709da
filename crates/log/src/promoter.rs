//! The background work on storage: out of the journal into segments, and from old segments into
//! new ones.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use forebay_base::PartitionId;
use parking_lot::Mutex;

use crate::position::Position;
use crate::promote::{Promotion, push_kept};
use crate::reader::{LogReader, ReadError, Stored};
use crate::segment::{
    Keeper, Objects, PartitionChange, Run, SegmentChange, SegmentError, SegmentOptions,
    SegmentWriter, Written,
};
use crate::survey::{Chunk, Survey};

/// Why background work was not done. Nothing is lost by it; it can be tried again.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// The journal cannot be read. [`ReadError::Dropped`] means that the chunk is not needed any
    /// more.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A segment cannot be written, read or deleted.
    #[error(transparent)]
    Segment(#[from] SegmentError),
}

impl PromoteError {
    /// True if another try may well succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Read(ReadError::Dropped(_)) => true,
            Self::Read(ReadError::Segment(error)) | Self::Segment(error) => error.is_transient(),
            Self::Read(_) => false,
        }
    }
}

/// Moves batches into segments and deletes segments that are not needed.
///
/// Its calls block and take their time, so they belong on a thread of their own; one thread at a
/// time, since what one call makes known is what the next builds on. What they come to is a
/// [`SegmentChange`]: it is to be given to [`crate::CommitBuilder::push_segments`], and is true
/// once that commit is durable.
#[derive(Clone)]
pub struct Promoter {
    pub(crate) reader: Arc<LogReader>,
    pub(crate) objects: Objects,
    options: SegmentOptions,
    numbers: Arc<Mutex<Numbers>>,
}

/// Numbers of segments that the index does not know yet.
#[derive(Debug, Default)]
struct Numbers {
    /// No segment that was written in this life has this number or a higher one.
    next: u64,
    /// Written, but not seen in the index yet.
    pending: BTreeSet<u64>,
    /// Objects below this number that the index does not know are left from work that failed or
    /// was lost; nobody looked for them yet.
    orphans_below: Option<u64>,
}

impl Promoter {
    pub(crate) fn new(reader: Arc<LogReader>, objects: Objects, options: SegmentOptions) -> Self {
        let next = reader.index.read().runs.next.max(1);
        let numbers = Numbers {
            next,
            pending: BTreeSet::new(),
            orphans_below: Some(next),
        };
        Self {
            reader,
            objects,
            options,
            numbers: Arc::new(Mutex::new(numbers)),
        }
    }

    /// The first pass of promotion: what lies in the oldest sealed journal files below `below`
    /// that are not worked off yet. It stops at the end of a file when more than `max_batches`
    /// are in hand, but takes at least one file, if there is one.
    ///
    /// # Errors
    /// The journal cannot be read or is damaged.
    pub fn survey(&self, below: Position, max_batches: usize) -> Result<Chunk, PromoteError> {
        Ok(Survey::new(&self.reader).run(below, max_batches)?)
    }

    /// The second pass: writes what `keeper` keeps. When it returns, the segments are durable.
    /// If nothing is kept, the change comes without segments.
    ///
    /// # Errors
    /// The journal cannot be read, or a segment not be written.
    pub fn promote(
        &self,
        chunk: Chunk,
        keeper: &mut dyn Keeper,
    ) -> Result<SegmentChange, PromoteError> {
        let mut change = SegmentChange {
            below: chunk.end(),
            ..SegmentChange::default()
        };
        let written = self.write(|writer| {
            let mut promotion = Promotion {
                reader: &self.reader,
                chunk: &chunk,
                keeper,
                writer,
            };
            promotion.run()
        })?;
        change.segments = written.segments;
        let mut written = written.runs.into_iter().peekable();
        for span in &chunk.spans {
            let runs = written.next_if(|(partition, _)| *partition == span.partition);
            // Without runs it says that all of it is gone.
            change.partitions.push(PartitionChange {
                partition: span.partition,
                journal_from: Some(span.end),
                replaces: None,
                runs: runs.map_or(Vec::new(), |(_, runs)| runs),
            });
        }
        Ok(change)
    }

    /// Reads runs in order and writes what `keeper` keeps of them anew: cleaning and compaction.
    /// Runs of which nothing is kept just go. Neighbouring runs of a partition become one, if
    /// they fit a segment. Partitions are given by rising id, and their runs as
    /// [`LogReader::runs`] told of them.
    ///
    /// The new runs' [`Run::cleaned_at`] is that of the old ones: the caller sets it.
    ///
    /// # Errors
    /// A segment cannot be read or written.
    pub fn rewrite(
        &self,
        runs: &[(PartitionId, Vec<Run>)],
        keeper: &mut dyn Keeper,
    ) -> Result<SegmentChange, PromoteError> {
        let mut change = SegmentChange::default();
        for (partition, runs) in runs {
            for group in neighbours(runs, &self.reader.runs(*partition)) {
                let (Some(first), Some(last)) = (group.first(), group.last()) else {
                    continue;
                };
                change.partitions.push(PartitionChange {
                    partition: *partition,
                    journal_from: None,
                    replaces: Some(first.first..last.end),
                    runs: group,
                });
            }
        }
        let parts = &change.partitions;
        let written = self.write(|writer| {
            for part in parts {
                self.rewrite_part(part, keeper, writer)?;
            }
            Ok(())
        })?;
        put_in_place(&mut change, written);
        Ok(change)
    }

    fn rewrite_part(
        &self,
        part: &PartitionChange,
        keeper: &mut dyn Keeper,
        writer: &mut SegmentWriter,
    ) -> Result<(), PromoteError> {
        let Some(range) = &part.replaces else {
            return Ok(());
        };
        let cleaned_at = part.runs.iter().map(|run| run.cleaned_at).max();
        writer.begin(part.partition, range.start, cleaned_at.unwrap_or(0));
        for run in &part.runs {
            let mut failed = None;
            let segments = &self.reader.segments;
            segments.scan(part.partition, run, &mut |stored, origin| {
                let kept = keeper.keep(part.partition, &stored);
                match push_kept(writer, kept, stored, origin) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        writer.end(range.end)?;
        Ok(())
    }

    /// Hands over every batch of a partition's runs, in order, until `each` has enough.
    ///
    /// # Errors
    /// A segment cannot be read or is damaged.
    pub fn scan(
        &self,
        partition: PartitionId,
        runs: &[Run],
        each: &mut dyn FnMut(&Stored) -> ControlFlow<()>,
    ) -> Result<(), PromoteError> {
        let mut enough = ControlFlow::Continue(());
        for run in runs {
            let segments = &self.reader.segments;
            segments.scan(partition, run, &mut |stored, _| {
                enough = each(&stored);
                enough
            })?;
            if enough.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Deletes the objects of segments that no run of the durable index lies in, and those that
    /// were left behind by work that failed or was lost. Tells how many.
    ///
    /// # Errors
    /// The store failed; what was not deleted is tried again the next time.
    pub fn delete_dead(&self) -> Result<u64, PromoteError> {
        let mut deleted = 0;
        let dead = self.reader.index.read().runs.dead();
        for number in dead {
            self.objects.delete(number)?;
            self.reader.segments.forget(number);
            self.reader.index.write().runs.remove_segment(number);
            deleted += 1;
        }
        let orphans_below = self.numbers.lock().orphans_below;
        if let Some(below) = orphans_below {
            for number in self.objects.list()? {
                let known = self.reader.index.read().runs.knows(number);
                let pending = self.numbers.lock().pending.contains(&number);
                if number < below && !known && !pending {
                    self.objects.delete(number)?;
                    deleted += 1;
                }
            }
            self.numbers.lock().orphans_below = None;
        }
        Ok(deleted)
    }

    /// Writes segments; what is left of a try that failed is deleted some time later.
    pub(crate) fn write(
        &self,
        fill: impl FnOnce(&mut SegmentWriter) -> Result<(), PromoteError>,
    ) -> Result<Written, PromoteError> {
        let first = {
            let mut numbers = self.numbers.lock();
            let index = self.reader.index.read();
            numbers.pending.retain(|number| !index.runs.knows(*number));
            numbers.next = numbers.next.max(index.runs.next);
            numbers.next
        };
        let mut writer = SegmentWriter::new(self.objects.clone(), first, &self.options);
        let filled = fill(&mut writer);
        let written = filled.and_then(|()| Ok(writer.finish()?));
        let mut numbers = self.numbers.lock();
        match &written {
            Ok(written) => {
                let new = written.segments.iter().map(|segment| segment.number);
                numbers.next = new.clone().fold(first, |next, number| next.max(number + 1));
                numbers.pending.extend(new);
            }
            Err(_) => {
                // A write that was given up may still arrive: its name is not used again.
                numbers.next = first + FAILED_AT_MOST;
                numbers.orphans_below = Some(numbers.next);
            }
        }
        written
    }
}

/// The runs that were written, instead of those that were read, each in the part of the change
/// whose range it begins in. Parts rise by partition and range.
pub(crate) fn put_in_place(change: &mut SegmentChange, written: Written) {
    change.segments = written.segments;
    for part in &mut change.partitions {
        part.runs.clear();
    }
    for (partition, runs) in written.runs {
        for run in runs {
            let behind = change.partitions.partition_point(|part| {
                let start = part.replaces.as_ref().map_or(0, |range| range.start);
                (part.partition, start) <= (partition, run.first)
            });
            if let Some(part) = change.partitions[..behind].last_mut() {
                part.runs.push(run);
            }
        }
    }
}

/// More than the segments that one call can have begun.
const FAILED_AT_MOST: u64 = 1 << 16;

/// Splits runs where the index has others in between, or does not have them any more.
fn neighbours(runs: &[Run], all: &[Run]) -> Vec<Vec<Run>> {
    let mut groups: Vec<Vec<Run>> = Vec::new();
    let mut after = None;
    for run in runs {
        let place = all.partition_point(|other| other.first < run.first);
        if all.get(place) != Some(run) {
            continue;
        }
        match groups.last_mut() {
            Some(group) if after == Some(place) => group.push(*run),
            _ => groups.push(vec![*run]),
        }
        after = Some(place + 1);
    }
    groups
}
