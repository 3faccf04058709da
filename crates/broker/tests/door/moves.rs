//! Moving the messages of a topic elsewhere.

use std::sync::Arc;
use std::time::Duration;

use forebay_broker::*;

use crate::world::World;

/// Polls until the latest move from the topic is over.
async fn end_of_move(world: &World, source: &TopicInfo) -> MoveInfo {
    for _ in 0..2_000 {
        let moves = world.broker.list_moves(source.id).await.unwrap();
        if moves[0].status != MoveStatus::Running {
            return moves[0].clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{:?}", world.broker.list_moves(source.id).await);
}

async fn bodies(world: &World, topic: &TopicInfo) -> Vec<String> {
    let received = world.receive(topic, 1_000, 0).await;
    world.bodies(&received).await
}

/// A topic with a source of dead letters, which has rejected all that it got.
async fn with_dead_letters(world: &World, source: &str, count: usize) -> Arc<TopicInfo> {
    let dead = match world.broker.directory().topic("dead") {
        Some(dead) => dead,
        None => world.topic("dead", TopicConfig::default()).await,
    };
    let config = TopicConfig {
        dead_letter: Some(DeadLetterTarget::Topic("dead".into())),
        ..TopicConfig::default()
    };
    let topic = world.topic(source, config).await;
    let before = world.stats(&dead).await.ready;
    let texts: Vec<String> = (0..count).map(|n| format!("{source} {n}")).collect();
    let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
    world.publish(&topic, &texts).await;
    let received = world.receive(&topic, 1_000, 0).await;
    world.settle(&received, Outcome::DeadLetter).await;
    while world.stats(&dead).await.ready < before + count as u64 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    dead
}

#[tokio::test]
async fn all_messages_go_to_the_destination_in_order() {
    let world = World::new();
    let dead = with_dead_letters(&world, "work", 600).await;
    let other = world.topic("other", TopicConfig::default()).await;
    let begun = world
        .broker
        .start_move(dead.id, Some(other.id), None)
        .await
        .unwrap();
    assert_eq!((begun.to_move, begun.status), (600, MoveStatus::Running));
    let ended = end_of_move(&world, &dead).await;
    assert_eq!((ended.moved, ended.status), (600, MoveStatus::Completed));
    let wanted: Vec<String> = (0..600).map(|n| format!("work {n}")).collect();
    assert_eq!(bodies(&world, &other).await, wanted);
    assert_eq!(world.stats(&dead).await, TopicStats::default());
    let gone = world.broker.cancel_move(ended.id).await;
    assert_eq!(gone, Err(Refusal::NoSuchMove));
}

#[tokio::test]
async fn each_message_goes_back_where_it_came_from() {
    let world = World::new();
    with_dead_letters(&world, "one", 3).await;
    let dead = with_dead_letters(&world, "two", 2).await;
    world.broker.start_move(dead.id, None, None).await.unwrap();
    assert_eq!(end_of_move(&world, &dead).await.moved, 5);
    for (name, count) in [("one", 3), ("two", 2)] {
        let topic = world.broker.directory().topic(name).unwrap();
        let received = world.receive(&topic, 10, 0).await;
        assert_eq!(received.len(), count);
        let mut cursor = Cursor::default();
        let records = world.broker.records(&received, &mut cursor).await.unwrap();
        let source = records[0].record.headers.get(envelope::DEAD_LETTER_SOURCE);
        assert_eq!(source, None, "it is no dead letter any more");
        assert_eq!(received.runs[0].attempt, 1);
    }
}

#[tokio::test]
async fn a_move_that_cannot_go_on_leaves_what_is_left() {
    let world = World::new();
    let dead = with_dead_letters(&world, "work", 3).await;
    world.publish(&dead, &[b"from nowhere"]).await;
    world.broker.start_move(dead.id, None, None).await.unwrap();
    let ended = end_of_move(&world, &dead).await;
    assert_eq!((ended.moved, ended.status), (3, MoveStatus::NoOrigin));
    assert_eq!(bodies(&world, &dead).await, ["from nowhere"]);

    let dead = with_dead_letters(&world, "gone", 3).await;
    let gone = world.broker.directory().topic("gone").unwrap();
    world
        .broker
        .delete_topic(gone.id, Expectation::default())
        .await
        .unwrap();
    world.broker.start_move(dead.id, None, None).await.unwrap();
    let ended = end_of_move(&world, &dead).await;
    assert_eq!((ended.moved, ended.status), (0, MoveStatus::NoDestination));
    while world.stats(&dead).await.ready < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_paced_move_can_be_cancelled_and_survives_a_restart() {
    let mut world = World::new();
    let dead = with_dead_letters(&world, "work", 60).await;
    let other = world.topic("other", TopicConfig::default()).await;
    let begun = world
        .broker
        .start_move(dead.id, Some(other.id), Some(20))
        .await
        .unwrap();
    let again = world.broker.start_move(dead.id, None, None).await;
    assert_eq!(again, Err(Refusal::MoveRunning));
    world.restart(|_| {}).await;
    while world.stats(&other).await.ready < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cancelled = world.broker.cancel_move(begun.id).await.unwrap();
    assert_eq!(cancelled.status, MoveStatus::Cancelled);
    let took_ms = world.broker.now().ms_since(begun.started);
    assert!(
        cancelled.moved <= 4 + took_ms / 50,
        "{} in {took_ms} ms",
        cancelled.moved
    );
    let left = 60 - cancelled.moved;
    while world.stats(&dead).await.ready < left {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(world.stats(&other).await.ready, cancelled.moved);

    world
        .broker
        .start_move(dead.id, Some(other.id), None)
        .await
        .unwrap();
    assert_eq!(end_of_move(&world, &dead).await.moved, left);
    let wanted: Vec<String> = (0..60).map(|n| format!("work {n}")).collect();
    assert_eq!(bodies(&world, &other).await, wanted, "each once, in order");
    let moves = world.broker.list_moves(dead.id).await.unwrap();
    assert_eq!(moves.len(), 2);
}

#[tokio::test]
async fn a_purge_does_not_hold_a_move_up() {
    let world = World::new();
    let dead = with_dead_letters(&world, "work", 60).await;
    let other = world.topic("other", TopicConfig::default()).await;
    world
        .broker
        .start_move(dead.id, Some(other.id), Some(40))
        .await
        .unwrap();
    world.broker.purge(dead.id, true).await.unwrap();
    let ended = end_of_move(&world, &dead).await;
    assert_eq!(ended.status, MoveStatus::Completed);
    assert_eq!(world.stats(&dead).await, TopicStats::default());
}
