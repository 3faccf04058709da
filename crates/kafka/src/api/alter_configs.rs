//! AlterConfigs (key 33), versions 0-2, and IncrementalAlterConfigs (key 44), versions 0-1 (KIP-339):
//! change the settings of topics.
//!
//! The first puts every setting it does not name back to its default; the second changes single ones:
//! sets them, deletes them, and adds to or takes from lists. All of a topic or nothing changes.
//! `validate_only` checks and changes nothing. The broker's own settings are those it was started
//! with: INVALID_REQUEST, and so for other resources.

use std::collections::{BTreeMap, BTreeSet};

use forebay_broker::TopicConfig;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as Altered;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as Changed;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::describe_configs::TOPIC;
use crate::connection::Context;
use crate::error::Failure;
use crate::topic;
use crate::topic_config::{self, Kind, SETTINGS};

/// What is done to a setting.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// A setting, what is done to it, and with what.
type Change = (StrBytes, i8, Option<StrBytes>);
/// A type and a name.
type Resource = (i8, StrBytes);

pub(super) async fn answer(
    context: &Context,
    request: AlterConfigsRequest,
) -> AlterConfigsResponse {
    let resources = request.resources.into_iter().map(|one| {
        let changes = one.configs.into_iter();
        let changes = changes.map(|config| (config.name, SET, config.value));
        ((one.resource_type, one.resource_name), changes.collect())
    });
    let altered = alter_all(context, resources.collect(), request.validate_only, true).await;
    let responses = altered.into_iter().map(|((kind, name), result)| {
        let (code, text) = told(result);
        Altered::default()
            .with_error_code(code)
            .with_error_message(text)
            .with_resource_type(kind)
            .with_resource_name(name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

pub(super) async fn answer_incremental(
    context: &Context,
    request: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let resources = request.resources.into_iter().map(|one| {
        let changes = one.configs.into_iter();
        let changes = changes.map(|config| (config.name, config.config_operation, config.value));
        ((one.resource_type, one.resource_name), changes.collect())
    });
    let altered = alter_all(context, resources.collect(), request.validate_only, false).await;
    let responses = altered.into_iter().map(|((kind, name), result)| {
        let (code, text) = told(result);
        Changed::default()
            .with_error_code(code)
            .with_error_message(text)
            .with_resource_type(kind)
            .with_resource_name(name)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn told(result: Result<(), Failure>) -> (i16, Option<StrBytes>) {
    match result {
        Ok(()) => (0, None),
        Err(failure) => (failure.code(), failure.text()),
    }
}

async fn alter_all(
    context: &Context,
    resources: Vec<(Resource, Vec<Change>)>,
    validate_only: bool,
    reset: bool,
) -> Vec<(Resource, Result<(), Failure>)> {
    let mut times: BTreeMap<Resource, u32> = BTreeMap::new();
    for (resource, _) in &resources {
        *times.entry(resource.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(resources.len());
    for (resource, changes) in resources {
        // One that is there twice is answered once.
        let Some(times) = times.remove(&resource) else {
            continue;
        };
        let result = match times {
            1 => alter(context, &resource, &changes, validate_only, reset).await,
            _ => Err(invalid("each resource may be there once")),
        };
        results.push((resource, result));
    }
    results
}

async fn alter(
    context: &Context,
    (kind, name): &Resource,
    changes: &[Change],
    validate_only: bool,
    reset: bool,
) -> Result<(), Failure> {
    if *kind != TOPIC {
        return Err(invalid("only the settings of topics can be changed"));
    }
    if !topic::legal(name) {
        return Err(ResponseError::InvalidTopicException.into());
    }
    let topic =
        topic::by_name(&context.broker, name).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let mut config = topic.config.clone();
    if reset {
        topic_config::reset(&mut config)?;
    }
    let mut seen = BTreeSet::new();
    for (name, operation, value) in changes {
        if !seen.insert(name) {
            return Err(invalid("each setting may be there once"));
        }
        change(&mut config, name, *operation, value.as_deref())?;
    }
    if !validate_only && config != topic.config {
        context.broker.alter_topic(topic.id, config).await?;
    }
    Ok(())
}

fn change(
    config: &mut TopicConfig,
    name: &str,
    operation: i8,
    value: Option<&str>,
) -> Result<(), Failure> {
    if operation == DELETE {
        return topic_config::apply(config, name, None);
    }
    let value = value.ok_or_else(|| invalid("a setting without a value"))?;
    if operation == SET {
        return topic_config::apply(config, name, Some(value));
    }
    let setting = SETTINGS.iter().find(|setting| setting.name == name);
    let Some(setting) = setting.filter(|setting| setting.kind == Kind::List) else {
        let why = format!("{name} is not a list that could be added to or taken from");
        return Err(Failure::new(ResponseError::InvalidConfig, why));
    };
    let there = topic_config::value_of(config, setting);
    let mut words = topic_config::words(&there);
    let changed = topic_config::words(value);
    match operation {
        APPEND => {
            let new = changed.into_iter().filter(|word| !there.contains(word));
            words.extend(new);
        }
        SUBTRACT => words.retain(|word| !changed.contains(word)),
        _ => return Err(invalid("an operation that does not exist")),
    }
    let words = words.join(",");
    topic_config::apply(config, name, Some(&words))
}

fn invalid(why: &str) -> Failure {
    Failure::new(ResponseError::InvalidRequest, why)
}
