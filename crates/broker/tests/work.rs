//! The life of a message as work, through the door, on a real disk.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use forebay_base::SystemClock;
use forebay_broker::*;
use forebay_record::{Batch, BatchBuilder};

struct World {
    dir: tempfile::TempDir,
    broker: Broker,
    running: Option<Running>,
}

fn options(dir: &tempfile::TempDir) -> Options {
    Options {
        journal_file_bytes: 4 << 20,
        min_free_bytes: 0,
        ..Options::new(dir.path())
    }
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (broker, running) = Broker::open(options(&dir), Arc::new(SystemClock)).unwrap();
        Self {
            dir,
            broker,
            running: Some(running),
        }
    }

    /// Stops in good order and opens again.
    async fn restart(&mut self) {
        self.running.take().unwrap().shutdown().await.unwrap();
        let (broker, running) = Broker::open(options(&self.dir), Arc::new(SystemClock)).unwrap();
        self.broker = broker;
        self.running = Some(running);
    }

    async fn topic(&self, name: &str, config: TopicConfig) -> Arc<TopicInfo> {
        self.broker.create_topic(name, config).await.unwrap()
    }

    async fn publish(&self, target: Target, bodies: &[&str]) -> Placed {
        let publish = Publish {
            messages: vec![Outgoing {
                target,
                batch: batch(bodies),
                key_hash: None,
                not_before: None,
                identity: None,
                lives_ms: None,
            }],
            durability: Durability::Synced,
            when_full: WhenFull::Refuse,
        };
        self.broker
            .publish(publish)
            .await
            .unwrap()
            .remove(0)
            .unwrap()
    }

    async fn receive(&self, topic: &TopicInfo, max: u32) -> Vec<(String, Receipt)> {
        self.receive_for(topic, max, 0, 60_000).await
    }

    async fn receive_for(
        &self,
        topic: &TopicInfo,
        max: u32,
        wait_ms: u64,
        lease_ms: u64,
    ) -> Vec<(String, Receipt)> {
        let receive = Receive {
            topic: topic.id,
            max,
            until: (wait_ms > 0).then(|| self.broker.now().plus_ms(wait_ms)),
            mode: ConsumerMode::LeaseMs(lease_ms),
            attempt: None,
        };
        let deliveries = self.broker.receive(receive).await.unwrap();
        let mut cursor = Cursor::default();
        let delivered = self.broker.records(&deliveries, &mut cursor).await.unwrap();
        delivered
            .into_iter()
            .map(|d| (body(&d), d.receipt))
            .collect()
    }

    async fn settle(&self, receipts: Vec<Receipt>, outcome: Outcome) -> Vec<Settled> {
        self.broker.settle(receipts, outcome).await.unwrap()
    }
}

fn batch(bodies: &[&str]) -> Batch {
    let mut batch = BatchBuilder::new(1_000);
    for body in bodies {
        let headers = std::iter::empty();
        batch
            .push(1_000, None, Some(body.as_bytes()), headers)
            .unwrap();
    }
    batch.finish()
}

fn body(delivered: &Delivered) -> String {
    String::from_utf8(delivered.record.value.clone().unwrap().to_vec()).unwrap()
}

fn bodies(received: &[(String, Receipt)]) -> Vec<&str> {
    received.iter().map(|(body, _)| body.as_str()).collect()
}

