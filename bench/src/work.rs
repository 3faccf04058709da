//! A work queue that keeps up: producers wait when more than so many messages are unsettled, so the
//! queue stays short however fast each side is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use forebay_tests::raw::{Wire, read_answer};
use forebay_tests::{Forebay, amqp, sqs};
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::FieldTable;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::Protocol;
use crate::wire::{self, Part, batch, noise, now_ms};

/// Messages that may be in the queue.
const UNSETTLED: usize = 10_000;
/// Messages a consumer acks with one word.
const ACKED_TOGETHER: usize = 100;
const PREFETCH: u16 = 1_000;

/// One work load.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    /// What producers speak. Kafka's are consumed over AMQP.
    pub(crate) protocol: Protocol,
    /// Producers, and as many consumers.
    pub(crate) pairs: usize,
    /// Messages a producer has under way together.
    pub(crate) window: usize,
    /// Bytes of a body.
    pub(crate) bytes: usize,
    /// Messages per second of all together; none: as many as go.
    pub(crate) rate: Option<u64>,
}

/// A work load that runs.
pub(crate) struct Working {
    stop: Arc<AtomicBool>,
    room: Arc<Semaphore>,
    tasks: Vec<JoinHandle<()>>,
}

/// What each producer and consumer has of it.
#[derive(Clone)]
struct Share {
    queue: String,
    window: usize,
    bytes: usize,
    /// Time between two windows of one producer.
    pause: Option<Duration>,
    room: Arc<Semaphore>,
    stop: Arc<AtomicBool>,
}

impl Share {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Waits for its turn and for room for a window; false when it is over.
    async fn turn(&self, last: &mut Instant) -> bool {
        if let Some(pause) = self.pause {
            *last += pause;
            sleep_until(*last).await;
        }
        let window = u32::try_from(self.window).expect("a window is small");
        match self.room.acquire_many(window).await {
            Ok(room) => room.forget(),
            Err(_) => return false,
        }
        self.goes_on()
    }

    fn settled(&self, count: usize) {
        self.room.add_permits(count);
    }
}

impl Work {
    /// Starts it on a queue of its own.
    pub(crate) async fn start(&self, forebay: &Forebay, queue: &str) -> Working {
        let pause = self.rate.map(|rate| {
            Duration::from_secs_f64((self.window * self.pairs) as f64 / rate.max(1) as f64)
        });
        let share = Share {
            queue: queue.to_owned(),
            window: self.window,
            bytes: self.bytes,
            pause,
            room: Arc::new(Semaphore::new(UNSETTLED.max(self.window * self.pairs))),
            stop: Arc::default(),
        };
        let client = sqs::client(forebay.sqs());
        let url = sqs::create(&client, queue).await;
        let mut tasks = Vec::new();
        for _ in 0..self.pairs {
            match self.protocol {
                Protocol::Sqs => {
                    let (one, other) = (Wire::to(forebay.sqs()), Wire::to(forebay.sqs()));
                    tasks.push(tokio::spawn(send(one.await, url.clone(), share.clone())));
                    tasks.push(tokio::spawn(take(other.await, url.clone(), share.clone())));
                }
                Protocol::Amqp => {
                    let (one, other) =
                        (amqp::connect(forebay.amqp()), amqp::connect(forebay.amqp()));
                    tasks.push(tokio::spawn(publish(one.await, share.clone())));
                    tasks.push(tokio::spawn(consume(other.await, share.clone())));
                }
                Protocol::Kafka => {
                    let wire = wire::Wire::to(forebay.kafka()).expect("the listener is open");
                    tasks.push(tokio::spawn(produce(wire, share.clone())));
                    let connection = amqp::connect(forebay.amqp()).await;
                    tasks.push(tokio::spawn(consume(connection, share.clone())));
                }
            }
        }
        Working {
            stop: share.stop,
            room: share.room,
            tasks,
        }
    }
}

impl Working {
    /// Ends it; what is in the queue stays there.
    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        // Those who wait for room need not wait for those who would make it.
        self.room.close();
        for task in self.tasks {
            task.await.expect("the work load does not panic");
        }
    }
}

