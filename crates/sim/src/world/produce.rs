//! Publishing, with and without sequence numbers.

use std::collections::VecDeque;

use bytes::Bytes;
use forebay_base::{Offset, PartitionId, Timestamp, TopicId};
use forebay_broker::{
    Command, Durability, Outgoing, Placed, Publish, Refusal, RequestId, Target, WhenFull,
};
use forebay_record::Batch;

use super::hear::{Asked, Sent};
use super::topics::FAN;
use super::{World, tell};
use crate::body::{self, Body};
use crate::ledger::{Sight, There};
use crate::violation::{Audited, broken};

/// Batches of an idempotent producer that may be under way at a time.
const UNDER_WAY: usize = 4;

/// An idempotent producer of one partition.
#[derive(Clone, Debug)]
pub(super) struct Producer {
    pub(super) id: Option<i64>,
    pub(super) partition: PartitionId,
    topic: TopicId,
    sender: u64,
    next_sequence: i32,
    /// Sent or to be sent, oldest first.
    queue: VecDeque<Numbered>,
    /// The last ones confirmed, with the place they got.
    done: VecDeque<(Numbered, Offset)>,
    asks_for_id: bool,
}

#[derive(Clone, Debug)]
struct Numbered {
    numbers: Vec<u64>,
    batch: Batch,
    request: Option<RequestId>,
    /// It was sent in an earlier life, too.
    old: bool,
}

impl Producer {
    pub(super) fn lose_requests(&mut self) {
        self.asks_for_id = false;
        for numbered in &mut self.queue {
            numbered.request = None;
            numbered.old = true;
        }
    }

    pub(super) fn named(&mut self, id: i64) {
        self.id = Some(id);
        self.asks_for_id = false;
    }

    fn under_way(&self) -> usize {
        let under_way = self.queue.iter().filter(|n| n.request.is_some());
        under_way.count()
    }
}

impl World {
    fn bodies(&mut self, topic: Option<TopicId>, sender: u64) -> Vec<Body> {
        let compacted = topic.is_some_and(|topic| {
            let config = self.ledger.topics.get(&topic).map(|topic| topic.config());
            config.is_some_and(|config| config.compaction.is_some())
        });
        let count = match self.chance.weighted(&[5, 3, 1]) {
            0 => 1,
            1 => self.chance.between(2, 4),
            _ => self.chance.between(5, 20),
        };
        let mut bodies = Vec::new();
        for _ in 0..count {
            let length = self.chance.below(self.profile.longest);
            let length = match self.chance.one_in(3) {
                true => length,
                false => length / 4,
            };
            let tombstone = compacted && self.chance.one_in(6);
            let key = (compacted || self.chance.one_in(4))
                .then(|| Bytes::from(format!("k{}", self.chance.below(7))));
            let keyless = compacted && self.chance.one_in(20);
            bodies.push(Body {
                number: self.next_number,
                key: key.filter(|_| !keyless),
                length: (!tombstone).then(|| u32::try_from(length).unwrap_or(0)),
                timestamp: self.now.0,
                bytes: 0,
                sender,
            });
            self.next_number += 1;
        }
        bodies
    }

    /// Remembers what was sent.
    fn remember(
        &mut self,
        bodies: Vec<Body>,
        topics: &[TopicId],
        due: Option<Timestamp>,
    ) -> Vec<u64> {
        let numbers = bodies.iter().map(|body| body.number).collect();
        for body in bodies {
            for topic in topics {
                self.ledger.maybe.insert((*topic, body.number));
            }
            if let Some(due) = due {
                self.ledger.due.insert(body.number, due);
            }
            self.ledger.bodies.insert(body.number, body);
        }
        numbers
    }

    pub(super) fn publish(&mut self) {
        let session = self.some_session();
        let sender = session.0 | (self.life << 32);
        let mut messages = Vec::new();
        let mut sent = Vec::new();
        for _ in 0..self.chance.between(1, 3) {
            let Some((outgoing, told)) = self.some_message(sender) else {
                continue;
            };
            messages.push(outgoing);
            sent.push(told);
        }
        if messages.is_empty() {
            return;
        }
        let durability = match self.chance.one_in(6) {
            true => Durability::Written,
            false => Durability::Synced,
        };
        let when_full = match self.chance.one_in(2) {
            true => WhenFull::Wait,
            false => WhenFull::Refuse,
        };
        let publish = Publish {
            messages,
            durability,
            when_full,
        };
        let asked = Asked::Publish { sent, durability };
        self.submit_as(session, asked, Command::Publish(publish));
    }

