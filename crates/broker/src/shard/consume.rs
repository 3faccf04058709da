//! Receiving and settling: credit in, deliveries out, outcomes back.

use std::collections::VecDeque;

use forebay_base::{Offset, OffsetRange, PartitionId, SessionId, Timestamp, TopicId, planted};
use forebay_queue::{Attempted, Backoff, Depth, Held, Limits, QueueEvent};
use hashbrown::HashMap;

use super::dead_letter::{DeadLetterReason, LATEST};
use super::{Output, ReplyTo, Shard, Urgency};
use crate::frame::StateFrame;
use crate::{
    ConsumerId, ConsumerMode, Deliveries, Event, Outcome, Receipt, Receive, Refusal, Reply,
    RequestId, Run, Settled, Subscribe,
};

/// Who waits for a topic's messages.
#[derive(Default)]
pub(super) struct Consumers {
    /// Those with credit.
    ring: Ring,
    standing: HashMap<(SessionId, ConsumerId), Standing>,
    exclusive: bool,
    /// Of a topic that serves one at a time: all, in the order they came.
    line: Option<VecDeque<(SessionId, ConsumerId)>>,
    /// Which partition is asked first next time.
    turn: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Claimant {
    Once(RequestId),
    Standing(SessionId, ConsumerId),
}

struct Standing {
    credit: u32,
    mode: ConsumerMode,
    priority: i32,
    in_ring: bool,
}

/// What a request that waits once has.
const PLAIN_PRIORITY: i32 = 0;

/// Those who can be served: a higher priority first, and those of one priority in turn.
#[derive(Default)]
struct Ring(VecDeque<(i32, Claimant)>);

impl Ring {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn front(&self) -> Option<Claimant> {
        self.0.front().map(|(_, claimant)| *claimant)
    }

    /// How many share the turn with the one in front.
    fn equals(&self) -> usize {
        let first = self.0.front().map(|(priority, _)| *priority);
        self.0
            .partition_point(|(priority, _)| Some(*priority) >= first)
    }

    fn push(&mut self, priority: i32, claimant: Claimant) {
        let at = self.0.partition_point(|(other, _)| *other >= priority);
        self.0.insert(at, (priority, claimant));
    }

    fn pop_front(&mut self) {
        self.0.pop_front();
    }

    fn remove(&mut self, claimant: Claimant) {
        self.0.retain(|(_, other)| *other != claimant);
    }
}

/// A request that waits.
pub(super) struct Waiter {
    pub(super) to: ReplyTo,
    pub(super) until: Timestamp,
    pub(super) waits_for: WaitsFor,
}

/// Which records count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// Every durable one.
    All,
    /// Those before which no transaction is open.
    Decided,
}

pub(super) enum WaitsFor {
    Messages(Receive),
    Records(Vec<(PartitionId, Offset)>, Readable),
}

impl Waiter {
    /// The answer when the time is over.
    pub(super) fn empty_reply(&self) -> Reply {
        match &self.waits_for {
            WaitsFor::Messages(receive) => Reply::Deliveries(Deliveries {
                topic: receive.topic,
                runs: Vec::new(),
                at: self.until,
            }),
            WaitsFor::Records(..) => Reply::Done,
        }
    }
}

impl Consumers {
    pub(super) fn is_empty(&self) -> bool {
        self.ring.is_empty() && self.standing.is_empty()
    }

    /// Whether the consumer may be served.
    fn is_active(&self, key: (SessionId, ConsumerId)) -> bool {
        let first = self.line.as_ref().and_then(VecDeque::front);
        first.is_none_or(|first| *first == key)
    }

    /// A consumer has left the line: the one that is first now may be served. Says whether it can.
    fn activate_next(&mut self, left: (SessionId, ConsumerId)) -> bool {
        let Some(line) = &mut self.line else {
            return false;
        };
        line.retain(|key| *key != left);
        let Some(&(session, consumer)) = line.front() else {
            return false;
        };
        let Some(next) = self.standing.get_mut(&(session, consumer)) else {
            return false;
        };
        if next.in_ring || next.credit == 0 {
            return false;
        }
        next.in_ring = true;
        let claimant = Claimant::Standing(session, consumer);
        self.ring.push(next.priority, claimant);
        true
    }

    pub(super) fn standing_count(&self) -> usize {
        self.standing.len()
    }

