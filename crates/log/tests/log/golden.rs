//! Files written once and kept: a change of the format cannot pass unnoticed.
//!
//! `FOREBAY_GOLDEN=write cargo test -p forebay-log golden` writes them anew.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use forebay_base::PartitionId;
use forebay_log::{
    Disk, NewSegment, PartitionChange, Position, ReplayFrom, Run, SegmentChange, SimDisk,
    SnapshotStore,
};

use crate::world::{Frame, ID, World, append};

fn kept(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

/// Compares with the kept file and returns what is kept.
fn check(name: &str, written: &[u8]) -> Vec<u8> {
    if std::env::var_os("FOREBAY_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(kept(name), written).unwrap();
    }
    let golden = fs::read(kept(name)).unwrap();
    assert!(
        golden == written,
        "{name}: what is written today differs from the kept file"
    );
    golden
}

fn frames() -> Vec<Frame> {
    vec![
        append(1, 0, 3, b"three records"),
        Frame::Append {
            entries: vec![
                (PartitionId(1), 3),
                (PartitionId(2), 0),
                (PartitionId(0xffff_0000), 7),
            ],
            records: 1,
            latest: 1_700_000_000_123,
            payload: b"one for all".to_vec(),
        },
        Frame::State(b"a state of the shard".to_vec()),
        Frame::State(Vec::new()),
    ]
}

/// As if the first file had been worked off.
fn change() -> SegmentChange {
    let run = Run {
        segment: 3,
        first: 0,
        end: 4,
        at: 64,
        bytes: 1000,
        shared_bytes: 11,
        index_at: 2000,
        blocks: 2,
        records: 4,
        latest: 1_700_000_000_123,
        cleaned_at: 1_700_000_000_456,
    };
    let part = |partition, end, runs| PartitionChange {
        partition: PartitionId(partition),
        journal_from: Some(end),
        replaces: None,
        runs,
    };
    SegmentChange {
        below: Position(2 * 4096),
        segments: vec![NewSegment {
            number: 3,
            bytes: 3000,
        }],
        partitions: vec![
            part(1, 4, vec![run]),
            part(2, 1, Vec::new()),
            PartitionChange {
                replaces: Some(0..8),
                ..part(0xffff_0000, 8, Vec::new())
            },
        ],
    }
}

/// Fills the first file of 4096 bytes, so that it is sealed and the second is begun.
fn write_golden(world: &World) -> Vec<u8> {
    let mut opened = world.open();
    opened.write(&frames()).unwrap();
    opened.write(&[Frame::State(vec![0xab; 3000])]).unwrap();
    opened.write(&[append(2, 1, 1, &[0xcd; 500])]).unwrap();
    opened.submit(&change());
    opened.reader.export_index()
}

#[test]
fn journal_files_are_as_kept() {
    let world = World::new(4096);
    write_golden(&world);
    let contents = [1, 2].map(|number| world.disk.content(&World::file(number)).unwrap());
    let golden = [
        check("1.journal", &contents[0]),
        check("2.journal", &contents[1]),
    ];

    // And the kept files, put where a journal would be, are read.
    let other = World::new(4096);
    other.open();
    for (number, bytes) in [1, 2].into_iter().zip(golden) {
        let path = World::file(number);
        let file = other.disk.create(&path).unwrap();
        file.write_at(0, &bytes).unwrap();
    }
    let replayed: Vec<_> = other
        .open()
        .replayed
        .into_iter()
        .map(|(_, frame)| frame)
        .collect();
    let mut expected = frames();
    expected.push(Frame::State(vec![0xab; 3000]));
    expected.push(append(2, 1, 1, &[0xcd; 500]));
    expected.push(replayed[6].clone());
    assert!(matches!(expected[6], Frame::Segments(_)));
    assert_eq!(replayed, expected);
}

#[test]
fn the_index_is_as_kept() {
    let world = World::new(4096);
    let written = write_golden(&world);
    let golden = check("1.index", &written);
    let position = world.open().journal.end();
    let opened = world
        .try_open(Some(ReplayFrom {
            position,
            index: &golden,
        }))
        .unwrap();
    assert_eq!(opened.reader.bounds(PartitionId(2)).unwrap().end, 2);
    assert_eq!(
        opened.reader.runs(PartitionId(1)),
        change().partitions[0].runs
    );
    assert_eq!(opened.reader.segments()[0].live_bytes, 1000);
}

#[test]
fn a_snapshot_is_as_kept() {
    let disk = SimDisk::new();
    let snapshots = SnapshotStore::open(Arc::new(disk.clone()), World::dir(), ID).unwrap();
    let position = Position(0x1234_5678);
    snapshots.save(position, b"the state of a shard").unwrap();
    let path = World::dir().join("snapshots/0000000012345678.snapshot");
    let golden = check("1.snapshot", &disk.content(&path).unwrap());
    disk.create(&path).unwrap().write_at(0, &golden).unwrap();
    let (found, payload) = snapshots.load_newest_valid().unwrap().unwrap();
    assert_eq!(
        (found, &payload[..]),
        (position, &b"the state of a shard"[..])
    );
}