    fn some_message(&mut self, sender: u64) -> Option<(Outgoing, Sent)> {
        let fan = !self.fan.is_empty() && self.chance.one_in(5);
        let (target, topics) = if fan {
            let target = Target::Exchange {
                exchange: FAN.into(),
                routing_key: "".into(),
            };
            (target, self.fan.clone())
        } else {
            let topic = self.some_topic(|_| true)?;
            let partitions = self.ledger.topics[&topic].partitions.clone();
            let target = match self.chance.one_in(3) {
                true => Target::Partition(*self.chance.pick(&partitions)?),
                false => Target::Topic(topic),
            };
            (target, vec![topic])
        };
        let one = (!fan).then(|| topics[0]);
        let mut bodies = self.bodies(one, sender);
        let batch = body::batch(&mut bodies, None);
        let delay = self.chance.one_in(10);
        let not_before = delay.then(|| self.now.plus_ms(self.chance.below(5_000)));
        let key_hash = self
            .chance
            .one_in(4)
            .then(|| u32::try_from(self.chance.below(5)).unwrap_or(0));
        let numbers = self.remember(bodies, &topics, not_before);
        let outgoing = Outgoing {
            target,
            batch,
            key_hash,
            identity: None,
            lives_ms: None,
            not_before,
        };
        let sent = Sent {
            topics,
            numbers,
            fan,
        };
        Some((outgoing, sent))
    }

    /// What became of a publish.
    pub(super) fn published(
        &mut self,
        sent: Vec<Sent>,
        durability: Durability,
        results: Vec<Result<Placed, Refusal>>,
    ) -> Audited {
        if results.len() != sent.len() {
            return broken("one result for each message", format!("{results:?}"));
        }
        for (sent, result) in sent.into_iter().zip(results) {
            match result {
                Ok(placed) => self.placed(&sent, durability, placed)?,
                Err(refusal) => self.refused(&sent, &refusal)?,
            }
        }
        Ok(())
    }

    fn placed(&mut self, sent: &Sent, durability: Durability, placed: Placed) -> Audited {
        let there = |topic: &TopicId| self.ledger.topics[topic].there;
        let all = sent.topics.iter().all(|topic| there(topic) == There::Yes);
        if all && placed.routed as usize != sent.topics.len() {
            return broken(
                format!("{:?} goes to {:?}", sent.numbers, sent.topics),
                format!("{placed:?}"),
            );
        }
        if placed.routed == 0 {
            return Ok(());
        }
        let sight = match durability {
            Durability::Synced => Sight::Confirmed,
            Durability::Written => Sight::Placed,
        };
        let first = self.ledger.topic_of.get(&placed.partition).copied();
        if !first.is_some_and(|first| sent.topics.contains(&first)) {
            return broken(
                format!("{:?} goes to {:?}", sent.numbers, sent.topics),
                format!("to {first:?}: {placed:?}"),
            );
        }
        if sight == Sight::Confirmed {
            self.stats.published += sent.numbers.len() as u64;
        }
        if self.ledger.lanes.contains_key(&placed.partition) {
            for (offset, number) in (placed.base_offset..).zip(&sent.numbers) {
                self.ledger
                    .put(placed.partition, offset, *number, None, sight)?;
            }
        }
        if sight == Sight::Confirmed && sent.fan {
            for topic in sent.topics.iter().filter(|topic| Some(**topic) != first) {
                self.ledger.want(*topic, &sent.numbers);
            }
        }
        Ok(())
    }

