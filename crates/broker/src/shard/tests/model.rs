//! What a shard's durable state means, as naively as it can be said: one entry per message.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_base::{Offset, PartitionId, SessionId, Timestamp, TopicId};

use crate::{
    Binding, ConsumerMode, DeadLetterTarget, Destination, ExchangeConfig, ExchangeKind, Outcome,
    Receipt, Settled, TopicInfo,
};

/// Where a message stands as work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Ready(u32),
    Leased {
        attempt: u32,
        session: SessionId,
        deadline: Option<Timestamp>,
    },
    Delayed {
        attempts: u32,
        until: Timestamp,
    },
    /// On its way to a dead-letter target.
    Aside(u32),
    Settled,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    /// What its body says.
    pub(super) id: u64,
    pub(super) mood: Mood,
    /// Grows with every change.
    pub(super) version: u32,
}

impl Message {
    pub(super) fn turn(&mut self, mood: Mood) {
        self.mood = mood;
        self.version += 1;
    }

    pub(super) fn attempts(&self) -> u32 {
        match self.mood {
            Mood::Ready(attempts) | Mood::Aside(attempts) | Mood::Delayed { attempts, .. } => {
                attempts
            }
            Mood::Leased { attempt, .. } => attempt,
            Mood::Settled => 0,
        }
    }

    fn due(&self) -> Option<Timestamp> {
        match self.mood {
            Mood::Leased { deadline, .. } => deadline,
            Mood::Delayed { until, .. } => Some(until),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) topic: TopicId,
    pub(super) messages: Vec<Message>,
    /// So many of them are durable.
    pub(super) end: Offset,
    /// The first that is not gone.
    pub(super) start: Offset,
}

impl Lane {
    pub(super) fn ready(&self) -> impl Iterator<Item = (Offset, &Message)> {
        let durable = self.messages.iter().take(self.end as usize);
        let numbered = durable
            .enumerate()
            .map(|(at, message)| (at as u64, message));
        numbered.filter(|(_, message)| matches!(message.mood, Mood::Ready(_)))
    }

    pub(super) fn count(&self, is: impl Fn(&Mood) -> bool) -> u64 {
        self.messages.iter().filter(|m| is(&m.mood)).count() as u64
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.messages.iter().filter_map(Message::due).min()
    }

    fn held(&self, receipt: Receipt) -> Settled {
        let durable = receipt.offset < self.end;
        let Some(message) = self
            .messages
            .get(receipt.offset as usize)
            .filter(|_| durable)
        else {
            return Settled::Gone;
        };
        match message.mood {
            Mood::Settled => Settled::Gone,
            _ if receipt.attempt == 0 => Settled::Gone,
            _ if receipt.attempt < message.attempts() => Settled::Stale,
            Mood::Leased { attempt, .. } if receipt.attempt > attempt => Settled::Gone,
            Mood::Leased { .. } => Settled::Held,
            _ => Settled::Expired,
        }
    }
}

/// One idempotent producer's batches in one partition: first sequence, count, place.
pub(super) type Written = Vec<(i32, u32, Offset)>;

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) topics: BTreeMap<TopicId, Arc<TopicInfo>>,
    pub(super) exchanges: BTreeMap<Arc<str>, ExchangeConfig>,
    pub(super) bindings: BTreeSet<Binding>,
    pub(super) lanes: BTreeMap<PartitionId, Lane>,
    pub(super) offsets: BTreeMap<(String, PartitionId), i64>,
    pub(super) producers: BTreeMap<(PartitionId, i64), Written>,
    pub(super) next_producer: i64,
    /// Grows with every change of topics, exchanges and bindings.
    pub(super) catalog_version: u64,
    /// Grows with every change of committed offsets.
    pub(super) offsets_version: u64,
    /// Every topic there ever was: none is made twice.
    pub(super) known_topics: BTreeSet<TopicId>,
    pub(super) known_lanes: BTreeSet<PartitionId>,
}

impl Model {
    pub(super) fn topic_named(&self, name: &str) -> Option<&Arc<TopicInfo>> {
        self.topics.values().find(|topic| &*topic.name == name)
    }

