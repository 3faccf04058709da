//! Decay: whatever byte changes, nothing wrong is served.

use super::*;

fn small() -> (SegmentOptions, Vec<Wanted>) {
    let options = SegmentOptions {
        block_bytes: 200,
        ..SegmentOptions::default()
    };
    let wanted = (1..=3)
        .map(|partition| Wanted {
            partition: PartitionId(partition),
            first: 0,
            end: 30,
            batches: (0..8)
                .map(|number| {
                    let payload = vec![(partition * 16 + number) as u8; 40];
                    let shared = number % 3 == 0;
                    let at = number;
                    let origin = shared.then_some(Origin { source: 1, at });
                    let payload = if shared {
                        vec![number as u8; 50]
                    } else {
                        payload
                    };
                    (batch(number * 3, 2, number as i64, &payload), origin)
                })
                .collect(),
        })
        .collect();
    (options, wanted)
}

/// Reads everything in every way; what is read must be right, and an error is right too.
fn nothing_wrong(objects: &Objects, options: &SegmentOptions, wanted: &[Wanted], runs: &Written) {
    for offset in [0, 7, 20] {
        // A new reader each time: what was found whole once is believed.
        let reader = SegmentReader::new(objects.clone(), options);
        for (want, (partition, runs)) in wanted.iter().zip(&runs.runs) {
            let expected: Vec<_> = want
                .batches
                .iter()
                .map(|(batch, _)| batch.clone())
                .filter(|batch| batch.base_offset + u64::from(batch.records) > offset)
                .collect();
            match read(&reader, *partition, runs, offset, 100) {
                Ok(found) => assert_eq!(found, expected),
                Err(error) => assert!(matches!(error, SegmentError::Damaged { .. }), "{error}"),
            }
        }
    }
}

#[test]
fn no_flipped_bit_is_served() {
    let (options, wanted) = small();
    let disk = SimDisk::new();
    let objects = objects(&disk);
    let written = write(&objects, &options, &wanted).unwrap();
    assert!(written.runs.iter().all(|(_, runs)| runs[0].blocks > 1));
    nothing_wrong(&objects, &options, &wanted, &written);
    let report = store(&disk).check(ID).unwrap();
    assert!(report.damage.is_empty());
    let blocks = written
        .runs
        .iter()
        .map(|(_, runs)| u64::from(runs[0].blocks));
    assert_eq!((report.segments, report.blocks), (1, blocks.sum()));
    assert_eq!(report.bytes, written.segments[0].bytes);
    for byte in 0..written.segments[0].bytes {
        let bit = (byte % 8) as u8;
        assert!(disk.flip_bit(&path(1), byte, bit));
        nothing_wrong(&objects, &options, &wanted, &written);
        let report = store(&disk).check(ID).unwrap();
        assert_eq!(report.damage.len(), 1, "byte {byte}");
        disk.flip_bit(&path(1), byte, bit);
    }
}

#[test]
fn a_segment_cut_short_is_damaged_not_wrong() {
    let (options, wanted) = small();
    let disk = SimDisk::new();
    let objects = objects(&disk);
    let written = write(&objects, &options, &wanted).unwrap();
    let whole = disk.content(&path(1)).unwrap();
    for length in 0..whole.len() {
        let cut = Bytes::copy_from_slice(&whole[..length]);
        objects.put(1).complete(cut).unwrap();
        nothing_wrong(&objects, &options, &wanted, &written);
        assert_eq!(store(&disk).check(ID).unwrap().damage.len(), 1);
        if length < written.runs[0].1[0].at as usize + 10 {
            let reader = SegmentReader::new(objects.clone(), &options);
            let (partition, runs) = &written.runs[0];
            let error = read(&reader, *partition, runs, 0, 1).unwrap_err();
            assert!(matches!(error, SegmentError::Damaged { .. }), "{error}");
        }
    }
}

#[test]
fn a_segment_in_the_place_of_another_is_not_believed() {
    let (options, wanted) = small();
    let disk = SimDisk::new();
    let objects = objects(&disk);
    let written = write(&objects, &options, &wanted).unwrap();
    let bytes = disk.content(&path(1)).unwrap();
    objects.put(2).complete(bytes.into()).unwrap();
    let reader = SegmentReader::new(objects, &options);
    let (partition, runs) = &written.runs[0];
    let run = Run {
        segment: 2,
        ..runs[0]
    };
    let error = read(&reader, *partition, &[run], 0, 1).unwrap_err();
    assert!(matches!(error, SegmentError::Damaged { .. }), "{error}");
}

#[test]
fn a_missing_segment_is_named() {
    let (options, wanted) = small();
    let objects = objects(&SimDisk::new());
    let written = write(&objects, &options, &wanted).unwrap();
    objects.delete(1).unwrap();
    objects.delete(1).unwrap();
    let reader = SegmentReader::new(objects, &options);
    let (partition, runs) = &written.runs[0];
    let error = read(&reader, *partition, runs, 0, 1).unwrap_err();
    assert!(error.is_missing());
    let name = "0123456789abcdef/0000000000000001.segment";
    assert!(error.to_string().contains(name), "{error}");
}
