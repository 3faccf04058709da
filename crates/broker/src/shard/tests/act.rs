//! Steps as commands, with what they must lead to.

use std::sync::Arc;

use forebay_base::{Offset, PartitionId, SessionId, Timestamp, TopicId};
use forebay_record::{Batch, BatchBuilder};

use super::decide::{Asked, Expect, Prepared};
use super::model::Mood;
use super::op::{Body, DeadLetters, End, Hold, Link, Op, Policy, Sequence, To};
use super::promise::Promise;
use super::world::{Standing, World};
use crate::shard::publish::largest_message;
use crate::shard::{ReplyTo, Undeliverable};
use crate::{
    Binding, Command, Committed, ConsumerId, ConsumerMode, DeadLetterTarget, Destination,
    Durability, ExchangeConfig, ExchangeInfo, ExchangeKind, Expectation, GroupCommand,
    HeartbeatRequest, JoinRequest, LeaveRequest, Leaver, Lifetime, OffsetCommit, Outcome, Outgoing,
    Publish, Receipt, Receive, Refusal, Reply, RequestId, Retention, Subscribe, Target,
    TopicConfig, TopicStats, WhenFull,
};

const EXCHANGES: [&str; 6] = ["x0", "x1", "x2", "amq.topic", "amq.fanout", ""];
const KEYS: [&str; 6] = ["t0", "a", "a.b", "a.*", "#", "a.#"];

fn topic_name(number: u8) -> Arc<str> {
    format!("t{}", number % 5).into()
}

fn exchange_name(number: u8) -> Arc<str> {
    EXCHANGES[number as usize % EXCHANGES.len()].into()
}

fn key(number: u8) -> Arc<str> {
    KEYS[number as usize % KEYS.len()].into()
}

fn config(policy: &Policy) -> TopicConfig {
    TopicConfig {
        partitions: policy.partitions,
        delay_ms: policy.delay_ms,
        max_deliveries: policy.max_deliveries,
        dead_letter: match &policy.dead_letter {
            DeadLetters::None => None,
            DeadLetters::Topic(name) => {
                Some(DeadLetterTarget::Topic(topic_name(*name).to_string()))
            }
            DeadLetters::Exchange { exchange, key: to } => Some(DeadLetterTarget::Exchange {
                exchange: exchange_name(*exchange).to_string(),
                routing_key: to.map(|number| key(number).to_string()),
            }),
        },
        retention: match policy.until_settled {
            true => Retention::until_settled(),
            false => Retention::for_ms(1_000),
        },
        max_message_bytes: if policy.small_messages { 150 } else { 1 << 20 },
        lifetime: Lifetime {
            transient: policy.transient,
            auto_delete: policy.auto_delete,
        },
        ..TopicConfig::default()
    }
}

fn binding(link: &Link) -> Binding {
    Binding {
        exchange: exchange_name(link.exchange),
        destination: match link.to_exchange {
            true => Destination::Exchange(exchange_name(link.destination)),
            false => Destination::Topic(topic_name(link.destination)),
        },
        key: key(link.key),
        arguments: String::new(),
    }
}

/// A body says its id; what follows depends on it.
fn batch(ids: &[u64], filler: usize, producer: Option<(i64, i32)>) -> Batch {
    let mut batch = BatchBuilder::new(1_000);
    if let Some((id, sequence)) = producer {
        batch = batch.producer(id, 0, sequence);
    }
    for id in ids {
        let mut value = id.to_be_bytes().to_vec();
        value.resize(8 + filler, u8::try_from(id % 251).unwrap());
        batch
            .push(1_000, None, Some(&value), std::iter::empty())
            .unwrap();
    }
    batch.finish()
}

impl World {
    pub(super) fn run(ops: &[Op]) -> Self {
        let mut world = Self::new();
        for op in ops {
            world.act(op);
            if world.ended {
                return world;
            }
        }
        world.finish();
        world
    }

