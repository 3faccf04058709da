//! Out of the journal into segments, and what readers see of it.

use std::ops::Range;

use forebay_base::{Offset, OffsetRange, PartitionId};
use forebay_log::{Chunk, Cursor, Keeper, Kept, Position, SegmentChange, Source, Stored};

use crate::world::{Frame, Opened, World, append, commit_of};

const ONE: PartitionId = PartitionId(1);
const TWO: PartitionId = PartitionId(2);

/// Keeps the batches that begin at an offset for which this is true.
pub(crate) struct KeepIf<F>(pub(crate) F);

impl<F: FnMut(PartitionId, Offset) -> bool> Keeper for KeepIf<F> {
    fn keep(&mut self, partition: PartitionId, batch: &Stored) -> Kept {
        match (self.0)(partition, batch.base_offset) {
            true => Kept::Whole,
            false => Kept::Nothing,
        }
    }
}

impl Opened {
    pub(crate) fn submit(&mut self, change: &SegmentChange) {
        let mut commit = commit_of(&[]);
        commit.push_segments(change);
        self.journal.write(commit).unwrap();
    }

    /// Promotes everything in sealed files below the end.
    fn promote(&mut self, keep: impl FnMut(PartitionId, Offset) -> bool) -> SegmentChange {
        let promoter = self.journal.promoter();
        let chunk = promoter.survey(self.journal.end(), usize::MAX).unwrap();
        let change = promoter.promote(chunk, &mut KeepIf(keep)).unwrap();
        self.submit(&change);
        change
    }

    fn offsets(&self, partition: PartitionId, from: Offset) -> Vec<Offset> {
        let mut cursor = Cursor::default();
        let read = self
            .reader
            .read(partition, from, 1 << 30, &mut cursor, Source::Disk);
        let read = read.unwrap().unwrap();
        read.iter().map(|batch| batch.base_offset).collect()
    }
}

fn spans(chunk: &Chunk) -> Vec<(PartitionId, Range<Offset>)> {
    let spans = chunk.partitions();
    spans.map(|(id, first, end)| (id, first..end)).collect()
}

fn fill(opened: &mut Opened, offsets: Range<Offset>) {
    for offset in offsets {
        let frames = [
            append(1, offset, 1, &[1; 700]),
            append(2, offset, 1, &[2; 300]),
        ];
        opened.write(&frames).unwrap();
    }
}

#[test]
fn what_is_kept_is_read_across_the_border_and_the_rest_is_gone() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    fill(&mut opened, 0..100);
    let change = opened.promote(|partition, offset| partition == ONE && offset % 3 == 0);
    assert_eq!(change.segments.len(), 1);
    let end = change.below;
    opened.journal.drop_below(end).unwrap();
    assert_eq!(opened.journal.oldest(), end);

    let border = change.partitions[0].journal_from.unwrap();
    assert!(border > 60, "{border}");
    let expected: Vec<_> = (0..100)
        .filter(|offset| offset % 3 == 0 || *offset >= border)
        .collect();
    assert_eq!(opened.offsets(ONE, 0), expected);
    assert_eq!(opened.offsets(ONE, 4)[0], 6);
    assert_eq!(opened.offsets(TWO, 0), (border..100).collect::<Vec<_>>());
    for partition in [ONE, TWO] {
        let start = opened.reader.bounds(partition).unwrap().start;
        assert_eq!(
            start, 0,
            "only who knows why something is gone moves the start"
        );
    }

    let wanted = [OffsetRange { first: 3, count: 9 }, OffsetRange::one(99)];
    let mut cursor = Cursor::default();
    let read = opened
        .reader
        .read_at(ONE, &wanted, &mut cursor, Source::Disk);
    let read = read.unwrap().unwrap();
    let found: Vec<_> = read.iter().map(|batch| batch.base_offset).collect();
    assert_eq!(found, [3, 6, 9, 99]);
    assert_eq!(read[0].batch, [1; 700][..]);
}

