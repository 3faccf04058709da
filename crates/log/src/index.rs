//! The index: for each partition, where its batches lie, in segments and in the journal.
//!
//! A partition gets an entry for the journal only when a fair stretch of it has passed since its
//! last one, so an index costs by the byte of journal, not by the message, and an idle partition
//! costs its one entry. What lies between two entries is found by walking commits. What was
//! promoted costs one run per segment it lies in, and a partition without any costs nothing.

use forebay_base::{Offset, PartitionId};

use crate::commit::Effects;
use crate::file_header::FILE_HEADER;
use crate::position::Position;
use crate::runs::{Runs, weight};
use crate::segment::{Run, SegmentChange};
use crate::track::Track;

type Tracks = hashbrown::HashMap<PartitionId, Track, foldhash::fast::RandomState>;

/// The index of every partition, up to [`Index::published`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) tracks: Tracks,
    pub(crate) runs: Runs,
    /// Everything before this position is in the index.
    pub(crate) published: Position,
    /// What lies in the journal below this position was promoted or is not needed.
    pub(crate) worked_off: Position,
}

impl Index {
    /// Takes in one durable commit. A commit that is known already changes nothing.
    pub(crate) fn publish(&mut self, position: Position, end: Position, effects: &Effects) {
        if end <= self.published {
            return;
        }
        for touch in &effects.touches {
            self.tracks
                .entry(touch.partition)
                .or_insert_with(|| Track::new(touch.first))
                .add(position, touch);
        }
        for change in &effects.changes {
            self.change(change);
        }
        self.published = end;
    }

    /// Batches have moved into segments, or from one into another.
    fn change(&mut self, change: &SegmentChange) {
        for segment in &change.segments {
            self.runs.add_segment(segment);
        }
        for part in &change.partitions {
            let Some(track) = self.tracks.get_mut(&part.partition) else {
                continue;
            };
            self.runs.change(part);
            self.runs.trim(part.partition, track.start);
            track.need_from(track.start.max(self.runs.journal_from(part.partition)));
        }
        if change.below > self.worked_off {
            self.worked_off = change.below;
            // It is where a file begins; the first commit lies behind the header.
            self.clamp_below(Position(change.below.0.saturating_add(FILE_HEADER)));
        }
    }

    pub(crate) fn get(&self, partition: PartitionId) -> Option<&Track> {
        self.tracks.get(&partition)
    }

    pub(crate) fn trim(&mut self, partition: PartitionId, below: Offset) {
        let Some(track) = self.tracks.get_mut(&partition) else {
            return;
        };
        if below <= track.start {
            return;
        }
        track.start = below.min(track.end);
        self.runs.trim(partition, track.start);
        track.need_from(track.start.max(self.runs.journal_from(partition)));
    }

    /// Nothing below the commit at `position` is in the journal any more, or is needed there.
    pub(crate) fn clamp_below(&mut self, position: Position) {
        for track in self.tracks.values_mut() {
            track.clamp_below(position);
        }
    }

    /// What a partition had in files that are gone, and that was not promoted, was not needed: its
    /// start moves up to what there is. Only right when every change of segments is known.
    pub(crate) fn raise_starts(&mut self) {
        for (partition, track) in &mut self.tracks {
            if !self.runs.has(*partition) {
                track.raise_start();
            }
        }
    }

    pub(crate) fn remove(&mut self, partition: PartitionId) {
        self.tracks.remove(&partition);
        self.runs.remove(partition);
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(PartitionId) -> bool) {
        self.tracks.retain(|&partition, _| keep(partition));
        let tracks = &self.tracks;
        self.runs
            .retain(|partition| tracks.contains_key(&partition));
    }

    /// The lowest position that any partition still needs.
    pub(crate) fn lowest_needed(&self) -> Option<Position> {
        self.tracks.values().filter_map(Track::needed).min()
    }