    fn refused(&mut self, sent: &Sent, refusal: &Refusal) -> Audited {
        let there = |topic: &TopicId| self.ledger.topics[topic].there;
        let all = sent.topics.iter().all(|topic| there(topic) == There::Yes);
        match refusal {
            Refusal::StorageFull(_) if self.cramped || self.hurt => self.stats.pushed_back += 1,
            Refusal::NoSuchTopic | Refusal::NoSuchPartition if !all => {}
            Refusal::TooLarge { .. } | Refusal::Stopping => {}
            _ => {
                return broken(
                    format!(
                        "nothing speaks against {:?} in {:?}",
                        sent.numbers, sent.topics
                    ),
                    refusal.to_string(),
                );
            }
        }
        for topic in &sent.topics {
            for number in &sent.numbers {
                self.ledger.maybe.remove(&(*topic, *number));
            }
        }
        Ok(())
    }

    pub(super) fn name_producer(&mut self, sender: u64, id: i64) {
        let mut known = self.producers.iter_mut();
        if let Some(producer) = known.find(|producer| producer.sender == sender) {
            producer.named(id);
        }
    }

    /// Messages that fill about a quarter of a journal file.
    pub(super) fn publish_filler(&mut self, topic: TopicId) {
        let sender = self.life << 32;
        let length = u32::try_from(self.profile.file_bytes / 12).unwrap_or(1000);
        for _ in 0..3 {
            let mut bodies = vec![Body {
                number: self.next_number,
                key: None,
                length: Some(length),
                timestamp: self.now.0,
                bytes: 0,
                sender,
            }];
            self.next_number += 1;
            let batch = body::batch(&mut bodies, None);
            let numbers = self.remember(bodies, &[topic], None);
            let sent = Sent {
                topics: vec![topic],
                numbers,
                fan: false,
            };
            let durability = Durability::Synced;
            let publish = Publish {
                messages: vec![Outgoing {
                    target: Target::Topic(topic),
                    batch,
                    key_hash: None,
                    identity: None,
                    lives_ms: None,
                    not_before: None,
                }],
                durability,
                when_full: WhenFull::Refuse,
            };
            let asked = Asked::Publish {
                sent: vec![sent],
                durability,
            };
            self.submit(0, asked, Command::Publish(publish));
        }
    }

    /// An idempotent producer goes on.
    pub(super) fn produce(&mut self) {
        if self.producers.len() < 2 {
            self.new_producer();
            return;
        }
        let at = usize::try_from(self.chance.below(self.producers.len() as u64)).unwrap_or(0);
        self.drive(at);
    }

    fn new_producer(&mut self) {
        let Some(partition) = self.some_partition(|topic| topic.config().compaction.is_none())
        else {
            return;
        };
        let Some(topic) = self.ledger.topic_of.get(&partition).copied() else {
            return;
        };
        let sender = (1 << 62) | self.next_sender;
        self.next_sender += 1;
        self.producers.push(Producer {
            id: None,
            partition,
            topic,
            sender,
            next_sequence: 0,
            queue: VecDeque::new(),
            done: VecDeque::new(),
            asks_for_id: false,
        });
    }

    fn drive(&mut self, at: usize) {
        let producer = &self.producers[at];
        let Some(id) = producer.id else {
            if !producer.asks_for_id {
                let sender = producer.sender;
                self.producers[at].asks_for_id = true;
                self.submit(0, Asked::Producer(sender), Command::AllocateProducer);
            }
            return;
        };
        if producer.queue.is_empty() && !producer.done.is_empty() && self.chance.one_in(4) {
            return self.repeat(at);
        }
        // What is to be sent again goes first, in order, and only from the first one on.
        let resend = producer.queue.iter().position(|n| n.request.is_none());
        let (numbers, batch) = match resend {
            Some(place) if producer.under_way() == place => {
                let numbered = &producer.queue[place];
                (numbered.numbers.clone(), numbered.batch.clone())
            }
            Some(_) => return,
            None if producer.queue.len() >= UNDER_WAY => return,
            // The first batch of a producer is taken whatever its number: another that passes it
            // because it is refused would shut it out.
            None if producer.done.is_empty() && !producer.queue.is_empty() => return,
            None => {
                let (topic, sender) = (producer.topic, producer.sender);
                let sequence = producer.next_sequence;
                let mut bodies = self.bodies(Some(topic), sender);
                let batch = body::batch(&mut bodies, Some((id, sequence)));
                let numbers = self.remember(bodies, &[topic], None);
                let producer = &mut self.producers[at];
                producer.next_sequence += i32::try_from(numbers.len()).unwrap_or(0);
                producer.queue.push_back(Numbered {
                    numbers: numbers.clone(),
                    batch: batch.clone(),
                    request: None,
                    old: false,
                });
                (numbers, batch)
            }
        };
        let place = resend.unwrap_or(self.producers[at].queue.len() - 1);
        let sender = self.producers[at].sender;
        let request = self.send_numbered(at, batch, Asked::Numbered(sender, numbers));
        self.producers[at].queue[place].request = Some(request);
    }

