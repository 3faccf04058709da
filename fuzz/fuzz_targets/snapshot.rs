//! Snapshots from bytes: the shard's state, and the journal's index beside it. Nothing may panic or
//! take memory that the input does not warrant; what can be read reads the same when it is written
//! again, a shard can live on it, and a reader can use the index.

#![no_main]

use std::path::Path;
use std::sync::Arc;

use forebay_base::PartitionId;
use forebay_log::{CommitBuilder, Cursor, Journal, JournalOptions, ReplayFrom, SegmentStore, SimDisk, Source};
use libfuzzer_sys::fuzz_target;

const ID: u64 = 7;

fuzz_target!(|data: &[u8]| {
    forebay_broker::fuzz_snapshot(data);
    index(data);
});

/// Opens a small journal with the bytes for the index that a snapshot brought.
fn index(data: &[u8]) {
    let disk = SimDisk::new();
    let options = JournalOptions {
        file_size: 8 << 10,
        min_free_bytes: 0,
        ..JournalOptions::default()
    };
    let open = |from: Option<ReplayFrom<'_>>| {
        let disk = Arc::new(disk.clone());
        let segments = SegmentStore::local(disk.clone(), Path::new("/data"));
        Journal::open(disk, Path::new("/data"), &options, ID, segments, from, &mut |_, _| {})
    };
    let (mut journal, reader) = open(None).expect("an empty disk");
    for offset in 0..3 {
        let mut commit = CommitBuilder::new();
        commit.push_append(&[(PartitionId(1), offset)], 1, 5, &[1; 100]);
        journal.write(commit).expect("there is room");
    }
    let known = reader.export_index();
    for index in [data, &known] {
        let position = journal.end();
        let Ok((_, reader)) = open(Some(ReplayFrom { position, index })) else {
            continue;
        };
        for partition in [0, 1, 2].map(PartitionId) {
            let Some(bounds) = reader.bounds(partition) else {
                continue;
            };
            assert!(bounds.start <= bounds.end);
            for from in [bounds.start, bounds.end.saturating_sub(1), bounds.end] {
                let mut cursor = Cursor::default();
                let _ = reader.read(partition, from, 1 << 20, &mut cursor, Source::Disk);
                reader.position_of(partition, from);
            }
            let _ = reader.offset_for_time(partition, 5);
            reader.trim(partition, bounds.start.saturating_add(1));
        }
        let again = reader.export_index();
        assert!(!again.is_empty());
    }
}
