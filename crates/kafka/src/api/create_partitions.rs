//! CreatePartitions (key 37), versions 0-3: give topics more partitions.
//!
//! Up to 10,000. New replicas can be assigned by hand only to the one broker there is. A queue has
//! one partition and gets no more: INVALID_PARTITIONS. `validate_only` checks everything and changes
//! nothing.

use std::collections::BTreeMap;

use forebay_broker::Command;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::NODE;
use crate::connection::Context;
use crate::error::Failure;
use crate::topic;
use crate::topic_config::PARTITIONS_MAX;

pub(super) async fn answer(
    context: &Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let mut times: BTreeMap<_, u32> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.clone()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(times.len());
    for asked in request.topics {
        // A name that is there twice is answered once.
        let Some(times) = times.remove(&asked.name) else {
            continue;
        };
        let grown = match times {
            1 => grow(context, &asked, request.validate_only).await,
            _ => Err(Failure::new(
                ResponseError::InvalidRequest,
                "Duplicate topic in request.",
            )),
        };
        let result = CreatePartitionsTopicResult::default().with_name(asked.name);
        results.push(match grown {
            Ok(()) => result.with_error_message(None),
            Err(failure) => result
                .with_error_code(failure.code())
                .with_error_message(failure.text()),
        });
    }
    CreatePartitionsResponse::default().with_results(results)
}

async fn grow(
    context: &Context,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Failure> {
    let topic = topic::by_name(&context.broker, &asked.name)
        .ok_or(ResponseError::UnknownTopicOrPartition)?;
    let there = i32::try_from(topic.config.partitions).unwrap_or(i32::MAX);
    let wrong = |why: String| Failure::new(ResponseError::InvalidPartitions, why);
    if asked.count < there {
        return Err(wrong(format!(
            "The topic {} currently has {there} partition(s); {} would not be an increase.",
            topic.name, asked.count
        )));
    }
    if asked.count == there {
        return Err(wrong(format!("Topic already has {there} partition(s).")));
    }
    if asked.count > PARTITIONS_MAX {
        return Err(wrong(format!(
            "a topic has at most {PARTITIONS_MAX} partitions"
        )));
    }
    if topic.config.retention.until_settled {
        return Err(wrong("a queue has no more than one partition".to_owned()));
    }
    if let Some(assignments) = &asked.assignments {
        let here = assignments.iter().all(|one| one.broker_ids == [NODE]);
        let more = usize::try_from(asked.count - there).unwrap_or(usize::MAX);
        if !here || assignments.len() != more {
            return Err(Failure::new(
                ResponseError::InvalidReplicaAssignment,
                "each new partition must be assigned to broker 1",
            ));
        }
    }
    if validate_only {
        return Ok(());
    }
    let command = Command::GrowTopic {
        topic: topic.id,
        partitions: asked.count.unsigned_abs(),
    };
    context.session.call(command).await?;
    Ok(())
}
