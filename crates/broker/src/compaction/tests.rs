use std::collections::BTreeMap;

use bytes::Bytes;
use forebay_record::{BatchBuilder, Compression};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ONE: PartitionId = PartitionId(1);
const DAY: u64 = 24 * 60 * 60 * 1000;

fn run(first: Offset, end: Offset, latest: i64, cleaned_at: i64) -> Run {
    Run {
        segment: 1,
        first,
        end,
        at: 64,
        bytes: (end - first) * 100,
        shared_bytes: 0,
        index_at: 0,
        blocks: 1,
        records: end - first,
        latest,
        cleaned_at,
    }
}

/// A key, and whether it has a value.
type Plain = (Option<u8>, bool);

fn stored(base_offset: Offset, records: &[Plain], compression: Compression) -> Stored {
    let mut batch = BatchBuilder::new(1_000).compression(compression);
    for (key, value) in records {
        let key = key.map(|key| vec![key; 20]);
        let value = value.then_some(b"value".as_slice());
        batch
            .push(1_000, key.as_deref(), value, std::iter::empty())
            .unwrap();
    }
    Stored {
        base_offset,
        records: u32::try_from(records.len()).unwrap(),
        max_timestamp: 1_000,
        batch: batch.finish().bytes().clone(),
    }
}

/// The offsets that are left of a batch.
fn left(stored: &Stored, kept: Kept) -> Vec<Offset> {
    let batch: Bytes = match kept {
        Kept::Whole => stored.batch.clone(),
        Kept::Nothing => return Vec::new(),
        Kept::Part { batch, .. } => batch,
    };
    let batch = Batch::from_trusted(batch).unwrap();
    assert_eq!(batch.offset_count(), stored.records, "the range stays");
    let records = batch.records(DECOMPRESSED_AT_MOST).unwrap();
    records
        .map(|record| stored.base_offset + u64::from(record.unwrap().offset_delta))
        .collect()
}

fn batches() -> impl Strategy<Value = Vec<(Vec<Plain>, bool)>> {
    let record = (
        prop::option::weighted(0.9, 0..12u8),
        prop::bool::weighted(0.8),
    );
    vec((vec(record, 1..6), any::<bool>()), 1..20)
}

proptest! {
    /// Of every key the latest record stays, unless it is a deletion in a run that has been clean
    /// long enough; nothing else goes.
    #[test]
    fn the_latest_of_each_key_stays(
        batches in batches(),
        clean in 0..20_usize,
        settled: bool,
        start in 0..10_u64,
        passes in 1..4_u64,
    ) {
        let mut next = 0;
        let mut all = Vec::new();
        let mut plain = Vec::new();
        for (records, compressed) in &batches {
            let codec = if *compressed { Compression::Lz4 } else { Compression::None };
            all.push(stored(next, records, codec));
            next += records.len() as u64;
            plain.extend(records.iter().copied());
        }
        let clean = clean.min(all.len());
        let dirty_from = all.get(clean).map_or(next, |stored| stored.base_offset);
        let clean_kind = if settled { Kind::Settled } else { Kind::Clean(7) };
        let group = |first, end, kind| Group { runs: vec![run(first, end, 0, 0)], kind };
        let compact = Compact {
            aborted: Vec::new(),
            partition: ONE,
            start,
            at: Timestamp(0),
            groups: vec![group(0, dirty_from, clean_kind), group(dirty_from, next, Kind::Dirty)],
        };
        let mut latest = Latest::new(passes);
        for pass in 0..passes {
            latest.begin(pass);
            all[clean..].iter().for_each(|stored| latest.note(stored));
            if passes > 1 {
                all.iter().for_each(|stored| latest.mark(stored));
            }
        }
        let mut survivors = Survivors { compact: &compact, latest: &latest };
        let found: Vec<Offset> = all
            .iter()
            .flat_map(|stored| left(stored, survivors.keep(ONE, stored)))
            .collect();

        let mut last = BTreeMap::new();
        for (offset, (key, _)) in (0..next).zip(&plain) {
            if offset >= dirty_from && let Some(key) = key {
                last.insert(*key, offset);
            }
        }
        let wanted: Vec<Offset> = (0..next)
            .zip(&plain)
            .filter(|(offset, (key, value))| {
                let superseded = key.is_some_and(|key| last.get(&key).is_some_and(|l| l > offset));
                let gone = settled && key.is_some() && !value && *offset < dirty_from;
                *offset >= start && !superseded && !gone
            })
            .map(|(offset, _)| offset)
            .collect();
        prop_assert_eq!(found, wanted);
    }
}

fn groups(due: Option<(u64, Compact)>) -> Vec<(Offset, Offset, Kind)> {
    let (_, compact) = due.unwrap();
    let groups = compact.groups.iter();
    groups
        .map(|group| {
            let (first, last) = (&group.runs[0], &group.runs[group.runs.len() - 1]);
            (first.first, last.end, group.kind)
        })
        .collect()
}

