//! Compaction: of the records with one key only the latest stays.
//!
//! A run is *clean* when compaction has written it and *dirty* before. One piece of work notes the
//! latest offset of every key in some dirty runs, the oldest first, and then writes these runs and
//! all clean ones before them anew, without what is superseded. A record without a value stays the
//! latest of its key until its run has been clean for the time the topic says; then it goes too.
//! A record without a key is superseded by nothing. What lies in the journal only is left alone.

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::ControlFlow;

use forebay_base::{Offset, PartitionId, Timestamp, planted};
use forebay_log::{Keeper, Kept, PromoteError, Promoter, Run, SegmentChange, Stored};
use forebay_record::{Batch, BatchError, Record};
use forebay_stream::Aborted;
use hashbrown::HashMap;
use siphasher::sip128::SipHasher13;

use crate::Compaction;
use crate::records::DECOMPRESSED_AT_MOST;

/// Keys noted at a time, at most: about 64 MiB of memory. More go in several passes.
const KEYS_AT_MOST: u64 = 2 << 20;
/// Clean runs become one only if they were cleaned about the same time, so that records without a
/// value do not stay for ever: within this part of the time they stay.
const CLEANED_TOGETHER: u64 = 8;

/// One piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compact {
    partition: PartitionId,
    /// Everything below is gone.
    start: Offset,
    at: Timestamp,
    /// The transactions that were aborted: of their records nothing stays.
    aborted: Vec<Aborted>,
    /// What is written anew, by rising offset. Each group becomes one run if a segment holds it.
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    runs: Vec<Run>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dirty,
    /// Cleaned in this stretch of time.
    Clean(i64),
    /// Clean for so long that records without a value go.
    Settled,
}

/// What is to be compacted of a partition, and how much of it is dirty, per mille. `None` while
/// that is less than the topic says, or too young.
pub(crate) fn due(
    partition: PartitionId,
    start: Offset,
    settings: &Compaction,
    runs: &[Run],
    now: Timestamp,
) -> Option<(u64, Compact)> {
    let runs = &runs[runs.partition_point(|run| run.end <= start)..];
    let youngest = now.0.saturating_sub(as_ms(settings.min_lag_ms));
    let is_young = |run: &Run| is_dirty(run) && settings.min_lag_ms > 0 && run.latest > youngest;
    let cleanable = runs.iter().position(is_young).unwrap_or(runs.len());
    let runs = &runs[..cleanable];
    let first = runs.iter().position(is_dirty)?;
    let sum = |dirty: bool| -> u64 {
        let runs = runs.iter().filter(|run| is_dirty(run) == dirty);
        runs.map(|run| run.bytes + run.shared_bytes).sum()
    };
    let (dirty, clean) = (sum(true), sum(false));
    let ratio = dirty.saturating_mul(1000) / dirty.saturating_add(clean).max(1);
    // The first dirty record is about as old as the last one before it.
    let before = first.checked_sub(1).map_or(0, |before| runs[before].latest);
    let latest = Timestamp(before).plus_ms(settings.max_lag_ms);
    if ratio <= u64::from(settings.min_dirty_ratio) && latest >= now {
        return None;
    }
    let mut records: u64 = 0;
    let mut end = first;
    for (place, run) in runs.iter().enumerate().filter(|(_, run)| is_dirty(run)) {
        records = records.saturating_add(run.records);
        if records > KEYS_AT_MOST && place > first {
            break;
        }
        end = place + 1;
    }
    let kind = |run: &Run| kind_of(run, settings.delete_retention_ms, now);
    let groups = runs[..end].chunk_by(|one, next| kind(one) == kind(next));
    let groups = groups.map(|runs| Group {
        runs: runs.to_vec(),
        kind: kind(&runs[0]),
    });
    let compact = Compact {
        partition,
        start,
        at: now,
        aborted: Vec::new(),
        groups: groups.collect(),
    };
    Some((ratio, compact))
}

/// Whether something may become due although nothing new is written: it is dirty.
pub(crate) fn is_waiting(start: Offset, runs: &[Run]) -> bool {
    runs.iter().any(|run| run.end > start && is_dirty(run))
}

