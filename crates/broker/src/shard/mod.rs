//! The shard: one state, one journal, one thread; here the part without the thread.
//!
//! [`Shard`] does no I/O and reads no clock. Commands go in by [`Shard::submit`], passing time by
//! [`Shard::tick`], and the fact that a commit is durable by [`Shard::committed`]; commits for the
//! journal come out by [`Shard::take_commit`], everything else by [`Shard::outputs`]. A reply
//! leaves only when what it rests on is durable, and so does a refusal.

mod attempts;
mod consume;
mod dead_letter;
mod exchanges;
mod handed;
mod idle;
mod moves;
mod overflow;
mod publish;
mod retention;
mod sessions;
mod settings;
mod streams;
#[cfg(test)]
mod tests;
mod timers;
mod topics;
mod transactions;

use std::collections::VecDeque;
use std::sync::Arc;

use forebay_base::{Offset, PartitionId, SessionId, Timestamp, TopicId, planted};
use forebay_log::{CommitBuilder, SegmentChange};
use forebay_stream::Groups;
use hashbrown::HashMap;

pub(crate) use dead_letter::{DeadLetterCopy, DeadLetterJob, DeadLetterReason, Undeliverable};
pub(crate) use publish::PENDING_AT_MOST;

use crate::catalog::{CatalogChange, led};
use crate::frame::StateFrame;
use crate::promotion::Wanted;
use crate::stability::StabilityChange;
use crate::state::{Partition, ShardState};
use crate::{
    Command, Compaction, Event, Publish, Refusal, Reply, RequestId, SettingChange, SettingKey,
    TopicInfo, TopicWork,
};
use attempts::Attempts;
use consume::{Consumers, Readable, Waiter};
use handed::Handed;
use idle::Idle;
use moves::Movers;
use sessions::SessionState;
use timers::Timers;
use transactions::{Ended, HeldBack};

/// A commit grows to this size before the shard stops taking commands until the journal is free,
/// bytes.
pub(crate) const COMMIT_BYTES: usize = 1 << 20;

/// A single commit takes at most so much, unless one batch alone is larger, bytes.
pub(crate) const COMMIT_AT_MOST: usize = 8 << 20;

/// Who asked, and under which number. Number 0 asks for no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReplyTo {
    pub(crate) session: SessionId,
    pub(crate) request: RequestId,
}

/// What the shard wants done by whoever runs it, in this order.
#[derive(Debug)]
pub(crate) enum Output {
    Reply {
        to: ReplyTo,
        result: Result<Reply, Refusal>,
    },
    Event {
        session: SessionId,
        event: Event,
    },
    /// The catalog has durably changed.
    Catalog(CatalogChange),
    DeadLetter(DeadLetterJob),
    /// The partition durably starts at this offset; nothing below it may be read any more.
    Started(PartitionId, Offset),
    /// What readers must know of transactions has changed. Where a transaction opens, they must know
    /// before the journal has its records.
    Stability(StabilityChange),
    /// So many payload bytes need no longer be counted as pending.
    Released(usize),
    Pressure(Option<Arc<str>>),
    /// What was decided before the mark was set is durable.
    Durable(Mark),
}

/// What waits until everything decided before is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// What is kept of records that are to be written elsewhere.
    Plan,
    /// The frame that says which segments there are.
    Segments,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) records_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) records_out: u64,
    pub(crate) redelivered: u64,
    pub(crate) settled: u64,
    pub(crate) dead_lettered: u64,
}

/// Whether a frame is worth a sync of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// Something waits for it, or it must not be lost.
    Now,
    /// It may ride with the next commit: losing it means a redelivery at worst.
    Lazy,
}

/// The commit that is being filled, and what waits for it.
struct Filling {
    commit: CommitBuilder,
    urgent: bool,
    deferred: Deferred,
}

/// What happens when a commit is durable.
#[derive(Default)]
struct Deferred {
    outputs: Vec<Output>,
    /// Partitions that grew, with their new end.
    grown: Vec<(PartitionId, Offset)>,
    /// Transactions that are decided then.
    ended: Vec<Ended>,
    payload_bytes: usize,
}

