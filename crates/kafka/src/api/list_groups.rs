//! ListGroups (key 16), versions 0-5: the groups there are.
//!
//! Can be narrowed by state from version 4 on (KIP-518), by type from version 5 on (KIP-848):
//! every group is "classic".

use forebay_broker::{Command, GroupPhase, Reply};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::connection::Context;
use crate::error::coordinator_code;

const CLASSIC: &str = "classic";

pub(super) async fn answer(context: &Context, request: ListGroupsRequest) -> ListGroupsResponse {
    let response = ListGroupsResponse::default();
    let groups = match context.session.call(Command::ListGroups).await {
        Ok(Reply::Groups(groups)) => groups,
        Ok(_) => return response.with_error_code(ResponseError::UnknownServerError.code()),
        Err(refusal) => return response.with_error_code(coordinator_code(&refusal).code()),
    };
    let types = &request.types_filter;
    if !types.is_empty() && !types.iter().any(|kind| kind.eq_ignore_ascii_case(CLASSIC)) {
        return response;
    }
    let states = &request.states_filter;
    let wanted = |phase| {
        let state = state_name(phase);
        states.is_empty()
            || states
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(state))
    };
    let groups = groups.into_iter().filter(|group| wanted(group.phase));
    let groups = groups.map(|group| {
        ListedGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(group.group)))
            .with_protocol_type(StrBytes::from_string(group.protocol_type))
            .with_group_state(StrBytes::from_static_str(state_name(group.phase)))
            .with_group_type(StrBytes::from_static_str(CLASSIC))
    });
    response.with_groups(groups.collect())
}

/// Kafka's name for a phase.
pub(super) fn state_name(phase: GroupPhase) -> &'static str {
    match phase {
        GroupPhase::Empty => "Empty",
        GroupPhase::PreparingRebalance => "PreparingRebalance",
        GroupPhase::CompletingRebalance => "CompletingRebalance",
        GroupPhase::Stable => "Stable",
    }
}
