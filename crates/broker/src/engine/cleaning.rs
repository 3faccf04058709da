//! Cleaning: which runs and segments are mostly dead.
//!
//! A pass looks at every run once, a few partitions at a time, when something was settled or
//! dropped since the last one. Runs of which nothing is wanted go; those of which less than half is
//! wanted, and those in segments of which less than half is needed, are written anew.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forebay_base::{Offset, PartitionId, Timestamp};
use forebay_log::{Run, Space};

use super::Engine;
use crate::promotion::{Plan, Work};

/// Partitions looked at in one turn.
const PARTITIONS_AT_ONCE: usize = 64;
/// Between the beginnings of two passes while the disk is full, milliseconds.
const EAGER_MS: u64 = 1_000;
/// Segments smaller than this are brought together when there are as many as [`FEW`], bytes.
const SMALL: u64 = 4 << 20;
const FEW: usize = 32;
/// What a segment has besides runs is no reason to write it anew, bytes.
const OVERHEAD: u64 = 4 << 10;

#[derive(Default)]
pub(super) struct Cleaning {
    pass: Option<Pass>,
    next: Timestamp,
    /// Something may have died since the last pass began, apart from what was settled.
    due: bool,
    settled: u64,
    /// How much was wanted of runs when they were last written anew, by their first offset: of
    /// those, less than half of that must be left before it is done again.
    wanted: BTreeMap<(PartitionId, Offset), u64>,
}

struct Pass {
    partitions: VecDeque<PartitionId>,
    /// Segments whose runs are all to be written anew.
    sparse: BTreeSet<u64>,
    found: Vec<(PartitionId, Vec<Run>)>,
    /// What must be read and written for them, bytes.
    bytes: u64,
}

impl Cleaning {
    pub(super) fn note(&mut self) {
        self.due = true;
    }
}

impl Engine {
    /// When there is something to look at although nothing arrives.
    pub(super) fn next_cleaning(&self, now: Timestamp) -> Option<Timestamp> {
        if self.cleaning.pass.is_some() {
            return Some(now);
        }
        let due = self.cleaning.due || self.cleaning.settled != self.settled();
        let due = due.then_some(self.cleaning.next);
        let all = [due, self.shard.next_handed()];
        let next = all.into_iter().flatten().min();
        next.filter(|_| self.counters.segments > 0)
    }

    /// Goes on with a pass, or begins one that is due.
    pub(super) fn clean(&mut self, now: Timestamp) {
        let Some(mut pass) = self.cleaning.pass.take().or_else(|| self.begin_pass(now)) else {
            return;
        };
        for _ in 0..PARTITIONS_AT_ONCE {
            if pass.bytes >= self.tuning.clean_bytes {
                break;
            }
            let Some(partition) = pass.partitions.pop_front() else {
                break;
            };
            self.look_at(partition, &mut pass);
        }
        let over = pass.partitions.is_empty();
        if over || pass.bytes >= self.tuning.clean_bytes {
            let found = std::mem::take(&mut pass.found);
            pass.bytes = 0;
            self.write_anew(now, found);
        }
        self.cleaning.pass = (!over).then_some(pass);
    }

    fn begin_pass(&mut self, now: Timestamp) -> Option<Pass> {
        let settled = self.settled();
        let due = self.cleaning.due || self.cleaning.settled != settled;
        if !due || now < self.cleaning.next {
            return None;
        }
        let wait = match self.space {
            Space::Ok => self.tuning.clean_every_ms,
            Space::Low => self.tuning.clean_every_ms.min(EAGER_MS),
        };
        self.cleaning.due = false;
        self.cleaning.settled = settled;
        self.cleaning.next = now.plus_ms(wait);
        let segments = self.reader.segments();
        let needed = segments.iter().filter(|segment| segment.live_bytes > 0);
        let small = needed.clone().filter(|segment| segment.bytes < SMALL);
        let gather = small.count() >= FEW;
        let sparse = needed.filter(|segment| {
            let half = segment.bytes.saturating_sub(OVERHEAD) / 2;
            segment.live_bytes < half || (gather && segment.bytes < SMALL)
        });
        Some(Pass {
            sparse: sparse.map(|segment| segment.number).collect(),
            partitions: self.reader.partitions_with_runs().into(),
            found: Vec::new(),
            bytes: 0,
        })
    }

    fn look_at(&mut self, partition: PartitionId, pass: &mut Pass) {
        let runs = self.reader.runs(partition);
        self.forget_gone(partition, &runs);
        let mut found = Vec::new();
        for run in runs {
            // A partition that is unknown here is about to be forgotten there.
            let Some(wanted) = self.shard.wanted(partition, run.first, run.end) else {
                return;
            };
            let left = wanted.count(run.first, run.end).min(run.records);
            let is_work = wanted.live.is_some();
            let known = match run.cleaned_at {
                0 => run.records,
                _ => *self
                    .cleaning
                    .wanted
                    .get(&(partition, run.first))
                    .unwrap_or(&run.records),
            };
            let mostly_dead = is_work && (left == 0 || left < known.div_ceil(2));
            if mostly_dead || pass.sparse.contains(&run.segment) {
                if left > 0 {
                    pass.bytes += run.bytes + run.shared_bytes;
                }
                found.push(run);
            }
        }
        if !found.is_empty() {
            pass.found.push((partition, found));
        }
    }

    /// Remembers nothing of runs that are not there any more.
    fn forget_gone(&mut self, partition: PartitionId, runs: &[Run]) {
        let known = self
            .cleaning
            .wanted
            .range((partition, 0)..=(partition, Offset::MAX));
        let gone = known.map(|(key, _)| *key).filter(|(_, first)| {
            let at = runs.binary_search_by_key(first, |run| run.first);
            at.is_err()
        });
        for key in gone.collect::<Vec<_>>() {
            self.cleaning.wanted.remove(&key);
        }
    }

    fn write_anew(&mut self, now: Timestamp, found: Vec<(PartitionId, Vec<Run>)>) {
        let mut plan = Plan::default();
        let mut runs = Vec::with_capacity(found.len());
        for (partition, mut these) in found {
            // Some may be gone since they were found.
            let there = self.reader.runs(partition);
            these.retain(|run| there.contains(run));
            if self.shard.is_compacted(partition) {
                // What was compacted and what was not do not become one run.
                let clean = these.first().is_some_and(|run| run.cleaned_at != 0);
                these.retain(|run| (run.cleaned_at != 0) == clean);
            }
            let (Some(first), Some(last)) = (these.first(), these.last()) else {
                continue;
            };
            let Some(wanted) = self.shard.wanted(partition, first.first, last.end) else {
                continue;
            };
            for run in &these {
                let left = wanted.count(run.first, run.end);
                self.cleaning.wanted.insert((partition, run.first), left);
            }
            plan.add(partition, wanted);
            runs.push((partition, these));
        }
        if !runs.is_empty() {
            self.begin_durably(Work::Rewrite {
                runs,
                plan,
                at: now,
            });
        }
    }
}