    fn act(&mut self, op: &Op) {
        match op {
            Op::CreateTopic { .. } | Op::AlterTopic { .. } | Op::DeleteTopic { .. } => {
                self.act_on_topic(op);
            }
            Op::DeclareExchange { .. }
            | Op::DeleteExchange { .. }
            | Op::Bind(_)
            | Op::Unbind(_) => self.act_on_exchange(op),
            Op::Publish {
                session,
                bodies,
                synced,
                wait,
            } => self.publish(*session, bodies, *synced, *wait),
            Op::Receive {
                session,
                topic,
                max,
                wait_ms,
                hold,
            } => self.receive(*session, *topic, *max, *wait_ms, *hold),
            Op::Subscribe { .. } => self.subscribe(op),
            Op::Credit { .. } | Op::Unsubscribe { .. } => self.act_on_consumer(op),
            Op::Settle {
                session,
                deliveries,
                end,
                told,
            } => self.settle(*session, deliveries, *end, *told),
            Op::Purge {
                topic,
                session,
                leased,
            } => self.purge(*topic, *session, *leased),
            Op::Watch {
                session,
                partitions,
                wait_ms,
            } => self.watch(*session, partitions, *wait_ms),
            Op::AllocateProducer => {
                let result = Ok(Reply::Producer(self.model.next_producer));
                self.model.next_producer += 1;
                let promise = Promise {
                    next_producer: self.model.next_producer,
                    ..Promise::default()
                };
                self.expect(0, &result, promise, Command::AllocateProducer);
            }
            Op::Ask { what, topic, group } => self.ask(*what, *topic, *group),
            Op::Join { group, member } => self.join(*group, *member),
            Op::CommitOffsets {
                group,
                partition,
                offset,
            } => self.commit_offsets(*group, *partition, i64::from(*offset)),
            Op::DeleteGroup { group } => {
                let group = format!("g{group}");
                let expect = Expect::GroupDeleted(group.clone());
                self.ask_for(0, expect, Command::DeleteGroup { group });
            }
            Op::EndSession { session } => self.end_session(*session as usize),
            Op::Cancel { which } => self.cancel(*which),
            Op::AnswerDeadLetter { which, readable } => {
                if !self.jobs.is_empty() {
                    let which = *which as usize % self.jobs.len();
                    self.answer_dead_letter(which, *readable);
                }
            }
            Op::StorageFull(full) => {
                self.full = *full;
                let reason = full.then(|| "full".into());
                self.shard.set_storage_full(self.now, reason);
                self.peek();
                self.after();
            }
            Op::Advance { ms } => self.now = self.now.plus_ms(*ms),
            Op::Journal { steps, lazy } => {
                for _ in 0..*steps {
                    if !self.ended {
                        self.journal(*lazy);
                    }
                }
            }
            Op::Snapshot => self.snapshot_wanted = true,
            Op::Drop => self.drop_journal(),
            Op::Arm { operations } => self.arm(*operations, Some(u64::from(*operations))),
            Op::Crash { torn, again } => self.crash(*torn, *again),
        }
    }

    fn session(&self, number: u8) -> SessionId {
        self.sessions[number as usize % self.sessions.len()]
    }

    /// A topic there is, or now and then one there is not.
    fn some_topic(&self, number: u8) -> TopicId {
        let topics: Vec<_> = self.model.topics.keys().collect();
        match topics.len() {
            0 => TopicId(1_000),
            _ if number == 255 => TopicId(1_000),
            count => *topics[number as usize % count],
        }
    }

    fn some_partition(&self, number: u8) -> PartitionId {
        let lanes: Vec<_> = self.model.lanes.keys().collect();
        match lanes.len() {
            0 => PartitionId(1_000),
            _ if number == 255 => PartitionId(1_000),
            count => *lanes[number as usize % count],
        }
    }

    fn ask_for(&mut self, session: u8, expect: Expect, command: Command) {
        let session = self.session(session);
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let asked = Asked {
            session,
            what: format!("{command:?}"),
            expect,
            decided: None,
        };
        self.asked.insert(request, asked);
        let to = ReplyTo { session, request };
        self.submit(to, command);
    }

    fn submit(&mut self, to: ReplyTo, command: Command) {
        self.shard.submit(self.now, to, command);
        self.peek();
        self.after();
    }

    fn expect(
        &mut self,
        session: u8,
        result: &Result<Reply, Refusal>,
        promise: Promise,
        command: Command,
    ) {
        let expect = Expect::Is(format!("{result:?}"), promise);
        self.ask_for(session, expect, command);
    }

