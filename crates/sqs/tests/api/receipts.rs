//! Handles delete, extend and give back; strange ones are refused.

use serde_json::{Value, json};

use crate::world::{Client, World};

async fn send_and_receive(client: &mut Client, url: &str, seconds: u32) -> Value {
    client
        .ok("SendMessage", json!({"QueueUrl": url, "MessageBody": "m"}))
        .await;
    let received = client
        .ok(
            "ReceiveMessage",
            json!({"QueueUrl": url, "VisibilityTimeout": seconds}),
        )
        .await;
    received["Messages"][0]["ReceiptHandle"].clone()
}

#[tokio::test]
async fn a_handle_deletes_and_may_be_used_again() {
    let (world, mut client, url) = World::with_queue().await;
    let handle = send_and_receive(&mut client, &url, 30).await;
    for _ in 0..2 {
        let deleted = client
            .ok(
                "DeleteMessage",
                json!({"QueueUrl": url, "ReceiptHandle": handle}),
            )
            .await;
        assert_eq!(deleted, json!({}));
    }
    let change = json!({"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": 42});
    let (_, code, text) = client.refused("ChangeMessageVisibility", change).await;
    assert_eq!(code, "InvalidParameterValue");
    let handle = handle.as_str().unwrap();
    assert_eq!(
        text,
        format!(
            "Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change."
        )
    );
    world.end().await;
}

#[tokio::test]
async fn an_old_handle_deletes_while_nobody_else_has_the_message() {
    let (world, mut client, url) = World::with_queue().await;
    let handle = send_and_receive(&mut client, &url, 0).await;
    client
        .ok(
            "ChangeMessageVisibility",
            json!({"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": 5}),
        )
        .await;
    client
        .ok(
            "DeleteMessage",
            json!({"QueueUrl": url, "ReceiptHandle": handle}),
        )
        .await;
    assert_eq!(
        client.ok("ReceiveMessage", json!({"QueueUrl": url})).await,
        json!({})
    );
    world.end().await;
}

#[tokio::test]
async fn zero_seconds_give_the_message_back() {
    let (world, mut client, url) = World::with_queue().await;
    let handle = send_and_receive(&mut client, &url, 600).await;
    assert_eq!(
        client.ok("ReceiveMessage", json!({"QueueUrl": url})).await,
        json!({})
    );
    let change = json!({"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": 0});
    assert_eq!(
        client.ok("ChangeMessageVisibility", change).await,
        json!({})
    );
    let again = client
        .ok(
            "ReceiveMessage",
            json!({"QueueUrl": url, "AttributeNames": ["ApproximateReceiveCount"]}),
        )
        .await;
    assert_eq!(
        again["Messages"][0]["Attributes"]["ApproximateReceiveCount"],
        "2"
    );
    assert_ne!(again["Messages"][0]["ReceiptHandle"], handle);
    world.end().await;
}

#[tokio::test]
async fn twelve_hours_in_all_are_the_most() {
    let (world, mut client, url) = World::with_queue().await;
    let handle = send_and_receive(&mut client, &url, 30).await;
    for (seconds, words) in [(43_201, "between 0 and 43200"), (-1, "between 0 and 43200")] {
        let change =
            json!({"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": seconds});
        let (_, code, text) = client.refused("ChangeMessageVisibility", change).await;
        assert_eq!(code, "InvalidParameterValue");
        assert!(text.contains(words), "{text}");
    }
    let (_, code, text) = client
        .refused(
            "ChangeMessageVisibility",
            json!({"QueueUrl": url, "ReceiptHandle": handle}),
        )
        .await;
    assert_eq!(
        (code.as_str(), text.as_str()),
        (
            "MissingParameter",
            "The request must contain the parameter VisibilityTimeout."
        )
    );
    world.end().await;
}

#[tokio::test]
async fn handles_of_another_queue_and_inventions_are_refused() {
    let (world, mut client, url) = World::with_queue().await;
    let other = client.create("other", json!({})).await;
    let foreign = send_and_receive(&mut client, &other, 30).await;
    for handle in [
        "garbage",
        "",
        foreign.as_str().unwrap(),
        "é",
        &"A".repeat(55),
    ] {
        for action in ["DeleteMessage", "ChangeMessageVisibility"] {
            let body = json!({"QueueUrl": url, "ReceiptHandle": handle, "VisibilityTimeout": 1});
            let (shape, code, text) = client.refused(action, body).await;
            if handle.is_empty() {
                assert_eq!(code, "MissingParameter");
                continue;
            }
            assert_eq!(
                (shape.as_str(), code.as_str()),
                ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid")
            );
            assert_eq!(
                text,
                format!("The input receipt handle \"{handle}\" is not a valid receipt handle.")
            );
        }
    }
    world.end().await;
}

#[tokio::test]
async fn batches_of_handles_are_answered_entry_by_entry() {
    let (world, mut client, url) = World::with_queue().await;
    let mut handles = Vec::new();
    for _ in 0..3 {
        handles.push(send_and_receive(&mut client, &url, 600).await);
    }
    let entries = json!([
        {"Id": "a", "ReceiptHandle": handles[0], "VisibilityTimeout": 0},
        {"Id": "b", "ReceiptHandle": handles[1], "VisibilityTimeout": 60},
        {"Id": "bad", "ReceiptHandle": "x", "VisibilityTimeout": 60},
        {"Id": "c", "ReceiptHandle": handles[2], "VisibilityTimeout": 0},
        {"Id": "none", "ReceiptHandle": handles[2]},
    ]);
    let changed = client
        .ok(
            "ChangeMessageVisibilityBatch",
            json!({"QueueUrl": url, "Entries": entries}),
        )
        .await;
    let ids = |list: &Value| -> Vec<String> {
        let mut ids: Vec<String> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["Id"].as_str().unwrap().to_owned())
            .collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&changed["Successful"]), ["a", "b", "c"]);
    assert_eq!(ids(&changed["Failed"]), ["bad", "none"]);
    assert_eq!(
        client.attribute(&url, "ApproximateNumberOfMessages").await,
        "2"
    );
    assert_eq!(
        client
            .attribute(&url, "ApproximateNumberOfMessagesNotVisible")
            .await,
        "1"
    );
    let entries =
        json!([{"Id": "b", "ReceiptHandle": handles[1]}, {"Id": "bad", "ReceiptHandle": "x"}]);
    let deleted = client
        .ok(
            "DeleteMessageBatch",
            json!({"QueueUrl": url, "Entries": entries}),
        )
        .await;
    assert_eq!(
        (ids(&deleted["Successful"]), ids(&deleted["Failed"])),
        (vec!["b".to_owned()], vec!["bad".to_owned()])
    );
    assert_eq!(deleted["Failed"][0]["Code"], "ReceiptHandleIsInvalid");
    world.end().await;
}
