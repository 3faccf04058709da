//! A segment written once and kept: a change of the format cannot pass unnoticed.
//!
//! `FOREBAY_GOLDEN=write cargo test -p forebay-log golden` writes it anew.

use super::*;

fn wanted() -> Vec<Wanted> {
    let shared = |at| Some(Origin { source: 1, at });
    vec![
        Wanted {
            partition: PartitionId(1),
            first: 10,
            end: 40,
            batches: vec![
                (batch(10, 3, 1_700_000_000_123, b"three records"), None),
                (batch(20, 1, 1_700_000_000_456, b"one for all"), shared(64)),
                (batch(21, 1, 1_700_000_000_400, &[0xab; 300]), None),
                (batch(30, 5, -1, b""), None),
            ],
        },
        Wanted {
            partition: PartitionId(0xffff_0000),
            first: 0,
            end: 2,
            batches: vec![(batch(1, 1, 1_700_000_000_456, b"one for all"), shared(64))],
        },
    ]
}

#[test]
fn a_segment_is_as_kept() {
    let options = SegmentOptions {
        block_bytes: 200,
        ..SegmentOptions::default()
    };
    let disk = SimDisk::new();
    let written = write(&objects(&disk), &options, &wanted()).unwrap();
    let bytes = disk.content(&path(1)).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/1.segment");
    if std::env::var_os("FOREBAY_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::write(&kept, &bytes).unwrap();
    }
    let golden = std::fs::read(&kept).unwrap();
    assert!(
        golden == bytes,
        "1.segment: what is written today differs from the kept file"
    );

    // And the kept file, put where a segment would be, is read.
    let other = objects(&SimDisk::new());
    other.put(1).complete(golden.into()).unwrap();
    let reader = SegmentReader::new(other, &options);
    for (want, (partition, runs)) in wanted().iter().zip(&written.runs) {
        let found = read(&reader, *partition, runs, 0, 100).unwrap();
        assert!(found.iter().eq(want.batches.iter().map(|(batch, _)| batch)));
    }
}
