//! How topics are called and found in Kafka's way: by name and index, or by UUID.

use std::sync::Arc;

use forebay_base::{PartitionId, TopicId};
use forebay_broker::{Broker, TopicInfo};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// Longest name of a topic, bytes. Kafka makes directories of names, and so limits them.
const NAME_MAX_BYTES: usize = 249;

/// Whether Kafka allows this name.
pub(crate) fn legal(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX_BYTES
        && name != "."
        && name != ".."
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether Kafka clients see the topic: its name is legal and no other client has it for itself.
pub(crate) fn visible(topic: &TopicInfo) -> bool {
    legal(&topic.name) && topic.config.exclusive.is_none()
}

/// The topic of that name, if Kafka clients see it.
pub(crate) fn by_name(broker: &Broker, name: &str) -> Option<Arc<TopicInfo>> {
    broker
        .directory()
        .topic(name)
        .filter(|topic| visible(topic))
}

/// The topic of that UUID, if Kafka clients see it.
pub(crate) fn by_uuid(broker: &Broker, uuid: Uuid) -> Option<Arc<TopicInfo>> {
    let id = id_of(uuid)?;
    broker
        .directory()
        .topic_by_id(id)
        .filter(|topic| visible(topic))
}

/// The topic of a request that names it by UUID if that is not nil, else by name.
pub(crate) fn find(
    broker: &Broker,
    name: &TopicName,
    uuid: Uuid,
) -> Result<Arc<TopicInfo>, ResponseError> {
    if uuid.is_nil() {
        by_name(broker, name).ok_or(ResponseError::UnknownTopicOrPartition)
    } else {
        by_uuid(broker, uuid).ok_or(ResponseError::UnknownTopicId)
    }
}

/// A partition by its index.
pub(crate) fn partition(topic: &TopicInfo, index: i32) -> Option<PartitionId> {
    let index = usize::try_from(index).ok()?;
    topic.partitions.get(index).copied()
}

/// A name as a response carries it.
pub(crate) fn name_of(topic: &TopicInfo) -> TopicName {
    TopicName(StrBytes::from_string(topic.name.to_string()))
}

/// The first half of every topic's UUID: "foreba", then version 8 (RFC 9562) and a constant.
const UUID_PREFIX: u64 = 0x666f_7265_6261_8079;
/// The two top bits of the second half: the variant of RFC 9562.
const UUID_VARIANT: u64 = 0b10 << 62;

/// The UUID by which Kafka clients know a topic (KIP-516). The same as long as the topic lives.
pub(crate) fn uuid_of(id: TopicId) -> Uuid {
    Uuid::from_u64_pair(UUID_PREFIX, UUID_VARIANT | (id.0 & !(0b11 << 62)))
}

/// The topic a UUID stands for, if it is one of [`uuid_of`]'s.
fn id_of(uuid: Uuid) -> Option<TopicId> {
    let (prefix, rest) = uuid.as_u64_pair();
    (prefix == UUID_PREFIX && rest >> 62 == 0b10).then_some(TopicId(rest & !(0b11 << 62)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_kafka_allows_them() {
        for name in ["a", "a.b_c-D9", "...", &"x".repeat(249)] {
            assert!(legal(name), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "ü", &"x".repeat(250)] {
            assert!(!legal(name), "{name}");
        }
    }

    #[test]
    fn a_uuid_leads_back_to_its_topic() {
        for id in [0, 1, 77, (1 << 62) - 1] {
            let uuid = uuid_of(TopicId(id));
            assert_eq!(id_of(uuid), Some(TopicId(id)));
            assert_eq!(uuid.get_version_num(), 8);
        }
        assert_ne!(uuid_of(TopicId(1)), uuid_of(TopicId(2)));
        assert_eq!(id_of(Uuid::nil()), None);
        assert_eq!(id_of(Uuid::max()), None);
    }
}
