//! WriteTxnMarkers (key 27), version 1: between Kafka's brokers, and what an administrator sends to
//! abort a transaction that hangs (KIP-664).
//!
//! The markers of a transaction are never apart from its state here, so an abort ends the whole
//! transaction and fences its producer, whichever partition it names. A commit is the producer's
//! own to ask for: INVALID_REQUEST.

use forebay_broker::{Command, TransactionCommand};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::write_txn_markers_request::WritableTxnMarker;
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};

use crate::connection::Context;
use crate::error::transaction_code;
use crate::topic;

pub(super) async fn answer(
    context: &Context,
    request: WriteTxnMarkersRequest,
) -> WriteTxnMarkersResponse {
    let mut markers = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        let result = abort(context, &marker).await;
        let code = result.err().map_or(0, |error| error.code());
        let topics = marker.topics.into_iter().map(|asked| {
            let found = topic::by_name(&context.broker, &asked.name);
            let partitions = asked.partition_indexes.into_iter().map(|index| {
                let id = found
                    .as_ref()
                    .and_then(|topic| topic::partition(topic, index));
                WritableTxnMarkerPartitionResult::default()
                    .with_partition_index(index)
                    .with_error_code(match id {
                        Some(_) => code,
                        None => ResponseError::UnknownTopicOrPartition.code(),
                    })
            });
            WritableTxnMarkerTopicResult::default()
                .with_partitions(partitions.collect())
                .with_name(asked.name)
        });
        markers.push(
            WritableTxnMarkerResult::default()
                .with_producer_id(marker.producer_id)
                .with_topics(topics.collect()),
        );
    }
    WriteTxnMarkersResponse::default().with_markers(markers)
}

async fn abort(context: &Context, marker: &WritableTxnMarker) -> Result<(), ResponseError> {
    if marker.transaction_result {
        return Err(ResponseError::InvalidRequest);
    }
    let command = TransactionCommand::Abort {
        producer: marker.producer_id.0,
        epoch: marker.producer_epoch,
    };
    let reply = context.session.call(Command::Transaction(command)).await;
    let reply = reply.map(|_| ());
    reply.map_err(|refusal| transaction_code(&refusal, false))
}
