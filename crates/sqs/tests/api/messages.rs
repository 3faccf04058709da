//! Messages go in and come out unchanged.

use forebay_broker::{Durability, Outgoing, Publish, Target, WhenFull};
use forebay_record::BatchBuilder;
use serde_json::{Value, json};

use crate::world::{Client, World};

async fn receive_all(client: &mut Client, url: &str, count: usize) -> Vec<Value> {
    let mut messages = Vec::new();
    while messages.len() < count {
        let asked = json!({
            "QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 20,
            "AttributeNames": ["All"], "MessageAttributeNames": ["All"],
        });
        let received = client.ok("ReceiveMessage", asked).await;
        messages.extend(received["Messages"].as_array().unwrap().clone());
    }
    messages
}

#[tokio::test]
async fn a_message_comes_back_as_it_was_sent() {
    let (world, mut client, url) = World::with_queue().await;
    let body = "tab\t newline\n quote\" backslash\\ \u{7f} é \u{ffff0} 日本";
    let attributes = json!({
        "s": {"DataType": "String", "StringValue": "text é"},
        "n": {"DataType": "Number.int", "StringValue": "007"},
        "b": {"DataType": "Binary.raw", "BinaryValue": "AAH/"},
    });
    let sent = client
        .ok(
            "SendMessage",
            json!({
                "QueueUrl": url, "MessageBody": body, "MessageAttributes": attributes, "MessageGroupId": "tenant-1",
                "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}},
            }),
        )
        .await;
    let message = &receive_all(&mut client, &url, 1).await[0];
    assert_eq!(message["Body"], body);
    assert_eq!(message["MessageAttributes"], attributes);
    assert_eq!(message["MessageId"], sent["MessageId"]);
    assert_eq!(message["MD5OfBody"], sent["MD5OfMessageBody"]);
    assert_eq!(
        message["MD5OfMessageAttributes"],
        sent["MD5OfMessageAttributes"]
    );
    assert_eq!(
        sent["MD5OfMessageSystemAttributes"].as_str().map(str::len),
        Some(32)
    );
    let system = &message["Attributes"];
    assert_eq!(system["AWSTraceHeader"], "Root=1");
    assert_eq!(system["MessageGroupId"], "tenant-1");
    assert_eq!(system["ApproximateReceiveCount"], "1");
    assert_eq!(system["SenderId"], "anonymous");
    let sent_at: i64 = system["SentTimestamp"].as_str().unwrap().parse().unwrap();
    assert!((world.broker.now().0 - sent_at).abs() < 60_000);
    world.end().await;
}