#[test]
fn it_is_due_when_more_than_the_share_is_dirty() {
    let now = Timestamp(10_000);
    let settings = Compaction::default();
    let clean = run(0, 100, 10, 9_000);
    let look = |dirty| due(ONE, 0, &settings, &[clean, dirty], now);
    assert_eq!(look(run(100, 200, 20, 0)), None);
    let (ratio, _) = look(run(100, 202, 20, 0)).unwrap();
    assert_eq!(ratio, 504);
    assert_eq!(due(ONE, 0, &settings, &[clean], now), None);
    assert_eq!(due(ONE, 0, &settings, &[], now), None);
    // What is gone does not count.
    let little = run(100, 110, 20, 0);
    assert_eq!(look(little), None);
    assert!(due(ONE, 100, &settings, &[clean, little], now).is_some());
}

#[test]
fn it_is_due_when_something_dirty_is_old_whatever_the_share() {
    let settings = Compaction {
        max_lag_ms: 1_000,
        ..Compaction::default()
    };
    let runs = [run(0, 100, 5_000, 4_000), run(100, 101, 5_500, 0)];
    assert_eq!(due(ONE, 0, &settings, &runs, Timestamp(6_000)), None);
    assert!(due(ONE, 0, &settings, &runs, Timestamp(6_001)).is_some());
}

#[test]
fn what_is_young_is_left_alone_with_all_that_follows() {
    let settings = Compaction {
        min_lag_ms: 1_000,
        ..Compaction::default()
    };
    let runs = [
        run(0, 10, 100, 0),
        run(10, 20, 5_000, 0),
        run(20, 30, 200, 0),
    ];
    let at = |now| due(ONE, 0, &settings, &runs, Timestamp(now));
    assert_eq!(at(1_000), None);
    assert_eq!(groups(at(5_999)), [(0, 10, Kind::Dirty)]);
    assert_eq!(groups(at(6_000)), [(0, 30, Kind::Dirty)]);
    assert!(is_waiting(0, &runs));
    assert!(!is_waiting(30, &runs));
    assert!(!is_waiting(0, &[run(0, 10, 100, 1)]));
}

#[test]
fn clean_runs_become_one_with_those_of_their_time() {
    let now = Timestamp(as_ms(DAY) * 10);
    let ago = |ms: u64| now.0 - as_ms(ms);
    let runs = [
        run(0, 1, 0, ago(DAY * 3)),
        run(1, 2, 0, ago(DAY + 1)),
        run(2, 3, 0, ago(DAY)),
        run(3, 4, 0, ago(DAY - 1)),
        run(4, 5, 0, ago(2)),
        run(5, 6, 0, ago(1)),
        run(6, 20, 0, 0),
        run(20, 30, 0, 0),
    ];
    let found = groups(due(ONE, 0, &Compaction::default(), &runs, now));
    let ranges: Vec<_> = found.iter().map(|(first, end, _)| (*first, *end)).collect();
    assert_eq!(ranges, [(0, 2), (2, 4), (4, 6), (6, 30)]);
    assert_eq!(found[0].2, Kind::Settled);
    assert_eq!(found[3].2, Kind::Dirty);
}

#[test]
fn no_more_is_taken_than_keys_can_be_noted_but_one_run_at_least() {
    let huge = |first: Offset| {
        let mut run = run(first, first + 10, 0, 0);
        run.records = KEYS_AT_MOST;
        run
    };
    let runs = [huge(0), huge(10), huge(20)];
    let found = groups(due(ONE, 0, &Compaction::default(), &runs, Timestamp(1)));
    assert_eq!(found, [(0, 10, Kind::Dirty)]);
}

#[test]
fn what_was_aborted_supersedes_nothing_and_goes() {
    let of = |base_offset, producer, batch: BatchBuilder| {
        let mut batch = batch.producer(producer, 0, 0).transactional();
        batch
            .push(1_000, Some(b"key"), Some(b"value"), std::iter::empty())
            .unwrap();
        Stored {
            base_offset,
            records: 1,
            max_timestamp: 1_000,
            batch: batch.finish().bytes().clone(),
        }
    };
    let all = [
        of(0, 7, BatchBuilder::new(1_000)),
        of(1, 8, BatchBuilder::new(1_000)),
        of(2, 8, BatchBuilder::new(1_000).control()),
        of(3, 7, BatchBuilder::new(1_000)),
    ];
    let aborted = Aborted {
        producer: 8,
        first: 1,
        last: 2,
        stable: 3,
    };
    let settings = Compaction::default();
    let runs = [run(0, 4, 0, 0)];
    let found = due(ONE, 0, &settings, &runs, Timestamp(1));
    let compact = found.unwrap().1.without(vec![aborted]);
    let mut latest = Latest::new(1);
    latest.begin(0);
    let counted = all.iter().filter(|stored| !compact.is_aborted(stored));
    counted.for_each(|stored| latest.note(stored));
    let mut survivors = Survivors {
        compact: &compact,
        latest: &latest,
    };
    let kept = all.iter().map(|stored| survivors.keep(ONE, stored));
    let kept: Vec<_> = kept.map(|kept| !matches!(kept, Kept::Nothing)).collect();
    let expected = [false, false, true, true];
    assert_eq!(kept, expected, "the latest record, and the marker");
}
