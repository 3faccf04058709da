//! Payloads that go to many partitions are stored once.

use std::ops::ControlFlow;

use super::*;

const MANY: u64 = 50;

fn fanout(origin: impl Fn(u64) -> Option<Origin>) -> Vec<Wanted> {
    let payload = |number: u64| vec![number as u8; 2000 + number as usize];
    (1..=MANY)
        .map(|partition| Wanted {
            partition: PartitionId(partition),
            first: 0,
            end: 20,
            batches: (0..20)
                .map(|number| (batch(number, 1, 0, &payload(number)), origin(number)))
                .collect(),
        })
        .collect()
}

fn named(number: u64) -> Option<Origin> {
    let at = number * 100;
    Some(Origin { source: 1, at })
}

#[test]
fn a_payload_for_many_takes_the_room_of_one() {
    let options = SegmentOptions::default();
    let (plain, shared) = (objects(&SimDisk::new()), objects(&SimDisk::new()));
    let alone = write(&plain, &options, &fanout(|_| None)).unwrap();
    let once = write(&shared, &options, &fanout(named)).unwrap();
    assert!(alone.segments[0].bytes > 2000 * 20 * MANY);
    assert!(once.segments[0].bytes < 2100 * 20 + MANY * 20 * 50);

    let reader = SegmentReader::new(shared, &options);
    for (want, (partition, runs)) in fanout(named).iter().zip(&once.runs) {
        let expected: Vec<_> = want
            .batches
            .iter()
            .map(|(batch, _)| batch.clone())
            .collect();
        for offset in [0, 1, 13, 19] {
            let found = read(&reader, *partition, runs, offset, 3).unwrap();
            assert_eq!(found, expected[offset as usize..]);
        }
        let payload: u64 = expected.iter().map(|batch| batch.batch.len() as u64).sum();
        let elsewhere = if *partition == PartitionId(1) {
            0
        } else {
            payload
        };
        assert_eq!(runs[0].shared_bytes, elsewhere);
    }
}

#[test]
fn every_segment_has_what_it_refers_to() {
    let options = SegmentOptions {
        target_bytes: 60_000,
        ..SegmentOptions::default()
    };
    let disk = SimDisk::new();
    let objects = objects(&disk);
    let written = write(&objects, &options, &fanout(named)).unwrap();
    assert!(written.segments.len() > 1);
    for new in &written.segments {
        // Only this one is left.
        for other in written.segments.iter().filter(|other| *other != new) {
            let bytes = disk.content(&path(other.number)).unwrap();
            objects.delete(other.number).unwrap();
            let reader = SegmentReader::new(objects.clone(), &options);
            for (partition, runs) in &written.runs {
                for run in runs.iter().filter(|run| run.segment == new.number) {
                    let found = read(&reader, *partition, &[*run], 0, 100).unwrap();
                    assert!(!found.is_empty());
                }
            }
            objects.put(other.number).complete(bytes.into()).unwrap();
        }
    }
}

#[test]
fn what_is_written_anew_is_still_shared() {
    let options = SegmentOptions::default();
    let objects = objects(&SimDisk::new());
    let written = write(&objects, &options, &fanout(named)).unwrap();
    let reader = SegmentReader::new(objects.clone(), &options);
    let mut writer = SegmentWriter::new(objects.clone(), 2, &options);
    for (partition, runs) in &written.runs {
        writer.begin(*partition, runs[0].first, 77);
        let mut each = |batch: Stored, origin: Option<Origin>| {
            assert!(origin.is_some());
            writer.push(&batch, origin).unwrap();
            ControlFlow::Continue(())
        };
        reader.scan(*partition, &runs[0], &mut each).unwrap();
        writer.end(runs[0].end).unwrap();
    }
    let anew = writer.finish().unwrap();
    assert_eq!(anew.segments[0].bytes, written.segments[0].bytes);
    for ((_, before), (_, after)) in written.runs.iter().zip(&anew.runs) {
        let expected = Run {
            segment: 2,
            cleaned_at: 77,
            ..before[0]
        };
        assert_eq!(after, &[expected]);
    }
}