    /// As `expect`, where the answer rests on the catalog.
    fn expect_of_catalog(
        &mut self,
        session: u8,
        result: &Result<Reply, Refusal>,
        command: Command,
    ) {
        self.forget_cancelled();
        let promise = Promise::of_catalog(String::new(), &self.model);
        self.expect(session, result, promise, command);
    }

    /// The topic, or why the session may not use it.
    fn usable(&self, session: u8, topic: TopicId) -> Result<(), Refusal> {
        let known = self.model.topics.contains_key(&topic);
        known.then_some(()).ok_or(Refusal::NoSuchTopic)?;
        let mine = self.model.may_use(self.session(session), topic);
        mine.then_some(()).ok_or(Refusal::TopicLocked)
    }

    /// Consumers whose topic has gone are told.
    fn forget_cancelled(&mut self) {
        let topics = &self.model.topics;
        let gone = self
            .consumers
            .extract_if(.., |_, known| !topics.contains_key(&known.topic));
        self.cancels.extend(gone.map(|(key, _)| key));
    }

    fn act_on_topic(&mut self, op: &Op) {
        match op {
            Op::CreateTopic {
                name,
                session,
                exclusive,
                policy,
            } => {
                let name = topic_name(*name);
                let owner = self.session(*session);
                let mut config = config(policy);
                config.exclusive = (*exclusive && *session > 0).then_some(owner);
                let command = Command::CreateTopic {
                    name: name.clone(),
                    config: config.clone(),
                };
                match self.model.topic_named(&name).cloned() {
                    None => self.ask_for(*session, Expect::Created(name, config), command),
                    Some(topic) => {
                        let refusal = match self.model.may_use(owner, topic.id) {
                            true => Refusal::TopicExists(topic),
                            false => Refusal::TopicLocked,
                        };
                        self.expect_of_catalog(*session, &Err(refusal), command);
                    }
                }
            }
            Op::AlterTopic {
                topic,
                session,
                policy,
            } => {
                let topic = self.some_topic(*topic);
                let mut policy = policy.clone();
                if let Some(known) = self.model.topics.get(&topic) {
                    // What was dropped under another rule would be missed.
                    policy.until_settled = known.config.retention.until_settled;
                }
                let command = Command::AlterTopic {
                    topic,
                    config: config(&policy),
                };
                let result = self.usable(*session, topic).map(|()| {
                    let known = self.model.topics.get_mut(&topic).expect("it is usable");
                    let mut altered = (**known).clone();
                    altered.config = TopicConfig {
                        partitions: known.config.partitions,
                        exclusive: known.config.exclusive,
                        ..config(&policy)
                    };
                    altered.modified = self.now;
                    *known = Arc::new(altered);
                    self.model.catalog_version += 1;
                    Reply::Topic(self.model.topics[&topic].clone())
                });
                self.expect_of_catalog(*session, &result, command);
            }
            Op::DeleteTopic {
                topic,
                session,
                unused,
                empty,
            } => {
                let topic = self.some_topic(*topic);
                let only_if = Expectation {
                    unused: *unused,
                    empty: *empty,
                };
                let result = self.usable(*session, topic).and_then(|()| {
                    let ready = self.model.ready(topic);
                    let used = self.consumers.values().any(|known| known.topic == topic);
                    if *unused && used {
                        return Err(Refusal::InUse);
                    }
                    if *empty && ready > 0 {
                        return Err(Refusal::NotEmpty);
                    }
                    self.model.remove_topic(topic);
                    Ok(Reply::Count(ready))
                });
                let command = Command::DeleteTopic { topic, only_if };
                // A refusal of this kind rests on what is there now, not on what lasts.
                match result {
                    Err(Refusal::InUse | Refusal::NotEmpty) => {
                        self.expect(*session, &result, Promise::default(), command);
                    }
                    _ => self.expect_of_catalog(*session, &result, command),
                }
            }
            _ => {}
        }
    }

