//! AddOffsetsToTxn (key 25), versions 0-4: a transaction is about to commit offsets for a group
//! (KIP-98).

use forebay_broker::{Command, TransactionCommand, Transactional};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

use crate::connection::Context;
use crate::error::transaction_code;

/// The first version in which clients know PRODUCER_FENCED (KIP-588).
const FENCED_SINCE: i16 = 2;

pub(super) async fn answer(
    context: &Context,
    version: i16,
    request: AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let result = add(context, version, request).await;
    let code = result.err().map_or(0, |error| error.code());
    AddOffsetsToTxnResponse::default().with_error_code(code)
}

async fn add(
    context: &Context,
    version: i16,
    request: AddOffsetsToTxnRequest,
) -> Result<(), ResponseError> {
    if request.transactional_id.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    if request.group_id.is_empty() {
        return Err(ResponseError::InvalidGroupId);
    }
    let command = TransactionCommand::AddGroup {
        who: Transactional {
            name: request.transactional_id.to_string(),
            producer: request.producer_id.0,
            epoch: request.producer_epoch,
        },
        group: request.group_id.to_string(),
    };
    let reply = context.session.call(Command::Transaction(command)).await;
    let reply = reply.map(|_| ());
    reply.map_err(|refusal| transaction_code(&refusal, version >= FENCED_SINCE))
}
