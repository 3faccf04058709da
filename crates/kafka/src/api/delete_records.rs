//! DeleteRecords (key 21), versions 0-2: let the oldest records of partitions go.
//!
//! Up to an offset, or with -1 up to the high watermark; what is gone is gone for queues on the
//! topic too. Answered when that is durable, with the new start of the log. An offset beyond the high
//! watermark: OFFSET_OUT_OF_RANGE. A topic that is only compacted: POLICY_VIOLATION.

use forebay_broker::{Command, Reply, TopicInfo};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::to_wire;
use crate::connection::Context;
use crate::error::Failure;
use crate::{topic, topic_config};

/// Up to the high watermark.
const ALL: i64 = -1;

pub(super) async fn answer(
    context: &Context,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let found = topic::by_name(&context.broker, &asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in asked.partitions {
            let result = DeleteRecordsPartitionResult::default()
                .with_partition_index(partition.partition_index);
            let deleted = delete(context, found.as_deref(), &partition).await;
            partitions.push(match deleted {
                Ok(start) => result.with_low_watermark(start),
                Err(failure) => result
                    .with_low_watermark(-1)
                    .with_error_code(failure.code()),
            });
        }
        topics.push(
            DeleteRecordsTopicResult::default()
                .with_name(asked.name)
                .with_partitions(partitions),
        );
    }
    DeleteRecordsResponse::default().with_topics(topics)
}

/// The new start of the log.
async fn delete(
    context: &Context,
    topic: Option<&TopicInfo>,
    asked: &DeleteRecordsPartition,
) -> Result<i64, Failure> {
    let topic = topic.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let partition = topic::partition(topic, asked.partition_index)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    if !topic_config::deletes(&topic.config) {
        return Err(ResponseError::PolicyViolation.into());
    }
    let before = match asked.offset {
        ALL => context.broker.bounds(partition).end,
        offset => u64::try_from(offset).map_err(|_| ResponseError::OffsetOutOfRange)?,
    };
    let command = Command::TrimPartition { partition, before };
    match context.session.call(command).await? {
        Reply::Start(start) => Ok(to_wire(start)),
        _ => Err(ResponseError::UnknownServerError.into()),
    }
}
