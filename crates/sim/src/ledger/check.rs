//! Comparing what happens with what is known, and learning from answers.

use forebay_base::{Offset, PartitionId, SessionId, TopicId};
use forebay_broker::{Bounds, Committed, Deliveries, Receipt, TopicConfig};

use super::{Fate, Ledger, There};
use crate::violation::{Audited, broken};

impl Ledger {
    pub(crate) fn altered(&mut self, topic: TopicId, config: TopicConfig) {
        if let Some(topic) = self.topics.get_mut(&topic) {
            if let Some(at) = topic.asked.iter().position(|asked| *asked == config) {
                topic.asked.drain(..=at);
            }
            topic.configs.push(config);
        }
    }

    pub(crate) fn stays(&mut self, topic: TopicId) {
        if let Some(topic) = self.topics.get_mut(&topic)
            && topic.there == There::Leaving
        {
            topic.there = There::Yes;
        }
    }

    /// Messages that a fanout brought to a topic are there, nobody knows where.
    pub(crate) fn want(&mut self, topic: TopicId, numbers: &[u64]) {
        let there = self.topics.get(&topic);
        if there.is_none_or(|topic| topic.there != There::Yes || topic.purged) {
            return;
        }
        for number in numbers {
            // Unless it was seen already.
            if self.maybe.remove(&(topic, *number)) {
                self.wanted.insert((topic, *number));
            }
        }
    }

    pub(crate) fn let_go_of(&mut self, session: SessionId) {
        for place in self.lanes.values_mut().flat_map(|l| l.places.values_mut()) {
            if place.holder == Some(session) {
                place.let_go();
                place.last_request = 0;
            }
        }
    }

    /// Deliveries that were not taken: they go back and do not count.
    pub(crate) fn given_back(&mut self, deliveries: &Deliveries) {
        for run in &deliveries.runs {
            for offset in run.range.offsets() {
                if let Some(place) = self.place_mut(run.partition, offset) {
                    place.let_go();
                    place.uncounted = true;
                }
            }
        }
    }

    pub(crate) fn all_owed(&self, deliveries: &Deliveries) -> bool {
        deliveries.runs.iter().all(|run| {
            let mut offsets = run.range.offsets();
            offsets.all(|offset| {
                let place = self.place(run.partition, offset);
                let owed = place.is_none_or(super::Place::is_owed);
                owed && self.excuse(run.partition, offset, false).is_none()
            })
        })
    }

    /// Messages whose number nobody knows were handed out and could not be read: they may be any
    /// of those that are nowhere yet.
    pub(crate) fn doubt_unseen(&mut self, deliveries: &Deliveries) {
        let unseen = deliveries.runs.iter().any(|run| {
            let mut offsets = run.range.offsets();
            offsets.any(|offset| self.place(run.partition, offset).is_none())
        });
        let topic = deliveries.topic;
        if unseen && let Some(known) = self.topics.get_mut(&topic) {
            known.purged = true;
            let wanted = self.wanted.extract_if(.., |(of, _)| *of == topic);
            self.maybe.extend(wanted);
        }
    }

    /// A purge is under way: whatever is there may go.
    pub(crate) fn begin_purge(&mut self, topic: TopicId) -> Vec<(PartitionId, Offset)> {
        let Some(known) = self.topics.get_mut(&topic) else {
            return Vec::new();
        };
        known.purged = true;
        let wanted: Vec<_> = self.wanted.extract_if(.., |(of, _)| *of == topic).collect();
        self.maybe.extend(wanted);
        let mut places = Vec::new();
        for partition in known.partitions.clone() {
            let Some(lane) = self.lanes.get_mut(&partition) else {
                continue;
            };
            for (offset, place) in &mut lane.places {
                match place.fate {
                    Fate::Live => {
                        place.doubts += 1;
                        places.push((partition, *offset));
                    }
                    // A dead letter on its way may be purged, too.
                    Fate::Moving => place.doubtful = true,
                    Fate::Settled => {}
                }
            }
        }
        places
    }

    /// What came to a topic while a purge was under way may have gone with it.
    pub(crate) fn doubt_the_rest(&mut self, topic: TopicId, known: &[(PartitionId, Offset)]) {
        let Some(partitions) = self
            .topics
            .get(&topic)
            .map(|topic| topic.partitions.clone())
        else {
            return;
        };
        for partition in partitions {
            let Some(lane) = self.lanes.get_mut(&partition) else {
                continue;
            };
            for (offset, place) in &mut lane.places {
                place.doubtful |= known.binary_search(&(partition, *offset)).is_err();
            }
        }
        let wanted: Vec<_> = self.wanted.extract_if(.., |(of, _)| *of == topic).collect();
        self.maybe.extend(wanted);
    }

