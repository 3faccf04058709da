//! InitProducerId (key 22), versions 0-5: an id for an idempotent producer (KIP-98).
//!
//! Every call without a transactional id gives a new id with epoch 0, also to a producer that
//! names the one it has (KIP-360 asks that of transactional producers only). With a transactional
//! id the answer is TRANSACTIONAL_ID_AUTHORIZATION_FAILED: there are no transactions yet, and this
//! is the code at which clients give up.

use forebay_broker::{Command, Reply};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use crate::connection::Context;
use crate::error::{Failure, coordinator_code};

pub(super) async fn answer(
    context: &Context,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let allocated = match request.transactional_id {
        None => match context.session.call(Command::AllocateProducer).await {
            Ok(Reply::Producer(id)) => Ok(id),
            Ok(_) => Err(Failure::from(ResponseError::UnknownServerError)),
            Err(refusal) => Err(Failure::from(coordinator_code(&refusal))),
        },
        Some(id) if id.is_empty() => Err(Failure::from(ResponseError::InvalidRequest)),
        Some(_) => Err(Failure::from(
            ResponseError::TransactionalIdAuthorizationFailed,
        )),
    };
    let response = InitProducerIdResponse::default();
    match allocated {
        Ok(id) => response
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        Err(failure) => response
            .with_error_code(failure.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}
