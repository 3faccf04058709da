//! Idempotent producers (KIP-98).

use std::collections::{BTreeMap, BTreeSet};

use forebay_base::{Offset, PartitionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::event::StreamEvent;

/// How many of a producer's latest batches are remembered per partition, and so how many requests
/// it may have under way while a repetition is still recognised.
pub const REMEMBERED_BATCHES: usize = 5;

/// After how many milliseconds without a batch a producer is forgotten: 24 hours.
pub const PRODUCER_IDLE_MS: u64 = 24 * 60 * 60 * 1000;

/// How many pairs of partition and producer are remembered. Beyond that the longest idle one is
/// forgotten, as if its time were over.
const MOST_ENTRIES: usize = 200_000;

/// The part of a record batch that identifies it among its producer's batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The producer's id.
    pub id: i64,
    /// Which life of the producer wrote it; a newer life fences off older ones.
    pub epoch: i16,
    /// The sequence number of the first record; those of the others follow. After `i32::MAX`
    /// comes 0.
    pub base_sequence: i32,
    /// How many records; at least 1.
    pub count: u32,
}

impl ProducerBatch {
    fn last_sequence(&self) -> i32 {
        let more = i64::from(self.count.saturating_sub(1));
        let last = (i64::from(self.base_sequence) + more).rem_euclid(1 << 31);
        i32::try_from(last).unwrap_or(i32::MAX)
    }
}

/// What a batch that fits is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// New: append it, then tell [`Producers::record`].
    Accept,
    /// A repetition of a batch that was appended: answer as then, append nothing.
    Duplicate {
        /// Where the batch was appended.
        base_offset: Offset,
    },
}

/// Why a batch does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerRefusal {
    /// A batch before this one is missing, or this one is a repetition too old to be recognised.
    #[error("the sequence number {found} does not follow; {expected} is next")]
    OutOfOrderSequence {
        /// The sequence number that would have followed.
        expected: i32,
        /// The sequence number of the batch.
        found: i32,
    },
    /// A newer life of the producer has written since.
    #[error("the producer's epoch {found} is over; {current} is the present one")]
    StaleEpoch {
        /// The newest epoch seen.
        current: i16,
        /// The epoch of the batch.
        found: i16,
    },
    /// The producer id, epoch or sequence is negative, or the batch holds no record.
    #[error("the producer id, epoch, sequence number or record count is out of range")]
    Malformed,
}

/// A producer that wrote to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub id: i64,
    /// The newest epoch seen.
    pub epoch: i16,
    /// The sequence number of its last record.
    pub last_sequence: i32,
    /// When it wrote that, a minute early at most.
    pub used: Timestamp,
}

/// Every producer's latest batches, by partition, and the next producer id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved")]
pub struct Producers {
    next: i64,
    entries: BTreeMap<(PartitionId, i64), Entry>,
    /// The same entries by the time of their last use.
    #[serde(skip)]
    idle: BTreeSet<(Timestamp, PartitionId, i64)>,
}

/// What is stored of [`Producers`], in the same order; the rest is computed from it.
#[derive(Deserialize)]
struct Saved {
    next: i64,
    entries: BTreeMap<(PartitionId, i64), Entry>,
}

