//! What the shard decides, which the model must agree with, and what leaves it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_base::{Offset, PartitionId, SessionId, Timestamp, TopicId};
use forebay_queue::Attempted;

use super::model::{Message, Model, Mood, later};
use super::promise::Promise;
use super::world::World;
use crate::catalog::CatalogChange;
use crate::shard::dead_letter::DeadLetterReason;
use crate::shard::{DeadLetterJob, Output};
use crate::{
    ConsumerId, ConsumerMode, Deliveries, Event, Placed, Receipt, Receive, Refusal, Reply,
    RequestId, Target, TopicConfig,
};

/// A command that was not answered yet.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) session: SessionId,
    pub(super) what: String,
    pub(super) expect: Expect,
    /// What the answer, which may still wait for its commit, promises.
    pub(super) decided: Option<Promise>,
}

/// What the answer must be.
#[derive(Debug)]
pub(super) enum Expect {
    /// This, in its debug form; and then it promises that.
    Is(String, Promise),
    Created(Arc<str>, TopicConfig),
    Published(Vec<Prepared>, bool),
    Receive(Receive),
    Watch(Vec<(PartitionId, Offset)>, Timestamp),
    Committed(String, PartitionId, i64),
    GroupDeleted(String),
    Any,
}

/// A batch as it was published.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) target: Target,
    pub(super) ids: Vec<u64>,
    pub(super) size: usize,
    pub(super) key_hash: Option<u32>,
    pub(super) not_before: Option<Timestamp>,
    /// Id and first sequence number.
    pub(super) producer: Option<(i64, i32)>,
}

/// An output that tells of a decision.
pub(super) enum Decided {
    Reply(RequestId, Result<Reply, Refusal>),
    Delivery(SessionId, ConsumerId, Deliveries),
    Job(PartitionId, Vec<Attempted>, DeadLetterReason),
}

impl Decided {
    pub(super) fn of(output: &Output) -> Option<Self> {
        match output {
            Output::Reply { to, result } => Some(Self::Reply(to.request, result.clone())),
            Output::Event {
                session,
                event:
                    Event::Delivery {
                        consumer,
                        deliveries,
                    },
            } => Some(Self::Delivery(*session, *consumer, deliveries.clone())),
            Output::DeadLetter(job) => {
                Some(Self::Job(job.partition, job.messages.clone(), job.reason))
            }
            _ => None,
        }
    }
}

fn receipts(deliveries: &Deliveries) -> Vec<Receipt> {
    let runs = deliveries.runs.iter();
    runs.flat_map(|run| {
        run.range.offsets().map(|offset| Receipt {
            partition: run.partition,
            offset,
            attempt: run.attempt,
        })
    })
    .collect()
}

impl World {
    /// The first `deferred` decisions wait for a commit, the others leave at once.
    pub(super) fn decide(&mut self, decided: Vec<Decided>, deferred: usize) {
        // What a turn decides about several commands is told in no particular order.
        let mut replies = BTreeMap::new();
        let mut rest = Vec::new();
        for (place, decision) in decided.into_iter().enumerate() {
            match decision {
                Decided::Reply(request, result) => {
                    let asked = self.asked.get(&request);
                    let asked = asked.unwrap_or_else(|| panic!("{request:?} is answered twice"));
                    if asked.decided.is_none() {
                        let twice = replies.insert(request, result);
                        assert!(twice.is_none(), "{request:?} is answered twice");
                    } else {
                        assert!(place >= deferred, "{request:?} is answered twice");
                    }
                }
                other => rest.push((place < deferred, other)),
            }
        }
        for (request, result) in replies {
            self.decide_reply(request, result);
        }
        for (waits, decision) in rest {
            match decision {
                Decided::Reply(..) => {}
                Decided::Delivery(session, consumer, deliveries) => {
                    self.decide_delivery(session, consumer, &deliveries, waits);
                }
                Decided::Job(partition, messages, reason) => {
                    self.decide_job(partition, messages, reason);
                }
            }
        }
    }

