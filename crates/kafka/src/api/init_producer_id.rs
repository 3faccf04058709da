//! InitProducerId (key 22), versions 0-5: an id for an idempotent or transactional producer
//! (KIP-98).
//!
//! Without a transactional id every call gives a new id with epoch 0, also to a producer that names
//! the one it has (KIP-360 asks that of transactional producers only). With one the id stays and
//! the epoch rises, which fences the lives before; what they left undecided is aborted in the same
//! commit, so CONCURRENT_TRANSACTIONS is never the answer.

use forebay_broker::{Command, Reply, TransactionCommand};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::connection::Context;
use crate::error::{coordinator_code, transaction_code};

/// The first version in which clients know PRODUCER_FENCED (KIP-588).
const FENCED_SINCE: i16 = 4;

pub(super) async fn answer(
    context: &Context,
    version: i16,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let response = InitProducerIdResponse::default();
    match id(context, version, request).await {
        Ok((id, epoch)) => response
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch),
        Err(error) => response
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

async fn id(
    context: &Context,
    version: i16,
    request: InitProducerIdRequest,
) -> Result<(i64, i16), ResponseError> {
    let Some(name) = request.transactional_id else {
        return match context.session.call(Command::AllocateProducer).await {
            Ok(Reply::Producer(id)) => Ok((id, 0)),
            Ok(_) => Err(ResponseError::UnknownServerError),
            Err(refusal) => Err(coordinator_code(&refusal)),
        };
    };
    let expected = (request.producer_id.0, request.producer_epoch);
    let expected = match expected {
        (-1, -1) => None,
        (id, epoch) if id >= 0 && epoch >= 0 => Some((id, epoch)),
        _ => return Err(ResponseError::InvalidRequest),
    };
    if name.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    let command = TransactionCommand::Register {
        name: name.to_string(),
        timeout_ms: u64::try_from(request.transaction_timeout_ms).unwrap_or(0),
        expected,
    };
    match context.session.call(Command::Transaction(command)).await {
        Ok(Reply::Transactional { producer, epoch }) => Ok((producer, epoch)),
        Ok(_) => Err(ResponseError::UnknownServerError),
        Err(refusal) => Err(transaction_code(&refusal, version >= FENCED_SINCE)),
    }
}