#[test]
fn what_was_promoted_is_known_after_a_restart_from_any_snapshot() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    fill(&mut opened, 0..100);
    let early = (opened.journal.end(), opened.reader.export_index());
    let change = opened.promote(|_, offset| offset % 2 == 0);
    let late = (opened.journal.end(), opened.reader.export_index());
    opened.journal.drop_below(change.below).unwrap();
    let last = (opened.journal.end(), opened.reader.export_index());
    fill(&mut opened, 100..110);
    let expected = [opened.offsets(ONE, 0), opened.offsets(TWO, 0)];
    for (position, index) in [early, late, last] {
        let from = forebay_log::ReplayFrom {
            position,
            index: &index,
        };
        let opened = world.try_open(Some(from)).unwrap();
        assert_eq!([opened.offsets(ONE, 0), opened.offsets(TWO, 0)], expected);
        let segments = opened.reader.segments();
        assert_eq!(segments.len(), 1);
        assert!(segments[0].live_bytes > 0 && segments[0].live_bytes < segments[0].bytes);
    }
}

#[test]
fn cleaning_drops_what_is_dead_and_the_old_object_is_deleted() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    fill(&mut opened, 0..100);
    let change = opened.promote(|_, _| true);
    opened.journal.drop_below(change.below).unwrap();
    let before = opened.offsets(TWO, 0);

    let promoter = opened.journal.promoter();
    let runs = opened.reader.runs(ONE);
    let mut keeper = KeepIf(|_, offset| offset % 10 == 0);
    let change = promoter.rewrite(&[(ONE, runs)], &mut keeper).unwrap();
    assert_eq!(change.below, Position(0));
    opened.submit(&change);
    let end = change.partitions[0].replaces.clone().unwrap().end;
    let expected: Vec<_> = (0..100)
        .filter(|offset| offset % 10 == 0 || *offset >= end)
        .collect();
    assert_eq!(opened.offsets(ONE, 0), expected);
    assert_eq!(
        promoter.delete_dead().unwrap(),
        0,
        "the other partition needs it"
    );

    let runs = opened.reader.runs(TWO);
    let change = promoter
        .rewrite(&[(TWO, runs)], &mut KeepIf(|_, _| true))
        .unwrap();
    opened.submit(&change);
    assert_eq!(opened.offsets(TWO, 0), before);
    assert_eq!(promoter.delete_dead().unwrap(), 1);
    assert_eq!(opened.offsets(TWO, 0), before);
    assert_eq!(opened.offsets(ONE, 0), expected);

    opened.reader.trim(ONE, 100);
    opened.reader.remove(TWO);
    assert_eq!(promoter.delete_dead().unwrap(), 2);
    assert_eq!(opened.reader.segments(), []);
}

#[test]
fn a_chunk_ends_with_a_file_and_the_next_begins_there() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    fill(&mut opened, 0..100);
    let promoter = opened.journal.promoter();
    let first = promoter.survey(opened.journal.end(), 0).unwrap();
    assert_eq!(first.end(), Position(2 << 14));
    let [(ONE, one), (TWO, two)] = &spans(&first)[..] else {
        panic!("{first:?}");
    };
    assert_eq!(one, two);
    let end = one.end;
    let change = promoter.promote(first, &mut KeepIf(|_, _| true)).unwrap();
    opened.submit(&change);
    let second = promoter.survey(opened.journal.end(), 0).unwrap();
    assert_eq!(spans(&second)[0].1.start, end);
    let all = promoter.survey(Position(4 << 14), usize::MAX).unwrap();
    assert_eq!(all.end(), Position(4 << 14));
    let none = promoter.survey(Position(2 << 14), usize::MAX).unwrap();
    assert_eq!((none.end(), none.batches()), (Position(2 << 14), 0));
}

#[test]
fn a_payload_of_many_partitions_is_written_once() {
    let world = World::new(64 << 10);
    let mut opened = world.open();
    for offset in 0..20 {
        let entries = (0..50).map(|id| (PartitionId(id), offset)).collect();
        let fanout = Frame::Append {
            entries,
            records: 1,
            latest: 5,
            payload: vec![u8::try_from(offset).unwrap(); 5000],
        };
        opened.write(&[fanout]).unwrap();
    }
    let change = opened.promote(|_, _| true);
    let below = change.below;
    opened.journal.drop_below(below).unwrap();
    let bytes: u64 = change.segments.iter().map(|segment| segment.bytes).sum();
    assert!(bytes < 200_000, "{bytes}");
    for id in 0..50 {
        assert_eq!(
            opened.offsets(PartitionId(id), 0),
            (0..20).collect::<Vec<_>>()
        );
    }
}