    fn decide_reply(&mut self, request: RequestId, result: Result<Reply, Refusal>) {
        let mut asked = self.asked.remove(&request).expect("it was looked up");
        let by = format!("{} -> {result:?}", asked.what);
        let promise = match (&asked.expect, result) {
            (Expect::Is(expected, promise), result) => {
                assert_eq!(format!("{result:?}"), *expected, "{by}");
                let mut promise = promise.clone();
                promise.by = by;
                promise
            }
            (Expect::Created(name, config), Ok(Reply::Topic(topic))) => {
                assert_eq!((&topic.name, &topic.config), (name, config), "{by}");
                self.model.add_topic(topic);
                Promise::of_catalog(by, &self.model)
            }
            (Expect::Published(messages, synced), Ok(Reply::Published(results))) => {
                assert_eq!(messages.len(), results.len());
                let mut placed = Vec::new();
                for (message, result) in messages.iter().zip(results) {
                    placed.extend(self.place(asked.session, message, result));
                }
                placed.retain(|_| *synced);
                Promise::of_messages(by, &self.model, placed)
            }
            (Expect::Receive(receive), Ok(Reply::Deliveries(deliveries))) => {
                let receive = receive.clone();
                self.decide_received(asked.session, &receive, &deliveries, by)
            }
            (Expect::Receive(receive), Err(Refusal::NoSuchTopic)) => {
                assert!(!self.model.topics.contains_key(&receive.topic), "{by}");
                Promise::of_catalog(by, &self.model)
            }
            (Expect::Watch(partitions, until), Ok(Reply::Done)) => {
                let grown = self.has_grown(partitions);
                assert!(grown || *until <= self.now, "woken for nothing: {by}");
                Promise::default()
            }
            (Expect::Committed(group, partition, offset), Ok(Reply::Done)) => {
                let known = (group.clone(), *partition);
                self.model.offsets.insert(known, *offset);
                self.model.offsets_version += 1;
                self.of_offsets(by)
            }
            (Expect::Committed(..), Err(_)) => Promise::default(),
            (Expect::GroupDeleted(group), Ok(Reply::Done)) => {
                let before = self.model.offsets.len();
                self.model.offsets.retain(|(of, _), _| of != group);
                let changed = self.model.offsets.len() < before;
                self.model.offsets_version += u64::from(changed);
                self.of_offsets(by)
            }
            (Expect::GroupDeleted(_), Err(_)) | (Expect::Any, _) => Promise::default(),
            _ => panic!("an answer to another question: {by}"),
        };
        asked.decided = Some(promise);
        self.asked.insert(request, asked);
    }

    fn of_offsets(&self, by: String) -> Promise {
        Promise {
            by,
            offsets_version: self.model.offsets_version,
            ..Promise::default()
        }
    }

    fn decide_received(
        &mut self,
        session: SessionId,
        receive: &Receive,
        deliveries: &Deliveries,
        by: String,
    ) -> Promise {
        assert_eq!(deliveries.topic, receive.topic);
        assert!(deliveries.len() <= receive.max as usize, "{by}");
        if deliveries.is_empty() {
            let over = receive.until.is_none_or(|until| until <= self.now);
            assert!(over, "nothing before its time: {by}");
            if receive.until.is_none() && self.waiting(receive.topic) == 0 {
                let left = self.model.deliverable(receive.topic);
                assert_eq!(left, 0, "something is there: {by}");
            }
            return Promise::default();
        }
        self.hand_out(session, receive.topic, receive.mode, deliveries, by)
    }

