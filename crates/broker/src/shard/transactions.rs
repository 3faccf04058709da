//! Transactions: who is in one, and how it ends. The end is one commit: markers, offsets, state.

use std::collections::BTreeSet;

use forebay_base::{Offset, OffsetRange, PartitionId};
use forebay_queue::QueueEvent;
use forebay_record::Marker;
use forebay_stream::{Aborted, Ending, StreamEvent, TransactionRefusal};

use super::{Output, ReplyTo, Shard, Urgency};
use crate::frame::StateFrame;
use crate::stability::StabilityChange;
use crate::{Refusal, Reply, TransactionCommand, Transactional};

/// A partition with records that are not decided.
#[derive(Default)]
pub(super) struct HeldBack {
    /// The first record of every transaction whose end is not durable.
    firsts: BTreeSet<Offset>,
    /// The durable end, which the queue view does not see before.
    end: Offset,
}

/// A transaction that has ended in one partition.
pub(super) struct Ended {
    partition: PartitionId,
    first: Offset,
    aborted: Option<Aborted>,
}

impl Shard {
    pub(super) fn transaction(&mut self, to: ReplyTo, command: TransactionCommand) {
        let result = match command {
            TransactionCommand::Register {
                name,
                timeout_ms,
                expected,
            } => self.register(name, timeout_ms, expected),
            TransactionCommand::AddPartitions { who, partitions } => {
                self.add_partitions(&who, partitions)
            }
            TransactionCommand::AddGroup { who, group } => self.add_group(&who, group),
            TransactionCommand::HoldOffsets { who, commit } => self.hold_offsets(&who, commit),
            TransactionCommand::End { who, commit } => self.end(&who, commit),
            TransactionCommand::Abort { producer, epoch } => self.abort(producer, epoch),
            TransactionCommand::Describe { name } => {
                let known = self.state.transactions.describe(&name);
                Ok(Reply::Transactions(known.into_iter().collect()))
            }
            TransactionCommand::List => Ok(Reply::Transactions(
                self.state.transactions.list().collect(),
            )),
            TransactionCommand::Held { group, partitions } => {
                let transactions = &self.state.transactions;
                let held = partitions.into_iter();
                let held = held.filter(|partition| transactions.holds(&group, *partition));
                Ok(Reply::Partitions(held.collect()))
            }
            TransactionCommand::Producers { partition } => {
                let open = |id| self.state.transactions.open_since(partition, id);
                let producers = self.state.producers.of_partition(partition);
                let producers = producers.map(|active| (active, open(active.id)));
                Ok(Reply::Producers(producers.collect()))
            }
        };
        self.reply(to, result);
    }

    fn register(
        &mut self,
        name: String,
        timeout_ms: u64,
        expected: Option<(i64, i16)>,
    ) -> Result<Reply, Refusal> {
        let transactions = &self.state.transactions;
        let registration = transactions.register(&name, timeout_ms, expected)?;
        let left = registration.abort.and_then(|id| transactions.ending(id));
        if let Some(left) = left {
            let epoch = left.epoch.saturating_add(1);
            self.end_transaction(left, false, epoch);
        }
        let producer = registration.producer.unwrap_or_else(|| {
            let id = self.state.producers.next_id();
            let event = StreamEvent::ProducerAllocated { next: id + 1 };
            self.record(Urgency::Now, &StateFrame::Stream(event));
            id
        });
        let epoch = registration.epoch;
        let event = StreamEvent::TransactionalProducer {
            name,
            producer,
            epoch,
            last_epoch: registration.last_epoch,
            timeout_ms,
            at: self.now,
        };
        self.record(Urgency::Now, &StateFrame::Stream(event));
        Ok(Reply::Transactional { producer, epoch })
    }

    fn add_partitions(
        &mut self,
        who: &Transactional,
        partitions: Vec<PartitionId>,
    ) -> Result<Reply, Refusal> {
        let transactions = &self.state.transactions;
        transactions.check(&who.name, who.producer, who.epoch)?;
        for partition in &partitions {
            if !self.state.partitions.contains_key(partition) {
                return Err(Refusal::NoSuchPartition);
            }
        }
        if !transactions.includes(who.producer, &partitions) {
            let event = StreamEvent::TransactionPartitionsAdded {
                producer: who.producer,
                partitions,
                at: self.now,
            };
            self.record(Urgency::Now, &StateFrame::Stream(event));
        }
        Ok(Reply::Done)
    }

