//! Waiting for something, and giving it up.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use forebay_broker::*;

use crate::world::{World, receive};

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_watch_is_answered_by_the_record_it_waits_for_and_by_no_other() {
    let world = World::new();
    let topic = world.topic("stream", TopicConfig::default()).await;
    let until = world.broker.now().plus_ms(60_000);
    let mut watch = pin!(world.broker.watch(vec![(topic.partitions[0], 1)], until));
    assert!(poll_once(watch.as_mut()).is_pending());
    world.publish(&topic, &[b"0"]).await;
    // What the shard had to say about the first record, it has said by now.
    world.stats(&topic).await;
    assert!(poll_once(watch.as_mut()).is_pending());
    world.publish(&topic, &[b"1"]).await;
    watch.await.unwrap();
    assert_eq!(world.broker.bounds(topic.partitions[0]).end, 2);
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let world = World::new();
    let topic = world.topic("stream", TopicConfig::default()).await;
    let until = world.broker.now().plus_ms(1);
    let watch = world.broker.watch(vec![(topic.partitions[0], 0)], until);
    watch.await.unwrap();
}

/// The message is leased for a minute each time: if it went with a caller who is gone, the test
/// would not see it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receive_that_is_given_up_takes_no_message_with_it() {
    let world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    let mut given_up = 0;
    for round in 0..300 {
        let wanted = receive(&world.broker, &topic, 1, 60_000);
        let mut receiving = Box::pin(world.broker.receive(wanted));
        assert!(poll_once(receiving.as_mut()).is_pending());
        let body = format!("{round}");
        world.publish(&topic, &[body.as_bytes()]).await;
        // Sometimes before the message was handed out, sometimes after.
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        let received = match poll_once(receiving.as_mut()) {
            Poll::Ready(received) if round % 2 == 0 => received.unwrap(),
            Poll::Ready(received) => {
                world.settle(&received.unwrap(), Outcome::Ack).await;
                continue;
            }
            Poll::Pending => {
                drop(receiving);
                given_up += 1;
                world.receive(&topic, 1, 30_000).await
            }
        };
        assert_eq!(world.bodies(&received).await, [body]);
        world.settle(&received, Outcome::Ack).await;
    }
    assert_eq!(world.stats(&topic).await, TopicStats::default());
    println!("{given_up} of 300 were given up");
}

/// The same, where the reply has come and nobody has looked at it.
#[tokio::test]
async fn a_reply_that_nobody_looks_at_is_given_back() {
    let world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    for _ in 0..20 {
        let wanted = receive(&world.broker, &topic, 1, 60_000);
        let mut receiving = Box::pin(world.broker.receive(wanted));
        assert!(poll_once(receiving.as_mut()).is_pending());
        world.publish(&topic, &[b"a"]).await;
        // The message is handed out in the turn that tells the publisher.
        while world.stats(&topic).await.leased == 0 {}
        drop(receiving);
        let received = world.receive(&topic, 1, 30_000).await;
        assert_eq!(world.bodies(&received).await, ["a"]);
        assert_eq!(received.runs[0].attempt, 1, "it was not delivered before");
        world.settle(&received, Outcome::Ack).await;
    }
}

#[tokio::test]
async fn what_waits_for_an_ended_session_takes_no_message() {
    let world = World::new();
    let topic = world.topic("work", TopicConfig::default()).await;
    let session = world.broker.session();
    let wanted = Receive {
        mode: ConsumerMode::UntilSessionEnds,
        ..receive(&world.broker, &topic, 1, 60_000)
    };
    let handle = session.handle();
    handle.submit(Command::Receive(wanted)).await.unwrap();
    drop(session);
    world.publish(&topic, &[b"a"]).await;
    let received = world.receive(&topic, 1, 30_000).await;
    assert_eq!(world.bodies(&received).await, ["a"]);
}
