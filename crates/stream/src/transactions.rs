//! Transactions (KIP-98): what several partitions got, and how far groups have read, takes effect
//! together or not at all.
//!
//! A producer that names itself keeps its producer id, and a new life of it gets the next epoch,
//! which fences the lives before it. What it appends is undecided until its transaction ends; below
//! the first undecided record of a partition everything is *stable*. The end is one change,
//! [`StreamEvent::TransactionEnded`], that the caller makes durable together with the markers and
//! the offsets, so there is no state in between, and none of Kafka's waiting for one.
//!
//! Everything here changes by [`Transactions::apply`] and [`Transactions::appended`] only.

mod aborted;
mod decide;
mod refusal;

use std::collections::{BTreeMap, BTreeSet};

use forebay_base::{Offset, PartitionId, Timestamp};
use serde::{Deserialize, Serialize};

pub use aborted::Aborted;
pub use decide::{Ending, Registration};
pub use refusal::TransactionRefusal;

use crate::event::StreamEvent;
use crate::offsets::Committed;

/// The longest time a transaction may be given, milliseconds: 15 minutes, as Kafka's
/// `transaction.max.timeout.ms`.
pub const TRANSACTION_MS_AT_MOST: u64 = 15 * 60 * 1000;

/// A producer that named itself and then did nothing for so long is forgotten, milliseconds: 7
/// days, as Kafka's `transactional.id.expiration.ms`.
pub const TRANSACTIONAL_IDLE_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// How many producers that named themselves are remembered. Beyond that the longest idle one
/// without a transaction is forgotten, as if its time were over.
const MOST_PRODUCERS: usize = 100_000;

/// How much the offsets of one transaction may take until they are committed, bytes.
const HELD_AT_MOST: usize = 1 << 20;

/// What an offset that is held counts as beside its metadata, bytes.
const HELD_OVERHEAD: usize = 32;

/// Every producer that named itself, its transaction, and which transactions were aborted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Saved")]
pub struct Transactions {
    /// By producer id.
    known: BTreeMap<i64, Known>,
    /// The transactions that were aborted, by partition, in the order of their markers.
    aborted: BTreeMap<PartitionId, Vec<Aborted>>,
    #[serde(skip)]
    names: BTreeMap<String, i64>,
    /// The first records of transactions that are not decided, and whose they are.
    #[serde(skip)]
    open: BTreeMap<PartitionId, BTreeMap<Offset, i64>>,
    /// How many transactions hold an offset, by group and partition.
    #[serde(skip)]
    held: BTreeMap<String, BTreeMap<PartitionId, u32>>,
    /// When each transaction is over its time.
    #[serde(skip)]
    due: BTreeSet<(Timestamp, i64)>,
    /// Those without a transaction, by the time of their last use.
    #[serde(skip)]
    idle: BTreeSet<(Timestamp, i64)>,
}

/// What is stored of [`Transactions`], in the same order; the rest is computed from it.
#[derive(Deserialize)]
struct Saved {
    known: BTreeMap<i64, Known>,
    aborted: BTreeMap<PartitionId, Vec<Aborted>>,
}

impl From<Saved> for Transactions {
    fn from(saved: Saved) -> Self {
        let mut transactions = Self {
            aborted: saved.aborted,
            ..Self::default()
        };
        for (producer, known) in saved.known {
            transactions.insert(producer, known);
        }
        transactions
    }
}

/// A producer that named itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    name: String,
    epoch: i16,
    /// The epoch before, if a repeated request for the present one may still name it; else -1.
    last_epoch: i16,
    timeout_ms: u64,
    used: Timestamp,
    phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    Empty,
    Ongoing(Ongoing),
    Committed,
    Aborted,
}

/// A transaction that is not decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ongoing {
    since: Timestamp,
    /// Where it may append, and its first record there.
    partitions: BTreeMap<PartitionId, Option<Offset>>,
    /// The groups it may commit offsets for, and those it wants to.
    groups: BTreeMap<String, BTreeMap<PartitionId, Committed>>,
}

