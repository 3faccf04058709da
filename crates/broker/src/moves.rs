//! Moves: all ready messages of a topic go to another one, or each back to the topic it was
//! dead-lettered from. Part of the shard's state, so a move goes on after a restart.

use std::collections::BTreeMap;

use forebay_base::{Timestamp, TopicId};
use serde::{Deserialize, Serialize};

/// Names a move. Never given twice.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct MoveId(pub u64);

/// A move, running or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveInfo {
    /// Its name.
    pub id: MoveId,
    /// The topic that is emptied.
    pub source: TopicId,
    /// Where the messages go; `None` for the topic each was dead-lettered from.
    pub destination: Option<TopicId>,
    /// At most so many messages a second.
    pub per_second: Option<u32>,
    /// When it began.
    pub started: Timestamp,
    /// How many messages were ready then.
    pub to_move: u64,
    /// How many have moved.
    pub moved: u64,
    /// How it stands.
    pub status: MoveStatus,
}

/// How a move stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveStatus {
    /// It goes on.
    Running,
    /// Nothing was ready any more.
    Completed,
    /// Somebody stopped it.
    Cancelled,
    /// A destination does not exist (any more). What had not moved stays.
    NoDestination,
    /// A message does not tell where it came from.
    NoOrigin,
}

/// A change of the moves. A frame of the journal: variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MoveEvent {
    Started(MoveInfo),
    Moved { id: MoveId, count: u64 },
    Ended { id: MoveId, status: MoveStatus },
}

/// So many moves of one source are remembered, the latest.
const REMEMBERED: usize = 10;

/// The moves there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Moves {
    next: u64,
    moves: BTreeMap<MoveId, MoveInfo>,
}

impl Moves {
    pub(crate) fn next_id(&self) -> MoveId {
        MoveId(self.next)
    }

    pub(crate) fn get(&self, id: MoveId) -> Option<&MoveInfo> {
        self.moves.get(&id)
    }

    /// The moves from a topic, the latest first.
    pub(crate) fn of(&self, source: TopicId) -> impl Iterator<Item = &MoveInfo> {
        let all = self.moves.values().rev();
        all.filter(move |info| info.source == source)
    }

    /// The move from a topic that goes on.
    pub(crate) fn running_from(&self, source: TopicId) -> Option<&MoveInfo> {
        self.of(source)
            .find(|info| info.status == MoveStatus::Running)
    }

    /// All that go on.
    pub(crate) fn running(&self) -> impl Iterator<Item = &MoveInfo> {
        let all = self.moves.values();
        all.filter(|info| info.status == MoveStatus::Running)
    }

    pub(crate) fn apply(&mut self, event: &MoveEvent) {
        match event {
            MoveEvent::Started(info) => {
                self.next = self.next.max(info.id.0.saturating_add(1));
                self.moves.insert(info.id, info.clone());
                let old: Vec<_> = self.of(info.source).skip(REMEMBERED).collect();
                let old: Vec<MoveId> = old.into_iter().map(|info| info.id).collect();
                for id in old {
                    self.moves.remove(&id);
                }
            }
            MoveEvent::Moved { id, count } => {
                if let Some(info) = self.moves.get_mut(id) {
                    info.moved = info.moved.saturating_add(*count);
                }
            }
            MoveEvent::Ended { id, status } => {
                if let Some(info) = self.moves.get_mut(id) {
                    info.status = *status;
                }
            }
        }
    }

    /// The topic is gone, and so are its moves.
    pub(crate) fn forget(&mut self, source: TopicId) {
        self.moves.retain(|_, info| info.source != source);
    }
}