    fn hand_out(
        &mut self,
        session: SessionId,
        topic: TopicId,
        mode: ConsumerMode,
        deliveries: &Deliveries,
        by: String,
    ) -> Promise {
        let receipts = receipts(deliveries);
        for receipt in &receipts {
            assert_eq!(self.model.lanes[&receipt.partition].topic, topic);
            let delivery = (receipt.partition, receipt.offset, receipt.attempt);
            self.model.hand_out(self.now, delivery, (session, mode));
            if mode == ConsumerMode::UntilSessionEnds {
                self.touched.insert((session, receipt.partition));
            }
        }
        self.deliveries.extend(&receipts);
        let first = self.deliveries.len().saturating_sub(30);
        self.deliveries.drain(..first);
        let at_most_once = receipts
            .into_iter()
            .filter(|_| mode == ConsumerMode::Settled);
        let at_most_once = at_most_once.map(|receipt| (receipt.partition, receipt.offset));
        Promise::of_messages(by, &self.model, at_most_once)
    }

    fn decide_delivery(
        &mut self,
        session: SessionId,
        consumer: ConsumerId,
        deliveries: &Deliveries,
        waits: bool,
    ) {
        let by = format!("{consumer:?} of {session} gets {deliveries:?}");
        let key = (session, consumer, receipts(deliveries)[0]);
        if self.on_the_way.contains_key(&key) {
            return;
        }
        let known = self.consumers.get_mut(&(session, consumer));
        let known = known.unwrap_or_else(|| panic!("nobody is there: {by}"));
        let count = u32::try_from(deliveries.len()).unwrap();
        assert!(
            count > 0 && count <= known.credit,
            "beyond its credit: {by}"
        );
        known.credit -= count;
        let (topic, mode) = (known.topic, known.mode);
        let promise = self.hand_out(session, topic, mode, deliveries, by);
        if waits {
            self.on_the_way.insert(key, promise);
        } else {
            self.promised.push(promise);
        }
    }

    fn decide_job(
        &mut self,
        partition: PartitionId,
        messages: Vec<Attempted>,
        reason: DeadLetterReason,
    ) {
        let most = self.model.most(self.model.lanes[&partition].topic);
        let end = self.model.lanes[&partition].end;
        for run in messages {
            for offset in run.range.offsets() {
                let message = self.model.message(partition, offset);
                match message.mood {
                    Mood::Aside(attempts) => assert_eq!(attempts, run.attempt),
                    Mood::Ready(attempts) => {
                        assert_eq!(reason, DeadLetterReason::MaxDeliveries);
                        assert_eq!(attempts, run.attempt);
                        assert!(attempts >= most && offset < end);
                        message.turn(Mood::Aside(attempts));
                    }
                    other => panic!("{partition}/{offset} is a dead letter but {other:?}"),
                }
            }
        }
    }

    /// Where a message went, and whether it had to; gives the places.
    fn place(
        &mut self,
        session: SessionId,
        message: &Prepared,
        result: Result<Placed, Refusal>,
    ) -> Vec<(PartitionId, Offset)> {
        let lanes = match self.lanes_for(session, message) {
            Ok(lanes) => lanes,
            Err(refusal) => {
                assert_eq!(result, Err(refusal));
                return Vec::new();
            }
        };
        let placed = result.expect("nothing speaks against it");
        let lanes = match lanes {
            Wanted::Before(partition, base_offset) => {
                let routed = 1;
                assert_eq!(
                    placed,
                    Placed {
                        routed,
                        partition,
                        base_offset,
                        original: None,
                        refused: 0,
                    }
                );
                let repeated = (0..message.ids.len() as u64).map(|at| base_offset + at);
                return repeated.map(|offset| (partition, offset)).collect();
            }
            Wanted::Lanes(lanes) => lanes,
        };
        assert_eq!(placed.routed as usize, lanes.len(), "the number of topics");
        let mut all = Vec::new();
        for lane in lanes {
            // The reply names the first partition; others are seen by their growth.
            let one_of = |id: &&PartitionId| lane.contains(id);
            let id = [&placed.partition].into_iter().find(one_of).or_else(|| {
                lane.iter().find(|id| {
                    let next = self.shard.state.partitions[*id].next;
                    next > self.model.lanes[*id].messages.len() as u64
                })
            });
            let id = *id.expect("one of the topic's partitions took it");
            let first = self
                .model
                .append(self.now, id, &message.ids, message.not_before);
            if id == placed.partition {
                assert_eq!(placed.base_offset, first, "offsets have no gaps");
            }
            if let Some((producer, sequence)) = message.producer {
                let count = u32::try_from(message.ids.len()).unwrap();
                let written = self.model.producers.entry((id, producer)).or_default();
                written.push((sequence, count, first));
            }
            all.extend((first..).zip(&message.ids).map(|(offset, _)| (id, offset)));
        }
        if !all.is_empty() {
            assert_eq!(
                all.iter().filter(|(id, _)| *id == placed.partition).count(),
                message.ids.len()
            );
        }
        all
    }

