//! Topics that are deleted when nobody has used them for a time. How long that is already is not
//! durable: a restart counts as a use.

use std::collections::BTreeSet;

use forebay_base::{Timestamp, TopicId};
use hashbrown::HashMap;

use super::Shard;

#[derive(Default)]
pub(super) struct Idle {
    ends: HashMap<TopicId, Timestamp>,
    due: BTreeSet<(Timestamp, TopicId)>,
}

impl Idle {
    fn note(&mut self, topic: TopicId, end: Option<Timestamp>) {
        let known = match end {
            Some(end) => self.ends.insert(topic, end),
            None => self.ends.remove(&topic),
        };
        if let Some(known) = known {
            self.due.remove(&(known, topic));
        }
        if let Some(end) = end {
            self.due.insert((end, topic));
        }
    }

    /// When the next topic may have been unused for too long.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(end, _)| *end)
    }
}

impl Shard {
    /// The topic is used now.
    pub(super) fn note_use(&mut self, topic: TopicId) {
        let known = self.state.catalog.topic(topic);
        let idle_ms = known.and_then(|known| known.config.idle_ms);
        let end = idle_ms.map(|ms| self.now.plus_ms(ms));
        if end.is_some() || self.idle.ends.contains_key(&topic) {
            self.idle.note(topic, end);
        }
    }

    /// Deletes the topics that have been unused for too long.
    pub(super) fn remove_idle(&mut self) {
        while let Some(&(end, topic)) = self.idle.due.first()
            && end <= self.now
        {
            let consumers = self.consumers.get(&topic);
            if consumers.is_some_and(|all| !all.is_empty()) {
                // Looked at again later; the last one that leaves counts as a use.
                self.note_use(topic);
                if self
                    .idle
                    .ends
                    .get(&topic)
                    .is_some_and(|end| *end <= self.now)
                {
                    self.idle.note(topic, Some(self.now.plus_ms(1)));
                }
                continue;
            }
            self.idle.note(topic, None);
            self.remove_topic(topic);
        }
    }
}
