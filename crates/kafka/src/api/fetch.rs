//! Fetch (key 1), versions 4-18: read batches, waiting for them if there are none.
//!
//! Answered when `min_bytes` are there, when `max_wait_ms` is over, when a partition is in error,
//! or when the client has gone. Whole batches only, the first one from the batch that holds the
//! offset asked for. The response keeps to `max_bytes`, each partition to its own limit, and both
//! to the options; but the first batch of all is given even if it is larger (KIP-74). The high
//! watermark is the end of what is durable; the last stable offset is where the first transaction
//! begins that is not decided. `read_committed` ends there, and is told of aborted transactions, whose
//! records the client passes over (KIP-98). Records are zero bytes
//! and not null where there are none, as librdkafka wants it.
//!
//! Every fetch is a full one: the session id in each response is 0, "no session" (KIP-227). Topic
//! ids from version 13 on (KIP-516). What versions 15 to 18 added concerns replicas only.

mod response;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use forebay_base::{Offset, PartitionId};
use forebay_broker::{Cursor, ReadError};
use hashbrown::HashMap;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, TopicName};
use tracing::warn;
use uuid::Uuid;

use super::{check_epoch, to_wire};
use crate::connection::Context;
use crate::outgoing::Outgoing;
use crate::topic;

/// Places kept in memory for the next fetch of a connection, in partitions.
const CURSORS_MAX: usize = 1000;
/// The isolation level that wants to know of aborted transactions.
const READ_COMMITTED: i8 = 1;

/// Where the fetches of a connection stand.
#[derive(Default)]
pub(crate) struct Fetcher {
    cursors: HashMap<PartitionId, Cursor>,
}

/// What is fetched of a topic.
#[derive(Debug)]
struct TopicPart {
    name: TopicName,
    uuid: Uuid,
    partitions: Vec<PartitionPart>,
}

/// What is fetched of a partition.
#[derive(Debug)]
struct PartitionPart {
    index: i32,
    id: Result<PartitionId, ResponseError>,
    /// The offset to read from next.
    next: Offset,
    limit: usize,
    /// Batches and their base offsets.
    batches: Vec<(Offset, Bytes)>,
    bytes: usize,
    /// The readable offsets when it was looked at last, -1 before.
    start: i64,
    end: i64,
    decided: i64,
    /// Producer and first record of transactions that were aborted, as far as they are among the
    /// batches.
    aborted: Vec<(i64, i64)>,
}

/// The limits of a whole fetch.
struct Limits {
    min_bytes: usize,
    max_bytes: usize,
    /// Whether only what is decided is read.
    committed: bool,
}

impl Fetcher {
    /// The body of the response.
    pub(crate) async fn answer(
        &mut self,
        context: &Context,
        version: i16,
        request: FetchRequest,
    ) -> Outgoing {
        if let Err(error) = check_session(&request) {
            return response::encode(version, error.code(), false, &[]);
        }
        // A client that did not take the session id it was given has none to forget partitions of.
        let max_bytes = size(request.max_bytes).min(context.options.max_fetch_bytes);
        let limits = Limits {
            min_bytes: size(request.min_bytes).min(max_bytes),
            max_bytes,
            committed: request.isolation_level == READ_COMMITTED,
        };
        let topics = request.topics.into_iter();
        let mut topics: Vec<TopicPart> = topics.map(|asked| resolve(context, asked)).collect();
        let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0);
        let until = context
            .broker
            .now()
            .plus_ms(wait_ms.min(context.options.idle_ms));
        loop {
            let complete = self.read(context, &mut topics, &limits).await;
            if complete || context.broker.now() >= until {
                break;
            }
            let watched = ends(&topics, limits.committed);
            if watched.is_empty() {
                break;
            }
            let grown = match limits.committed {
                true => context.broker.watch_decided(watched, until).await,
                false => context.broker.watch(watched, until).await,
            };
            if grown.is_err() {
                break;
            }
        }
        self.forget();
        if limits.committed {
            tell_aborted(context, &mut topics);
        }
        response::encode(version, 0, limits.committed, &topics)
    }

    /// Reads what there is and fits. Whether it is enough to answer.
    async fn read(&mut self, context: &Context, topics: &mut [TopicPart], limits: &Limits) -> bool {
        let parts = || topics.iter().flat_map(|topic| &topic.partitions);
        let mut total: usize = parts().map(|part| part.bytes).sum();
        let mut failed = false;
        for part in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
            let Ok(id) = part.id else {
                failed = true;
                continue;
            };
            let again = part.end >= 0;
            if again && context.broker.directory().topic_of(id).is_none() {
                part.id = Err(ResponseError::UnknownTopicOrPartition);
                failed = true;
                continue;
            }
            let bounds = context.broker.bounds(id);
            (part.start, part.end) = (to_wire(bounds.start), to_wire(bounds.end));
            part.decided = to_wire(bounds.decided);
            let end = match limits.committed {
                true => bounds.decided,
                false => bounds.end,
            };
            let begun = !part.batches.is_empty();
            if !begun && !(bounds.start..=bounds.end).contains(&part.next) {
                part.id = Err(ResponseError::OffsetOutOfRange);
                failed = true;
                continue;
            }
            let room = limits.max_bytes.saturating_sub(total);
            let room = room.min(part.limit.saturating_sub(part.bytes));
            if part.next >= end || (room == 0 && total > 0) {
                continue;
            }
            let cursor = self.cursors.entry(id).or_default();
            match context
                .broker
                .read(id, part.next, room.max(1), cursor)
                .await
            {
                Ok(stored) => {
                    for stored in stored {
                        let size = stored.batch.len();
                        let fits = part.bytes.saturating_add(size) <= part.limit
                            && total.saturating_add(size) <= limits.max_bytes;
                        if (total > 0 && !fits) || stored.base_offset >= end {
                            break;
                        }
                        total = total.saturating_add(size);
                        part.bytes = part.bytes.saturating_add(size);
                        part.next = stored.base_offset.saturating_add(stored.records.into());
                        part.batches.push((stored.base_offset, stored.batch));
                    }
                }
                // What was there a moment ago has just gone.
                Err(ReadError::OutOfRange { .. }) => {
                    part.id = Err(ResponseError::OffsetOutOfRange);
                    failed = true;
                }
                Err(error) => {
                    warn!(%error, partition = %id, "cannot read");
                    part.id = Err(ResponseError::KafkaStorageError);
                    failed = true;
                }
            }
        }
        failed || total >= limits.min_bytes
    }

    /// Places cost memory; they are found again without.
    fn forget(&mut self) {
        if self.cursors.len() > CURSORS_MAX {
            self.cursors.clear();
        }
    }
}

