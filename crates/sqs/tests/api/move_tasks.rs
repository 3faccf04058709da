//! Move tasks: dead letters go back, or elsewhere.

use serde_json::{Value, json};

use crate::world::{Client, World};

/// The dead-letter queue and the source of some dead letters.
async fn with_dead_letters(client: &mut Client, suffix: &str, extra: Value) -> (String, String) {
    let dead = client.create(&format!("dead{suffix}"), extra.clone()).await;
    let arn = client.attribute(&dead, "QueueArn").await;
    let mut attributes = extra;
    let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 1});
    attributes["RedrivePolicy"] = policy.to_string().into();
    attributes["VisibilityTimeout"] = "0".into();
    let work = client.create(&format!("work{suffix}"), attributes).await;
    for body in ["a", "b", "c"] {
        let mut message = json!({"QueueUrl": work, "MessageBody": body});
        if !suffix.is_empty() {
            message["MessageGroupId"] = "g".into();
            message["MessageDeduplicationId"] = body.into();
        }
        client.ok("SendMessage", message).await;
    }
    while client.attribute(&dead, "ApproximateNumberOfMessages").await != "3" {
        let request = json!({"QueueUrl": work, "MaxNumberOfMessages": 10});
        client.ok("ReceiveMessage", request).await;
    }
    (dead, work)
}

async fn end_of_task(client: &mut Client, source: &str) -> Value {
    loop {
        let tasks = client
            .ok("ListMessageMoveTasks", json!({"SourceArn": source}))
            .await;
        let task = tasks["Results"][0].clone();
        if task["Status"] != "RUNNING" {
            return task;
        }
    }
}

#[tokio::test]
async fn dead_letters_go_back_to_their_queue_in_order() {
    let world = World::new().await;
    let mut client = world.client().await;
    for (suffix, extra) in [("", json!({})), (".fifo", json!({"FifoQueue": "true"}))] {
        let (dead, work) = with_dead_letters(&mut client, suffix, extra).await;
        let arn = client.attribute(&dead, "QueueArn").await;
        let started = client
            .ok("StartMessageMoveTask", json!({"SourceArn": arn}))
            .await;
        assert!(started["TaskHandle"].as_str().is_some());
        let task = end_of_task(&mut client, &arn).await;
        assert_eq!(task["Status"], "COMPLETED");
        assert_eq!(task["ApproximateNumberOfMessagesMoved"], 3);
        assert_eq!(task["ApproximateNumberOfMessagesToMove"], 3);
        assert_eq!(task["SourceArn"], json!(arn));
        assert!(task["StartedTimestamp"].as_i64().unwrap() > 1_700_000_000_000);
        assert!(task.get("TaskHandle").is_none() && task.get("DestinationArn").is_none());
        let request = json!({
            "QueueUrl": work, "MaxNumberOfMessages": 10, "VisibilityTimeout": 30,
            "MessageSystemAttributeNames": ["All"],
        });
        let received = client.ok("ReceiveMessage", request).await;
        let messages = received["Messages"].as_array().unwrap();
        let bodies: Vec<&str> = messages
            .iter()
            .map(|m| m["Body"].as_str().unwrap())
            .collect();
        assert_eq!(bodies, ["a", "b", "c"]);
        let attributes = &messages[0]["Attributes"];
        assert_eq!(attributes["ApproximateReceiveCount"], "1");
        assert!(attributes.get("DeadLetterQueueSourceArn").is_none());
    }
    world.end().await;
}

