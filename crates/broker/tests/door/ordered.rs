//! Topics whose groups keep their order, and those that find out duplicates.

use forebay_broker::*;
use forebay_record::BatchBuilder;

use crate::world::{World, plain, publish_this, receipts, receive};

fn ordered() -> TopicConfig {
    TopicConfig {
        ordered: true,
        dedup_ms: 300_000,
        ..TopicConfig::default()
    }
}

/// Publishes messages, each as "group:body".
async fn publish(world: &World, topic: &TopicInfo, messages: &[&str]) {
    let mut batch = BatchBuilder::new(1_000);
    for message in messages {
        let (group, body) = message.split_once(':').unwrap();
        let headers = std::iter::empty();
        let (key, value) = (Some(group.as_bytes()), Some(body.as_bytes()));
        batch.push(1_000, key, value, headers).unwrap();
    }
    send(world, plain(Target::Topic(topic.id), batch.finish())).await;
}

async fn send(world: &World, outgoing: Outgoing) -> Placed {
    let publish = publish_this(outgoing, WhenFull::Refuse);
    let mut results = world.broker.publish(publish).await.unwrap();
    results.remove(0).unwrap()
}

async fn take(world: &World, topic: &TopicInfo, max: u32) -> (Deliveries, Vec<String>) {
    let deliveries = world.receive(topic, max, 0).await;
    let bodies = world.bodies(&deliveries).await;
    (deliveries, bodies)
}

#[tokio::test]
async fn a_group_is_one_lane() {
    let world = World::new();
    let topic = world.topic("work", ordered()).await;
    publish(&world, &topic, &["a:1", "a:2", "b:1", "a:3", "b:2"]).await;
    let (first, bodies) = take(&world, &topic, 2).await;
    assert_eq!(bodies, ["1", "2"], "as many of one group as there are");
    let (second, bodies) = take(&world, &topic, 10).await;
    assert_eq!(
        bodies,
        ["1", "2"],
        "the rest of a group that is held is not handed out"
    );
    assert!(take(&world, &topic, 10).await.0.is_empty());

    let waiting = receive(&world.broker, &topic, 10, 60_000);
    let waiting = tokio::spawn({
        let broker = world.broker.clone();
        async move { broker.receive(waiting).await.unwrap() }
    });
    let one = |index: usize| vec![receipts(&first)[index]];
    let settle = |receipts, outcome| world.broker.settle(receipts, outcome);
    settle(one(1), Outcome::Ack).await.unwrap();
    settle(one(0), Outcome::AckLeased).await.unwrap();
    let woken = waiting.await.unwrap();
    assert_eq!(
        world.bodies(&woken).await,
        ["3"],
        "an ack wakes who waits for the group"
    );
    world.settle(&second, Outcome::Ack).await;
    world.settle(&woken, Outcome::Ack).await;
    assert!(take(&world, &topic, 10).await.0.is_empty());
}

#[tokio::test]
async fn what_comes_back_comes_before_what_follows_it() {
    let world = World::new();
    let topic = world.topic("work", ordered()).await;
    publish(&world, &topic, &["a:1", "a:2", "a:3"]).await;
    let (first, _) = take(&world, &topic, 1).await;
    let released = Outcome::Release {
        delay_ms: 0,
        count: true,
    };
    world.settle(&first, released).await;
    let late = world.broker.settle(receipts(&first), Outcome::AckLeased);
    assert_eq!(late.await.unwrap(), [Settled::Expired]);
    let (second, bodies) = take(&world, &topic, 2).await;
    assert_eq!(
        bodies,
        ["1", "2"],
        "a late ack of a lease that has ended does nothing"
    );
    let late = world.broker.settle(receipts(&first), Outcome::AckLeased);
    assert_eq!(late.await.unwrap(), [Settled::Stale]);
    world.settle(&second, Outcome::Ack).await;
    assert_eq!(take(&world, &topic, 2).await.1, ["3"]);
}

#[tokio::test]
async fn a_restart_finds_groups_and_leases_as_they_were() {
    let mut world = World::new();
    let topic = world.topic("work", ordered()).await;
    publish(&world, &topic, &["a:1", "b:1", "a:2", "c:1", "b:2"]).await;
    let (held, bodies) = take(&world, &topic, 1).await;
    assert_eq!(bodies, ["1"]);
    world.restart(|_| {}).await;
    publish(&world, &topic, &["a:3", "b:3"]).await;
    let (others, bodies) = take(&world, &topic, 10).await;
    assert_eq!(bodies, ["1", "1", "2", "3"], "b and c, not a");
    world.settle(&others, Outcome::Ack).await;
    world.settle(&held, Outcome::Ack).await;
    world.restart(|_| {}).await;
    assert_eq!(take(&world, &topic, 10).await.1, ["2", "3"]);
}

