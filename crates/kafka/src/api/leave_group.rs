//! LeaveGroup (key 13), versions 0-5: members leave a group.
//!
//! One member up to version 2, several from version 3 on, with a result for each (KIP-345).

use forebay_broker::{Command, GroupCommand, GroupReply, LeaveRequest, Leaver, Reply};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use kafka_protocol::protocol::StrBytes;

use crate::connection::Context;
use crate::error::{coordinator_code, group_code};

pub(super) async fn answer(
    context: &Context,
    version: i16,
    request: LeaveGroupRequest,
) -> LeaveGroupResponse {
    let members = if version <= 2 {
        vec![Leaver {
            member: request.member_id.to_string(),
            instance: None,
        }]
    } else {
        request
            .members
            .into_iter()
            .map(|member| Leaver {
                member: member.member_id.to_string(),
                instance: member.group_instance_id.map(|id| id.to_string()),
            })
            .collect()
    };
    let leave = LeaveRequest {
        group: request.group_id.to_string(),
        members,
    };
    let response = LeaveGroupResponse::default();
    let command = Command::Group(GroupCommand::Leave(leave));
    let left = match context.session.call(command).await {
        Ok(Reply::Group(GroupReply::Leave(Ok(left)))) => left,
        Ok(Reply::Group(GroupReply::Leave(Err(refusal)))) => {
            return response.with_error_code(group_code(&refusal).code());
        }
        Ok(_) => return response.with_error_code(ResponseError::UnknownServerError.code()),
        Err(refusal) => return response.with_error_code(coordinator_code(&refusal).code()),
    };
    let code_of = |result: Result<(), _>| result.map_or_else(|no| group_code(&no).code(), |()| 0);
    if version <= 2 {
        let code = left.first().map_or(0, |left| code_of(left.result));
        return response.with_error_code(code);
    }
    let members = left.into_iter().map(|left| {
        MemberResponse::default()
            .with_member_id(StrBytes::from_string(left.member))
            .with_group_instance_id(left.instance.map(StrBytes::from_string))
            .with_error_code(code_of(left.result))
    });
    response.with_members(members.collect())
}
