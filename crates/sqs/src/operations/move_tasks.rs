//! `StartMessageMoveTask`, `CancelMessageMoveTask`, `ListMessageMoveTasks`: a dead-letter queue is
//! emptied into another queue, or each message back into the one it came from.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_broker::{DeadLetterTarget, MoveId, MoveInfo, MoveStatus, Refusal, TopicInfo};
use serde::{Deserialize, Serialize};

use crate::error::Fault;
use crate::json::{self, Integer, Text};
use crate::limits::{MOVE_TASKS_MAX, MOVES_PER_SECOND_MAX};
use crate::queue_name;
use crate::server::Server;

const SOURCE: &str = "SourceArn";
const DESTINATION: &str = "DestinationArn";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StartRequest<'a> {
    #[serde(borrow, default)]
    source_arn: Option<Text<'a>>,
    #[serde(borrow, default)]
    destination_arn: Option<Text<'a>>,
    #[serde(default)]
    max_number_of_messages_per_second: Option<Integer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CancelRequest<'a> {
    #[serde(borrow, default)]
    task_handle: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListRequest<'a> {
    #[serde(borrow, default)]
    source_arn: Option<Text<'a>>,
    #[serde(default)]
    max_results: Option<Integer>,
}

/// Names a task to clients: base64 of JSON, as in AWS.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handle {
    task_id: String,
    source_arn: String,
}

