//! FindCoordinator (key 10), versions 0-6: who keeps a group, or a producer's transactions. It is
//! always this broker.
//!
//! Several keys at once from version 4 on (KIP-699). Share groups (KIP-932) are not served.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::NODE;
use crate::connection::Context;
use crate::error::Failure;

/// Key types.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(super) fn answer(
    context: &Context,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let host = StrBytes::from_string(context.host.clone());
    let found = refusal(request.key_type);
    if version <= 3 {
        let response = FindCoordinatorResponse::default();
        return match found {
            None => response
                .with_error_message(None)
                .with_node_id(NODE)
                .with_host(host)
                .with_port(i32::from(context.port)),
            Some(failure) => response
                .with_error_code(failure.code())
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_message(failure.text()),
        };
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        let coordinator = Coordinator::default().with_key(key);
        match &found {
            None => coordinator
                .with_error_message(None)
                .with_node_id(NODE)
                .with_host(host.clone())
                .with_port(i32::from(context.port)),
            Some(failure) => coordinator
                .with_error_code(failure.code())
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_message(failure.clone().text()),
        }
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

fn refusal(key_type: i8) -> Option<Failure> {
    match key_type {
        GROUP | TRANSACTION => None,
        other => Some(Failure::new(
            ResponseError::InvalidRequest,
            format!("coordinators of type {other} are not supported"),
        )),
    }
}
