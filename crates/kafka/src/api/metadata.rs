//! Metadata (key 3), versions 0-13: brokers, topics, partitions.
//!
//! Topics are asked for by name, from version 12 on also by id (KIP-516). All of them are asked
//! for with no list, or in version 0 with an empty one. A topic that does not exist is made if both
//! the client (version 4 on) and the options allow it. Topics whose names Kafka does not allow,
//! and those another client has for itself, are not shown.

use std::collections::BTreeSet;
use std::sync::Arc;

use forebay_broker::{Refusal, TopicInfo};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::{LEADER_EPOCH, NODE};
use crate::connection::Context;
use crate::error::code;
use crate::{topic, topic_config};

/// What a client may do with a topic, as bits of `AclOperation`: read, write, create, delete,
/// alter, describe, and describe and alter the configuration.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// What a client may do with the cluster: create, alter, describe, act in it, describe and alter
/// the configuration, write idempotently.
pub(super) const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// The first version in which a topic may be told without a name.
const NAMELESS_SINCE: i16 = 12;
/// Topics taken from the directory at a time.
const PAGE: usize = 1000;

pub(super) async fn answer(
    context: &Context,
    version: i16,
    request: MetadataRequest,
) -> MetadataResponse {
    let topics = match request.topics {
        None => all(context),
        Some(topics) if topics.is_empty() && version == 0 => all(context),
        Some(topics) => some(context, version, topics, request.allow_auto_topic_creation).await,
    };
    let mut topics = topics;
    if request.include_topic_authorized_operations {
        for topic in &mut topics {
            topic.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }
    let mut response = MetadataResponse::default()
        .with_brokers(vec![
            MetadataResponseBroker::default()
                .with_node_id(NODE)
                .with_host(StrBytes::from_string(context.host.clone()))
                .with_port(i32::from(context.port)),
        ])
        .with_cluster_id(Some(StrBytes::from_string(
            context.options.cluster_id.clone(),
        )))
        .with_controller_id(NODE)
        .with_topics(topics);
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response
}

fn all(context: &Context) -> Vec<MetadataResponseTopic> {
    let directory = context.broker.directory();
    let mut topics = Vec::new();
    let mut after: Option<Arc<str>> = None;
    loop {
        let page = directory.topics("", after.as_deref(), PAGE);
        topics.extend(
            page.iter()
                .filter(|topic| topic::visible(topic))
                .map(|topic| show(topic)),
        );
        match page.last() {
            Some(last) if page.len() == PAGE => after = Some(last.name.clone()),
            _ => return topics,
        }
    }
}

async fn some(
    context: &Context,
    version: i16,
    asked: Vec<MetadataRequestTopic>,
    create: bool,
) -> Vec<MetadataResponseTopic> {
    // A topic asked for twice is told once, so that a small question has no huge answer.
    let mut names = BTreeSet::new();
    let mut uuids = BTreeSet::new();
    let mut topics = Vec::with_capacity(asked.len());
    for asked in asked {
        match asked.name {
            Some(name) => {
                if names.insert(name.clone()) {
                    topics.push(by_name(context, name, create).await);
                }
            }
            None => {
                if uuids.insert(asked.topic_id) {
                    topics.push(by_uuid(context, version, asked.topic_id));
                }
            }
        }
    }
    topics
}

fn by_uuid(context: &Context, version: i16, uuid: Uuid) -> MetadataResponseTopic {
    match topic::by_uuid(&context.broker, uuid) {
        Some(topic) => show(&topic),
        None => MetadataResponseTopic::default()
            .with_error_code(ResponseError::UnknownTopicId.code())
            .with_topic_id(uuid)
            .with_name((version < NAMELESS_SINCE).then(TopicName::default)),
    }
}

async fn by_name(context: &Context, name: TopicName, create: bool) -> MetadataResponseTopic {
    if let Some(topic) = topic::by_name(&context.broker, &name) {
        return show(&topic);
    }
    let found = if !topic::legal(&name) {
        Err(ResponseError::InvalidTopicException)
    } else if create && context.options.auto_create_topics {
        make(context, &name).await
    } else {
        Err(ResponseError::UnknownTopicOrPartition)
    };
    match found {
        Ok(topic) => show(&topic),
        Err(error) => MetadataResponseTopic::default()
            .with_error_code(error.code())
            .with_name(Some(name)),
    }
}

async fn make(context: &Context, name: &str) -> Result<Arc<TopicInfo>, ResponseError> {
    let config = topic_config::default_config(context.options.default_partitions);
    match context.broker.create_topic(name, config).await {
        Ok(topic) => Ok(topic),
        Err(Refusal::TopicExists(topic)) if topic::visible(&topic) => Ok(topic),
        Err(Refusal::TopicExists(_)) => Err(ResponseError::TopicAuthorizationFailed),
        Err(Refusal::Stopping | Refusal::StorageFull(_)) => Err(ResponseError::LeaderNotAvailable),
        Err(refusal) => Err(code(&refusal)),
    }
}

fn show(topic: &TopicInfo) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions).map(|(index, _)| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(NODE)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![NODE])
            .with_isr_nodes(vec![NODE])
    });
    MetadataResponseTopic::default()
        .with_name(Some(topic::name_of(topic)))
        .with_topic_id(topic::uuid_of(topic.id))
        .with_partitions(partitions.collect())
}
