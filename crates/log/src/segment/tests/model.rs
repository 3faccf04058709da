//! Against a list of batches, the simplest store there is.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;

use super::*;

/// A batch as it is drawn: the gap before it, its records, its payload's length, its timestamp
/// and, for some, which of a few shared payloads it has.
type Drawn = (u64, u32, usize, i64, Option<u8>);

fn drawn() -> impl Strategy<Value = Vec<Drawn>> {
    let batch = (
        prop_oneof![3 => Just(0u64), 1 => 1..20u64],
        1..5u32,
        prop_oneof![8 => 0..60usize, 1 => 100..900usize],
        prop_oneof![2 => 0..6i64, 1 => -5..50i64],
        prop::option::weighted(0.3, 0..4u8),
    );
    prop::collection::vec(batch, 0..40)
}

fn options() -> impl Strategy<Value = SegmentOptions> {
    (
        200..6000u64,
        100..2000usize,
        50..3000usize,
        500..20_000usize,
    )
        .prop_map(
            |(target_bytes, block_bytes, part_bytes, cache_bytes)| SegmentOptions {
                target_bytes,
                block_bytes,
                part_bytes,
                cache_bytes,
            },
        )
}

fn wanted(drawn: &[(u64, Vec<Drawn>)]) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    let mut partition = 0;
    for (index, (first, batches)) in drawn.iter().enumerate() {
        partition += 1 + index as u64 % 3;
        let mut next = *first;
        let batches: Vec<Given> = batches
            .iter()
            .enumerate()
            .map(|(number, &(gap, records, length, timestamp, shared))| {
                let base = next + gap;
                next = base + u64::from(records);
                match shared {
                    Some(shared) => {
                        let payload = vec![0xa0 + shared; 30 + usize::from(shared) * 100];
                        let at = u64::from(shared);
                        let origin = Origin { source: 7, at };
                        (batch(base, records, timestamp, &payload), Some(origin))
                    }
                    None => {
                        let payload = vec![(partition as usize + number) as u8; length];
                        (batch(base, records, timestamp, &payload), None)
                    }
                }
            })
            .collect();
        wanted.push(Wanted {
            partition: PartitionId(partition),
            first: *first,
            end: next + 3,
            batches,
        });
    }
    wanted
}