#[tokio::test]
async fn what_is_acked_is_gone_and_what_is_not_comes_back() {
    let mut world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    let placed = world
        .publish(Target::Topic(topic.id), &["a", "b", "c"])
        .await;
    assert_eq!((placed.routed, placed.base_offset), (1, 0));

    let received = world.receive(&topic, 2).await;
    assert_eq!(bodies(&received), ["a", "b"]);
    let settled = world.settle(vec![received[0].1], Outcome::Ack).await;
    assert_eq!(settled, [Settled::Held]);
    let release = Outcome::Release {
        delay_ms: 0,
        count: true,
    };
    world.settle(vec![received[1].1], release).await;

    let again = world.receive(&topic, 10).await;
    assert_eq!(bodies(&again), ["b", "c"]);
    assert_eq!(again[0].1.attempt, 2);

    world.restart().await;
    let stats = world.broker.stats(topic.id).await.unwrap();
    assert_eq!(
        (stats.ready, stats.leased),
        (0, 2),
        "leases with a time survive a restart"
    );
    let receipts = again.iter().map(|(_, receipt)| *receipt).collect();
    assert_eq!(
        world.settle(receipts, Outcome::Ack).await,
        [Settled::Held, Settled::Held]
    );
    assert_eq!(
        world.broker.stats(topic.id).await.unwrap(),
        TopicStats::default()
    );
}

#[tokio::test]
async fn what_is_too_much_at_once_is_read_in_portions() {
    let world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    let sizes = [10, 100_000, 5, 5, 300_000, 300_000, 20, 20, 20, 100_000];
    let sent: Vec<String> = (0..3)
        .flat_map(|round: usize| sizes.map(|size| round.to_string().repeat(size)))
        .collect();
    for bodies in sent.chunks(7) {
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        world.publish(Target::Topic(topic.id), &bodies).await;
    }
    let receive = Receive {
        topic: topic.id,
        max: 100,
        until: None,
        mode: ConsumerMode::LeaseMs(60_000),
        attempt: None,
    };
    let mut rest = world.broker.receive(receive).await.unwrap();
    let all = rest.clone();
    let (mut got, mut runs, mut cursor) = (Vec::new(), Vec::new(), Cursor::default());
    while !rest.is_empty() {
        let read = world.broker.records_within(rest, 150_000, &mut cursor);
        let portion = read.await.unwrap();
        let weights = portion.delivered.iter().map(|one| body(one).len());
        let weight: usize = weights.sum();
        assert!(weight <= 150_000 + 4 * 300_000, "{weight}");
        assert_eq!(portion.deliveries.len(), portion.delivered.len());
        got.extend(portion.delivered.iter().map(body));
        runs.extend(portion.deliveries.runs);
        rest = portion.rest;
    }
    assert!(got == sent);
    let count = |runs: &[Run]| runs.iter().map(|run| run.range.count).sum::<u32>();
    assert_eq!(count(&runs), count(&all.runs));
}

#[tokio::test]
async fn a_waiting_receive_is_answered_by_the_next_message() {
    let world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    let (received, _) = tokio::join!(
        world.receive_for(&topic, 1, 60_000, 1_000),
        world.publish(Target::Topic(topic.id), &["late"]),
    );
    assert_eq!(bodies(&received), ["late"]);
    assert!(
        world.receive_for(&topic, 1, 1, 1_000).await.is_empty(),
        "the wait ends"
    );
}

#[tokio::test]
async fn too_many_deliveries_end_in_the_dead_letter_topic() {
    let mut world = World::new();
    let dead = world.topic("dead", TopicConfig::default()).await;
    let config = TopicConfig {
        max_deliveries: Some(2),
        dead_letter: Some(DeadLetterTarget::Topic("dead".into())),
        ..TopicConfig::default()
    };
    let topic = world.topic("work", config).await;
    world.publish(Target::Topic(topic.id), &["poison"]).await;
    for _ in 0..2 {
        let received = world.receive(&topic, 1).await;
        let release = Outcome::Release {
            delay_ms: 0,
            count: true,
        };
        world.settle(vec![received[0].1], release).await;
    }
    assert!(world.receive(&topic, 1).await.is_empty());
    let received = world.receive_for(&dead, 1, 60_000, 1_000).await;
    assert_eq!(bodies(&received), ["poison"]);
    world.restart().await;
    assert_eq!(
        world.broker.stats(topic.id).await.unwrap(),
        TopicStats::default()
    );
}