impl From<Saved> for Producers {
    fn from(saved: Saved) -> Self {
        let Saved { next, entries } = saved;
        let idle = entries
            .iter()
            .map(|(&(partition, id), entry)| (entry.used, partition, id))
            .collect();
        Self {
            next,
            entries,
            idle,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    epoch: i16,
    used: Timestamp,
    latest: Written,
    /// Those before the latest, newest last; fewer than [`REMEMBERED_BATCHES`].
    earlier: Vec<Written>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Written {
    base_sequence: i32,
    last_sequence: i32,
    base_offset: Offset,
}

impl Producers {
    /// The lowest producer id that was never given out. Whoever gives ids out journals
    /// [`StreamEvent::ProducerAllocated`] first.
    pub fn next_id(&self) -> i64 {
        self.next
    }

    /// Makes the change that `event` tells of. Events about other things have no effect.
    pub fn apply(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::ProducerAllocated { next } => self.next = self.next.max(*next),
            StreamEvent::PartitionsRemoved { partitions } => {
                for &partition in partitions {
                    self.remove_partition(partition);
                }
            }
            StreamEvent::OffsetsCommitted { .. }
            | StreamEvent::GroupDeleted { .. }
            | StreamEvent::OffsetsDeleted { .. }
            | StreamEvent::TransactionalProducer { .. }
            | StreamEvent::TransactionPartitionsAdded { .. }
            | StreamEvent::TransactionGroupAdded { .. }
            | StreamEvent::TransactionOffsetsHeld { .. }
            | StreamEvent::TransactionEnded { .. } => {}
        }
    }

    fn remove_partition(&mut self, partition: PartitionId) {
        let range = (partition, i64::MIN)..=(partition, i64::MAX);
        let ids: Vec<_> = self.entries.range(range).map(|(&(_, id), _)| id).collect();
        for id in ids {
            self.forget(partition, id);
        }
    }

    fn forget(&mut self, partition: PartitionId, id: i64) {
        if let Some(entry) = self.entries.remove(&(partition, id)) {
            self.idle.remove(&(entry.used, partition, id));
        }
    }

    /// Whether `batch` may be appended to `partition` now.
    ///
    /// A producer that is not known here may start with any sequence number, since what was known
    /// of it may have been forgotten. A new epoch starts at 0.
    ///
    /// # Errors
    /// Why the batch must not be appended.
    pub fn check(
        &self,
        partition: PartitionId,
        batch: ProducerBatch,
    ) -> Result<Fresh, ProducerRefusal> {
        if batch.id < 0 || batch.epoch < 0 || batch.base_sequence < 0 || batch.count == 0 {
            return Err(ProducerRefusal::Malformed);
        }
        let Some(entry) = self.entries.get(&(partition, batch.id)) else {
            return Ok(Fresh::Accept);
        };
        if batch.epoch < entry.epoch {
            return Err(ProducerRefusal::StaleEpoch {
                current: entry.epoch,
                found: batch.epoch,
            });
        }
        let expected = if batch.epoch > entry.epoch {
            0
        } else {
            let last_sequence = batch.last_sequence();
            let same = |written: &&Written| {
                written.base_sequence == batch.base_sequence
                    && written.last_sequence == last_sequence
            };
            if let Some(written) = entry.earlier.iter().chain([&entry.latest]).find(same) {
                return Ok(Fresh::Duplicate {
                    base_offset: written.base_offset,
                });
            }
            entry.latest.last_sequence.checked_add(1).unwrap_or(0)
        };
        if batch.base_sequence == expected {
            Ok(Fresh::Accept)
        } else {
            Err(ProducerRefusal::OutOfOrderSequence {
                expected,
                found: batch.base_sequence,
            })
        }
    }

    /// Remembers that `batch` was appended to `partition` at `base_offset`. A batch of an epoch
    /// that is over has no effect.
    pub fn record(
        &mut self,
        partition: PartitionId,
        batch: ProducerBatch,
        base_offset: Offset,
        now: Timestamp,
    ) {
        let latest = Written {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
        };
        match self.entries.get_mut(&(partition, batch.id)) {
            Some(entry) if batch.epoch < entry.epoch => return,
            Some(entry) => {
                if batch.epoch > entry.epoch {
                    entry.epoch = batch.epoch;
                    entry.earlier.clear();
                } else {
                    if entry.earlier.len() + 1 >= REMEMBERED_BATCHES {
                        entry.earlier.remove(0);
                    }
                    entry.earlier.push(entry.latest);
                }
                entry.latest = latest;
                let before = std::mem::replace(&mut entry.used, now);
                self.idle.remove(&(before, partition, batch.id));
            }
            None => {
                let entry = Entry {
                    epoch: batch.epoch,
                    used: now,
                    latest,
                    earlier: Vec::new(),
                };
                self.entries.insert((partition, batch.id), entry);
            }
        }
        self.idle.insert((now, partition, batch.id));
        if self.entries.len() > MOST_ENTRIES
            && let Some(&(_, partition, id)) = self.idle.first()
        {
            self.forget(partition, id);
        }
    }

    /// The producers that wrote to `partition` and are not forgotten, by id.
    pub fn of_partition(&self, partition: PartitionId) -> impl Iterator<Item = ActiveProducer> {
        let range = (partition, i64::MIN)..=(partition, i64::MAX);
        self.entries
            .range(range)
            .map(|(&(_, id), entry)| ActiveProducer {
                id,
                epoch: entry.epoch,
                last_sequence: entry.latest.last_sequence,
                used: entry.used,
            })
    }

    /// Forgets producers that wrote nothing for [`PRODUCER_IDLE_MS`].
    pub fn expire(&mut self, now: Timestamp) {
        while let Some(&(used, partition, id)) = self.idle.first()
            && now.ms_since(used) >= PRODUCER_IDLE_MS
        {
            self.forget(partition, id);
        }
    }

    /// The earliest moment at which [`Producers::expire`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.idle
            .first()
            .map(|(used, ..)| used.plus_ms(PRODUCER_IDLE_MS))
    }
}