pub(crate) struct Shard {
    state: ShardState,
    now: Timestamp,
    filling: Filling,
    /// Full commits that wait for the journal, oldest first.
    filled: VecDeque<Filling>,
    syncing: Option<Deferred>,
    outputs: Vec<Output>,
    sessions: HashMap<SessionId, SessionState>,
    consumers: HashMap<TopicId, Consumers>,
    waiters: HashMap<RequestId, Waiter>,
    watchers: HashMap<PartitionId, Vec<RequestId>>,
    attempts: Attempts,
    movers: Movers,
    /// The partitions with records that are not decided.
    held_back: HashMap<PartitionId, HeldBack>,
    groups: Groups,
    group_requests: HashMap<u64, ReplyTo>,
    next_token: u64,
    timers: Timers,
    handed: Handed,
    idle: Idle,
    dirty: Vec<TopicId>,
    parked: VecDeque<(ReplyTo, Publish)>,
    storage_full: Option<Arc<str>>,
    partition_turn: u32,
    commit_at_most: usize,
    /// A single batch takes at most so much, whatever its topic allows, bytes.
    batch_at_most: usize,
    tally: Tally,
    /// What was handed out of each topic since the start; where it ends is known elsewhere.
    worked: HashMap<TopicId, TopicWork>,
    frame_buffer: Vec<u8>,
    entries: Vec<(PartitionId, Offset)>,
}

impl Shard {
    /// A shard on recovered state. Everything recovered counts as durable.
    pub(crate) fn new(mut state: ShardState, now: Timestamp) -> Self {
        let mut timers = Timers::default();
        for (id, partition) in &mut state.partitions {
            let undecided = state.transactions.first_open(*id);
            let decided = undecided.unwrap_or(Offset::MAX).min(partition.next);
            partition.queue.advance(decided);
            timers.note(*id, partition.queue.next_deadline());
        }
        let mut shard = Self {
            state,
            now,
            filling: Filling::new(),
            filled: VecDeque::new(),
            syncing: None,
            outputs: Vec::new(),
            sessions: HashMap::new(),
            consumers: HashMap::new(),
            waiters: HashMap::new(),
            watchers: HashMap::new(),
            attempts: Attempts::default(),
            movers: Movers::default(),
            held_back: HashMap::new(),
            groups: Groups::default(),
            group_requests: HashMap::new(),
            next_token: 0,
            timers,
            handed: Handed::default(),
            idle: Idle::default(),
            dirty: Vec::new(),
            parked: VecDeque::new(),
            storage_full: None,
            partition_turn: 0,
            commit_at_most: COMMIT_AT_MOST,
            batch_at_most: usize::MAX,
            tally: Tally::default(),
            worked: HashMap::new(),
            frame_buffer: Vec::new(),
            entries: Vec::new(),
        };
        shard.hold_back_recovered();
        shard.restart();
        shard.announce();
        shard
    }

    /// Tells the directory everything that recovery found and the restart has left.
    fn announce(&mut self) {
        let catalog = &self.state.catalog;
        let topics = catalog.topics().cloned().map(CatalogChange::TopicPut);
        let exchanges = catalog.exchanges().cloned();
        let changes = topics.chain(exchanges.map(CatalogChange::ExchangePut));
        let led = catalog.bindings().map(|binding| led(binding, 1));
        let led = led.filter(|change| !matches!(change, CatalogChange::None));
        let settings = self.state.settings.iter();
        let put =
            |(key, value): (&SettingKey, &Arc<str>)| SettingChange::Put(key.clone(), value.clone());
        let settings = CatalogChange::Settings(settings.map(put).collect());
        let resting = catalog.resting();
        let resting = resting.map(|(name, until)| CatalogChange::Rests(name.clone(), until));
        let all = changes.chain(led).chain([settings]).chain(resting);
        self.outputs.extend(all.map(Output::Catalog));
    }

    /// Fits commits into a journal whose commits may take so many bytes: room is left for what
    /// gathers beside the largest batch. No commit that can be split exceeds `at_most` bytes.
    pub(crate) fn fit(&mut self, commit_bytes: u64, at_most: usize) {
        let limit = usize::try_from(commit_bytes).unwrap_or(usize::MAX);
        self.batch_at_most = limit.saturating_sub(2 * COMMIT_BYTES).max(limit / 2);
        self.commit_at_most = at_most.min(limit / 4);
    }