#[tokio::test]
async fn dead_letters_keep_their_order() {
    let world = World::new();
    let dead = world.topic("dead", ordered()).await;
    let config = TopicConfig {
        max_deliveries: Some(1),
        dead_letter: Some(DeadLetterTarget::Topic("dead".into())),
        ..ordered()
    };
    let topic = world.topic("work", config).await;
    let messages: Vec<String> = (0..60).map(|n| format!("{}:{n}", n % 2)).collect();
    let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
    publish(&world, &topic, &messages).await;
    let mut step = 0;
    while world.stats(&dead).await.ready < 60 {
        let received = world.receive(&topic, 1 + step % 7, 1_000).await;
        // Those after a message that was rejected wait until it has moved.
        let outcome = match step % 2 {
            0 => Outcome::DeadLetter,
            _ => Outcome::Release {
                delay_ms: 0,
                count: true,
            },
        };
        world.settle(&received, outcome).await;
        step += 1;
        assert!(step < 1_000, "{:?}", world.stats(&topic).await);
    }
    let mut last = [-1_i64; 2];
    while let (received, bodies) = take(&world, &dead, 10).await
        && !received.is_empty()
    {
        for body in bodies {
            let number: i64 = body.parse().unwrap();
            let group = usize::try_from(number % 2).unwrap();
            assert_eq!(
                number,
                if last[group] < 0 {
                    group as i64
                } else {
                    last[group] + 2
                }
            );
            last[group] = number;
        }
        world.settle(&received, Outcome::Ack).await;
    }
    assert_eq!(last, [58, 59]);
}

fn single(topic: &TopicInfo, body: &str, identity: Identity) -> Outgoing {
    let mut batch = BatchBuilder::new(1_000);
    let value = Some(body.as_bytes());
    batch
        .push(1_000, Some(b"g"), value, std::iter::empty())
        .unwrap();
    Outgoing {
        identity: Some(identity),
        ..plain(Target::Topic(topic.id), batch.finish())
    }
}

#[tokio::test]
async fn a_duplicate_is_told_of_the_original_also_after_a_restart() {
    let mut world = World::new();
    let topic = world.topic("work", ordered()).await;
    let identity = |key, id| Identity { key, id };
    let first = send(&world, single(&topic, "one", identity(7, 100))).await;
    assert_eq!(first.original, None);
    let again = send(&world, single(&topic, "two", identity(7, 101))).await;
    let wanted = Placed {
        original: Some(100),
        ..first
    };
    assert_eq!(again, wanted);
    let (received, bodies) = take(&world, &topic, 10).await;
    assert_eq!(bodies, ["one"]);
    world.settle(&received, Outcome::Ack).await;
    for _ in 0..2 {
        let again = send(&world, single(&topic, "three", identity(7, 102))).await;
        assert_eq!(again, wanted, "also when the original is settled");
        world.restart(|_| {}).await;
    }
    let other = send(&world, single(&topic, "four", identity(8, 103))).await;
    assert_eq!((other.original, other.base_offset), (None, 1));

    let plain = world.topic("plain", TopicConfig::default()).await;
    for _ in 0..2 {
        let placed = send(&world, single(&plain, "one", identity(7, 100))).await;
        assert_eq!(placed.original, None, "a topic that does not look for them");
    }
}

#[tokio::test]
async fn an_attempt_made_again_gets_the_same_messages() {
    let world = World::new();
    let topic = world.topic("work", ordered()).await;
    publish(&world, &topic, &["a:1", "a:2", "b:1"]).await;
    let attempt = |attempt| Receive {
        attempt: Some(attempt),
        ..receive(&world.broker, &topic, 2, 0)
    };
    let call = |attempt| world.broker.receive(attempt);
    let first = call(attempt(1)).await.unwrap();
    assert_eq!(world.bodies(&first).await, ["1", "2"]);
    for _ in 0..2 {
        assert_eq!(call(attempt(1)).await.unwrap(), first);
    }
    let other = call(attempt(2)).await.unwrap();
    assert_eq!(world.bodies(&other).await, ["1"]);
    assert!(call(attempt(3)).await.unwrap().is_empty());
    let settled = world
        .broker
        .settle(receipts(&first)[..1].to_vec(), Outcome::Ack);
    settled.await.unwrap();
    assert!(
        call(attempt(1)).await.unwrap().is_empty(),
        "one of them was settled"
    );
    let extended = world
        .broker
        .settle(receipts(&other), Outcome::Extend { ms: 1_000_000 });
    extended.await.unwrap();
    assert!(
        call(attempt(2)).await.unwrap().is_empty(),
        "its lease was changed"
    );
}

#[tokio::test]
async fn no_more_are_leased_than_may_be() {
    let world = World::new();
    let config = TopicConfig {
        max_leased: Some(3),
        ..TopicConfig::default()
    };
    let topic = world.topic("work", config).await;
    world.publish(&topic, &[b"1", b"2", b"3", b"4", b"5"]).await;
    let held = world.receive(&topic, 10, 0).await;
    assert_eq!(held.len(), 3);
    assert!(world.receive(&topic, 10, 0).await.is_empty());
    world.settle(&held, Outcome::Ack).await;
    assert_eq!(world.receive(&topic, 10, 0).await.len(), 2);
}
