//! From the name of an action to the operation that carries it out.

use crate::error::{Fault, shown};
use crate::operations::{
    change_message_visibility, create_queue, delete_message, delete_queue, get_queue_url,
    list_dead_letter_source_queues, list_queues, move_tasks, permissions, purge_queue,
    queue_attributes, queue_tags, receive_message, send_message, send_message_batch,
};
use crate::origin::Origin;
use crate::server::Server;

/// Carries out `action` for a client that reached this server at `origin`.
pub(crate) async fn call(
    server: &Server,
    action: &str,
    origin: Origin<'_>,
    body: &[u8],
) -> Result<Vec<u8>, Fault> {
    match action {
        "SendMessage" => send_message::run(server, body).await,
        "SendMessageBatch" => send_message_batch::run(server, body).await,
        "ReceiveMessage" => receive_message::run(server, body).await,
        "DeleteMessage" => delete_message::run(server, body).await,
        "DeleteMessageBatch" => delete_message::run_batch(server, body).await,
        "ChangeMessageVisibility" => change_message_visibility::run(server, body).await,
        "ChangeMessageVisibilityBatch" => change_message_visibility::run_batch(server, body).await,
        "CreateQueue" => create_queue::run(server, origin, body).await,
        "DeleteQueue" => delete_queue::run(server, body).await,
        "GetQueueUrl" => get_queue_url::run(server, origin, body),
        "ListQueues" => list_queues::run(server, origin, body),
        "GetQueueAttributes" => queue_attributes::get(server, body).await,
        "SetQueueAttributes" => queue_attributes::set(server, body).await,
        "PurgeQueue" => purge_queue::run(server, body).await,
        "ListDeadLetterSourceQueues" => list_dead_letter_source_queues::run(server, origin, body),
        "TagQueue" => queue_tags::tag(server, body).await,
        "UntagQueue" => queue_tags::untag(server, body).await,
        "ListQueueTags" => queue_tags::list(server, body),
        "AddPermission" => permissions::add(server, body).await,
        "StartMessageMoveTask" => move_tasks::start(server, body).await,
        "CancelMessageMoveTask" => move_tasks::cancel(server, body).await,
        "ListMessageMoveTasks" => move_tasks::list(server, body).await,
        "RemovePermission" => permissions::remove(server, body).await,
        _ => Err(unknown(action)),
    }
}

fn unknown(action: &str) -> Fault {
    Fault::UnknownOperation(format!(
        "The action {} is not valid for this endpoint.",
        shown(action)
    ))
}
