//! One file per operation or small family. Each reads its request, judges it without the broker
//! as far as that goes, asks the broker, and writes its answer.

pub(crate) mod change_message_visibility;
pub(crate) mod create_queue;
pub(crate) mod delete_message;
pub(crate) mod delete_queue;
pub(crate) mod get_queue_url;
pub(crate) mod list_dead_letter_source_queues;
pub(crate) mod list_queues;
pub(crate) mod move_tasks;
pub(crate) mod permissions;
pub(crate) mod purge_queue;
pub(crate) mod queue_attributes;
pub(crate) mod queue_tags;
pub(crate) mod receive_message;
pub(crate) mod send_message;
pub(crate) mod send_message_batch;