#[tokio::test]
async fn an_exchange_routes_one_body_to_many_topics() {
    let mut world = World::new();
    let config = ExchangeConfig {
        alternate: None,
        kind: ExchangeKind::Topic,
        durable: true,
        auto_delete: false,
        internal: false,
        labels: Default::default(),
    };
    let declare = Command::DeclareExchange {
        name: "orders".into(),
        config,
    };
    world.broker.call(declare).await.unwrap();
    for (name, key) in [("eu", "eu.#"), ("all", "#"), ("us", "us.*")] {
        world.topic(name, TopicConfig::default()).await;
        let binding = Binding {
            exchange: "orders".into(),
            destination: Destination::Topic(name.into()),
            key: key.into(),
            arguments: String::new(),
        };
        world.broker.call(Command::Bind(binding)).await.unwrap();
    }
    world.restart().await;
    let target = Target::Exchange {
        exchange: "orders".into(),
        routing_key: "eu.de.berlin".into(),
    };
    assert_eq!(world.publish(target, &["o"]).await.routed, 2);
    let nowhere = Target::Exchange {
        exchange: "".into(),
        routing_key: "nowhere".into(),
    };
    assert_eq!(world.publish(nowhere, &["o"]).await.routed, 0);
    for (name, expected) in [("eu", 1), ("all", 1), ("us", 0)] {
        let topic = world.broker.directory().topic(name).unwrap();
        assert_eq!(
            world.broker.stats(topic.id).await.unwrap().ready,
            expected,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_session_gives_back_what_it_holds() {
    let world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    world
        .publish(Target::Topic(topic.id), &["a", "b", "c"])
        .await;
    let mut session = world.broker.session();
    let subscribe = Subscribe {
        topic: topic.id,
        consumer: ConsumerId(7),
        credit: 2,
        mode: ConsumerMode::UntilSessionEnds,
        exclusive: false,
        priority: 0,
    };
    session
        .handle()
        .call(Command::Subscribe(subscribe))
        .await
        .unwrap();
    let Some(Event::Delivery { deliveries, .. }) = session.next().await else {
        panic!()
    };
    assert_eq!(deliveries.len(), 2);
    session
        .handle()
        .tell(Command::Credit {
            consumer: ConsumerId(7),
            add: 5,
        })
        .await
        .unwrap();
    let Some(Event::Delivery { deliveries, .. }) = session.next().await else {
        panic!()
    };
    assert_eq!(deliveries.len(), 1);
    drop(session);
    let received = world.receive_for(&topic, 10, 60_000, 1_000).await;
    assert_eq!(bodies(&received), ["a", "b", "c"]);
    assert!(received.iter().all(|(_, receipt)| receipt.attempt == 2));
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_the_journal_refuses_the_start() {
    let mut world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    for _ in 0..20 {
        world
            .publish(Target::Topic(topic.id), &["a message of some length"])
            .await;
    }
    // A clean stop leaves a snapshot that covers everything: recovery itself reads nothing.
    world.running.take().unwrap().shutdown().await.unwrap();
    let file = world
        .dir
        .path()
        .join("journal")
        .join("0000000000000001.journal");
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes
        .windows(24)
        .position(|window| window == b"a message of some length")
        .unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let error = Broker::open(options(&world.dir), Arc::new(SystemClock))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("0000000000000001.journal is damaged at byte"),
        "{error}"
    );
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    Broker::open(options(&world.dir), Arc::new(SystemClock)).unwrap();
}

#[tokio::test]
async fn a_subscription_is_confirmed_before_its_first_delivery() {
    let world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    world.publish(Target::Topic(topic.id), &["ready"]).await;
    let mut session = world.broker.session();
    let handle = session.handle();
    // Something else waits for a sync while the subscription is decided.
    let outgoing = Outgoing {
        target: Target::Topic(topic.id),
        batch: batch(&["more"]),
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
    let subscribe = Subscribe {
        topic: topic.id,
        consumer: ConsumerId(1),
        credit: 1,
        mode: ConsumerMode::UntilSessionEnds,
        exclusive: false,
        priority: 0,
    };
    handle.submit(Command::Publish(publish)).await.unwrap();
    let request = handle.submit(Command::Subscribe(subscribe)).await.unwrap();
    let mut confirmed = false;
    loop {
        match session.next().await.unwrap() {
            Event::Reply { request: id, .. } => confirmed |= id == request,
            Event::Delivery { .. } => break assert!(confirmed),
            Event::ConsumerCancelled { .. } => panic!("the topic is there"),
        }
    }
}

#[tokio::test]
async fn a_higher_priority_is_served_first_as_long_as_it_has_credit() {
    let world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    let mut session = world.broker.session();
    for (consumer, priority, credit) in [(1, 0, 10), (2, 7, 3), (3, -1, 10), (4, 7, 1)] {
        let subscribe = Subscribe {
            topic: topic.id,
            consumer: ConsumerId(consumer),
            credit,
            mode: ConsumerMode::UntilSessionEnds,
            exclusive: false,
            priority,
        };
        let subscribed = session.handle().call(Command::Subscribe(subscribe)).await;
        subscribed.unwrap();
    }
    for n in 0..6 {
        world
            .publish(Target::Topic(topic.id), &[&n.to_string()])
            .await;
    }
    let mut served = std::collections::BTreeMap::<u64, usize>::new();
    while served.values().sum::<usize>() < 6 {
        let Some(Event::Delivery {
            consumer,
            deliveries,
        }) = session.next().await
        else {
            panic!()
        };
        *served.entry(consumer.0).or_default() += deliveries.len();
    }
    assert_eq!(
        served.into_iter().collect::<Vec<_>>(),
        [(1, 2), (2, 3), (4, 1)]
    );
}

#[tokio::test]
async fn the_size_limit_is_about_messages_not_about_batches() {
    let world = World::new();
    let config = TopicConfig {
        max_message_bytes: 200,
        ..TopicConfig::default()
    };
    let topic = world.topic("small", config).await;
    let body = "x".repeat(100);
    let bodies = vec![body.as_str(); 10];
    let target = Target::Topic(topic.id);
    world.publish(target.clone(), &bodies).await;
    let long = "x".repeat(150);
    let outgoing = Outgoing {
        target,
        batch: batch(&["short", &long]),
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
    let refused = world.broker.publish(publish).await.unwrap().remove(0);
    assert_eq!(
        refused,
        Err(Refusal::TooLarge {
            size: 211,
            limit: 200
        })
    );
}

#[tokio::test]
async fn a_handle_without_its_session_is_refused() {
    let world = World::new();
    let session = world.broker.session();
    let handle = session.handle();
    let topic = world.topic("work", TopicConfig::default()).await;
    let stats = Command::Stats { topic: topic.id };
    assert!(handle.call(stats.clone()).await.is_ok());
    drop(session);
    let refused = handle.call(stats).await.unwrap_err();
    assert_eq!(refused, Refusal::Stopping);
}

#[tokio::test]
async fn a_batch_that_no_journal_file_holds_is_refused_and_the_broker_goes_on() {
    let world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    let large = "x".repeat(3 << 20);
    let publish = Publish {
        messages: vec![Outgoing {
            target: Target::Topic(topic.id),
            batch: batch(&[&large]),
            key_hash: None,
            not_before: None,
            identity: None,
            lives_ms: None,
        }],
        durability: Durability::Synced,
        when_full: WhenFull::Refuse,
    };
    let refused = world.broker.publish(publish).await.unwrap().remove(0);
    assert!(matches!(refused, Err(Refusal::TooLarge { .. })));
    world.publish(Target::Topic(topic.id), &["small"]).await;
}
