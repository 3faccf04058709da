//! Which partition is compacted next.

use forebay_base::Timestamp;
use forebay_log::Space;

use super::Engine;
use crate::compaction;
use crate::promotion::Work;

/// When to look again.
#[derive(Default)]
pub(super) struct Compacting {
    /// Something may be due, now or when time has passed.
    waiting: bool,
    next: Timestamp,
}

impl Compacting {
    /// Runs, or what topics want, have changed.
    pub(super) fn note(&mut self) {
        self.waiting = true;
    }
}

impl Engine {
    /// When something may be due although nothing arrives.
    pub(super) fn next_compaction(&self) -> Option<Timestamp> {
        let due = self.compacting.waiting && self.space == Space::Ok;
        due.then_some(self.compacting.next)
    }

    /// Begins to compact the partition of which most is dirty, if one is due.
    pub(super) fn compact(&mut self, now: Timestamp) -> bool {
        // It needs room for a second copy, which a full disk does not have.
        let look = self.compacting.waiting && self.space == Space::Ok;
        if !look || now < self.compacting.next {
            return false;
        }
        let mut waiting = false;
        let mut dirtiest = None;
        for (partition, start, settings) in self.shard.compacted() {
            let mut runs = self.reader.runs(partition);
            waiting |= compaction::is_waiting(start, &runs);
            // What a transaction may still take back supersedes nothing.
            let decided = self.shard.decided_end(partition);
            runs.retain(|run| run.end <= decided);
            let due = compaction::due(partition, start, &settings, &runs, now);
            let Some((ratio, compact)) = due else {
                continue;
            };
            // Of equals the first, whatever order they come in.
            let rank = (ratio, std::cmp::Reverse(partition));
            if dirtiest.as_ref().is_none_or(|(most, _)| rank > *most) {
                dirtiest = Some((rank, compact));
            }
        }
        self.compacting.waiting = waiting;
        let Some((_, compact)) = dirtiest else {
            self.compacting.next = now.plus_ms(self.tuning.compact_every_ms);
            return false;
        };
        let aborted = self.shard.aborted(compact.partition());
        self.begin_durably(Work::Compact(compact.without(aborted)));
        true
    }
}
