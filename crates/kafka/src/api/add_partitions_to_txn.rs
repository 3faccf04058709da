//! AddPartitionsToTxn (key 24), versions 0-3: a transaction is about to append to partitions
//! (KIP-98).
//!
//! All or none: if one does not exist, the others are answered OPERATION_NOT_ATTEMPTED. Versions 4
//! and 5 are for brokers that ask each other.

use forebay_base::PartitionId;
use forebay_broker::{Command, TransactionCommand, Transactional};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

use crate::connection::Context;
use crate::error::transaction_code;
use crate::topic;

/// The first version in which clients know PRODUCER_FENCED (KIP-588).
const FENCED_SINCE: i16 = 2;

pub(super) async fn answer(
    context: &Context,
    version: i16,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let mut ids: Vec<PartitionId> = Vec::new();
    let mut complete = true;
    let topics = request.v3_and_below_topics.into_iter().map(|asked| {
        let found = topic::by_name(&context.broker, &asked.name);
        let known = |index: &i32| {
            let id = found
                .as_ref()
                .and_then(|topic| topic::partition(topic, *index));
            complete &= id.is_some();
            ids.extend(id);
            (*index, id.is_some())
        };
        let partitions: Vec<_> = asked.partitions.iter().map(known).collect();
        (asked.name, partitions)
    });
    let topics: Vec<_> = topics.collect();
    let result = if complete {
        let who = Transactional {
            name: request.v3_and_below_transactional_id.to_string(),
            producer: request.v3_and_below_producer_id.0,
            epoch: request.v3_and_below_producer_epoch,
        };
        add(context, version, who, ids).await
    } else {
        Err(ResponseError::OperationNotAttempted)
    };
    let code = result.err().map_or(0, |error| error.code());
    let results = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, known)| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(index)
                .with_partition_error_code(match known {
                    true => code,
                    false => ResponseError::UnknownTopicOrPartition.code(),
                })
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(name)
            .with_results_by_partition(partitions.collect())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
}

async fn add(
    context: &Context,
    version: i16,
    who: Transactional,
    partitions: Vec<PartitionId>,
) -> Result<(), ResponseError> {
    if who.name.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    let command = TransactionCommand::AddPartitions { who, partitions };
    let reply = context.session.call(Command::Transaction(command)).await;
    let reply = reply.map(|_| ());
    reply.map_err(|refusal| transaction_code(&refusal, version >= FENCED_SINCE))
}
