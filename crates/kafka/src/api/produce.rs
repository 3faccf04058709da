//! Produce (key 0), versions 3-13: append record batches.
//!
//! Each partition brings exactly one batch of format 2, as in Kafka; it is checked (structure,
//! checksum, size, every record) and stored as it came, with its offsets assigned. `acks=all`
//! answers after the sync, `acks=1` when the batch has its place, `acks=0` not at all, and if that
//! fails the connection is closed. A repeated batch of an idempotent producer is answered with the
//! offset it got the first time. zstd needs version 7 (KIP-110), topic ids version 13 (KIP-516).
//! Compacted topics take no record without a key: INVALID_RECORD, with the numbers of those that have
//! none. Topics with `message.timestamp.type=LogAppendTime` give every record the time of the broker,
//! which the response tells. A batch of a transaction is taken if its partition was added to the
//! transaction before, and of no life of the producer but the latest. While the disk is full:
//! KAFKA_STORAGE_ERROR, which clients retry, and a throttle time.

use bytes::Bytes;
use forebay_base::PartitionId;
use forebay_broker::{
    Command, Durability, Outgoing as Message, Publish, Refusal, Reply, RequestId, Target,
    TopicInfo, WhenFull,
};
use forebay_record::{Batch, BatchError, Compression};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, ResponseKind, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::to_wire;
use crate::connection::{Context, Ended};
use crate::error::Failure;
use crate::outgoing::Outgoing;
use crate::topic;
use crate::topic_config;

/// The first version in which clients know zstd.
const ZSTD_SINCE: i16 = 7;
/// The first version whose response has room for words.
const MESSAGES_SINCE: i16 = 8;

/// A produce request whose response is due.
#[derive(Debug)]
pub(crate) struct Waiting {
    version: i16,
    correlation_id: i32,
    /// Whether the client wants an answer.
    answered: bool,
    topics: Vec<TopicPart>,
    bytes: usize,
    /// The command on its way; `None` if nothing of the request came so far.
    request: Option<RequestId>,
    /// Why the broker did not take the command.
    refusal: Option<Refusal>,
}

#[derive(Debug)]
struct TopicPart {
    name: TopicName,
    uuid: Uuid,
    partitions: Vec<PartitionPart>,
}

#[derive(Debug)]
struct PartitionPart {
    index: i32,
    /// Its batch is on the way, or why it is not.
    sent: Result<Sent, Failure>,
}

/// A batch on its way.
#[derive(Clone, Copy, Debug)]
struct Sent {
    partition: PartitionId,
    /// The time all its records got, -1 if they keep their own.
    append_time: i64,
}

/// Checks a request and hands to the broker what is right in it. Waits while the broker is busy,
/// but not for the commit.
pub(crate) async fn submit(
    context: &Context,
    version: i16,
    correlation_id: i32,
    request: ProduceRequest,
) -> Waiting {
    let whole = check_whole(&request);
    let durability = match request.acks {
        -1 => Durability::Synced,
        _ => Durability::Written,
    };
    let answered = request.acks != 0;
    let mut messages = Vec::new();
    let topics = request.topic_data.into_iter().map(|data| {
        let found = topic::find(&context.broker, &data.name, data.topic_id);
        let partitions = data.partition_data.into_iter().map(|data| {
            let sent = match (&whole, &found) {
                (Err(failure), _) => Err(failure.clone()),
                (_, Err(error)) => Err(Failure::from(*error)),
                (Ok(()), Ok(topic)) => accept(context, version, topic, data.index, data.records),
            };
            PartitionPart {
                index: data.index,
                sent: sent.map(|(sent, batch)| {
                    messages.push(Message {
                        target: Target::Partition(sent.partition),
                        batch,
                        key_hash: None,
                        not_before: None,
                        identity: None,
                        lives_ms: None,
                    });
                    sent
                }),
            }
        });
        TopicPart {
            partitions: partitions.collect(),
            name: data.name,
            uuid: data.topic_id,
        }
    });
    let mut waiting = Waiting {
        version,
        correlation_id,
        answered,
        topics: topics.collect(),
        bytes: 0,
        request: None,
        refusal: None,
    };
    waiting.bytes = messages.iter().map(|one| one.batch.bytes().len()).sum();
    if !messages.is_empty() {
        let publish = Command::Publish(Publish {
            messages,
            durability,
            when_full: WhenFull::Refuse,
        });
        match context.session.submit(publish).await {
            Ok(request) => waiting.request = Some(request),
            Err(refusal) => waiting.refusal = Some(refusal),
        }
    }
    waiting
}

fn check_whole(request: &ProduceRequest) -> Result<(), Failure> {
    if !(-1..=1).contains(&request.acks) {
        return Err(Failure::new(
            ResponseError::InvalidRequiredAcks,
            "acks must be -1, 0 or 1",
        ));
    }
    Ok(())
}

