use super::*;
use crate::commit::Touch;
use crate::segment::{NewSegment, PartitionChange};
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

/// A run in segment 1, of 100 bytes for each offset.
fn run(first: Offset, end: Offset) -> Run {
    Run {
        segment: 1,
        first,
        end,
        at: 64,
        bytes: 100 * (end - first),
        shared_bytes: 0,
        index_at: 0,
        blocks: 1,
        records: end - first,
        latest: 0,
        cleaned_at: 0,
    }
}

fn promoted(below: Position, journal_from: Offset, runs: Vec<Run>) -> Effects {
    let part = PartitionChange {
        partition: ONE,
        journal_from: Some(journal_from),
        replaces: None,
        runs,
    };
    let change = SegmentChange {
        below,
        segments: vec![NewSegment {
            number: 1,
            bytes: 1 << 20,
        }],
        partitions: vec![part],
    };
    Effects {
        touches: Vec::new(),
        changes: vec![change],
    }
}

fn apply(index: &mut Index, effects: &Effects) {
    let at = index.published;
    index.publish(at, Position(at.0 + 8), effects);
}

#[test]
fn what_is_below_a_dropped_place_leads_to_the_first_that_is_there() {
    let mut index = dense(100, 8 << 10);
    let middle = Position(64 + 50 * (8 << 10));
    index.clamp_below(middle);
    for offset in 0..100 {
        let place = index.place(ONE, offset).unwrap();
        let at = place.at.unwrap();
        assert!(at >= middle, "{offset}");
        // Batches from `offset` on that are still there lie behind that.
        assert!(at.0 <= 64 + offset.max(50) * (8 << 10), "{offset}");
    }
    assert_eq!(index.lowest_needed(), Some(middle));
    assert_eq!(index.get(ONE).unwrap().start, 0);
    index.raise_starts();
    let start = index.get(ONE).unwrap().start;
    assert!(0 < start && start <= 50, "{start}");
    // The last batch is at 99.
    index.clamp_below(Position(64 + 99 * (8 << 10)));
    assert!(index.lowest_needed().is_some());
    index.clamp_below(index.published);
    assert_eq!(index.lowest_needed(), None);
    index.raise_starts();
    assert_eq!(index.get(ONE).unwrap().start, 100);
}

#[test]
fn an_offset_is_in_a_run_or_behind_the_border_in_the_journal() {
    let mut index = dense(100, 64 << 10);
    let border = Position(60 * (64 << 10));
    apply(
        &mut index,
        &promoted(border, 60, vec![run(10, 20), run(30, 50)]),
    );
    let run_of = |index: &Index, offset| index.place(ONE, offset).unwrap().run;
    for (offset, expected) in [(0, 10), (10, 10), (19, 10), (20, 30), (49, 30)] {
        assert_eq!(run_of(&index, offset).unwrap().first, expected);
    }
    for offset in [50, 59, 60, 99] {
        let place = index.place(ONE, offset).unwrap();
        assert_eq!(place.run, None);
        assert_eq!(place.from, offset.max(60));
        assert!(place.at.unwrap() > border);
    }
    assert!(index.lowest_needed().unwrap() > border);
    // What came first stays: the same promotion cannot count twice.
    let twice = promoted(border, 60, vec![run(10, 20), run(45, 55)]);
    apply(&mut index, &twice);
    assert_eq!(index.runs.of(ONE), [run(10, 20), run(30, 50)]);

    index.raise_starts();
    assert_eq!(index.get(ONE).unwrap().start, 0, "it has a promoted part");
    index.trim(ONE, 35);
    assert_eq!(index.runs.of(ONE), [run(30, 50)]);
    assert_eq!(index.runs.segments().next().unwrap().live_bytes, 2000);
    index.trim(ONE, 60);
    assert_eq!(index.runs.dead(), [1]);
    assert!(!index.runs.has(ONE));
}

#[test]
fn retention_by_size_counts_segments_and_the_journal() {
    // In the journal, a batch of 10 bytes every 64 KiB.
    let mut index = dense(100, 64 << 10);
    assert_eq!(index.bytes(ONE), 1000);
    assert_eq!(index.offset_for_size(ONE, 1000), 0);
    assert_eq!(
        index.offset_for_size(ONE, 255),
        74,
        "rather too much than too little"
    );
    assert_eq!(index.offset_for_size(ONE, 250), 75);
    assert_eq!(index.offset_for_size(ONE, 3), 99);
    apply(
        &mut index,
        &promoted(Position(60 * (64 << 10)), 60, vec![run(0, 20), run(20, 60)]),
    );
    assert_eq!(index.bytes(ONE), 400 + 6000);
    assert_eq!(index.offset_for_size(ONE, 1 << 30), 0);
    assert_eq!(index.offset_for_size(ONE, 255), 74);
    assert_eq!(index.offset_for_size(ONE, 400), 60);
    assert_eq!(index.offset_for_size(ONE, 400 + 1000), 50);
    assert_eq!(index.offset_for_size(ONE, 400 + 4500), 15);
    assert_eq!(index.offset_for_size(ONE, 400 + 4501), 14);
    index.trim(ONE, 30);
    assert_eq!(index.bytes(ONE), 400 + 3000);
    assert_eq!(index.offset_for_size(ONE, 400 + 4500), 30);
}
