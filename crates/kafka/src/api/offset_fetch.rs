//! OffsetFetch (key 9), versions 1-9: how far groups have read.
//!
//! One group up to version 7, several from version 8 on. Without a list of topics (version 2 on):
//! all that the group has committed. A partition without a committed offset, or that does not
//! exist, is answered with -1 and no error, as in Kafka. With `require_stable` (version 7 on) a
//! partition that a transaction is about to commit for is answered UNSTABLE_OFFSET_COMMIT (KIP-447).

use std::collections::{BTreeMap, BTreeSet};

use forebay_base::PartitionId;
use forebay_broker::{Command, Committed, Reply, TransactionCommand};
use hashbrown::{HashMap, HashSet};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::connection::Context;
use crate::error::coordinator_code;
use crate::topic;

/// Partitions by topic, in the order asked.
type Asked = Vec<(TopicName, Vec<i32>)>;
/// What was found for them.
type Found = Vec<(TopicName, Vec<(i32, Answer)>)>;
/// What was committed for one partition, if anything.
type Answer = Result<Option<Committed>, ResponseError>;

pub(super) async fn answer(
    context: &Context,
    version: i16,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    if version <= 7 {
        let asked = request.topics.map(|topics| {
            let topics = topics.into_iter();
            topics
                .map(|topic| (topic.name, topic.partition_indexes))
                .collect()
        });
        let response = OffsetFetchResponse::default();
        let stable = request.require_stable;
        return match find(context, &request.group_id, asked.clone(), stable).await {
            Ok(found) => response.with_topics(one_group(found, 0)),
            // Version 1 has no place for the error but in the partitions.
            Err(error) => response
                .with_error_code(if version >= 2 { error.code() } else { 0 })
                .with_topics(one_group(nothing(asked.unwrap_or_default()), error.code())),
        };
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    // A group asked for twice is told once, so that a small question has no huge answer.
    let mut seen = BTreeSet::new();
    for group in request.groups {
        if !seen.insert(group.group_id.clone()) {
            continue;
        }
        let asked = group.topics.map(|topics| {
            let topics = topics.into_iter();
            topics
                .map(|topic| (topic.name, topic.partition_indexes))
                .collect()
        });
        let answer = OffsetFetchResponseGroup::default();
        let answer = match find(context, &group.group_id, asked, request.require_stable).await {
            Ok(found) => answer.with_topics(of_several(found)),
            Err(error) => answer.with_error_code(error.code()),
        };
        groups.push(answer.with_group_id(group.group_id));
    }
    OffsetFetchResponse::default().with_groups(groups)
}

async fn find(
    context: &Context,
    group: &str,
    asked: Option<Asked>,
    stable: bool,
) -> Result<Found, ResponseError> {
    let Some(asked) = asked else {
        let mut all = committed(context, group, None).await?;
        let mut held = HashSet::new();
        if stable {
            let ids = all.iter().map(|(id, _)| *id).collect();
            held = self::held(context, group, ids).await?;
            // What a transaction held a moment before is committed now, or held still.
            all = committed(context, group, None).await?;
        }
        return Ok(by_topic(context, all, &held));
    };
    let mut ids: Vec<PartitionId> = Vec::new();
    let mut topics = Vec::with_capacity(asked.len());
    for (name, indexes) in asked {
        let found = topic::by_name(&context.broker, &name);
        let with_ids: Vec<(i32, Option<PartitionId>)> = indexes
            .into_iter()
            .map(|index| {
                let found = found.as_ref();
                (
                    index,
                    found.and_then(|topic| topic::partition(topic, index)),
                )
            })
            .collect();
        ids.extend(with_ids.iter().filter_map(|(_, id)| *id));
        topics.push((name, with_ids));
    }
    // Before the offsets are looked at: what is held then and decided since is told as it was.
    let held = match stable {
        true => held(context, group, ids.clone()).await?,
        false => HashSet::new(),
    };
    let committed: HashMap<PartitionId, Committed> = committed(context, group, Some(ids))
        .await?
        .into_iter()
        .collect();
    let topics = topics.into_iter().map(|(name, indexes)| {
        let partitions = indexes.into_iter().map(|(index, id)| {
            let unstable = id.is_some_and(|id| held.contains(&id));
            let offset = id.and_then(|id| committed.get(&id).cloned());
            match unstable {
                true => (index, Err(ResponseError::UnstableOffsetCommit)),
                false => (index, Ok(offset)),
            }
        });
        (name, partitions.collect())
    });
    Ok(topics.collect())
}

async fn committed(
    context: &Context,
    group: &str,
    partitions: Option<Vec<PartitionId>>,
) -> Result<Vec<(PartitionId, Committed)>, ResponseError> {
    let command = Command::FetchOffsets {
        group: group.to_owned(),
        partitions,
    };
    match context.session.call(command).await {
        Ok(Reply::Offsets(offsets)) => Ok(offsets),
        Ok(_) => Err(ResponseError::UnknownServerError),
        Err(refusal) => Err(coordinator_code(&refusal)),
    }
}

/// The partitions that a transaction holds an offset of the group for.
async fn held(
    context: &Context,
    group: &str,
    partitions: Vec<PartitionId>,
) -> Result<HashSet<PartitionId>, ResponseError> {
    let command = TransactionCommand::Held {
        group: group.to_owned(),
        partitions,
    };
    match context.session.call(Command::Transaction(command)).await {
        Ok(Reply::Partitions(held)) => Ok(held.into_iter().collect()),
        Ok(_) => Err(ResponseError::UnknownServerError),
        Err(refusal) => Err(coordinator_code(&refusal)),
    }
}

fn by_topic(
    context: &Context,
    committed: Vec<(PartitionId, Committed)>,
    held: &HashSet<PartitionId>,
) -> Found {
    let mut topics: BTreeMap<TopicName, Vec<(i32, Answer)>> = BTreeMap::new();
    for (id, offset) in committed {
        let Some(topic) = context.broker.directory().topic_of(id) else {
            continue;
        };
        let index = topic
            .partitions
            .iter()
            .position(|partition| *partition == id);
        let index = index.and_then(|index| i32::try_from(index).ok());
        if let (Some(index), true) = (index, topic::visible(&topic)) {
            let partitions = topics.entry(topic::name_of(&topic)).or_default();
            partitions.push(match held.contains(&id) {
                true => (index, Err(ResponseError::UnstableOffsetCommit)),
                false => (index, Ok(Some(offset))),
            });
        }
    }
    topics.into_iter().collect()
}

fn nothing(asked: Asked) -> Found {
    let topics = asked.into_iter();
    topics
        .map(|(name, indexes)| {
            (
                name,
                indexes.into_iter().map(|index| (index, Ok(None))).collect(),
            )
        })
        .collect()
}

/// Offset, leader epoch, metadata and error code, as a response carries them.
fn parts(answer: Answer) -> (i64, i32, Option<StrBytes>, i16) {
    match answer {
        Ok(Some(committed)) => (
            committed.offset,
            committed.leader_epoch,
            Some(StrBytes::from_string(committed.metadata)),
            0,
        ),
        Ok(None) => (-1, -1, Some(StrBytes::default()), 0),
        Err(error) => (-1, -1, Some(StrBytes::default()), error.code()),
    }
}

fn one_group(found: Found, error_code: i16) -> Vec<OffsetFetchResponseTopic> {
    let topics = found.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, committed)| {
            let (offset, epoch, metadata, unstable) = parts(committed);
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(metadata)
                .with_error_code(match error_code {
                    0 => unstable,
                    whole => whole,
                })
        });
        OffsetFetchResponseTopic::default()
            .with_name(name)
            .with_partitions(partitions.collect())
    });
    topics.collect()
}

fn of_several(found: Found) -> Vec<OffsetFetchResponseTopics> {
    let topics = found.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, committed)| {
            let (offset, epoch, metadata, unstable) = parts(committed);
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(metadata)
                .with_error_code(unstable)
        });
        OffsetFetchResponseTopics::default()
            .with_name(name)
            .with_partitions(partitions.collect())
    });
    topics.collect()
}