    fn add_group(&mut self, who: &Transactional, group: String) -> Result<Reply, Refusal> {
        let transactions = &self.state.transactions;
        transactions.check(&who.name, who.producer, who.epoch)?;
        if !transactions.includes_group(who.producer, &group) {
            let event = StreamEvent::TransactionGroupAdded {
                producer: who.producer,
                group,
                at: self.now,
            };
            self.record(Urgency::Now, &StateFrame::Stream(event));
        }
        Ok(Reply::Done)
    }

    fn hold_offsets(
        &mut self,
        who: &Transactional,
        commit: crate::OffsetCommit,
    ) -> Result<Reply, Refusal> {
        let identity = (who.name.as_str(), who.producer, who.epoch);
        let transactions = &self.state.transactions;
        transactions.check_offsets(identity, &commit.group, &commit.entries)?;
        self.groups.check_commit(
            self.now,
            &commit.group,
            &commit.member,
            commit.generation,
            commit.instance.as_deref(),
        )?;
        if !commit.entries.is_empty() {
            let event = StreamEvent::TransactionOffsetsHeld {
                producer: who.producer,
                group: commit.group,
                entries: commit.entries,
                at: self.now,
            };
            self.record(Urgency::Now, &StateFrame::Stream(event));
        }
        Ok(Reply::Done)
    }

    fn end(&mut self, who: &Transactional, commit: bool) -> Result<Reply, Refusal> {
        let transactions = &self.state.transactions;
        let ending = transactions.end(&who.name, who.producer, who.epoch, commit)?;
        if let Some(ending) = ending {
            self.end_transaction(ending, commit, who.epoch);
        }
        Ok(Reply::Done)
    }

    fn abort(&mut self, producer: i64, epoch: i16) -> Result<Reply, Refusal> {
        let ending = self.state.transactions.ending(producer);
        let ending = ending.ok_or(TransactionRefusal::InvalidState)?;
        if ending.epoch != epoch {
            return Err(TransactionRefusal::Fenced { found: epoch }.into());
        }
        self.end_transaction(ending, false, epoch.saturating_add(1));
        Ok(Reply::Done)
    }

    /// Ends a transaction; its producer has this epoch from now on.
    fn end_transaction(&mut self, ending: Ending, commit: bool, epoch: i16) {
        let Ending {
            producer,
            partitions,
            groups,
            ..
        } = ending;
        let next = |id: PartitionId| Some((id, self.state.partitions.get(&id)?.next));
        let markers: Vec<_> = partitions.iter().filter_map(|(id, _)| next(*id)).collect();
        let marker = match commit {
            true => Marker::Commit,
            false => Marker::Abort,
        };
        if !markers.is_empty() {
            // If this begins another commit, all that follows is in that one too.
            let batch = marker.batch(producer, epoch, self.now.0);
            self.append(&markers, &batch, None, None);
        }
        if commit {
            for (group, entries) in groups {
                let event = StreamEvent::OffsetsCommitted {
                    group,
                    at: self.now,
                    entries,
                };
                self.record(Urgency::Now, &StateFrame::Stream(event));
            }
            self.settle_markers(&markers);
        }
        let event = StreamEvent::TransactionEnded {
            producer,
            epoch,
            committed: commit,
            markers: markers.clone(),
            at: self.now,
        };
        self.record(Urgency::Now, &StateFrame::Stream(event));
        for (partition, first) in partitions {
            let all = self.state.transactions.aborted(partition).iter();
            let mut of_this = all.rev().take_while(|_| !commit);
            let aborted =
                of_this.find(|aborted| (aborted.producer, aborted.first) == (producer, first));
            let ended = Ended {
                partition,
                first,
                aborted: aborted.copied(),
            };
            self.filling.deferred.ended.push(ended);
        }
    }

    /// A marker is no work. Where nobody takes work, nobody need be told: whoever begins to is told
    /// when it is read, as everybody is of what was aborted and of its marker.
    fn settle_markers(&mut self, markers: &[(PartitionId, Offset)]) {
        for &(partition, offset) in markers {
            let known = self.state.partitions.get(&partition);
            if known.is_some_and(|known| self.is_work(known.topic)) {
                let ranges = vec![OffsetRange::one(offset)];
                let event = QueueEvent::Settled { ranges };
                self.record(Urgency::Now, &StateFrame::Queue { partition, event });
            }
        }
    }

    /// Aborts the transactions that are over their time, and fences those who have them.
    pub(super) fn end_overdue(&mut self) {
        for producer in self.state.transactions.overdue(self.now) {
            if let Some(ending) = self.state.transactions.ending(producer) {
                let epoch = ending.epoch.saturating_add(1);
                self.end_transaction(ending, false, epoch);
            }
        }
    }

