//! A message on its way in: what `SendMessage` and an entry of `SendMessageBatch` have in common,
//! and the record it becomes (`docs/mapping.md`).

use std::borrow::Cow;

use forebay_base::Timestamp;
use forebay_broker::{Placed, envelope};
use forebay_record::{BatchBuilder, BatchError};
use serde::Deserialize;
use uuid::{NoContext, Uuid};

use crate::error::Fault;
use crate::fifo::{self, DEDUPLICATION_ID};
use crate::json::{Integer, Text};
use crate::message_attributes::{self, Attribute, RequestAttributes};
use crate::{md5, queue_name, text};

/// The header that keeps the data types of attributes: a JSON object from name to type.
pub(crate) const TYPES: &str = "sqs.types";

/// A message as a request brings it: the whole of `SendMessage`, where it names its queue, or an
/// entry of `SendMessageBatch`, where it has an id.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RequestMessage<'a> {
    #[serde(borrow, default)]
    pub(crate) queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) message_body: Option<Text<'a>>,
    #[serde(default)]
    pub(crate) delay_seconds: Option<Integer>,
    #[serde(borrow, default)]
    pub(crate) message_attributes: RequestAttributes<'a>,
    #[serde(borrow, default)]
    pub(crate) message_system_attributes: RequestAttributes<'a>,
    #[serde(borrow, default)]
    pub(crate) message_deduplication_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) message_group_id: Option<Text<'a>>,
}

/// A message that keeps all rules but those of its queue.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) body: Cow<'a, str>,
    pub(crate) attributes: Vec<Attribute<'a>>,
    pub(crate) trace: Option<Attribute<'a>>,
    pub(crate) group_id: Option<Cow<'a, str>>,
    pub(crate) deduplication_id: Option<Cow<'a, str>>,
    pub(crate) delay_seconds: Option<u32>,
}

impl<'a> RequestMessage<'a> {
    /// Judges the message. `parameter` is how its body is called if it is missing; `delay_max` is
    /// its longest delay, seconds.
    pub(crate) fn accept(
        self,
        delay_max: u32,
        parameter: impl Fn() -> String,
    ) -> Result<Outgoing<'a>, Fault> {
        let body = self
            .message_body
            .map(|Text(body)| body)
            .filter(|body| !body.is_empty());
        let body = body.ok_or_else(|| Fault::missing(&parameter()))?;
        let attributes = message_attributes::accept(self.message_attributes)?;
        let trace = message_attributes::accept_system(self.message_system_attributes)?;
        if !text::is_legal(&body) {
            return Err(Fault::InvalidMessageContents);
        }
        let deduplication_id = self.message_deduplication_id;
        let accept = |name| move |id| accept_id(id, name);
        Ok(Outgoing {
            body,
            attributes,
            trace,
            deduplication_id: deduplication_id
                .map(accept("MessageDeduplicationId"))
                .transpose()?,
            group_id: self
                .message_group_id
                .map(accept("MessageGroupId"))
                .transpose()?,
            delay_seconds: self
                .delay_seconds
                .map(|asked| accept_delay(asked, delay_max))
                .transpose()?,
        })
    }
}

/// Judges the id of a group or of a deduplication, or of an attempt to receive.
pub(crate) fn accept_id<'a>(Text(id): Text<'a>, name: &str) -> Result<Cow<'a, str>, Fault> {
    if queue_name::is_group_id(id.as_bytes()) {
        return Ok(id);
    }
    Err(Fault::invalid(
        &id,
        name,
        &format!(
            "{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
        ),
    ))
}

fn accept_delay(Integer(seconds): Integer, most: u32) -> Result<u32, Fault> {
    u32::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds <= most)
        .ok_or_else(|| {
            Fault::invalid(
                seconds,
                "DelaySeconds",
                &format!("DelaySeconds must be >= 0 and <= {most}."),
            )
        })
}

impl Outgoing<'_> {
    /// What counts to the limits: body and user attributes, bytes.
    pub(crate) fn size(&self) -> usize {
        self.body.len() + self.attributes.iter().map(Attribute::size).sum::<usize>()
    }

    /// Adds the message to a batch, under a fresh id, which comes back.
    pub(crate) fn push(
        &self,
        batch: &mut BatchBuilder,
        now: Timestamp,
    ) -> Result<Uuid, BatchError> {
        let fresh = fresh_id(now);
        let mut id = Uuid::encode_buffer();
        let id = fresh.hyphenated().encode_lower(&mut id);
        let deduplication_id = self.deduplication_id.as_ref();
        let deduplication_id = deduplication_id.map(|id| (DEDUPLICATION_ID, Some(id.as_bytes())));
        let types = (!self.attributes.is_empty()).then(|| self.types());
        let headers = std::iter::once((envelope::ID, Some(id.as_bytes())))
            .chain(types.as_deref().map(|types| (TYPES, Some(types))))
            .chain(deduplication_id)
            .chain(
                self.trace
                    .iter()
                    .chain(&self.attributes)
                    .map(|attribute| (attribute.name.as_ref(), Some(attribute.bytes()))),
            );
        let key = self.group_id.as_ref().map(|id| id.as_bytes());
        batch.push(now.0, key, Some(self.body.as_bytes()), headers)?;
        Ok(fresh)
    }

    fn types(&self) -> Vec<u8> {
        let types: serde_json::Map<String, serde_json::Value> = self
            .attributes
            .iter()
            .map(|attribute| {
                (
                    attribute.name.to_string(),
                    attribute.data_type.as_ref().into(),
                )
            })
            .collect();
        serde_json::Value::Object(types).to_string().into_bytes()
    }

    /// What the sender is told: the id, and the digests to verify.
    pub(crate) fn sent<'b>(&self, id: Option<&'b str>, message_id: Uuid) -> Sent<'b> {
        let digest = |attributes: &[Attribute<'_>]| {
            (!attributes.is_empty()).then(|| md5::of_attributes(attributes))
        };
        Sent {
            id,
            message_id,
            md5_of_body: md5::of_body(&self.body),
            md5_of_attributes: digest(&self.attributes),
            md5_of_system_attributes: digest(self.trace.as_slice()),
            sequence_number: None,
        }
    }
}

