//! Decay anywhere is told, never served and never carried on.

use bytes::Bytes;
use forebay_base::{Offset, PartitionId};
use forebay_log::{Cursor, Disk, Keeper, Kept, SegmentOptions, Source, Stored};
use proptest::prelude::*;

use crate::promotion::KeepIf;
use crate::world::{Frame, Opened, World, append};

const BATCHES: u64 = 150;

fn payload(partition: PartitionId, offset: Offset) -> Vec<u8> {
    let mut payload = [partition.0.to_le_bytes(), offset.to_le_bytes()].concat();
    payload.resize(300, 7);
    payload
}

/// Whoever sees a batch sees what was written.
struct Exact;

impl Keeper for Exact {
    fn keep(&mut self, partition: PartitionId, batch: &Stored) -> Kept {
        check(partition, batch);
        Kept::Whole
    }
}

fn check(partition: PartitionId, batch: &Stored) {
    // What went to all partitions says so.
    let shared = batch.base_offset % 10 == 9;
    let owner = if shared { PartitionId(99) } else { partition };
    assert_eq!(batch.batch, Bytes::from(payload(owner, batch.base_offset)));
    assert_eq!(batch.records, 1);
}

/// Half of it in segments, half of it in the journal.
fn world() -> (World, Opened) {
    let mut world = World::new(16 << 10);
    world.options.cache_bytes = 0;
    world.options.cold_cache_bytes = 0;
    world.options.segments = SegmentOptions {
        target_bytes: 40_000,
        block_bytes: 2000,
        part_bytes: 5000,
        cache_bytes: 0,
    };
    let mut opened = world.open();
    for offset in 0..BATCHES {
        let frames: Vec<_> = if offset % 10 == 9 {
            vec![Frame::Append {
                entries: (0..6).map(|id| (PartitionId(id), offset)).collect(),
                records: 1,
                latest: 5,
                payload: payload(PartitionId(99), offset),
            }]
        } else {
            let own = |id| append(id, offset, 1, &payload(PartitionId(id), offset));
            (0..6).map(own).collect()
        };
        opened.write(&frames).unwrap();
        if offset == BATCHES / 2 {
            let promoter = opened.journal.promoter();
            let chunk = promoter.survey(opened.journal.end(), usize::MAX).unwrap();
            let below = chunk.end();
            let change = promoter.promote(chunk, &mut KeepIf(|_, _| true)).unwrap();
            opened.submit(&change);
            opened.journal.drop_below(below).unwrap();
        }
    }
    (world, opened)
}

/// Reads and moves everything; what is damaged is refused, and what is not is right. How often
/// something was refused.
fn use_all(opened: &Opened) -> u32 {
    let mut refused = 0;
    for partition in (0..6).map(PartitionId) {
        let (mut next, mut cursor) = (0, Cursor::default());
        loop {
            let reader = &opened.reader;
            match reader.read(partition, next, 900, &mut cursor, Source::Disk) {
                Ok(batches) => {
                    let batches = batches.unwrap();
                    let Some(last) = batches.last() else { break };
                    for (offset, batch) in (next..).zip(&batches) {
                        assert_eq!(batch.base_offset, offset, "nothing is passed over");
                        check(partition, batch);
                    }
                    next = last.base_offset + 1;
                }
                Err(_) => {
                    refused += 1;
                    break;
                }
            }
        }
        assert!(refused > 0 || next == BATCHES);
    }
    let promoter = opened.journal.promoter();
    match promoter.survey(opened.journal.end(), usize::MAX) {
        Ok(chunk) => refused += u32::from(promoter.promote(chunk, &mut Exact).is_err()),
        Err(_) => refused += 1,
    }
    let runs: Vec<_> = (0..6)
        .map(|id| (PartitionId(id), opened.reader.runs(PartitionId(id))))
        .collect();
    refused + u32::from(promoter.rewrite(&runs, &mut Exact).is_err())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_is_refused_or_does_not_matter(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0..8u8), 1..3),
    ) {
        let (world, opened) = world();
        prop_assert_eq!(use_all(&opened), 0);
        let files: Vec<_> = world
            .disk
            .files()
            .into_iter()
            .filter(|(_, size)| *size > 0)
            .collect();
        for (which, byte, bit) in flips {
            let (path, size) = which.get(&files);
            world.disk.flip_bit(path, byte % size, bit);
        }
        use_all(&opened);
    }
}

#[test]
fn what_decays_between_a_look_and_the_move_is_not_moved() {
    let (world, opened) = world();
    let promoter = opened.journal.promoter();
    let chunk = promoter.survey(opened.journal.end(), usize::MAX).unwrap();
    let number = chunk.end().0 / (16 << 10) - 1;
    world.disk.flip_bit(&World::file(number), 5000, 1);
    let moved = promoter.promote(chunk, &mut Exact);
    let told = moved.unwrap_err().to_string();
    assert!(told.contains("is damaged at position"), "{told}");
    assert!(world.disk.list(&World::dir().join("journal")).is_ok());
}
