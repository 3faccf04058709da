//! DescribeProducers (key 61), version 0: who writes to partitions with sequence numbers, and since
//! where a transaction is open (KIP-664).

use forebay_base::PartitionId;
use forebay_broker::{ActiveProducer, Command, Reply, TransactionCommand};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::to_wire;
use crate::connection::Context;
use crate::error::transaction_code;
use crate::topic;

pub(super) async fn answer(
    context: &Context,
    request: DescribeProducersRequest,
) -> DescribeProducersResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    // A partition asked for twice is told once, so that a small question has no huge answer.
    let mut seen = std::collections::BTreeSet::new();
    for asked in request.topics {
        let found = topic::by_name(&context.broker, &asked.name);
        let mut partitions = Vec::with_capacity(asked.partition_indexes.len());
        for index in asked.partition_indexes {
            let id = found
                .as_ref()
                .and_then(|topic| topic::partition(topic, index));
            let response = PartitionResponse::default()
                .with_partition_index(index)
                .with_error_message(None);
            let result = match id {
                None => Err(ResponseError::UnknownTopicOrPartition),
                Some(id) if !seen.insert(id) => Err(ResponseError::InvalidRequest),
                Some(id) => producers(context, id).await,
            };
            partitions.push(match result {
                Ok(producers) => response.with_active_producers(producers),
                Err(error) => response.with_error_code(error.code()),
            });
        }
        topics.push(
            TopicResponse::default()
                .with_name(asked.name)
                .with_partitions(partitions),
        );
    }
    DescribeProducersResponse::default().with_topics(topics)
}

async fn producers(
    context: &Context,
    partition: PartitionId,
) -> Result<Vec<ProducerState>, ResponseError> {
    let command = TransactionCommand::Producers { partition };
    let producers = match context.session.call(Command::Transaction(command)).await {
        Ok(Reply::Producers(producers)) => producers,
        Ok(_) => return Err(ResponseError::UnknownServerError),
        Err(refusal) => return Err(transaction_code(&refusal, true)),
    };
    let states = producers.into_iter().map(|(active, open)| {
        let ActiveProducer {
            id,
            epoch,
            last_sequence,
            used,
        } = active;
        ProducerState::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(i32::from(epoch))
            .with_last_sequence(last_sequence)
            .with_last_timestamp(used.0)
            .with_coordinator_epoch(0)
            .with_current_txn_start_offset(open.map_or(-1, to_wire))
    });
    Ok(states.collect())
}