#[tokio::test]
async fn the_largest_message_goes_through() {
    let (world, mut client, url) = World::with_queue().await;
    // Escaped, it is six times as long on the wire.
    let escaped = "\\u003c".repeat(1_048_576);
    let answer = client
        .call(
            "SendMessage",
            &format!("{{\"QueueUrl\":\"{url}\",\"MessageBody\":\"{escaped}\"}}"),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let messages = receive_all(&mut client, &url, 1).await;
    assert_eq!(messages[0]["Body"].as_str().map(str::len), Some(1_048_576));
    world.end().await;
}

#[tokio::test]
async fn a_batch_of_mixed_entries_is_answered_entry_by_entry() {
    let world = World::new().await;
    let mut client = world.client().await;
    let url = client
        .create("q", json!({"MaximumMessageSize": "1024"}))
        .await;
    let entries = json!([
        {"Id": "a", "MessageBody": "a"},
        {"Id": "late", "MessageBody": "late", "DelaySeconds": 900},
        {"Id": "empty"},
        {"Id": "control", "MessageBody": "\u{2}"},
        {"Id": "large", "MessageBody": "x".repeat(1025)},
        {"Id": "b", "MessageBody": "x".repeat(1024)},
        {"Id": "group", "MessageBody": "g", "MessageGroupId": "a b"},
        {"Id": "late-2", "MessageBody": "late 2", "DelaySeconds": 900},
    ]);
    let answer = client
        .ok(
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": entries}),
        )
        .await;
    let mut good: Vec<&str> = answer["Successful"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["Id"].as_str().unwrap())
        .collect();
    good.sort_unstable();
    assert_eq!(good, ["a", "b", "late", "late-2"]);
    assert_eq!(
        answer["Failed"],
        json!([
            {"Id": "empty", "SenderFault": true, "Code": "MissingParameter", "Message": "The request must contain the parameter SendMessageBatchRequestEntry.3.MessageBody."},
            {"Id": "control", "SenderFault": true, "Code": "InvalidMessageContents", "Message": "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"},
            {"Id": "large", "SenderFault": true, "Code": "InvalidParameterValue", "Message": "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes."},
            {"Id": "group", "SenderFault": true, "Code": "InvalidParameterValue", "Message": "Value a b for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length."},
        ])
    );
    let messages = receive_all(&mut client, &url, 2).await;
    let bodies: Vec<usize> = messages
        .iter()
        .map(|message| message["Body"].as_str().unwrap().len())
        .collect();
    assert_eq!(bodies, [1, 1024]);
    assert_eq!(
        client
            .attribute(&url, "ApproximateNumberOfMessagesDelayed")
            .await,
        "2"
    );
    world.end().await;
}

#[tokio::test]
async fn a_batch_without_failures_names_none() {
    let (world, mut client, url) = World::with_queue().await;
    let entries: Vec<Value> = (0..10)
        .map(|n| json!({"Id": n.to_string(), "MessageBody": format!("m{n}")}))
        .collect();
    let answer = client
        .ok(
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": entries}),
        )
        .await;
    assert_eq!(answer["Successful"].as_array().unwrap().len(), 10);
    assert!(answer.get("Failed").is_none());
    let messages = receive_all(&mut client, &url, 10).await;
    let ids: Vec<&Value> = answer["Successful"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["MessageId"])
        .collect();
    let received: Vec<&Value> = messages
        .iter()
        .map(|message| &message["MessageId"])
        .collect();
    assert_eq!(received, ids);
    let handles: Vec<Value> = messages
        .iter()
        .enumerate()
        .map(|(n, message)| json!({"Id": n.to_string(), "ReceiptHandle": message["ReceiptHandle"]}))
        .collect();
    let deleted = client
        .ok(
            "DeleteMessageBatch",
            json!({"QueueUrl": url, "Entries": handles}),
        )
        .await;
    assert_eq!(deleted["Successful"].as_array().unwrap().len(), 10);
    assert_eq!(
        client
            .attribute(&url, "ApproximateNumberOfMessagesNotVisible")
            .await,
        "0"
    );
    world.end().await;
}

#[tokio::test]
async fn records_of_other_protocols_are_messages() {
    let (world, mut client, url) = World::with_queue().await;
    let topic = world.broker.directory().topic("q").unwrap();
    let mut batch = BatchBuilder::new(1_234);
    let headers: [(&str, Option<&[u8]>); 2] =
        [("content-type", Some(b"text/plain")), ("none", None)];
    batch
        .push(
            1_234,
            Some(b"key 1"),
            Some(b"\0binary"),
            headers.into_iter(),
        )
        .unwrap();
    batch
        .push(1_235, Some(b"key-2"), None, std::iter::empty())
        .unwrap();
    let messages = vec![Outgoing {
        target: Target::Topic(topic.id),
        batch: batch.finish(),
        key_hash: None,
        not_before: None,
        identity: None,
        lives_ms: None,
    }];
    world
        .broker
        .publish(Publish {
            messages,
            durability: Durability::Synced,
            when_full: WhenFull::Refuse,
        })
        .await
        .unwrap();
    let messages = receive_all(&mut client, &url, 2).await;
    assert_eq!(messages[0]["Body"], "AGJpbmFyeQ==");
    assert_eq!(
        messages[0]["MessageAttributes"],
        json!({
            "content-type": {"DataType": "String", "StringValue": "text/plain"},
            "forebay.body-encoding": {"DataType": "String", "StringValue": "base64"},
        })
    );
    assert_eq!(messages[0]["Attributes"]["SentTimestamp"], "1234");
    assert!(messages[0]["Attributes"].get("MessageGroupId").is_none());
    assert_eq!(messages[1]["Body"], "");
    assert_eq!(messages[1]["Attributes"]["MessageGroupId"], "key-2");
    assert_ne!(messages[0]["MessageId"], messages[1]["MessageId"]);
    world.end().await;
}

#[tokio::test]
async fn attributes_are_told_only_when_asked_for() {
    let (world, mut client, url) = World::with_queue().await;
    let attribute = |value: &str| json!({"DataType": "String", "StringValue": value});
    let attributes = json!({"General": attribute("Kenobi"), "Hello": attribute("There"), "Help.Me": attribute("Me")});
    client
        .ok(
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "msg", "MessageAttributes": attributes}),
        )
        .await;
    for (asked, names, digest) in [
        (json!([]), vec![], None),
        (
            json!(["All"]),
            vec!["General", "Hello", "Help.Me"],
            Some("4c360f3fdafd970e05fae2f149d997f5"),
        ),
        (
            json!(["General", "Hello"]),
            vec!["General", "Hello"],
            Some("fca026605781cb4126a1e9044df24232"),
        ),
        (
            json!(["Hello", "None"]),
            vec!["Hello"],
            Some("a311262e065454b75da111d535b8dacd"),
        ),
        (
            json!(["Hel.*"]),
            vec!["Hello", "Help.Me"],
            Some("83fee93c1bcd8b9a5a923ffacdc636c7"),
        ),
    ] {
        let received = client
            .ok(
                "ReceiveMessage",
                json!({"QueueUrl": url, "VisibilityTimeout": 0, "MessageAttributeNames": asked}),
            )
            .await;
        let message = &received["Messages"][0];
        let mut found: Vec<&str> = message["MessageAttributes"]
            .as_object()
            .map_or_else(Vec::new, |map| map.keys().map(String::as_str).collect());
        found.sort_unstable();
        assert_eq!(found, names);
        assert_eq!(message["MD5OfMessageAttributes"].as_str(), digest);
    }
    world.end().await;
}
