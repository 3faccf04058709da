//! A compacted topic in life: with its threads, and work on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_base::SystemClock;
use forebay_broker::*;
use forebay_record::{Batch, BatchBuilder};

use crate::world::{World, publish};

const KEYS: usize = 5;
const BODY: usize = 256 << 10;

async fn put(world: &World, topic: &TopicInfo, number: usize) {
    let mut batch = BatchBuilder::new(1_000);
    let mut body = number.to_string().into_bytes();
    body.resize(BODY, b' ');
    let key = [u8::try_from(number % KEYS).unwrap()];
    let headers = std::iter::empty();
    batch.push(1_000, Some(&key), Some(&body), headers).unwrap();
    let mut one = publish(topic, &[], WhenFull::Refuse);
    one.messages[0].batch = batch.finish();
    world.broker.publish(one).await.unwrap().remove(0).unwrap();
}

/// The numbers that can be read.
async fn table(world: &World, topic: &TopicInfo) -> Vec<usize> {
    let partition = topic.partitions[0];
    let bounds = world.broker.bounds(partition);
    let mut cursor = Cursor::default();
    let (mut next, mut found) = (bounds.start, Vec::new());
    while next < bounds.end {
        let read = world.broker.read(partition, next, 4 << 20, &mut cursor);
        let read = read.await.unwrap();
        let Some(last) = read.last() else { break };
        next = last.base_offset + u64::from(last.records);
        for stored in read {
            let batch = Batch::from_trusted(stored.batch).unwrap();
            for record in batch.records(1 << 20).unwrap() {
                let value = record.unwrap().value.unwrap();
                let text = std::str::from_utf8(&value).unwrap().trim_end();
                found.push(text.parse().unwrap());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_superseded_goes_and_is_no_work_either() {
    let mut world = World::with(Arc::new(SystemClock), |_| {});
    let config = TopicConfig {
        retention: Retention {
            until_settled: false,
            ms: None,
            bytes: None,
        },
        compaction: Some(Compaction {
            min_dirty_ratio: 0,
            ..Compaction::default()
        }),
        ..TopicConfig::default()
    };
    let topic = world.topic("table", config).await;
    let begun = Instant::now();
    let mut written = 0;
    // Until most of what was written is gone.
    loop {
        for _ in 0..40 {
            put(&world, &topic, written).await;
            written += 1;
        }
        let left = world.broker.bytes(topic.partitions[0]);
        if left < (written * BODY / 2) as u64 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{left} left");
    }
    world.restart(|_| {}).await;
    let left = table(&world, &topic).await;
    assert!(left.is_sorted());
    let last: Vec<usize> = (written - KEYS..written).collect();
    assert!(left.ends_with(&last), "the latest of each key");

    // Whoever works on the topic gets what is there, and then nothing more.
    let mut got = Vec::new();
    let receive = || Receive {
        topic: topic.id,
        max: 100,
        until: None,
        mode: ConsumerMode::LeaseMs(1_000_000),
        attempt: None,
    };
    while let Ok(deliveries) = world.broker.receive(receive()).await
        && !deliveries.is_empty()
    {
        let mut cursor = Cursor::default();
        let read = world.broker.records(&deliveries, &mut cursor).await;
        for one in read.unwrap() {
            got.push(usize::try_from(one.receipt.offset).unwrap());
        }
    }
    assert!(got.ends_with(&last));
    assert!(got.len() < written);
    let leased = world.stats(&topic).await.leased;
    assert_eq!(leased, got.len() as u64, "nobody waits for what is gone");
}
