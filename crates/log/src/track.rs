//! What the index knows of one partition's part of the journal.

use std::collections::VecDeque;

use forebay_base::Offset;

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
    /// Bytes of all batches that the partition ever had before `offset`.
    pub(crate) bytes_before: u64,
}

/// What is known of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) latest: i64,
    /// Bytes of all batches the partition ever had.
    pub(crate) bytes: u64,
    /// The last commit with a batch of the partition.
    pub(crate) last: Position,
    /// Inline, because most partitions of a large broker have one entry or none.
    first: Option<Entry>,
    rest: Option<Box<Rest>>,
}

/// Apart, because it would be empty in most tracks.
type Rest = VecDeque<Entry>;

impl Track {
    pub(crate) fn new(start: Offset) -> Self {
        Self {
            start,
            end: start,
            latest: i64::MIN,
            bytes: 0,
            last: Position(0),
            first: None,
            rest: None,
        }
    }

    pub(crate) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.first
            .iter()
            .chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    pub(crate) fn entry_count(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    /// The lowest place in the journal that the partition is needed from.
    pub(crate) fn needed(&self) -> Option<Position> {
        self.first.map(|first| first.position)
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
        let Some(rest) = &self.rest else {
            return self.first.as_ref();
        };
        match rest.partition_point(&mut is) {
            0 => self.first.as_ref(),
            count => rest.get(count - 1),
        }
    }

    pub(crate) fn add(&mut self, position: Position, touch: &Touch) {
        if touch.end <= self.end {
            return;
        }
        let rest = self.rest.as_ref();
        let spacing = SPACING << (rest.map_or(0, |rest| rest.len()) / ENTRIES_PER_DOUBLING).min(4);
        let last = rest.and_then(|rest| rest.back()).or(self.first.as_ref());
        if last.is_none_or(|last| position.0.saturating_sub(last.position.0) >= spacing) {
            self.push(Entry {
                offset: touch.first,
                position,
                latest_before: self.latest,
                bytes_before: self.bytes,
            });
        }
        self.end = touch.end;
        self.latest = self.latest.max(touch.max_timestamp);
        self.bytes = self.bytes.saturating_add(touch.bytes);
        self.last = position;
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        if self.first.is_none() {
            self.first = Some(entry);
            return;
        }
        let rest = self.rest.get_or_insert_default();
        if rest.len() == rest.capacity() {
            // A quarter more, not twice as much: the index of a deep backlog stays small.
            rest.reserve_exact((rest.len() / 4).max(2));
        }
        rest.push_back(entry);
    }

    /// The journal holds nothing below the commit at `position` any more, or nothing that is
    /// needed: what is looked for is looked for from there on.
    pub(crate) fn clamp_below(&mut self, position: Position) {
        let Some(first) = self.first.filter(|first| first.position < position) else {
            return;
        };
        if self.last < position {
            self.clear();
            return;
        }
        let mut rest = self.rest.take().unwrap_or_default();
        let below = rest.partition_point(|entry| entry.position < position);
        let last = rest.drain(..below).next_back().unwrap_or(first);
        self.first = match rest.front() {
            Some(next) if next.position == position => rest.pop_front(),
            _ => Some(Entry { position, ..last }),
        };
        self.put_rest(rest);
    }

    /// Forgets what only leads to offsets below `offset`.
    pub(crate) fn need_from(&mut self, offset: Offset) {
        if offset >= self.end {
            self.clear();
            return;
        }
        let Some(mut rest) = self.rest.take() else {
            return;
        };
        let dead = rest.partition_point(|entry| entry.offset <= offset);
        if let Some(last) = rest.drain(..dead).next_back() {
            self.first = Some(last);
        }
        self.put_rest(rest);
    }

    /// The journal is all there is: nothing lies below its first entry.
    pub(crate) fn raise_start(&mut self) {
        let held = self.first.map_or(self.end, |first| first.offset);
        self.start = self.start.max(held);
    }

    fn clear(&mut self) {
        self.first = None;
        self.rest = None;
    }

    fn put_rest(&mut self, mut rest: Box<Rest>) {
        if rest.is_empty() {
            self.rest = None;
            return;
        }
        if rest.capacity() > 16 + rest.len() * 4 {
            rest.shrink_to(rest.len() * 2);
        }
        self.rest = Some(rest);
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.capacity())
    }
}