    /// A batch may be appended by its producer, as far as transactions are concerned.
    pub(super) fn check_transaction(
        &self,
        partition: PartitionId,
        header: &forebay_record::BatchHeader,
    ) -> Result<(), TransactionRefusal> {
        self.state.transactions.check_append(
            partition,
            header.producer_id,
            header.producer_epoch,
            header.is_transactional(),
        )
    }

    /// What was appended at `first` is the beginning of a transaction in the partition, if it is
    /// one: nothing from there on is handed out until that is decided.
    pub(super) fn hold_back(&mut self, partition: PartitionId, producer: i64, first: Offset) {
        if self.state.transactions.open_since(partition, producer) != Some(first) {
            return;
        }
        let end = self.durable_end(partition).unwrap_or(first);
        let held = self.held_back.entry(partition).or_default();
        held.end = end;
        held.firsts.insert(first);
        let change = StabilityChange::Opened { partition, first };
        self.outputs.push(Output::Stability(change));
    }

    /// Takes up what recovery found.
    pub(super) fn hold_back_recovered(&mut self) {
        for (partition, first) in self.state.transactions.open() {
            let held = self.held_back.entry(partition).or_default();
            held.firsts.insert(first);
            let change = StabilityChange::Opened { partition, first };
            self.outputs.push(Output::Stability(change));
        }
        for (partition, all) in self.state.transactions.all_aborted() {
            let all = all.to_vec();
            let change = StabilityChange::Aborted { partition, all };
            self.outputs.push(Output::Stability(change));
        }
    }

    /// Everything below is durable, and no transaction has a record there that is not decided.
    pub(crate) fn decided_end(&self, partition: PartitionId) -> Offset {
        let known = self.state.partitions.get(&partition);
        // The queue view sees no further.
        known.map_or(0, |known| known.queue.end())
    }

    /// The transactions that were aborted in a partition.
    pub(crate) fn aborted(&self, partition: PartitionId) -> Vec<Aborted> {
        self.state.transactions.aborted(partition).to_vec()
    }

    /// Adds to `live`, which is in order and without overlaps, the markers of aborted transactions
    /// from `first` on and below `end`: who reads what is committed is told where such a transaction
    /// begins, and must then find where it ends.
    pub(super) fn add_marks(
        &self,
        partition: PartitionId,
        (first, end): (Offset, Offset),
        live: &mut Vec<OffsetRange>,
    ) {
        let aborted = self.state.transactions.aborted(partition);
        let begin = aborted.partition_point(|aborted| aborted.last < first);
        let within = aborted[begin..].iter().map(|aborted| aborted.last);
        let missing = |mark: &Offset| {
            let before = live.partition_point(|range| range.first <= *mark);
            let range = before.checked_sub(1).map(|at| live[at]);
            range.is_none_or(|range| range.end() <= *mark)
        };
        let marks = within.take_while(|mark| *mark < end).filter(missing);
        let marks: Vec<_> = marks.map(OffsetRange::one).collect();
        if !marks.is_empty() {
            live.extend(marks);
            live.sort_unstable_by_key(|range| range.first);
        }
    }

    /// The end of what is durable of a partition.
    pub(super) fn durable_end(&self, partition: PartitionId) -> Option<Offset> {
        let known = self.state.partitions.get(&partition)?;
        let held = self.held_back.get(&partition);
        Some(held.map_or(known.queue.end(), |held| held.end))
    }

    /// More of a partition is durable: what of it is decided can be handed out.
    pub(super) fn advance(&mut self, partition: PartitionId, end: Offset) {
        let Some(known) = self.state.partitions.get_mut(&partition) else {
            return;
        };
        let Some(held) = self.held_back.get_mut(&partition) else {
            return known.queue.advance(end);
        };
        held.end = held.end.max(end);
        let first = held.firsts.first().copied();
        known
            .queue
            .advance(first.unwrap_or(Offset::MAX).min(held.end));
        if first.is_none() {
            self.held_back.remove(&partition);
        }
    }

    /// Transactions have durably ended.
    pub(super) fn ended(&mut self, ended: Vec<Ended>) {
        for Ended {
            partition,
            first,
            aborted,
        } in ended
        {
            if let Some(held) = self.held_back.get_mut(&partition) {
                held.firsts.remove(&first);
            }
            self.outputs.push(Output::Stability(StabilityChange::Ended {
                partition,
                first,
                aborted,
            }));
        }
    }

    /// A partition is gone.
    pub(super) fn forget_transactions(&mut self, partition: PartitionId) {
        self.held_back.remove(&partition);
        let change = StabilityChange::Removed(partition);
        self.filling
            .deferred
            .outputs
            .push(Output::Stability(change));
    }
}
