//! Queue attributes are kept, measured and acted on.

use serde_json::json;

use crate::world::World;

const POLICY: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": "*", "Action": "sqs:*"}}"#;

#[tokio::test]
async fn a_new_queue_tells_all_its_attributes() {
    let (world, mut client, url) = World::with_queue().await;
    let mut all = client
        .ok(
            "GetQueueAttributes",
            json!({"QueueUrl": url, "AttributeNames": ["All"]}),
        )
        .await;
    let attributes = all["Attributes"].as_object_mut().unwrap();
    for name in ["CreatedTimestamp", "LastModifiedTimestamp"] {
        let seconds: i64 = attributes
            .remove(name)
            .unwrap()
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(
            (world.broker.now().0 / 1_000 - seconds).abs() <= 5,
            "{name}"
        );
    }
    assert_eq!(
        all["Attributes"],
        json!({
            "ApproximateNumberOfMessages": "0",
            "ApproximateNumberOfMessagesDelayed": "0",
            "ApproximateNumberOfMessagesNotVisible": "0",
            "DelaySeconds": "0",
            "MaximumMessageSize": "1048576",
            "MessageRetentionPeriod": "345600",
            "QueueArn": "arn:aws:sqs:us-east-1:000000000000:q",
            "ReceiveMessageWaitTimeSeconds": "0",
            "SqsManagedSseEnabled": "true",
            "VisibilityTimeout": "30",
        })
    );
    assert_eq!(
        client
            .ok("GetQueueAttributes", json!({"QueueUrl": url}))
            .await,
        json!({})
    );
    let (shape, _, text) = client
        .refused(
            "GetQueueAttributes",
            json!({"QueueUrl": url, "AttributeNames": ["Foo"]}),
        )
        .await;
    assert_eq!(
        (shape.as_str(), text.as_str()),
        ("InvalidAttributeName", "Unknown Attribute Foo.")
    );
    world.end().await;
}

#[tokio::test]
async fn attributes_set_are_given_back() {
    let world = World::new().await;
    let mut client = world.client().await;
    let url = client
        .create(
            "q",
            json!({"VisibilityTimeout": "20", "MessageRetentionPeriod": "604800"}),
        )
        .await;
    let set = json!({"MaximumMessageSize": "2048", "VisibilityTimeout": "69", "DelaySeconds": "420", "Policy": POLICY});
    assert_eq!(
        client
            .ok(
                "SetQueueAttributes",
                json!({"QueueUrl": url, "Attributes": set})
            )
            .await,
        json!({})
    );
    for (name, value) in [
        ("MaximumMessageSize", "2048"),
        ("VisibilityTimeout", "69"),
        ("DelaySeconds", "420"),
        ("MessageRetentionPeriod", "604800"),
        ("Policy", POLICY),
    ] {
        assert_eq!(client.attribute(&url, name).await, value);
    }
    client
        .ok(
            "SetQueueAttributes",
            json!({"QueueUrl": url, "Attributes": {"Policy": ""}}),
        )
        .await;
    assert_eq!(client.attribute(&url, "Policy").await, "");
    let (shape, _, text) = client
        .refused(
            "SetQueueAttributes",
            json!({"QueueUrl": url, "Attributes": {"DelaySeconds": "901"}}),
        )
        .await;
    assert_eq!(
        (shape.as_str(), text.as_str()),
        (
            "InvalidAttributeValue",
            "Invalid value for the parameter DelaySeconds."
        )
    );
    world.end().await;
}

#[tokio::test]
async fn changes_at_once_of_different_attributes_all_take_effect() {
    let (world, mut client, url) = World::with_queue().await;
    let mut changes = tokio::task::JoinSet::new();
    for (name, value) in [
        ("VisibilityTimeout", "1"),
        ("DelaySeconds", "2"),
        ("ReceiveMessageWaitTimeSeconds", "3"),
        ("MaximumMessageSize", "4000"),
    ] {
        let mut client = world.client().await;
        let set = json!({"QueueUrl": url, "Attributes": {name: value}});
        changes.spawn(async move { client.ok("SetQueueAttributes", set).await });
    }
    changes.join_all().await;
    for (name, value) in [
        ("VisibilityTimeout", "1"),
        ("DelaySeconds", "2"),
        ("ReceiveMessageWaitTimeSeconds", "3"),
        ("MaximumMessageSize", "4000"),
    ] {
        assert_eq!(client.attribute(&url, name).await, value, "{name}");
    }
    world.end().await;
}

#[tokio::test]
async fn messages_are_counted_by_their_state() {
    let (world, mut client, url) = World::with_queue().await;
    for delay in [0, 0, 0, 900] {
        client
            .ok(
                "SendMessage",
                json!({"QueueUrl": url, "MessageBody": "x", "DelaySeconds": delay}),
            )
            .await;
    }
    client.ok("ReceiveMessage", json!({"QueueUrl": url})).await;
    for (name, value) in [
        ("ApproximateNumberOfMessages", "2"),
        ("ApproximateNumberOfMessagesNotVisible", "1"),
        ("ApproximateNumberOfMessagesDelayed", "1"),
    ] {
        assert_eq!(client.attribute(&url, name).await, value, "{name}");
    }
    world.end().await;
}