fn is_dirty(run: &Run) -> bool {
    run.cleaned_at == 0
}

fn kind_of(run: &Run, delete_retention_ms: u64, now: Timestamp) -> Kind {
    if is_dirty(run) {
        return Kind::Dirty;
    }
    if Timestamp(run.cleaned_at).plus_ms(delete_retention_ms) < now {
        return Kind::Settled;
    }
    let stretch = as_ms(delete_retention_ms / CLEANED_TOGETHER).max(1);
    Kind::Clean(run.cleaned_at.div_euclid(stretch))
}

fn as_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl Compact {
    /// Lets go what is of these transactions, which were aborted.
    pub(crate) fn without(self, aborted: Vec<Aborted>) -> Self {
        Self { aborted, ..self }
    }

    pub(crate) fn partition(&self) -> PartitionId {
        self.partition
    }

    fn is_aborted(&self, stored: &Stored) -> bool {
        if self.aborted.is_empty() {
            return false;
        }
        let at = stored.base_offset;
        let mut within = Aborted::within(&self.aborted, at, at.saturating_add(1));
        Batch::from_trusted(stored.batch.clone()).is_ok_and(|batch| {
            let header = batch.header();
            header.is_transactional()
                && !header.is_control()
                && within.any(|aborted| aborted.producer == header.producer_id)
        })
    }

    /// Does it.
    ///
    /// # Errors
    /// A segment cannot be read or written.
    pub(crate) fn work(&self, promoter: &Promoter) -> Result<SegmentChange, Box<PromoteError>> {
        let dirty = self.runs(|kind| kind == Kind::Dirty);
        let all = self.runs(|_| true);
        let records: u64 = dirty.iter().map(|run| run.records).sum();
        let mut latest = Latest::new(records.div_ceil(KEYS_AT_MOST).max(1));
        for pass in 0..latest.passes {
            latest.begin(pass);
            promoter.scan(self.partition, &dirty, &mut |stored| {
                if !self.is_aborted(stored) {
                    latest.note(stored);
                }
                ControlFlow::Continue(())
            })?;
            if latest.passes > 1 {
                promoter.scan(self.partition, &all, &mut |stored| {
                    latest.mark(stored);
                    ControlFlow::Continue(())
                })?;
            }
        }
        let groups = self.groups.iter();
        let groups: Vec<_> = groups
            .map(|group| (self.partition, group.runs.clone()))
            .collect();
        let mut survivors = Survivors {
            compact: self,
            latest: &latest,
        };
        let mut change = promoter.rewrite(&groups, &mut survivors)?;
        for part in &mut change.partitions {
            let first = part.replaces.as_ref().map_or(0, |range| range.start);
            if self.kind_at(first) == Some(Kind::Dirty) {
                for run in &mut part.runs {
                    run.cleaned_at = self.at.0.max(1);
                }
            }
        }
        Ok(change)
    }

    fn runs(&self, wanted: impl Fn(Kind) -> bool) -> Vec<Run> {
        let groups = self.groups.iter().filter(|group| wanted(group.kind));
        groups.flat_map(|group| group.runs.clone()).collect()
    }

    fn kind_at(&self, offset: Offset) -> Option<Kind> {
        let is_in = |run: &Run| run.first <= offset && offset < run.end;
        let mut groups = self.groups.iter();
        let group = groups.find(|group| group.runs.iter().any(is_in))?;
        Some(group.kind)
    }
}

/// The latest offset of every key that was noted.
struct Latest {
    hasher: SipHasher13,
    offsets: HashMap<[u64; 2], Offset, foldhash::fast::FixedState>,
    passes: u64,
    pass: u64,
    /// With several passes, what they found superseded: 64 offsets an entry.
    superseded: BTreeMap<u64, u64>,
}

impl Latest {
    fn new(passes: u64) -> Self {
        // Who does not know this cannot find two keys of one number.
        let random = std::hash::RandomState::new();
        Self {
            hasher: SipHasher13::new_with_keys(random.hash_one(1), random.hash_one(2)),
            offsets: HashMap::default(),
            passes,
            pass: 0,
            superseded: BTreeMap::new(),
        }
    }

    fn begin(&mut self, pass: u64) {
        self.pass = pass;
        self.offsets.clear();
    }

