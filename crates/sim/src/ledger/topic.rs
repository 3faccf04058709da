//! What is known of a topic and its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_base::{Offset, PartitionId, TopicId};
use forebay_broker::TopicConfig;

use super::place::Place;

/// Whether a topic is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    Yes,
    /// Its deletion is under way.
    Leaving,
    No,
}

#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) name: Arc<str>,
    pub(crate) partitions: Vec<PartitionId>,
    /// The present policy, which is the last, and those before.
    pub(crate) configs: Vec<TopicConfig>,
    /// Policies asked for and not confirmed.
    pub(crate) asked: Vec<TopicConfig>,
    pub(crate) there: There,
    /// Some consumers settle by receiving.
    pub(crate) at_most_once: bool,
    /// It was purged: messages whose place nobody knows may be gone.
    pub(crate) purged: bool,
}

impl Topic {
    pub(crate) fn config(&self) -> &TopicConfig {
        self.configs.last().expect("it is made with one")
    }

    /// Every policy that may have had an effect.
    pub(crate) fn any_config(&self) -> impl Iterator<Item = &TopicConfig> {
        self.configs.iter().chain(&self.asked)
    }

    pub(crate) fn is_work(&self) -> bool {
        self.config().retention.until_settled
    }
}

/// One partition, as its clients know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    pub(crate) places: BTreeMap<Offset, Place>,
    /// For each sender its messages and their places.
    pub(crate) by_sender: BTreeMap<(u64, u64), Offset>,
    /// Somebody asked to drop everything below.
    pub(crate) trim_asked: Offset,
    /// Whoever asked was told that it is done.
    pub(crate) trimmed: Offset,
    /// The highest start anybody has seen: it never moves back.
    pub(crate) start: Offset,
}

impl Lane {
    /// The offset after the last one that cannot be lost.
    pub(crate) fn sure_end(&self) -> Offset {
        let mut sure = self.places.iter().rev().filter(|(_, place)| place.sure);
        sure.next().map_or(0, |(offset, _)| offset + 1)
    }
}
