//! A deep backlog costs no memory and drains as fast at its end as at its start.
//!
//! The normal run takes half a million messages. `FOREBAY_BACKLOG=10000000 cargo test --release -p
//! forebay-tests --test endurance backlog` takes ten million, which is minutes of work.

use std::time::{Duration, Instant};

use forebay_tests::{Forebay, Start, amqp, kafka, sqs};
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use crate::alone;

const SLICES: u64 = 10;
const GROWTH_LIMIT: u64 = 64 << 20;

fn backlog() -> u64 {
    match std::env::var("FOREBAY_BACKLOG") {
        Ok(count) => count
            .parse()
            .expect("FOREBAY_BACKLOG is a number of messages"),
        Err(_) => {
            println!(
                "500,000 messages; FOREBAY_BACKLOG=10000000 takes ten million, which is minutes of work"
            );
            500_000
        }
    }
}

/// Counts what was not acknowledged.
#[derive(Default)]
struct Failures(std::sync::atomic::AtomicU64);

impl rdkafka::ClientContext for Failures {}

impl rdkafka::producer::ProducerContext for Failures {
    type DeliveryOpaque = ();
    fn delivery(&self, outcome: &rdkafka::message::DeliveryResult<'_>, (): ()) {
        if outcome.is_err() {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// Fills a queue with messages of 100 bytes, each numbered at its start.
async fn fill(address: std::net::SocketAddr, topic: &'static str, count: u64) {
    let filling = tokio::task::spawn_blocking(move || {
        let producer: ThreadedProducer<Failures> = kafka::config(address)
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("batch.num.messages", "10000")
            .set("message.timeout.ms", "300000")
            .create_with_context(Failures::default())
            .unwrap();
        let mut body = [b'.'; 100];
        for n in 0..count {
            body[..8].copy_from_slice(&n.to_be_bytes());
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).payload(&body);
            while let Err((failure, again)) = producer.send(record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                assert_eq!(failure, full);
                producer.poll(Duration::from_millis(10));
                record = again;
            }
        }
        producer.flush(Duration::from_secs(300)).unwrap();
        assert_eq!(
            producer
                .context()
                .0
                .load(std::sync::atomic::Ordering::Relaxed),
            0,
            "all were acknowledged"
        );
    });
    filling.await.unwrap();
}

/// Takes all over AMQP, in order; gives the messages per second of each tenth.
async fn drain(forebay: &Forebay, topic: &str, count: u64) -> Vec<f64> {
    let connection = amqp::connect(forebay.amqp()).await;
    let channel = connection.create_channel().await.unwrap();
    channel
        .basic_qos(2_000, BasicQosOptions::default())
        .await
        .unwrap();
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = channel
        .basic_consume(topic.into(), "".into(), options, none)
        .await
        .unwrap();
    let mut rates = Vec::new();
    let mut begun = Instant::now();
    for n in 0..count {
        let waited = tokio::time::timeout(Duration::from_secs(60), consumer.next()).await;
        let delivery = waited.unwrap_or_else(|_| panic!("message {n} of {count} does not come"));
        let delivery = delivery.unwrap().unwrap();
        assert_eq!(delivery.data[..8], n.to_be_bytes(), "in order, none twice");
        if n % 500 == 499 || n + 1 == count {
            delivery
                .ack(BasicAckOptions { multiple: true })
                .await
                .unwrap();
        }
        if (n + 1) % (count / SLICES) == 0 {
            rates.push((count / SLICES) as f64 / begun.elapsed().as_secs_f64());
            begun = Instant::now();
        }
    }
    connection.close(200, "done".into()).await.unwrap();
    rates
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_costs_no_memory_and_drains_steadily() {
    let _alone = alone().await;
    let count = backlog();
    let dir = tempfile::tempdir().unwrap();
    // The tail cache is not what is measured: it is small, and full before.
    let start = Start::on(dir.path()).environment("FOREBAY_CACHE", "8MiB");
    let forebay = start
        .environment("FOREBAY_JOURNAL_FILE", "64MiB")
        .run()
        .await;
    let client = sqs::client(forebay.sqs());
    sqs::create(&client, "warm").await;
    sqs::create(&client, "deep").await;
    fill(forebay.kafka(), "warm", 200_000).await;
    drain(&forebay, "warm", 200_000).await;
    let empty = forebay.resident_bytes();

    let begun = Instant::now();
    fill(forebay.kafka(), "deep", count).await;
    let full = forebay.resident_bytes();
    println!(
        "{count} messages in {:?}; resident {} MiB when empty, {} MiB when full",
        begun.elapsed(),
        empty >> 20,
        full >> 20,
    );
    assert!(
        full.saturating_sub(empty) < GROWTH_LIMIT,
        "{} MiB more",
        (full - empty) >> 20
    );

    let rates = drain(&forebay, "deep", count).await;
    let drained = forebay.resident_bytes();
    println!(
        "drained at {rates:.0?} messages/s by tenth; resident {} MiB",
        drained >> 20
    );
    assert!(
        drained.saturating_sub(empty) < GROWTH_LIMIT,
        "{} MiB more",
        (drained - empty) >> 20
    );
    let (first, last) = (
        rates[..3].iter().sum::<f64>(),
        rates[7..].iter().sum::<f64>(),
    );
    assert!(
        last > first / 2.0,
        "the end of a backlog drains as fast as its start: {rates:.0?}"
    );
}