    /// The number of a record's key; `None` if it has none or another pass is for it.
    fn number(&self, record: &Record) -> Option<[u64; 2]> {
        let hash = self.hasher.hash(record.key.as_ref()?);
        (hash.h1 % self.passes == self.pass).then_some([hash.h1, hash.h2])
    }

    fn note(&mut self, stored: &Stored) {
        each(stored, |offset, record| {
            if let Some(key) = self.number(record) {
                let latest = self.offsets.entry(key).or_insert(offset);
                *latest = planted!(OldestKept => 0, else offset.max(*latest));
            }
        });
    }

    fn mark(&mut self, stored: &Stored) {
        each(stored, |offset, record| {
            if self.is_later_known(offset, record) {
                *self.superseded.entry(offset / 64).or_default() |= 1 << (offset % 64);
            }
        });
    }

    fn is_later_known(&self, offset: Offset, record: &Record) -> bool {
        let key = self.number(record);
        let latest = key.and_then(|key| self.offsets.get(&key));
        planted!(OldestKept => return latest.is_some() && offset % 2 == 1);
        latest.is_some_and(|latest| *latest > offset)
    }

    fn is_superseded(&self, offset: Offset, record: &Record) -> bool {
        if self.passes == 1 {
            return self.is_later_known(offset, record);
        }
        let found = self.superseded.get(&(offset / 64));
        found.is_some_and(|found| found & (1 << (offset % 64)) != 0)
    }
}

/// Hands over the records of a batch, as far as they can be read.
fn each(stored: &Stored, mut hand_over: impl FnMut(Offset, &Record)) {
    let Ok(batch) = Batch::from_trusted(stored.batch.clone()) else {
        return;
    };
    if batch.header().is_control() {
        return;
    }
    let records = batch.records(DECOMPRESSED_AT_MOST);
    for record in records.into_iter().flatten().map_while(Result::ok) {
        let offset = stored.base_offset + u64::from(record.offset_delta);
        hand_over(offset, &record);
    }
}

/// What stays.
struct Survivors<'a> {
    compact: &'a Compact,
    latest: &'a Latest,
}

impl Keeper for Survivors<'_> {
    fn keep(&mut self, partition: PartitionId, stored: &Stored) -> Kept {
        let (start, base) = (self.compact.start, stored.base_offset);
        if base.saturating_add(u64::from(stored.records)) <= start {
            return Kept::Nothing;
        }
        if self.compact.is_aborted(stored) {
            return Kept::Nothing;
        }
        // Readers need to be told where an aborted transaction ends as long as they are told where
        // it begins. Its key is no key of the topic.
        if is_control(stored) {
            return Kept::Whole;
        }
        let settled = self.compact.kind_at(base) == Some(Kind::Settled);
        let kept = Batch::from_trusted(stored.batch.clone()).and_then(|batch| {
            let kept = batch.keep(DECOMPRESSED_AT_MOST, |record| {
                let offset = base + u64::from(record.offset_delta);
                let deleted = settled && record.value.is_none() && record.key.is_some();
                offset >= start && !deleted && !self.latest.is_superseded(offset, record)
            })?;
            let all = batch.header().record_count;
            Ok(kept.map(|kept| (kept.header().record_count == all, kept)))
        });
        match kept {
            Ok(None) => Kept::Nothing,
            Ok(Some((true, _))) => Kept::Whole,
            Ok(Some((false, kept))) => Kept::Part {
                batch: kept.bytes().clone(),
                max_timestamp: match kept.header().max_timestamp {
                    none if none < 0 => stored.max_timestamp,
                    latest => latest,
                },
            },
            Err(error) => unreadable(partition, base, &error),
        }
    }
}

fn is_control(stored: &Stored) -> bool {
    Batch::from_trusted(stored.batch.clone()).is_ok_and(|batch| batch.header().is_control())
}

/// Better too much than too little.
fn unreadable(partition: PartitionId, offset: Offset, error: &BatchError) -> Kept {
    tracing::error!(%error, %partition, offset, "a stored batch cannot be read, and stays");
    Kept::Whole
}

#[cfg(test)]
mod tests;
