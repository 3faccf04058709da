//! What is the same thing under three names: id, time, key, properties.

use aws_sdk_sqs::types::MessageSystemAttributeName;
use forebay_tests::{Forebay, Protocol, amqp, kafka, letter, sqs};
use lapin::options::{BasicAckOptions, BasicGetOptions};
use rdkafka::Message as _;
use rdkafka::message::Headers as _;

/// A message's headers as Kafka shows them, Forebay's own among them.
fn kafka_header(message: &rdkafka::message::BorrowedMessage<'_>, name: &str) -> Option<String> {
    let headers = message.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    Some(String::from_utf8_lossy(found.value?).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_id_of_an_sqs_message_is_its_id_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let client = sqs::client(forebay.sqs());
    let url = sqs::create(&client, "orders").await;
    let sent = client
        .send_message()
        .queue_url(&url)
        .message_body("one")
        .send()
        .await
        .unwrap();
    let id = sent.message_id.unwrap();

    let reader = kafka::reader(forebay.kafka(), "orders");
    let record = reader.recv().await.unwrap();
    assert_eq!(kafka_header(&record, "forebay.id"), Some(id.clone()));
    let time = record.timestamp().to_millis().expect("a record has a time");

    let connection = amqp::connect(forebay.amqp()).await;
    let channel = connection.create_channel().await.unwrap();
    let got = channel
        .basic_get("orders".into(), BasicGetOptions::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        got.properties
            .message_id()
            .as_ref()
            .map(|id| id.to_string()),
        Some(id)
    );
    assert_eq!(
        got.properties.timestamp(),
        &Some(u64::try_from(time).unwrap() / 1000)
    );
    assert_eq!(got.properties.delivery_mode(), &Some(2));
    assert_eq!(
        (got.exchange.as_str(), got.routing_key.as_str()),
        ("", "orders")
    );
    got.ack(BasicAckOptions::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_record_has_the_same_id_at_every_reading_and_keeps_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    kafka::create(forebay.kafka(), "events", 1).await;
    let producer = kafka::producer(forebay.kafka());
    let record = rdkafka::producer::FutureRecord::<str, str>::to("events")
        .payload("one")
        .timestamp(1_600_000_000_123);
    producer
        .send(record, std::time::Duration::from_secs(30))
        .await
        .unwrap();

    let client = sqs::client(forebay.sqs());
    let url = sqs::url(&client, "events").await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let received = client
            .receive_message()
            .queue_url(&url)
            .wait_time_seconds(10)
            .visibility_timeout(0)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .unwrap();
        let message = received.messages()[0].clone();
        let sent = message.attributes.unwrap()[&MessageSystemAttributeName::SentTimestamp].clone();
        seen.push((message.message_id.unwrap(), sent));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].1, "1600000000123");
}

#[tokio::test(flavor = "multi_thread")]
async fn amqp_properties_are_headers_to_the_others_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let connection = amqp::connect(forebay.amqp()).await;
    let channel = amqp::confirming(&connection).await.unwrap();
    amqp::declare(&channel, "events").await;
    let properties = amqp::persistent()
        .with_content_type("application/json".into())
        .with_correlation_id("c-1".into())
        .with_type("order.created".into())
        .with_message_id("mine-1".into());
    amqp::publish(&channel, "events", b"{}", properties)
        .await
        .unwrap();

    let record = kafka::reader(forebay.kafka(), "events");
    let record = record.recv().await.unwrap();
    let names = ["content-type", "correlation-id", "type", "message-id"];
    let values = names.map(|name| kafka_header(&record, name).unwrap_or_default());
    assert_eq!(
        values,
        ["application/json", "c-1", "order.created", "mine-1"]
    );

    let letters = letter::collect(&forebay, Protocol::Sqs, "events", 1).await;
    for (name, value) in names.iter().zip(&values) {
        assert_eq!(
            letters[0].headers.get(*name),
            Some(&value.clone().into_bytes()),
            "{name}"
        );
    }

    // And a foreign message with such headers has the properties.
    let foreign = forebay_tests::Letter::text("{}")
        .header("content-type", "text/plain")
        .header("correlation-id", "c-2");
    letter::send(&forebay, Protocol::Kafka, "events", &[foreign]).await;
    let got = channel
        .basic_get("events".into(), BasicGetOptions::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        got.properties
            .content_type()
            .as_ref()
            .map(|text| text.as_str()),
        Some("text/plain")
    );
    assert_eq!(
        got.properties
            .correlation_id()
            .as_ref()
            .map(|text| text.as_str()),
        Some("c-2")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_tells_every_protocol_where_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let client = sqs::client(forebay.sqs());
    sqs::create(&client, "graveyard").await;
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:graveyard","maxReceiveCount":2}"#;
    let made = client
        .create_queue()
        .queue_name("work")
        .attributes(
            aws_sdk_sqs::types::QueueAttributeName::RedrivePolicy,
            policy,
        )
        .send()
        .await
        .unwrap();
    let url = made.queue_url.unwrap();
    client
        .send_message()
        .queue_url(&url)
        .message_body("poison")
        .send()
        .await
        .unwrap();
    for attempt in 1..=2 {
        let received = client
            .receive_message()
            .queue_url(&url)
            .wait_time_seconds(10)
            .visibility_timeout(0)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .send()
            .await
            .unwrap();
        let system = received.messages()[0].attributes.clone().unwrap();
        assert_eq!(
            system[&MessageSystemAttributeName::ApproximateReceiveCount],
            attempt.to_string()
        );
    }
    // The third receive finds nothing: the message has moved.
    let empty = client
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(1)
        .send()
        .await
        .unwrap();
    assert_eq!(empty.messages, None);

    let connection = amqp::connect(forebay.amqp()).await;
    let channel = connection.create_channel().await.unwrap();
    let got = channel
        .basic_get("graveyard".into(), BasicGetOptions::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got.data, b"poison");
    let headers = got.properties.headers().clone().unwrap();
    let first_queue = headers.inner().get("x-first-death-queue").unwrap();
    assert_eq!(first_queue.as_long_string().unwrap().to_string(), "work");
    assert!(headers.inner().contains_key("x-death"), "{headers:?}");
    got.nack(lapin::options::BasicNackOptions {
        requeue: true,
        multiple: false,
    })
    .await
    .unwrap();

    let grave = sqs::url(&client, "graveyard").await;
    let received = client
        .receive_message()
        .queue_url(&grave)
        .wait_time_seconds(10)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .unwrap();
    let system = received.messages()[0].attributes.clone().unwrap();
    let source = &system[&MessageSystemAttributeName::DeadLetterQueueSourceArn];
    assert!(source.ends_with(":work"), "{source}");
}