    /// The standing consumers, in order, for telling them that the topic is gone.
    pub(super) fn standing(&self) -> Vec<(SessionId, ConsumerId)> {
        let mut all: Vec<_> = self.standing.keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// The requests that wait once.
    pub(super) fn requests(&self) -> impl Iterator<Item = RequestId> {
        self.ring
            .0
            .iter()
            .filter_map(|(_, claimant)| match claimant {
                Claimant::Once(request) => Some(*request),
                Claimant::Standing(..) => None,
            })
    }
}

impl Shard {
    pub(super) fn receive(&mut self, to: ReplyTo, receive: Receive) {
        if let Err(refusal) = self.usable(to.session, receive.topic) {
            return self.reply(to, Err(refusal));
        }
        let topic = receive.topic;
        if self
            .consumers
            .get(&topic)
            .is_some_and(|consumers| consumers.exclusive)
        {
            return self.reply_now(to, Err(Refusal::ConsumerExclusive));
        }
        if let Some(again) = self.received_before(&receive) {
            return self.reply(to, Ok(Reply::Deliveries(again)));
        }
        self.note_use(topic);
        self.check_exhausted(topic);
        self.drop_ended(topic, false);
        let others_first = self
            .consumers
            .get(&topic)
            .is_some_and(|consumers| !consumers.ring.is_empty());
        if !others_first {
            let runs = self.take(topic, receive.max, receive.mode, to.session);
            if !runs.is_empty() {
                return self.hand_over_once(to, receive, runs);
            }
        }
        let until = receive.until.unwrap_or(self.now);
        if until <= self.now {
            let none = Deliveries {
                topic,
                runs: Vec::new(),
                at: self.now,
            };
            return self.reply_now(to, Ok(Reply::Deliveries(none)));
        }
        self.consumers
            .entry(topic)
            .or_default()
            .ring
            .push(PLAIN_PRIORITY, Claimant::Once(to.request));
        self.wait(to, until, WaitsFor::Messages(receive));
    }

    /// Puts a request off until something ends it.
    pub(super) fn wait(&mut self, to: ReplyTo, until: Timestamp, waits_for: WaitsFor) {
        self.timers.add_request(until, to.request);
        let session = self.sessions.entry(to.session).or_default();
        session.waiting.insert(to.request);
        let waiter = Waiter {
            to,
            until,
            waits_for,
        };
        self.waiters.insert(to.request, waiter);
    }

    pub(super) fn subscribe(&mut self, to: ReplyTo, subscribe: Subscribe) {
        if let Err(refusal) = self.usable(to.session, subscribe.topic) {
            return self.reply(to, Err(refusal));
        }
        self.note_use(subscribe.topic);
        let topic = self.state.catalog.topic(subscribe.topic);
        let single_active = topic.is_some_and(|topic| topic.config.single_active);
        let session = self.sessions.entry(to.session).or_default();
        let others = self.consumers.get(&subscribe.topic);
        let taken = session.consumers.contains_key(&subscribe.consumer)
            || others.is_some_and(|others| {
                others.exclusive || (subscribe.exclusive && !others.standing.is_empty())
            });
        if taken {
            return self.reply_now(to, Err(Refusal::ConsumerExclusive));
        }
        let consumers = self.consumers.entry(subscribe.topic).or_default();
        let key = (to.session, subscribe.consumer);
        consumers.exclusive = subscribe.exclusive;
        if single_active {
            consumers.line.get_or_insert_default().push_back(key);
        }
        let standing = Standing {
            credit: subscribe.credit,
            mode: subscribe.mode,
            priority: subscribe.priority,
            in_ring: subscribe.credit > 0 && consumers.is_active(key),
        };
        if standing.in_ring {
            let claimant = Claimant::Standing(to.session, subscribe.consumer);
            consumers.ring.push(standing.priority, claimant);
        }
        consumers.standing.insert(key, standing);
        session
            .consumers
            .insert(subscribe.consumer, subscribe.topic);
        self.dirty.push(subscribe.topic);
        // At once, so that it comes before the first delivery.
        self.reply_now(to, Ok(Reply::Done));
    }

