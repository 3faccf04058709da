//! A message on its way out: the record as SQS shows it (`docs/mapping.md`).

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use forebay_base::Timestamp;
use forebay_broker::{Delivered, TopicInfo, envelope};
use forebay_record::Headers;
use serde::ser::{Serialize, SerializeMap, SerializeStruct, Serializer};
use uuid::Uuid;

use crate::error::Fault;
use crate::fifo::{self, DEDUPLICATION_ID};
use crate::message_attributes::{self, Attribute, Filter, TRACE_HEADER, Value};
use crate::options::Options;
use crate::outgoing::TYPES;
use crate::receipt::Handle;
use crate::{md5, queue_name, text};

/// The attribute that marks a body SQS could not carry as it was.
const BODY_ENCODING: &str = "forebay.body-encoding";
const BODY_ENCODING_BASE64: &str = "base64";
/// The sender of every message: who sent it is not recorded.
const SENDER_ID: &str = "anonymous";

/// The system attributes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SystemAttribute {
    SenderId,
    SentTimestamp,
    ApproximateReceiveCount,
    ApproximateFirstReceiveTimestamp,
    SequenceNumber,
    MessageDeduplicationId,
    MessageGroupId,
    AwsTraceHeader,
    DeadLetterQueueSourceArn,
}

use SystemAttribute as S;

impl SystemAttribute {
    const ALL: [Self; 9] = [
        S::SenderId,
        S::SentTimestamp,
        S::ApproximateReceiveCount,
        S::ApproximateFirstReceiveTimestamp,
        S::SequenceNumber,
        S::MessageDeduplicationId,
        S::MessageGroupId,
        S::AwsTraceHeader,
        S::DeadLetterQueueSourceArn,
    ];

    fn name(self) -> &'static str {
        match self {
            S::SenderId => "SenderId",
            S::SentTimestamp => "SentTimestamp",
            S::ApproximateReceiveCount => "ApproximateReceiveCount",
            S::ApproximateFirstReceiveTimestamp => "ApproximateFirstReceiveTimestamp",
            S::SequenceNumber => "SequenceNumber",
            S::MessageDeduplicationId => "MessageDeduplicationId",
            S::MessageGroupId => "MessageGroupId",
            S::AwsTraceHeader => TRACE_HEADER,
            S::DeadLetterQueueSourceArn => "DeadLetterQueueSourceArn",
        }
    }
}

/// Names a receive may ask for although no message has them: those of queue attributes, which the
/// older `AttributeNames` member allows.
const ALLOWED_AND_ABSENT: [&str; 6] = [
    "QueueArn",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
];

/// What a receive asked to be told about each message.
#[derive(Debug, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) system: Vec<SystemAttribute>,
    pub(crate) attributes: Filter<'a>,
}

/// Which system attributes are asked for by these names.
pub(crate) fn system_attributes<'a>(
    names: impl Iterator<Item = &'a str>,
) -> Result<Vec<SystemAttribute>, Fault> {
    let mut asked = Vec::new();
    let mut all = false;
    for name in names {
        if name == "All" {
            all = true;
        } else if let Some(known) = S::ALL.into_iter().find(|known| known.name() == name) {
            if !asked.contains(&known) {
                asked.push(known);
            }
        } else if !ALLOWED_AND_ABSENT.contains(&name)
            && crate::attributes::QueueAttribute::named(name).is_none()
        {
            return Err(Fault::unknown_attribute(name));
        }
    }
    Ok(if all { S::ALL.to_vec() } else { asked })
}

/// A message as an answer carries it.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    message_id: Cow<'a, str>,
    receipt_handle: String,
    body: Cow<'a, str>,
    system: Vec<(&'static str, Cow<'a, str>)>,
    attributes: Vec<Attribute<'a>>,
}

impl<'a> Incoming<'a> {
    /// The message of `delivered`, received `now` from `queue`.
    pub(crate) fn new(
        delivered: &'a Delivered,
        queue: &TopicInfo,
        now: Timestamp,
        asked: &Asked<'_>,
        options: &Options,
    ) -> Self {
        let record = &delivered.record;
        let value = record.value.as_deref().unwrap_or_default();
        let mut attributes = Vec::new();
        if !asked.attributes.is_empty() {
            attributes = user_attributes(&record.headers, &asked.attributes);
        }
        let body = match text::legal(value) {
            Some(text) => Cow::Borrowed(text),
            None => {
                attributes.push(Attribute {
                    name: BODY_ENCODING.into(),
                    data_type: "String".into(),
                    value: Value::Text(BODY_ENCODING_BASE64.into()),
                });
                Cow::Owned(STANDARD.encode(value))
            }
        };
        let handle = Handle {
            topic: queue.id,
            receipt: delivered.receipt,
            received: now,
        };
        let system = asked.system.iter();
        Self {
            message_id: message_id(delivered),
            receipt_handle: handle.encode(),
            body,
            system: system
                .filter_map(|&attribute| {
                    Some((
                        attribute.name(),
                        system_value(attribute, delivered, queue, now, options)?,
                    ))
                })
                .collect(),
            attributes,
        }
    }
}

