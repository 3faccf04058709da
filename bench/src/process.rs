//! What the kernel says of a process.

use forebay_tests::Forebay;

/// Sums since the start of the process, and its memory now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Bytes it has caused to be written to the disk: pages made dirty, each counted again when it
    /// was written out in between.
    pub(crate) written: u64,
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
            written: number(&io, "write_bytes:"),
            read: number(&io, "read_bytes:"),
            resident: number(&status, "VmRSS:") << 10,
            anonymous: number(&status, "RssAnon:") << 10,
            peak: number(&status, "VmHWM:") << 10,
            cpu: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        }
    }
}