    fn act_on_exchange(&mut self, op: &Op) {
        let reserved = |name: &str| name.is_empty() || name.starts_with("amq.");
        match op {
            Op::DeclareExchange {
                name,
                kind,
                durable,
                auto_delete,
                internal,
            } => {
                let name = exchange_name(*name);
                let config = ExchangeConfig {
                    kind: match kind % 3 {
                        0 => ExchangeKind::Direct,
                        1 => ExchangeKind::Fanout,
                        _ => ExchangeKind::Topic,
                    },
                    durable: *durable,
                    auto_delete: *auto_delete,
                    internal: *internal,
                    labels: Default::default(),
                };
                let info = |config: &ExchangeConfig| {
                    let (name, config) = (name.clone(), config.clone());
                    Arc::new(ExchangeInfo { name, config })
                };
                let result = match self.model.exchanges.get(&name) {
                    Some(known) => Err(Refusal::ExchangeExists(info(known))),
                    None if name.is_empty() => Err(Refusal::ExchangeReserved(name.clone())),
                    None => {
                        self.model.exchanges.insert(name.clone(), config.clone());
                        self.model.catalog_version += 1;
                        Ok(Reply::Exchange(info(&config)))
                    }
                };
                let command = Command::DeclareExchange { name, config };
                self.expect_of_catalog(0, &result, command);
            }
            Op::DeleteExchange { name, if_unused } => {
                let (name, if_unused) = (exchange_name(*name), *if_unused);
                let used = self
                    .model
                    .bindings
                    .iter()
                    .any(|known| known.exchange == name);
                let result = if reserved(&name) {
                    Err(Refusal::ExchangeReserved(name.clone()))
                } else if !self.model.exchanges.contains_key(&name) {
                    Err(Refusal::NoSuchExchange(name.clone()))
                } else if if_unused && used {
                    Err(Refusal::InUse)
                } else {
                    self.model.remove_exchange(&name);
                    Ok(Reply::Done)
                };
                let command = Command::DeleteExchange { name, if_unused };
                self.expect_of_catalog(0, &result, command);
            }
            Op::Bind(link) => {
                let binding = binding(link);
                let result = self.can_bind(&binding).map(|()| {
                    if self.model.bindings.insert(binding.clone()) {
                        self.model.catalog_version += 1;
                    }
                    Reply::Done
                });
                self.expect_of_catalog(0, &result, Command::Bind(binding));
            }
            Op::Unbind(link) => {
                let binding = binding(link);
                let result = self.can_bind(&binding).map(|()| {
                    self.model.unbind(&binding);
                    Reply::Done
                });
                self.expect_of_catalog(0, &result, Command::Unbind(binding));
            }
            _ => {}
        }
    }

    fn can_bind(&self, binding: &Binding) -> Result<(), Refusal> {
        match &binding.destination {
            Destination::Topic(name) => {
                let topic = self.model.topic_named(name).ok_or(Refusal::NoSuchTopic)?;
                self.usable(0, topic.id)?;
            }
            Destination::Exchange(name) => {
                let known = self.model.exchanges.contains_key(name);
                known
                    .then_some(())
                    .ok_or_else(|| Refusal::NoSuchExchange(name.clone()))?;
            }
        }
        let from = &binding.exchange;
        if from.is_empty() {
            return Err(Refusal::ExchangeReserved(from.clone()));
        }
        let known = self.model.exchanges.contains_key(from);
        known
            .then_some(())
            .ok_or_else(|| Refusal::NoSuchExchange(from.clone()))
    }

