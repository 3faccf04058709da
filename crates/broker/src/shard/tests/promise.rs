//! What a reply that has left has promised.

use forebay_base::{Offset, PartitionId, TopicId};

use super::model::{Message, Model, Mood};
use super::world::{Place, World};
use crate::state::ShardState;

/// A message is there, and at least so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) partition: PartitionId,
    pub(super) offset: Offset,
    pub(super) id: u64,
    pub(super) version: u32,
    /// It never comes back.
    pub(super) settled: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Promise {
    /// What was asked.
    pub(super) by: String,
    pub(super) catalog_version: u64,
    pub(super) offsets_version: u64,
    pub(super) next_producer: i64,
    pub(super) topic: Option<TopicId>,
    pub(super) messages: Vec<Kept>,
}

impl Promise {
    /// Of the state of these messages as the model has it now.
    pub(super) fn of_messages(
        by: String,
        model: &Model,
        changed: impl IntoIterator<Item = (PartitionId, Offset)>,
    ) -> Self {
        let kept = changed.into_iter().map(|(partition, offset)| {
            let message = &model.lanes[&partition].messages[offset as usize];
            Kept {
                partition,
                offset,
                id: message.id,
                version: message.version,
                settled: message.mood == Mood::Settled,
            }
        });
        Self {
            by,
            messages: kept.collect(),
            ..Self::default()
        }
    }

    pub(super) fn of_catalog(by: String, model: &Model) -> Self {
        Self {
            by,
            catalog_version: model.catalog_version,
            ..Self::default()
        }
    }
}

impl World {
    /// Compares what was promised with what a crash has left.
    pub(super) fn check_promises(&self, left: &Model) {
        for promise in &self.promised {
            let by = &promise.by;
            assert!(
                left.catalog_version >= promise.catalog_version,
                "lost: {by}"
            );
            assert!(
                left.offsets_version >= promise.offsets_version,
                "lost: {by}"
            );
            assert!(left.next_producer >= promise.next_producer, "lost: {by}");
            let known = promise
                .topic
                .is_none_or(|topic| left.known_topics.contains(&topic));
            assert!(known, "lost: {by}");
            for kept in &promise.messages {
                let Some(lane) = left.lanes.get(&kept.partition) else {
                    let deleted = !self.model.lanes.contains_key(&kept.partition);
                    assert!(deleted, "the topic is lost: {by}");
                    continue;
                };
                let message = lane.messages.get(kept.offset as usize);
                let message = message.unwrap_or_else(|| panic!("lost: {kept:?} of {by}"));
                assert_eq!(message.id, kept.id, "another message: {by}");
                assert!(message.version >= kept.version, "undone: {kept:?} of {by}");
                assert!(
                    !kept.settled || message.mood == Mood::Settled,
                    "came back: {kept:?} of {by}"
                );
            }
        }
    }

    /// The part of the promises that can be kept without knowing the state.
    pub(super) fn check_readable_promises(&self) {
        for kept in self.promised.iter().flat_map(|promise| &promise.messages) {
            if self.reader.bounds(kept.partition).is_none() {
                continue;
            }
            // It may have been settled since, and dropped, or let go by retention.
            let lane = self.model.lanes.get(&kept.partition);
            let settled = |message: &Message| message.mood == Mood::Settled;
            let settled = lane.is_none_or(|lane| settled(&lane.messages[kept.offset as usize]));
            let found = self.read(kept.partition, kept.offset);
            if kept.settled || (settled && found.is_none()) {
                continue;
            }
            assert_eq!(found, Some(kept.id), "lost: {kept:?}");
        }
    }

    /// A dead letter is at its old place or at its new ones, whatever commits were lost.
    pub(super) fn check_moves(&self, mut left: ShardState) {
        for partition in left.partitions.values_mut() {
            partition.queue.advance(partition.next);
        }
        let is_there = |(id, offset): &Place| {
            let partition = left.partitions.get(id)?;
            Some(*offset < partition.next)
        };
        for (source, copies) in &self.moves {
            let Some(from) = left.partitions.get(&source.0) else {
                continue;
            };
            let attempt = from.queue.attempts(source.1).max(1);
            let offset = source.1;
            let receipt = forebay_queue::Receipt { offset, attempt };
            let settled = from.queue.check(receipt) == forebay_queue::Held::Gone;
            for copied in copies.iter().filter_map(is_there) {
                assert_eq!(
                    settled, copied,
                    "{source:?} moved to {copies:?} in two steps"
                );
            }
        }
    }
}
