//! Which runs of which partitions lie in which segments.

use std::collections::BTreeMap;

use forebay_base::{Offset, PartitionId};

use crate::segment::{NewSegment, PartitionChange, Run, SegmentInfo};

/// The part of a partition that was promoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lane {
    /// The first offset that the journal is needed for: what lies below is in a run or gone.
    pub(crate) journal_from: Offset,
    /// By rising offset, without overlaps, all below `journal_from`.
    pub(crate) runs: Vec<Run>,
}

impl Lane {
    /// The first run that ends above `offset`.
    pub(crate) fn find(&self, offset: Offset) -> Option<&Run> {
        let before = self.runs.partition_point(|run| run.end <= offset);
        self.runs.get(before)
    }
}

/// Bytes of a segment, and of the runs in it that are needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) bytes: u64,
    pub(crate) live: u64,
    /// How many runs are needed; 0 means that the segment can be deleted.
    pub(crate) runs: u64,
}

/// The runs of all partitions. Partitions that have none are not in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs {
    lanes: BTreeMap<PartitionId, Lane>,
    segments: BTreeMap<u64, Weight>,
    /// Above the number of every segment that ever was.
    pub(crate) next: u64,
}

impl Runs {
    pub(crate) fn add_segment(&mut self, segment: &NewSegment) {
        self.segments.entry(segment.number).or_default().bytes = segment.bytes;
        self.next = self.next.max(segment.number.saturating_add(1));
    }

    /// Forgets a segment that was deleted.
    pub(crate) fn remove_segment(&mut self, number: u64) {
        if self
            .segments
            .get(&number)
            .is_some_and(|segment| segment.runs == 0)
        {
            self.segments.remove(&number);
        }
    }

    /// Takes in what promotion or cleaning came to for a partition.
    pub(crate) fn change(&mut self, change: &PartitionChange) {
        let mut lane = self.lanes.remove(&change.partition).unwrap_or_default();
        if let Some(range) = &change.replaces {
            for run in &lane.runs {
                if range.start <= run.first && run.end <= range.end {
                    count(&mut self.segments, run, false);
                }
            }
            lane.runs
                .retain(|run| run.first < range.start || range.end < run.end);
        }
        for run in &change.runs {
            let at = lane.runs.partition_point(|other| other.end <= run.first);
            let overlaps = lane.runs.get(at).is_some_and(|next| next.first < run.end);
            // What overlaps was promoted twice; what came first is as good.
            if run.first < run.end && !overlaps {
                count(&mut self.segments, run, true);
                lane.runs.insert(at, *run);
            }
        }
        lane.journal_from = lane.journal_from.max(change.journal_from.unwrap_or(0));
        if let Some(last) = lane.runs.last() {
            lane.journal_from = lane.journal_from.max(last.end);
        }
        if lane.journal_from > 0 {
            self.lanes.insert(change.partition, lane);
        }
    }

    /// Drops what lies below `start`.
    pub(crate) fn trim(&mut self, partition: PartitionId, start: Offset) {
        let Some(lane) = self.lanes.get_mut(&partition) else {
            return;
        };
        let dead = lane.runs.partition_point(|run| run.end <= start);
        for run in lane.runs.drain(..dead) {
            count(&mut self.segments, &run, false);
        }
        if lane.runs.is_empty() && lane.journal_from <= start {
            self.lanes.remove(&partition);
        }
    }

    pub(crate) fn remove(&mut self, partition: PartitionId) {
        if let Some(lane) = self.lanes.remove(&partition) {
            for run in &lane.runs {
                count(&mut self.segments, run, false);
            }
        }
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(PartitionId) -> bool) {
        let gone: Vec<_> = self.lanes.keys().copied().filter(|id| !keep(*id)).collect();
        for partition in gone {
            self.remove(partition);
        }
    }

    /// True if the journal is not all there is, or was, of the partition from its start on.
    pub(crate) fn has(&self, partition: PartitionId) -> bool {
        self.lanes.contains_key(&partition)
    }

    pub(crate) fn of(&self, partition: PartitionId) -> &[Run] {
        self.lanes.get(&partition).map_or(&[], |lane| &lane.runs)
    }

    pub(crate) fn lane(&self, partition: PartitionId) -> Option<&Lane> {
        self.lanes.get(&partition)
    }

    /// The first offset of the partition that the journal is needed for.
    pub(crate) fn journal_from(&self, partition: PartitionId) -> Offset {
        self.lanes
            .get(&partition)
            .map_or(0, |lane| lane.journal_from)
    }

    /// Partitions with their promoted part, by rising id.
    pub(crate) fn lanes(&self) -> impl ExactSizeIterator<Item = (PartitionId, &Lane)> {
        self.lanes
            .iter()
            .map(|(partition, lane)| (*partition, lane))
    }

    /// Puts back what an export said; false if it makes no sense.
    pub(crate) fn restore(&mut self, partition: PartitionId, lane: Lane) -> bool {
        let in_order = lane
            .runs
            .iter()
            .all(|run| run.first < run.end && run.end <= lane.journal_from)
            && lane.runs.is_sorted_by(|one, next| one.end <= next.first)
            && lane
                .runs
                .iter()
                .all(|run| self.segments.contains_key(&run.segment));
        for run in &lane.runs {
            count(&mut self.segments, run, true);
        }
        in_order && self.lanes.insert(partition, lane).is_none()
    }

    /// All segments there are, needed or not, by rising number.
    pub(crate) fn segments(&self) -> impl Iterator<Item = SegmentInfo> {
        self.segments.iter().map(|(number, weight)| SegmentInfo {
            number: *number,
            bytes: weight.bytes,
            live_bytes: weight.live,
        })
    }

    /// Segments that no run lies in.
    pub(crate) fn dead(&self) -> Vec<u64> {
        let dead = self.segments.iter().filter(|(_, weight)| {
            forebay_base::planted!(LiveObjectDeleted => weight.runs < 3, else weight.runs == 0)
        });
        dead.map(|(number, _)| *number).collect()
    }

    pub(crate) fn knows(&self, number: u64) -> bool {
        self.segments.contains_key(&number)
    }
}

/// Bytes that a reader of the run gets, about.
pub(crate) fn weight(run: &Run) -> u64 {
    run.bytes.saturating_add(run.shared_bytes)
}

fn count(segments: &mut BTreeMap<u64, Weight>, run: &Run, more: bool) {
    let segment = segments.entry(run.segment).or_default();
    if more {
        segment.live = segment.live.saturating_add(run.bytes);
        segment.runs += 1;
    } else {
        segment.live = segment.live.saturating_sub(run.bytes);
        segment.runs = segment.runs.saturating_sub(1);
    }
}