    pub(super) fn credit(&mut self, session: SessionId, consumer: ConsumerId, add: u32) {
        let known = self
            .sessions
            .get(&session)
            .and_then(|known| known.consumers.get(&consumer));
        let Some(&topic) = known else { return };
        let Some(consumers) = self.consumers.get_mut(&topic) else {
            return;
        };
        let active = consumers.is_active((session, consumer));
        let Some(standing) = consumers.standing.get_mut(&(session, consumer)) else {
            return;
        };
        standing.credit = standing.credit.saturating_add(add);
        if standing.credit > 0 && !standing.in_ring && active {
            standing.in_ring = true;
            let claimant = Claimant::Standing(session, consumer);
            consumers.ring.push(standing.priority, claimant);
            self.dirty.push(topic);
        }
    }

    pub(super) fn unsubscribe(&mut self, to: ReplyTo, consumer: ConsumerId) {
        let session = self.sessions.get_mut(&to.session);
        if let Some(topic) = session.and_then(|session| session.consumers.remove(&consumer)) {
            self.remove_consumer(topic, to.session, consumer);
        }
        self.done(to);
    }

    /// Takes a consumer out; the topic goes with its last one if it was declared so.
    pub(super) fn remove_consumer(
        &mut self,
        topic: TopicId,
        session: SessionId,
        consumer: ConsumerId,
    ) {
        let Some(consumers) = self.consumers.get_mut(&topic) else {
            return;
        };
        if consumers.standing.remove(&(session, consumer)).is_none() {
            return;
        }
        consumers.ring.remove(Claimant::Standing(session, consumer));
        let last = consumers.standing.is_empty();
        if consumers.activate_next((session, consumer)) {
            self.dirty.push(topic);
        }
        consumers.exclusive &= !last;
        if consumers.is_empty() {
            self.consumers.remove(&topic);
        }
        self.note_use(topic);
        let ends = self
            .state
            .catalog
            .topic(topic)
            .is_some_and(|t| t.config.lifetime.auto_delete);
        if last && ends {
            self.remove_topic(topic);
        }
    }

    /// Gives up a waiting request.
    pub(super) fn end_waiter(&mut self, request: RequestId) -> Option<Waiter> {
        let waiter = self.waiters.remove(&request)?;
        self.timers.remove_request(waiter.until, request);
        if let Some(session) = self.sessions.get_mut(&waiter.to.session) {
            session.waiting.remove(&request);
        }
        match &waiter.waits_for {
            WaitsFor::Messages(receive) => {
                if let Some(consumers) = self.consumers.get_mut(&receive.topic) {
                    consumers.ring.remove(Claimant::Once(request));
                    if consumers.is_empty() {
                        self.consumers.remove(&receive.topic);
                    }
                }
            }
            WaitsFor::Records(partitions, _) => self.forget_watch(request, partitions),
        }
        Some(waiter)
    }

    /// Hands a topic's ready messages to those who wait, in turn, until one side runs out.
    pub(super) fn serve_topic(&mut self, topic: TopicId) {
        self.check_exhausted(topic);
        self.drop_ended(topic, false);
        self.hand_out(topic);
        self.drop_ended(topic, true);
        self.drop_excess(topic);
    }

    fn hand_out(&mut self, topic: TopicId) {
        while let Some((claimant, want)) = self.next_claim(topic) {
            let (mode, session) = match claimant {
                Claimant::Once(request) => match self.waiters.get(&request) {
                    Some(Waiter {
                        to,
                        waits_for: WaitsFor::Messages(receive),
                        ..
                    }) => (receive.mode, to.session),
                    _ => {
                        self.drop_front(topic);
                        continue;
                    }
                },
                Claimant::Standing(session, consumer) => {
                    let consumers = self.consumers.get(&topic);
                    match consumers.and_then(|all| all.standing.get(&(session, consumer))) {
                        Some(standing) => (standing.mode, session),
                        None => {
                            self.drop_front(topic);
                            continue;
                        }
                    }
                }
            };
            let runs = self.take(topic, want, mode, session);
            if runs.is_empty() {
                break;
            }
            match claimant {
                Claimant::Once(request) => {
                    if let Some(waiter) = self.end_waiter(request)
                        && let WaitsFor::Messages(receive) = waiter.waits_for
                    {
                        self.hand_over_once(waiter.to, receive, runs);
                    }
                }
                Claimant::Standing(session, consumer) => {
                    self.hand_over(topic, session, consumer, mode, runs);
                }
            }
        }
    }

