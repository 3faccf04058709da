//! Long polls wake, time out, are given up, and end when the server stops.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::world::World;

/// Far below the 20 seconds a long poll lasts that nothing wakes.
const SOON: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_long_poll_wakes_when_a_message_comes() {
    let (world, mut client, url) = World::with_queue().await;
    let mut poller = world.client().await;
    let begun = Instant::now();
    let poll = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
    let poll = tokio::spawn(async move { poller.ok("ReceiveMessage", poll).await });
    client
        .ok(
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "wake"}),
        )
        .await;
    assert_eq!(poll.await.unwrap()["Messages"][0]["Body"], "wake");
    assert!(begun.elapsed() < SOON);
    world.end().await;
}

#[tokio::test]
async fn a_long_poll_wakes_when_a_lease_or_a_delay_runs_out() {
    let (world, mut client, url) = World::with_queue().await;
    let begun = Instant::now();
    client
        .ok(
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "m", "DelaySeconds": 1}),
        )
        .await;
    let poll = json!({"QueueUrl": url, "WaitTimeSeconds": 20, "VisibilityTimeout": 1});
    for _ in 0..2 {
        let received = client.ok("ReceiveMessage", poll.clone()).await;
        assert_eq!(received["Messages"][0]["Body"], "m");
    }
    let elapsed = begun.elapsed();
    assert!(
        elapsed >= Duration::from_millis(1_900) && elapsed < SOON,
        "{elapsed:?}"
    );
    world.end().await;
}

#[tokio::test]
async fn a_long_poll_without_a_message_ends_empty_in_time() {
    let world = World::new().await;
    let mut client = world.client().await;
    let url = client
        .create("q", json!({"ReceiveMessageWaitTimeSeconds": "1"}))
        .await;
    let begun = Instant::now();
    assert_eq!(
        client.ok("ReceiveMessage", json!({"QueueUrl": url})).await,
        json!({})
    );
    assert!(begun.elapsed() >= Duration::from_millis(900));
    world.end().await;
}

#[tokio::test]
async fn a_receive_that_will_not_wait_overrides_the_queue() {
    let world = World::new().await;
    let mut client = world.client().await;
    let url = client
        .create("q", json!({"ReceiveMessageWaitTimeSeconds": "20"}))
        .await;
    let begun = Instant::now();
    let poll = json!({"QueueUrl": url, "WaitTimeSeconds": 0});
    assert_eq!(client.ok("ReceiveMessage", poll).await, json!({}));
    assert!(begun.elapsed() < SOON);
    world.end().await;
}

#[tokio::test]
async fn a_client_that_goes_away_takes_no_message_with_it() {
    let (world, mut client, url) = World::with_queue().await;
    let body = json!({"QueueUrl": url, "WaitTimeSeconds": 20, "VisibilityTimeout": 1}).to_string();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for _ in 0..5 {
        let mut gone = world.client().await;
        gone.put(head.as_bytes()).await;
        client.ok("GetQueueUrl", json!({"QueueName": "q"})).await;
        drop(gone);
    }
    // A poll whose end the server has not noticed yet may still take the message, for a second.
    client
        .ok(
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "kept"}),
        )
        .await;
    let poll = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
    let received = client.ok("ReceiveMessage", poll).await;
    assert_eq!(received["Messages"][0]["Body"], "kept");
    world.end().await;
}

#[tokio::test]
async fn stopping_ends_long_polls_without_messages() {
    let (world, _client, url) = World::with_queue().await;
    let mut poller = world.client().await;
    let begun = Instant::now();
    let poll = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
    let mut polling = tokio::spawn(async move { poller.ok("ReceiveMessage", poll).await });
    // Time for the poll to begin; if it has not, the connection is closed instead, which is as well.
    let early = tokio::time::timeout(Duration::from_millis(300), &mut polling).await;
    assert!(early.is_err(), "the poll waits");
    world.stop();
    assert_eq!(polling.await.unwrap(), json!({}));
    world.end().await;
    assert!(begun.elapsed() < SOON);
}