    /// Decides one command.
    pub(crate) fn submit(&mut self, now: Timestamp, to: ReplyTo, command: Command) {
        self.now = now;
        match command {
            Command::Publish(publish) => self.publish(to, publish),
            Command::CreateTopic { name, config } => self.create_topic(to, name, config),
            Command::AlterTopic { topic, config } => self.alter_topic(to, topic, config),
            Command::GrowTopic { topic, partitions } => self.grow_topic(to, topic, partitions),
            Command::DeleteTopic { topic, only_if } => self.delete_topic(to, topic, only_if),
            Command::DeclareExchange { name, config } => self.declare_exchange(to, name, config),
            Command::DeleteExchange { name, if_unused } => {
                self.delete_exchange(to, &name, if_unused);
            }
            Command::Bind(binding) => self.bind(to, binding),
            Command::Unbind(binding) => self.unbind(to, binding),
            Command::Receive(receive) => self.receive(to, receive),
            Command::Subscribe(subscribe) => self.subscribe(to, subscribe),
            Command::Credit { consumer, add } => self.credit(to.session, consumer, add),
            Command::Unsubscribe { consumer } => self.unsubscribe(to, consumer),
            Command::Settle { receipts, outcome } => self.settle(to, receipts, outcome),
            Command::Purge { topic, leased } => self.purge(to, topic, leased),
            Command::TrimPartition { partition, before } => {
                self.trim_partition(to, partition, before);
            }
            Command::Stats { topic } => self.stats(to, topic),
            Command::Watch { partitions, until } => {
                self.watch(to, partitions, Readable::All, until);
            }
            Command::WatchDecided { partitions, until } => {
                self.watch(to, partitions, Readable::Decided, until);
            }
            Command::AllocateProducer => self.allocate_producer(to),
            Command::Group(command) => self.group(to, command),
            Command::CommitOffsets(commit) => self.commit_offsets(to, commit),
            Command::FetchOffsets { group, partitions } => {
                self.fetch_offsets(to, &group, partitions.as_deref());
            }
            Command::DeleteOffsets { group, partitions } => {
                self.delete_offsets(to, group, partitions);
            }
            Command::DescribeGroup { group } => self.describe_group(to, group),
            Command::StartMove {
                source,
                destination,
                per_second,
            } => self.start_move(to, source, destination, per_second),
            Command::CancelMove { id } => self.cancel_move(to, id),
            Command::ListMoves { source } => self.list_moves(to, source),
            Command::Set(changes) => self.set(to, &changes),
            Command::AlterExchange { name, config } => self.alter_exchange(to, &name, config),
            Command::ListBindings => self.list_bindings(to),
            Command::StatsOf(topics) => self.stats_of(to, &topics),
            Command::ListGroups => self.list_groups(to),
            Command::DeleteGroup { group } => self.delete_group(to, group),
            Command::Transaction(command) => self.transaction(to, command),
        }
    }

    /// Gives up a waiting receive or watch: whoever asked is gone.
    pub(crate) fn cancel(&mut self, request: RequestId) {
        self.end_waiter(request);
    }

    /// The commit to write next, if the journal is free and something is worth a sync. With
    /// `lazy`, also one that nothing waits for.
    pub(crate) fn take_commit(&mut self, lazy: bool) -> Option<CommitBuilder> {
        if self.syncing.is_some() {
            return None;
        }
        let filled = self.filled.pop_front().or_else(|| {
            let commit = &self.filling.commit;
            let due = self.filling.urgent || lazy || commit.len_bytes() >= COMMIT_BYTES / 4;
            (due && !commit.is_empty())
                .then(|| std::mem::replace(&mut self.filling, Filling::new()))
        })?;
        self.syncing = Some(filled.deferred);
        Some(filled.commit)
    }

    /// Closes the commit being filled, so that the next frame starts another one.
    fn rotate(&mut self) {
        self.filled
            .push_back(std::mem::replace(&mut self.filling, Filling::new()));
    }

    /// Whether further commands should wait until the journal has taken the filling commit.
    pub(crate) fn is_full(&self) -> bool {
        !self.filled.is_empty() || self.filling.commit.len_bytes() >= COMMIT_BYTES
    }

