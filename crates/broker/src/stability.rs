//! What readers must know of transactions: up to where a partition's records are decided, and which
//! transactions were aborted.
//!
//! The shard tells of a transaction's first record before the journal has it, and of its end when
//! that is durable. So what a reader sees here is never further than what is decided.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay_base::{Offset, PartitionId};
use forebay_log::{LogReader, Stored};
use forebay_record::Batch;
use forebay_stream::Aborted;
use hashbrown::HashMap;
use parking_lot::RwLock;

/// The transactions of all partitions, as far as readers are concerned.
#[derive(Debug, Default)]
pub(crate) struct Stability {
    /// Whether there was ever a transaction in this life: most brokers see none.
    used: AtomicBool,
    partitions: RwLock<HashMap<PartitionId, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// The first records of transactions that are not decided.
    open: BTreeSet<Offset>,
    aborted: Vec<Aborted>,
}

/// What has happened. Those of one partition may come in another order than they happened as long
/// as they are about different transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StabilityChange {
    /// A transaction has a first record in the partition.
    Opened {
        partition: PartitionId,
        first: Offset,
    },
    /// It is decided, durably.
    Ended {
        partition: PartitionId,
        first: Offset,
        aborted: Option<Aborted>,
    },
    /// These were aborted in an earlier life.
    Aborted {
        partition: PartitionId,
        all: Vec<Aborted>,
    },
    /// The partition begins there.
    Started { partition: PartitionId, at: Offset },
    /// The partition is gone.
    Removed(PartitionId),
}

impl Stability {
    /// Follows a change.
    pub(crate) fn follow(&self, change: StabilityChange) {
        let mut partitions = self.partitions.write();
        match change {
            StabilityChange::Opened { partition, first } => {
                let known = partitions.entry(partition).or_default();
                known.open.insert(first);
            }
            StabilityChange::Ended {
                partition,
                first,
                aborted,
            } => {
                let Some(known) = partitions.get_mut(&partition) else {
                    return;
                };
                known.open.remove(&first);
                known.aborted.extend(aborted);
                if known.is_empty() {
                    partitions.remove(&partition);
                }
            }
            StabilityChange::Aborted { partition, all } => {
                let known = partitions.entry(partition).or_default();
                known.aborted = all;
            }
            StabilityChange::Started { partition, at } => {
                let Some(known) = partitions.get_mut(&partition) else {
                    return;
                };
                Aborted::trim(&mut known.aborted, at);
                if known.is_empty() {
                    partitions.remove(&partition);
                }
            }
            StabilityChange::Removed(partition) => {
                partitions.remove(&partition);
            }
        }
        self.used.store(true, Ordering::Release);
    }

    /// The first record of the partition that is not decided; `None` if all are.
    pub(crate) fn first_open(&self, partition: PartitionId) -> Option<Offset> {
        if !self.used.load(Ordering::Acquire) {
            return None;
        }
        let partitions = self.partitions.read();
        partitions.get(&partition)?.open.first().copied()
    }

    /// The transactions that were aborted and reach into the range from `from` on and below `end`.
    pub(crate) fn aborted(
        &self,
        partition: PartitionId,
        from: Offset,
        end: Offset,
    ) -> Vec<Aborted> {
        if !self.used.load(Ordering::Acquire) {
            return Vec::new();
        }
        let partitions = self.partitions.read();
        let known = partitions.get(&partition);
        known.map_or_else(Vec::new, |known| {
            let within = Aborted::within(&known.aborted, from, end);
            within.copied().collect()
        })
    }

    /// Leaves only messages: no markers, and nothing of transactions that were aborted.
    pub(crate) fn keep_messages(
        &self,
        reader: &LogReader,
        partition: PartitionId,
        mut stored: Vec<Stored>,
    ) -> Vec<Stored> {
        stored.retain(|stored| !self.is_void(partition, stored));
        // What was dropped since it was read may have been aborted, which is not known any more.
        let bounds = reader.bounds(partition);
        stored.retain(|stored| bounds.is_some_and(|bounds| end_of(stored) > bounds.start));
        stored
    }

    fn is_void(&self, partition: PartitionId, stored: &Stored) -> bool {
        // What cannot be read is for the reader to tell.
        let Ok(batch) = Batch::from_trusted(stored.batch.clone()) else {
            return false;
        };
        let header = batch.header();
        if header.is_control() {
            return true;
        }
        let at = stored.base_offset;
        header.is_transactional() && {
            let mut aborted = self
                .aborted(partition, at, at.saturating_add(1))
                .into_iter();
            aborted.any(|aborted| aborted.producer == header.producer_id)
        }
    }
}

fn end_of(stored: &Stored) -> Offset {
    let records = Offset::from(stored.records);
    stored.base_offset.saturating_add(records)
}

impl Known {
    fn is_empty(&self) -> bool {
        self.open.is_empty() && self.aborted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_decided_holds_back_until_the_last_of_it_ends() {
        let stability = Stability::default();
        let partition = PartitionId(1);
        assert_eq!(stability.first_open(partition), None);
        for first in [5, 3] {
            stability.follow(StabilityChange::Opened { partition, first });
        }
        assert_eq!(stability.first_open(partition), Some(3));
        let aborted = Aborted {
            producer: 7,
            first: 3,
            last: 6,
            stable: 5,
        };
        stability.follow(StabilityChange::Ended {
            partition,
            first: 3,
            aborted: Some(aborted),
        });
        assert_eq!(stability.first_open(partition), Some(5));
        assert_eq!(stability.aborted(partition, 6, 7), [aborted]);
        assert!(stability.aborted(partition, 7, 9).is_empty());
        assert!(stability.aborted(partition, 0, 3).is_empty());
        stability.follow(StabilityChange::Ended {
            partition,
            first: 5,
            aborted: None,
        });
        assert_eq!(stability.first_open(partition), None);
        stability.follow(StabilityChange::Started { partition, at: 7 });
        assert!(stability.partitions.read().is_empty());
    }
}
