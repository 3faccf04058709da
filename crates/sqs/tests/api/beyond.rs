//! What Forebay does for SQS clients that AWS does not.

use forebay_sqs::Options;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn delays_and_retention_go_as_far_as_the_operator_wants() {
    let options = Options {
        max_delay_seconds: 86_400,
        max_retention_seconds: 31_536_000,
        ..Options::default()
    };
    let world = World::with(options).await;
    let mut client = world.client().await;
    let far = json!({"DelaySeconds": "86400", "MessageRetentionPeriod": "31536000"});
    let url = client.create("q", far).await;
    assert_eq!(client.attribute(&url, "DelaySeconds").await, "86400");
    assert_eq!(
        client.attribute(&url, "MessageRetentionPeriod").await,
        "31536000"
    );
    let send = |seconds| json!({"QueueUrl": url, "MessageBody": "m", "DelaySeconds": seconds});
    client.ok("SendMessage", send(86_400)).await;
    let refused = client.refused("SendMessage", send(86_401)).await;
    assert_eq!(
        refused.2,
        "Value 86401 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 86400."
    );
    let batch = json!({"QueueUrl": url, "Entries": [
        {"Id": "a", "MessageBody": "m", "DelaySeconds": 86_400},
        {"Id": "b", "MessageBody": "m", "DelaySeconds": 86_401},
    ]});
    let sent = client.ok("SendMessageBatch", batch).await;
    assert_eq!(sent["Successful"][0]["Id"], "a");
    assert_eq!(sent["Failed"][0]["Id"], "b");
    world.end().await;
}

#[tokio::test]
async fn retries_wait_as_the_queue_says() {
    let (world, mut client, url) = World::with_queue().await;
    let value = r#"{"initialSeconds":3600,"maxSeconds":7200,"jitter":0.1}"#;
    let set = json!({"QueueUrl": url, "Attributes": {"ForebayRetryBackoff": value}});
    client.ok("SetQueueAttributes", set).await;
    assert_eq!(client.attribute(&url, "ForebayRetryBackoff").await, value);
    client
        .ok("SendMessage", json!({"QueueUrl": url, "MessageBody": "m"}))
        .await;
    let received = client.ok("ReceiveMessage", json!({"QueueUrl": url})).await;
    let handle = &received["Messages"][0]["ReceiptHandle"];
    let back = json!({"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": 0});
    client.ok("ChangeMessageVisibility", back).await;
    assert_eq!(
        client.ok("ReceiveMessage", json!({"QueueUrl": url})).await,
        json!({})
    );
    assert_eq!(
        client
            .attribute(&url, "ApproximateNumberOfMessagesDelayed")
            .await,
        "1"
    );
    // Whoever gave it back may still say that it is done.
    client
        .ok(
            "DeleteMessage",
            json!({"QueueUrl": url, "ReceiptHandle": handle}),
        )
        .await;
    assert_eq!(
        client
            .attribute(&url, "ApproximateNumberOfMessagesDelayed")
            .await,
        "0"
    );
    let bad = json!({"QueueUrl": url, "Attributes": {"ForebayRetryBackoff": "{}"}});
    let refused = client.refused("SetQueueAttributes", bad).await;
    assert_eq!(refused.1, "InvalidAttributeValue");
    world.end().await;
}

#[tokio::test]
async fn the_limit_of_messages_in_flight_is_the_operators() {
    let options = Options {
        max_in_flight: Some(2),
        ..Options::default()
    };
    let world = World::with(options).await;
    let mut client = world.client().await;
    let url = client.create("q", json!({})).await;
    for _ in 0..3 {
        client
            .ok("SendMessage", json!({"QueueUrl": url, "MessageBody": "m"}))
            .await;
    }
    let receive = json!({"QueueUrl": url, "MaxNumberOfMessages": 10});
    let received = client.ok("ReceiveMessage", receive.clone()).await;
    assert_eq!(received["Messages"].as_array().unwrap().len(), 2);
    let over = client.call("ReceiveMessage", &receive.to_string()).await;
    assert_eq!(over.status, 403);
    assert_eq!(over.header("x-amzn-query-error"), Some("OverLimit;Sender"));
    world.end().await;
}