    /// Bytes that wait for the journal.
    pub(crate) fn pending_bytes(&self) -> u64 {
        let filled = self.filled.iter().chain([&self.filling]);
        filled
            .map(|filling| filling.commit.len_bytes() as u64)
            .sum()
    }

    /// Whether the state holds nothing beyond the commit taken last: the moment for a snapshot.
    pub(crate) fn is_even(&self) -> bool {
        self.filled.is_empty() && self.filling.commit.is_empty()
    }

    /// Whether nothing is applied that is not durable.
    pub(crate) fn is_durable(&self) -> bool {
        self.syncing.is_none() && self.is_even()
    }

    /// The commit taken last is durable.
    pub(crate) fn committed(&mut self, now: Timestamp) {
        self.now = now;
        let Some(deferred) = self.syncing.take() else {
            return;
        };
        // First of all: whoever is told of an end finds it when reading.
        self.ended(deferred.ended);
        self.outputs.extend(deferred.outputs);
        for (id, end) in deferred.grown {
            let Some(partition) = self.state.partitions.get(&id) else {
                continue;
            };
            self.dirty.push(partition.topic);
            self.advance(id, end);
            self.note_end(id);
            self.wake_watchers(id);
        }
        if deferred.payload_bytes > 0 {
            self.outputs.push(Output::Released(deferred.payload_bytes));
        }
    }

    /// Hands ready messages to whoever waits for them. To be called after every batch of inputs.
    pub(crate) fn serve(&mut self) {
        self.drain_groups();
        while let Some(topic) = self.dirty.pop() {
            self.serve_topic(topic);
        }
    }