fn plain(batches: &[Given]) -> Vec<Stored> {
    batches.iter().map(|(batch, _)| batch.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_read_from_any_offset_is_what_was_written(
        drawn in prop::collection::vec((0..100u64, drawn()), 1..8),
        options in options(),
        at_a_time in 1..30usize,
    ) {
        let wanted = wanted(&drawn);
        let objects = objects(&SimDisk::new());
        let written = write(&objects, &options, &wanted).unwrap();
        let reader = SegmentReader::new(objects.clone(), &options);
        let runs: BTreeMap<_, _> = written.runs.iter().cloned().collect();
        prop_assert_eq!(runs.len(), written.runs.len());

        for new in &written.segments {
            prop_assert_eq!(objects.size(new.number).unwrap(), new.bytes);
        }
        for want in &wanted {
            let expected = plain(&want.batches);
            let Some(runs) = runs.get(&want.partition) else {
                prop_assert!(expected.is_empty());
                continue;
            };
            // The runs together speak for all that was asked, without overlaps.
            prop_assert_eq!(runs[0].first, want.first);
            prop_assert_eq!(runs[runs.len() - 1].end, want.end);
            prop_assert!(runs.windows(2).all(|two| two[0].end == two[1].first));
            prop_assert!(runs.iter().all(|run| run.blocks > 0 && run.bytes > 0));
            let records: u64 = expected.iter().map(|batch| u64::from(batch.records)).sum();
            prop_assert_eq!(runs.iter().map(|run| run.records).sum::<u64>(), records);
            let latest = expected.iter().map(|batch| batch.max_timestamp).max();
            prop_assert_eq!(runs.iter().map(|run| run.latest).max(), latest);

            for offset in [0, want.first].into_iter().chain(want.first..want.end + 2) {
                let from = expected
                    .iter()
                    .position(|batch| batch.base_offset + u64::from(batch.records) > offset)
                    .unwrap_or(expected.len());
                let found = read(&reader, want.partition, runs, offset, at_a_time).unwrap();
                prop_assert_eq!(&found, &expected[from..]);
            }
        }
    }

    #[test]
    fn a_place_of_another_time_costs_nothing_but_time(
        drawn in drawn(),
        options in options(),
        offsets in prop::collection::vec((0..400u64, any::<bool>()), 1..30),
    ) {
        let wanted = wanted(&[(10, drawn)]);
        let objects = objects(&SimDisk::new());
        let written = write(&objects, &options, &wanted).unwrap();
        let reader = SegmentReader::new(objects, &options);
        let Some((partition, runs)) = written.runs.first() else {
            return Ok(());
        };
        let mut place = None;
        for (offset, accept) in offsets {
            for run in runs {
                let expected = wanted[0]
                    .batches
                    .iter()
                    .map(|(batch, _)| batch)
                    .find(|batch| {
                        let end = batch.base_offset + u64::from(batch.records);
                        end > offset && batch.base_offset >= run.first && end <= run.end
                    });
                let mut walk = reader.walk(*partition, run, place, Source::Disk);
                let found = walk.find(offset).unwrap();
                let expected = expected.cloned().map_or(RunFound::End, RunFound::Batch);
                prop_assert_eq!(&found, &expected);
                // Found again, and now without the disk unless the cache is too small for it.
                let mut again = reader.walk(*partition, run, Some(walk.place()), Source::CacheOnly);
                let again = again.find(offset).unwrap();
                prop_assert!(again == expected || again == RunFound::NeedsDisk);
                if accept {
                    walk.accept();
                }
                place = Some(walk.place());
            }
        }
    }

    #[test]
    fn times_are_found_and_scans_see_all(
        drawn in drawn(),
        options in options(),
        timestamp in prop_oneof![3 => -1..7i64, 1 => -6..51i64],
        from in prop_oneof![Just(0u64), 0..200u64],
    ) {
        let wanted = wanted(&[(10, drawn)]);
        let objects = objects(&SimDisk::new());
        let written = write(&objects, &options, &wanted).unwrap();
        let reader = SegmentReader::new(objects, &options);
        let expected = plain(&wanted[0].batches);
        let mut scanned = Vec::new();
        for (partition, runs) in &written.runs {
            let mut found = None;
            for run in runs {
                let mut each = |batch, _| {
                    scanned.push(batch);
                    ControlFlow::Continue(())
                };
                reader.scan(*partition, run, &mut each).unwrap();
                found = found.or(reader.offset_for_time(*partition, run, timestamp, from).unwrap());
            }
            let first = expected.iter().find(|batch| {
                let end = batch.base_offset + u64::from(batch.records);
                batch.max_timestamp >= timestamp && end > from
            });
            prop_assert_eq!(found, first.map(|batch| (batch.base_offset, batch.max_timestamp)));
        }
        prop_assert_eq!(scanned, expected);
    }
}

#[test]
fn reading_ahead_leaves_nothing_to_wait_for() {
    let options = SegmentOptions {
        block_bytes: 1 << 10,
        ..SegmentOptions::default()
    };
    let batches = (0..2000).map(|base| (batch(base, 1, 0, &[7; 400]), None));
    let wanted = Wanted {
        partition: PartitionId(1),
        first: 0,
        end: 2000,
        batches: batches.collect(),
    };
    let objects = objects(&SimDisk::new());
    let written = write(&objects, &options, &[wanted]).unwrap();
    let (partition, runs) = &written.runs[0];
    let reader = SegmentReader::new(objects, &options);
    let mut walk = reader.walk(*partition, &runs[0], None, Source::Disk);
    assert!(matches!(walk.find(0).unwrap(), RunFound::Batch(_)));
    walk.accept();
    let mut place = walk.place();
    let mut next = 1;
    while next < 2000 {
        let all = reader.load_ahead(&runs[0], &place).unwrap();
        let mut walk = reader.walk(*partition, &runs[0], Some(place), Source::CacheOnly);
        let before = next;
        while next < 2000 {
            match walk.find(next).unwrap() {
                RunFound::Batch(batch) => next = batch.base_offset + 1,
                RunFound::NeedsDisk => break,
                RunFound::End => panic!("there are more"),
            }
            walk.accept();
        }
        assert!(
            next >= before + 100 && (!all || next == 2000),
            "{before} {next}"
        );
        place = walk.place();
    }
}

#[test]
fn a_hundred_thousand_partitions_share_a_segment() {
    let objects = objects(&SimDisk::new());
    let options = SegmentOptions::default();
    let mut writer = SegmentWriter::new(objects.clone(), 5, &options);
    for partition in 0..100_000 {
        writer.begin(PartitionId(partition), 3, 0);
        writer.push(&batch(4, 1, 1, b"one"), None).unwrap();
        writer.end(9).unwrap();
    }
    let written = writer.finish().unwrap();
    assert_eq!(written.segments.len(), 1);
    assert_eq!(written.segments[0].number, 5);
    assert_eq!(written.runs.len(), 100_000);
    let reader = SegmentReader::new(objects, &options);
    for partition in [0, 1, 55_555, 99_999] {
        let (id, runs) = &written.runs[partition];
        let found = read(&reader, *id, runs, 0, 1).unwrap();
        assert_eq!(found, [batch(4, 1, 1, b"one")]);
    }
}