impl Handle {
    fn encode(&self) -> String {
        // Two strings have a form in JSON.
        STANDARD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn decode(text: &str) -> Option<(MoveId, Self)> {
        let handle: Self = serde_json::from_slice(&STANDARD.decode(text).ok()?).ok()?;
        // An id that is no number of ours names no task, which is another failure.
        let id = handle.task_id.parse().unwrap_or(u64::MAX);
        Some((MoveId(id), handle))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Started {
    task_handle: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Cancelled {
    approximate_number_of_messages_moved: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    results: Vec<Task>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Task {
    #[serde(skip_serializing_if = "Option::is_none")]
    task_handle: Option<String>,
    status: &'static str,
    source_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_number_of_messages_per_second: Option<u32>,
    approximate_number_of_messages_moved: u64,
    approximate_number_of_messages_to_move: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure_reason: Option<&'static str>,
    started_timestamp: i64,
}

impl<'a> StartRequest<'a> {
    fn read(body: &'a [u8]) -> Result<(Self, Option<u32>), Fault> {
        let request: Self = json::read(body)?;
        if request.source_arn.is_none() {
            return Err(Fault::missing(SOURCE));
        }
        let rate = request.max_number_of_messages_per_second;
        let rate = rate.map(|Integer(asked)| {
            let rate = (1..=MOVES_PER_SECOND_MAX).contains(&asked).then_some(asked);
            rate.and_then(|rate| u32::try_from(rate).ok())
                .ok_or_else(|| {
                    Fault::invalid(
                        asked,
                        "MaxNumberOfMessagesPerSecond",
                        &format!("Must be between 1 and {MOVES_PER_SECOND_MAX}, if provided."),
                    )
                })
        });
        Ok((request, rate.transpose()?))
    }
}

impl<'a> CancelRequest<'a> {
    fn read(body: &'a [u8]) -> Result<(MoveId, Handle), Fault> {
        let request: CancelRequest<'a> = json::read(body)?;
        let handle = request
            .task_handle
            .ok_or_else(|| Fault::missing("TaskHandle"))?;
        Handle::decode(handle.as_str()).ok_or_else(|| {
            Fault::InvalidParameterValue("Value for parameter TaskHandle is invalid.".to_owned())
        })
    }
}

impl<'a> ListRequest<'a> {
    fn read(body: &'a [u8]) -> Result<(Self, usize), Fault> {
        let request: Self = json::read(body)?;
        if request.source_arn.is_none() {
            return Err(Fault::missing(SOURCE));
        }
        let Integer(asked) = request.max_results.unwrap_or(Integer(1));
        let limit = (1..=MOVE_TASKS_MAX).contains(&asked).then_some(asked);
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.ok_or_else(|| {
            Fault::invalid(
                asked,
                "MaxResults",
                &format!("Must be between 1 and {MOVE_TASKS_MAX}, if provided."),
            )
        })?;
        Ok((request, limit))
    }
}

/// Judges a request as far as that goes without the broker.
pub(crate) fn check_start(body: &[u8]) -> Result<(), Fault> {
    StartRequest::read(body).map(drop)
}

/// Judges a request as far as that goes without the broker.
pub(crate) fn check_cancel(body: &[u8]) -> Result<(), Fault> {
    CancelRequest::read(body).map(drop)
}

/// Judges a request as far as that goes without the broker.
pub(crate) fn check_list(body: &[u8]) -> Result<(), Fault> {
    ListRequest::read(body).map(drop)
}

/// The queue an ARN names.
fn queue(server: &Server, arn: &str, parameter: &str) -> Result<Arc<TopicInfo>, Fault> {
    let name = queue_name::from_arn(arn).ok();
    name.and_then(|name| server.queue_named(name))
        .ok_or_else(|| {
            Fault::ResourceNotFound(format!(
                "The resource that you specified for the {parameter} parameter doesn't exist."
            ))
        })
}

fn is_dead_letter_queue(server: &Server, queue: &TopicInfo) -> bool {
    let all = server.broker.directory().topics("", None, usize::MAX);
    all.iter().any(|topic| {
        let target = topic.config.dead_letter.as_ref();
        matches!(target, Some(DeadLetterTarget::Topic(name)) if **name == *queue.name)
    })
}

fn handle(server: &Server, id: MoveId, source: &TopicInfo) -> String {
    let handle = Handle {
        task_id: id.0.to_string(),
        source_arn: server.options.arn(&source.name),
    };
    handle.encode()
}

pub(crate) async fn start(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let (request, per_second) = StartRequest::read(body)?;
    let source = request.source_arn.as_ref().map_or("", Text::as_str);
    let source = queue(server, source, SOURCE)?;
    if !is_dead_letter_queue(server, &source) {
        return Err(Fault::InvalidParameterValue(
            "Source queue must be configured as a Dead Letter Queue.".to_owned(),
        ));
    }
    let destination = request.destination_arn.as_ref().map(Text::as_str);
    let destination = destination
        .map(|arn| queue(server, arn, DESTINATION))
        .transpose()?;
    if let Some(destination) = &destination
        && destination.config.ordered != source.config.ordered
    {
        return Err(Fault::InvalidParameterValue(
            "Source and destination queues must be of the same type.".to_owned(),
        ));
    }
    let destination = destination.map(|queue| queue.id);
    let started = server
        .broker
        .start_move(source.id, destination, per_second)
        .await?;
    json::write(&Started {
        task_handle: handle(server, started.id, &source),
    })
}

pub(crate) async fn cancel(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let (id, handle) = CancelRequest::read(body)?;
    let source = queue(server, &handle.source_arn, SOURCE)?;
    let all = server.broker.list_moves(source.id).await?;
    if !all.iter().any(|task| task.id == id) {
        return Err(Refusal::NoSuchMove.into());
    }
    let cancelled = match server.broker.cancel_move(id).await {
        Err(Refusal::NoSuchMove) => {
            return Err(Fault::UnsupportedOperation(
                "Only active tasks can be cancelled.".into(),
            ));
        }
        other => other?,
    };
    json::write(&Cancelled {
        approximate_number_of_messages_moved: cancelled.moved,
    })
}

pub(crate) async fn list(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let (request, limit) = ListRequest::read(body)?;
    let source = request.source_arn.as_ref().map_or("", Text::as_str);
    let source = queue(server, source, SOURCE)?;
    let moves = server.broker.list_moves(source.id).await?;
    let show = |task: &MoveInfo| {
        let destination = task.destination.and_then(|id| {
            let topic = server.broker.directory().topic_by_id(id)?;
            Some(server.options.arn(&topic.name))
        });
        let running = task.status == MoveStatus::Running;
        let (status, failure_reason) = match task.status {
            MoveStatus::Running => ("RUNNING", None),
            MoveStatus::Completed => ("COMPLETED", None),
            MoveStatus::Cancelled => ("CANCELLED", None),
            MoveStatus::NoDestination => {
                ("FAILED", Some("AWS.SimpleQueueService.NonExistentQueue"))
            }
            MoveStatus::NoOrigin => ("FAILED", Some("CouldNotDetermineMessageSource")),
        };
        Task {
            task_handle: running.then(|| handle(server, task.id, &source)),
            status,
            source_arn: server.options.arn(&source.name),
            destination_arn: destination,
            max_number_of_messages_per_second: task.per_second,
            approximate_number_of_messages_moved: task.moved,
            approximate_number_of_messages_to_move: task.to_move,
            failure_reason,
            started_timestamp: task.started.0,
        }
    };
    json::write(&Listed {
        results: moves.iter().take(limit).map(show).collect(),
    })
}
