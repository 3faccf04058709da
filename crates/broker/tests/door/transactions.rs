//! Transactions across restarts, and on a topic that is worked off.

use forebay_base::Timestamp;
use forebay_broker::*;
use forebay_record::BatchBuilder;

use crate::world::{World, plain, publish_this};

async fn ask(world: &World, command: TransactionCommand) -> Result<Reply, Refusal> {
    world.broker.call(Command::Transaction(command)).await
}

async fn register(world: &World, name: &str) -> Transactional {
    let command = TransactionCommand::Register {
        name: name.to_owned(),
        timeout_ms: 600_000,
        expected: None,
    };
    match ask(world, command).await {
        Ok(Reply::Transactional { producer, epoch }) => Transactional {
            name: name.to_owned(),
            producer,
            epoch,
        },
        other => panic!("{other:?}"),
    }
}

async fn append(world: &World, who: &Transactional, topic: &TopicInfo, sequence: i32, body: &str) {
    let partitions = topic.partitions.clone();
    let target = Target::Partition(partitions[0]);
    let who_adds = who.clone();
    let add = TransactionCommand::AddPartitions {
        who: who_adds,
        partitions,
    };
    assert!(matches!(ask(world, add).await, Ok(Reply::Done)));
    let mut batch = BatchBuilder::new(1_000)
        .producer(who.producer, who.epoch, sequence)
        .transactional();
    batch
        .push(1_000, None, Some(body.as_bytes()), std::iter::empty())
        .unwrap();
    let publish = publish_this(plain(target, batch.finish()), WhenFull::Refuse);
    world.broker.publish(publish).await.unwrap()[0]
        .as_ref()
        .unwrap();
}

async fn end(world: &World, who: &Transactional, commit: bool) {
    let who = who.clone();
    let end = TransactionCommand::End { who, commit };
    assert!(matches!(ask(world, end).await, Ok(Reply::Done)));
}

#[tokio::test]
async fn an_open_transaction_survives_a_restart_and_holds_back_what_follows() {
    let mut world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    let id = topic.partitions[0];
    world.publish(&topic, &[b"before"]).await;
    let who = register(&world, "t").await;
    append(&world, &who, &topic, 0, "aborted").await;
    end(&world, &who, false).await;
    append(&world, &who, &topic, 1, "held").await;
    world.publish(&topic, &[b"behind"]).await;
    let held = |world: &World| {
        let bounds = world.broker.bounds(id);
        (bounds.decided, bounds.end)
    };
    assert_eq!(held(&world), (3, 5));
    for _ in 0..2 {
        world.restart(|_| {}).await;
        assert_eq!(held(&world), (3, 5));
        let aborted = world.broker.aborted(id, 0, 5);
        assert_eq!(aborted.len(), 1);
        assert_eq!((aborted[0].first, aborted[0].last), (1, 2));
    }
    let received = world.receive(&topic, 10, 0).await;
    assert_eq!(world.bodies(&received).await, ["before"]);
    end(&world, &who, true).await;
    assert_eq!(held(&world), (6, 6));
    let received = world.receive(&topic, 10, 10_000).await;
    assert_eq!(world.bodies(&received).await, ["held", "behind"]);
    let stats = world.stats(&topic).await;
    assert_eq!((stats.ready, stats.leased), (0, 3), "no marker is left");
}

#[tokio::test]
async fn a_watch_for_what_is_decided_wakes_when_it_is() {
    let world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    let id = topic.partitions[0];
    let who = register(&world, "t").await;
    append(&world, &who, &topic, 0, "a").await;
    let now = world.broker.now();
    let over = world.broker.watch_decided(vec![(id, 0)], now.plus_ms(20));
    over.await.unwrap();
    assert_eq!(world.broker.bounds(id).decided, 0);
    world
        .broker
        .watch(vec![(id, 0)], Timestamp::MAX)
        .await
        .unwrap();
    let watch = world.broker.watch_decided(vec![(id, 0)], Timestamp::MAX);
    let (woken, ()) = tokio::join!(watch, end(&world, &who, true));
    woken.unwrap();
    assert_eq!(world.broker.bounds(id).decided, 2);
}

#[tokio::test]
async fn a_topic_that_goes_takes_its_part_of_a_transaction_with_it() {
    let mut world = World::new();
    let gone = world.topic("gone", TopicConfig::default()).await;
    let kept = world.topic("kept", TopicConfig::default()).await;
    let who = register(&world, "t").await;
    append(&world, &who, &gone, 0, "a").await;
    append(&world, &who, &kept, 0, "b").await;
    let deleted = world.broker.delete_topic(gone.id, Expectation::default());
    deleted.await.unwrap();
    world.restart(|_| {}).await;
    end(&world, &who, true).await;
    let received = world.receive(&kept, 10, 10_000).await;
    assert_eq!(world.bodies(&received).await, ["b"]);
}
