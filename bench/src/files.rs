//! The files of a data directory, as they lie there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

/// A file and its length.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// Every file below `dir`, by path. A file that goes away meanwhile is left out.
pub(crate) fn below(dir: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(dir) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => open.push(entry.path()),
                Ok(data) => found.push(Found {
                    path: entry.path(),
                    bytes: data.len(),
                }),
                Err(_) => {}
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Bytes by the last word of the files' names: journal, spare, segment, snapshot.
pub(crate) fn by_kind(dir: &Path) -> BTreeMap<String, u64> {
    let mut kinds = BTreeMap::new();
    for file in below(dir) {
        if let Some(kind) = file.path.extension() {
            let kind = kind.to_string_lossy().into_owned();
            *kinds.entry(kind).or_default() += file.bytes;
        }
    }
    kinds
}

/// The files that hold records, in the order they were written: segments, then the journal.
pub(crate) fn of_records(dir: &Path) -> Vec<Found> {
    let all = below(dir);
    let of = |kind: &'static str| {
        let kept = all
            .iter()
            .filter(move |file| file.path.extension().is_some_and(|word| word == kind));
        kept.cloned()
    };
    of("segment").chain(of("journal")).collect()
}

/// Asks the kernel to forget its cached pages of all files below `dir`.
pub(crate) fn forget_cached(dir: &Path) {
    for found in below(dir) {
        let Ok(file) = File::open(&found.path) else {
            continue;
        };
        // Only what is on the disk can be forgotten.
        let _ = file.sync_data();
        fadvise(&file, 0, None, Advice::DontNeed).expect("a file takes advice");
    }
}

/// Reads the files one after the other, at most `limit` bytes, by 1 MiB: bytes and time.
pub(crate) fn read_plain(files: &[Found], limit: u64) -> (u64, Duration) {
    let mut buffer = vec![0; 1 << 20];
    let (mut bytes, begun) = (0, Instant::now());
    for found in files {
        let Ok(mut file) = File::open(&found.path) else {
            continue;
        };
        while bytes < limit {
            match file.read(&mut buffer).expect("a file can be read") {
                0 => break,
                read => bytes += read as u64,
            }
        }
    }
    (bytes, begun.elapsed())
}
