//! How much of the world a run has seen.

use std::fmt;
use std::ops::AddAssign;

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident $label:literal),* $(,)?) => {
        /// Counts of what happened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Stats { $($(#[$doc])* pub $name: u64,)* }

        impl AddAssign for Stats {
            fn add_assign(&mut self, other: Self) { $(self.$name += other.$name;)* }
        }

        impl fmt::Display for Stats {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "  {:<28} {}", $label, self.$name)?;)*
                Ok(())
            }
        }
    };
}

stats! {
    /// Worlds.
    worlds "worlds",
    /// Steps of the scheduler.
    steps "steps",
    /// Commands sent.
    commands "commands",
    /// Messages whose publish was confirmed.
    published "messages confirmed",
    /// Messages handed out.
    delivered "deliveries",
    /// Deliveries at most once whose record was gone before it was read.
    vanished "deliveries that came to nothing",
    /// Receipts settled for good.
    settled "messages settled",
    /// Dead letters seen at their target.
    dead_letters "dead letters",
    /// Records read as history.
    read "records read as history",
    /// Starts of the broker after the first.
    lives "restarts",
    /// Power cuts.
    power_cuts "power cuts",
    /// Ends of the process.
    kills "killed processes",
    /// Orderly stops.
    stops "orderly stops",
    /// Troubles of the disk.
    troubles "disk troubles",
    /// Faults of the object store.
    object_faults "object store faults",
    /// Shards that stopped because the disk failed.
    stopped "shards stopped by the disk",
    /// Starts refused.
    refused_starts "starts that failed",
    /// Reads that failed.
    failed_reads "reads that failed",
    /// Disks filled up.
    full "full disks",
    /// Publishes refused for a full disk.
    pushed_back "publishes pushed back",
    /// Bits turned over in a copy of the world.
    rotten "bits turned over",
    /// Of those, found.
    found_rotten "damage found",
    /// Commits written.
    commits "commits",
    /// Snapshots saved.
    snapshots "snapshots",
    /// Steps of promotion and cleaning.
    promotions "steps of promotion",
    /// Segments written.
    segments "segments",
    /// Journal files dropped.
    dropped "journal files dropped",
    /// Objects deleted.
    deleted "objects deleted",
    /// Trims.
    trims "trims",
    /// Partitions read from end to end.
    audits "partitions audited",
}
