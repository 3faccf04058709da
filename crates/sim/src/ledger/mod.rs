//! What clients know: what they sent, what they were told, what they saw. Nothing here was ever
//! asked of the shard's state.

mod check;
mod excuse;
mod place;
mod topic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use forebay_base::{Offset, PartitionId, Timestamp, TopicId};
use forebay_broker::{DeadLetterTarget, TopicConfig, TopicInfo};
use forebay_record::Record;

use crate::body::{self, Body};
use crate::violation::{Audited, broken};
pub(crate) use place::{Fate, Place};
pub(crate) use topic::{Lane, There, Topic};

#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) bodies: BTreeMap<u64, Body>,
    pub(crate) topics: BTreeMap<TopicId, Topic>,
    pub(crate) lanes: BTreeMap<PartitionId, Lane>,
    pub(crate) topic_of: BTreeMap<PartitionId, TopicId>,
    /// Messages that were sent to a topic and may be there.
    pub(crate) maybe: BTreeSet<(TopicId, u64)>,
    /// Messages that were confirmed and must be in a topic, nobody knows where.
    pub(crate) wanted: BTreeSet<(TopicId, u64)>,
    /// Where each message is in a topic, by the topic it was a dead letter of.
    copies: BTreeMap<(TopicId, u64, Option<String>), (PartitionId, Offset)>,
    /// Dead letters that were seen in their new place before they were seen in the old one.
    moved: BTreeSet<(TopicId, u64)>,
    /// For each group and partition.
    pub(crate) offsets: BTreeMap<(String, PartitionId), Known>,
    /// Places of which somebody got a message, whether or not its number is known.
    pub(crate) handed: BTreeSet<(PartitionId, Offset)>,
    /// Messages that must not be handed out before.
    pub(crate) due: BTreeMap<u64, Timestamp>,
    pub(crate) producer_ids: BTreeSet<i64>,
    /// Bounds by size are as exact as that, bytes.
    pub(crate) size_slack: u64,
    /// Dead letters seen at their target.
    pub(crate) arrived: u64,
    pub(crate) now: Timestamp,
}

/// What is known of a committed offset.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The last one confirmed or seen; -1 for none.
    pub(crate) sure: i64,
    /// Those sent since, in order.
    pub(crate) sent: Vec<i64>,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            sure: -1,
            sent: Vec::new(),
        }
    }
}

/// How a record came into sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// The reply to its publish named the place, and it was durable then.
    Confirmed,
    /// The reply named the place before it was durable.
    Placed,
    /// The reply to its publish named the place, which it may have had for long.
    Found,
    /// It was read.
    Read,
}

impl Ledger {
    pub(crate) fn new(now: Timestamp, size_slack: u64) -> Self {
        Self {
            now,
            size_slack,
            ..Self::default()
        }
    }

    pub(crate) fn topic_at(&self, partition: PartitionId) -> Option<&Topic> {
        self.topics.get(self.topic_of.get(&partition)?)
    }

