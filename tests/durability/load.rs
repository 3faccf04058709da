//! Producers and consumers that go on through crashes, as well-made services do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry};
use forebay_tests::{amqp, kafka, sqs};
use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable};
use rdkafka::producer::FutureRecord;

use super::ledger::{Ledger, Mark, Progress, Rising};

/// Where to go and what to write down.
#[derive(Clone)]
pub(super) struct Lane {
    pub(super) topic: &'static str,
    pub(super) is_worked_off: bool,
    pub(super) ledger: Arc<Ledger>,
    pub(super) progress: Arc<Progress>,
}

/// How long a client waits before it tries again.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a client waits for an answer before it takes the connection for dead.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long `lapin` gets for what needs no answer: an ack or a publish on a connection that was just
/// lost may never return.
const MOMENT: Duration = Duration::from_secs(2);

/// Sends batches of ten, one at a time.
pub(super) async fn sqs_producer(address: SocketAddr, name: &'static str, lane: Lane) {
    let client = sqs::client_with_timeout(address, PATIENCE);
    let url = format!("http://{address}/000000000000/{}", lane.topic);
    let mut next = 0;
    while !lane.progress.is_over() {
        let marks: Vec<Mark> = (next..next + 10)
            .map(|number| Mark {
                producer: name.into(),
                number,
            })
            .collect();
        next += 10;
        let entries = marks.iter().enumerate().map(|(id, mark)| {
            let entry = SendMessageBatchRequestEntry::builder()
                .id(id.to_string())
                .message_body(mark.body());
            entry
                .message_group_id(name)
                .build()
                .expect("id and body are given")
        });
        let sent = client
            .send_message_batch()
            .queue_url(&url)
            .set_entries(Some(entries.collect()))
            .send()
            .await;
        let Ok(sent) = sent else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        for entry in sent.successful() {
            let id: usize = entry.id.parse().expect("our own id");
            lane.ledger.acknowledge(marks[id].clone());
            lane.progress.sqs.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Publishes twenty at a time with confirms.
pub(super) async fn amqp_producer(address: SocketAddr, name: &'static str, lane: Lane) {
    let mut next = 0;
    while !lane.progress.is_over() {
        let _ = amqp_producing(address, name, &lane, &mut next).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn amqp_producing(
    address: SocketAddr,
    name: &str,
    lane: &Lane,
    next: &mut u64,
) -> lapin::Result<()> {
    let connection = amqp::try_connect(address).await?;
    let channel = amqp::confirming(&connection).await?;
    let mut table = FieldTable::default();
    table.insert("x-forebay-key".into(), AMQPValue::LongString(name.into()));
    let properties = amqp::persistent().with_headers(table);
    while !lane.progress.is_over() {
        let mut waiting = Vec::new();
        for _ in 0..20 {
            let mark = Mark {
                producer: name.into(),
                number: *next,
            };
            *next += 1;
            let options = BasicPublishOptions::default();
            let body = mark.body();
            let publish = channel.basic_publish(
                "".into(),
                lane.topic.into(),
                options,
                body.as_bytes(),
                properties.clone(),
            );
            let Ok(published) = tokio::time::timeout(MOMENT, publish).await else {
                return Ok(());
            };
            waiting.push((mark, published?));
        }
        for (mark, confirm) in waiting {
            let Ok(confirmed) = tokio::time::timeout(PATIENCE, confirm).await else {
                return Ok(());
            };
            if confirmed?.is_ack() {
                lane.ledger.acknowledge(mark);
                lane.progress.amqp.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    connection.close(200, "done".into()).await
}

/// Produces a hundred at a time over eight keys, idempotently, with one producer for its whole life.
/// Where the messages are worked off, it waits for the workers: they are many times slower.
pub(super) async fn kafka_producer(address: SocketAddr, name: &'static str, lane: Lane) {
    let producer = kafka::producer(address);
    let mut next = 0;
    while !lane.progress.is_over() {
        if lane.is_worked_off && lane.ledger.is_deep() {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let marks: Vec<Mark> = (0..100)
            .map(|n| Mark {
                producer: format!("{name}-{}", n % 8),
                number: next + n / 8,
            })
            .collect();
        next += 13;
        // Handed over at once and in order; the acknowledgements are awaited after.
        let mut sending = Vec::new();
        for mark in &marks {
            let body = mark.body();
            let record = FutureRecord::<str, str>::to(lane.topic)
                .key(&mark.producer)
                .payload(&body);
            let sent = producer.send_result(record).map_err(|(failure, _)| failure);
            sending.push(sent.expect("a hundred records fit the client's buffer"));
        }
        for (mark, outcome) in marks.iter().zip(join_all(sending).await) {
            let outcome = outcome.expect("the producer lives as long as this task");
            match outcome {
                Ok(_) => {
                    lane.ledger.acknowledge(mark.clone());
                    lane.progress.kafka.fetch_add(1, Ordering::Relaxed);
                }
                Err((failure, _)) => println!("{}: {failure}", mark.body()),
            }
        }
    }
}

/// Receives and deletes; what a delete was answered for is settled.
pub(super) async fn sqs_consumer(address: SocketAddr, lane: Lane, consumers: Arc<Progress>) {
    let client = sqs::client_with_timeout(address, PATIENCE);
    let url = format!("http://{address}/000000000000/{}", lane.topic);
    while !consumers.is_over() {
        let receive = client
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(10);
        let Ok(received) = receive
            .wait_time_seconds(1)
            .visibility_timeout(10)
            .send()
            .await
        else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let messages = received.messages();
        if messages.is_empty() {
            continue;
        }
        let marks: Vec<Mark> = messages
            .iter()
            .map(|message| Mark::parse(message.body.as_deref().unwrap_or_default().as_bytes()))
            .collect();
        marks
            .iter()
            .for_each(|mark| lane.ledger.deliver(mark.clone()));
        let entries = messages.iter().enumerate().map(|(id, message)| {
            let handle = message.receipt_handle.clone().expect("a receipt handle");
            let entry = DeleteMessageBatchRequestEntry::builder()
                .id(id.to_string())
                .receipt_handle(handle);
            entry.build().expect("id and handle are given")
        });
        let deleted = client
            .delete_message_batch()
            .queue_url(&url)
            .set_entries(Some(entries.collect()));
        let Ok(deleted) = deleted.send().await else {
            continue;
        };
        for entry in deleted.successful() {
            let id: usize = entry.id.parse().expect("our own id");
            lane.ledger.settle(marks[id].clone());
        }
    }
}

/// Consumes with a prefetch of a hundred and acks each. Within one connection the order of a queue
/// holds.
pub(super) async fn amqp_consumer(address: SocketAddr, lane: Lane, consumers: Arc<Progress>) {
    while !consumers.is_over() {
        let _ = amqp_consuming(address, &lane, &consumers).await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn amqp_consuming(
    address: SocketAddr,
    lane: &Lane,
    consumers: &Progress,
) -> lapin::Result<()> {
    let connection = amqp::try_connect(address).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(100, BasicQosOptions::default()).await?;
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = channel
        .basic_consume(lane.topic.into(), "".into(), options, none)
        .await?;
    let mut order = Rising::default();
    while !consumers.is_over() {
        let Ok(delivery) = tokio::time::timeout(Duration::from_millis(200), consumer.next()).await
        else {
            continue;
        };
        let Some(delivery) = delivery else {
            return Ok(());
        };
        let delivery = delivery?;
        let mark = Mark::parse(&delivery.data);
        if let Some(wrong) = order.see(&mark) {
            lane.ledger.violate(wrong);
        }
        lane.ledger.deliver(mark);
        let ack = delivery.ack(BasicAckOptions::default());
        let Ok(acked) = tokio::time::timeout(MOMENT, ack).await else {
            return Ok(());
        };
        acked?;
    }
    connection.close(200, "done".into()).await
}
