//! Which transactions were aborted: readers of what is committed pass their records over.

use forebay_base::{Offset, PartitionId};
use serde::{Deserialize, Serialize};

use super::Transactions;

/// A transaction that was aborted, in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aborted {
    /// Whose it was.
    pub producer: i64,
    /// Its first record.
    pub first: Offset,
    /// Its marker.
    pub last: Offset,
    /// Everything below was decided when it ended: the transactions after it in the list begin
    /// there or later.
    pub stable: Offset,
}

impl Aborted {
    /// Those of `list`, which is in the order of markers, that reach into the range from `from` on
    /// and below `end`.
    pub fn within(
        list: &[Aborted],
        from: Offset,
        end: Offset,
    ) -> impl Iterator<Item = &Aborted> + '_ {
        let begin = list.partition_point(|aborted| aborted.last < from);
        let mut over = false;
        list.iter()
            .skip(begin)
            .take_while(move |aborted| !std::mem::replace(&mut over, aborted.stable >= end))
            .filter(move |aborted| aborted.first < end)
    }

    /// Leaves out of `list` those that ended below `start`.
    pub fn trim(list: &mut Vec<Aborted>, start: Offset) {
        let gone = list.partition_point(|aborted| aborted.last < start);
        list.drain(..gone);
    }
}

impl Transactions {
    /// The transactions that were aborted in `partition`, in the order of their markers.
    pub fn aborted(&self, partition: PartitionId) -> &[Aborted] {
        self.aborted.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// Every partition with transactions that were aborted.
    pub fn all_aborted(&self) -> impl Iterator<Item = (PartitionId, &[Aborted])> {
        let all = self.aborted.iter();
        all.map(|(partition, list)| (*partition, list.as_slice()))
    }

    /// The partition's records below `start` are gone, and with them the need to know which of them
    /// were aborted.
    pub fn trim(&mut self, partition: PartitionId, start: Offset) {
        if let Some(list) = self.aborted.get_mut(&partition) {
            Aborted::trim(list, start);
            if list.is_empty() {
                self.aborted.remove(&partition);
            }
        }
    }
}
