use super::*;
use crate::commit::Touch;
use crate::track::Entry;

const ONE: PartitionId = PartitionId(1);

fn touch(first: Offset, end: Offset) -> Effects {
    let touch = Touch {
        partition: ONE,
        first,
        end,
        max_timestamp: 0,
        bytes: 10 * (end - first),
    };
    Effects {
        touches: vec![touch],
        changes: Vec::new(),
    }
}

/// An index of one partition with a batch of one record every `step` bytes.
fn dense(batches: u64, step: u64) -> Index {
    let mut index = Index::default();
    for number in 0..batches {
        let position = Position(64 + number * step);
        let end = Position(position.0 + step);
        index.publish(position, end, &touch(number, number + 1));
    }
    index
}

#[test]
fn ten_million_small_messages_take_well_under_a_megabyte() {
    // 10,000,000 records of 200 bytes, in commits of 4 KiB.
    let index = dense(2_000_000_000 / 4096, 4096);
    let bytes = index.get(ONE).unwrap().capacity() * size_of::<Entry>();
    assert!(bytes < 600_000, "{bytes}");
}

#[test]
fn what_is_looked_for_lies_at_most_a_megabyte_behind_its_entry() {
    let index = dense(300_000, 16 << 10);
    let track = index.get(ONE).unwrap();
    for offset in 0..300_000 {
        let entry = track.entry_for(offset).unwrap();
        assert!(entry.offset <= offset);
        let at = 64 + offset * (16 << 10);
        assert!(at - entry.position.0 <= 1 << 20);
    }
}

#[test]
fn a_partition_with_one_message_takes_under_200_bytes() {
    // Hash tables are at least half full beyond the smallest, with one byte of control.
    assert!((size_of::<(PartitionId, Track)>() + 1) * 2 < 200);
}

#[test]
fn trimming_frees_what_is_behind() {
    let mut index = dense(100_000, 64 << 10);
    let full = index.get(ONE).unwrap().entry_count();
    index.trim(ONE, 90_000);
    let track = index.get(ONE).unwrap();
    assert!(track.entry_count() < full / 4);
    assert!(track.capacity() < full / 2);
    assert!(track.entry_for(90_000).unwrap().offset <= 90_000);
    index.trim(ONE, 1_000_000);
    let track = index.get(ONE).unwrap();
    assert_eq!(
        (track.start, track.end, track.entry_count()),
        (100_000, 100_000, 0)
    );
    assert_eq!(index.lowest_needed(), None);
}
