//! DeleteGroups (key 42), versions 0-2: delete groups without members, and what they committed.

use forebay_broker::Command;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::connection::Context;
use crate::error::coordinator_code;

pub(super) async fn answer(
    context: &Context,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group in request.groups_names {
        let command = Command::DeleteGroup {
            group: group.to_string(),
        };
        let deleted = context.session.call(command).await;
        let code = deleted.map_or_else(|refusal| coordinator_code(&refusal).code(), |_| 0);
        results.push(
            DeletableGroupResult::default()
                .with_group_id(group)
                .with_error_code(code),
        );
    }
    DeleteGroupsResponse::default().with_results(results)
}
