//! Committed offsets.

use forebay_base::{PartitionId, Timestamp};
use forebay_stream::{Committed, GroupOffsets, StreamEvent};

fn at(offset: i64) -> Committed {
    Committed {
        offset,
        leader_epoch: 3,
        metadata: format!("up to {offset}"),
        timestamp: Timestamp(9),
    }
}

fn commit(group: &str, at_ms: i64, entries: &[(u64, i64)]) -> StreamEvent {
    let entries = entries
        .iter()
        .map(|&(partition, offset)| (PartitionId(partition), at(offset)));
    StreamEvent::OffsetsCommitted {
        group: group.into(),
        at: Timestamp(at_ms),
        entries: entries.collect(),
    }
}

fn all(offsets: &GroupOffsets, group: &str) -> Vec<(u64, i64)> {
    offsets
        .fetch_all(group)
        .map(|(partition, at)| (partition.0, at.offset))
        .collect()
}

#[test]
fn the_last_commit_counts() {
    let mut offsets = GroupOffsets::default();
    offsets.apply(&commit("g", 10, &[(1, 5), (2, 6)]));
    offsets.apply(&commit("g", 20, &[(2, 3)]));
    offsets.apply(&commit("h", 30, &[(1, 9)]));
    assert_eq!(all(&offsets, "g"), [(1, 5), (2, 3)]);
    assert_eq!(offsets.fetch("h", PartitionId(1)), Some(&at(9)));
    assert_eq!(offsets.fetch("h", PartitionId(2)), None);
    assert_eq!(offsets.last_commit("g"), Some(Timestamp(20)));
    assert_eq!(offsets.groups().collect::<Vec<_>>(), ["g", "h"]);
}

#[test]
fn what_is_deleted_is_gone() {
    let mut offsets = GroupOffsets::default();
    offsets.apply(&commit("g", 10, &[(1, 5), (2, 6), (3, 7)]));
    offsets.apply(&commit("h", 10, &[(1, 1)]));
    let partitions = vec![PartitionId(2)];
    offsets.apply(&StreamEvent::OffsetsDeleted {
        group: "g".into(),
        partitions,
    });
    assert_eq!(all(&offsets, "g"), [(1, 5), (3, 7)]);
    offsets.apply(&StreamEvent::PartitionsRemoved {
        partitions: vec![PartitionId(1)],
    });
    assert_eq!(all(&offsets, "g"), [(3, 7)]);
    assert_eq!(
        offsets.groups().collect::<Vec<_>>(),
        ["g"],
        "h has nothing left"
    );
    offsets.apply(&StreamEvent::GroupDeleted { group: "g".into() });
    assert_eq!(offsets, GroupOffsets::default());
}

#[test]
fn a_stored_state_is_the_same_state() {
    let mut offsets = GroupOffsets::default();
    offsets.apply(&commit("g", 10, &[(1, 5), (2, 6)]));
    let bytes = postcard::to_stdvec(&offsets).expect("plain data can be stored");
    assert_eq!(postcard::from_bytes(&bytes), Ok(offsets));
}
