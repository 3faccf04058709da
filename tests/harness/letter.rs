//! A message as every protocol can say it, and the nine ways from a producer to a consumer.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{MessageAttributeValue, MessageSystemAttributeName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions};
use lapin::types::{AMQPValue, ByteArray, FieldTable};
use rdkafka::Message as _;
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::FutureRecord;

use crate::patience::LONG;
use crate::{Forebay, amqp, kafka, sqs};

/// The AMQP header that carries the record's key.
const AMQP_KEY: &str = "x-forebay-key";

/// A protocol, as a producer or a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `aws-sdk-sqs`
    Sqs,
    /// `lapin`
    Amqp,
    /// `rdkafka`
    Kafka,
}

impl Protocol {
    /// All three.
    pub const ALL: [Protocol; 3] = [Protocol::Sqs, Protocol::Amqp, Protocol::Kafka];
}

/// Body, key and the user's own headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Letter {
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// The key: Kafka's key, SQS's message group, AMQP's `x-forebay-key`.
    pub key: Option<Vec<u8>>,
    /// The user's headers; text and binary values both as bytes.
    pub headers: BTreeMap<String, Vec<u8>>,
}

impl Letter {
    /// Only a text.
    pub fn text(body: impl Into<String>) -> Self {
        Self {
            body: body.into().into_bytes(),
            ..Self::default()
        }
    }

    /// Only bytes.
    pub fn bytes(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    /// With a key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

/// Makes a topic the way `protocol` makes one.
pub async fn make_topic(forebay: &Forebay, protocol: Protocol, topic: &str) {
    match protocol {
        Protocol::Sqs => {
            sqs::create(&sqs::client(forebay.sqs()), topic).await;
        }
        Protocol::Amqp => {
            let connection = amqp::connect(forebay.amqp()).await;
            let channel = connection.create_channel().await.expect("a channel");
            amqp::declare(&channel, topic).await;
            connection
                .close(200, "done".into())
                .await
                .expect("a clean close");
        }
        Protocol::Kafka => kafka::create(forebay.kafka(), topic, 1).await,
    }
}

/// Sends letters in order; returns when all are acknowledged.
pub async fn send(forebay: &Forebay, protocol: Protocol, topic: &str, letters: &[Letter]) {
    match protocol {
        Protocol::Sqs => send_sqs(forebay, topic, letters).await,
        Protocol::Amqp => send_amqp(forebay, topic, letters).await,
        Protocol::Kafka => send_kafka(forebay, topic, letters).await,
    }
}

async fn send_sqs(forebay: &Forebay, topic: &str, letters: &[Letter]) {
    let client = sqs::client(forebay.sqs());
    let url = sqs::url(&client, topic).await;
    for letter in letters {
        let mut send = client
            .send_message()
            .queue_url(&url)
            .message_body(String::from_utf8(letter.body.clone()).expect("SQS carries text"));
        if let Some(key) = &letter.key {
            send =
                send.message_group_id(String::from_utf8(key.clone()).expect("a group id is text"));
        }
        for (name, value) in &letter.headers {
            let attribute = match String::from_utf8(value.clone()) {
                Ok(text) => MessageAttributeValue::builder()
                    .data_type("String")
                    .string_value(text),
                Err(_) => MessageAttributeValue::builder()
                    .data_type("Binary")
                    .binary_value(Blob::new(value.clone())),
            };
            send = send.message_attributes(name, attribute.build().expect("a data type is given"));
        }
        send.send().await.expect("SendMessage");
    }
}

async fn send_amqp(forebay: &Forebay, topic: &str, letters: &[Letter]) {
    let connection = amqp::connect(forebay.amqp()).await;
    let channel = amqp::confirming(&connection)
        .await
        .expect("a confirming channel");
    for letter in letters {
        let mut table = FieldTable::default();
        for (name, value) in &letter.headers {
            let value = match String::from_utf8(value.clone()) {
                Ok(text) => AMQPValue::LongString(text.into()),
                Err(_) => AMQPValue::ByteArray(ByteArray::from(value.clone())),
            };
            table.insert(name.as_str().into(), value);
        }
        if let Some(key) = &letter.key {
            table.insert(AMQP_KEY.into(), AMQPValue::LongString(key.clone().into()));
        }
        let properties = amqp::persistent().with_headers(table);
        let confirm = channel
            .basic_publish(
                "".into(),
                topic.into(),
                BasicPublishOptions::default(),
                &letter.body,
                properties,
            )
            .await
            .expect("basic.publish");
        assert!(confirm.await.expect("a confirm").is_ack());
    }
    connection
        .close(200, "done".into())
        .await
        .expect("a clean close");
}

async fn send_kafka(forebay: &Forebay, topic: &str, letters: &[Letter]) {
    let producer = kafka::producer(forebay.kafka());
    for letter in letters {
        let mut headers = OwnedHeaders::new();
        for (name, value) in &letter.headers {
            headers = headers.insert(Header {
                key: name,
                value: Some(value),
            });
        }
        let mut record = FutureRecord::<[u8], [u8]>::to(topic)
            .payload(&letter.body)
            .headers(headers);
        if let Some(key) = &letter.key {
            record = record.key(key);
        }
        producer
            .send(record, Duration::from_secs(30))
            .await
            .expect("an acknowledged record");
    }
}

/// Takes `count` letters as work (SQS, AMQP: each is settled) or from the start (Kafka).
pub async fn collect(
    forebay: &Forebay,
    protocol: Protocol,
    topic: &str,
    count: usize,
) -> Vec<Letter> {
    let collecting = async {
        match protocol {
            Protocol::Sqs => collect_sqs(forebay, topic, count).await,
            Protocol::Amqp => collect_amqp(forebay, topic, count).await,
            Protocol::Kafka => collect_kafka(forebay, topic, count).await,
        }
    };
    let limit = tokio::time::timeout(LONG, collecting).await;
    limit.unwrap_or_else(|_| {
        panic!("{count} letters did not come from {topic} over {protocol:?} in {LONG:?}")
    })
}

async fn collect_sqs(forebay: &Forebay, topic: &str, count: usize) -> Vec<Letter> {
    let client = sqs::client(forebay.sqs());
    let url = sqs::url(&client, topic).await;
    let mut letters = Vec::new();
    while letters.len() < count {
        let received = client
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(10)
            .wait_time_seconds(5)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .expect("ReceiveMessage");
        for message in received.messages.unwrap_or_default() {
            letters.push(from_sqs(&message));
            let handle = message.receipt_handle.expect("a receipt handle");
            client
                .delete_message()
                .queue_url(&url)
                .receipt_handle(handle)
                .send()
                .await
                .expect("DeleteMessage");
        }
    }
    letters
}

/// A received SQS message as a letter, base64 bodies decoded as the mapping says.
pub fn from_sqs(message: &aws_sdk_sqs::types::Message) -> Letter {
    let mut letter = Letter::text(message.body.clone().unwrap_or_default());
    let mut encoded = false;
    for (name, value) in message.message_attributes.clone().unwrap_or_default() {
        if name == "forebay.body-encoding" {
            assert_eq!(value.string_value.as_deref(), Some("base64"));
            encoded = true;
            continue;
        }
        let bytes = match (value.string_value, value.binary_value) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(blob)) => blob.into_inner(),
            other => panic!("attribute {name} is {other:?}"),
        };
        letter.headers.insert(name, bytes);
    }
    if encoded {
        letter.body = BASE64.decode(&letter.body).expect("base64");
    }
    let system = message.attributes.clone().unwrap_or_default();
    letter.key = system
        .get(&MessageSystemAttributeName::MessageGroupId)
        .map(|key| key.clone().into_bytes());
    letter
}

