//! Entries for the fuzzer: whatever lies on the disk, reading it must neither panic nor take memory
//! that its bytes do not warrant.

use bytes::Bytes;
use forebay_base::{SessionId, Timestamp};
use forebay_record::Batch;

use crate::frame::StateFrame;
use crate::recovery::split_snapshot;
use crate::shard::{ReplyTo, Shard};
use crate::state::ShardState;
use crate::{Command, RequestId};

/// Takes `bytes` for a snapshot, for the fuzzer. One that can be read must read the same after it
/// is written again, and a shard must be able to live on it.
#[doc(hidden)]
pub fn fuzz_snapshot(bytes: &[u8]) {
    let whole = split_snapshot(bytes).map(|(state, _)| state);
    for state in [whole, ShardState::load(bytes)].into_iter().flatten() {
        live(state);
    }
}

/// Takes `bytes` for frames, each behind its length and kind, and replays them, for the fuzzer.
#[doc(hidden)]
pub fn fuzz_replay(mut bytes: &[u8]) {
    let mut state = ShardState::new();
    while let Some((&[kind, low, high], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (frame, rest) = rest.split_at(length);
        bytes = rest;
        if kind & 1 == 0 {
            if let Ok(frame) = StateFrame::decode(frame) {
                let mut again = Vec::new();
                frame.encode_into(&mut again);
                assert!(StateFrame::decode(&again).is_ok_and(|again| again == frame));
                state.apply(&frame);
            }
        } else if let Some((base, batch)) = frame.split_first_chunk::<8>()
            && let Ok(batch) = Batch::from_trusted(Bytes::copy_from_slice(batch))
        {
            let base = u64::from_le_bytes(*base);
            let entries: Vec<_> = state.partitions.keys().map(|id| (*id, base)).collect();
            state.append(&entries, &batch);
        }
    }
    live(state);
}

fn live(state: ShardState) {
    let again = ShardState::load(&state.save());
    let again = again.expect("what was read can be written and read");
    assert!(state.partitions == again.partitions);
    assert!(state.offsets == again.offsets);
    assert!(state.producers == again.producers);
    assert!(state.transactions == again.transactions);
    assert!(state.catalog.topics().eq(again.catalog.topics()));
    assert!(state.catalog.exchanges().eq(again.catalog.exchanges()));
    let topics: Vec<_> = state.catalog.topics().map(|topic| topic.id).collect();
    let mut shard = Shard::new(state, Timestamp(1_000_000));
    shard.serve();
    for topic in topics {
        let to = ReplyTo {
            session: SessionId(1),
            request: RequestId(1),
        };
        for command in [
            Command::Stats { topic },
            Command::Purge {
                topic,
                leased: false,
            },
        ] {
            shard.submit(Timestamp(2_000_000), to, command);
        }
    }
    shard.tick(Timestamp(i64::MAX));
    shard.serve();
    let _ = shard.needed().count();
    shard.committed(Timestamp(3_000_000));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use forebay_base::{PartitionId, TopicId};

    use super::*;
    use crate::catalog::CatalogEvent;
    use crate::{TopicConfig, TopicInfo};

    /// Found by fuzzing.
    #[test]
    fn the_highest_ids_are_no_reason_to_panic() {
        let topic = TopicInfo {
            id: TopicId(u64::MAX),
            name: "last".into(),
            partitions: vec![PartitionId(u64::MAX)],
            config: TopicConfig::default(),
            created: Timestamp(0),
            modified: Timestamp(0),
        };
        let frame = StateFrame::Catalog(CatalogEvent::TopicCreated(Arc::new(topic)));
        let mut state = ShardState::new();
        state.apply(&frame);
        let mut batch = forebay_record::BatchBuilder::new(0);
        batch.push(0, None, None, std::iter::empty()).unwrap();
        let entries = [(PartitionId(u64::MAX), u64::MAX)];
        state.append(&entries, &batch.finish());
        live(state);
    }
}