    fn prepare(&mut self, body: &Body) -> (Prepared, Outgoing) {
        let target = match body.to {
            To::Partition(number) => Target::Partition(self.some_partition(number)),
            To::Topic { topic, .. } => Target::Topic(self.some_topic(topic)),
            To::Exchange { exchange, key: to } => Target::Exchange {
                exchange: exchange_name(exchange),
                routing_key: key(to),
            },
        };
        let key_hash = match body.to {
            To::Topic { key_hash, .. } => key_hash,
            _ => None,
        };
        let mut count = u64::from(body.records);
        let mut producer = None;
        if let (Some((id, which)), Target::Partition(partition)) = (body.producer, &target) {
            let id = i64::from(id);
            let written = self.model.producers.get(&(*partition, id));
            let next = written
                .and_then(|written| written.last())
                .map_or(0, |(first, count, _)| {
                    first + i32::try_from(*count).unwrap()
                });
            let sequence = match which {
                Sequence::Next => next,
                Sequence::Gap => next + 7,
                Sequence::Repeated(back) => {
                    let before = written.and_then(|w| w.iter().rev().nth(back as usize));
                    count = before.map_or(count, |(_, count, _)| u64::from(*count));
                    before.map_or(next, |(first, _, _)| *first)
                }
            };
            producer = Some((id, sequence));
        }
        let ids: Vec<u64> = (self.next_id..self.next_id + count).collect();
        self.next_id += count;
        let not_before = body.delay_ms.map(|ms| self.now.plus_ms(ms));
        let batch = batch(&ids, body.filler as usize, producer);
        let prepared = Prepared {
            target: target.clone(),
            ids,
            size: largest_message(&batch),
            key_hash,
            not_before,
            producer,
        };
        let outgoing = Outgoing {
            target,
            batch,
            key_hash,
            not_before,
        };
        (prepared, outgoing)
    }

    fn publish(&mut self, session: u8, bodies: &[Body], synced: bool, wait: bool) {
        let (prepared, messages): (Vec<_>, Vec<_>) =
            bodies.iter().map(|body| self.prepare(body)).unzip();
        // Where several such went in one turn could not be told apart.
        let routed = bodies
            .iter()
            .any(|body| matches!(body.to, To::Exchange { .. }));
        let wait = wait && !routed;
        let publish = Publish {
            messages,
            durability: if synced {
                Durability::Synced
            } else {
                Durability::Written
            },
            when_full: if wait {
                WhenFull::Wait
            } else {
                WhenFull::Refuse
            },
        };
        self.owed += publish.payload_bytes();
        let command = Command::Publish(publish);
        if self.full && !wait {
            let refusal = Err(Refusal::StorageFull("full".into()));
            return self.expect(session, &refusal, Promise::default(), command);
        }
        self.ask_for(session, Expect::Published(prepared, synced), command);
    }

    fn mode(session: u8, hold: Hold) -> ConsumerMode {
        match hold {
            Hold::LeaseMs(ms) => ConsumerMode::LeaseMs(ms),
            Hold::Settled => ConsumerMode::Settled,
            // Outside a session a lease must have a time.
            Hold::Session if session.is_multiple_of(3) => ConsumerMode::LeaseMs(100),
            Hold::Session => ConsumerMode::UntilSessionEnds,
        }
    }

    fn receive(&mut self, session: u8, topic: u8, max: u32, wait_ms: u64, hold: Hold) {
        let receive = Receive {
            topic: self.some_topic(topic),
            max,
            until: (wait_ms > 0).then(|| self.now.plus_ms(wait_ms)),
            mode: Self::mode(session, hold),
        };
        let command = Command::Receive(receive.clone());
        if let Err(refusal) = self.usable(session, receive.topic) {
            return self.expect_of_catalog(session, &Err(refusal), command);
        }
        let mut consumers = self.consumers.values();
        if consumers.any(|known| known.topic == receive.topic && known.exclusive) {
            let refusal = Err(Refusal::ConsumerExclusive);
            return self.expect(session, &refusal, Promise::default(), command);
        }
        self.ask_for(session, Expect::Receive(receive), command);
    }

    fn subscribe(&mut self, op: &Op) {
        let Op::Subscribe {
            session,
            topic,
            consumer,
            credit,
            hold,
            exclusive,
        } = op
        else {
            return;
        };
        let subscribe = Subscribe {
            topic: self.some_topic(*topic),
            consumer: ConsumerId(u64::from(*consumer)),
            credit: *credit,
            mode: Self::mode(*session, *hold),
            exclusive: *exclusive,
        };
        let (topic, key) = (
            subscribe.topic,
            (self.session(*session), subscribe.consumer),
        );
        let command = Command::Subscribe(subscribe.clone());
        if let Err(refusal) = self.usable(*session, topic) {
            return self.expect_of_catalog(*session, &Err(refusal), command);
        }
        let others: Vec<_> = self
            .consumers
            .values()
            .filter(|c| c.topic == topic)
            .collect();
        let taken = others.iter().any(|known| known.exclusive)
            || (subscribe.exclusive && !others.is_empty())
            || self.consumers.contains_key(&key);
        if taken {
            let refusal = Err(Refusal::ConsumerExclusive);
            return self.expect(*session, &refusal, Promise::default(), command);
        }
        let standing = Standing {
            topic,
            credit: subscribe.credit,
            mode: subscribe.mode,
            exclusive: subscribe.exclusive,
        };
        self.consumers.insert(key, standing);
        self.expect(*session, &Ok(Reply::Done), Promise::default(), command);
    }

