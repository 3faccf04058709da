//! What the kernel says of a process.

use std::path::{Path, PathBuf};

use forebay_tests::Forebay;

/// Where the kernel counts what groups of processes write to block devices (cgroups, version 1).
const GROUPS: &str = "/sys/fs/cgroup/blkio";

fn group_of(forebay: &Forebay) -> PathBuf {
    let pid = forebay.pid().as_raw_nonzero();
    Path::new(GROUPS).join(format!("forebay-bench-{pid}"))
}

/// Has the block layer count for this process alone, from now on, what it writes to the disk of
/// `dir`. Whether it does: that takes root, a whole disk, and a kernel that still has the first
/// version of cgroups.
pub(crate) fn count_blocks(forebay: &Forebay, dir: &Path) -> bool {
    let group = group_of(forebay);
    let pid = forebay.pid().as_raw_nonzero().to_string();
    let disk = rustix::fs::stat(dir).expect("the data has a folder").st_dev;
    let (major, minor) = (rustix::fs::major(disk), rustix::fs::minor(disk));
    // It counts only where there is a limit: one that is never reached.
    let limit = format!("{major}:{minor} {}", 1_u64 << 40);
    std::fs::create_dir(&group).is_ok()
        && std::fs::write(group.join("blkio.throttle.write_bps_device"), limit).is_ok()
        && std::fs::write(group.join("cgroup.procs"), pid).is_ok()
}

/// Ends the counting of a process that has ended.
pub(crate) fn forget_blocks(group: &Path) {
    // One that was never made is not there.
    let _ = std::fs::remove_dir(group);
}

/// The group to forget when the process has ended.
pub(crate) fn blocks_of(forebay: &Forebay) -> PathBuf {
    group_of(forebay)
}

fn blocks_written(forebay: &Forebay) -> Option<u64> {
    let counts = group_of(forebay).join("blkio.throttle.io_service_bytes");
    let text = std::fs::read_to_string(counts).ok()?;
    let written = text.lines().filter_map(|line| {
        let (_, count) = line.split_once(" Write ")?;
        count.parse::<u64>().ok()
    });
    Some(written.sum())
}

/// Sums since the start of the process, and its memory now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Bytes of pages it has made dirty, each counted again when it was written out in between. A
    /// file system that keeps large pages counts a whole one for each byte of it.
    pub(crate) dirtied: u64,
    /// Bytes the block layer has written for it, if it counts them.
    pub(crate) blocks: Option<u64>,
    /// Bytes it has caused to be read from the disk.
    pub(crate) read: u64,
    /// Memory resident.
    pub(crate) resident: u64,
    /// Of this, what is no file's page.
    pub(crate) anonymous: u64,
    /// The most that was resident.
    pub(crate) peak: u64,
    /// Processor time, both modes, seconds.
    pub(crate) cpu: f64,
}

impl Usage {
    /// Bytes written to the disk, as the block layer counts or else as pages were made dirty.
    pub(crate) fn written(&self) -> u64 {
        self.blocks.unwrap_or(self.dirtied)
    }

    pub(crate) fn of(forebay: &Forebay) -> Self {
        let pid = forebay.pid().as_raw_nonzero();
        let read = |name: &str| {
            std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("the program runs")
        };
        let (io, status, stat) = (read("io"), read("status"), read("stat"));
        let number = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let word = line.and_then(|line| line.split_whitespace().nth(1));
            word.and_then(|word| word.parse::<u64>().ok())
                .unwrap_or_else(|| panic!("the kernel tells {name}"))
        };
        // The name of the program, in brackets, may hold blanks.
        let after_name = stat.rsplit_once(')').expect("stat has a name").1;
        let ticks: u64 = after_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|word| word.parse::<u64>().expect("ticks"))
            .sum();
        Self {
            blocks: blocks_written(forebay),
            dirtied: number(&io, "write_bytes:"),
            read: number(&io, "read_bytes:"),
            resident: number(&status, "VmRSS:") << 10,
            anonymous: number(&status, "RssAnon:") << 10,
            peak: number(&status, "VmHWM:") << 10,
            cpu: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        }
    }
}
