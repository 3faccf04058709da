//! OffsetCommit (key 8), versions 2-9: keep how far a group has read.
//!
//! Answered when durable. Metadata comes back as it was given, up to 4096 bytes. The retention
//! time of versions 2-4 is ignored: offsets are kept as long as the partition is.

use forebay_base::PartitionId;
use forebay_broker::{Command, Committed, OffsetCommit};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use kafka_protocol::protocol::StrBytes;

use crate::connection::Context;
use crate::error::coordinator_code;
use crate::topic;

/// Longest metadata kept with an offset, bytes.
const METADATA_MAX_BYTES: usize = 4096;

pub(super) async fn answer(
    context: &Context,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let mut entries = Vec::new();
    let mut topics: Vec<OffsetCommitResponseTopic> = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let found = topic::by_name(&context.broker, &asked.name);
        let partitions = asked.partitions.into_iter().map(|asked| {
            let index = asked.partition_index;
            let id = found
                .as_ref()
                .and_then(|topic| topic::partition(topic, index));
            let (offset, epoch) = (asked.committed_offset, asked.committed_leader_epoch);
            let code = match accept(context, id, (offset, epoch), asked.committed_metadata) {
                Ok(entry) => {
                    entries.push(entry);
                    0
                }
                Err(error) => error.code(),
            };
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(code)
        });
        topics.push(
            OffsetCommitResponseTopic::default()
                .with_partitions(partitions.collect())
                .with_name(asked.name),
        );
    }
    let commit = OffsetCommit {
        group: request.group_id.to_string(),
        member: request.member_id.to_string(),
        instance: request.group_instance_id.map(|id| id.to_string()),
        generation: request.generation_id_or_member_epoch,
        entries,
    };
    let failed = if request.group_id.is_empty() && commit.generation >= 0 {
        Some(ResponseError::InvalidGroupId)
    } else if commit.entries.is_empty() {
        None
    } else {
        let reply = context.session.call(Command::CommitOffsets(commit)).await;
        reply.err().map(|refusal| coordinator_code(&refusal))
    };
    if let Some(error) = failed {
        let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for partition in partitions.filter(|partition| partition.error_code == 0) {
            partition.error_code = error.code();
        }
    }
    OffsetCommitResponse::default().with_topics(topics)
}

/// An offset with its leader epoch and metadata, as it is kept for a partition.
pub(super) fn accept(
    context: &Context,
    id: Option<PartitionId>,
    (offset, leader_epoch): (i64, i32),
    metadata: Option<StrBytes>,
) -> Result<(PartitionId, Committed), ResponseError> {
    let id = id.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let metadata = metadata.unwrap_or_default();
    if metadata.len() > METADATA_MAX_BYTES {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok((
        id,
        Committed {
            offset,
            leader_epoch,
            metadata: metadata.to_string(),
            timestamp: context.broker.now(),
        },
    ))
}