fn message_id(delivered: &Delivered) -> Cow<'_, str> {
    let receipt = &delivered.receipt;
    match delivered
        .record
        .headers
        .get(envelope::ID)
        .and_then(text::legal)
    {
        Some(id) => Cow::Borrowed(id),
        None => {
            let id = envelope::derived_id(receipt.partition, receipt.offset);
            Cow::Owned(Uuid::from_u128(id).hyphenated().to_string())
        }
    }
}

fn system_value<'a>(
    attribute: SystemAttribute,
    delivered: &'a Delivered,
    queue: &TopicInfo,
    now: Timestamp,
    options: &Options,
) -> Option<Cow<'a, str>> {
    let record = &delivered.record;
    let header = |name| record.headers.get(name).and_then(text::legal);
    match attribute {
        S::SenderId => Some(SENDER_ID.into()),
        S::SentTimestamp => Some(record.timestamp.to_string().into()),
        S::ApproximateReceiveCount => Some(delivered.receipt.attempt.to_string().into()),
        // When a message was first received is not kept: from the second time on, the time it was
        // sent stands in for it.
        S::ApproximateFirstReceiveTimestamp if delivered.receipt.attempt <= 1 => {
            Some(now.0.to_string().into())
        }
        S::ApproximateFirstReceiveTimestamp => Some(record.timestamp.to_string().into()),
        S::SequenceNumber | S::MessageDeduplicationId if !queue.config.ordered => None,
        S::SequenceNumber => Some(fifo::sequence_number(delivered.receipt.offset)),
        S::MessageDeduplicationId => Some(match header(DEDUPLICATION_ID) {
            Some(id) => id.into(),
            None => fifo::of_body(record.value.as_deref().unwrap_or_default()).into(),
        }),
        S::MessageGroupId => {
            let key = record
                .key
                .as_deref()
                .filter(|key| queue_name::is_group_id(key))?;
            std::str::from_utf8(key).ok().map(Cow::Borrowed)
        }
        S::AwsTraceHeader => header(TRACE_HEADER).map(Cow::Borrowed),
        S::DeadLetterQueueSourceArn => {
            header(envelope::DEAD_LETTER_SOURCE).map(|source| options.arn(source).into())
        }
    }
}

/// The user's headers as attributes. Of a name that a record has twice the last value counts.
fn user_attributes<'a>(headers: &'a Headers, filter: &Filter<'_>) -> Vec<Attribute<'a>> {
    let types: HashMap<Cow<'_, str>, Cow<'_, str>> = headers
        .get(TYPES)
        .and_then(|types| serde_json::from_slice(types).ok())
        .unwrap_or_default();
    let mut attributes: Vec<Attribute<'a>> = Vec::new();
    let mut places: HashMap<&'a str, usize> = HashMap::new();
    for (name, value) in headers {
        // SQS has no word for a header without a value.
        let Some(value) = value else { continue };
        if message_attributes::is_reserved(name) || !filter.wants(name) {
            continue;
        }
        let attribute = user_attribute(name, value, types.get(name).map(Cow::as_ref));
        match places.get(name) {
            Some(&place) => attributes[place] = attribute,
            None => {
                places.insert(name, attributes.len());
                attributes.push(attribute);
            }
        }
    }
    attributes
}

fn user_attribute<'a>(name: &'a str, value: &'a [u8], data_type: Option<&str>) -> Attribute<'a> {
    let text = text::legal(value).filter(|text| !text.is_empty());
    let (default, value) = match text {
        Some(text) if !data_type.is_some_and(|data_type| data_type.starts_with("Binary")) => {
            ("String", Value::Text(text.into()))
        }
        _ => ("Binary", Value::Binary(value.into())),
    };
    let is_text = matches!(value, Value::Text(_));
    let data_type = data_type.filter(|data_type| is_text != data_type.starts_with("Binary"));
    Attribute {
        name: name.into(),
        data_type: data_type.map_or(default.into(), |data_type| data_type.to_owned().into()),
        value,
    }
}

impl Serialize for Incoming<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Message", 7)?;
        out.serialize_field("MessageId", &self.message_id)?;
        out.serialize_field("ReceiptHandle", &self.receipt_handle)?;
        out.serialize_field("MD5OfBody", &md5::of_body(&self.body))?;
        out.serialize_field("Body", &self.body)?;
        if !self.system.is_empty() {
            out.serialize_field("Attributes", &TextMap(&self.system))?;
        }
        if !self.attributes.is_empty() {
            out.serialize_field(
                "MD5OfMessageAttributes",
                &md5::of_attributes(&self.attributes),
            )?;
            out.serialize_field("MessageAttributes", &AttributeMap(&self.attributes))?;
        }
        out.end()
    }
}

/// Pairs written as a map from text to text.
pub(crate) struct TextMap<'a>(pub(crate) &'a [(&'static str, Cow<'a, str>)]);

impl Serialize for TextMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct AttributeMap<'a>(&'a [Attribute<'a>]);

impl Serialize for AttributeMap<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for attribute in self.0 {
            map.serialize_entry(&attribute.name, attribute)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests;
