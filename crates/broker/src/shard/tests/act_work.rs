//! Steps in the life of messages as work.

use std::sync::Arc;

use forebay_base::{Offset, PartitionId, SessionId};
use forebay_record::{Batch, BatchBuilder};

use super::act::{exchange_name, key};
use super::decide::{Expect, Prepared};
use super::model::Mood;
use super::op::{Body, End, Hold, Op, Sequence, To};
use super::promise::Promise;
use super::world::{Standing, World};
use crate::retention::{Trim, UpTo};
use crate::shard::publish::largest_message;
use crate::shard::{DeadLetterCopy, ReplyTo, Undeliverable};
use crate::{
    Command, ConsumerId, ConsumerMode, DeadLetterTarget, Durability, Fields, Outcome, Outgoing,
    Publish, Receipt, Receive, Refusal, Reply, RequestId, Subscribe, Target, WhenFull,
};

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
    pub(super) fn prepare(&mut self, body: &Body) -> (Prepared, Outgoing) {
        let target = match body.to {
            To::Partition(number) => Target::Partition(self.some_partition(number)),
            To::Topic { topic, .. } => Target::Topic(self.some_topic(topic)),
            To::Exchange { exchange, key: to } if to % 3 == 2 => Target::Routes {
                exchange: exchange_name(exchange),
                routing_keys: vec![key(to), key(to / 3)],
                fields: Fields::default(),
            },
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
            identity: None,
            lives_ms: None,
        };
        (prepared, outgoing)
    }

    pub(super) fn publish(&mut self, session: u8, bodies: &[Body], synced: bool, wait: bool) {
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

    pub(super) fn mode(session: u8, hold: Hold) -> ConsumerMode {
        match hold {
            Hold::LeaseMs(ms) => ConsumerMode::LeaseMs(ms),
            Hold::Settled => ConsumerMode::Settled,
            // Outside a session a lease must have a time.
            Hold::Session if session.is_multiple_of(3) => ConsumerMode::LeaseMs(100),
            Hold::Session => ConsumerMode::UntilSessionEnds,
        }
    }

    pub(super) fn receive(&mut self, session: u8, topic: u8, max: u32, wait_ms: u64, hold: Hold) {
        let receive = Receive {
            topic: self.some_topic(topic),
            max,
            until: (wait_ms > 0).then(|| self.now.plus_ms(wait_ms)),
            mode: Self::mode(session, hold),
            attempt: None,
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

    pub(super) fn subscribe(&mut self, op: &Op) {
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
            priority: 0,
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

    pub(super) fn act_on_consumer(&mut self, op: &Op) {
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

    pub(super) fn remove_consumer(&mut self, session: SessionId, consumer: ConsumerId) {
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

    pub(super) fn settle(&mut self, session: u8, deliveries: &[(u8, u8)], end: End, told: bool) {
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
            End::AckLeased => Outcome::AckLeased,
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

    pub(super) fn purge(&mut self, topic: u8, session: u8, leased: bool) {
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

    pub(super) fn trim(&mut self, session: u8, partition: u8, before: Offset) {
        let id = self.some_partition(partition);
        let command = Command::TrimPartition {
            partition: id,
            before,
        };
        let Some(lane) = self.model.lanes.get(&id) else {
            return self.expect_of_catalog(session, &Err(Refusal::NoSuchPartition), command);
        };
        if let Err(refusal) = self.usable(session, lane.topic) {
            return self.expect_of_catalog(session, &Err(refusal), command);
        }
        let end = lane.end;
        if before > end {
            let refusal = Err(Refusal::BeyondEnd { end });
            return self.expect(session, &refusal, Promise::default(), command);
        }
        self.model.start(id, before);
        let start = self.model.lanes[&id].start;
        let gone = (0..start).map(|offset| (id, offset));
        let promise = Promise::of_messages(String::new(), &self.model, gone);
        self.expect(session, &Ok(Reply::Start(start)), promise, command);
    }

    pub(super) fn retain(&mut self, partition: u8, up_to: &[u8], settled: bool) {
        let id = self.some_partition(partition);
        let places: Vec<Offset> = up_to.iter().map(|at| u64::from(*at)).collect();
        if let Some(lane) = self.model.lanes.get(&id) {
            let mut messages = lane.messages.iter();
            let low = messages.position(|message| message.mood != Mood::Settled);
            let low = low.map_or(lane.messages.len() as u64, |low| low as u64);
            // What was settled by being handed out may not have been read yet.
            let low = self.shard.handed.low(id).map_or(low, |at| at.min(low));
            let below = match settled {
                true => places.iter().copied().filter(|at| *at <= low).max(),
                false => Some(places[0]),
            };
            let below = below.unwrap_or(0).min(lane.end);
            self.model.start(id, below);
        }
        let up_to = match settled {
            true => UpTo::LastSettled(places),
            false => UpTo::Offset(places[0]),
        };
        let trim = Trim {
            partition: id,
            up_to,
        };
        self.shard.retain(self.now, &trim);
        self.peek();
        self.after();
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
        let copy = DeadLetterCopy {
            batch: batch(&[id], 5, None),
            routing_key: routing_key.clone(),
            fields: Fields::default(),
            circle: Vec::new(),
            origin: None,
        };
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
