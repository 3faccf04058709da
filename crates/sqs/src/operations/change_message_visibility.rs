//! `ChangeMessageVisibility` and `ChangeMessageVisibilityBatch`: 0 seconds give the message back,
//! more hold it so long from now; 12 hours from the receive are the most.
//!
//! A delivery whose time has run out and that nobody else has is answered with success although
//! nothing changes, as AWS does. If the message is gone or was handed out again the call fails.

use forebay_base::Timestamp;
use forebay_broker::{Outcome, Receipt, Settled};
use serde::Deserialize;

use super::delete_message::handle_of;
use crate::batch::{self, BatchAnswer, Done, Failed};
use crate::error::{Fault, shown};
use crate::json::{self, Integer, List, Text};
use crate::limits::{BATCH_ENTRIES_MAX, VISIBILITY_SECONDS_MAX};
use crate::queue_name;
use crate::receipt::Handle;
use crate::server::Server;

const ENTRY: &str = "ChangeMessageVisibilityBatchRequestEntry";
const MS_PER_SECOND: u64 = 1_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    receipt_handle: Option<Text<'a>>,
    #[serde(default)]
    visibility_timeout: Option<Integer>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BatchRequest<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    entries: List<Entry<'a>, BATCH_ENTRIES_MAX>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    receipt_handle: Option<Text<'a>>,
    #[serde(default)]
    visibility_timeout: Option<Integer>,
}

/// Judges a request as far as that goes without the queue.
pub(crate) fn check(body: &[u8]) -> Result<(), Fault> {
    read(body).map(drop)
}

/// Judges a batch request as far as that goes without the queue.
pub(crate) fn check_batch(body: &[u8]) -> Result<(), Fault> {
    read_batch(body).map(drop)
}

fn read(body: &[u8]) -> Result<Request<'_>, Fault> {
    let request: Request<'_> = json::read(body)?;
    queue_name::from_url(&request.queue_url)?;
    Ok(request)
}

fn read_batch(body: &[u8]) -> Result<BatchRequest<'_>, Fault> {
    let request: BatchRequest<'_> = json::read(body)?;
    queue_name::from_url(&request.queue_url)?;
    let entries = &request.entries;
    batch::check(
        ENTRY,
        entries.count,
        entries.kept.iter().map(|entry| entry.id.as_ref()),
    )?;
    Ok(request)
}

/// The seconds asked for, checked against the most that is left since the receive.
fn timeout(
    asked: Option<Integer>,
    parameter: &str,
    handle: &Handle,
    now: Timestamp,
) -> Result<u32, Fault> {
    let Integer(asked) = asked.ok_or_else(|| Fault::missing(parameter))?;
    let seconds = u32::try_from(asked)
        .ok()
        .filter(|seconds| *seconds <= VISIBILITY_SECONDS_MAX);
    let seconds = seconds.ok_or_else(|| {
        let reason =
            format!("VisibilityTimeout must be an integer between 0 and {VISIBILITY_SECONDS_MAX}.");
        Fault::invalid(asked, "VisibilityTimeout", &reason)
    })?;
    let held_seconds = now.ms_since(handle.received) / MS_PER_SECOND;
    if held_seconds.saturating_add(u64::from(seconds)) > u64::from(VISIBILITY_SECONDS_MAX) {
        let reason = format!(
            "Total VisibilityTimeout for the message is beyond the limit [{VISIBILITY_SECONDS_MAX} seconds]"
        );
        return Err(Fault::invalid(seconds, "VisibilityTimeout", &reason));
    }
    Ok(seconds)
}

fn outcome(seconds: u32) -> Outcome {
    match seconds {
        0 => Outcome::Release {
            delay_ms: 0,
            count: true,
        },
        _ => Outcome::Extend {
            ms: u64::from(seconds) * MS_PER_SECOND,
        },
    }
}

/// What the caller is told about a settlement.
fn judge(settled: Option<Settled>, handle: &str) -> Result<(), Fault> {
    match settled {
        Some(Settled::Held | Settled::Expired) => Ok(()),
        Some(Settled::Stale | Settled::Gone) | None => Err(Fault::invalid(
            shown(handle),
            "ReceiptHandle",
            "Message does not exist or is not available for visibility timeout change.",
        )),
    }
}

pub(crate) async fn run(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = read(body)?;
    let queue = server.queue(&request.queue_url)?;
    let handle = handle_of(&request.receipt_handle, "ReceiptHandle", &queue)?;
    let seconds = timeout(
        request.visibility_timeout,
        "VisibilityTimeout",
        &handle,
        server.broker.now(),
    )?;
    let settled = server
        .broker
        .settle(vec![handle.receipt], outcome(seconds))
        .await?;
    judge(
        settled.first().copied(),
        request.receipt_handle.as_ref().map_or("", Text::as_str),
    )?;
    Ok(json::EMPTY.to_vec())
}

/// Entries of a batch that ask for the same time.
struct Group<'a> {
    seconds: u32,
    receipts: Vec<Receipt>,
    members: Vec<(&'a str, &'a str)>,
}

pub(crate) async fn run_batch(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = read_batch(body)?;
    let queue = server.queue(&request.queue_url)?;
    let now = server.broker.now();
    let mut answer = BatchAnswer::default();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (index, entry) in request.entries.kept.iter().enumerate() {
        let id = entry.id.as_ref().map_or("", Text::as_str);
        let text = entry.receipt_handle.as_ref().map_or("", Text::as_str);
        let parameter = |name: &str| format!("{ENTRY}.{}.{name}", index + 1);
        let judged = handle_of(&entry.receipt_handle, &parameter("ReceiptHandle"), &queue)
            .and_then(|handle| {
                let seconds = timeout(
                    entry.visibility_timeout,
                    &parameter("VisibilityTimeout"),
                    &handle,
                    now,
                )?;
                Ok((handle.receipt, seconds))
            });
        match judged {
            Err(fault) => answer.failed.push(Failed::new(id, &fault)),
            Ok((receipt, seconds)) => {
                match groups.iter_mut().find(|group| group.seconds == seconds) {
                    Some(group) => {
                        group.receipts.push(receipt);
                        group.members.push((id, text));
                    }
                    None => groups.push(Group {
                        seconds,
                        receipts: vec![receipt],
                        members: vec![(id, text)],
                    }),
                }
            }
        }
    }
    for group in groups {
        let settled = server
            .broker
            .settle(group.receipts, outcome(group.seconds))
            .await?;
        for (index, (id, handle)) in group.members.into_iter().enumerate() {
            match judge(settled.get(index).copied(), handle) {
                Ok(()) => answer.successful.push(Done { id }),
                Err(fault) => answer.failed.push(Failed::new(id, &fault)),
            }
        }
    }
    json::write(&answer)
}
