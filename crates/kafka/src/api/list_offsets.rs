//! ListOffsets (key 2), versions 1-10: offsets by time.
//!
//! -1 is the end: the high watermark, or with `read_committed` (version 2 on) the last stable offset,
//! beyond which it finds no time either; -2 the start;
//! -3 the record with the latest timestamp (version 7 on); -4 the start of what is local, which is
//! all (version 8 on); -5 the last tiered record, of which there is none (version 9 on). Any other
//! negative number: UNSUPPORTED_VERSION. A time: the first record at or after it, or -1. A
//! partition that is there twice: INVALID_REQUEST, as in Kafka.

use std::collections::BTreeSet;

use forebay_base::{Offset, PartitionId};
use forebay_broker::{Broker, ReadError};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use tracing::warn;

use super::{LEADER_EPOCH, check_epoch, to_wire};
use crate::connection::Context;
use crate::topic;

/// The isolation level that does not see what is not decided.
const READ_COMMITTED: i8 = 1;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// The first version that tells the leader epoch.
const EPOCH_SINCE: i16 = 4;
/// Where no record is.
const NONE: (i64, i64) = (-1, -1);

pub(super) async fn answer(
    context: &Context,
    version: i16,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let committed = request.isolation_level == READ_COMMITTED;
    let mut seen = BTreeSet::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for asked in request.topics {
        let found = topic::by_name(&context.broker, &asked.name);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for partition in asked.partitions {
            let id = found
                .as_ref()
                .and_then(|topic| topic::partition(topic, partition.partition_index));
            let result = match id {
                None => Err(ResponseError::UnknownTopicOrPartition),
                Some(id) if !seen.insert(id) => Err(ResponseError::InvalidRequest),
                Some(id) => lookup(&context.broker, id, &partition, committed).await,
            };
            let response = ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index);
            partitions.push(match result {
                Ok((offset, timestamp)) => response
                    .with_offset(offset)
                    .with_timestamp(timestamp)
                    .with_leader_epoch(match offset {
                        0.. if version >= EPOCH_SINCE => LEADER_EPOCH,
                        _ => -1,
                    }),
                Err(error) => response.with_error_code(error.code()),
            });
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(asked.name)
                .with_partitions(partitions),
        );
    }
    ListOffsetsResponse::default().with_topics(topics)
}

/// Offset and timestamp.
async fn lookup(
    broker: &Broker,
    id: PartitionId,
    asked: &ListOffsetsPartition,
    committed: bool,
) -> Result<(i64, i64), ResponseError> {
    check_epoch(asked.current_leader_epoch)?;
    let found = match asked.timestamp {
        LATEST if committed => return Ok((to_wire(broker.bounds(id).decided), -1)),
        LATEST => return Ok((to_wire(broker.bounds(id).end), -1)),
        EARLIEST | EARLIEST_LOCAL => return Ok((to_wire(broker.bounds(id).start), -1)),
        LATEST_TIERED => return Ok(NONE),
        MAX_TIMESTAMP => latest(broker, id).await,
        timestamp if timestamp < 0 => return Err(ResponseError::UnsupportedVersion),
        timestamp => broker.offset_for_time(id, timestamp).await,
    };
    match found {
        Ok(found) => {
            let seen = |found: &(Offset, i64)| !committed || found.0 < broker.bounds(id).decided;
            let found = found.filter(seen);
            Ok(found.map_or(NONE, |(offset, timestamp)| (to_wire(offset), timestamp)))
        }
        Err(error) => {
            warn!(%error, partition = %id, "cannot look up an offset by time");
            Err(ResponseError::KafkaStorageError)
        }
    }
}

/// The first record with the latest timestamp.
async fn latest(broker: &Broker, id: PartitionId) -> Result<Option<(Offset, i64)>, ReadError> {
    let bounds = broker.bounds(id);
    if bounds.end <= bounds.start {
        return Ok(None);
    }
    broker.offset_for_time(id, bounds.max_timestamp).await
}
