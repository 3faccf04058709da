//! What ends a topic besides its deletion, and what begins a message's time.

use std::sync::Arc;

use forebay_base::{ManualClock, Timestamp};
use forebay_broker::*;

use crate::world::World;

#[tokio::test]
async fn a_delayed_topic_keeps_its_messages_back_for_their_time() {
    let clock = Arc::new(ManualClock::at(Timestamp(1_000_000)));
    let world = World::with(clock.clone(), |_| {});
    let config = TopicConfig {
        delay_ms: 60_000,
        ..TopicConfig::default()
    };
    let topic = world.topic("later", config).await;
    world.publish(&topic, &[b"a"]).await;
    assert!(world.receive(&topic, 1, 0).await.is_empty());
    assert_eq!(world.stats(&topic).await.delayed, 1);
    clock.advance_ms(59_999);
    assert!(world.receive(&topic, 1, 0).await.is_empty());
    let (received, ()) = tokio::join!(world.receive(&topic, 1, 60_000), async {
        clock.advance_ms(1);
    });
    assert_eq!(world.bodies(&received).await, ["a"]);
}

#[tokio::test]
async fn an_exclusive_topic_ends_with_its_session() {
    let world = World::new();
    let session = world.broker.session();
    let config = TopicConfig {
        exclusive: Some(session.id()),
        ..TopicConfig::default()
    };
    let create = Command::CreateTopic {
        name: "mine".into(),
        config,
    };
    let made = session.handle().call(create).await;
    let Ok(Reply::Topic(topic)) = made else {
        panic!("{made:?}")
    };
    let theirs = world.broker.create_topic("mine", TopicConfig::default());
    assert_eq!(theirs.await, Err(Refusal::TopicLocked));
    let receive = crate::world::receive(&world.broker, &topic, 1, 0);
    assert_eq!(
        world.broker.receive(receive).await,
        Err(Refusal::TopicLocked)
    );
    drop(session);
    let again = world.topic("mine", TopicConfig::default()).await;
    assert_ne!(again.id, topic.id);
    assert!(world.broker.directory().topic_by_id(topic.id).is_none());
}

#[tokio::test]
async fn a_transient_topic_is_gone_from_the_first_moment_after_a_restart() {
    let mut world = World::new();
    let config = TopicConfig {
        lifetime: Lifetime {
            transient: true,
            auto_delete: false,
        },
        ..TopicConfig::default()
    };
    let topic = world.topic("passing", config).await;
    let kept = world.topic("kept", TopicConfig::default()).await;
    world.publish(&topic, &[b"a"]).await;
    world.publish(&kept, &[b"b"]).await;
    world.restart(|_| {}).await;
    assert!(world.broker.directory().topic("passing").is_none());
    assert!(world.broker.directory().topic("kept").is_some());
    assert_eq!(
        world.broker.stats(topic.id).await,
        Err(Refusal::NoSuchTopic)
    );
    assert_eq!(world.stats(&kept).await.ready, 1);
}

#[tokio::test]
async fn a_topic_with_its_last_consumer_goes_if_it_was_made_so() {
    let world = World::new();
    let config = TopicConfig {
        lifetime: Lifetime {
            transient: false,
            auto_delete: true,
        },
        ..TopicConfig::default()
    };
    let topic = world.topic("reply", config).await;
    let session = world.broker.session();
    for number in 0..2 {
        let subscribe = Subscribe {
            topic: topic.id,
            consumer: ConsumerId(number),
            credit: 1,
            mode: ConsumerMode::UntilSessionEnds,
            exclusive: false,
            priority: 0,
        };
        let subscribed = session.handle().call(Command::Subscribe(subscribe)).await;
        assert!(matches!(subscribed, Ok(Reply::Done)));
    }
    let leave = |number| Command::Unsubscribe {
        consumer: ConsumerId(number),
    };
    session.handle().call(leave(0)).await.unwrap();
    assert_eq!(world.stats(&topic).await.consumers, 1);
    session.handle().call(leave(1)).await.unwrap();
    assert!(world.broker.directory().topic("reply").is_none());
}