async fn collect_amqp(forebay: &Forebay, topic: &str, count: usize) -> Vec<Letter> {
    let connection = amqp::connect(forebay.amqp()).await;
    let channel = connection.create_channel().await.expect("a channel");
    let mut consumer = channel
        .basic_consume(
            topic.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .expect("basic.consume");
    let mut letters = Vec::new();
    while letters.len() < count {
        let delivery = consumer
            .next()
            .await
            .expect("the consumer goes on")
            .expect("a delivery");
        delivery
            .ack(BasicAckOptions::default())
            .await
            .expect("basic.ack");
        letters.push(from_amqp(&delivery.data, &delivery.properties));
    }
    connection
        .close(200, "done".into())
        .await
        .expect("a clean close");
    letters
}

/// A delivered AMQP message as a letter.
pub fn from_amqp(body: &[u8], properties: &lapin::BasicProperties) -> Letter {
    let mut letter = Letter::bytes(body);
    let table = properties.headers().clone().unwrap_or_default();
    for (name, value) in table.inner() {
        let bytes = match value {
            AMQPValue::LongString(text) => text.as_bytes().to_vec(),
            AMQPValue::ByteArray(bytes) => bytes.as_slice().to_vec(),
            other => panic!("header {name} is {other:?}"),
        };
        if name.as_str() == AMQP_KEY {
            letter.key = Some(bytes);
        } else {
            letter.headers.insert(name.to_string(), bytes);
        }
    }
    letter
}

async fn collect_kafka(forebay: &Forebay, topic: &str, count: usize) -> Vec<Letter> {
    let reader = kafka::reader(forebay.kafka(), topic);
    let mut letters = Vec::new();
    while letters.len() < count {
        let message = reader.recv().await.expect("a record");
        letters.push(from_kafka(&message));
    }
    letters
}

/// A consumed Kafka record as a letter, Forebay's own headers left out.
pub fn from_kafka(message: &rdkafka::message::BorrowedMessage<'_>) -> Letter {
    let mut letter = Letter::bytes(message.payload().unwrap_or_default());
    letter.key = message.key().map(<[u8]>::to_vec);
    for header in message
        .headers()
        .into_iter()
        .flat_map(|headers| headers.iter())
    {
        if ["forebay.", "amqp.", "sqs."]
            .iter()
            .any(|reserved| header.key.starts_with(reserved))
        {
            continue;
        }
        letter.headers.insert(
            header.key.to_owned(),
            header.value.unwrap_or_default().to_vec(),
        );
    }
    letter
}