#[tokio::test]
async fn the_delay_of_the_queue_holds_unless_the_message_has_its_own() {
    let world = World::new().await;
    let mut client = world.client().await;
    let url = client.create("q", json!({"DelaySeconds": "900"})).await;
    client
        .ok(
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "later"}),
        )
        .await;
    client
        .ok(
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "now", "DelaySeconds": 0}),
        )
        .await;
    let received = client
        .ok(
            "ReceiveMessage",
            json!({"QueueUrl": url, "MaxNumberOfMessages": 10}),
        )
        .await;
    assert_eq!(received["Messages"].as_array().unwrap().len(), 1);
    assert_eq!(received["Messages"][0]["Body"], "now");
    world.end().await;
}

#[tokio::test]
async fn messages_received_too_often_move_to_the_dead_letter_queue() {
    let world = World::new().await;
    let mut client = world.client().await;
    let dead = client.create("dead", json!({})).await;
    let policy = json!({"deadLetterTargetArn": client.attribute(&dead, "QueueArn").await, "maxReceiveCount": "2"}).to_string();
    let url = client.create("q", json!({"RedrivePolicy": policy})).await;
    assert_eq!(client.attribute(&url, "RedrivePolicy").await, policy);
    let sent = client.ok("SendMessage", json!({"QueueUrl": url, "MessageBody": "poison", "MessageAttributes": {"a": {"DataType": "Number", "StringValue": "1"}}})).await;
    for count in ["1", "2"] {
        let received = client
            .ok("ReceiveMessage", json!({"QueueUrl": url, "VisibilityTimeout": 0, "AttributeNames": ["ApproximateReceiveCount"]}))
            .await;
        assert_eq!(
            received["Messages"][0]["Attributes"]["ApproximateReceiveCount"],
            count
        );
    }
    assert_eq!(
        client.ok("ReceiveMessage", json!({"QueueUrl": url})).await,
        json!({})
    );
    let moved = client
        .ok(
            "ReceiveMessage",
            json!({"QueueUrl": dead, "WaitTimeSeconds": 20, "MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]}),
        )
        .await;
    let moved = &moved["Messages"][0];
    assert_eq!(moved["Body"], "poison");
    assert_eq!(moved["MessageId"], sent["MessageId"]);
    assert_eq!(
        moved["MD5OfMessageAttributes"],
        sent["MD5OfMessageAttributes"]
    );
    assert_eq!(moved["Attributes"]["ApproximateReceiveCount"], "1");
    assert_eq!(
        moved["Attributes"]["DeadLetterQueueSourceArn"],
        client.attribute(&url, "QueueArn").await
    );
    world.end().await;
}

#[tokio::test]
async fn a_dead_letter_queue_must_exist() {
    let world = World::new().await;
    let mut client = world.client().await;
    let policy = json!({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:none", "maxReceiveCount": 2}).to_string();
    let (shape, code, text) = client
        .refused(
            "CreateQueue",
            json!({"QueueName": "q", "Attributes": {"RedrivePolicy": policy}}),
        )
        .await;
    assert_eq!(
        (shape.as_str(), code.as_str()),
        ("InvalidParameterValueException", "InvalidParameterValue")
    );
    assert_eq!(
        text,
        format!(
            "Value {policy} for parameter RedrivePolicy is invalid. Reason: Dead letter target does not exist."
        )
    );
    client
        .refused("GetQueueUrl", json!({"QueueName": "q"}))
        .await;
    world.end().await;
}

#[tokio::test]
async fn permissions_are_statements_of_the_policy() {
    let (world, mut client, url) = World::with_queue().await;
    let grant = json!({"QueueUrl": url, "Label": "l", "AWSAccountIds": ["111122223333"], "Actions": ["SendMessage"]});
    client.ok("AddPermission", grant.clone()).await;
    let policy = client.attribute(&url, "Policy").await;
    let policy: serde_json::Value = serde_json::from_str(&policy).unwrap();
    assert_eq!(policy["Statement"][0]["Sid"], "l");
    let (_, code, text) = client.refused("AddPermission", grant).await;
    assert_eq!(code, "InvalidParameterValue");
    assert!(text.ends_with("Already exists."), "{text}");
    let taken = json!({"QueueUrl": url, "Label": "l"});
    client.ok("RemovePermission", taken.clone()).await;
    assert_eq!(client.attribute(&url, "Policy").await, "");
    client.refused("RemovePermission", taken).await;
    let (_, code, _) = client
        .refused("AddPermission", json!({"QueueUrl": url, "Label": "l"}))
        .await;
    assert_eq!(code, "MissingParameter");
    let many =
        json!({"QueueUrl": url, "Label": "l", "AWSAccountIds": vec!["1"; 51], "Actions": ["*"]});
    let refused = client.call("AddPermission", &many.to_string()).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    assert_eq!(
        refused.header("x-amzn-query-error"),
        Some("OverLimit;Sender")
    );
    world.end().await;
}
