//! The Kafka client: librdkafka by `rdkafka`.

use std::net::SocketAddr;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, StreamConsumer};
use rdkafka::producer::FutureProducer;
use rdkafka::{Offset, TopicPartitionList};

/// The configuration all clients share.
pub fn config(address: SocketAddr) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", address.to_string())
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "200")
        .set("allow.auto.create.topics", "true");
    config
}

/// A producer with `acks=all` that is idempotent.
pub fn producer(address: SocketAddr) -> FutureProducer {
    config(address)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "60000")
        .set("linger.ms", "2")
        .create()
        .expect("a producer")
}

/// A consumer of every partition of `topic` from its start, in no group.
pub fn reader(address: SocketAddr, topic: &str) -> StreamConsumer {
    let consumer: StreamConsumer = config(address)
        .set("group.id", "reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .create()
        .expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(topic), Duration::from_secs(30))
        .expect("metadata");
    let mut from_start = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        from_start
            .add_partition_offset(topic, partition.id(), Offset::Beginning)
            .expect("a legal offset");
    }
    consumer.assign(&from_start).expect("an assignment");
    consumer
}

/// The sum of the records of all partitions between low and high watermark.
pub async fn record_count(address: SocketAddr, topic: &str) -> i64 {
    let topic = topic.to_owned();
    let counting = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = config(address).create().expect("a consumer");
        let metadata = consumer
            .fetch_metadata(Some(&topic), Duration::from_secs(30))
            .expect("metadata");
        let partitions = metadata.topics()[0].partitions().iter();
        partitions
            .map(|partition| {
                let marks =
                    consumer.fetch_watermarks(&topic, partition.id(), Duration::from_secs(30));
                let (low, high) = marks.expect("watermarks");
                high - low
            })
            .sum()
    });
    counting.await.expect("the counting does not panic")
}

/// Makes a topic with CreateTopics.
pub async fn create(address: SocketAddr, topic: &str, partitions: i32) {
    let admin: AdminClient<DefaultClientContext> =
        config(address).create().expect("an admin client");
    let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let made = admin
        .create_topics([&wanted], &AdminOptions::new())
        .await
        .expect("CreateTopics");
    for outcome in made {
        outcome.expect("the topic is made");
    }
}