    fn act_on_consumer(&mut self, op: &Op) {
        match op {
            Op::Credit {
                session,
                consumer,
                add,
            } => {
                let consumer = ConsumerId(u64::from(*consumer));
                let session = self.session(*session);
                if let Some(known) = self.consumers.get_mut(&(session, consumer)) {
                    known.credit += add;
                }
                let request = RequestId(0);
                let command = Command::Credit {
                    consumer,
                    add: *add,
                };
                self.submit(ReplyTo { session, request }, command);
            }
            Op::Unsubscribe { session, consumer } => {
                let consumer = ConsumerId(u64::from(*consumer));
                self.remove_consumer(self.session(*session), consumer);
                self.expect_of_catalog(
                    *session,
                    &Ok(Reply::Done),
                    Command::Unsubscribe { consumer },
                );
            }
            _ => {}
        }
    }

    fn remove_consumer(&mut self, session: SessionId, consumer: ConsumerId) {
        let Some(gone) = self.consumers.remove(&(session, consumer)) else {
            return;
        };
        let last = self
            .consumers
            .values()
            .all(|known| known.topic != gone.topic);
        let topic = self.model.topics.get(&gone.topic);
        if last && topic.is_some_and(|topic| topic.config.lifetime.auto_delete) {
            self.model.remove_topic(gone.topic);
        }
    }

    fn settle(&mut self, session: u8, deliveries: &[(u8, u8)], end: End, told: bool) {
        if self.deliveries.is_empty() {
            return;
        }
        let receipts: Vec<Receipt> = deliveries
            .iter()
            .map(|(which, twist)| {
                let receipt = self.deliveries[*which as usize % self.deliveries.len()];
                let attempt = match twist {
                    255 => receipt.attempt + 1,
                    older => receipt.attempt.saturating_sub(u32::from(*older)),
                };
                Receipt { attempt, ..receipt }
            })
            .collect();
        let outcome = match end {
            End::Ack => Outcome::Ack,
            End::Release { delay_ms, count } => Outcome::Release { delay_ms, count },
            End::Extend { ms } => Outcome::Extend { ms },
            End::DeadLetter => Outcome::DeadLetter,
        };
        let by = self.session(session);
        let (answers, changed) = self.model.settle(self.now, by, &receipts, outcome);
        let promise = Promise::of_messages(String::new(), &self.model, changed);
        let command = Command::Settle { receipts, outcome };
        if told {
            let (session, request) = (by, RequestId(0));
            return self.submit(ReplyTo { session, request }, command);
        }
        self.expect(session, &Ok(Reply::Settled(answers)), promise, command);
    }

    fn purge(&mut self, topic: u8, session: u8, leased: bool) {
        let topic = self.some_topic(topic);
        let command = Command::Purge { topic, leased };
        if let Err(refusal) = self.usable(session, topic) {
            return self.expect_of_catalog(session, &Err(refusal), command);
        }
        let ready = self.model.ready(topic);
        self.model.purge(topic, leased);
        let lanes = self
            .model
            .lanes
            .iter()
            .filter(|(_, lane)| lane.topic == topic);
        let settled = lanes.flat_map(|(id, lane)| {
            let messages = lane.messages.iter().enumerate();
            let settled = messages.filter(|(_, message)| message.mood == Mood::Settled);
            settled.map(|(offset, _)| (*id, offset as Offset))
        });
        let promise = Promise::of_messages(String::new(), &self.model, settled);
        self.expect(session, &Ok(Reply::Count(ready)), promise, command);
    }