fn size(bytes: i32) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}

/// No session was ever given out, so no client can be in one.
fn check_session(request: &FetchRequest) -> Result<(), ResponseError> {
    if request.session_id != 0 {
        Err(ResponseError::FetchSessionIdNotFound)
    } else {
        Ok(())
    }
}

fn resolve(context: &Context, asked: FetchTopic) -> TopicPart {
    let found = topic::find(&context.broker, &asked.topic, asked.topic_id);
    let partitions = asked.partitions.into_iter().map(|asked: FetchPartition| {
        let id = match &found {
            Ok(topic) => topic::partition(topic, asked.partition)
                .ok_or(ResponseError::UnknownTopicOrPartition),
            Err(error) => Err(*error),
        };
        let next = u64::try_from(asked.fetch_offset);
        PartitionPart {
            index: asked.partition,
            id: id
                .and_then(|id| check_epoch(asked.current_leader_epoch).map(|()| id))
                .and_then(|id| {
                    next.map(|_| id)
                        .map_err(|_| ResponseError::OffsetOutOfRange)
                }),
            next: next.unwrap_or(0),
            limit: size(asked.partition_max_bytes),
            batches: Vec::new(),
            bytes: 0,
            start: -1,
            end: -1,
            decided: -1,
            aborted: Vec::new(),
        }
    });
    TopicPart {
        partitions: partitions.collect(),
        name: asked.topic,
        uuid: asked.topic_id,
    }
}

/// Adds which transactions were aborted of those whose records are in the answer.
fn tell_aborted(context: &Context, topics: &mut [TopicPart]) {
    for part in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        if let (Ok(id), Some((first, _))) = (part.id, part.batches.first()) {
            let aborted = context.broker.aborted(id, *first, part.next).into_iter();
            part.aborted = aborted
                .map(|aborted| (aborted.producer, to_wire(aborted.first)))
                .collect();
            // What was dropped since it was read may have been aborted, which is not known any more.
            if context.broker.directory().topic_of(id).is_none() {
                part.id = Err(ResponseError::UnknownTopicOrPartition);
            }
            part.drop_below(context.broker.bounds(id).start);
        }
    }
}

impl PartitionPart {
    /// Leaves out batches all of whose offsets are below `start`.
    fn drop_below(&mut self, start: Offset) {
        let bases = self.batches.iter().map(|(base, _)| *base);
        let ends = bases.skip(1).chain([self.next]);
        let gone = ends.take_while(|end| *end <= start).count();
        self.batches.drain(..gone);
    }
}

/// The ends of the partitions: where something new would come.
fn ends(topics: &[TopicPart], committed: bool) -> Vec<(PartitionId, Offset)> {
    let parts = topics.iter().flat_map(|topic| &topic.partitions);
    let end = |part: &PartitionPart| match committed {
        true => part.decided,
        false => part.end,
    };
    parts
        .filter_map(|part| Some((part.id.ok()?, u64::try_from(end(part)).ok()?)))
        .collect()
}
