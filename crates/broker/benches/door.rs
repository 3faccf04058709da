//! Synced publishes and consumed messages per second through the door, without any protocol.
#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::sync::Arc;
use std::time::Instant;

use forebay_base::SystemClock;
use forebay_broker::*;
use forebay_record::{Batch, BatchBuilder};

fn batch(records: usize) -> Batch {
    let mut batch = BatchBuilder::new(1_000);
    for _ in 0..records {
        let id = "0190a0b0-1234-7abc-8def-0123456789ab";
        let headers = [(envelope::ID, Some(id.as_bytes()))];
        batch
            .push(1_000, None, Some(&[b'x'; 100]), headers.into_iter())
            .unwrap();
    }
    batch.finish()
}

async fn publish(
    broker: &Broker,
    topic: &TopicInfo,
    writers: usize,
    records: usize,
    rounds: usize,
) {
    let before = broker.counters();
    let start = Instant::now();
    let writers = (0..writers).map(|_| {
        let (broker, topic) = (broker.clone(), topic.id);
        tokio::spawn(async move {
            for _ in 0..rounds {
                let outgoing = Outgoing {
                    target: Target::Topic(topic),
                    batch: batch(records),
                    key_hash: None,
                    not_before: None,
                    identity: None,
                    lives_ms: None,
                };
                let publish = Publish {
                    messages: vec![outgoing],
                    durability: Durability::Synced,
                    when_full: WhenFull::Refuse,
                };
                broker.publish(publish).await.unwrap().remove(0).unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let count = writers.len() * records * rounds;
    for writer in writers {
        writer.await.unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    let commits = broker.counters().commits - before.commits;
    println!(
        "publish {:>4} writers x {records:>4} records: {:>9.0} messages/s, {:>6.0} syncs/s",
        count / records / rounds,
        count as f64 / seconds,
        commits as f64 / seconds,
    );
}

async fn consume(broker: &Broker, topic: &TopicInfo, mode: ConsumerMode) {
    let total = broker.stats(topic.id).await.unwrap().ready;
    let mut session = broker.session();
    let consumer = ConsumerId(1);
    let subscribe = Subscribe {
        topic: topic.id,
        consumer,
        credit: 1_000,
        mode,
        exclusive: false,
        priority: 0,
    };
    let handle = session.handle();
    let start = Instant::now();
    handle.call(Command::Subscribe(subscribe)).await.unwrap();
    let (mut seen, mut cursor) = (0, Cursor::default());
    while seen < total {
        let Some(event) = session.next().await else {
            panic!("stopped")
        };
        let Event::Delivery { deliveries, .. } = event else {
            continue;
        };
        let delivered = broker.records(&deliveries, &mut cursor).await.unwrap();
        seen += delivered.len() as u64;
        let add = u32::try_from(delivered.len()).unwrap();
        if mode != ConsumerMode::Settled {
            let receipts = delivered.iter().map(|d| d.receipt).collect();
            handle
                .tell(Command::Settle {
                    receipts,
                    outcome: Outcome::Ack,
                })
                .await
                .unwrap();
        }
        handle
            .tell(Command::Credit { consumer, add })
            .await
            .unwrap();
    }
    let rate = total as f64 / start.elapsed().as_secs_f64();
    println!("consume {total} messages, {mode:?}: {rate:.0} messages/s");
}

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir_in(std::env::var("BENCH_DIR").unwrap_or(".".into())).unwrap();
    let (broker, running) = Broker::open(Options::new(dir.path()), Arc::new(SystemClock)).unwrap();
    let topic = broker
        .create_topic("bench", TopicConfig::default())
        .await
        .unwrap();
    for (writers, records, rounds) in [
        (1, 1, 2_000),
        (10, 1, 2_000),
        (100, 1, 1_000),
        (1_000, 1, 200),
        (4, 256, 500),
    ] {
        publish(&broker, &topic, writers, records, rounds).await;
    }
    consume(&broker, &topic, ConsumerMode::UntilSessionEnds).await;
    publish(&broker, &topic, 4, 256, 500).await;
    consume(&broker, &topic, ConsumerMode::Settled).await;
    running.shutdown().await.unwrap();
}
