//! DeleteTopics (key 20), versions 1-6: delete topics with all they hold.
//!
//! By name, from version 6 on also by id (KIP-516). Topics made by clients of other protocols can
//! be deleted too.

use forebay_broker::Expectation;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse, TopicName};
use uuid::Uuid;

use crate::connection::Context;
use crate::error::Failure;
use crate::topic;

pub(super) async fn answer(
    context: &Context,
    version: i16,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let asked: Vec<(Option<TopicName>, Uuid)> = if version >= 6 {
        let topics = request.topics.into_iter();
        topics.map(|topic| (topic.name, topic.topic_id)).collect()
    } else {
        let names = request.topic_names.into_iter();
        names.map(|name| (Some(name), Uuid::nil())).collect()
    };
    let mut results = Vec::with_capacity(asked.len());
    for (name, uuid) in asked {
        let mut result = DeletableTopicResult::default()
            .with_name(name.clone())
            .with_topic_id(uuid);
        match delete(context, name, uuid, &mut result).await {
            Ok(()) => {}
            Err(failure) => {
                result.error_code = failure.code();
                result.error_message = failure.text();
            }
        }
        results.push(result);
    }
    DeleteTopicsResponse::default().with_responses(results)
}

async fn delete(
    context: &Context,
    name: Option<TopicName>,
    uuid: Uuid,
    result: &mut DeletableTopicResult,
) -> Result<(), Failure> {
    let topic = match (&name, uuid.is_nil()) {
        (Some(name), true) => topic::find(&context.broker, name, uuid)?,
        (None, false) => topic::find(&context.broker, &TopicName::default(), uuid)?,
        _ => {
            return Err(Failure::new(
                ResponseError::InvalidRequest,
                "a topic is named by either name or id",
            ));
        }
    };
    result.name = Some(topic::name_of(&topic));
    result.topic_id = topic::uuid_of(topic.id);
    let only_if = Expectation::default();
    context.broker.delete_topic(topic.id, only_if).await?;
    Ok(())
}
