//! What a restart leaves as it was.

use serde_json::{Value, json};

use crate::world::{Client, World};

async fn receive(client: &mut Client, url: &str) -> Vec<Value> {
    let request = json!({
        "QueueUrl": url, "MaxNumberOfMessages": 10, "MessageSystemAttributeNames": ["All"],
        "VisibilityTimeout": 0,
    });
    let received = client.ok("ReceiveMessage", request).await;
    received["Messages"].as_array().cloned().unwrap_or_default()
}

async fn all(client: &mut Client, url: &str) -> Value {
    let request = json!({"QueueUrl": url, "AttributeNames": ["All"]});
    let mut answer = client.ok("GetQueueAttributes", request).await;
    answer["Attributes"].take()
}

#[tokio::test]
async fn attributes_tags_and_the_time_of_a_purge_stay() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.create("dead", json!({})).await;
    let redrive = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":"3"}"#;
    let url = client
        .create(
            "q",
            json!({
                "VisibilityTimeout": "69", "DelaySeconds": "7", "MaximumMessageSize": "2048",
                "MessageRetentionPeriod": "604800", "ReceiveMessageWaitTimeSeconds": "2",
                "RedrivePolicy": redrive, "RedriveAllowPolicy": r#"{"redrivePermission":"denyAll"}"#,
                "KmsMasterKeyId": "k", "KmsDataKeyReusePeriodSeconds": "600",
                "ForebayRetryBackoff": r#"{"initialSeconds":1,"maxSeconds":2}"#,
            }),
        )
        .await;
    let fifo = json!({
        "FifoQueue": "true", "ContentBasedDeduplication": "true",
        "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId",
    });
    let ordered = client.create("q.fifo", fifo).await;
    client
        .ok("TagQueue", json!({"QueueUrl": url, "Tags": {"team": "a"}}))
        .await;
    client.ok("PurgeQueue", json!({"QueueUrl": url})).await;
    let before = (
        all(&mut client, &url).await,
        all(&mut client, &ordered).await,
    );
    let world = world.restarted().await;
    let mut client = world.client().await;
    let after = (
        all(&mut client, &url).await,
        all(&mut client, &ordered).await,
    );
    assert_eq!(after, before);
    let tags = client.ok("ListQueueTags", json!({"QueueUrl": url})).await;
    assert_eq!(tags["Tags"], json!({"team": "a"}));
    let purge = json!({"QueueUrl": url}).to_string();
    assert_eq!(client.call("PurgeQueue", &purge).await.status, 403);
    world.end().await;
}

#[tokio::test]
async fn receive_counts_and_delays_stay() {
    let (world, mut client, url) = World::with_queue().await;
    let send = |body: &str, seconds| json!({"QueueUrl": url, "MessageBody": body, "DelaySeconds": seconds});
    client.ok("SendMessage", send("counted", 0)).await;
    client.ok("SendMessage", send("delayed", 900)).await;
    for _ in 0..2 {
        receive(&mut client, &url).await;
    }
    let world = world.restarted().await;
    let mut client = world.client().await;
    let received = receive(&mut client, &url).await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0]["Attributes"]["ApproximateReceiveCount"], "3");
    assert_eq!(
        client
            .attribute(&url, "ApproximateNumberOfMessagesDelayed")
            .await,
        "1"
    );
    world.end().await;
}

#[tokio::test]
async fn duplicates_are_found_out_and_groups_stay_locked() {
    let world = World::new().await;
    let mut client = world.client().await;
    let fifo = json!({"FifoQueue": "true", "ContentBasedDeduplication": "true"});
    let url = client.create("q.fifo", fifo).await;
    let send = |body: &str| json!({"QueueUrl": url, "MessageBody": body, "MessageGroupId": "g"});
    let first = client.ok("SendMessage", send("a")).await;
    let request = json!({"QueueUrl": url, "VisibilityTimeout": 600});
    let received = client.ok("ReceiveMessage", request.clone()).await;
    let handle = &received["Messages"][0]["ReceiptHandle"];
    client.ok("SendMessage", send("b")).await;
    let world = world.restarted().await;
    let mut client = world.client().await;
    assert_eq!(client.ok("SendMessage", send("a")).await, first);
    assert_eq!(
        client.ok("ReceiveMessage", request.clone()).await,
        json!({})
    );
    client
        .ok(
            "DeleteMessage",
            json!({"QueueUrl": url, "ReceiptHandle": handle}),
        )
        .await;
    let next = client.ok("ReceiveMessage", request).await;
    assert_eq!(next["Messages"][0]["Body"], "b");
    world.end().await;
}

#[tokio::test]
async fn a_move_task_goes_on() {
    let world = World::new().await;
    let mut client = world.client().await;
    let dead = client.create("dead", json!({})).await;
    let arn = "arn:aws:sqs:us-east-1:000000000000:dead";
    let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 1}).to_string();
    let url = client.create("q", json!({"RedrivePolicy": policy})).await;
    for body in ["a", "b", "c"] {
        client
            .ok(
                "SendMessage",
                json!({"QueueUrl": dead, "MessageBody": body}),
            )
            .await;
    }
    let start = json!({
        "SourceArn": arn, "DestinationArn": "arn:aws:sqs:us-east-1:000000000000:q",
        "MaxNumberOfMessagesPerSecond": 1,
    });
    client.ok("StartMessageMoveTask", start).await;
    let world = world.restarted().await;
    let mut client = world.client().await;
    let status = loop {
        let listed = client
            .ok("ListMessageMoveTasks", json!({"SourceArn": arn}))
            .await;
        if listed["Results"][0]["Status"] != "RUNNING" {
            break listed["Results"][0].clone();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(status["Status"], "COMPLETED");
    assert_eq!(status["ApproximateNumberOfMessagesMoved"], 3);
    assert_eq!(
        client.attribute(&url, "ApproximateNumberOfMessages").await,
        "3"
    );
    world.end().await;
}
