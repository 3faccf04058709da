use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(60);

fn config(server: &Server) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server.address.to_string());
    config
}

async fn receive(consumer: &StreamConsumer) -> rdkafka::message::OwnedMessage {
    let received = tokio::time::timeout(PATIENCE, consumer.recv()).await;
    received.expect("a message in time").unwrap().detach()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_back_with_all_they_had() {
    let server = Server::start().await;
    for codec in ["none", "snappy", "lz4"] {
        let producer: FutureProducer = config(&server)
            .set("enable.idempotence", "true")
            .set("compression.type", codec)
            .create()
            .unwrap();
        let value = "value ".repeat(100);
        let headers = OwnedHeaders::new().insert(Header {
            key: "h",
            value: Some("v"),
        });
        let record = FutureRecord::to(codec)
            .key("key")
            .payload(&value)
            .timestamp(1234)
            .headers(headers);
        let placed = producer.send(record, PATIENCE).await.unwrap();
        assert_eq!((placed.partition, placed.offset), (0, 0));
        let consumer: StreamConsumer = config(&server).set("group.id", "g").create().unwrap();
        let mut all = TopicPartitionList::new();
        all.add_partition_offset(codec, 0, Offset::Beginning)
            .unwrap();
        consumer.assign(&all).unwrap();
        let message = receive(&consumer).await;
        assert_eq!(message.key(), Some(&b"key"[..]));
        assert_eq!(message.payload(), Some(value.as_bytes()));
        assert_eq!(message.timestamp().to_millis(), Some(1234));
        let header = message.headers().unwrap().get(0);
        assert_eq!((header.key, header.value), ("h", Some(&b"v"[..])));
        // The batch went in compressed and is stored so.
        let stored = server.broker.directory().topic(codec).unwrap();
        let bounds = server.broker.bounds(stored.partitions[0]);
        assert_eq!(bounds.end, 1);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_two_shares_the_work_and_remembers() {
    const MESSAGES: usize = 200;
    let server = Server::start().await;
    let admin: AdminClient<DefaultClientContext> = config(&server).create().unwrap();
    let topic = NewTopic::new("shared", 4, TopicReplication::Fixed(1));
    let made = admin
        .create_topics(&[topic], &AdminOptions::new())
        .await
        .unwrap();
    assert_eq!(made, [Ok("shared".to_owned())]);
    let described = admin
        .describe_configs(&[ResourceSpecifier::Topic("shared")], &AdminOptions::new())
        .await
        .unwrap();
    let described = described[0].as_ref().unwrap();
    assert_eq!(
        described.entry_map()["cleanup.policy"].value.as_deref(),
        Some("delete")
    );

    let producer: FutureProducer = config(&server).create().unwrap();
    let send = |number: usize| {
        let producer = producer.clone();
        async move {
            let (key, value) = (format!("k{number}"), number.to_string());
            let record = FutureRecord::to("shared").key(&key).payload(&value);
            producer.send(record, PATIENCE).await.unwrap();
        }
    };
    for number in 0..MESSAGES {
        send(number).await;
    }
    let member = || -> StreamConsumer {
        let consumer: StreamConsumer = config(&server)
            .set("group.id", "workers")
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "500")
            .create()
            .unwrap();
        consumer.subscribe(&["shared"]).unwrap();
        consumer
    };
    let (one, two) = (member(), member());
    let mut seen = BTreeSet::new();
    while seen.len() < MESSAGES || one.assignment().unwrap().count() != 2 {
        let message = tokio::select! {
            message = receive(&one) => {
                one.commit_consumer_state(CommitMode::Async).unwrap_or_default();
                message
            }
            message = receive(&two) => {
                two.commit_consumer_state(CommitMode::Async).unwrap_or_default();
                message
            }
            () = tokio::time::sleep(Duration::from_millis(100)), if seen.len() == MESSAGES => {
                continue;
            }
        };
        seen.insert(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
    }
    assert_eq!(two.assignment().unwrap().count(), 2);
    for consumer in [one, two] {
        consumer
            .commit_consumer_state(CommitMode::Sync)
            .unwrap_or_default();
        consumer.unsubscribe();
    }
    // Whoever comes next goes on where they were.
    send(MESSAGES).await;
    let message = receive(&member()).await;
    assert_eq!(message.payload(), Some(MESSAGES.to_string().as_bytes()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_found_by_time() {
    let server = Server::start().await;
    let producer: FutureProducer = config(&server).create().unwrap();
    for time in [100, 200, 300] {
        let record = FutureRecord::<(), _>::to("times")
            .payload("x")
            .timestamp(time);
        producer
            .send(record, Timeout::After(PATIENCE))
            .await
            .unwrap();
    }
    let consumer: StreamConsumer = config(&server).set("group.id", "g").create().unwrap();
    let found = tokio::task::spawn_blocking(move || {
        let mut asked = TopicPartitionList::new();
        asked
            .add_partition_offset("times", 0, Offset::Offset(150))
            .unwrap();
        let marks = consumer.fetch_watermarks("times", 0, PATIENCE).unwrap();
        (marks, consumer.offsets_for_times(asked, PATIENCE).unwrap())
    });
    let (marks, found) = found.await.unwrap();
    assert_eq!(marks, (0, 3));
    assert_eq!(found.elements()[0].offset(), Offset::Offset(1));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_changes_what_there_is() {
    let server = Server::start().await;
    let admin: AdminClient<DefaultClientContext> = config(&server).create().unwrap();
    let options = AdminOptions::new();
    let topic = NewTopic::new("t", 1, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
    let made = admin.create_topics(&[topic], &options).await.unwrap();
    assert_eq!(made, [Ok("t".to_owned())]);
    let more = NewPartitions::new("t", 3);
    let grown = admin.create_partitions(&[more], &options).await.unwrap();
    assert_eq!(grown, [Ok("t".to_owned())]);

    let producer: FutureProducer = config(&server).create().unwrap();
    let keyless = FutureRecord::<(), _>::to("t").partition(0).payload("x");
    let (refused, _) = producer.send(keyless, PATIENCE).await.unwrap_err();
    assert_eq!(
        refused.rdkafka_error_code(),
        Some(RDKafkaErrorCode::InvalidRecord)
    );

    let altered = AlterConfig::new(ResourceSpecifier::Topic("t"))
        .set("cleanup.policy", "delete")
        .set("retention.ms", "-1");
    let altered = admin.alter_configs(&[altered], &options).await.unwrap();
    assert!(altered[0].is_ok(), "{altered:?}");
    for value in ["a", "b", "c"] {
        let record = FutureRecord::<(), _>::to("t").partition(0).payload(value);
        producer.send(record, PATIENCE).await.unwrap();
    }
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset("t", 0, Offset::Offset(2))
        .unwrap();
    let deleted = admin.delete_records(&before, &options).await.unwrap();
    assert_eq!(deleted.elements()[0].offset(), Offset::Offset(2));
    let consumer: StreamConsumer = config(&server).set("group.id", "g").create().unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset("t", 0, Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let message = receive(&consumer).await;
    assert_eq!((message.offset(), message.payload()), (2, Some(&b"c"[..])));
    server.stop().await;
}