    /// For each topic that wants the message, the partitions that it may go to.
    fn lanes_for(&self, session: SessionId, message: &Prepared) -> Result<Wanted, Refusal> {
        let model = &self.model;
        let fits = |topic: TopicId| {
            let limit = model.topics[&topic].config.max_message_bytes as usize;
            let size = message.size;
            (size <= limit)
                .then_some(())
                .ok_or(Refusal::TooLarge { size, limit })
        };
        let choice = |topic: TopicId| {
            let partitions = &model.topics[&topic].partitions;
            match message.key_hash {
                Some(hash) => vec![partitions[hash as usize % partitions.len()]],
                None => partitions.clone(),
            }
        };
        match &message.target {
            Target::Partition(id) => {
                let lane = model.lanes.get(id).ok_or(Refusal::NoSuchPartition)?;
                fits(lane.topic)?;
                if let Some(base) = self.repeated(*id, message)? {
                    return Ok(Wanted::Before(*id, base));
                }
                Ok(Wanted::Lanes(vec![vec![*id]]))
            }
            Target::Topic(id) => {
                let known = model.topics.contains_key(id);
                known.then_some(()).ok_or(Refusal::NoSuchTopic)?;
                let mine = model.may_use(session, *id);
                mine.then_some(()).ok_or(Refusal::TopicLocked)?;
                fits(*id)?;
                Ok(Wanted::Lanes(vec![choice(*id)]))
            }
            Target::Exchange { exchange, .. } | Target::Routes { exchange, .. } => {
                if !exchange.is_empty() {
                    let known = model.exchanges.get(exchange);
                    let known = known.ok_or_else(|| Refusal::NoSuchExchange(exchange.clone()))?;
                    if known.internal {
                        return Err(Refusal::ExchangeInternal(exchange.clone()));
                    }
                }
                let keys = match &message.target {
                    Target::Routes { routing_keys, .. } => &routing_keys[..],
                    Target::Exchange { routing_key, .. } => std::slice::from_ref(routing_key),
                    _ => &[],
                };
                let reached = keys.iter().map(|key| model.route(exchange, key));
                let topics: BTreeSet<_> = reached.flatten().collect();
                for topic in &topics {
                    fits(*topic)?;
                }
                Ok(Wanted::Lanes(topics.into_iter().map(choice).collect()))
            }
        }
    }

    /// Where a repeated batch of an idempotent producer lies.
    fn repeated(&self, id: PartitionId, message: &Prepared) -> Result<Option<Offset>, Refusal> {
        let Some((producer, sequence)) = message.producer else {
            return Ok(None);
        };
        let Some(written) = self.model.producers.get(&(id, producer)) else {
            return Ok(None);
        };
        let count = u32::try_from(message.ids.len()).unwrap();
        let latest = written.iter().rev().take(5);
        let mut same = latest.filter(|(first, many, _)| (*first, *many) == (sequence, count));
        if let Some((_, _, base)) = same.next() {
            return Ok(Some(*base));
        }
        let (first, many, _) = written.last().expect("it is made with its first batch");
        let expected = first + i32::try_from(*many).unwrap();
        if sequence == expected {
            return Ok(None);
        }
        let found = sequence;
        Err(crate::ProducerRefusal::OutOfOrderSequence { expected, found }.into())
    }