    /// Who is next, and how many messages it may have: its credit, but where several wait not more
    /// than its share of what is ready.
    fn next_claim(&self, topic: TopicId) -> Option<(Claimant, u32)> {
        let consumers = self.consumers.get(&topic)?;
        let claimant = consumers.ring.front()?;
        let credit = match claimant {
            Claimant::Once(request) => match &self.waiters.get(&request)?.waits_for {
                WaitsFor::Messages(receive) => receive.max,
                WaitsFor::Records(..) => 1,
            },
            Claimant::Standing(session, consumer) => consumers
                .standing
                .get(&(session, consumer))
                .map_or(1, |standing| standing.credit),
        };
        let waiting = consumers.ring.equals() as u64;
        if waiting == 1 {
            return Some((claimant, credit));
        }
        let share = self.depth(topic).ready.div_ceil(waiting).max(1);
        Some((
            claimant,
            credit.min(u32::try_from(share).unwrap_or(u32::MAX)),
        ))
    }

    fn drop_front(&mut self, topic: TopicId) {
        if let Some(consumers) = self.consumers.get_mut(&topic) {
            consumers.ring.pop_front();
        }
    }

    /// Takes up to `max` ready messages of a topic and leases them, or settles them if that is how
    /// the consumer wants them.
    fn take(
        &mut self,
        topic: TopicId,
        max: u32,
        mode: ConsumerMode,
        session: SessionId,
    ) -> Vec<Run> {
        let Some(info) = self.state.catalog.topic(topic).cloned() else {
            return Vec::new();
        };
        let limits = self.limits(topic);
        let first = self.consumers.get_mut(&topic).map_or(0, |consumers| {
            consumers.turn = consumers.turn.wrapping_add(1);
            consumers.turn
        });
        let count = info.partitions.len();
        let mut left = max;
        let mut runs = Vec::new();
        for step in 0..count {
            let partition = info.partitions[(first + step) % count];
            self.observe(partition);
            let Some(state) = self.state.partitions.get(&partition) else {
                continue;
            };
            let Some(taken) = state.queue.take(left, &limits) else {
                continue;
            };
            left -= taken
                .iter()
                .map(|run| run.range.count)
                .sum::<u32>()
                .min(left);
            self.lease(partition, &taken, mode, session);
            runs.extend(taken.iter().map(|run| Run {
                partition,
                range: run.range,
                attempt: run.attempt,
            }));
            if left == 0 {
                break;
            }
        }
        runs
    }

    fn lease(
        &mut self,
        partition: PartitionId,
        taken: &[Attempted],
        mode: ConsumerMode,
        session: SessionId,
    ) {
        planted!(LeaseForgotten => if mode != ConsumerMode::Settled { return });
        let ranges: Vec<OffsetRange> = taken.iter().map(|run| run.range).collect();
        let (mut out, mut again) = (0, 0);
        for run in taken {
            let count = u64::from(run.range.count);
            out += count;
            if run.attempt > 1 {
                again += count;
            }
        }
        self.tally.records_out += out;
        self.tally.redelivered += again;
        if let Some(topic) = self.state.partitions.get(&partition).map(|one| one.topic) {
            let worked = self.worked.entry(topic).or_default();
            worked.handed_out += out;
            worked.redelivered += again;
            if mode == ConsumerMode::Settled {
                worked.handed_settled += out;
            }
        }
        let (urgency, event) = match mode {
            ConsumerMode::LeaseMs(ms) => {
                let deadline = Some(self.now.plus_ms(ms));
                let lessee = SessionId(0);
                // Of an ordered topic nobody may get what somebody else still holds, not after a
                // crash either.
                let ordered = self.is_ordered(partition);
                (
                    if ordered { Urgency::Now } else { Urgency::Lazy },
                    QueueEvent::Delivered {
                        ranges,
                        lessee,
                        deadline,
                    },
                )
            }
            ConsumerMode::UntilSessionEnds => {
                self.sessions
                    .entry(session)
                    .or_default()
                    .partitions
                    .insert(partition);
                let deadline = None;
                (
                    Urgency::Lazy,
                    QueueEvent::Delivered {
                        ranges,
                        lessee: session,
                        deadline,
                    },
                )
            }
            ConsumerMode::Settled => {
                self.tally.settled += taken
                    .iter()
                    .map(|run| u64::from(run.range.count))
                    .sum::<u64>();
                self.handed.note(self.now, partition, &ranges);
                (Urgency::Now, QueueEvent::Settled { ranges })
            }
        };
        self.record(urgency, &StateFrame::Queue { partition, event });
    }

