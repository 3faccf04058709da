//! How long what is settled can still be read.

use forebay_base::Offset;
use forebay_broker::*;

use crate::world::{World, receipts, receive};

const BODY: usize = 512 << 10;

/// Fills the journal past the distance of a snapshot, settling everything that comes.
async fn work(world: &World, topic: &TopicInfo, messages: usize) {
    let body = vec![7u8; BODY];
    for _ in 0..messages {
        world.publish(topic, &[&body]).await;
        let received = world.receive(topic, 10, 0).await;
        world.settle(&received, Outcome::Ack).await;
    }
}

/// The first offset that is left of a topic.
async fn first_left(world: &World, topic: &TopicInfo) -> Offset {
    let mut from = 0;
    loop {
        let mut cursor = Cursor::default();
        let read = world.broker.read(topic.partitions[0], from, 1, &mut cursor);
        match read.await {
            Ok(stored) => return stored[0].base_offset,
            Err(ReadError::OutOfRange { start }) => from = start,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Works on until nothing below `wanted` is left of the topic.
async fn until_gone(world: &World, topic: &TopicInfo, wanted: Offset) {
    for _ in 0..400 {
        if first_left(world, topic).await >= wanted {
            return;
        }
        work(world, topic, 1).await;
    }
    panic!("{:?}", world.broker.bounds(topic.partitions[0]));
}

#[tokio::test]
async fn settled_work_is_dropped_from_the_front_and_unsettled_work_never() {
    let world = World::with(std::sync::Arc::new(forebay_base::SystemClock), |options| {
        options.journal_file_bytes = 4 << 20;
        options.cache_bytes = 1 << 20;
    });
    let old = world.topic("old", TopicConfig::default()).await;
    world.publish(&old, &[b"one", b"two"]).await;
    let topic = world.topic("work", TopicConfig::default()).await;
    let id = topic.partitions[0];
    let first = receive(&world.broker, &old, 1, 0);
    let held = world.broker.receive(first).await.unwrap();

    work(&world, &topic, 150).await;
    // It holds nothing but itself.
    until_gone(&world, &topic, 1).await;
    assert_eq!(world.bodies(&held).await, ["one"]);
    world
        .broker
        .settle(receipts(&held), Outcome::Ack)
        .await
        .unwrap();
    let rest = world.receive(&old, 1, 0).await;
    assert_eq!(world.bodies(&rest).await, ["two"]);
    world.settle(&rest, Outcome::Ack).await;

    // The next commit comes after the files are gone.
    work(&world, &topic, 1).await;
    let first = first_left(&world, &topic).await;
    assert!(first > 0);
    let end = world.broker.bounds(id).end;
    let used: u64 = std::fs::read_dir(world.dir.path().join("journal"))
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    let written = world.broker.counters().journal_bytes;
    assert!(used < written, "{used} bytes are left of {written}");
    // A batch in the middle of what is left, from the disk.
    let middle = first + (end - first) / 2;
    let mut cursor = Cursor::default();
    let stored = world.broker.read(id, middle, 1, &mut cursor).await.unwrap();
    assert_eq!(stored[0].base_offset, middle);
}