    pub(super) fn message(&mut self, partition: PartitionId, offset: Offset) -> &mut Message {
        let lane = self
            .lanes
            .get_mut(&partition)
            .expect("the partition exists");
        &mut lane.messages[offset as usize]
    }

    pub(super) fn add_topic(&mut self, topic: Arc<TopicInfo>) {
        assert!(
            self.known_topics.insert(topic.id),
            "a topic id was used twice"
        );
        for id in &topic.partitions {
            self.add_lane(*id, topic.id);
        }
        self.topics.insert(topic.id, topic);
        self.catalog_version += 1;
    }

    fn add_lane(&mut self, id: PartitionId, topic: TopicId) {
        assert!(self.known_lanes.insert(id), "a partition id was used twice");
        let lane = Lane {
            topic,
            messages: Vec::new(),
            end: 0,
            start: 0,
        };
        self.lanes.insert(id, lane);
    }

    /// The topic has so many partitions now; the new ones have the next ids.
    pub(super) fn grow(&mut self, now: Timestamp, id: TopicId, count: u32) -> Arc<TopicInfo> {
        let mut grown = (*self.topics[&id]).clone();
        while grown.partitions.len() < count as usize {
            let last = self.known_lanes.last().expect("a topic has partitions");
            let next = PartitionId(last.0 + 1);
            self.add_lane(next, id);
            grown.partitions.push(next);
        }
        grown.config.partitions = count;
        grown.modified = now;
        let grown = Arc::new(grown);
        self.topics.insert(id, grown.clone());
        self.catalog_version += 1;
        grown
    }

    pub(super) fn remove_topic(&mut self, id: TopicId) {
        let Some(topic) = self.topics.remove(&id) else {
            return;
        };
        self.catalog_version += 1;
        for partition in &topic.partitions {
            self.lanes.remove(partition);
            self.offsets.retain(|(_, of), _| of != partition);
            self.producers.retain(|(of, _), _| of != partition);
        }
        self.unbind_all_to(&Destination::Topic(topic.name.clone()));
    }

    pub(super) fn remove_exchange(&mut self, name: &Arc<str>) {
        if self.exchanges.remove(name).is_none() {
            return;
        }
        self.catalog_version += 1;
        self.bindings.retain(|binding| binding.exchange != *name);
        self.unbind_all_to(&Destination::Exchange(name.clone()));
    }

    fn unbind_all_to(&mut self, destination: &Destination) {
        let bindings = self.bindings.iter();
        let bindings: Vec<_> = bindings
            .filter(|binding| binding.destination == *destination)
            .cloned()
            .collect();
        for binding in bindings {
            self.unbind(&binding);
        }
    }

    pub(super) fn unbind(&mut self, binding: &Binding) {
        if !self.bindings.remove(binding) {
            return;
        }
        self.catalog_version += 1;
        let from = &binding.exchange;
        let ends = self
            .exchanges
            .get(from)
            .is_some_and(|known| known.auto_delete);
        if ends && self.bindings.iter().all(|other| other.exchange != *from) {
            self.remove_exchange(from);
        }
    }

    /// The topics a message reaches.
    pub(super) fn route(&self, exchange: &str, key: &str) -> BTreeSet<TopicId> {
        let mut reached = BTreeSet::new();
        if exchange.is_empty() {
            reached.extend(self.topic_named(key).map(|topic| topic.id));
            return reached;
        }
        let mut visited = BTreeSet::new();
        let mut open = vec![exchange.to_owned()];
        while let Some(exchange) = open.pop() {
            let Some(config) = self.exchanges.get(&*exchange) else {
                continue;
            };
            if !visited.insert(exchange.clone()) {
                continue;
            }
            let mut taken = false;
            for binding in self.bindings.iter().filter(|b| *b.exchange == *exchange) {
                let wanted = match config.kind {
                    ExchangeKind::Direct => *binding.key == *key,
                    ExchangeKind::Fanout => true,
                    ExchangeKind::Fields => false,
                    ExchangeKind::Topic => {
                        let pattern: Vec<_> = binding.key.split('.').collect();
                        matches(&pattern, &key.split('.').collect::<Vec<_>>())
                    }
                };
                taken |= wanted;
                match &binding.destination {
                    _ if !wanted => {}
                    Destination::Topic(name) => {
                        reached.extend(self.topic_named(name).map(|topic| topic.id));
                    }
                    Destination::Exchange(name) => open.push(name.to_string()),
                }
            }
            if let Some(alternate) = config.alternate.as_ref().filter(|_| !taken) {
                open.push(alternate.to_string());
            }
        }
        reached
    }