    fn hand_over_once(&mut self, to: ReplyTo, receive: Receive, runs: Vec<Run>) {
        let deliveries = Deliveries {
            topic: receive.topic,
            runs,
            at: self.now,
        };
        self.note_attempt(&receive, &deliveries);
        let reply = Ok(Reply::Deliveries(deliveries));
        match self.must_be_durable(receive.topic, receive.mode) {
            true => self.reply(to, reply),
            false => self.reply_now(to, reply),
        }
    }

    /// Whether a hand-out must be durable before anybody sees the message: at most once means
    /// that, and so does a lease on an ordered group that survives a restart.
    fn must_be_durable(&self, topic: TopicId, mode: ConsumerMode) -> bool {
        match mode {
            ConsumerMode::Settled => true,
            ConsumerMode::UntilSessionEnds => false,
            ConsumerMode::LeaseMs(_) => {
                let topic = self.state.catalog.topic(topic);
                topic.is_some_and(|topic| topic.config.ordered)
            }
        }
    }

    fn is_ordered(&self, partition: PartitionId) -> bool {
        let partition = self.state.partitions.get(&partition);
        partition.is_some_and(|partition| partition.queue.is_ordered())
    }

    fn hand_over(
        &mut self,
        topic: TopicId,
        session: SessionId,
        consumer: ConsumerId,
        mode: ConsumerMode,
        runs: Vec<Run>,
    ) {
        let deliveries = Deliveries {
            topic,
            runs,
            at: self.now,
        };
        let count = u32::try_from(deliveries.len()).unwrap_or(u32::MAX);
        if let Some(consumers) = self.consumers.get_mut(&topic)
            && let Some(standing) = consumers.standing.get_mut(&(session, consumer))
        {
            consumers.ring.pop_front();
            standing.credit = standing.credit.saturating_sub(count);
            standing.in_ring = standing.credit > 0;
            if standing.in_ring {
                let claimant = Claimant::Standing(session, consumer);
                consumers.ring.push(standing.priority, claimant);
            }
        }
        let event = Event::Delivery {
            consumer,
            deliveries,
        };
        let output = Output::Event { session, event };
        match self.must_be_durable(topic, mode) {
            true => self.filling.deferred.outputs.push(output),
            false => self.outputs.push(output),
        }
    }

    pub(super) fn settle(&mut self, to: ReplyTo, receipts: Vec<Receipt>, outcome: Outcome) {
        let mut results = Vec::with_capacity(receipts.len());
        let mut rest = receipts.as_slice();
        while let Some(first) = rest.first() {
            let partition = first.partition;
            let same = rest
                .iter()
                .take_while(|receipt| receipt.partition == partition)
                .count();
            let (here, further) = rest.split_at(same);
            self.settle_partition(to.session, partition, here, outcome, &mut results);
            rest = further;
        }
        self.reply(to, Ok(Reply::Settled(results)));
    }