    /// Topics that are there for certain.
    pub(crate) fn present(&self) -> Vec<TopicId> {
        let there = self.topics.values().filter(|t| t.there == There::Yes);
        there.map(|topic| topic.id).collect()
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Topic> {
        let mut named = self.topics.values().rev().filter(|t| &*t.name == name);
        named.find(|topic| topic.there == There::Yes)
    }

    pub(crate) fn place(&self, partition: PartitionId, offset: Offset) -> Option<&Place> {
        self.lanes.get(&partition)?.places.get(&offset)
    }

    pub(crate) fn place_mut(
        &mut self,
        partition: PartitionId,
        offset: Offset,
    ) -> Option<&mut Place> {
        self.lanes.get_mut(&partition)?.places.get_mut(&offset)
    }

    /// A topic that somebody was told of.
    pub(crate) fn add_topic(&mut self, info: &TopicInfo, at_most_once: bool) -> Audited {
        if self.topics.contains_key(&info.id) {
            return broken("an id names one topic", format!("{} twice", info.id));
        }
        for id in &info.partitions {
            if self.topic_of.insert(*id, info.id).is_some() {
                return broken("an id names one partition", format!("{id} twice"));
            }
            self.lanes.insert(*id, Lane::default());
        }
        let topic = Topic {
            id: info.id,
            name: info.name.clone(),
            partitions: info.partitions.clone(),
            configs: vec![info.config.clone()],
            asked: Vec::new(),
            there: There::Yes,
            at_most_once,
            purged: false,
        };
        self.topics.insert(info.id, topic);
        Ok(())
    }

    /// A topic is gone, with everything in it.
    pub(crate) fn drop_topic(&mut self, id: TopicId) {
        if let Some(topic) = self.topics.get_mut(&id) {
            topic.there = There::No;
            topic.asked.clear();
        }
        let gone = |of: &TopicId| *of == id;
        self.maybe.retain(|(topic, _)| !gone(topic));
        self.wanted.retain(|(topic, _)| !gone(topic));
        self.copies.retain(|(topic, _, _), _| !gone(topic));
        let lost: Vec<_> = self
            .topic_of
            .iter()
            .filter(|(_, topic)| gone(topic))
            .map(|(partition, _)| *partition)
            .collect();
        for partition in lost {
            self.lanes.remove(&partition);
            self.offsets.retain(|(_, of), _| *of != partition);
        }
    }

    /// Where a message lies, or will lie once it is durable.
    pub(crate) fn put(
        &mut self,
        partition: PartitionId,
        offset: Offset,
        number: u64,
        source: Option<String>,
        sight: Sight,
    ) -> Audited<&mut Place> {
        let Some(topic) = self.topic_of.get(&partition).copied() else {
            return broken(
                "partitions are those of known topics",
                format!("{partition}"),
            );
        };
        let what =
            || format!("message {number} (dead letter of {source:?}) at {partition}/{offset}");
        let known = self.place(partition, offset);
        match known {
            Some(place) if place.number != number || place.source != source => {
                return broken(
                    format!("{place:?} at {partition}/{offset}"),
                    format!("{} there", what()),
                );
            }
            Some(_) => {}
            None => self.admit(topic, (partition, offset), number, source.as_deref(), sight)?,
        }
        let place = self.place_mut(partition, offset);
        let place = place.expect("it was there, or was admitted");
        place.sure |= sight != Sight::Placed;
        Ok(place)
    }

    /// A message comes into sight at a place for the first time.
    fn admit(
        &mut self,
        topic: TopicId,
        (partition, offset): (PartitionId, Offset),
        number: u64,
        source: Option<&str>,
        sight: Sight,
    ) -> Audited {
        let source = source.map(str::to_owned);
        let copy = (topic, number, source.clone());
        if let Some((there, at)) = self.copies.get(&copy) {
            return broken(
                format!("message {number} of {source:?} is in {topic} once, at {there}/{at}"),
                format!("it is at {partition}/{offset} too"),
            );
        }
        let expected = self.maybe.remove(&(topic, number)) | self.wanted.remove(&(topic, number));
        match &source {
            None if expected || sight != Sight::Read => {}
            None => {
                return broken(
                    format!("{topic} holds only what was sent to it"),
                    format!("message {number} at {partition}/{offset}"),
                );
            }
            Some(source) => self.arrive(topic, (partition, offset), number, source)?,
        }
        let mut place = Place::new(number, source.clone());
        let waits = |config: &TopicConfig| config.delay_ms > 0;
        place.delayed =
            self.due.contains_key(&number) || self.topics[&topic].any_config().any(waits);
        place.deliveries = u32::from(self.handed.contains(&(partition, offset)));
        // What became of it as work before anybody saw it, nobody can tell.
        let known = &self.topics[&topic];
        let old = matches!(sight, Sight::Read | Sight::Found);
        place.doubtful = old && (known.purged || known.at_most_once);
        if source.is_none() && self.moved.remove(&(topic, number)) {
            place.fate = Fate::Settled;
        }
        if source.is_none() {
            self.check_sender(partition, offset, number)?;
        }
        self.copies.insert(copy, (partition, offset));
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.places.insert(offset, place);
        }
        Ok(())
    }

    /// A dead letter has come: it must have gone where it was.
    fn arrive(
        &mut self,
        to: TopicId,
        (partition, offset): (PartitionId, Offset),
        number: u64,
        source: &str,
    ) -> Audited {
        self.arrived += 1;
        let here = self.topics.get(&to).map(|topic| topic.name.clone());
        let here = here.unwrap_or_else(|| "".into());
        let leads = |topic: &&Topic| {
            let target = |config: &TopicConfig| match &config.dead_letter {
                Some(DeadLetterTarget::Topic(name)) => **name == *here,
                _ => false,
            };
            &*topic.name == source && topic.any_config().any(target)
        };
        let sources: Vec<_> = self.topics.values().filter(leads).map(|t| t.id).collect();
        for from in sources {
            let copy = (from, number, None);
            if let Some((was, at)) = self.copies.get(&copy).copied() {
                let Some(place) = self.place_mut(was, at) else {
                    continue;
                };
                if place.fate == Fate::Settled && !place.swept {
                    return broken(
                        format!("message {number} at {was}/{at} of {source} is settled"),
                        format!("it is a dead letter at {partition}/{offset}"),
                    );
                }
                place.fate = Fate::Settled;
                place.swept = false;
                return Ok(());
            }
            if self.maybe.contains(&(from, number)) || self.wanted.contains(&(from, number)) {
                self.moved.insert((from, number));
                self.wanted.remove(&(from, number));
                self.maybe.insert((from, number));
                return Ok(());
            }
            if self.topics[&from].there != There::Yes {
                return Ok(());
            }
        }
        broken(
            format!("dead letters come from where they were ({source})"),
            format!("message {number} at {partition}/{offset}, which was never there"),
        )
    }

