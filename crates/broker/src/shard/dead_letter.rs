//! Dead letters: from the decision that a message goes to the commit that moves it.
//!
//! The shard has no payload at hand, so moving takes two steps. The decision puts the message
//! aside with a delay that never ends. Whoever runs the shard reads its record, adds the reason
//! and comes back with [`Shard::deliver_dead_letter`], which settles the message and appends its
//! copies in one commit. A crash in between leaves it aside, and a restart takes it up again; no
//! crash can lose or double it.

use std::sync::Arc;

use forebay_base::{Offset, OffsetRange, PartitionId, Timestamp, TopicId, planted};
use forebay_queue::{Attempted, QueueEvent};
use forebay_record::Batch;

use super::moves::MOVING;
use super::{Output, Shard, Urgency};
use crate::frame::StateFrame;
use crate::{DeadLetterTarget, Fields, TopicInfo};

/// Why a message became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadLetterReason {
    MaxDeliveries,
    Rejected,
    Expired,
    TooMany,
    /// It is none: the topic is emptied into others.
    Moved,
}

impl DeadLetterReason {
    /// Until when a message is put aside that goes for this reason: a moment that never comes, and
    /// that tells the reason after a restart.
    fn aside(self) -> Timestamp {
        match self {
            Self::MaxDeliveries | Self::Rejected => ASIDE,
            Self::Moved => MOVING,
            Self::Expired => Timestamp(i64::MAX - 2),
            Self::TooMany => Timestamp(i64::MAX - 3),
        }
    }

    /// The word the record's header says.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::MaxDeliveries => "max-deliveries",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::TooMany => "maxlen",
            Self::Moved => "moved",
        }
    }
}

/// Messages put aside, whose records are wanted.
#[derive(Debug)]
pub(crate) struct DeadLetterJob {
    pub(crate) topic: Arc<TopicInfo>,
    pub(crate) partition: PartitionId,
    pub(crate) messages: Vec<Attempted>,
    pub(crate) reason: DeadLetterReason,
    pub(crate) at: Timestamp,
    /// How often reading them has failed.
    pub(crate) tries: u32,
}

/// The record of a message that was put aside, as it goes to the target.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetterCopy {
    pub(crate) batch: Batch,
    /// The routing key it was published with.
    pub(crate) routing_key: Arc<str>,
    /// The fields it can be routed by.
    pub(crate) fields: Fields,
    /// Topics it must not come to again by an exchange, since it would go round for ever.
    pub(crate) circle: Vec<Arc<str>>,
    /// The topic it was dead-lettered from before, if it was.
    pub(crate) origin: Option<Arc<str>>,
}

/// A message whose record could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undeliverable;

/// A message with this delay is on its way to a dead-letter target.
const ASIDE: Timestamp = Timestamp::MAX;
/// The longest delay anybody can ask for ends before that.
pub(super) const LATEST: Timestamp = Timestamp(i64::MAX - 4);

fn is_aside(until: Timestamp) -> bool {
    until > LATEST && until != MOVING
}

/// Messages looked through in one step, at most.
const AT_ONCE: usize = 256;

impl Shard {
    /// Puts aside messages that were handed out too often.
    pub(super) fn check_exhausted(&mut self, topic: TopicId) {
        let limits = self.limits(topic);
        if limits.max_deliveries.is_none() {
            return;
        }
        let Some(info) = self.state.catalog.topic(topic).cloned() else {
            return;
        };
        for id in &info.partitions {
            while let Some(partition) = self.state.partitions.get(id) {
                let exhausted = partition.queue.exhausted(&limits, AT_ONCE);
                if exhausted.is_empty() {
                    break;
                }
                self.dead_letter(*id, exhausted, DeadLetterReason::MaxDeliveries);
            }
        }
    }

    /// Sends messages off to the dead-letter target, or settles them if there is none.
    pub(super) fn dead_letter(
        &mut self,
        partition: PartitionId,
        messages: Vec<Attempted>,
        reason: DeadLetterReason,
    ) {
        let Some(topic) = self
            .state
            .partitions
            .get(&partition)
            .map(|known| known.topic)
        else {
            return;
        };
        let Some(topic) = self.state.catalog.topic(topic).cloned() else {
            return;
        };
        if messages.is_empty() {
            return;
        }
        let ranges: Vec<OffsetRange> = messages.iter().map(|message| message.range).collect();
        if topic.config.dead_letter.is_none() {
            self.dirty.push(topic.id);
            let event = QueueEvent::Settled { ranges };
            return self.record(Urgency::Now, &StateFrame::Queue { partition, event });
        }
        if let Some(job) = self.put_aside_dead(partition, messages, reason) {
            self.outputs.push(Output::DeadLetter(job));
        }
    }

