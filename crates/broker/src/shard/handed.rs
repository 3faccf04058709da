//! Messages that were settled by being handed out, for as long as whoever got them may still be
//! about to read them.

use std::collections::VecDeque;

use forebay_base::{Offset, OffsetRange, PartitionId, Timestamp};
use hashbrown::HashMap;

/// So long they stay readable, milliseconds.
const READ_MS: u64 = 30_000;
/// What is handed out within so long counts as one, milliseconds.
const TOGETHER_MS: u64 = 1_000;

/// What was handed out lately, by partition, the longest ago first. Neighbours are one.
#[derive(Default)]
pub(super) struct Handed {
    partitions: HashMap<PartitionId, VecDeque<(Timestamp, OffsetRange)>>,
    /// When each of these ends, the first one first.
    ends: VecDeque<(Timestamp, PartitionId)>,
}

impl Handed {
    pub(super) fn note(&mut self, now: Timestamp, partition: PartitionId, ranges: &[OffsetRange]) {
        let known = self.partitions.entry(partition).or_default();
        for range in ranges {
            if let Some((since, last)) = known.back_mut()
                && now.ms_since(*since) < TOGETHER_MS
                && last.end() == range.first
                && let Some(count) = last.count.checked_add(range.count)
            {
                last.count = count;
                continue;
            }
            known.push_back((now, *range));
            let end = now.plus_ms(READ_MS + TOGETHER_MS);
            self.ends.push_back((end, partition));
        }
    }

    /// When [`Handed::forget`] has something to do.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.ends.front().map(|(end, _)| *end)
    }

    /// Forgets what was handed out long enough ago. Says whether there was any.
    pub(super) fn forget(&mut self, now: Timestamp) -> bool {
        let mut any = false;
        while let Some((_, partition)) = self.ends.pop_front_if(|(end, _)| *end <= now) {
            any = true;
            if let Some(known) = self.partitions.get_mut(&partition) {
                known.pop_front();
                if known.is_empty() {
                    self.partitions.remove(&partition);
                }
            }
        }
        any
    }

    /// The lowest offset of a partition that may still be read.
    pub(super) fn low(&self, partition: PartitionId) -> Option<Offset> {
        let known = self.partitions.get(&partition)?;
        known.iter().map(|(_, range)| range.first).min()
    }

    /// Adds to `live`, which is in order and without overlaps, what may still be read from `first`
    /// on and below `end`.
    pub(super) fn add(
        &self,
        partition: PartitionId,
        (first, end): (Offset, Offset),
        live: &mut Vec<OffsetRange>,
    ) {
        let Some(known) = self.partitions.get(&partition) else {
            return;
        };
        let within = known.iter().filter_map(|(_, range)| {
            let (first, end) = (range.first.max(first), range.end().min(end));
            let count = u32::try_from(end.checked_sub(first)?).ok()?;
            (count > 0).then_some(OffsetRange { first, count })
        });
        // Each was settled when it was handed out, so nothing overlaps.
        live.extend(within);
        live.sort_unstable_by_key(|range| range.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: Offset, count: u32) -> OffsetRange {
        OffsetRange { first, count }
    }

    #[test]
    fn what_was_handed_out_lately_is_not_gone_yet() {
        let (one, other) = (PartitionId(1), PartitionId(2));
        let mut handed = Handed::default();
        handed.note(Timestamp(0), one, &[range(5, 2), range(7, 1), range(20, 1)]);
        handed.note(Timestamp(10), other, &[range(1, 1)]);
        handed.note(Timestamp(2_000), one, &[range(2, 1)]);
        let live = |handed: &Handed, within| {
            let mut live = vec![range(10, 5)];
            handed.add(one, within, &mut live);
            live
        };
        let all = [range(2, 1), range(5, 3), range(10, 5), range(20, 1)];
        assert_eq!(live(&handed, (0, 100)), all);
        assert_eq!(live(&handed, (6, 20)), [range(6, 2), range(10, 5)]);
        assert_eq!(handed.low(one), Some(2));
        assert!(!handed.forget(Timestamp(0).plus_ms(READ_MS)));
        assert!(handed.forget(Timestamp(0).plus_ms(READ_MS + TOGETHER_MS)));
        assert_eq!(live(&handed, (0, 100)), [range(2, 1), range(10, 5)]);
        assert_eq!(handed.low(other), Some(1));
        assert!(handed.forget(Timestamp::MAX));
        assert_eq!((handed.low(one), handed.next()), (None, None));
    }
}
