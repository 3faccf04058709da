//! EndTxn (key 26), versions 0-4: commit or abort a transaction (KIP-98).
//!
//! Markers, offsets and the state of the transaction are one commit, so when this is answered the
//! transaction is over, and none is ever under way when the next one begins. Version 5 belongs to
//! the transactions of KIP-890, which are not served.

use forebay_broker::{Command, TransactionCommand, Transactional};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{EndTxnRequest, EndTxnResponse};

use crate::connection::Context;
use crate::error::transaction_code;

/// The first version in which clients know PRODUCER_FENCED (KIP-588).
const FENCED_SINCE: i16 = 2;

pub(super) async fn answer(
    context: &Context,
    version: i16,
    request: EndTxnRequest,
) -> EndTxnResponse {
    let result = end(context, version, request).await;
    let code = result.err().map_or(0, |error| error.code());
    EndTxnResponse::default().with_error_code(code)
}

async fn end(context: &Context, version: i16, request: EndTxnRequest) -> Result<(), ResponseError> {
    if request.transactional_id.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    let command = TransactionCommand::End {
        who: Transactional {
            name: request.transactional_id.to_string(),
            producer: request.producer_id.0,
            epoch: request.producer_epoch,
        },
        commit: request.committed,
    };
    let reply = context.session.call(Command::Transaction(command)).await;
    let reply = reply.map(|_| ());
    reply.map_err(|refusal| transaction_code(&refusal, version >= FENCED_SINCE))
}