    fn settle_partition(
        &mut self,
        session: SessionId,
        id: PartitionId,
        receipts: &[Receipt],
        outcome: Outcome,
        results: &mut Vec<Settled>,
    ) {
        let Some(partition) = self.state.partitions.get(&id) else {
            results.extend(receipts.iter().map(|_| Settled::Gone));
            return;
        };
        let topic = partition.topic;
        if self.usable(session, topic).is_err() {
            results.extend(receipts.iter().map(|_| Settled::Gone));
            return;
        }
        let wanted: Vec<_> = receipts
            .iter()
            .map(|r| forebay_queue::Receipt {
                offset: r.offset,
                attempt: r.attempt,
            })
            .collect();
        let view_outcome = match outcome {
            Outcome::Ack => forebay_queue::Outcome::Ack,
            Outcome::AckLeased => forebay_queue::Outcome::AckLeased,
            Outcome::Release { delay_ms, count } => forebay_queue::Outcome::Release {
                delay_ms: delay_ms.min(LATEST.ms_since(self.now)),
                count,
            },
            Outcome::Extend { ms } => forebay_queue::Outcome::Extend { ms },
            Outcome::DeadLetter => forebay_queue::Outcome::DeadLetter,
        };
        let ordered = partition.queue.is_ordered();
        let later = match outcome {
            Outcome::Release {
                delay_ms: 0,
                count: true,
            } => self.backoff(topic),
            _ => None,
        };
        let (events, held) = match later {
            None => partition.queue.settle(&wanted, view_outcome, self.now),
            Some(backoff) => {
                let most = self.limits(topic).max_deliveries;
                partition.queue.retry(&wanted, &backoff, most, self.now)
            }
        };
        self.observe(id);
        if outcome == Outcome::DeadLetter {
            let dead = wanted
                .iter()
                .zip(&held)
                .filter(|(_, held)| matches!(held, Held::Leased { .. }));
            let dead = dead.map(|(receipt, _)| Attempted {
                range: OffsetRange::one(receipt.offset),
                attempt: receipt.attempt,
            });
            self.dead_letter(id, dead.collect(), DeadLetterReason::Rejected);
        }
        for event in events {
            if let QueueEvent::Settled { ranges } = &event {
                let counts = ranges.iter().map(|range| u64::from(range.count));
                let count = counts.sum::<u64>();
                self.tally.settled += count;
                self.worked.entry(topic).or_default().settled += count;
            }
            self.record(
                Urgency::Now,
                &StateFrame::Queue {
                    partition: id,
                    event,
                },
            );
        }
        if ordered || !matches!(outcome, Outcome::Ack | Outcome::AckLeased) {
            self.dirty.push(topic);
        }
        results.extend(held.into_iter().map(|held| match held {
            Held::Leased { .. } => Settled::Held,
            Held::Ready => Settled::Expired,
            Held::Stale => Settled::Stale,
            Held::Gone => Settled::Gone,
        }));
    }

    pub(super) fn purge(&mut self, to: ReplyTo, topic: TopicId, leased: bool) {
        let info = match self.usable(to.session, topic) {
            Ok(info) => info,
            Err(refusal) => return self.reply(to, Err(refusal)),
        };
        let before = self.depth(topic);
        for id in &info.partitions {
            let Some(partition) = self.state.partitions.get(id) else {
                continue;
            };
            let event = QueueEvent::Purged {
                below: partition.next,
                leased,
            };
            self.record(
                Urgency::Now,
                &StateFrame::Queue {
                    partition: *id,
                    event,
                },
            );
        }
        let held = if leased { before.leased } else { 0 };
        self.tally.settled += before.ready + before.delayed + held;
        self.reply(to, Ok(Reply::Count(before.ready)));
    }

    pub(super) fn stats(&mut self, to: ReplyTo, topic: TopicId) {
        match self.measure(topic) {
            Some(stats) => self.reply_now(to, Ok(Reply::Stats(stats))),
            None => self.reply(to, Err(Refusal::NoSuchTopic)),
        }
    }

    pub(super) fn depth(&self, topic: TopicId) -> Depth {
        let mut sum = Depth::default();
        let Some(topic) = self.state.catalog.topic(topic) else {
            return sum;
        };
        for id in &topic.partitions {
            let Some(partition) = self.state.partitions.get(id) else {
                continue;
            };
            let depth = partition.queue.depth();
            sum.ready += depth.ready;
            sum.leased += depth.leased;
            sum.delayed += depth.delayed;
        }
        sum
    }

    /// Tells a fair view the time.
    pub(super) fn observe(&mut self, partition: PartitionId) {
        if let Some(partition) = self.state.partitions.get_mut(&partition) {
            partition.queue.observe(self.now);
        }
    }

    /// How messages of a topic wait that are tried again.
    pub(super) fn backoff(&self, topic: TopicId) -> Option<Backoff> {
        self.state.catalog.topic(topic)?.config.backoff
    }

    /// How often messages may be handed out. While the dead-letter topic does not exist they stay
    /// where they are and are handed out further.
    pub(super) fn limits(&self, topic: TopicId) -> Limits {
        let max_deliveries = self.state.catalog.topic(topic).and_then(|topic| {
            let exists = match &topic.config.dead_letter {
                Some(crate::DeadLetterTarget::Topic(name)) => {
                    self.state.catalog.topic_named(name).is_some()
                }
                _ => true,
            };
            topic.config.max_deliveries.filter(|_| exists)
        });
        let one_more = |most: u32| most.saturating_add(planted!(OneDeliveryTooMany => 1, else 0));
        let max_deliveries = max_deliveries.map(one_more);
        let topic = self.state.catalog.topic(topic);
        Limits {
            max_deliveries,
            max_leased: topic.and_then(|topic| topic.config.max_leased),
        }
    }
}
