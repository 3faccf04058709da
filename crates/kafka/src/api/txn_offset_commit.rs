//! TxnOffsetCommit (key 28), versions 0-4: offsets that are committed with a transaction, and only
//! if it is (KIP-98).
//!
//! The group must have been added to the transaction before. From version 3 on the member says who
//! it is and in which generation, and is refused like in OffsetCommit if that is over (KIP-447).

use forebay_broker::{Command, OffsetCommit, TransactionCommand, Transactional};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::offset_commit::accept;
use crate::connection::Context;
use crate::error::transaction_code;
use crate::topic;

pub(super) async fn answer(
    context: &Context,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let mut entries = Vec::new();
    let topics = request.topics.into_iter().map(|asked| {
        let found = topic::by_name(&context.broker, &asked.name);
        let partitions = asked.partitions.into_iter().map(|asked| {
            let index = asked.partition_index;
            let id = found
                .as_ref()
                .and_then(|topic| topic::partition(topic, index));
            let (offset, epoch) = (asked.committed_offset, asked.committed_leader_epoch);
            let accepted = accept(context, id, (offset, epoch), asked.committed_metadata);
            let accepted = accepted.map(|entry| entries.push(entry));
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(accepted.err().map_or(0, |error| error.code()))
        });
        TxnOffsetCommitResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(asked.name)
    });
    let mut topics: Vec<_> = topics.collect();
    let failed = if request.transactional_id.is_empty() {
        Some(ResponseError::InvalidRequest)
    } else if request.group_id.is_empty() {
        Some(ResponseError::InvalidGroupId)
    } else {
        let command = TransactionCommand::HoldOffsets {
            who: Transactional {
                name: request.transactional_id.to_string(),
                producer: request.producer_id.0,
                epoch: request.producer_epoch,
            },
            commit: OffsetCommit {
                group: request.group_id.to_string(),
                member: request.member_id.to_string(),
                instance: request.group_instance_id.map(|id| id.to_string()),
                generation: request.generation_id,
                entries,
            },
        };
        let reply = context.session.call(Command::Transaction(command)).await;
        // Clients of every version know INVALID_PRODUCER_EPOCH here.
        reply.err().map(|refusal| transaction_code(&refusal, false))
    };
    if let Some(error) = failed {
        let partitions = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
        for partition in partitions.filter(|partition| partition.error_code == 0) {
            partition.error_code = error.code();
        }
    }
    TxnOffsetCommitResponse::default().with_topics(topics)
}
