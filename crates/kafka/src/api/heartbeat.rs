//! Heartbeat (key 12), versions 0-4: a member of a group is alive.

use forebay_broker::{Command, GroupCommand, GroupReply, HeartbeatRequest as Beat, Reply};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::connection::Context;
use crate::error::{coordinator_code, group_code};

pub(super) async fn answer(context: &Context, request: HeartbeatRequest) -> HeartbeatResponse {
    let command = Command::Group(GroupCommand::Heartbeat(Beat {
        group: request.group_id.to_string(),
        member: request.member_id.to_string(),
        instance: request.group_instance_id.map(|id| id.to_string()),
        generation: request.generation_id,
    }));
    let code = match context.session.call(command).await {
        Ok(Reply::Group(GroupReply::Heartbeat(Ok(())))) => 0,
        Ok(Reply::Group(GroupReply::Heartbeat(Err(refusal)))) => group_code(&refusal).code(),
        Ok(_) => ResponseError::UnknownServerError.code(),
        Err(refusal) => coordinator_code(&refusal).code(),
    };
    HeartbeatResponse::default().with_error_code(code)
}
