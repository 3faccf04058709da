//! What a request means and whether it is allowed. Nothing here changes anything.

use forebay_base::{Offset, PartitionId, Timestamp};

use super::{
    HELD_AT_MOST, HELD_OVERHEAD, Known, Phase, TRANSACTION_MS_AT_MOST, TransactionRefusal,
    Transactions,
};
use crate::offsets::Committed;

/// What a producer that names itself becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its producer id; `None` for a new one.
    pub producer: Option<i64>,
    /// Its epoch.
    pub epoch: i16,
    /// The epoch before, which a repetition of this request names; -1 if none may.
    pub last_epoch: i16,
    /// A life before has a transaction that must be aborted first.
    pub abort: Option<i64>,
}

/// What the end of a transaction takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The producer.
    pub producer: i64,
    /// Its epoch so far.
    pub epoch: i16,
    /// The partitions that get a marker, and the transaction's first record in each.
    pub partitions: Vec<(PartitionId, Offset)>,
    /// The offsets that are committed with it, by group.
    pub groups: Vec<(String, Vec<(PartitionId, Committed)>)>,
}

impl Transactions {
    /// What a producer that names itself `name` becomes. `expected` are the producer id and epoch
    /// it believes to have, to go on after an error (KIP-360).
    ///
    /// # Errors
    /// The time is out of range, or another life has taken over.
    pub fn register(
        &self,
        name: &str,
        timeout_ms: u64,
        expected: Option<(i64, i16)>,
    ) -> Result<Registration, TransactionRefusal> {
        if timeout_ms == 0 || timeout_ms > TRANSACTION_MS_AT_MOST {
            return Err(TransactionRefusal::InvalidTimeout { ms: timeout_ms });
        }
        let fresh = Registration {
            producer: None,
            epoch: 0,
            last_epoch: -1,
            abort: None,
        };
        let Some((producer, known)) = self.named(name) else {
            return Ok(fresh);
        };
        let ongoing = matches!(known.phase, Phase::Ongoing(_));
        let abort = ongoing.then_some(producer);
        if let Some((id, found)) = expected {
            let repeated = found == known.last_epoch && !ongoing;
            if id != producer || (found != known.epoch && !repeated) {
                return Err(TransactionRefusal::Fenced { found });
            }
            if repeated && found != known.epoch {
                return Ok(Registration {
                    producer: Some(producer),
                    epoch: known.epoch,
                    last_epoch: known.last_epoch,
                    abort: None,
                });
            }
        }
        if known.epoch >= i16::MAX - 1 {
            return Ok(Registration { abort, ..fresh });
        }
        Ok(Registration {
            producer: Some(producer),
            epoch: known.epoch + 1,
            last_epoch: expected.map_or(-1, |_| known.epoch),
            abort,
        })
    }

    /// Whether a transaction of the producer can take partitions or groups in, as
    /// [`StreamEvent::TransactionPartitionsAdded`](crate::StreamEvent) tells.
    ///
    /// # Errors
    /// The producer is unknown or fenced.
    pub fn check(&self, name: &str, producer: i64, epoch: i16) -> Result<(), TransactionRefusal> {
        self.find(name, producer, epoch).map(|_| ())
    }

    /// Whether all of these partitions are in the producer's transaction.
    pub fn includes(&self, producer: i64, partitions: &[PartitionId]) -> bool {
        let known = self.known.get(&producer);
        known.is_some_and(|known| match &known.phase {
            Phase::Ongoing(ongoing) => {
                let mut all = partitions.iter();
                all.all(|partition| ongoing.partitions.contains_key(partition))
            }
            _ => false,
        })
    }

    /// Whether the group is in the producer's transaction.
    pub fn includes_group(&self, producer: i64, group: &str) -> bool {
        let known = self.known.get(&producer);
        known.is_some_and(|known| match &known.phase {
            Phase::Ongoing(ongoing) => ongoing.groups.contains_key(group),
            _ => false,
        })
    }

