//! `DeleteMessage` and `DeleteMessageBatch`: a handle of this queue always succeeds, also if it is
//! an old one or the message is gone; but a FIFO queue refuses one whose time has run out.

use forebay_broker::{Outcome, Settled, TopicInfo};
use serde::Deserialize;

use crate::batch::{self, BatchAnswer, Done, Failed};
use crate::error::{Fault, shown};
use crate::json::{self, List, Text};
use crate::limits::BATCH_ENTRIES_MAX;
use crate::queue_name;
use crate::receipt::Handle;
use crate::server::Server;

const ENTRY: &str = "DeleteMessageBatchRequestEntry";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    receipt_handle: Option<Text<'a>>,
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
}

/// Reads a handle; one that another queue gave is told like an invented one.
pub(crate) fn handle_of(
    text: &Option<Text<'_>>,
    parameter: &str,
    queue: &TopicInfo,
) -> Result<Handle, Fault> {
    let text = text
        .as_ref()
        .map(Text::as_str)
        .filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Fault::missing(parameter))?;
    let handle = Handle::decode(text).filter(|handle| {
        handle.topic == queue.id && queue.partitions.contains(&handle.receipt.partition)
    });
    handle.ok_or_else(|| Fault::receipt(text))
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
    if let Some(handle) = &request.receipt_handle {
        Handle::decode(handle.as_str());
    }
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

pub(crate) async fn run(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = read(body)?;
    let queue = server.queue(&request.queue_url)?;
    let handle = handle_of(&request.receipt_handle, "ReceiptHandle", &queue)?;
    let settled = server
        .broker
        .settle(vec![handle.receipt], outcome(&queue))
        .await?;
    let text = request.receipt_handle.as_ref().map_or("", Text::as_str);
    judge(settled.first().copied(), &queue, text)?;
    Ok(json::EMPTY.to_vec())
}

fn outcome(queue: &TopicInfo) -> Outcome {
    match queue.config.ordered {
        true => Outcome::AckLeased,
        false => Outcome::Ack,
    }
}

/// What the caller is told about a deletion.
fn judge(settled: Option<Settled>, queue: &TopicInfo, handle: &str) -> Result<(), Fault> {
    match settled {
        Some(Settled::Expired | Settled::Stale) if queue.config.ordered => Err(Fault::invalid(
            shown(handle),
            "ReceiptHandle",
            "The receipt handle has expired.",
        )),
        _ => Ok(()),
    }
}

pub(crate) async fn run_batch(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = read_batch(body)?;
    let queue = server.queue(&request.queue_url)?;
    let mut answer = BatchAnswer::default();
    let mut receipts = Vec::with_capacity(request.entries.kept.len());
    let mut members = Vec::with_capacity(request.entries.kept.len());
    for (index, entry) in request.entries.kept.iter().enumerate() {
        let id = entry.id.as_ref().map_or("", Text::as_str);
        let parameter = format!("{ENTRY}.{}.ReceiptHandle", index + 1);
        match handle_of(&entry.receipt_handle, &parameter, &queue) {
            Ok(handle) => {
                receipts.push(handle.receipt);
                members.push((id, entry.receipt_handle.as_ref().map_or("", Text::as_str)));
            }
            Err(fault) => answer.failed.push(Failed::new(id, &fault)),
        }
    }
    let settled = match receipts.is_empty() {
        true => Vec::new(),
        false => server.broker.settle(receipts, outcome(&queue)).await?,
    };
    for (index, (id, handle)) in members.into_iter().enumerate() {
        match judge(settled.get(index).copied(), &queue, handle) {
            Ok(()) => answer.successful.push(Done { id }),
            Err(fault) => answer.failed.push(Failed::new(id, &fault)),
        }
    }
    json::write(&answer)
}