    /// Puts messages aside whose records are then wanted.
    pub(super) fn put_aside_dead(
        &mut self,
        partition: PartitionId,
        messages: Vec<Attempted>,
        reason: DeadLetterReason,
    ) -> Option<DeadLetterJob> {
        let known = self.state.partitions.get(&partition)?;
        let topic = self.state.catalog.topic(known.topic)?.clone();
        let ranges: Vec<OffsetRange> = messages.iter().map(|message| message.range).collect();
        let urgency = match reason {
            // Whoever rejects a message is told when that is durable.
            DeadLetterReason::Rejected => Urgency::Now,
            DeadLetterReason::MaxDeliveries
            | DeadLetterReason::Expired
            | DeadLetterReason::TooMany
            | DeadLetterReason::Moved => Urgency::Lazy,
        };
        let until = reason.aside();
        for range in &ranges {
            // A message that is ready is delayed, one that is leased is released with a delay.
            let event = QueueEvent::Delayed {
                range: *range,
                until,
            };
            self.record(urgency, &StateFrame::Queue { partition, event });
        }
        let event = QueueEvent::Released {
            ranges,
            until: Some(until),
            count: true,
        };
        self.record(urgency, &StateFrame::Queue { partition, event });
        Some(DeadLetterJob {
            topic,
            partition,
            messages,
            reason,
            at: self.now,
            tries: 0,
        })
    }

    /// The record of a message that was put aside, ready to be appended to its target; or the
    /// news that it cannot be read, which settles it.
    pub(crate) fn deliver_dead_letter(
        &mut self,
        now: Timestamp,
        partition: PartitionId,
        message: Attempted,
        copy: Result<DeadLetterCopy, Undeliverable>,
    ) {
        self.now = now;
        let offset = message.range.first;
        let Some(state) = self.state.partitions.get(&partition) else {
            return;
        };
        let source = state.topic;
        if state.queue.delayed(offset) == Some(MOVING) {
            return self.deliver_moved(partition, source, offset, copy);
        }
        if !state.queue.delayed(offset).is_some_and(is_aside) {
            return self.note_moved(source);
        }
        let target = self
            .state
            .catalog
            .topic(source)
            .and_then(|t| t.config.dead_letter.clone());
        if let Ok(DeadLetterCopy {
            batch,
            routing_key,
            fields,
            circle,
            ..
        }) = copy
        {
            let mut topics = Vec::new();
            match &target {
                None => {}
                Some(DeadLetterTarget::Topic(name)) => {
                    let Some(target) = self.state.catalog.topic_named(name) else {
                        return self.keep(partition, offset, source);
                    };
                    topics.push(target.id);
                }
                Some(DeadLetterTarget::Exchange {
                    exchange,
                    routing_key: key,
                }) => {
                    let key = key.as_deref().unwrap_or(&routing_key);
                    let catalog = &self.state.catalog;
                    catalog.route(exchange, key, &fields, &mut topics);
                    topics.retain(|topic| {
                        let topic = self.state.catalog.topic(*topic);
                        topic.is_some_and(|topic| !circle.contains(&topic.name))
                    });
                }
            }
            let mut entries = Vec::with_capacity(topics.len());
            for topic in topics {
                entries.extend(self.choose(topic, None));
            }
            planted!(DeadLetterNotCopied => entries.clear());
            if !entries.is_empty() {
                self.append(&entries, &batch, None, None);
            }
        }
        planted!(DeadLetterNotSettled => return self.keep(partition, offset, source));
        self.tally.dead_lettered += 1;
        let event = QueueEvent::Settled {
            ranges: vec![OffsetRange::one(offset)],
        };
        self.record(Urgency::Now, &StateFrame::Queue { partition, event });
        // What comes after it in its group may be handed out now.
        self.dirty.push(source);
    }

    /// The dead-letter topic has gone meanwhile: the message stays, ready again.
    pub(super) fn keep(&mut self, partition: PartitionId, offset: Offset, topic: TopicId) {
        let ranges = vec![OffsetRange::one(offset)];
        let event = QueueEvent::Released {
            ranges,
            until: None,
            count: true,
        };
        self.record(Urgency::Now, &StateFrame::Queue { partition, event });
        self.dirty.push(topic);
    }

    /// After a restart: sends off again what was put aside.
    pub(super) fn resume_dead_letters(&mut self) {
        let mut jobs = Vec::new();
        for (id, partition) in &self.state.partitions {
            let Some(topic) = self.state.catalog.topic(partition.topic) else {
                continue;
            };
            let most = topic.config.max_deliveries.unwrap_or(u32::MAX);
            let reason = |message: &Attempted| match message.attempt >= most {
                true => DeadLetterReason::MaxDeliveries,
                false => DeadLetterReason::Rejected,
            };
            // In order, so that a group's messages arrive in the order they left in.
            let mut send = |messages: &[Attempted], reason| {
                jobs.push(DeadLetterJob {
                    topic: topic.clone(),
                    partition: *id,
                    messages: messages.to_vec(),
                    reason,
                    at: self.now,
                    tries: 0,
                });
            };
            let messages = partition.queue.delayed_until(ASIDE);
            for messages in messages.chunk_by(|one, next| reason(one) == reason(next)) {
                send(messages, reason(&messages[0]));
            }
            for reason in [DeadLetterReason::Expired, DeadLetterReason::TooMany] {
                let messages = partition.queue.delayed_until(reason.aside());
                if !messages.is_empty() {
                    send(&messages, reason);
                }
            }
        }
        jobs.sort_by_key(|job| job.partition);
        self.outputs
            .extend(jobs.into_iter().map(Output::DeadLetter));
    }
}
