//! A deep backlog: filled through a Kafka producer, which is quickest, and drained over AMQP.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;

use crate::{Forebay, amqp, kafka};

/// Rates are measured by so many parts.
pub const SLICES: u64 = 10;

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

/// Fills a topic with messages of `size` bytes, at least 8, each numbered at its start.
pub async fn fill(address: SocketAddr, topic: &'static str, count: u64, size: usize) {
    let filling = tokio::task::spawn_blocking(move || {
        let producer: ThreadedProducer<Failures> = kafka::config(address)
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("batch.num.messages", "10000")
            .set("message.timeout.ms", "300000")
            .create_with_context(Failures::default())
            .unwrap();
        let mut body = vec![b'.'; size];
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

/// Takes all over AMQP, in order, and settles all; gives the messages per second of each tenth.
pub async fn drain(forebay: &Forebay, topic: &str, count: u64) -> Vec<f64> {
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