    fn send_numbered(&mut self, at: usize, batch: Batch, asked: Asked) -> RequestId {
        let publish = Publish {
            messages: vec![Outgoing {
                target: Target::Partition(self.producers[at].partition),
                batch,
                key_hash: None,
                identity: None,
                lives_ms: None,
                not_before: None,
            }],
            durability: Durability::Synced,
            when_full: WhenFull::Refuse,
        };
        let session = self.some_session();
        self.submit_as(session, asked, Command::Publish(publish))
    }

    /// The client did not hear the answer, or so it believes.
    fn repeat(&mut self, at: usize) {
        let producer = &self.producers[at];
        let back = usize::try_from(self.chance.below(producer.done.len() as u64)).unwrap_or(0);
        let Some((numbered, base)) = producer.done.get(back).cloned() else {
            return;
        };
        let place = (producer.partition, base);
        tell!(self, "{:?} are repeated", numbered.numbers);
        self.send_numbered(at, numbered.batch, Asked::Repeated(place));
    }

    /// The answer to a numbered batch.
    pub(super) fn numbered(
        &mut self,
        sender: u64,
        request: RequestId,
        numbers: &[u64],
        result: Result<Placed, Refusal>,
    ) -> Audited {
        let Some(at) = self.producers.iter().position(|p| p.sender == sender) else {
            return Ok(());
        };
        let (topic, partition) = (self.producers[at].topic, self.producers[at].partition);
        match result {
            Ok(placed) => {
                if placed.partition != partition || placed.routed != 1 {
                    return broken(
                        format!("{numbers:?} goes to {partition}"),
                        format!("{placed:?}"),
                    );
                }
                self.stats.published += numbers.len() as u64;
                let producer = &mut self.producers[at];
                let mut queue = producer.queue.iter();
                let place = queue.position(|n| n.request == Some(request));
                let Some(numbered) = place.and_then(|place| producer.queue.remove(place)) else {
                    return Ok(());
                };
                let sight = match numbered.old {
                    true => Sight::Found,
                    false => Sight::Confirmed,
                };
                for (offset, number) in (placed.base_offset..).zip(numbers) {
                    self.ledger.put(partition, offset, *number, None, sight)?;
                }
                let producer = &mut self.producers[at];
                producer.done.push_back((numbered, placed.base_offset));
                if producer.done.len() > UNDER_WAY {
                    producer.done.pop_front();
                }
            }
            Err(refusal) => {
                let there = self.ledger.topics[&topic].there == There::Yes;
                let producer = &mut self.producers[at];
                let place = producer
                    .queue
                    .iter()
                    .position(|n| n.request == Some(request));
                let after_another = place.is_some_and(|place| {
                    producer
                        .queue
                        .iter()
                        .take(place)
                        .any(|n| n.request.is_none())
                });
                match refusal {
                    Refusal::StorageFull(_) if self.cramped || self.hurt => {
                        self.stats.pushed_back += 1
                    }
                    Refusal::NoSuchPartition if !there => {}
                    Refusal::Producer(_) if after_another => {}
                    Refusal::TooLarge { .. } => {
                        // It will never fit, and neither what follows it.
                        self.producers.remove(at);
                        return Ok(());
                    }
                    _ => {
                        return broken(
                            format!("{numbers:?} follows what {sender} sent to {partition} before"),
                            refusal.to_string(),
                        );
                    }
                }
                if let Some(place) = place {
                    producer.queue[place].request = None;
                }
            }
        }
        Ok(())
    }
}
