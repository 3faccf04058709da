//! JoinGroup (key 11), versions 0-9: become or stay a member of a consumer group.
//!
//! Answered when the rebalance is complete, or when the client has gone. From version 4 on a
//! member without an id is given one and asked to join again with it (KIP-394), unless it is
//! static (KIP-345, from version 5 on). From version 9 on a leader that came back may be told to
//! leave the assignments as they are (KIP-814).

use bytes::Bytes;
use forebay_broker::{Command, GroupCommand, GroupReply, JoinRequest, Reply};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use crate::connection::Context;
use crate::error::{coordinator_code, group_code};

/// Longest part of a member's id that is the client's own, characters.
const CLIENT_ID_CHARS: usize = 128;

pub(crate) async fn answer(
    context: &Context,
    version: i16,
    client_id: &Bytes,
    request: JoinGroupRequest,
) -> JoinGroupResponse {
    let member_id = request.member_id.clone();
    let join = to_join(context, version, client_id, request);
    let refused = |error: ResponseError, member| {
        JoinGroupResponse::default()
            .with_error_code(error.code())
            .with_generation_id(-1)
            .with_protocol_name((version < 7).then(StrBytes::default))
            .with_member_id(member)
    };
    match context
        .session
        .call(Command::Group(GroupCommand::Join(join)))
        .await
    {
        Ok(Reply::Group(GroupReply::Join(Ok(joined)))) => {
            let members = joined.members.into_iter().map(|member| {
                JoinGroupResponseMember::default()
                    .with_member_id(StrBytes::from_string(member.member))
                    .with_group_instance_id(member.instance.map(StrBytes::from_string))
                    .with_metadata(member.metadata)
            });
            JoinGroupResponse::default()
                .with_generation_id(joined.generation)
                .with_protocol_type(Some(StrBytes::from_string(joined.protocol_type)))
                .with_protocol_name(Some(StrBytes::from_string(joined.protocol)))
                .with_leader(StrBytes::from_string(joined.leader))
                .with_skip_assignment(joined.skip_assignment)
                .with_member_id(StrBytes::from_string(joined.member))
                .with_members(members.collect())
        }
        Ok(Reply::Group(GroupReply::Join(Err(refusal)))) => refused(
            group_code(&refusal.refusal),
            StrBytes::from_string(refusal.member),
        ),
        Ok(_) => refused(ResponseError::UnknownServerError, member_id),
        Err(refusal) => refused(coordinator_code(&refusal), member_id),
    }
}

fn to_join(
    context: &Context,
    version: i16,
    client_id: &Bytes,
    request: JoinGroupRequest,
) -> JoinRequest {
    let client_id = String::from_utf8_lossy(client_id).into_owned();
    // A static member is known by its name, with this after it.
    let known_as: String = request
        .group_instance_id
        .as_deref()
        .unwrap_or(&client_id)
        .chars()
        .take(CLIENT_ID_CHARS)
        .collect();
    // Version 0 has one timeout for both.
    let rebalance_timeout_ms = match version {
        0 => request.session_timeout_ms,
        _ => request.rebalance_timeout_ms,
    };
    JoinRequest {
        group: request.group_id.to_string(),
        member: request.member_id.to_string(),
        fresh_member: format!("{known_as}-{}", Uuid::new_v4()),
        require_known_member: version >= 4,
        instance: request.group_instance_id.map(|id| id.to_string()),
        client_id,
        client_host: format!("/{}", context.peer.ip().to_canonical()),
        protocol_type: request.protocol_type.to_string(),
        protocols: request
            .protocols
            .into_iter()
            .map(|protocol| (protocol.name.to_string(), protocol.metadata))
            .collect(),
        session_timeout_ms: u64::try_from(request.session_timeout_ms).unwrap_or(0),
        rebalance_timeout_ms: u64::try_from(rebalance_timeout_ms).unwrap_or(0),
        can_skip_assignment: version >= 9,
    }
}