    /// How often messages of a topic may be handed out.
    pub(super) fn most(&self, topic: TopicId) -> u32 {
        let config = &self.topics[&topic].config;
        let gone = match &config.dead_letter {
            Some(DeadLetterTarget::Topic(name)) => self.topic_named(name).is_none(),
            _ => false,
        };
        config.max_deliveries.filter(|_| !gone).unwrap_or(u32::MAX)
    }

    /// How many messages of a topic could be handed out now.
    pub(super) fn deliverable(&self, topic: TopicId) -> usize {
        let most = self.most(topic);
        let lanes = self.lanes.values().filter(|lane| lane.topic == topic);
        lanes
            .flat_map(Lane::ready)
            .filter(|(_, message)| message.attempts() < most)
            .count()
    }

    pub(super) fn ready(&self, topic: TopicId) -> u64 {
        let lanes = self.lanes.values().filter(|lane| lane.topic == topic);
        lanes.flat_map(Lane::ready).count() as u64
    }

    /// A message is handed out, which it must be fit for.
    pub(super) fn hand_out(
        &mut self,
        now: Timestamp,
        (partition, offset, attempt): (PartitionId, Offset, u32),
        (session, mode): (SessionId, ConsumerMode),
    ) {
        let lane = &self.lanes[&partition];
        let most = self.most(lane.topic);
        assert!(offset < lane.end, "handed out before it is durable");
        let message = self.message(partition, offset);
        let Mood::Ready(attempts) = message.mood else {
            panic!("{partition}/{offset} is handed out but {:?}", message.mood);
        };
        assert_eq!(attempt, attempts + 1, "deliveries are counted");
        assert!(
            attempt <= most,
            "handed out {attempt} times, {most} are allowed"
        );
        message.turn(match mode {
            ConsumerMode::LeaseMs(ms) => Mood::Leased {
                attempt,
                session: SessionId(0),
                deadline: Some(now.plus_ms(ms)),
            },
            ConsumerMode::UntilSessionEnds => Mood::Leased {
                attempt,
                session,
                deadline: None,
            },
            ConsumerMode::Settled => Mood::Settled,
        });
    }

    /// What receipts are good for, and their effect. Also gives the messages that changed.
    /// Receipts of one partition in a row are looked at together.
    pub(super) fn settle(
        &mut self,
        now: Timestamp,
        session: SessionId,
        receipts: &[Receipt],
        outcome: Outcome,
    ) -> (Vec<Settled>, BTreeSet<(PartitionId, Offset)>) {
        let mut answers = Vec::new();
        let mut changed = BTreeSet::new();
        for row in receipts.chunk_by(|one, next| one.partition == next.partition) {
            let first = answers.len();
            answers.extend(row.iter().map(|receipt| {
                let lane = self.lanes.get(&receipt.partition);
                let lane = lane.filter(|lane| self.may_use(session, lane.topic));
                lane.map_or(Settled::Gone, |lane| lane.held(*receipt))
            }));
            let mut here = BTreeSet::new();
            for (receipt, answer) in row.iter().zip(&answers[first..]) {
                let fits = match answer {
                    Settled::Held => true,
                    Settled::Expired => outcome == Outcome::Ack,
                    _ => false,
                };
                if fits && here.insert((receipt.partition, receipt.offset)) {
                    self.end_delivery(now, *receipt, outcome);
                }
            }
            changed.extend(here);
        }
        (answers, changed)
    }

