//! The sparse index: for each partition, which commits to look in.
//!
//! A partition gets an entry only when a fair stretch of journal has passed since its last one,
//! so an index costs by the byte of journal, not by the message, and an idle partition costs its
//! one entry. What lies between two entries is found by walking commits.

use std::collections::VecDeque;

use forebay_base::{Offset, PartitionId};

use crate::commit::Touch;
use crate::position::Position;

/// Journal bytes between two entries of a partition with few entries.
const SPACING: u64 = 64 << 10;
/// The spacing doubles with every so many entries, up to [`SPACING`] × 16.
const ENTRIES_PER_DOUBLING: usize = 4096;

/// "Batches of the partition from `offset` on lie at `position` or later."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) offset: Offset,
    pub(crate) position: Position,
    /// The latest timestamp of any record of the partition before `offset`.
    pub(crate) latest_before: i64,
}

/// What is known of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) latest: i64,
    /// Inline, because most partitions of a large broker have one entry or none.
    first: Option<Entry>,
    rest: VecDeque<Entry>,
}

impl Track {
    pub(crate) fn new(start: Offset) -> Self {
        Self {
            start,
            end: start,
            latest: i64::MIN,
            first: None,
            rest: VecDeque::new(),
        }
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.first.iter().chain(&self.rest)
    }

    pub(crate) fn entry_count(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// The place to start looking for `offset`.
    pub(crate) fn entry_for(&self, offset: Offset) -> Option<&Entry> {
        self.last_where(|entry| entry.offset <= offset)
    }

    /// The place to start looking for the first batch with a timestamp of `timestamp` or later.
    pub(crate) fn entry_for_time(&self, timestamp: i64) -> Option<&Entry> {
        self.last_where(|entry| entry.latest_before < timestamp)
    }

    fn last_where(&self, mut is: impl FnMut(&Entry) -> bool) -> Option<&Entry> {
        match self.rest.partition_point(&mut is) {
            0 => self.first.as_ref(),
            count => self.rest.get(count - 1),
        }
    }

    fn add(&mut self, position: Position, touch: &Touch) {
        if touch.end <= self.end {
            return;
        }
        let spacing = SPACING << (self.rest.len() / ENTRIES_PER_DOUBLING).min(4);
        let last = self.rest.back().or(self.first.as_ref());
        if last.is_none_or(|last| position.0.saturating_sub(last.position.0) >= spacing) {
            self.push(Entry {
                offset: touch.first,
                position,
                latest_before: self.latest,
            });
        }
        self.end = touch.end;
        self.latest = self.latest.max(touch.max_timestamp);
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if self.first.is_none() {
            self.first = Some(entry);
            return;
        }
        if self.rest.len() == self.rest.capacity() {
            // A quarter more, not twice as much: the index of a deep backlog stays small.
            self.rest.reserve_exact((self.rest.len() / 4).max(2));
        }
        self.rest.push_back(entry);
    }

    /// Gives up what lies in the journal below `position`, and what lies above it but is only
    /// found from below.
    fn forget_below(&mut self, position: Position) {
        if self.first.is_none_or(|first| first.position >= position) {
            return;
        }
        let kept = self.rest.partition_point(|entry| entry.position < position);
        self.trim(self.rest.get(kept).map_or(self.end, |entry| entry.offset));
    }

    fn trim(&mut self, below: Offset) {
        if below <= self.start {
            return;
        }
        self.start = below.min(self.end);
        if self.start == self.end {
            self.first = None;
            self.rest = VecDeque::new();
            return;
        }
        let dead = self
            .rest
            .partition_point(|entry| entry.offset <= self.start);
        if dead > 0 {
            self.rest.drain(..dead - 1);
            self.first = self.rest.pop_front();
        }
        if self.rest.capacity() > 16 + self.rest.len() * 4 {
            self.rest.shrink_to(self.rest.len() * 2);
        }
    }
}

type Tracks = hashbrown::HashMap<PartitionId, Track, foldhash::fast::RandomState>;

/// The index of every partition, up to [`Index::published`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) tracks: Tracks,
    /// Everything before this position is in the index.
    pub(crate) published: Position,
}

impl Index {
    /// Takes in one durable commit. A commit that is known already changes nothing.
    pub(crate) fn publish(&mut self, position: Position, end: Position, touches: &[Touch]) {
        if end <= self.published {
            return;
        }
        for touch in touches {
            self.tracks
                .entry(touch.partition)
                .or_insert_with(|| Track::new(touch.first))
                .add(position, touch);
        }
        self.published = end;
    }

    pub(crate) fn get(&self, partition: PartitionId) -> Option<&Track> {
        self.tracks.get(&partition)
    }

    pub(crate) fn trim(&mut self, partition: PartitionId, below: Offset) {
        if let Some(track) = self.tracks.get_mut(&partition) {
            track.trim(below);
        }
    }

    pub(crate) fn forget_below(&mut self, position: Position) {
        for track in self.tracks.values_mut() {
            track.forget_below(position);
        }
    }

    pub(crate) fn remove(&mut self, partition: PartitionId) {
        self.tracks.remove(&partition);
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(PartitionId) -> bool) {
        self.tracks.retain(|&partition, _| keep(partition));
    }

    /// The lowest position that any partition still needs.
    pub(crate) fn lowest_needed(&self) -> Option<Position> {
        self.tracks
            .values()
            .filter_map(|track| Some(track.first?.position))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PartitionId = PartitionId(1);

    /// An index of one partition with a batch of one record every `step` bytes.
    fn dense(batches: u64, step: u64) -> Index {
        let mut index = Index::default();
        for number in 0..batches {
            let touch = Touch {
                partition: ONE,
                first: number,
                end: number + 1,
                max_timestamp: 0,
            };
            let position = Position(64 + number * step);
            index.publish(position, Position(position.0 + step), &[touch]);
        }
        index
    }

    #[test]
    fn ten_million_small_messages_take_well_under_a_megabyte() {
        // 10,000,000 records of 200 bytes, in commits of 4 KiB.
        let index = dense(2_000_000_000 / 4096, 4096);
        let track = index.get(ONE).unwrap();
        let bytes = track.rest.capacity() * size_of::<Entry>();
        assert!(bytes < 500_000, "{bytes}");
    }

    #[test]
    fn what_is_looked_for_lies_at_most_a_megabyte_behind_its_entry() {
        let index = dense(300_000, 16 << 10);
        let track = index.get(ONE).unwrap();
        for offset in 0..300_000 {
            let entry = track.entry_for(offset).unwrap();
            assert!(entry.offset <= offset);
            let at = 64 + offset * (16 << 10);
            assert!(at - entry.position.0 <= 1 << 20);
        }
    }

    #[test]
    fn a_partition_with_one_message_takes_under_200_bytes() {
        // Hash tables are at least half full beyond the smallest, with one byte of control.
        assert!((size_of::<(PartitionId, Track)>() + 1) * 2 < 200);
    }

    #[test]
    fn trimming_frees_what_is_behind() {
        let mut index = dense(100_000, 64 << 10);
        let full = index.get(ONE).unwrap().entry_count();
        index.trim(ONE, 90_000);
        let track = index.get(ONE).unwrap();
        assert!(track.entry_count() < full / 4);
        assert!(track.rest.capacity() < full / 2);
        assert!(track.entry_for(90_000).unwrap().offset <= 90_000);
        index.trim(ONE, 1_000_000);
        let track = index.get(ONE).unwrap();
        assert_eq!(
            (track.start, track.end, track.entry_count()),
            (100_000, 100_000, 0)
        );
        assert_eq!(index.lowest_needed(), None);
    }
}
