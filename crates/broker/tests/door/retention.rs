//! What is there long enough goes, settled or not, and what a client wants gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_base::{ManualClock, Offset, SystemClock, Timestamp};
use forebay_broker::*;

use crate::world::{World, batch_of, publish, receipts};

fn quick(options: &mut Options) {
    options.retention_every_ms = 1;
}

/// Waits, as long as it takes, until the topic's first partition starts there.
async fn until_start(world: &World, topic: &TopicInfo, wanted: Offset) {
    let begun = Instant::now();
    while world.broker.bounds(topic.partitions[0]).start != wanted {
        let bounds = world.broker.bounds(topic.partitions[0]);
        assert!(begun.elapsed() < Duration::from_secs(20), "{bounds:?}");
        world.stats(topic).await;
    }
}

async fn publish_at(world: &World, topic: &TopicInfo, time: i64, bodies: &[&[u8]]) {
    let mut one = publish(topic, bodies, WhenFull::Refuse);
    one.messages[0].batch = batch_of(time, bodies);
    world.broker.publish(one).await.unwrap().remove(0).unwrap();
}

fn depth(stats: TopicStats) -> [u64; 3] {
    [stats.ready, stats.leased, stats.delayed]
}

#[tokio::test]
async fn records_go_when_the_latest_of_their_batch_is_too_old() {
    let clock = Arc::new(ManualClock::at(Timestamp(10_000)));
    let world = World::with(clock.clone(), quick);
    let config = TopicConfig {
        retention: Retention::for_ms(60_000),
        ..TopicConfig::default()
    };
    let topic = world.topic("history", config).await;
    let id = topic.partitions[0];
    publish_at(&world, &topic, 5_000, &[b"a", b"b"]).await;
    publish_at(&world, &topic, 9_000, &[b"c"]).await;
    publish_at(&world, &topic, 7_000, &[b"d"]).await;
    // Without a time of its own it is as old as its arrival.
    publish_at(&world, &topic, -1, &[b"e"]).await;

    clock.advance_ms(55_000);
    publish_at(&world, &topic, 65_000, &[b"f"]).await;
    assert_eq!(world.broker.bounds(id).start, 0, "nothing is too old yet");
    clock.advance_ms(1);
    until_start(&world, &topic, 2).await;
    // The batch at 3 is older than the one before it, and waits for it.
    clock.advance_ms(4_000);
    until_start(&world, &topic, 4).await;
    clock.advance_ms(1_000);
    until_start(&world, &topic, 5).await;
    clock.advance_ms(1_000_000);
    until_start(&world, &topic, 6).await;
    let bounds = world.broker.bounds(id);
    assert_eq!((bounds.start, bounds.end), (6, 6));
    let read = world.broker.read(id, 4, 1, &mut Cursor::default()).await;
    assert!(matches!(read, Err(ReadError::OutOfRange { start: 6 })));
}

#[tokio::test]
async fn a_message_over_its_time_is_no_work_and_no_dead_letter() {
    let clock = Arc::new(ManualClock::at(Timestamp(10_000)));
    let mut world = World::with(clock.clone(), quick);
    let dead = world.topic("dead", TopicConfig::default()).await;
    let config = TopicConfig {
        retention: Retention {
            ms: Some(60_000),
            ..Retention::until_settled()
        },
        max_deliveries: Some(1),
        dead_letter: Some(DeadLetterTarget::Topic("dead".into())),
        ..TopicConfig::default()
    };
    let topic = world.topic("work", config).await;
    publish_at(&world, &topic, 5_000, &[b"held", b"ready"]).await;
    publish_at(&world, &topic, 50_000, &[b"young"]).await;
    let held = world.receive(&topic, 1, 0).await;
    assert_eq!(depth(world.stats(&topic).await), [2, 1, 0]);

    clock.advance_ms(59_000);
    until_start(&world, &topic, 2).await;
    assert_eq!(depth(world.stats(&topic).await), [1, 0, 0]);
    let settled = world.broker.settle(receipts(&held), Outcome::Ack).await;
    assert_eq!(settled.unwrap(), [Settled::Gone]);
    let left = world.receive(&topic, 10, 0).await;
    assert_eq!(world.bodies(&left).await, ["young"]);
    let back = Outcome::Release {
        delay_ms: 0,
        count: false,
    };
    world.settle(&left, back).await;

    clock.advance_ms(1_000_000);
    until_start(&world, &topic, 3).await;
    assert_eq!(depth(world.stats(&topic).await), [0, 0, 0]);
    assert_eq!(depth(world.stats(&dead).await), [0, 0, 0]);
    world.restart(|_| {}).await;
    assert_eq!(depth(world.stats(&topic).await), [0, 0, 0]);
    assert_eq!(world.broker.bounds(topic.partitions[0]).start, 3);
}

#[tokio::test]
async fn what_a_client_wants_gone_stays_gone() {
    let mut world = World::with(Arc::new(SystemClock), |_| {});
    let config = TopicConfig {
        retention: Retention::for_ms(u64::MAX),
        ..TopicConfig::default()
    };
    let topic = world.topic("history", config).await;
    let partition = topic.partitions[0];
    world.publish(&topic, &[b"a", b"b", b"c"]).await;
    let trim = |before| {
        let command = Command::TrimPartition { partition, before };
        world.broker.call(command)
    };
    let end = trim(4).await.unwrap_err();
    assert_eq!(end, Refusal::BeyondEnd { end: 3 });
    assert!(matches!(trim(2).await, Ok(Reply::Start(2))));
    assert_eq!(world.broker.bounds(partition).start, 2);
    assert!(matches!(trim(1).await, Ok(Reply::Start(2))));
    let mut cursor = Cursor::default();
    let gone = world.broker.read(partition, 1, 1, &mut cursor);
    assert!(matches!(
        gone.await,
        Err(ReadError::OutOfRange { start: 2 })
    ));
    world.restart(|_| {}).await;
    let bounds = world.broker.bounds(partition);
    assert_eq!((bounds.start, bounds.end), (2, 3));
    let mut cursor = Cursor::default();
    let left = world.broker.read(partition, 2, 1, &mut cursor);
    assert_eq!(left.await.unwrap()[0].base_offset, 0);
    let unknown = Command::TrimPartition {
        partition: forebay_base::PartitionId(99),
        before: 0,
    };
    let unknown = world.broker.call(unknown).await.unwrap_err();
    assert_eq!(unknown, Refusal::NoSuchPartition);
}

#[tokio::test]
async fn a_partition_that_holds_more_than_it_may_loses_its_oldest_records() {
    let world = World::with(Arc::new(SystemClock), quick);
    let config = TopicConfig {
        retention: Retention {
            bytes: Some(2 << 20),
            ..Retention::for_ms(u64::MAX)
        },
        ..TopicConfig::default()
    };
    let topic = world.topic("history", config).await;
    let id = topic.partitions[0];
    let body = vec![7; 64 << 10];
    for _ in 0..24 {
        world.publish(&topic, &[&body]).await;
    }
    let begun = Instant::now();
    for _ in 0..24 {
        world.publish(&topic, &[&body]).await;
    }
    while world.broker.bounds(id).start < 12 {
        let bounds = world.broker.bounds(id);
        assert!(begun.elapsed() < Duration::from_secs(20), "{bounds:?}");
        world.stats(&topic).await;
    }
    // The last of it may still be on its way.
    loop {
        let stats = world.stats(&topic).await;
        let bounds = world.broker.bounds(id);
        assert!(bounds.start < 24, "{bounds:?} is less than it may hold");
        if stats.ready == bounds.end - bounds.start {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{stats:?}");
    }
}