    /// Messages of one sender keep their order.
    fn check_sender(&mut self, partition: PartitionId, offset: Offset, number: u64) -> Audited {
        let (Some(body), Some(lane)) = (self.bodies.get(&number), self.lanes.get_mut(&partition))
        else {
            return Ok(());
        };
        let key = (body.sender, number);
        let mut before = lane.by_sender.range((body.sender, 0)..key);
        let before = before.next_back().filter(|(_, at)| **at > offset);
        let mut after = lane.by_sender.range(key..=(body.sender, u64::MAX));
        let after = after.next().filter(|(_, at)| **at < offset);
        if let Some(((_, other), at)) = before.or(after) {
            return broken(
                format!("one sender's messages keep their order in {partition}"),
                format!("message {other} at {at}, message {number} at {offset}"),
            );
        }
        lane.by_sender.insert(key, offset);
        Ok(())
    }

    /// A record was read.
    pub(crate) fn see(
        &mut self,
        partition: PartitionId,
        offset: Offset,
        record: &Record,
    ) -> Audited<&mut Place> {
        let number = body::number(record)?;
        let Some(body) = self.bodies.get(&number) else {
            return broken("what is read was sent", format!("message {number}"));
        };
        body::check(record, body)?;
        self.put(partition, offset, number, body::source(record), Sight::Read)
    }

    /// A life of the broker has ended without notice: what was not confirmed may be there or not.
    pub(crate) fn outlive(&mut self) {
        let mut lost = Vec::new();
        for (partition, lane) in &mut self.lanes {
            // What is known to be gone need not be known to the next life.
            lane.start = lane.trimmed;
            for (offset, place) in &mut lane.places {
                place.outlive();
                if !place.sure {
                    lost.push((*partition, *offset, place.number, place.source.clone()));
                }
            }
        }
        for (partition, offset, number, source) in lost {
            let Some(topic) = self.topic_of.get(&partition).copied() else {
                continue;
            };
            if let Some(lane) = self.lanes.get_mut(&partition) {
                lane.places.remove(&offset);
                lane.by_sender.retain(|_, at| *at != offset);
            }
            self.copies.remove(&(topic, number, source.clone()));
            if source.is_none() {
                self.maybe.insert((topic, number));
            }
        }
        let taken = |topic: &TopicId| self.topics.get(topic).is_some_and(|t| t.at_most_once);
        let unseen = self.wanted.extract_if(.., |(topic, _)| taken(topic));
        self.maybe.extend(unseen);
        let at_most_once: Vec<_> = self
            .topics
            .values()
            .filter(|topic| topic.at_most_once)
            .flat_map(|topic| topic.partitions.clone())
            .collect();
        for partition in at_most_once {
            for place in self
                .lanes
                .get_mut(&partition)
                .into_iter()
                .flat_map(|lane| lane.places.values_mut())
            {
                // It may have been on its way to somebody who settles by receiving.
                place.doubtful = true;
            }
        }
    }

    /// Compares the topics that are there after a restart with those that must be. Gives those
    /// that have gone.
    pub(crate) fn check_topics(
        &mut self,
        there: &[Arc<TopicInfo>],
        created: &BTreeMap<Arc<str>, (TopicConfig, bool)>,
    ) -> Audited {
        let found: BTreeMap<_, _> = there.iter().map(|info| (info.id, info)).collect();
        let known: Vec<_> = self.topics.keys().copied().collect();
        for id in known {
            let Some(topic) = self.topics.get_mut(&id) else {
                continue;
            };
            match (found.get(&id), topic.there) {
                (Some(_), There::No) => {
                    return broken(format!("{id} ({}) was deleted", topic.name), "it is back");
                }
                (None, There::Yes) => {
                    return broken(format!("{id} ({}) is there", topic.name), "it is gone");
                }
                (None, There::Leaving) => self.drop_topic(id),
                (None, There::No) => {}
                (Some(info), _) => {
                    topic.there = There::Yes;
                    let fits = topic.config() == &info.config || topic.asked.contains(&info.config);
                    if !fits {
                        return broken(
                            format!("{id} has {:?} or {:?}", topic.config(), topic.asked),
                            format!("{:?}", info.config),
                        );
                    }
                    topic.asked.clear();
                    if topic.config() != &info.config {
                        topic.configs.push(info.config.clone());
                    }
                }
            }
        }
        for info in there {
            if self.topics.contains_key(&info.id) {
                continue;
            }
            match created.get(&info.name) {
                Some((config, at_most_once)) if *config == info.config => {
                    self.add_topic(info, *at_most_once)?;
                }
                _ => return broken("topics are those that were made", format!("{info:?}")),
            }
        }
        Ok(())
    }
}