fn accept(
    context: &Context,
    version: i16,
    topic: &TopicInfo,
    index: i32,
    records: Option<Bytes>,
) -> Result<(Sent, Batch), Failure> {
    let partition = topic::partition(topic, index).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let mut records = records.unwrap_or_default();
    let invalid = |why: &str| Failure::new(ResponseError::InvalidRecord, why);
    if records.is_empty() {
        return Err(invalid(
            "exactly one record batch is expected, there is none",
        ));
    }
    let limit = usize::try_from(topic.config.max_message_bytes).unwrap_or(usize::MAX);
    let batch = Batch::take(&mut records, limit)?;
    if !records.is_empty() {
        return Err(invalid(
            "exactly one record batch is expected, there is more",
        ));
    }
    if batch.header().is_transactional() && batch.header().producer_id < 0 {
        return Err(invalid("a batch of a transaction without a producer id"));
    }
    if version < ZSTD_SINCE && batch.header().compression() == Compression::Zstd {
        return Err(Failure::new(
            ResponseError::UnsupportedCompressionType,
            "zstd needs version 7 of the produce request",
        ));
    }
    let most = context.options.max_decompressed_bytes;
    match batch.validate_records(most) {
        Ok(()) => {}
        // The client cannot make it smaller by splitting the batch, which it would try.
        Err(refusal @ BatchError::TooLarge { .. }) => return Err(invalid(&refusal.to_string())),
        Err(refusal) => return Err(refusal.into()),
    }
    if topic.config.compaction.is_some() {
        let keyless = batch.without_key(most)?;
        if !keyless.is_empty() {
            let why = "One or more records have been rejected: a compacted topic takes none \
                       without a key";
            return Err(Failure {
                records: keyless,
                ..invalid(why)
            });
        }
    }
    let mut sent = Sent {
        partition,
        append_time: -1,
    };
    if !topic_config::appends_its_time(&topic.config) {
        return Ok((sent, batch));
    }
    sent.append_time = context.broker.now().0;
    Ok((sent, batch.with_append_time(sent.append_time)))
}

fn record_errors(records: &[u32]) -> Vec<BatchIndexAndErrorMessage> {
    const WHY: &str = "Compacted topic cannot accept message without key";
    let errors = records.iter().map(|number| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(i32::try_from(*number).unwrap_or(i32::MAX))
            .with_batch_index_error_message(Some(StrBytes::from_static_str(WHY)))
    });
    errors.collect()
}

impl Waiting {
    /// The command whose reply is needed first; `None` if the response can be made now.
    pub(crate) fn request(&self) -> Option<RequestId> {
        self.request
    }

    /// Bytes of the batches on their way.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the response. `reply` is the reply to [`Self::request`].
    pub(crate) fn finish(
        self,
        context: &Context,
        reply: Option<Result<Reply, Refusal>>,
        out: &mut Outgoing,
    ) -> Result<(), Ended> {
        let placed = match (reply, self.refusal) {
            (Some(Ok(Reply::Published(placed))), _) => Ok(placed),
            (Some(Err(refusal)), _) | (None, Some(refusal)) => Err(Failure::from(refusal)),
            (None, None) => Ok(Vec::new()),
            (Some(Ok(_)), _) => Err(Failure::from(ResponseError::UnknownServerError)),
        };
        let mut placed = match placed {
            Ok(placed) => Ok(placed.into_iter()),
            Err(failure) => Err(failure),
        };
        let mut throttle_ms = 0;
        let mut failed = None;
        let topics = self.topics.into_iter().map(|part| {
            let partitions = part.partitions.into_iter().map(|part| {
                let result = part.sent.and_then(|sent| {
                    let placed = match &mut placed {
                        Ok(placed) => placed.next(),
                        Err(failure) => return Err(failure.clone()),
                    };
                    match placed {
                        Some(Ok(placed)) => Ok((sent, placed.base_offset)),
                        Some(Err(refusal)) => Err(Failure::from(refusal)),
                        None => Err(Failure::from(ResponseError::UnknownServerError)),
                    }
                });
                let response = PartitionProduceResponse::default().with_index(part.index);
                match result {
                    Ok((sent, base_offset)) => response
                        .with_base_offset(to_wire(base_offset))
                        .with_log_append_time_ms(sent.append_time)
                        .with_log_start_offset(to_wire(
                            context.broker.bounds(sent.partition).start,
                        )),
                    Err(failure) => {
                        throttle_ms = throttle_ms.max(failure.throttle_ms());
                        failed.get_or_insert_with(|| failure.clone());
                        let response = response
                            .with_error_code(failure.code())
                            .with_base_offset(-1);
                        match self.version >= MESSAGES_SINCE {
                            true => response
                                .with_record_errors(record_errors(&failure.records))
                                .with_error_message(failure.text()),
                            false => response,
                        }
                    }
                }
            });
            TopicProduceResponse::default()
                .with_partition_responses(partitions.collect())
                .with_name(part.name)
                .with_topic_id(part.uuid)
        });
        let responses: Vec<_> = topics.collect();
        if !self.answered {
            return match failed {
                None => Ok(()),
                Some(failure) => Err(Ended::Unanswered(
                    failure.message.unwrap_or_else(|| failure.error.to_string()),
                )),
            };
        }
        let response = ProduceResponse::default()
            .with_responses(responses)
            .with_throttle_time_ms(throttle_ms);
        out.push_response(
            ApiKey::Produce,
            self.version,
            self.correlation_id,
            &ResponseKind::Produce(response),
        )?;
        Ok(())
    }
}
