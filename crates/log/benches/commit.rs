//! What a commit costs, next to what the disk can do, and how fast a journal is replayed.
//!
//! Runs in a directory under `FOREBAY_BENCH_DIR`, or the system's place for temporary files; put
//! it on the disk that is to be measured.

#![expect(clippy::unwrap_used, reason = "a benchmark has nobody to tell")]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_base::PartitionId;
use forebay_log::{
    CommitBuilder, Cursor, Journal, JournalOptions, LogReader, RealDisk, SegmentStore, Source,
};

const ZEROED: u64 = 64 << 20;
const BATCH: usize = 4000;

fn temp_dir() -> tempfile::TempDir {
    match std::env::var_os("FOREBAY_BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

fn options() -> JournalOptions {
    JournalOptions {
        retain_bytes: 0,
        ..JournalOptions::default()
    }
}

/// Opens the journal in `dir` and counts the frames that are replayed.
fn open(dir: &std::path::Path) -> (Journal, Arc<LogReader>, u64) {
    let mut frames = 0;
    let disk = Arc::new(RealDisk);
    let segments = SegmentStore::local(disk.clone(), dir);
    let (journal, reader) = Journal::open(disk, dir, &options(), 1, segments, None, &mut |_, _| {
        frames += 1
    })
    .unwrap();
    (journal, reader, frames)
}

/// A commit of about `bytes`, as batches of [`BATCH`] bytes.
fn commit(bytes: usize, offset: &mut u64) -> CommitBuilder {
    let mut commit = CommitBuilder::with_capacity(bytes + 64);
    while commit.is_empty() || commit.len_bytes() + BATCH + 40 <= bytes {
        commit.push_append(&[(PartitionId(1), *offset)], 10, 0, &[7; BATCH]);
        *offset += 10;
    }
    commit
}

fn raw_sync(criterion: &mut Criterion) {
    let dir = temp_dir();
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(dir.path().join("raw"))
        .unwrap();
    file.write_all_at(&vec![0; 64 << 20], 0).unwrap();
    file.sync_all().unwrap();
    let mut group = criterion.benchmark_group("write and fdatasync");
    for bytes in [4096, 64 << 10, 1 << 20] {
        group.throughput(Throughput::Bytes(bytes as u64));
        let block = vec![1; bytes];
        let mut at = 0;
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| {
                file.write_all_at(&block, at).unwrap();
                file.sync_data().unwrap();
                at = (at + bytes as u64) % ZEROED;
            });
        });
    }
}

fn journal_write(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Journal::write");
    for bytes in [4096, 64 << 10, 1 << 20] {
        let dir = temp_dir();
        let (mut journal, reader, _) = open(dir.path());
        let mut offset = 0;
        // Through the first files, so that what follows overwrites blocks that exist.
        while journal.end() < forebay_log::Position(4 * ZEROED) {
            journal.write(commit(1 << 20, &mut offset)).unwrap();
            reader.trim(PartitionId(1), offset);
            journal.drop_below(journal.end()).unwrap();
        }
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| {
                journal.write(commit(bytes, &mut offset)).unwrap();
                reader.trim(PartitionId(1), offset);
                journal.drop_below(journal.end()).unwrap();
            });
        });
    }
}

fn replay_and_read(criterion: &mut Criterion) {
    const COMMITS: u64 = 1000;
    let dir = temp_dir();
    let (mut journal, _, _) = open(dir.path());
    let mut offset = 0;
    for _ in 0..COMMITS {
        journal.write(commit(1 << 20, &mut offset)).unwrap();
    }
    drop(journal);
    let mut group = criterion.benchmark_group("1 GB of journal");
    group
        .throughput(Throughput::Bytes(COMMITS << 20))
        .sample_size(10);
    group.bench_function("replay", |bencher| {
        bencher.iter(|| {
            let began = Instant::now();
            let (_, _, frames) = open(dir.path());
            assert_eq!(frames * 10, offset);
            began.elapsed()
        });
    });
    let (_, reader, _) = open(dir.path());
    group.bench_function("read by one consumer", |bencher| {
        bencher.iter(|| {
            let (mut next, mut cursor) = (0, Cursor::default());
            while next < offset {
                let read = reader.read(PartitionId(1), next, 1 << 20, &mut cursor, Source::Disk);
                let batches = read.unwrap().unwrap();
                next = batches.last().map_or(offset, |last| last.base_offset + 10);
            }
        });
    });
}

criterion_group!(benches, raw_sync, journal_write, replay_and_read);
criterion_main!(benches);
