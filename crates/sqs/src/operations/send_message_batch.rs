//! `SendMessageBatch`: up to 10 messages, each with its own fate. Those with the same delay (and,
//! on a topic of several partitions, the same group) share one record batch. On a FIFO queue each
//! message has a batch of its own, since any of them may be a duplicate.

use forebay_base::Timestamp;
use forebay_broker::{Identity, Target, TopicInfo};
use forebay_record::BatchBuilder;
use serde::Deserialize;

use super::send_message;
use crate::batch::{self, BatchAnswer, Failed};
use crate::error::Fault;
use crate::fifo;
use crate::json::{self, List, Text};
use crate::limits::{BATCH_ENTRIES_MAX, DELAY_SECONDS_MAX, MESSAGE_BYTES_MAX};
use crate::outgoing::{Outgoing, RequestMessage, Sent};
use crate::queue_name;
use crate::server::Server;

const ENTRY: &str = "SendMessageBatchRequestEntry";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    entries: List<RequestMessage<'a>, BATCH_ENTRIES_MAX>,
}

/// An entry with the judgement on it.
struct Entry<'a> {
    id: Text<'a>,
    message: Result<Outgoing<'a>, Fault>,
}

/// Messages that share a record batch.
struct Group<'a> {
    delay_seconds: Option<u32>,
    key_hash: Option<u32>,
    batch: BatchBuilder,
    identity: Option<Identity>,
    members: Vec<Sent<'a>>,
}

/// Judges a request as far as that goes without the queue.
pub(crate) fn check(body: &[u8]) -> Result<(), Fault> {
    read(body, DELAY_SECONDS_MAX).map(drop)
}

fn read(body: &[u8], delay_max: u32) -> Result<(Option<Text<'_>>, Vec<Entry<'_>>), Fault> {
    let request: Request<'_> = json::read(body)?;
    queue_name::from_url(&request.queue_url)?;
    let List { kept, count } = request.entries;
    batch::check(ENTRY, count, kept.iter().map(|entry| entry.id.as_ref()))?;
    let mut entries = Vec::with_capacity(kept.len());
    let mut sent = 0_usize;
    for (index, mut message) in kept.into_iter().enumerate() {
        // The ids were checked: each entry has one.
        let Some(id) = message.id.take() else {
            continue;
        };
        let message = message.accept(delay_max, || format!("{ENTRY}.{}.MessageBody", index + 1));
        sent += message.as_ref().map_or(0, Outgoing::size);
        entries.push(Entry { id, message });
    }
    if sent > MESSAGE_BYTES_MAX {
        return Err(Fault::BatchTooLong { sent });
    }
    Ok((request.queue_url, entries))
}

pub(crate) async fn run(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let (url, entries) = read(body, server.options.max_delay_seconds)?;
    let queue = server.queue(&url)?;
    let now = server.broker.now();
    let mut answer = BatchAnswer::default();
    let mut groups: Vec<Group<'_>> = Vec::new();
    let accepted = entries
        .iter()
        .filter_map(|entry| entry.message.as_ref().ok());
    if let Some(missing) = accepted
        .filter_map(|message| fifo::missing(message, &queue))
        .next()
    {
        return Err(missing.in_batch());
    }
    for entry in &entries {
        if let Err(fault) = place(entry, &mut groups, &queue, now) {
            answer.failed.push(Failed::new(entry.id.as_str(), &fault));
        }
    }
    let mut members = Vec::with_capacity(groups.len());
    let mut messages = Vec::with_capacity(groups.len());
    for group in groups {
        messages.push(forebay_broker::Outgoing {
            target: Target::Topic(queue.id),
            batch: group.batch.finish(),
            key_hash: group.key_hash,
            not_before: send_message::not_before(group.delay_seconds, &queue, now),
            identity: group.identity,
            lives_ms: None,
        });
        members.push(group.members);
    }
    let results = match messages.is_empty() {
        true => Vec::new(),
        false => send_message::publish(server, messages).await?,
    };
    let all_refused = !results.is_empty() && results.iter().all(Result::is_err);
    for (mut members, result) in members.into_iter().zip(results) {
        match result.map_err(Fault::from) {
            Ok(placed) => {
                if queue.config.ordered {
                    members.iter_mut().for_each(|member| member.placed(&placed));
                }
                answer.successful.extend(members);
            }
            // Nothing was taken: the whole call is told to come again, which every SDK does.
            Err(fault @ Fault::Unavailable(_)) if all_refused => return Err(fault),
            Err(fault) => {
                answer.failed.extend(
                    members
                        .iter()
                        .map(|member| Failed::new(member.id.unwrap_or_default(), &fault)),
                );
            }
        }
    }
    json::write(&answer)
}

/// Puts the message of an entry into the group it belongs to.
fn place<'a>(
    entry: &'a Entry<'_>,
    groups: &mut Vec<Group<'a>>,
    queue: &TopicInfo,
    now: Timestamp,
) -> Result<(), Fault> {
    let message = entry.message.as_ref().map_err(Clone::clone)?;
    fifo::check(message, queue)?;
    if send_message::exceeds(message, queue) {
        return Err(Fault::InvalidParameterValue(format!(
            "One or more parameters cannot be validated. {}",
            send_message::too_long(queue)
        )));
    }
    let key_hash = send_message::key_hash(message).filter(|_| queue.partitions.len() > 1);
    let same = |group: &Group<'_>| {
        !queue.config.ordered
            && group.delay_seconds == message.delay_seconds
            && group.key_hash == key_hash
    };
    let place = match groups.iter().position(same) {
        Some(place) => place,
        None => {
            groups.push(Group {
                delay_seconds: message.delay_seconds,
                key_hash,
                batch: BatchBuilder::with_capacity(now.0, send_message::batch_bytes(message)),
                identity: None,
                members: Vec::new(),
            });
            groups.len() - 1
        }
    };
    let group = &mut groups[place];
    let message_id = message
        .push(&mut group.batch, now)
        .map_err(|error| Fault::Internal(error.to_string()))?;
    group.identity = fifo::identity(message, queue, message_id);
    group
        .members
        .push(message.sent(Some(entry.id.as_str()), message_id));
    Ok(())
}
