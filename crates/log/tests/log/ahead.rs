//! What reading history costs, and whom.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_base::{Offset, PartitionId};
use forebay_log::{
    Cursor, Disk, DiskFile, Journal, JournalOptions, LogReader, SegmentOptions, SegmentStore,
    SimDisk, Source,
};

use crate::promotion::KeepIf;
use crate::world::{ID, World, append, commit_of};

const ONE: PartitionId = PartitionId(1);
const BODY: usize = 1000;

/// Counts the bytes that are read.
#[derive(Clone, Default)]
struct Counted {
    disk: SimDisk,
    read: Arc<AtomicU64>,
}

struct CountedFile {
    file: Arc<dyn DiskFile>,
    read: Arc<AtomicU64>,
}

impl Counted {
    fn wrap(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        let read = Arc::clone(&self.read);
        Arc::new(CountedFile { file, read })
    }

    fn take(&self) -> u64 {
        self.read.swap(0, Ordering::Relaxed)
    }
}

impl Disk for Counted {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.disk.open(path)?))
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.disk.create(path)?))
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.disk.free_space(dir)
    }
}

impl DiskFile for CountedFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn allocate(&self, size: u64) -> io::Result<()> {
        self.file.allocate(size)
    }
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_at(at, buffer)
    }
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(at, bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

struct Old {
    disk: Counted,
    journal: Journal,
    reader: Arc<LogReader>,
    batches: u64,
}

/// A partition of batches of [`BODY`] bytes, most of it far from the tail cache.
fn old(batches: u64, cold_cache_bytes: usize) -> Old {
    let disk = Counted::default();
    let options = JournalOptions {
        file_size: 4 << 20,
        cache_bytes: 1 << 20,
        cold_cache_bytes,
        min_free_bytes: 0,
        retain_bytes: 0,
        segments: SegmentOptions {
            cache_bytes: cold_cache_bytes,
            ..SegmentOptions::default()
        },
        ..JournalOptions::default()
    };
    let arc = Arc::new(disk.clone());
    let segments = SegmentStore::local(arc.clone(), World::dir());
    let opened = Journal::open(
        arc,
        World::dir(),
        &options,
        ID,
        segments,
        None,
        &mut |_, _| {},
    );
    let (mut journal, reader) = opened.unwrap();
    for first in (0..batches).step_by(50) {
        let frames: Vec<_> = (first..first + 50)
            .map(|offset| append(1, offset, 1, &[5; BODY]))
            .collect();
        journal.write(commit_of(&frames)).unwrap();
    }
    disk.take();
    Old {
        disk,
        journal,
        reader,
        batches,
    }
}

impl Old {
    fn promote(&mut self) {
        let promoter = self.journal.promoter();
        let chunk = promoter.survey(self.journal.end(), usize::MAX).unwrap();
        let below = chunk.end();
        let change = promoter.promote(chunk, &mut KeepIf(|_, _| true)).unwrap();
        let mut commit = commit_of(&[]);
        commit.push_segments(&change);
        self.journal.write(commit).unwrap();
        self.journal.drop_below(below).unwrap();
        self.disk.take();
    }

    fn read(&self, from: Offset, most: usize, cursor: &mut Cursor, source: Source) -> Option<u64> {
        let read = self.reader.read(ONE, from, most, cursor, source).unwrap()?;
        Some(read.last().map_or(from, |last| last.base_offset + 1))
    }

    fn tail_is_in_memory(&self) -> bool {
        let cursor = &mut Cursor::default();
        let next = self.read(self.batches - 500, 1 << 20, cursor, Source::CacheOnly);
        next == Some(self.batches)
    }

    /// Many readers in turn, each at another place, a little at a time.
    fn replay(&self, readers: u64, step: usize) -> u64 {
        let share = (self.batches - 2000) / readers;
        let mut places: Vec<_> = (0..readers)
            .map(|number| (number * share, Cursor::default()))
            .collect();
        let ends: Vec<_> = (1..=readers).map(|number| number * share).collect();
        while places.iter().zip(&ends).any(|((next, _), end)| next < end) {
            for ((next, cursor), end) in places.iter_mut().zip(&ends) {
                if *next < *end {
                    *next = self.read(*next, step, cursor, Source::Disk).unwrap();
                }
            }
        }
        self.disk.take()
    }
}

#[test]
fn many_readers_of_history_do_not_read_much_twice() {
    let mut old = old(30_000, 4 << 20);
    for generation in ["journal", "segments"] {
        let bytes = 28_000 * BODY as u64;
        // The last ones read so little each that where a commit begins makes a difference.
        let crowds = [
            (1, 8 << 10, 1),
            (10, 8 << 10, 1),
            (40, 16 << 10, 1),
            (200, 128 << 10, 2),
        ];
        for (readers, step, more) in crowds {
            let read = old.replay(readers, step);
            assert!(
                read < bytes * (1 + more),
                "{readers} readers of {generation}: {read} for {bytes}"
            );
            assert!(old.tail_is_in_memory());
        }
        old.promote();
    }
}

#[test]
fn what_is_read_ahead_is_there_when_it_is_wanted() {
    let mut old = old(30_000, 4 << 20);
    for _ in 0..2 {
        let mut cursor = Cursor::default();
        let mut next = old.read(0, 64 << 10, &mut cursor, Source::Disk).unwrap();
        let mut misses = 0;
        while next < 28_000 {
            old.reader.load_ahead(&cursor);
            next = match old.read(next, 64 << 10, &mut cursor, Source::CacheOnly) {
                Some(next) => next,
                None => {
                    misses += 1;
                    old.read(next, 64 << 10, &mut cursor, Source::Disk).unwrap()
                }
            };
        }
        assert!(misses <= 2, "{misses}");
        assert!(old.tail_is_in_memory());
        old.promote();
    }
}

#[test]
fn promotion_leaves_what_is_in_memory_alone() {
    let mut old = old(10_000, 4 << 20);
    let mut cursor = Cursor::default();
    old.read(0, 64 << 10, &mut cursor, Source::Disk).unwrap();
    let again = |old: &Old| old.read(0, 64 << 10, &mut Cursor::default(), Source::CacheOnly);
    assert!(again(&old).is_some());
    let promoter = old.journal.promoter();
    let chunk = promoter.survey(old.journal.end(), usize::MAX).unwrap();
    promoter.promote(chunk, &mut KeepIf(|_, _| true)).unwrap();
    assert!(again(&old).is_some());
    assert!(old.tail_is_in_memory());
    // Each byte of the chunk is read twice, for its place and for its content.
    let read = old.disk.take();
    assert!(read < 3 * 10_000 * BODY as u64, "{read}");
    old.promote();
}