    /// Whether a transaction can hold these offsets for a group until it ends.
    ///
    /// # Errors
    /// The producer is unknown or fenced, the group is not in the transaction, or they are too
    /// many.
    pub fn check_offsets(
        &self,
        (name, producer, epoch): (&str, i64, i16),
        group: &str,
        entries: &[(PartitionId, Committed)],
    ) -> Result<(), TransactionRefusal> {
        let known = self.find(name, producer, epoch)?;
        let Phase::Ongoing(ongoing) = &known.phase else {
            return Err(TransactionRefusal::InvalidState);
        };
        if !ongoing.groups.contains_key(group) {
            return Err(TransactionRefusal::InvalidState);
        }
        let held = ongoing.groups.values().flat_map(|held| held.values());
        let more = entries.iter().map(|(_, committed)| committed);
        let bytes = held
            .chain(more)
            .map(|committed| committed.metadata.len() + HELD_OVERHEAD);
        if bytes.sum::<usize>() > HELD_AT_MOST {
            return Err(TransactionRefusal::TooManyOffsets);
        }
        Ok(())
    }

    /// Whether the producer of that id and epoch may append to `partition`, inside of a transaction
    /// or not. Who never named itself may do so outside only.
    ///
    /// # Errors
    /// The producer is unknown or fenced, the partition is not in its transaction, or a
    /// transaction has records there and this one is none of it.
    pub fn check_append(
        &self,
        partition: PartitionId,
        producer: i64,
        epoch: i16,
        transactional: bool,
    ) -> Result<(), TransactionRefusal> {
        let Some(known) = self.known.get(&producer) else {
            return match transactional {
                true => Err(TransactionRefusal::UnknownProducer),
                false => Ok(()),
            };
        };
        if epoch != known.epoch {
            return Err(TransactionRefusal::Fenced { found: epoch });
        }
        let first = match &known.phase {
            Phase::Ongoing(ongoing) => ongoing.partitions.get(&partition),
            _ => None,
        };
        match (transactional, first) {
            (true, None) | (false, Some(Some(_))) => Err(TransactionRefusal::InvalidState),
            _ => Ok(()),
        }
    }

    /// What it takes to end the producer's transaction; `None` if it has been ended in this way
    /// already, and this is a repetition.
    ///
    /// # Errors
    /// The producer is unknown or fenced, or there is no such transaction.
    pub fn end(
        &self,
        name: &str,
        producer: i64,
        epoch: i16,
        commit: bool,
    ) -> Result<Option<Ending>, TransactionRefusal> {
        let known = self.find(name, producer, epoch)?;
        match (&known.phase, commit) {
            (Phase::Ongoing(_), _) => Ok(self.ending(producer)),
            (Phase::Committed, true) | (Phase::Aborted, false) => Ok(None),
            _ => Err(TransactionRefusal::InvalidState),
        }
    }

    /// What it takes to end the transaction of a producer; `None` if it has none.
    pub fn ending(&self, producer: i64) -> Option<Ending> {
        let known = self.known.get(&producer)?;
        let Phase::Ongoing(ongoing) = &known.phase else {
            return None;
        };
        let partitions = ongoing.partitions.iter();
        let groups = ongoing.groups.iter().filter(|(_, held)| !held.is_empty());
        Some(Ending {
            producer,
            epoch: known.epoch,
            partitions: partitions
                .filter_map(|(partition, first)| Some((*partition, (*first)?)))
                .collect(),
            groups: groups
                .map(|(group, held)| {
                    let held = held.iter();
                    let held = held.map(|(partition, committed)| (*partition, committed.clone()));
                    (group.clone(), held.collect())
                })
                .collect(),
        })
    }

    /// The producers whose transactions are over their time.
    pub fn overdue(&self, now: Timestamp) -> Vec<i64> {
        self.due
            .iter()
            .take_while(|(due, _)| *due <= now)
            .map(|(_, producer)| *producer)
            .collect()
    }

    fn named(&self, name: &str) -> Option<(i64, &Known)> {
        let producer = *self.names.get(name)?;
        Some((producer, self.known.get(&producer)?))
    }

    fn find(&self, name: &str, producer: i64, epoch: i16) -> Result<&Known, TransactionRefusal> {
        let (id, known) = self
            .named(name)
            .ok_or(TransactionRefusal::UnknownProducer)?;
        if id != producer {
            return Err(TransactionRefusal::UnknownProducer);
        }
        if epoch != known.epoch {
            return Err(TransactionRefusal::Fenced { found: epoch });
        }
        Ok(known)
    }
}
