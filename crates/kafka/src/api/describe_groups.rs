//! DescribeGroups (key 15), versions 0-6: the members of groups and what they are assigned.
//!
//! A group that does not exist is described as dead; from version 6 on with GROUP_ID_NOT_FOUND
//! (KIP-1043).

use std::collections::BTreeSet;

use forebay_broker::{Command, GroupDescription, GroupRefusal, MemberDescription, Refusal, Reply};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, GroupId};
use kafka_protocol::protocol::StrBytes;

use super::list_groups::state_name;
use crate::connection::Context;
use crate::error::coordinator_code;

/// What a client may do with a group, as bits of `AclOperation`: read, delete, describe.
const OPERATIONS: i32 = 0b1_0100_1000;
/// The first version that has an error for groups that do not exist.
const NOT_FOUND_SINCE: i16 = 6;

pub(super) async fn answer(
    context: &Context,
    version: i16,
    request: DescribeGroupsRequest,
) -> DescribeGroupsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    // A group asked for twice is told once, so that a small question has no huge answer.
    let mut seen = BTreeSet::new();
    for group in request.groups {
        if !seen.insert(group.clone()) {
            continue;
        }
        let mut described = describe(context, version, group).await;
        if request.include_authorized_operations {
            described.authorized_operations = OPERATIONS;
        }
        groups.push(described);
    }
    DescribeGroupsResponse::default().with_groups(groups)
}

async fn describe(context: &Context, version: i16, group: GroupId) -> DescribedGroup {
    let command = Command::DescribeGroup {
        group: group.to_string(),
    };
    let described = DescribedGroup::default().with_group_id(group);
    match context.session.call(command).await {
        Ok(Reply::GroupDescription(description)) => show(described, description),
        Ok(_) => described.with_error_code(ResponseError::UnknownServerError.code()),
        Err(Refusal::Group(GroupRefusal::NotFound)) => {
            let dead = described.with_group_state(StrBytes::from_static_str("Dead"));
            if version < NOT_FOUND_SINCE {
                return dead;
            }
            dead.with_error_code(ResponseError::GroupIdNotFound.code())
                .with_error_message(Some(StrBytes::from_static_str("there is no such group")))
        }
        Err(refusal) => described.with_error_code(coordinator_code(&refusal).code()),
    }
}

fn show(described: DescribedGroup, group: GroupDescription) -> DescribedGroup {
    let members = group.members.into_iter().map(|member: MemberDescription| {
        DescribedGroupMember::default()
            .with_member_id(StrBytes::from_string(member.member))
            .with_group_instance_id(member.instance.map(StrBytes::from_string))
            .with_client_id(StrBytes::from_string(member.client_id))
            .with_client_host(StrBytes::from_string(member.client_host))
            .with_member_metadata(member.metadata)
            .with_member_assignment(member.assignment)
    });
    described
        .with_group_state(StrBytes::from_static_str(state_name(group.phase)))
        .with_protocol_type(StrBytes::from_string(group.protocol_type))
        .with_protocol_data(StrBytes::from_string(group.protocol))
        .with_members(members.collect())
}