    fn watch(&mut self, session: u8, partitions: &[(u8, u8)], wait_ms: u64) {
        let partitions: Vec<_> = partitions
            .iter()
            .map(|(number, beyond)| {
                let id = self.some_partition(*number);
                let end = self.model.lanes.get(&id).map_or(0, |lane| lane.end);
                (id, end + u64::from(*beyond))
            })
            .collect();
        let until = self.now.plus_ms(wait_ms);
        let expect = Expect::Watch(partitions.clone(), until);
        self.ask_for(session, expect, Command::Watch { partitions, until });
    }

    fn ask(&mut self, what: u8, topic: u8, group: u8) {
        let group = format!("g{group}");
        let member = "m1".to_owned();
        let command = match what {
            0 => return self.stats(self.some_topic(topic)),
            1 => return self.fetch_offsets(group),
            2 => Command::DescribeGroup { group },
            3 => Command::ListGroups,
            4 => Command::Group(GroupCommand::Heartbeat(HeartbeatRequest {
                group,
                member,
                generation: 1,
                instance: None,
            })),
            _ => Command::Group(GroupCommand::Leave(LeaveRequest {
                group,
                members: vec![Leaver {
                    member,
                    instance: None,
                }],
            })),
        };
        self.ask_for(0, Expect::Any, command);
    }

    fn stats(&mut self, topic: TopicId) {
        let command = Command::Stats { topic };
        if !self.model.topics.contains_key(&topic) {
            return self.expect_of_catalog(0, &Err(Refusal::NoSuchTopic), command);
        }
        let lanes = || self.model.lanes.values().filter(|lane| lane.topic == topic);
        let consumers = self.consumers.values().filter(|known| known.topic == topic);
        let leased = |mood: &Mood| matches!(mood, Mood::Leased { .. });
        let delayed = |mood: &Mood| matches!(mood, Mood::Delayed { .. } | Mood::Aside(_));
        let stats = TopicStats {
            ready: self.model.ready(topic),
            leased: lanes().map(|lane| lane.count(leased)).sum(),
            delayed: lanes().map(|lane| lane.count(delayed)).sum(),
            consumers: u32::try_from(consumers.count()).unwrap(),
        };
        self.expect(0, &Ok(Reply::Stats(stats)), Promise::default(), command);
    }

    fn fetch_offsets(&mut self, group: String) {
        let offsets = self
            .model
            .offsets
            .iter()
            .filter(|((of, _), _)| *of == group);
        let committed = |id: PartitionId, offset: i64| (id, self.committed_offset(id, offset));
        let found = offsets
            .map(|((_, id), offset)| committed(*id, *offset))
            .collect();
        let promise = Promise {
            offsets_version: self.model.offsets_version,
            ..Promise::default()
        };
        let partitions = None;
        let command = Command::FetchOffsets { group, partitions };
        self.expect(0, &Ok(Reply::Offsets(found)), promise, command);
    }

    /// Everything about it follows from the offset.
    fn committed_offset(&self, id: PartitionId, offset: i64) -> Committed {
        Committed {
            offset,
            leader_epoch: 0,
            metadata: format!("{id}"),
            timestamp: Timestamp(offset),
        }
    }

    fn commit_offsets(&mut self, group: u8, partition: u8, offset: i64) {
        let partition = self.some_partition(partition);
        if !self.model.lanes.contains_key(&partition) {
            return;
        }
        let group = format!("g{group}");
        let commit = OffsetCommit {
            group: group.clone(),
            member: String::new(),
            instance: None,
            generation: -1,
            entries: vec![(partition, self.committed_offset(partition, offset))],
        };
        let expect = Expect::Committed(group, partition, offset);
        self.ask_for(0, expect, Command::CommitOffsets(commit));
    }

