//! Topics whose groups do not hold each other up, whose retries wait, whose names rest: also after
//! a restart.

use forebay_broker::*;
use forebay_record::BatchBuilder;

use crate::world::{World, plain, publish_this};

async fn publish(world: &World, topic: &TopicInfo, key: &str, count: usize) {
    let mut batch = BatchBuilder::new(1_000);
    for _ in 0..count {
        let value = Some(key.as_bytes());
        let key = value.filter(|key| !key.is_empty());
        batch.push(1_000, key, value, std::iter::empty()).unwrap();
    }
    let outgoing = plain(Target::Topic(topic.id), batch.finish());
    let publish = publish_this(outgoing, WhenFull::Refuse);
    world.broker.publish(publish).await.unwrap()[0]
        .clone()
        .unwrap();
}

#[tokio::test]
async fn a_loud_group_waits_for_a_quiet_one() {
    let mut world = World::new();
    let fair = TopicConfig {
        fair: true,
        lease_ms: 600_000,
        ..TopicConfig::default()
    };
    let topic = world.topic("work", fair).await;
    publish(&world, &topic, "loud", 200).await;
    let out = world.receive(&topic, 40, 0).await;
    assert_eq!(out.len(), 40);
    publish(&world, &topic, "quiet", 2).await;
    publish(&world, &topic, "", 1).await;
    world.restart(|_| {}).await;
    let next = world.receive(&topic, 4, 0).await;
    assert_eq!(world.bodies(&next).await, ["loud", "quiet", "quiet", ""]);
    world.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_is_given_back_waits_also_over_a_restart() {
    let mut world = World::new();
    let patient = TopicConfig {
        backoff: Some(Backoff {
            first_ms: 3_600_000,
            most_ms: 3_600_000,
            growth_percent: 200,
            spread_percent: 10,
        }),
        ..TopicConfig::default()
    };
    let topic = world.topic("work", patient).await;
    publish(&world, &topic, "a", 2).await;
    let release = Outcome::Release {
        delay_ms: 0,
        count: true,
    };
    let first = world.receive(&topic, 1, 0).await;
    world.settle(&first, release).await;
    assert_eq!(world.stats(&topic).await.delayed, 1);
    // A lease of no time ends at once.
    let receive = Receive {
        topic: topic.id,
        max: 1,
        until: None,
        mode: ConsumerMode::LeaseMs(1),
        attempt: None,
    };
    assert_eq!(world.broker.receive(receive).await.unwrap().len(), 1);
    while world.stats(&topic).await.leased > 0 {
        tokio::task::yield_now().await;
    }
    world.restart(|_| {}).await;
    let stats = world.stats(&topic).await;
    assert_eq!((stats.ready, stats.delayed), (0, 2));
    let at_once = TopicConfig {
        backoff: None,
        ..topic.config.clone()
    };
    world.broker.alter_topic(topic.id, at_once).await.unwrap();
    assert_eq!(world.stats(&topic).await.delayed, 2, "the wait goes on");
    world.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_name_of_a_deleted_topic_rests() {
    let mut world = World::new();
    let rests = |name_rests_ms| TopicConfig {
        name_rests_ms,
        ..TopicConfig::default()
    };
    let long = world.topic("long", rests(3_600_000)).await;
    let none = world.topic("none", rests(0)).await;
    let all = Expectation::default();
    world.broker.delete_topic(long.id, all).await.unwrap();
    world.broker.delete_topic(none.id, all).await.unwrap();
    for _ in 0..2 {
        let (directory, now) = (world.broker.directory(), world.broker.now());
        assert!(directory.resting("long", now) && !directory.resting("none", now));
        assert!(!directory.resting("long", now.plus_ms(3_600_000)));
        world.restart(|_| {}).await;
    }
    // Whether to wait is not the broker's to say.
    world.topic("long", rests(0)).await;
    world.shutdown().await.unwrap();
}
