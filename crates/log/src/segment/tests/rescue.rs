//! Rescue: of a damaged run all that is whole is found, and no more is called lost than was.

use proptest::prelude::*;

use super::*;
use crate::segment::rescue::{Rescued, rescue};

fn wanted() -> Vec<Wanted> {
    (1..=3)
        .map(|partition| Wanted {
            partition: PartitionId(partition),
            first: 0,
            end: 70,
            batches: (0..20)
                .map(|number| {
                    let shared = number % 5 == 0;
                    let payload = if shared {
                        vec![number as u8; 90]
                    } else {
                        vec![(partition * 16 + number) as u8; 40 + number as usize]
                    };
                    let origin = shared.then_some(Origin {
                        source: 1,
                        at: number,
                    });
                    (batch(number * 3, 2, number as i64, &payload), origin)
                })
                .collect(),
        })
        .collect()
}

proptest! {
    #[test]
    fn what_is_whole_is_rescued_and_the_rest_is_called_lost(
        hurt in prop::collection::vec((any::<u16>(), 0..8u8), 0..4),
        cut in prop::option::of(any::<u16>()),
    ) {
        let options = SegmentOptions { block_bytes: 200, ..SegmentOptions::default() };
        let disk = SimDisk::new();
        let objects = objects(&disk);
        let wanted = wanted();
        let written = write(&objects, &options, &wanted).unwrap();
        let size = written.segments[0].bytes;
        for (byte, bit) in &hurt {
            disk.flip_bit(&path(1), u64::from(*byte) % size, *bit);
        }
        if let Some(cut) = cut {
            let content = disk.content(&path(1)).unwrap();
            let length = usize::from(cut) % content.len();
            let file = disk.create(&path(1)).unwrap();
            file.write_at(0, &content[..length]).unwrap();
        }
        let whole = hurt.is_empty() && cut.is_none();
        for (want, (partition, runs)) in wanted.iter().zip(&written.runs) {
            let (mut found, mut lost) = (Vec::new(), Vec::new());
            rescue(&objects, *partition, &runs[0], &mut |rescued| {
                match rescued {
                    Rescued::Batch(batch, _) => found.push(batch),
                    Rescued::Lost(range) => lost.push(range),
                }
                Ok(())
            }).unwrap();
            for (batch, _) in &want.batches {
                let there = found.contains(batch);
                let called_lost = lost.iter().any(|range| range.contains(&batch.base_offset));
                prop_assert!(there != called_lost, "{} {there}", batch.base_offset);
            }
            prop_assert!(found.len() <= want.batches.len());
            prop_assert!(!whole || lost.is_empty());
        }
    }
}