/// The answer to `SendMessage`, or to one entry of `SendMessageBatch`, which has an id.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Sent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
    #[serde(serialize_with = "as_text")]
    message_id: Uuid,
    #[serde(rename = "MD5OfMessageBody")]
    md5_of_body: String,
    #[serde(
        rename = "MD5OfMessageAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    md5_of_attributes: Option<String>,
    #[serde(
        rename = "MD5OfMessageSystemAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    md5_of_system_attributes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<Cow<'static, str>>,
}

fn as_text<S: serde::Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&id.hyphenated())
}

impl Sent<'_> {
    /// Adds what the broker said of a message to a FIFO queue: its number, and if it is a
    /// duplicate, the id of the message it doubles.
    pub(crate) fn placed(&mut self, placed: &Placed) {
        self.sequence_number = Some(fifo::sequence_number(placed.base_offset));
        if let Some(original) = placed.original {
            self.message_id = Uuid::from_u128(original);
        }
    }
}

/// A version 7 UUID: unique, and in order of time.
fn fresh_id(now: Timestamp) -> Uuid {
    let ms = u64::try_from(now.0).unwrap_or(0);
    let nanos = u32::try_from(ms % 1_000).unwrap_or(0) * 1_000_000;
    let time = uuid::Timestamp::from_unix(NoContext, ms / 1_000, nanos);
    Uuid::new_v7(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(json: &str) -> Result<Outgoing<'_>, Fault> {
        crate::json::read::<RequestMessage<'_>>(json.as_bytes())?
            .accept(900, || "MessageBody".to_owned())
    }

    fn refused(json: &str) -> String {
        accept(json)
            .map(|message| format!("{message:?}"))
            .unwrap_err()
            .message()
            .into_owned()
    }

    #[test]
    fn a_message_becomes_a_record() {
        let message = accept(
            r#"{"MessageBody":"hello","MessageGroupId":"g","MessageAttributes":{"n":{"DataType":"Number.int","StringValue":"7"},"b":{"DataType":"Binary","BinaryValue":"AAE="}},"MessageSystemAttributes":{"AWSTraceHeader":{"DataType":"String","StringValue":"some-trace-id"}}}"#,
        )
        .unwrap();
        let mut builder = BatchBuilder::new(1_000);
        let id = message.push(&mut builder, Timestamp(1_000)).unwrap();
        let record = builder
            .finish()
            .records(usize::MAX)
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        assert_eq!(record.timestamp, 1_000);
        assert_eq!(record.key.as_deref(), Some(b"g".as_slice()));
        assert_eq!(record.value.as_deref(), Some(b"hello".as_slice()));
        let headers: Vec<(&str, &[u8])> = record
            .headers
            .iter()
            .map(|(name, value)| (name, value.unwrap()))
            .collect();
        assert_eq!(
            headers,
            [
                ("forebay.id", id.to_string().as_bytes()),
                ("sqs.types", br#"{"b":"Binary","n":"Number.int"}"#),
                ("AWSTraceHeader", b"some-trace-id"),
                ("n", b"7"),
                ("b", b"\0\x01"),
            ]
        );
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(message.size(), 5 + (1 + 10 + 1) + (1 + 6 + 2));
        assert_eq!(
            message.sent(None, id).md5_of_system_attributes.as_deref(),
            Some("fdce4f2818803f2f73becc09a54792c0")
        );
    }

    #[test]
    fn ids_are_in_order_of_time() {
        assert!(fresh_id(Timestamp(1_700_000_000_000)) < fresh_id(Timestamp(1_700_000_000_001)));
    }

    #[test]
    fn bad_messages_are_refused_in_the_words_of_aws() {
        assert_eq!(
            refused("{}"),
            "The request must contain the parameter MessageBody."
        );
        assert_eq!(
            refused(r#"{"MessageBody":""}"#),
            "The request must contain the parameter MessageBody."
        );
        assert!(refused(r#"{"MessageBody":"\u0000"}"#).starts_with("Invalid characters found."));
        assert_eq!(
            refused(r#"{"MessageBody":"x","DelaySeconds":1000}"#),
            "Value 1000 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900."
        );
        assert_eq!(
            refused(r#"{"MessageBody":"x","MessageGroupId":"group 123"}"#),
            "Value group 123 for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length."
        );
        assert_eq!(
            refused(r#"{"MessageBody":"x","MessageDeduplicationId":""}"#),
            "Value  for parameter MessageDeduplicationId is invalid. Reason: MessageDeduplicationId can only include alphanumeric and punctuation characters. 1 to 128 in length."
        );
        assert_eq!(
            refused(
                r#"{"MessageBody":"x","MessageSystemAttributes":{"Hello":{"DataType":"String","StringValue":"w"}}}"#
            ),
            "Message system attribute name 'Hello' is invalid."
        );
    }
}
