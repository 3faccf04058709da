//! Producers that send, wait for the acknowledgements, and send again.
//!
//! AMQP and Kafka are spoken by `lapin` and librdkafka. SQS is spoken by hand over one kept
//! connection for each producer: the SDK spends more time on a request than the program does, and
//! would be what is measured.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use forebay_tests::raw::{Wire, read_answer};
use forebay_tests::{Forebay, amqp, kafka, sqs};
use futures_util::future::join_all;
use lapin::options::BasicPublishOptions;
use rdkafka::producer::{FutureProducer, FutureRecord};
use tokio::task::JoinHandle;

use crate::Protocol;

/// Kafka clients to share among the producers: each has threads of its own.
const KAFKA_CLIENTS: usize = 10;

/// What was acknowledged since the last look.
#[derive(Default)]
pub(crate) struct Tally(Mutex<Counted>);

/// Messages, and the time of each round trip.
#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) messages: u64,
    round_trips: Vec<Duration>,
}

impl Tally {
    fn count(&self, messages: usize, since: Instant) {
        let mut counted = self.0.lock().unwrap();
        counted.messages += messages as u64;
        counted.round_trips.push(since.elapsed());
    }

    pub(crate) fn take(&self) -> Counted {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Counted {
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.round_trips.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or_default()
    }
}

/// What one producer needs.
struct Producer {
    topic: String,
    window: usize,
    bytes: usize,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

impl Producer {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Starts `count` producers on a topic of their own.
#[allow(
    clippy::too_many_arguments,
    reason = "a measurement has that many parameters"
)]
pub(crate) async fn start(
    forebay: &Forebay,
    protocol: Protocol,
    topic: &str,
    count: usize,
    window: usize,
    bytes: usize,
    tally: &Arc<Tally>,
    stop: &Arc<AtomicBool>,
) -> Vec<JoinHandle<()>> {
    let producer = || Producer {
        topic: topic.to_owned(),
        window,
        bytes,
        tally: tally.clone(),
        stop: stop.clone(),
    };
    let client = sqs::client(forebay.sqs());
    let mut running = Vec::new();
    match protocol {
        Protocol::Sqs => {
            let url = sqs::create(&client, topic).await;
            for _ in 0..count {
                let wire = Wire::to(forebay.sqs()).await;
                running.push(tokio::spawn(over_sqs(wire, url.clone(), producer())));
            }
        }
        Protocol::Amqp => {
            for _ in 0..count {
                let connection = amqp::connect(forebay.amqp()).await;
                amqp::declare(&connection.create_channel().await.unwrap(), topic).await;
                running.push(tokio::spawn(over_amqp(connection, producer())));
            }
        }
        Protocol::Kafka => {
            kafka::create(forebay.kafka(), topic, 1).await;
            let make = || -> FutureProducer {
                let mut config = kafka::config(forebay.kafka());
                config
                    .set("enable.idempotence", "true")
                    .set("linger.ms", "0")
                    .create()
                    .unwrap()
            };
            let clients: Vec<FutureProducer> =
                (0..count.min(KAFKA_CLIENTS)).map(|_| make()).collect();
            for n in 0..count {
                let client = clients[n % clients.len()].clone();
                running.push(tokio::spawn(over_kafka(client, producer())));
            }
        }
    }
    running
}

async fn over_sqs(mut wire: Wire, url: String, producer: Producer) {
    let body = "x".repeat(producer.bytes);
    let batch = producer.window.min(10);
    let (action, json) = if batch == 1 {
        (
            "SendMessage",
            format!("{{\"QueueUrl\":\"{url}\",\"MessageBody\":\"{body}\"}}"),
        )
    } else {
        let mut entries = String::new();
        for n in 0..batch {
            let comma = if n == 0 { "" } else { "," };
            let _ = write!(
                entries,
                "{comma}{{\"Id\":\"{n}\",\"MessageBody\":\"{body}\"}}"
            );
        }
        (
            "SendMessageBatch",
            format!("{{\"QueueUrl\":\"{url}\",\"Entries\":[{entries}]}}"),
        )
    };
    let request = format!(
        "POST / HTTP/1.1\r\nHost: bench\r\nX-Amz-Target: AmazonSQS.{action}\r\n\
         Content-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{json}",
        json.len(),
    );
    while producer.goes_on() {
        let since = Instant::now();
        wire.put(request.as_bytes()).await;
        let answer = read_answer(&mut wire).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.body);
        producer.tally.count(batch, since);
    }
}

async fn over_amqp(connection: lapin::Connection, producer: Producer) {
    let channel = amqp::confirming(&connection).await.unwrap();
    let body = vec![b'x'; producer.bytes];
    while producer.goes_on() {
        let since = Instant::now();
        let mut confirms = Vec::with_capacity(producer.window);
        for _ in 0..producer.window {
            let (queue, options) = (
                producer.topic.as_str().into(),
                BasicPublishOptions::default(),
            );
            let publish =
                channel.basic_publish("".into(), queue, options, &body, amqp::persistent());
            confirms.push(publish.await.unwrap());
        }
        for confirm in confirms {
            assert!(confirm.await.unwrap().is_ack());
        }
        producer.tally.count(producer.window, since);
    }
    connection.close(200, "done".into()).await.unwrap();
}

async fn over_kafka(client: FutureProducer, producer: Producer) {
    let body = vec![b'x'; producer.bytes];
    while producer.goes_on() {
        let since = Instant::now();
        let sending = (0..producer.window).map(|_| {
            let record = FutureRecord::<[u8], [u8]>::to(&producer.topic).payload(&body);
            client.send_result(record).expect("room in the client")
        });
        for sent in join_all(sending).await {
            sent.unwrap().expect("an acknowledged record");
        }
        producer.tally.count(producer.window, since);
    }
}