/// What is known of a producer that named itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    /// The name.
    pub name: String,
    /// Its producer id.
    pub producer: i64,
    /// Its present epoch.
    pub epoch: i16,
    /// How long its transactions may take, milliseconds.
    pub timeout_ms: u64,
    /// Where it stands.
    pub phase: TransactionPhase,
    /// When the present transaction began.
    pub since: Option<Timestamp>,
    /// The partitions that belong to it.
    pub partitions: Vec<PartitionId>,
}

/// Where a producer's latest transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionPhase {
    /// There was none in this life.
    Empty,
    /// It is not decided.
    Ongoing,
    /// It was committed.
    Committed,
    /// It was aborted.
    Aborted,
}

impl Transactions {
    /// Makes the change that `event` tells of. Events about other things have no effect.
    pub fn apply(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::TransactionalProducer {
                name,
                producer,
                epoch,
                last_epoch,
                timeout_ms,
                at,
            } => {
                if let Some(before) = self.names.get(name).copied() {
                    self.remove(before);
                }
                let known = Known {
                    name: name.clone(),
                    epoch: *epoch,
                    last_epoch: *last_epoch,
                    timeout_ms: *timeout_ms,
                    used: *at,
                    phase: Phase::Empty,
                };
                self.remove(*producer);
                self.insert(*producer, known);
                self.forget_surplus();
            }
            StreamEvent::TransactionPartitionsAdded {
                producer,
                partitions,
                at,
            } => self.ongoing(*producer, *at, |ongoing| {
                for partition in partitions {
                    ongoing.partitions.entry(*partition).or_default();
                }
            }),
            StreamEvent::TransactionGroupAdded {
                producer,
                group,
                at,
            } => self.ongoing(*producer, *at, |ongoing| {
                ongoing.groups.entry(group.clone()).or_default();
            }),
            StreamEvent::TransactionOffsetsHeld {
                producer,
                group,
                entries,
                at,
            } => self.hold(*producer, *at, group, entries),
            StreamEvent::TransactionEnded {
                producer,
                epoch,
                committed,
                markers,
                at,
            } => self.end_of(*producer, *epoch, *committed, markers, *at),
            StreamEvent::PartitionsRemoved { partitions } => {
                for partition in partitions {
                    self.remove_partition(*partition);
                }
            }
            StreamEvent::OffsetsCommitted { .. }
            | StreamEvent::GroupDeleted { .. }
            | StreamEvent::OffsetsDeleted { .. }
            | StreamEvent::ProducerAllocated { .. } => {}
        }
    }

    /// A batch of a transaction was appended to `partition` at `base_offset`. Gives whether it is
    /// the first one of its transaction there.
    pub fn appended(&mut self, partition: PartitionId, producer: i64, base_offset: Offset) -> bool {
        let Some(known) = self.known.get_mut(&producer) else {
            return false;
        };
        let Phase::Ongoing(ongoing) = &mut known.phase else {
            return false;
        };
        match ongoing.partitions.get_mut(&partition) {
            Some(first @ None) => *first = Some(base_offset),
            _ => return false,
        }
        let open = self.open.entry(partition).or_default();
        open.insert(base_offset, producer);
        true
    }

    /// The first record of `partition` that is not decided; `None` if all are.
    pub fn first_open(&self, partition: PartitionId) -> Option<Offset> {
        let open = self.open.get(&partition)?;
        open.first_key_value().map(|(first, _)| *first)
    }

    /// Every transaction's first record that is not decided, by partition.
    pub fn open(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        let firsts = |(id, firsts): (&PartitionId, &BTreeMap<Offset, i64>)| {
            let id = *id;
            let firsts: Vec<_> = firsts.keys().map(|first| (id, *first)).collect();
            firsts
        };
        self.open.iter().flat_map(firsts)
    }

    /// The first record of the transaction that `producer` has not ended in `partition`.
    pub fn open_since(&self, partition: PartitionId, producer: i64) -> Option<Offset> {
        match &self.known.get(&producer)?.phase {
            Phase::Ongoing(ongoing) => *ongoing.partitions.get(&partition)?,
            _ => None,
        }
    }

    /// Whether a transaction holds an offset for `group` and `partition` that may yet be committed.
    pub fn holds(&self, group: &str, partition: PartitionId) -> bool {
        let held = self.held.get(group);
        held.is_some_and(|held| held.contains_key(&partition))
    }

    /// What is known of the producer of that name.
    pub fn describe(&self, name: &str) -> Option<TransactionDescription> {
        let producer = *self.names.get(name)?;
        Some(self.known.get(&producer)?.describe(producer))
    }

    /// All producers that named themselves, in order of name.
    pub fn list(&self) -> impl Iterator<Item = TransactionDescription> {
        self.names
            .values()
            .filter_map(|producer| Some(self.known.get(producer)?.describe(*producer)))
    }

    /// Forgets producers that did nothing for [`TRANSACTIONAL_IDLE_MS`].
    pub fn expire(&mut self, now: Timestamp) {
        while let Some(&(used, producer)) = self.idle.first()
            && now.ms_since(used) >= TRANSACTIONAL_IDLE_MS
        {
            self.remove(producer);
        }
    }

    /// The earliest moment at which a transaction is over its time.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Lets the transaction of a producer act, which begins now if there is none.
    fn ongoing(&mut self, producer: i64, at: Timestamp, act: impl FnOnce(&mut Ongoing)) {
        let Some(mut known) = self.take(producer) else {
            return;
        };
        known.used = known.used.max(at);
        if !matches!(known.phase, Phase::Ongoing(_)) {
            known.phase = Phase::Ongoing(Ongoing {
                since: at,
                partitions: BTreeMap::new(),
                groups: BTreeMap::new(),
            });
        }
        if let Phase::Ongoing(ongoing) = &mut known.phase {
            act(ongoing);
        }
        self.put(producer, known);
    }

    fn hold(
        &mut self,
        producer: i64,
        at: Timestamp,
        group: &str,
        entries: &[(PartitionId, Committed)],
    ) {
        let mut fresh = Vec::new();
        self.ongoing(producer, at, |ongoing| {
            let held = ongoing.groups.entry(group.to_owned()).or_default();
            for (partition, committed) in entries {
                if held.insert(*partition, committed.clone()).is_none() {
                    fresh.push(*partition);
                }
            }
        });
        self.count_held(group, fresh);
    }

    fn count_held(&mut self, group: &str, partitions: impl IntoIterator<Item = PartitionId>) {
        for partition in partitions {
            let held = self.held.entry(group.to_owned()).or_default();
            *held.entry(partition).or_default() += 1;
        }
    }

    /// What a transaction held is held no more.
    fn let_go(&mut self, ongoing: &Ongoing) {
        for (group, offsets) in &ongoing.groups {
            let Some(held) = self.held.get_mut(group) else {
                continue;
            };
            for partition in offsets.keys() {
                if let Some(count) = held.get_mut(partition) {
                    *count -= 1;
                    if *count == 0 {
                        held.remove(partition);
                    }
                }
            }
            if held.is_empty() {
                self.held.remove(group);
            }
        }
    }

    fn end_of(
        &mut self,
        producer: i64,
        epoch: i16,
        committed: bool,
        markers: &[(PartitionId, Offset)],
        at: Timestamp,
    ) {
        let Some(mut known) = self.take(producer) else {
            return;
        };
        if let Phase::Ongoing(ongoing) = &known.phase {
            self.let_go(ongoing);
            let markers: BTreeMap<_, _> = markers.iter().copied().collect();
            for (partition, first) in &ongoing.partitions {
                let Some(first) = *first else { continue };
                self.close(*partition, first);
                if let (false, Some(last)) = (committed, markers.get(partition)) {
                    let stable = self.first_open(*partition);
                    self.aborted.entry(*partition).or_default().push(Aborted {
                        producer,
                        first,
                        last: *last,
                        stable: stable.unwrap_or_else(|| last.saturating_add(1)),
                    });
                }
            }
            known.phase = match committed {
                true => Phase::Committed,
                false => Phase::Aborted,
            };
        }
        if epoch != known.epoch {
            known.epoch = epoch;
            known.last_epoch = -1;
        }
        known.used = known.used.max(at);
        self.put(producer, known);
    }

    fn close(&mut self, partition: PartitionId, first: Offset) {
        if let Some(open) = self.open.get_mut(&partition) {
            open.remove(&first);
            if open.is_empty() {
                self.open.remove(&partition);
            }
        }
    }

    fn remove_partition(&mut self, partition: PartitionId) {
        self.open.remove(&partition);
        self.aborted.remove(&partition);
        for known in self.known.values_mut() {
            if let Phase::Ongoing(ongoing) = &mut known.phase {
                ongoing.partitions.remove(&partition);
                for held in ongoing.groups.values_mut() {
                    held.remove(&partition);
                }
            }
        }
        self.held.retain(|_, held| {
            held.remove(&partition);
            !held.is_empty()
        });
    }

    /// Takes a producer out, to be put back with [`Self::put`]. Its name and its open records stay.
    fn take(&mut self, producer: i64) -> Option<Known> {
        let known = self.known.remove(&producer)?;
        self.due.remove(&(known.due(), producer));
        self.idle.remove(&(known.used, producer));
        Some(known)
    }

    fn put(&mut self, producer: i64, known: Known) {
        match known.phase {
            Phase::Ongoing(_) => self.due.insert((known.due(), producer)),
            _ => self.idle.insert((known.used, producer)),
        };
        self.known.insert(producer, known);
    }

    fn insert(&mut self, producer: i64, known: Known) {
        if let Phase::Ongoing(ongoing) = &known.phase {
            for (partition, first) in &ongoing.partitions {
                if let Some(first) = first {
                    let open = self.open.entry(*partition).or_default();
                    open.insert(*first, producer);
                }
            }
            for (group, held) in &ongoing.groups {
                self.count_held(group, held.keys().copied());
            }
        }
        self.names.insert(known.name.clone(), producer);
        self.put(producer, known);
    }

    fn remove(&mut self, producer: i64) {
        let Some(known) = self.take(producer) else {
            return;
        };
        self.names.remove(&known.name);
        if let Phase::Ongoing(ongoing) = &known.phase {
            self.let_go(ongoing);
            for (partition, first) in &ongoing.partitions {
                if let Some(first) = first {
                    self.close(*partition, *first);
                }
            }
        }
    }

    fn forget_surplus(&mut self) {
        if self.known.len() > MOST_PRODUCERS
            && let Some(&(_, producer)) = self.idle.first()
        {
            self.remove(producer);
        }
    }
}

impl Known {
    /// When the transaction is over its time, if there is one.
    fn due(&self) -> Timestamp {
        match &self.phase {
            Phase::Ongoing(ongoing) => ongoing.since.plus_ms(self.timeout_ms),
            _ => Timestamp::MAX,
        }
    }

    fn describe(&self, producer: i64) -> TransactionDescription {
        let ongoing = match &self.phase {
            Phase::Ongoing(ongoing) => Some(ongoing),
            _ => None,
        };
        TransactionDescription {
            name: self.name.clone(),
            producer,
            epoch: self.epoch,
            timeout_ms: self.timeout_ms,
            phase: match self.phase {
                Phase::Empty => TransactionPhase::Empty,
                Phase::Ongoing(_) => TransactionPhase::Ongoing,
                Phase::Committed => TransactionPhase::Committed,
                Phase::Aborted => TransactionPhase::Aborted,
            },
            since: ongoing.map(|ongoing| ongoing.since),
            partitions: ongoing
                .map(|ongoing| ongoing.partitions.keys().copied().collect())
                .unwrap_or_default(),
        }
    }
}
