//! What the disk can do without us: one writer, 4 KiB and `fdatasync`, over and over, in a file that
//! is laid out with zeros before, as the journal's are.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
const BLOCKS: u64 = 4096;

/// Syncs per second, measured for `time`.
pub(crate) fn syncs_per_second(dir: &Path, time: Duration) -> f64 {
    let path = dir.join("raw-disk");
    let file = File::create(&path).unwrap();
    file.write_all_at(&vec![0; BLOCK * BLOCKS as usize], 0)
        .unwrap();
    file.sync_all().unwrap();
    let block = [7; BLOCK];
    let begun = Instant::now();
    let mut syncs = 0;
    while begun.elapsed() < time {
        file.write_all_at(&block, syncs % BLOCKS * BLOCK as u64)
            .unwrap();
        file.sync_data().unwrap();
        syncs += 1;
    }
    let rate = syncs as f64 / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}