    fn join(&mut self, group: u8, member: u8) {
        let join = JoinRequest {
            group: format!("g{group}"),
            member: String::new(),
            fresh_member: format!("m{}", self.next_request),
            require_known_member: false,
            instance: (member == 2).then(|| "static".to_owned()),
            client_id: format!("c{member}"),
            client_host: String::new(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Default::default())],
            session_timeout_ms: 5_000,
            rebalance_timeout_ms: 5_000,
            can_skip_assignment: false,
        };
        self.ask_for(0, Expect::Any, Command::Group(GroupCommand::Join(join)));
    }

    fn end_session(&mut self, number: usize) {
        let id = self.sessions[number];
        let consumers: Vec<_> = self.consumers.keys().filter(|(of, _)| *of == id).collect();
        let consumers: Vec<_> = consumers.into_iter().copied().collect();
        for (session, consumer) in consumers {
            self.remove_consumer(session, consumer);
        }
        let touched = &self.touched;
        self.model
            .give_back(|partition, session, _| session == id && touched.contains(&(id, partition)));
        let topics: Vec<_> = self.model.topics.values().cloned().collect();
        for topic in topics
            .iter()
            .filter(|topic| topic.config.exclusive == Some(id))
        {
            self.model.remove_topic(topic.id);
        }
        self.forget_cancelled();
        // Nobody is left to hear the answers to what waits.
        self.asked.retain(|_, asked| {
            let waits = matches!(asked.expect, Expect::Receive(_) | Expect::Watch(..));
            !(waits && asked.decided.is_none() && asked.session == id)
        });
        self.sessions[number] = SessionId(self.next_session);
        self.next_session += 1;
        self.shard.end_session(self.now, id);
        self.peek();
        self.after();
    }

    fn cancel(&mut self, which: u8) {
        let waiting: Vec<_> = self
            .asked
            .iter()
            .filter(|(_, asked)| {
                let waits = matches!(asked.expect, Expect::Receive(_) | Expect::Watch(..));
                waits && asked.decided.is_none()
            })
            .map(|(request, _)| *request)
            .collect();
        if !waiting.is_empty() {
            let request = waiting[which as usize % waiting.len()];
            self.asked.remove(&request);
            self.shard.cancel(request);
            self.peek();
            self.after();
        }
    }

    /// Plays the part of whoever fetches dead letters' records.
    pub(super) fn answer_dead_letter(&mut self, which: usize, readable: bool) {
        let (partition, message) = self.jobs.remove(which);
        let offset = message.range.first;
        let known = self.model.lanes.get(&partition).map(|lane| {
            let known = &lane.messages[offset as usize];
            (known.id, known.mood, known.attempts())
        });
        let id = known.map_or(0, |(id, ..)| id);
        let routing_key: Arc<str> = "a".into();
        let copy = (batch(&[id], 5, None), routing_key.clone());
        let copy = if readable {
            Ok(copy)
        } else {
            Err(Undeliverable)
        };
        self.shard
            .deliver_dead_letter(self.now, partition, message, copy);
        if let Some((id, mood, attempts)) = known {
            let there = match mood {
                Mood::Leased { .. } | Mood::Settled => false,
                _ => message.attempt > 0 && message.attempt >= attempts,
            };
            if there {
                self.dead_letter(partition, offset, id, readable.then_some(&*routing_key));
            }
        }
        self.peek();
        self.after();
    }

    fn dead_letter(&mut self, from: PartitionId, offset: Offset, id: u64, key: Option<&str>) {
        let topic = self.model.lanes[&from].topic;
        let target = self.model.topics[&topic].config.dead_letter.clone();
        let mut topics = Vec::new();
        match (key, &target) {
            (None, _) | (_, None) => {}
            (Some(_), Some(DeadLetterTarget::Topic(name))) => {
                let Some(target) = self.model.topic_named(name) else {
                    let message = self.model.message(from, offset);
                    let attempts = message.attempts();
                    return message.turn(Mood::Ready(attempts));
                };
                topics.push(target.id);
            }
            (
                Some(key),
                Some(DeadLetterTarget::Exchange {
                    exchange,
                    routing_key,
                }),
            ) => {
                let key = routing_key.as_deref().unwrap_or(key);
                topics.extend(self.model.route(exchange, key));
            }
        }
        let mut copies = Vec::new();
        for topic in topics {
            let partitions = self.model.topics[&topic].partitions.clone();
            let grown = partitions.into_iter().find(|id| {
                let next = self.shard.state.partitions[id].next;
                next > self.model.lanes[id].messages.len() as u64
            });
            let grown = grown.expect("each target gets a copy");
            copies.push((grown, self.model.append(self.now, grown, &[id], None)));
        }
        self.model.message(from, offset).turn(Mood::Settled);
        self.moves.push(((from, offset), copies));
    }
}