#[tokio::test]
async fn a_task_with_a_pace_runs_alone_and_is_cancelled() {
    let world = World::new().await;
    let mut client = world.client().await;
    let (dead, _) = with_dead_letters(&mut client, "", json!({})).await;
    let arn = client.attribute(&dead, "QueueArn").await;
    let other = client.create("other", json!({})).await;
    let other = client.attribute(&other, "QueueArn").await;
    let start = json!({
        "SourceArn": arn, "DestinationArn": other, "MaxNumberOfMessagesPerSecond": 1,
    });
    let started = client.ok("StartMessageMoveTask", start.clone()).await;
    let refused = client.refused("StartMessageMoveTask", start).await;
    assert_eq!(refused.1, "InvalidParameterValue");
    assert!(refused.2.starts_with("There is already a task running."));
    let list = json!({"SourceArn": arn, "MaxResults": 10});
    let listed = client.ok("ListMessageMoveTasks", list).await;
    let task = &listed["Results"][0];
    assert_eq!(task["Status"], "RUNNING");
    assert_eq!(task["TaskHandle"], started["TaskHandle"]);
    assert_eq!(task["DestinationArn"], json!(other));
    assert_eq!(task["MaxNumberOfMessagesPerSecond"], 1);
    let handle = json!({"TaskHandle": started["TaskHandle"]});
    let cancelled = client.ok("CancelMessageMoveTask", handle.clone()).await;
    assert!(
        cancelled["ApproximateNumberOfMessagesMoved"]
            .as_u64()
            .unwrap()
            < 3
    );
    assert_eq!(end_of_task(&mut client, &arn).await["Status"], "CANCELLED");
    let refused = client.refused("CancelMessageMoveTask", handle).await;
    assert_eq!(refused.0, "UnsupportedOperation");
    world.end().await;
}

#[tokio::test]
async fn what_cannot_be_moved_is_refused() {
    let world = World::new().await;
    let mut client = world.client().await;
    let (dead, work) = with_dead_letters(&mut client, "", json!({})).await;
    let (dead, work) = (
        client.attribute(&dead, "QueueArn").await,
        client.attribute(&work, "QueueArn").await,
    );
    let value = "InvalidParameterValue";
    let not_found = "ResourceNotFoundException";
    let nowhere = "arn:aws:sqs:us-east-1:000000000000:nowhere";
    let handle = |id: &str, arn: &str| {
        use base64::Engine;
        let handle = json!({"taskId": id, "sourceArn": arn}).to_string();
        base64::engine::general_purpose::STANDARD.encode(handle)
    };
    let gone = |name: &str| {
        format!("The resource that you specified for the {name} parameter doesn't exist.")
    };
    let cases = [
        (
            "StartMessageMoveTask",
            json!({"SourceArn": work}),
            400,
            value,
            "Source queue must be configured as a Dead Letter Queue.".to_owned(),
        ),
        (
            "StartMessageMoveTask",
            json!({"SourceArn": nowhere}),
            404,
            not_found,
            gone("SourceArn"),
        ),
        (
            "StartMessageMoveTask",
            json!({"SourceArn": dead, "DestinationArn": nowhere}),
            404,
            not_found,
            gone("DestinationArn"),
        ),
        (
            "StartMessageMoveTask",
            json!({}),
            400,
            "MissingParameter",
            "The request must contain the parameter SourceArn.".to_owned(),
        ),
        (
            "CancelMessageMoveTask",
            json!({"TaskHandle": "foobared"}),
            400,
            value,
            "Value for parameter TaskHandle is invalid.".to_owned(),
        ),
        (
            "CancelMessageMoveTask",
            json!({"TaskHandle": handle("x", nowhere)}),
            404,
            not_found,
            gone("SourceArn"),
        ),
        (
            "CancelMessageMoveTask",
            json!({"TaskHandle": handle("10f57157-fc38-4da9-a113-4de7e12d05aa", &dead)}),
            404,
            not_found,
            "Task does not exist.".to_owned(),
        ),
        (
            "ListMessageMoveTasks",
            json!({"SourceArn": nowhere}),
            404,
            not_found,
            gone("SourceArn"),
        ),
    ];
    for (action, body, status, code, text) in cases {
        let answer = client.call(action, &body.to_string()).await;
        assert_eq!(answer.status, status, "{action} {body} {answer:?}");
        let found = answer.header("x-amzn-query-error").unwrap();
        assert_eq!(found, format!("{code};Sender"));
        assert_eq!(answer.json()["message"], json!(text));
    }
    let none = client
        .ok("ListMessageMoveTasks", json!({"SourceArn": dead}))
        .await;
    assert_eq!(none, json!({"Results": []}));
    world.end().await;
}
