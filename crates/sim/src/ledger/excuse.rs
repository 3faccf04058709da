//! Why a record may be absent although nobody settled it.

use forebay_base::{Offset, PartitionId};
use forebay_broker::DeadLetterTarget;

use super::{Fate, Ledger, Place, There, Topic};

impl Ledger {
    /// Whether the record may have been dropped from the history by its topic's policy.
    pub(crate) fn may_be_dropped(&self, partition: PartitionId, offset: Offset) -> bool {
        let (Some(topic), Some(lane)) = (self.topic_at(partition), self.lanes.get(&partition))
        else {
            return true;
        };
        if topic.there != There::Yes || offset < lane.trim_asked {
            return true;
        }
        let Some(place) = lane.places.get(&offset) else {
            return true;
        };
        self.is_expired(topic, partition, offset, place)
    }

    /// Whether every bound of the retention lets it go.
    fn is_expired(
        &self,
        topic: &Topic,
        partition: PartitionId,
        offset: Offset,
        place: &Place,
    ) -> bool {
        let timestamp = self
            .bodies
            .get(&place.number)
            .map_or(0, |body| body.timestamp);
        let age = u64::try_from(self.now.0 - timestamp).unwrap_or(0);
        let mut behind = None;
        let mut bytes_behind = || {
            *behind.get_or_insert_with(|| {
                let lane = self.lanes.get(&partition).into_iter();
                lane.flat_map(|lane| lane.places.range(offset..))
                    .map(|(_, place)| self.bodies.get(&place.number).map_or(0, |b| b.bytes + 100))
                    .sum::<u64>()
            })
        };
        topic.any_config().any(|config| {
            let old = config.retention.ms.is_some_and(|ms| age > ms);
            let large = config.retention.bytes;
            old || large.is_some_and(|bytes| bytes_behind() + self.size_slack > bytes)
        })
    }

    /// Whether a later record of the same key stands in for it, or it is a tombstone whose time
    /// is over.
    pub(crate) fn may_be_compacted(&self, partition: PartitionId, offset: Offset) -> bool {
        let (Some(topic), Some(lane)) = (self.topic_at(partition), self.lanes.get(&partition))
        else {
            return true;
        };
        let Some(place) = lane.places.get(&offset) else {
            return true;
        };
        let Some(body) = self.bodies.get(&place.number) else {
            return true;
        };
        let age = u64::try_from(self.now.0 - body.timestamp).unwrap_or(0);
        topic.any_config().any(|config| {
            let Some(compaction) = config.compaction else {
                return false;
            };
            let over = body.length.is_none() && age >= compaction.delete_retention_ms;
            let key = body.key.as_ref();
            let same = |number: &u64| {
                self.bodies
                    .get(number)
                    .is_some_and(|b| b.key.as_ref() == key)
            };
            let superseded = || {
                let later = lane.places.range(offset + 1..);
                let mut later = later.map(|(_, place)| &place.number);
                // One that nobody has seen may lie behind it, too.
                let all = (topic.id, 0)..=(topic.id, u64::MAX);
                let unseen = self.maybe.range(all.clone()).chain(self.wanted.range(all));
                later.any(same) || unseen.map(|(_, number)| number).any(same)
            };
            key.is_some() && (over || (age >= compaction.min_lag_ms && superseded()))
        })
    }

    /// Whether messages of this topic may be handed out more often than its policy says: the
    /// dead-letter topic may be missing.
    pub(crate) fn target_may_be_missing(&self, topic: &Topic) -> bool {
        topic.any_config().any(|config| match &config.dead_letter {
            Some(DeadLetterTarget::Topic(name)) => self.named(name).is_none(),
            _ => false,
        })
    }

    /// How often messages may be handed out at most.
    pub(crate) fn most_deliveries(&self, topic: &Topic) -> u32 {
        if self.target_may_be_missing(topic) {
            return u32::MAX;
        }
        let configs = topic.asked.iter().chain([topic.config()]);
        let most = configs.map(|config| config.max_deliveries.unwrap_or(u32::MAX));
        most.max().unwrap_or(u32::MAX)
    }

    /// Why a message that must be worked off is not handed out any more; `None` if there is no
    /// good reason.
    ///
    /// Messages that are worn out and have a target are excused for now, but not at the end.
    pub(crate) fn excuse(
        &self,
        partition: PartitionId,
        offset: Offset,
        at_the_end: bool,
    ) -> Option<&'static str> {
        let place = self.place(partition, offset)?;
        let topic = self.topic_at(partition)?;
        if place.fate == Fate::Settled {
            return Some("it is settled");
        }
        if place.fate == Fate::Moving {
            return Some("it is on its way to the dead-letter topic");
        }
        if place.doubts > 0 || place.doubtful {
            return Some("it may be settled");
        }
        if self.may_be_dropped(partition, offset) {
            return Some("it may be dropped");
        }
        let worn = |config: &forebay_broker::TopicConfig| {
            let gone = config.dead_letter.is_none() || !at_the_end;
            gone && config
                .max_deliveries
                .is_some_and(|most| place.deliveries >= most)
        };
        topic
            .any_config()
            .any(worn)
            .then_some("it was handed out as often as is allowed")
    }
}
