//! SyncGroup (key 14), versions 0-5: bring or await a group's assignments.
//!
//! Answered when the leader has brought them, or when the client has gone.

use forebay_broker::{Command, GroupCommand, GroupReply, Reply, SyncRequest};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use crate::connection::Context;
use crate::error::{coordinator_code, group_code};

pub(crate) async fn answer(context: &Context, request: SyncGroupRequest) -> SyncGroupResponse {
    let sync = SyncRequest {
        group: request.group_id.to_string(),
        member: request.member_id.to_string(),
        generation: request.generation_id,
        instance: request.group_instance_id.map(|id| id.to_string()),
        protocol_type: request.protocol_type.map(|kind| kind.to_string()),
        protocol: request.protocol_name.map(|name| name.to_string()),
        assignments: request
            .assignments
            .into_iter()
            .map(|given| (given.member_id.to_string(), given.assignment))
            .collect(),
    };
    let command = Command::Group(GroupCommand::Sync(sync));
    let error = match context.session.call(command).await {
        Ok(Reply::Group(GroupReply::Sync(Ok(synced)))) => {
            return SyncGroupResponse::default()
                .with_protocol_type(Some(StrBytes::from_string(synced.protocol_type)))
                .with_protocol_name(Some(StrBytes::from_string(synced.protocol)))
                .with_assignment(synced.assignment);
        }
        Ok(Reply::Group(GroupReply::Sync(Err(refusal)))) => group_code(&refusal),
        Ok(_) => ResponseError::UnknownServerError,
        Err(refusal) => coordinator_code(&refusal),
    };
    SyncGroupResponse::default().with_error_code(error.code())
}
