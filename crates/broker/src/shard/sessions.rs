//! Sessions: what they hold, and what becomes of it when they end.

use std::collections::{BTreeMap, BTreeSet};

use forebay_base::{PartitionId, SessionId, Timestamp, TopicId};
use forebay_queue::QueueEvent;

use super::{Shard, Urgency};
use crate::frame::StateFrame;
use crate::{ConsumerId, RequestId};

#[derive(Default)]
pub(super) struct SessionState {
    pub(super) consumers: BTreeMap<ConsumerId, TopicId>,
    /// Its requests that wait.
    pub(super) waiting: BTreeSet<RequestId>,
    /// Partitions of which the session has held messages.
    pub(super) partitions: BTreeSet<PartitionId>,
    /// Topics that belong to it alone.
    pub(super) exclusive: BTreeSet<TopicId>,
}

impl Shard {
    /// A session is gone: it waits for nothing more, its consumers leave, what it holds goes back,
    /// its topics end.
    pub(crate) fn end_session(&mut self, now: Timestamp, id: SessionId) {
        self.now = now;
        let Some(session) = self.sessions.remove(&id) else {
            return;
        };
        for request in session.waiting {
            self.end_waiter(request);
        }
        for (consumer, topic) in session.consumers {
            self.remove_consumer(topic, id, consumer);
        }
        for partition in session.partitions {
            let Some(state) = self.state.partitions.get(&partition) else {
                continue;
            };
            let topic = state.topic;
            let Some(ranges) = state.queue.held_by(id) else {
                continue;
            };
            let event = QueueEvent::Released {
                ranges,
                until: None,
                count: true,
            };
            self.record(Urgency::Lazy, &StateFrame::Queue { partition, event });
            self.dirty.push(topic);
        }
        for topic in session.exclusive {
            self.remove_topic(topic);
        }
    }

    /// After recovery no session is left: what sessions held goes back, what was to end with them
    /// or with the process ends, and dead letters on their way set out again.
    pub(super) fn restart(&mut self) {
        let topics: Vec<_> = self.state.catalog.topics().cloned().collect();
        for topic in &topics {
            if topic.config.lifetime.transient || topic.config.exclusive.is_some() {
                self.remove_topic(topic.id);
            }
        }
        let exchanges: Vec<_> = self.state.catalog.exchanges().cloned().collect();
        for exchange in exchanges.iter().filter(|exchange| !exchange.config.durable) {
            self.remove_exchange(&exchange.name);
        }
        let mut held: Vec<_> = self
            .state
            .partitions
            .iter()
            .filter_map(|(id, partition)| Some((*id, partition.queue.held_without_deadline()?)))
            .collect();
        held.sort_unstable_by_key(|(id, _)| *id);
        for (partition, ranges) in held {
            let event = QueueEvent::Released {
                ranges,
                until: None,
                count: true,
            };
            self.record(Urgency::Lazy, &StateFrame::Queue { partition, event });
        }
        for topic in topics.iter().filter(|topic| topic.config.idle_ms.is_some()) {
            self.note_use(topic.id);
        }
        self.resume_dead_letters();
        self.resume_moves();
    }
}