    /// What is to be done, in order.
    pub(crate) fn outputs(&mut self) -> std::vec::Drain<'_, Output> {
        self.outputs.drain(..)
    }

    /// The state, for a snapshot.
    pub(crate) fn state(&self) -> &ShardState {
        &self.state
    }

    pub(crate) fn topic_count(&self) -> usize {
        self.state.catalog.topic_count()
    }

    /// For each partition the lowest offset that must stay readable: the first unsettled one
    /// where work is kept until it is settled, every one where records are kept for their time.
    pub(crate) fn needed(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        self.state.partitions.iter().map(|(id, partition)| {
            let needed = if self.is_work(partition.topic) {
                self.low(*id, partition)
            } else {
                partition.queue.start()
            };
            (
                *id,
                planted!(NeededForgotten => partition.queue.end(), else needed),
            )
        })
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally
    }

    /// Writes the time down.
    pub(crate) fn note_time(&mut self, now: Timestamp) {
        self.now = now;
        self.record(Urgency::Now, &StateFrame::Clock(now));
    }

    /// The disk is full, for this reason, or has space again: then [`Shard::unpark`] goes on with
    /// what waits.
    pub(crate) fn set_storage_full(&mut self, now: Timestamp, reason: Option<Arc<str>>) {
        if self.storage_full == reason {
            return;
        }
        self.now = now;
        self.storage_full = reason.clone();
        self.outputs.push(Output::Pressure(reason));
    }

    /// Writes a frame down and makes the change it tells of.
    fn record(&mut self, urgency: Urgency, frame: &StateFrame) {
        frame.encode_into(&mut self.frame_buffer);
        self.filling.commit.push_state(&self.frame_buffer);
        self.filling.urgent |= urgency == Urgency::Now;
        let change = self.state.apply(frame);
        if !matches!(change, CatalogChange::None) {
            let output = Output::Catalog(change);
            self.filling.deferred.outputs.push(output);
        } else if let StateFrame::Queue { partition, .. } = frame {
            self.note_deadline(*partition);
        }
    }

    /// Replies when everything decided so far is durable.
    fn reply(&mut self, to: ReplyTo, result: Result<Reply, Refusal>) {
        if to.request.0 == 0 {
            return;
        }
        planted!(ReplyBeforeDurable => return self.reply_now(to, result));
        let output = Output::Reply { to, result };
        if self.filling.urgent {
            self.filling.deferred.outputs.push(output);
        } else if let Some(filled) = self.filled.back_mut() {
            filled.deferred.outputs.push(output);
        } else if let Some(syncing) = &mut self.syncing {
            syncing.outputs.push(output);
        } else {
            self.outputs.push(output);
        }
    }

    /// Sets a mark: [`Output::Durable`] comes when everything decided so far is durable.
    pub(crate) fn when_durable(&mut self, mark: Mark) {
        let output = Output::Durable(mark);
        let filled = self.filled.back_mut().map(|filled| &mut filled.deferred);
        if !self.filling.commit.is_empty() {
            self.filling.deferred.outputs.push(output);
        } else if let Some(deferred) = filled.or(self.syncing.as_mut()) {
            deferred.outputs.push(output);
        } else {
            self.outputs.push(output);
        }
    }

    /// Segments are there: writes that down.
    pub(crate) fn push_segments(&mut self, change: &SegmentChange) {
        self.filling.commit.push_segments(change);
        self.filling.urgent = true;
    }

    /// What is to be kept of a partition's records from `first` on and below `end`: what is not
    /// settled where work is kept until it is, and everything from the start on elsewhere. `None`
    /// if there is no such partition.
    pub(crate) fn wanted(
        &self,
        partition: PartitionId,
        first: Offset,
        end: Offset,
    ) -> Option<Wanted> {
        let known = self.state.partitions.get(&partition)?;
        let start = known.queue.start();
        let live = self.is_work(known.topic).then(|| {
            let within = (first.max(start), end);
            let mut live = known.queue.live(within.0, within.1);
            self.handed.add(partition, within, &mut live);
            self.add_marks(partition, within, &mut live);
            live
        });
        Some(Wanted { start, live })
    }

    /// Below this offset every message of the partition is settled, and read by whoever got it.
    fn low(&self, id: PartitionId, partition: &Partition) -> Offset {
        let low = partition.queue.low();
        self.handed.low(id).map_or(low, |handed| handed.min(low))
    }

    /// When [`Shard::forget_handed`] has something to do.
    pub(crate) fn next_handed(&self) -> Option<Timestamp> {
        self.handed.next()
    }

    /// Lets messages go that were settled by being handed out, long enough ago. Says whether there
    /// were any.
    pub(crate) fn forget_handed(&mut self, now: Timestamp) -> bool {
        self.handed.forget(now)
    }

    /// Whether the partition is compacted.
    pub(crate) fn is_compacted(&self, partition: PartitionId) -> bool {
        let known = self.state.partitions.get(&partition);
        let topic = known.and_then(|known| self.state.catalog.topic(known.topic));
        topic.is_some_and(|topic| topic.config.compaction.is_some())
    }

    /// The partitions of compacted topics, with where they start. A queue keeps what is not settled,
    /// whatever its key.
    pub(crate) fn compacted(&self) -> impl Iterator<Item = (PartitionId, Offset, Compaction)> {
        let topics = self.state.catalog.topics();
        let topics = topics.filter(|topic| !topic.config.retention.until_settled);
        topics
            .filter_map(|topic| Some((topic, topic.config.compaction?)))
            .flat_map(|(topic, settings)| {
                let known = |id: &PartitionId| Some((*id, self.state.partitions.get(id)?));
                let partitions = topic.partitions.iter().filter_map(known);
                partitions.map(move |(id, known)| (id, known.queue.start(), settings))
            })
    }

    fn is_work(&self, topic: TopicId) -> bool {
        let topic = self.state.catalog.topic(topic);
        topic.is_none_or(|topic| topic.config.retention.until_settled)
    }

    /// Replies at once: the answer rests on nothing that could be lost.
    fn reply_now(&mut self, to: ReplyTo, result: Result<Reply, Refusal>) {
        if to.request.0 != 0 {
            self.outputs.push(Output::Reply { to, result });
        }
    }

    /// The topic, unless it belongs to another session alone.
    fn usable(&self, session: SessionId, topic: TopicId) -> Result<Arc<TopicInfo>, Refusal> {
        let topic = self
            .state
            .catalog
            .topic(topic)
            .ok_or(Refusal::NoSuchTopic)?;
        match topic.config.exclusive {
            Some(owner) if owner != session => Err(Refusal::TopicLocked),
            _ => Ok(topic.clone()),
        }
    }
}

impl Filling {
    fn new() -> Self {
        Self {
            commit: CommitBuilder::default(),
            urgent: false,
            deferred: Deferred::default(),
        }
    }
}
