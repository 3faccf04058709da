//! Snapshots survive what they promise to survive.

use std::path::PathBuf;
use std::sync::Arc;

use forebay_log::{Disk, Fault, Position, SimDisk, SnapshotError, SnapshotStore};
use proptest::prelude::*;

use crate::world::{ID, World};

fn store(disk: &SimDisk) -> SnapshotStore {
    SnapshotStore::open(Arc::new(disk.clone()), World::dir(), ID).unwrap()
}

fn path(position: u64) -> PathBuf {
    World::dir().join(format!("snapshots/{position:016x}.snapshot"))
}

#[test]
fn the_newest_two_are_kept_and_the_newest_is_loaded() {
    let disk = SimDisk::new();
    let snapshots = store(&disk);
    assert!(snapshots.load_newest_valid().unwrap().is_none());
    for position in [100, 200, 300] {
        snapshots.save(Position(position), &[7; 1000]).unwrap();
    }
    assert_eq!(
        snapshots.positions().unwrap(),
        [Position(200), Position(300)]
    );
    let (position, payload) = snapshots.load_newest_valid().unwrap().unwrap();
    assert_eq!((position, &payload[..]), (Position(300), &[7; 1000][..]));
}

#[test]
fn a_damaged_newest_falls_back_to_the_older() {
    let disk = SimDisk::new();
    let snapshots = store(&disk);
    snapshots.save(Position(100), b"older").unwrap();
    snapshots.save(Position(200), b"newer").unwrap();
    for byte in (0..44 + 5).filter(|byte| !(8..12).contains(byte)) {
        disk.flip_bit(&path(200), byte, 2);
        let (position, payload) = snapshots.load_newest_valid().unwrap().unwrap();
        assert_eq!(
            (position, &payload[..]),
            (Position(100), &b"older"[..]),
            "byte {byte}"
        );
        disk.flip_bit(&path(200), byte, 2);
    }
    disk.open(&path(200))
        .unwrap()
        .write_at(49, b"more")
        .unwrap();
    assert_eq!(
        snapshots.load_newest_valid().unwrap().unwrap().0,
        Position(100)
    );
    disk.flip_bit(&path(100), 46, 2);
    assert!(snapshots.load_newest_valid().unwrap().is_none());
}

#[test]
fn another_version_is_refused_in_one_sentence() {
    let disk = SimDisk::new();
    let snapshots = store(&disk);
    snapshots.save(Position(100), b"state").unwrap();
    disk.flip_bit(&path(100), 8, 1);
    let error = snapshots.load_newest_valid().unwrap_err();
    assert!(matches!(error, SnapshotError::Version { found: 3, .. }));
    assert!(error.to_string().contains("version 3"), "{error}");
}

proptest! {
    #[test]
    fn a_power_cut_leaves_the_old_or_the_new(at in 1..14u64, tear in prop::option::of(any::<u64>())) {
        let disk = SimDisk::new();
        let snapshots = store(&disk);
        for position in [100, 200] {
            snapshots.save(Position(position), &[3; 3000]).unwrap();
        }
        disk.fail_at(at, Fault::PowerCut);
        let saved = snapshots.save(Position(300), &[4; 5000]).is_ok();
        disk.crash(tear);
        let (position, payload) = store(&disk).load_newest_valid().unwrap().unwrap();
        if position == Position(300) {
            prop_assert_eq!(&payload[..], &[4; 5000][..]);
        } else {
            prop_assert!(!saved);
            prop_assert_eq!((position, &payload[..]), (Position(200), &[3; 3000][..]));
        }
    }
}