    fn end_delivery(&mut self, now: Timestamp, receipt: Receipt, outcome: Outcome) {
        let topic = self.lanes[&receipt.partition].topic;
        let target = self.topics[&topic].config.dead_letter.is_some();
        let message = self.message(receipt.partition, receipt.offset);
        let attempt = message.attempts();
        let mood = match outcome {
            Outcome::Ack | Outcome::AckLeased => Mood::Settled,
            Outcome::Release { delay_ms, count } => {
                let attempts = if count { attempt } else { attempt - 1 };
                match delay_ms {
                    0 => Mood::Ready(attempts),
                    ms => Mood::Delayed {
                        attempts,
                        until: later(now, ms),
                    },
                }
            }
            Outcome::Extend { ms } => match message.mood {
                Mood::Leased {
                    attempt, session, ..
                } => Mood::Leased {
                    attempt,
                    session,
                    deadline: Some(now.plus_ms(ms)),
                },
                other => other,
            },
            Outcome::DeadLetter if target => Mood::Aside(attempt),
            Outcome::DeadLetter => Mood::Settled,
        };
        message.turn(mood);
    }

    pub(super) fn may_use(&self, session: SessionId, topic: TopicId) -> bool {
        let owner = self.topics.get(&topic).and_then(|t| t.config.exclusive);
        owner.is_none_or(|owner| owner == session)
    }

    pub(super) fn purge(&mut self, topic: TopicId, leased: bool) {
        for lane in self.lanes.values_mut().filter(|lane| lane.topic == topic) {
            for message in &mut lane.messages {
                match message.mood {
                    Mood::Settled => {}
                    Mood::Leased { .. } if !leased => {}
                    _ => message.turn(Mood::Settled),
                }
            }
        }
    }

    /// The messages below `at` are gone.
    pub(super) fn start(&mut self, partition: PartitionId, at: Offset) {
        let lane = self
            .lanes
            .get_mut(&partition)
            .expect("the partition exists");
        lane.start = lane.start.max(at);
        for message in lane.messages.iter_mut().take(at as usize) {
            if message.mood != Mood::Settled {
                message.turn(Mood::Settled);
            }
        }
    }

    pub(super) fn tick(&mut self, now: Timestamp) {
        for message in self.lanes.values_mut().flat_map(|lane| &mut lane.messages) {
            if message.due().is_some_and(|due| due <= now) {
                message.turn(Mood::Ready(message.attempts()));
            }
        }
    }

    /// Leases that fit go back.
    pub(super) fn give_back(
        &mut self,
        fits: impl Fn(PartitionId, SessionId, Option<Timestamp>) -> bool,
    ) {
        for (id, lane) in &mut self.lanes {
            for message in &mut lane.messages {
                if let Mood::Leased {
                    attempt,
                    session,
                    deadline,
                } = message.mood
                    && fits(*id, session, deadline)
                {
                    message.turn(Mood::Ready(attempt));
                }
            }
        }
    }

    /// What a start does to what the last run left behind.
    pub(super) fn restart(&mut self) {
        let ended: Vec<_> = self.topics.values().cloned().collect();
        for topic in ended {
            if topic.config.lifetime.transient || topic.config.exclusive.is_some() {
                self.remove_topic(topic.id);
            }
        }
        let exchanges: Vec<_> = self.exchanges.clone().into_iter().collect();
        for (name, _) in exchanges.iter().filter(|(_, config)| !config.durable) {
            self.remove_exchange(name);
        }
        self.give_back(|_, _, deadline| deadline.is_none());
        for lane in self.lanes.values_mut() {
            lane.end = lane.messages.len() as u64;
        }
    }
}

/// A delay has an end, however far: those that have none are dead letters on their way.
pub(super) fn later(now: Timestamp, ms: u64) -> Timestamp {
    now.plus_ms(ms).min(Timestamp(i64::MAX - 4))
}

fn matches(pattern: &[&str], words: &[&str]) -> bool {
    match (pattern, words) {
        ([], []) => true,
        (["#", rest @ ..], _) => {
            matches(rest, words) || (!words.is_empty() && matches(pattern, &words[1..]))
        }
        (["*", rest @ ..], [_, words @ ..]) => matches(rest, words),
        ([literal, rest @ ..], [word, words @ ..]) => literal == word && matches(rest, words),
        _ => false,
    }
}
