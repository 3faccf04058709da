//! OffsetDelete (key 47), version 0: forget what a group has committed for some partitions (KIP-496).
//!
//! Not for topics that members of the group are subscribed to: GROUP_SUBSCRIBED_TO_TOPIC. What
//! members of a group that is not one of consumers read is not known: NON_EMPTY_GROUP.

use forebay_broker::{Command, GroupDescription, GroupPhase, Reply};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use crate::connection::Context;
use crate::error::coordinator_code;
use crate::topic;

pub(super) async fn answer(
    context: &Context,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    match delete(context, request).await {
        Ok(topics) => OffsetDeleteResponse::default().with_topics(topics),
        Err(error) => OffsetDeleteResponse::default().with_error_code(error.code()),
    }
}

async fn delete(
    context: &Context,
    request: OffsetDeleteRequest,
) -> Result<Vec<OffsetDeleteResponseTopic>, ResponseError> {
    let group = request.group_id.to_string();
    let command = Command::DescribeGroup {
        group: group.clone(),
    };
    let described = match context.session.call(command).await {
        Ok(Reply::GroupDescription(description)) => description,
        Ok(_) => return Err(ResponseError::UnknownServerError),
        Err(refusal) => return Err(coordinator_code(&refusal)),
    };
    let empty = matches!(described.phase, GroupPhase::Empty);
    if !empty && described.protocol_type != "consumer" {
        return Err(ResponseError::NonEmptyGroup);
    }
    let mut partitions = Vec::new();
    let topics = request.topics.into_iter().map(|asked| {
        let subscribed = !empty && is_subscribed(&described, &asked.name);
        let found = topic::by_name(&context.broker, &asked.name);
        look_up(asked, |index| {
            let partition = found
                .as_ref()
                .and_then(|topic| topic::partition(topic, index))
                .ok_or(ResponseError::UnknownTopicOrPartition)?;
            if subscribed {
                return Err(ResponseError::GroupSubscribedToTopic);
            }
            partitions.push(partition);
            Ok(())
        })
    });
    let topics = topics.collect();
    if !partitions.is_empty() {
        let command = Command::DeleteOffsets { group, partitions };
        let deleted = context.session.call(command).await;
        deleted.map_err(|refusal| coordinator_code(&refusal))?;
    }
    Ok(topics)
}

fn look_up(
    asked: OffsetDeleteRequestTopic,
    mut check: impl FnMut(i32) -> Result<(), ResponseError>,
) -> OffsetDeleteResponseTopic {
    let partitions = asked.partitions.into_iter().map(|asked| {
        let checked = check(asked.partition_index);
        OffsetDeleteResponsePartition::default()
            .with_partition_index(asked.partition_index)
            .with_error_code(checked.map_or_else(|error| error.code(), |()| 0))
    });
    OffsetDeleteResponseTopic::default()
        .with_partitions(partitions.collect())
        .with_name(asked.name)
}

/// Whether a member says that it reads the topic, or says what cannot be understood.
fn is_subscribed(group: &GroupDescription, topic: &str) -> bool {
    let mut members = group.members.iter();
    members.any(|member| {
        let topics = subscription(&member.metadata);
        topics.is_none_or(|topics| topics.contains(&topic.as_bytes()))
    })
}

/// The topics of a consumer's subscription: a version of 16 bits, then an array of strings.
fn subscription(mut metadata: &[u8]) -> Option<Vec<&[u8]>> {
    metadata = metadata.get(2..)?;
    let (count, mut rest) = metadata.split_first_chunk()?;
    let mut topics = Vec::new();
    for _ in 0..i32::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let (topic, after) = after.split_at_checked(length)?;
        topics.push(topic);
        rest = after;
    }
    Some(topics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_read_or_refused() {
        let bytes = b"\0\x03\0\0\0\x02\0\x01a\0\x02bc and more";
        assert_eq!(subscription(bytes), Some(vec![&b"a"[..], b"bc"]));
        assert_eq!(subscription(b"\0\0\0\0\0\0"), Some(Vec::new()));
        for broken in [
            &b""[..],
            b"\0\x03\0\0\0",
            b"\0\x03\x7f\xff\xff\xff\0\x01a",
            b"\0\x03\0\0\0\x01\xff\xff",
        ] {
            assert_eq!(subscription(broken), None);
        }
    }
}
