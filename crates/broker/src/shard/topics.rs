//! Making, changing and deleting topics.

use std::sync::Arc;

use forebay_base::TopicId;

use super::{Output, ReplyTo, Shard, Urgency};
use crate::catalog::CatalogEvent;
use crate::frame::StateFrame;
use crate::{Destination, Event, Expectation, Refusal, Reply, TopicConfig, TopicInfo};

impl Shard {
    pub(super) fn create_topic(&mut self, to: ReplyTo, name: Arc<str>, mut config: TopicConfig) {
        if let Some(topic) = self.state.catalog.topic_named(&name) {
            let refusal = match topic.config.exclusive {
                Some(owner) if owner != to.session => Refusal::TopicLocked,
                _ => Refusal::TopicExists(topic.clone()),
            };
            let id = topic.id;
            self.note_use(id);
            return self.reply(to, Err(refusal));
        }
        config.partitions = config.partitions.max(1);
        let (id, partitions) = self.state.catalog.allocate(config.partitions);
        if let Some(owner) = config.exclusive {
            self.sessions.entry(owner).or_default().exclusive.insert(id);
        }
        let topic = TopicInfo {
            id,
            name,
            partitions,
            config,
            created: self.now,
            modified: self.now,
        };
        let topic = Arc::new(topic);
        let event = CatalogEvent::TopicCreated(topic.clone());
        self.record(Urgency::Now, &StateFrame::Catalog(event));
        self.note_use(id);
        self.reply(to, Ok(Reply::Topic(topic)));
    }

    pub(super) fn alter_topic(&mut self, to: ReplyTo, id: TopicId, mut config: TopicConfig) {
        let topic = match self.usable(to.session, id) {
            Ok(topic) => topic,
            Err(refusal) => return self.reply(to, Err(refusal)),
        };
        config.partitions = topic.config.partitions;
        config.exclusive = topic.config.exclusive;
        config.ordered = topic.config.ordered;
        let event = CatalogEvent::TopicAltered {
            id,
            config: Box::new(config),
            at: self.now,
        };
        self.record(Urgency::Now, &StateFrame::Catalog(event));
        self.note_use(id);
        self.dirty.push(id);
        let altered = self
            .state
            .catalog
            .topic(id)
            .cloned()
            .ok_or(Refusal::NoSuchTopic);
        self.reply(to, altered.map(Reply::Topic));
    }

    pub(super) fn grow_topic(&mut self, to: ReplyTo, id: TopicId, count: u32) {
        let topic = match self.usable(to.session, id) {
            Ok(topic) => topic,
            Err(refusal) => return self.reply(to, Err(refusal)),
        };
        let there = topic.config.partitions;
        let more = count.saturating_sub(there);
        if more == 0 || topic.config.ordered {
            return self.reply(to, Err(Refusal::PartitionCount { there }));
        }
        let (_, partitions) = self.state.catalog.allocate(more);
        let event = CatalogEvent::TopicGrown {
            id,
            partitions,
            at: self.now,
        };
        self.record(Urgency::Now, &StateFrame::Catalog(event));
        let grown = self.state.catalog.topic(id).cloned();
        self.reply(to, grown.map(Reply::Topic).ok_or(Refusal::NoSuchTopic));
    }

    pub(super) fn delete_topic(&mut self, to: ReplyTo, id: TopicId, only_if: Expectation) {
        if let Err(refusal) = self.usable(to.session, id) {
            return self.reply(to, Err(refusal));
        }
        let ready = self.depth(id).ready;
        let consumers = self
            .consumers
            .get(&id)
            .map_or(0, |all| all.standing_count());
        if only_if.unused && consumers > 0 {
            return self.reply_now(to, Err(Refusal::InUse));
        }
        if only_if.empty && ready > 0 {
            return self.reply_now(to, Err(Refusal::NotEmpty));
        }
        self.remove_topic(id);
        self.reply(to, Ok(Reply::Count(ready)));
    }

    /// Deletes a topic with its bindings, and tells those who waited for its messages.
    pub(super) fn remove_topic(&mut self, id: TopicId) {
        let Some(topic) = self.state.catalog.topic(id).cloned() else {
            return;
        };
        if let Some(owner) = topic.config.exclusive
            && let Some(session) = self.sessions.get_mut(&owner)
        {
            session.exclusive.remove(&id);
        }
        self.remove_bindings_to(&Destination::Topic(topic.name.clone()));
        let event = match topic.config.name_rests_ms {
            0 => CatalogEvent::TopicDeleted { id },
            _ => CatalogEvent::TopicRetired { id, at: self.now },
        };
        self.record(Urgency::Now, &StateFrame::Catalog(event));
        for partition in &topic.partitions {
            self.timers.note(*partition, None);
            self.wake_watchers(*partition);
            self.forget_transactions(*partition);
        }
        self.worked.remove(&id);
        self.note_use(id);
        self.cancel_consumers(id);
    }

    /// Those who wait for messages of a topic that is gone hear of it when that is durable.
    fn cancel_consumers(&mut self, id: TopicId) {
        let Some(consumers) = self.consumers.remove(&id) else {
            return;
        };
        for request in consumers.requests() {
            if let Some(waiter) = self.end_waiter(request) {
                self.reply(waiter.to, Err(Refusal::NoSuchTopic));
            }
        }
        for (session, consumer) in consumers.standing() {
            if let Some(session) = self.sessions.get_mut(&session) {
                session.consumers.remove(&consumer);
            }
            let event = Event::ConsumerCancelled { consumer };
            let output = Output::Event { session, event };
            self.filling.deferred.outputs.push(output);
        }
    }
}
