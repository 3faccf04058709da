//! CreateTopics (key 19), versions 2-7: make topics.
//!
//! 1 to 10,000 partitions, -1 for the default; one replica, or -1. Settings as `topic_config`
//! lists them. Replicas can be assigned by hand only to the one broker there is. `validate_only`
//! checks everything and makes nothing.

use std::collections::BTreeMap;

use forebay_broker::{TopicConfig, TopicInfo};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use kafka_protocol::protocol::StrBytes;

use super::NODE;
use super::describe_configs::{SOURCE_DEFAULT, SOURCE_TOPIC};
use crate::connection::Context;
use crate::error::Failure;
use crate::topic;
use crate::topic_config::{self, PARTITIONS_MAX, SETTINGS};

/// Leaves the number of partitions or replicas to the broker.
const DEFAULT: i32 = -1;

pub(super) async fn answer(
    context: &Context,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let mut times: BTreeMap<_, u32> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(times.len());
    let mut throttle_ms = 0;
    for asked in request.topics {
        // A name that is there twice is answered once.
        let Some(times) = times.remove(&asked.name) else {
            continue;
        };
        let name = asked.name.clone();
        let made = if times > 1 {
            Err(Failure::new(
                ResponseError::InvalidRequest,
                "Duplicate topic name.",
            ))
        } else {
            make(context, &asked, request.validate_only).await
        };
        results.push(match made {
            Ok(result) => result.with_name(name),
            Err(failure) => {
                throttle_ms = throttle_ms.max(failure.throttle_ms());
                CreatableTopicResult::default()
                    .with_name(name)
                    .with_error_code(failure.code())
                    .with_error_message(failure.text())
            }
        });
    }
    CreateTopicsResponse::default()
        .with_topics(results)
        .with_throttle_time_ms(throttle_ms)
}

async fn make(
    context: &Context,
    asked: &CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, Failure> {
    let config = check(context, asked)?;
    if validate_only {
        return Ok(describe(&config));
    }
    let topic = context.broker.create_topic(&asked.name, config).await?;
    Ok(describe(&topic.config).with_topic_id(topic::uuid_of(topic.id)))
}

fn check(context: &Context, asked: &CreatableTopic) -> Result<TopicConfig, Failure> {
    if !topic::legal(&asked.name) {
        return Err(Failure::new(
            ResponseError::InvalidTopicException,
            "a topic's name has 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-', and is \
             not \".\" or \"..\"",
        ));
    }
    if let Some(TopicInfo { name, .. }) = context.broker.directory().topic(&asked.name).as_deref() {
        return Err(Failure::new(
            ResponseError::TopicAlreadyExists,
            format!("Topic '{name}' already exists."),
        ));
    }
    let partitions = partitions(context, asked)?;
    let mut config = topic_config::default_config(partitions);
    for setting in &asked.configs {
        topic_config::apply(&mut config, &setting.name, setting.value.as_deref())?;
    }
    Ok(config)
}

fn partitions(context: &Context, asked: &CreatableTopic) -> Result<u32, Failure> {
    let count = if !asked.assignments.is_empty() {
        if asked.num_partitions != DEFAULT || i32::from(asked.replication_factor) != DEFAULT {
            return Err(Failure::new(
                ResponseError::InvalidRequest,
                "partition count and replication factor must both be -1 if replicas are assigned",
            ));
        }
        check_assignments(&asked.assignments)?;
        i32::try_from(asked.assignments.len()).unwrap_or(i32::MAX)
    } else {
        if !matches!(asked.replication_factor, -1 | 1) {
            return Err(Failure::new(
                ResponseError::InvalidReplicationFactor,
                format!(
                    "replication factor {} is not possible: there is one broker",
                    asked.replication_factor
                ),
            ));
        }
        match asked.num_partitions {
            DEFAULT => return Ok(context.options.default_partitions),
            count => count,
        }
    };
    u32::try_from(count)
        .ok()
        .filter(|_| (1..=PARTITIONS_MAX).contains(&count))
        .ok_or_else(|| {
            Failure::new(
                ResponseError::InvalidPartitions,
                format!("the number of partitions must be from 1 to {PARTITIONS_MAX}"),
            )
        })
}

fn check_assignments(assignments: &[CreatableReplicaAssignment]) -> Result<(), Failure> {
    let mut indexes: Vec<i32> = assignments.iter().map(|one| one.partition_index).collect();
    indexes.sort_unstable();
    let consecutive = indexes
        .iter()
        .zip(0..)
        .all(|(index, expected)| *index == expected);
    let here = assignments.iter().all(|one| one.broker_ids == [NODE]);
    if consecutive && here {
        Ok(())
    } else {
        Err(Failure::new(
            ResponseError::InvalidReplicaAssignment,
            "partitions must be numbered from 0 and be assigned to broker 1",
        ))
    }
}

fn describe(config: &TopicConfig) -> CreatableTopicResult {
    let settings = SETTINGS.iter().map(|setting| {
        let value = topic_config::value_of(config, setting);
        let source = if value == setting.default {
            SOURCE_DEFAULT
        } else {
            SOURCE_TOPIC
        };
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(setting.name))
            .with_value(Some(StrBytes::from_string(value)))
            .with_config_source(source)
    });
    CreatableTopicResult::default()
        .with_error_message(None)
        .with_num_partitions(i32::try_from(config.partitions).unwrap_or(i32::MAX))
        .with_replication_factor(1)
        .with_configs(Some(settings.collect()))
}
