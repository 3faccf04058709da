//! DescribeConfigs (key 32), versions 1-4: the settings of topics and of the broker.
//!
//! Topics have every setting that `topic_config` lists, with where its value comes from. The broker
//! shows the few that tools look at. Other resources: INVALID_REQUEST.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::NODE;
use crate::connection::Context;
use crate::error::Failure;
use crate::topic;
use crate::topic_config::{self, Kind, SETTINGS};

/// Resource types.
pub(super) const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Where a value comes from: the topic itself.
pub(super) const SOURCE_TOPIC: i8 = 1;
/// The options the program was started with.
const SOURCE_STATIC: i8 = 4;
/// Nobody has set it.
pub(super) const SOURCE_DEFAULT: i8 = 5;

struct Entry {
    name: &'static str,
    value: String,
    kind: Kind,
    source: i8,
    read_only: bool,
}

pub(super) fn answer(
    context: &Context,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let synonyms = request.include_synonyms;
    // What is asked for twice is told once, so that a small question has no huge answer.
    let mut seen = BTreeSet::new();
    let resources = request.resources.into_iter();
    let resources =
        resources.filter(|one| seen.insert((one.resource_type, one.resource_name.clone())));
    let results = resources.map(|resource| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_error_message(None);
        let result = match entries(context, &resource) {
            Ok(entries) => {
                let wanted = |entry: &Entry| match &resource.configuration_keys {
                    Some(keys) if !keys.is_empty() => keys.iter().any(|key| **key == *entry.name),
                    _ => true,
                };
                let shown = entries.into_iter().filter(wanted);
                result.with_configs(shown.map(|entry| show(entry, synonyms)).collect())
            }
            Err(failure) => result
                .with_error_code(failure.code())
                .with_error_message(failure.text()),
        };
        result.with_resource_name(resource.resource_name)
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn entries(context: &Context, resource: &DescribeConfigsResource) -> Result<Vec<Entry>, Failure> {
    match resource.resource_type {
        TOPIC => topic_entries(context, &resource.resource_name),
        BROKER => broker_entries(context, &resource.resource_name),
        other => Err(Failure::new(
            ResponseError::InvalidRequest,
            format!("resources of type {other} have no settings here"),
        )),
    }
}

fn topic_entries(context: &Context, name: &str) -> Result<Vec<Entry>, Failure> {
    if !topic::legal(name) {
        return Err(ResponseError::InvalidTopicException.into());
    }
    let topic =
        topic::by_name(&context.broker, name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let entries = SETTINGS.iter().map(|setting| {
        let value = topic_config::value_of(&topic.config, setting);
        Entry {
            name: setting.name,
            source: if value == setting.default {
                SOURCE_DEFAULT
            } else {
                SOURCE_TOPIC
            },
            value,
            kind: setting.kind,
            read_only: false,
        }
    });
    Ok(entries.collect())
}

fn broker_entries(context: &Context, name: &str) -> Result<Vec<Entry>, Failure> {
    if !name.is_empty() && name.parse() != Ok(*NODE) {
        return Err(Failure::new(
            ResponseError::InvalidRequest,
            format!("there is no broker {name}, only {}", *NODE),
        ));
    }
    let options = &context.options;
    let entry = |name, kind, value: String| Entry {
        name,
        value,
        kind,
        source: SOURCE_STATIC,
        read_only: true,
    };
    Ok(vec![
        entry(
            "auto.create.topics.enable",
            Kind::Boolean,
            options.auto_create_topics.to_string(),
        ),
        entry("broker.id", Kind::Int, NODE.to_string()),
        entry("compression.type", Kind::String, "producer".to_owned()),
        entry("default.replication.factor", Kind::Int, "1".to_owned()),
        entry(
            "fetch.max.bytes",
            Kind::Int,
            options.max_fetch_bytes.to_string(),
        ),
        entry("log.cleanup.policy", Kind::List, "delete".to_owned()),
        entry(
            "log.retention.ms",
            Kind::Long,
            topic_config::RETENTION_MS_DEFAULT.to_string(),
        ),
        entry(
            "message.max.bytes",
            Kind::Int,
            topic_config::MAX_MESSAGE_BYTES_DEFAULT.to_string(),
        ),
        entry("min.insync.replicas", Kind::Int, "1".to_owned()),
        entry(
            "num.partitions",
            Kind::Int,
            options.default_partitions.to_string(),
        ),
        entry(
            "socket.request.max.bytes",
            Kind::Int,
            options.max_request_bytes.to_string(),
        ),
    ])
}

fn show(entry: Entry, synonyms: bool) -> DescribeConfigsResourceResult {
    let name = StrBytes::from_static_str(entry.name);
    let value = Some(StrBytes::from_string(entry.value));
    let mut result = DescribeConfigsResourceResult::default()
        .with_name(name.clone())
        .with_value(value.clone())
        .with_read_only(entry.read_only)
        .with_config_source(entry.source)
        .with_config_type(entry.kind as i8)
        .with_documentation(None);
    if synonyms {
        result.synonyms = vec![
            DescribeConfigsSynonym::default()
                .with_name(name)
                .with_value(value)
                .with_source(entry.source),
        ];
    }
    result
}