async fn publish(connection: lapin::Connection, share: Share) {
    let channel = amqp::confirming(&connection).await.unwrap();
    let (body, mut last) = (noise(share.bytes, 3), Instant::now());
    while share.turn(&mut last).await {
        let mut confirms = Vec::with_capacity(share.window);
        for _ in 0..share.window {
            let options = BasicPublishOptions::default();
            let (queue, properties) = (share.queue.as_str().into(), amqp::persistent());
            let publish = channel.basic_publish("".into(), queue, options, &body, properties);
            confirms.push(publish.await.unwrap());
        }
        for confirm in confirms {
            assert!(confirm.await.unwrap().is_ack());
        }
    }
    connection.close(200, "done".into()).await.unwrap();
}

async fn consume(connection: lapin::Connection, share: Share) {
    let channel = connection.create_channel().await.unwrap();
    channel
        .basic_qos(PREFETCH, BasicQosOptions::default())
        .await
        .unwrap();
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let queue = share.queue.as_str().into();
    let consumer = channel.basic_consume(queue, "".into(), options, none).await;
    let mut some = consumer.unwrap().ready_chunks(ACKED_TOGETHER);
    while share.goes_on() {
        // Looked at again now and then, so that the end is seen in an empty queue too.
        let waited = tokio::time::timeout(Duration::from_millis(200), some.next()).await;
        let Ok(Some(some)) = waited else { continue };
        let count = some.len();
        let last = some.into_iter().next_back().expect("a chunk is not empty");
        let ack = BasicAckOptions { multiple: true };
        last.unwrap().ack(ack).await.unwrap();
        share.settled(count);
    }
    connection.close(200, "done".into()).await.unwrap();
}

/// One SQS action; the answer's JSON.
async fn call(wire: &mut Wire, action: &str, body: &Value) -> Value {
    let json = body.to_string();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: bench\r\nX-Amz-Target: AmazonSQS.{action}\r\n\
         Content-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{json}",
        json.len(),
    );
    wire.put(request.as_bytes()).await;
    let answer = read_answer(wire).await.expect("an answer");
    assert_eq!(answer.status, 200, "{action}: {}", answer.body);
    match answer.body.as_str() {
        "" => Value::Null,
        body => serde_json::from_str(body).expect("JSON"),
    }
}

async fn send(mut wire: Wire, url: String, share: Share) {
    let (body, mut last) = ("x".repeat(share.bytes), Instant::now());
    let entry = |n: usize| json!({ "Id": n.to_string(), "MessageBody": body });
    let entries: Vec<Value> = (0..share.window).map(entry).collect();
    let requests: Vec<Value> = entries
        .chunks(10)
        .map(|ten| json!({ "QueueUrl": url, "Entries": ten }))
        .collect();
    while share.turn(&mut last).await {
        for request in &requests {
            call(&mut wire, "SendMessageBatch", request).await;
        }
    }
}

async fn take(mut wire: Wire, url: String, share: Share) {
    let receive = json!({ "QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1 });
    while share.goes_on() {
        let mut answer = call(&mut wire, "ReceiveMessage", &receive).await;
        let Value::Array(messages) = answer["Messages"].take() else {
            continue;
        };
        let entry = |(n, message): (usize, &Value)| json!({ "Id": n.to_string(), "ReceiptHandle": message["ReceiptHandle"] });
        let entries: Vec<Value> = messages.iter().enumerate().map(entry).collect();
        let delete = json!({ "QueueUrl": url, "Entries": entries });
        let answer = call(&mut wire, "DeleteMessageBatch", &delete).await;
        let deleted = answer["Successful"].as_array().map_or(0, Vec::len);
        assert_eq!(deleted, messages.len(), "all are deleted");
        share.settled(deleted);
    }
}

async fn produce(mut wire: wire::Wire, share: Share) {
    let body = noise(share.bytes, 5);
    let batch = batch(now_ms(), (0..share.window).map(|_| body.clone()));
    let mut last = Instant::now();
    while share.turn(&mut last).await {
        // A round trip on loopback: short enough to stay on this thread.
        let error = tokio::task::block_in_place(|| {
            let part = Part {
                topic: &share.queue,
                partition: 0,
                batch: &batch,
            };
            wire.produce(&[part])?;
            wire.produced()
        });
        assert_eq!(error.expect("an answer"), 0, "all are acknowledged");
    }
}
