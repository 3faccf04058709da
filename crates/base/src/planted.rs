//! Bugs that can be switched on, to see that the simulation would find them.
//!
//! A place that can be wrong says so with [`planted!`](crate::planted!), and does the wrong thing
//! while that bug is planted. Without the cargo feature `planted`, which nothing that is delivered
//! has, the macro leaves nothing behind. At most one bug is planted at a time, for one thread:
//! a simulated world runs on one thread.

/// `planted!(Bug => wrong)` does something wrong at the start of what would be right;
/// `planted!(Bug => wrong, else right)` has a wrong value for a right one.
#[cfg(feature = "planted")]
#[macro_export]
macro_rules! planted {
    ($bug:ident => $wrong:expr, else $right:expr) => {
        if $crate::planted::is($crate::planted::Bug::$bug) {
            $wrong
        } else {
            $right
        }
    };
    ($bug:ident => $wrong:expr) => {
        if $crate::planted::is($crate::planted::Bug::$bug) {
            $wrong;
        }
    };
}

/// `planted!(Bug => wrong)` does something wrong at the start of what would be right;
/// `planted!(Bug => wrong, else right)` has a wrong value for a right one.
#[cfg(not(feature = "planted"))]
#[macro_export]
macro_rules! planted {
    ($bug:ident => $wrong:expr, else $right:expr) => {
        $right
    };
    ($bug:ident => $wrong:expr) => {};
}

#[cfg(feature = "planted")]
pub use switch::{Bug, is, plant};

#[cfg(feature = "planted")]
mod switch {
    use std::cell::Cell;

    macro_rules! bugs {
        ($($(#[doc = $text:literal])* $name:ident),* $(,)?) => {
            /// What goes wrong.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum Bug { $($(#[doc = $text])* $name,)* }

            impl Bug {
                /// All there are.
                pub const ALL: &'static [Self] = &[$(Self::$name),*];

                /// What it does, in words.
                pub fn words(self) -> &'static str {
                    match self { $(Self::$name => concat!($($text),*).trim_ascii(),)* }
                }
            }
        };
    }

    bugs! {
        /// Commits are not synced.
        JournalNotSynced,
        /// A sync that fails is taken for one that did not.
        FailedSyncIgnored,
        /// Recovery does not write the last commit again.
        LastCommitNotWrittenAgain,
        /// A torn commit is taken for a whole one at recovery.
        TornTailAccepted,
        /// Commits read from the disk are not checked.
        JournalReadUnchecked,
        /// Blocks read from segments are not checked.
        BlockReadUnchecked,
        /// A segment is not synced before its frame is written.
        ObjectNotSynced,
        /// Snapshots are not synced.
        SnapshotNotSynced,
        /// A journal file is dropped one too early.
        JournalDroppedEarly,
        /// Journal files are dropped before the snapshot is saved that makes them unnecessary.
        JournalDroppedBeforeSnapshot,
        /// Journal files are dropped although unsettled records lie in them.
        NeededForgotten,
        /// The journal is dropped before the segments' frame is durable.
        DroppedBeforeFrame,
        /// Segments are deleted while runs lie in them.
        LiveObjectDeleted,
        /// The last batch of a run is not promoted.
        RunEndsEarly,
        /// Segments' frames are forgotten at recovery.
        SegmentsNotReplayed,
        /// Replies leave before what they rest on is durable.
        ReplyBeforeDurable,
        /// Snapshots forget committed offsets.
        OffsetsNotInSnapshot,
        /// Snapshots forget the sequence numbers of producers.
        ProducersNotInSnapshot,
        /// Snapshots forget what is settled.
        QueuesNotInSnapshot,
        /// Appends are not replayed.
        AppendsNotReplayed,
        /// Settlements are not replayed.
        SettledNotReplayed,
        /// Committed offsets are not replayed.
        OffsetsNotReplayed,
        /// A message that comes back is forgotten.
        ReleasedForgotten,
        /// Leases are not kept.
        LeaseForgotten,
        /// A delay is forgotten.
        DelayForgotten,
        /// Messages are handed out once more than is allowed.
        OneDeliveryTooMany,
        /// A dead letter stays where it was.
        DeadLetterNotSettled,
        /// A dead letter does not arrive.
        DeadLetterNotCopied,
        /// Trimming takes one record too many.
        TrimmedTooFar,
        /// Compaction keeps the oldest record of a key.
        OldestKept,
        /// A repeated batch of a producer is appended again.
        DuplicateAppended,
    }

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug for this thread, instead of the one before.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this thread has this bug.
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}
