//! Committed offsets.

use std::collections::BTreeMap;

use forebay_base::{PartitionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::event::StreamEvent;

/// How far a group has read in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The offset of the next record to read.
    pub offset: i64,
    /// The leader epoch of the last record read; -1 if unknown (KIP-320).
    pub leader_epoch: i32,
    /// Whatever the consumer wants to remember with it.
    pub metadata: String,
    /// When it was committed.
    pub timestamp: Timestamp,
}

/// The committed offsets of every group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOffsets {
    groups: BTreeMap<String, Group>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    last_commit: Timestamp,
    partitions: BTreeMap<PartitionId, Committed>,
}

impl GroupOffsets {
    /// Makes the change that `event` tells of. Events about other things have no effect.
    pub fn apply(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::OffsetsCommitted { group, at, entries } => {
                self.commit(group, *at, entries);
            }
            StreamEvent::GroupDeleted { group } => {
                self.groups.remove(group);
            }
            StreamEvent::OffsetsDeleted { group, partitions } => {
                if let Some(state) = self.groups.get_mut(group) {
                    state
                        .partitions
                        .retain(|partition, _| !partitions.contains(partition));
                    if state.partitions.is_empty() {
                        self.groups.remove(group);
                    }
                }
            }
            StreamEvent::PartitionsRemoved { partitions } => {
                self.groups.retain(|_, state| {
                    for partition in partitions {
                        state.partitions.remove(partition);
                    }
                    !state.partitions.is_empty()
                });
            }
            StreamEvent::ProducerAllocated { .. }
            | StreamEvent::TransactionalProducer { .. }
            | StreamEvent::TransactionPartitionsAdded { .. }
            | StreamEvent::TransactionGroupAdded { .. }
            | StreamEvent::TransactionOffsetsHeld { .. }
            | StreamEvent::TransactionEnded { .. } => {}
        }
    }

    fn commit(&mut self, group: &str, at: Timestamp, entries: &[(PartitionId, Committed)]) {
        if entries.is_empty() {
            return;
        }
        if !self.groups.contains_key(group) {
            let state = Group {
                last_commit: at,
                partitions: BTreeMap::new(),
            };
            self.groups.insert(group.to_owned(), state);
        }
        if let Some(state) = self.groups.get_mut(group) {
            state.last_commit = state.last_commit.max(at);
            state.partitions.extend(entries.iter().cloned());
        }
    }

    /// What `group` committed for `partition`.
    pub fn fetch(&self, group: &str, partition: PartitionId) -> Option<&Committed> {
        self.groups.get(group)?.partitions.get(&partition)
    }

    /// All that `group` committed, by partition.
    pub fn fetch_all(&self, group: &str) -> impl Iterator<Item = (PartitionId, &Committed)> {
        let state = self.groups.get(group);
        state
            .into_iter()
            .flat_map(|state| state.partitions.iter().map(|(id, at)| (*id, at)))
    }

    /// When `group` last committed; `None` if nothing of it is stored.
    pub fn last_commit(&self, group: &str) -> Option<Timestamp> {
        self.groups.get(group).map(|state| state.last_commit)
    }

    /// Every group that has something committed, in order of name.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }
}