    /// Something leaves the shard: from now on it holds.
    pub(super) fn leave(&mut self, output: Output) {
        match output {
            Output::Reply { to, result } => {
                let asked = self.asked.remove(&to.request);
                let asked = asked.unwrap_or_else(|| panic!("{to:?} is answered twice"));
                assert_eq!(asked.session, to.session);
                let promise = asked.decided;
                let promise = promise.unwrap_or_else(|| panic!("{result:?} was never decided"));
                self.promised.push(promise);
            }
            Output::Event { session, event } => match event {
                Event::Delivery {
                    consumer,
                    deliveries,
                } => {
                    let key = (session, consumer, receipts(&deliveries)[0]);
                    self.promised.extend(self.on_the_way.remove(&key));
                    let subscribing = self.asked.values().any(|asked| {
                        asked.session == session
                            && matches!(&asked.expect, Expect::Is(text, _) if text == "Ok(Done)")
                            && asked.what.starts_with("Subscribe")
                            && asked.what.contains(&format!("{consumer:?}"))
                    });
                    assert!(!subscribing, "delivered before it is confirmed");
                }
                Event::ConsumerCancelled { consumer } => {
                    let due = self.cancels.remove(&(session, consumer));
                    assert!(due, "{consumer:?} of {session} was cancelled for nothing");
                }
                Event::Reply { .. } => panic!("replies are outputs of their own"),
            },
            Output::Catalog(CatalogChange::TopicPut(topic)) => {
                self.promised.push(Promise {
                    by: format!("the directory shows {topic:?}"),
                    topic: Some(topic.id),
                    ..Promise::default()
                });
                self.directory.insert(topic.id, topic);
            }
            Output::Catalog(
                CatalogChange::TopicRemoved(topic) | CatalogChange::TopicRetired(topic, _),
            ) => {
                self.directory.remove(&topic.id);
                for partition in &topic.partitions {
                    self.reader.remove(*partition);
                }
            }
            Output::DeadLetter(job) => self.take_job(job),
            Output::Started(partition, at) => self.reader.trim(partition, at),
            Output::Released(bytes) => {
                let left = self.owed.checked_sub(bytes);
                self.owed = left.expect("no more is released than was taken in");
            }
            Output::Catalog(_)
            | Output::Pressure(_)
            | Output::Durable(_)
            | Output::Stability(_) => {}
        }
    }

    fn take_job(&mut self, job: DeadLetterJob) {
        for run in &job.messages {
            for offset in run.range.offsets() {
                let message = Attempted {
                    range: forebay_base::OffsetRange::one(offset),
                    attempt: run.attempt,
                };
                self.jobs.push((job.partition, message));
            }
        }
    }
}

/// Where a message is to go.
enum Wanted {
    /// It lies there since before.
    Before(PartitionId, Offset),
    /// To one of each of these partitions.
    Lanes(Vec<Vec<PartitionId>>),
}

impl Model {
    /// Messages come at the end of a partition; gives the offset of the first.
    pub(super) fn append(
        &mut self,
        now: Timestamp,
        id: PartitionId,
        ids: &[u64],
        not_before: Option<Timestamp>,
    ) -> Offset {
        let topic = self.lanes[&id].topic;
        let delay_ms = self.topics[&topic].config.delay_ms;
        let delayed = (delay_ms > 0).then(|| now.plus_ms(delay_ms));
        let mood = match not_before.or(delayed) {
            Some(until) => Mood::Delayed {
                attempts: 0,
                until: until.min(later(now, u64::MAX)),
            },
            None => Mood::Ready(0),
        };
        let lane = self.lanes.get_mut(&id).expect("it was looked up");
        let first = lane.messages.len() as u64;
        lane.messages.extend(ids.iter().map(|id| Message {
            id: *id,
            mood,
            version: 1,
        }));
        first
    }
}
