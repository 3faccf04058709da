//! Readers on other threads while the journal is written, dropped and reused.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use forebay_base::{OffsetRange, PartitionId};
use forebay_log::{Cursor, LogReader, ReadError, SegmentOptions, Source};

use crate::promotion::KeepIf;
use crate::world::{Opened, World, append};

const ONE: PartitionId = PartitionId(1);

/// Every batch says its own offset.
fn follow(reader: &LogReader, done: &AtomicBool) -> u64 {
    let (mut next, mut cursor, mut seen) = (0, Cursor::default(), 0);
    loop {
        let finished = done.load(Ordering::Acquire);
        match reader.read(ONE, next, 8000, &mut cursor, Source::Disk) {
            Ok(batches) => {
                let batches = batches.unwrap();
                if batches.is_empty() && finished {
                    return seen;
                }
                for batch in batches {
                    assert_eq!(batch.base_offset, next);
                    assert_eq!(batch.batch[..8], next.to_le_bytes());
                    next += 1;
                    seen += 1;
                }
            }
            Err(ReadError::OutOfRange { start, .. }) => next = start,
            Err(other) => panic!("{other}"),
        }
        let wanted = [OffsetRange {
            first: next / 2,
            count: 2,
        }];
        match reader.read_at(ONE, &wanted, &mut Cursor::default(), Source::Disk) {
            Ok(batches) => {
                for batch in batches.unwrap() {
                    assert_eq!(batch.batch[..8], batch.base_offset.to_le_bytes());
                }
            }
            Err(ReadError::OutOfRange { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn readers_never_see_another_files_bytes() {
    let mut world = World::new(16 << 10);
    world.options.cache_bytes = 4 << 10;
    world.options.cold_cache_bytes = 4 << 10;
    let mut opened = world.open();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (reader, done) = (Arc::clone(&opened.reader), Arc::clone(&done));
            thread::spawn(move || follow(&reader, &done))
        })
        .collect();
    for offset in 0..3000u64 {
        let mut payload = offset.to_le_bytes().to_vec();
        payload.resize(700, 1);
        opened.write(&[append(1, offset, 1, &payload)]).unwrap();
        if offset % 50 == 0 {
            opened.reader.trim(ONE, offset.saturating_sub(100));
            let needed = opened.reader.lowest_needed().unwrap();
            opened.journal.drop_below(needed).unwrap();
        }
    }
    done.store(true, Ordering::Release);
    for reader in readers {
        assert!(reader.join().unwrap() >= 100);
    }
}

/// Moves what is sealed into segments, writes old segments anew, and deletes what is dead.
fn work_off(opened: &mut Opened) {
    let promoter = opened.journal.promoter();
    let chunk = promoter.survey(opened.journal.end(), 0).unwrap();
    let below = chunk.end();
    let change = promoter.promote(chunk, &mut KeepIf(|_, _| true)).unwrap();
    opened.submit(&change);
    opened.journal.drop_below(below).unwrap();
    let mut runs = opened.reader.runs(ONE);
    runs.truncate(4);
    let change = promoter
        .rewrite(&[(ONE, runs)], &mut KeepIf(|_, _| true))
        .unwrap();
    opened.submit(&change);
    promoter.delete_dead().unwrap();
}

#[test]
fn readers_do_not_notice_that_what_they_read_moves() {
    let mut world = World::new(16 << 10);
    world.options.cache_bytes = 4 << 10;
    world.options.cold_cache_bytes = 4 << 10;
    world.options.segments = SegmentOptions {
        target_bytes: 50_000,
        cache_bytes: 10_000,
        ..SegmentOptions::default()
    };
    let mut opened = world.open();
    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (reader, done) = (Arc::clone(&opened.reader), Arc::clone(&done));
            thread::spawn(move || follow(&reader, &done))
        })
        .collect();
    for offset in 0..2000u64 {
        let mut payload = offset.to_le_bytes().to_vec();
        payload.resize(700, 1);
        opened.write(&[append(1, offset, 1, &payload)]).unwrap();
        if offset % 20 == 0 {
            work_off(&mut opened);
        }
    }
    assert!(opened.journal.oldest() > forebay_log::Position(60 << 14));
    done.store(true, Ordering::Release);
    for reader in readers {
        assert_eq!(reader.join().unwrap(), 2000, "nobody missed anything");
    }
}