    /// Where the first batch lies that holds an offset of `offset` or above.
    pub(crate) fn place(&self, partition: PartitionId, offset: Offset) -> Option<Place> {
        let track = self.tracks.get(&partition)?;
        let lane = self.runs.lane(partition);
        let run = lane.and_then(|lane| lane.find(offset)).copied();
        let from = offset.max(lane.map_or(0, |lane| lane.journal_from));
        let at = track.entry_for(from).map(|entry| entry.position);
        Some(Place {
            run,
            from,
            at: at.filter(|_| from < track.end),
            start: track.start,
            end: track.end,
            published: self.published,
        })
    }

    /// About how many bytes of batches the partition holds.
    pub(crate) fn bytes(&self, partition: PartitionId) -> u64 {
        let Some(track) = self.tracks.get(&partition) else {
            return 0;
        };
        let first = track.entries().next();
        let journal = first.map_or(0, |first| track.bytes.saturating_sub(first.bytes_before));
        let runs = self.runs.of(partition).iter();
        runs.fold(journal, |sum, run| {
            sum.saturating_add(bytes_from(run, track.start))
        })
    }

    /// Below this offset nothing of the partition is left: below its first run, or without runs
    /// below what the journal holds of it. Known only when all of the journal is replayed.
    pub(crate) fn gone_below(&self, partition: PartitionId) -> Offset {
        let Some(track) = self.tracks.get(&partition) else {
            return 0;
        };
        let first = match self.runs.of(partition).first() {
            Some(run) => run.first,
            None => {
                let journal = track.entries().next();
                let journal = journal.map_or(track.end, |entry| entry.offset);
                journal.max(self.runs.journal_from(partition))
            }
        };
        track.start.max(first.min(track.end))
    }

    /// The last offset known such that `bytes` of the partition lie at or after it.
    pub(crate) fn offset_for_size(&self, partition: PartitionId, bytes: u64) -> Offset {
        let Some(track) = self.tracks.get(&partition) else {
            return 0;
        };
        for entry in track.entries().rev() {
            let behind = track.bytes.saturating_sub(entry.bytes_before);
            if behind >= bytes {
                return entry.offset.max(track.start);
            }
        }
        let first = track.entries().next();
        let journal = first.map_or(0, |first| track.bytes.saturating_sub(first.bytes_before));
        let mut left = bytes.saturating_sub(journal);
        let mut lowest = first.map_or(track.end, |first| first.offset);
        for run in self.runs.of(partition).iter().rev() {
            if weight(run) >= left {
                lowest = inside(run, left).min(lowest);
                break;
            }
            left -= weight(run);
            lowest = run.first.min(lowest);
        }
        lowest.max(track.start)
    }
}

/// The offset in a run that about `bytes` of it lie at or after: batches of a run are taken to be
/// of one size.
fn inside(run: &Run, bytes: u64) -> Offset {
    let span = u128::from(run.end.saturating_sub(run.first));
    let part = (span * u128::from(bytes)).div_ceil(u128::from(weight(run).max(1)));
    run.end
        .saturating_sub(u64::try_from(part).unwrap_or(u64::MAX))
        .max(run.first)
}

/// About how many bytes of a run lie at or after `start`.
fn bytes_from(run: &Run, start: Offset) -> u64 {
    if start <= run.first {
        return weight(run);
    }
    let span = u128::from(run.end.saturating_sub(run.first)).max(1);
    let held = u128::from(run.end.saturating_sub(start));
    u64::try_from(u128::from(weight(run)) * held / span).unwrap_or(u64::MAX)
}

/// An answer of the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The run to look in first, if the offset lies below the partition's part of the journal.
    pub(crate) run: Option<Run>,
    /// The offset to look for in the journal if no run has it.
    pub(crate) from: Offset,
    /// Where to start in the journal; none if nothing of the partition is there.
    pub(crate) at: Option<Position>,
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    /// Where the journal ended that this answer knows.
    pub(crate) published: Position,
}

#[cfg(test)]
mod tests;