    pub(crate) fn trimmed(&mut self, partition: PartitionId, before: Offset) {
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.trimmed = lane.trimmed.max(before);
            for (_, place) in lane.places.range_mut(..before) {
                place.sweep();
            }
        }
    }

    pub(crate) fn committed(&mut self, group: &str, partition: PartitionId, offset: i64) {
        if let Some(known) = self.offsets.get_mut(&(group.to_owned(), partition)) {
            known.sure = known.sure.max(offset);
            known.sent.retain(|sent| *sent > offset);
        }
    }

    /// Committed offsets are those that were sent last, as far as anybody knows.
    pub(crate) fn check_offsets(
        &mut self,
        group: &str,
        found: &[(PartitionId, Committed)],
    ) -> Audited {
        let there = |partition: &PartitionId| {
            let topic = self.topic_of.get(partition);
            let topic = topic.and_then(|topic| self.topics.get(topic));
            topic.is_some_and(|topic| topic.there == There::Yes)
        };
        let lanes: Vec<_> = self
            .topic_of
            .keys()
            .filter(|id| there(id))
            .copied()
            .collect();
        for partition in lanes {
            let key = (group.to_owned(), partition);
            let Some(known) = self.offsets.get_mut(&key) else {
                continue;
            };
            let found = found.iter().find(|(id, _)| *id == partition);
            let found = found.map_or(-1, |(_, committed)| committed.offset);
            if found != known.sure && !known.sent.contains(&found) {
                return broken(
                    format!("{group} committed {known:?} in {partition}"),
                    format!("{found}"),
                );
            }
            known.sure = found;
            known.sent.retain(|sent| *sent > found);
        }
        Ok(())
    }

    /// Whether a message may be handed out now.
    pub(crate) fn check_delivery(&self, receipt: Receipt) -> Audited {
        let Receipt {
            partition,
            offset,
            attempt,
        } = receipt;
        let (Some(topic), Some(lane)) = (self.topic_at(partition), self.lanes.get(&partition))
        else {
            return Ok(());
        };
        let most = self.most_deliveries(topic);
        if attempt > most || attempt == 0 {
            return broken(
                format!("{} hands out {most} times at most", topic.name),
                format!("{receipt:?}"),
            );
        }
        let Some(place) = lane.places.get(&offset) else {
            return Ok(());
        };
        let again = || format!("{receipt:?} at {:?}", self.now);
        match place.fate {
            Fate::Live => {}
            Fate::Moving if self.target_may_be_missing(topic) => {}
            Fate::Moving => {
                return broken(
                    format!("{place:?} goes to the dead letters"),
                    format!("handed out: {}", again()),
                );
            }
            Fate::Settled => {
                return broken(
                    format!("{place:?} is settled"),
                    format!("handed out: {}", again()),
                );
            }
        }
        if self.now < place.held_until && !place.loose {
            return broken(
                format!("{place:?} is held until {}", place.held_until.0),
                format!("handed out: {}", again()),
            );
        }
        let due = match place.source {
            None => self.due.get(&place.number).copied().unwrap_or_default(),
            Some(_) => Default::default(),
        };
        let due = due.max(place.not_before);
        if self.now < due {
            return broken(
                format!("{place:?} waits until {}", due.0),
                format!("handed out: {}", again()),
            );
        }
        if place.known_here && !place.uncounted && attempt <= place.attempt {
            return broken(
                format!("deliveries of {place:?} are counted"),
                format!("handed out: {}", again()),
            );
        }
        if place.deliveries == 0 && !topic.at_most_once {
            let mut before = lane.places.range(..offset);
            let passed = before.find(|(_, earlier)| {
                earlier.is_owed() && earlier.deliveries == 0 && !earlier.delayed
            });
            if let Some((at, earlier)) = passed
                && !self.may_be_dropped(partition, *at)
            {
                return broken(
                    format!("first deliveries of {partition} are in order"),
                    format!("{offset} comes before {at}: {earlier:?}"),
                );
            }
        }
        Ok(())
    }

    /// Nothing that must be readable lies in a part of the history that has nothing.
    pub(crate) fn check_gap(&self, partition: PartitionId, from: Offset, to: Offset) -> Audited {
        if from >= to {
            return Ok(());
        }
        let (Some(lane), Some(topic)) = (self.lanes.get(&partition), self.topic_at(partition))
        else {
            return Ok(());
        };
        for (offset, place) in lane.places.range(from..to) {
            let work_done = topic.is_work() && !place.is_owed();
            if !place.sure
                || work_done
                || self.may_be_dropped(partition, *offset)
                || self.may_be_compacted(partition, *offset)
            {
                continue;
            }
            if topic.is_work() && self.excuse(partition, *offset, false).is_some() {
                continue;
            }
            return broken(
                format!(
                    "{partition}/{offset} in {} ({:?}, {:?}) is there: {:?} {place:?}",
                    topic.name,
                    topic.config().retention,
                    topic.config().compaction,
                    self.bodies.get(&place.number),
                ),
                format!("nothing from {from} to {to}"),
            );
        }
        Ok(())
    }

    pub(crate) fn check_start(&mut self, partition: PartitionId, start: Offset) -> Audited {
        let Some(lane) = self.lanes.get(&partition) else {
            return Ok(());
        };
        let before = lane.start;
        if start < before {
            return broken(
                format!("{partition} starts at {before}"),
                format!("it starts at {start}"),
            );
        }
        self.check_gap(partition, before, start)?;
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.start = start;
        }
        Ok(())
    }

    pub(crate) fn check_bounds(&mut self, partition: PartitionId, bounds: Bounds) -> Audited {
        let end = self.lanes.get(&partition).map_or(0, super::Lane::sure_end);
        if bounds.end < end {
            return broken(
                format!("{partition} reaches to {end}"),
                format!("{bounds:?}"),
            );
        }
        let trimmed = self.lanes.get(&partition).map_or(0, |lane| lane.trimmed);
        if bounds.start < trimmed {
            return broken(
                format!("{partition} was trimmed to {trimmed}"),
                format!("{bounds:?}"),
            );
        }
        self.check_start(partition, bounds.start)
    }
}
