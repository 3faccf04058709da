//! OffsetForLeaderEpoch (key 23), versions 2-4: where the records of a leader epoch end (KIP-320).
//!
//! Every partition has the epoch 0 only, and it ends at the high watermark. Other epochs are
//! answered with epoch and offset -1, as Kafka does for those it does not know.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::{LEADER_EPOCH, check_epoch, to_wire};
use crate::connection::Context;
use crate::topic;

pub(super) fn answer(
    context: &Context,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|asked| {
        let found = topic::by_name(&context.broker, &asked.topic);
        let partitions = asked.partitions.into_iter().map(|asked| {
            let partition = found
                .as_ref()
                .and_then(|topic| topic::partition(topic, asked.partition))
                .ok_or(ResponseError::UnknownTopicOrPartition);
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            let checked =
                partition.and_then(|id| check_epoch(asked.current_leader_epoch).map(|()| id));
            match checked {
                Ok(id) if asked.leader_epoch == LEADER_EPOCH => answer
                    .with_leader_epoch(LEADER_EPOCH)
                    .with_end_offset(to_wire(context.broker.bounds(id).end)),
                Ok(_) => answer,
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_partitions(partitions.collect())
            .with_topic(asked.topic)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
