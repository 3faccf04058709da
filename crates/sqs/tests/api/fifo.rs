//! FIFO queues: order per group, duplicates, attempts, and the refusals that are theirs alone.

use serde_json::{Value, json};

use crate::world::{Client, World};

async fn with_fifo(attributes: Value) -> (World, Client, String) {
    let world = World::new().await;
    let mut client = world.client().await;
    let mut all = json!({"FifoQueue": "true"});
    for (name, value) in attributes.as_object().unwrap() {
        all[name] = value.clone();
    }
    let url = client.create("q.fifo", all).await;
    (world, client, url)
}

async fn send(client: &mut Client, url: &str, group: &str, id: &str) -> Value {
    let message = json!({
        "QueueUrl": url, "MessageBody": format!("{group}{id}"),
        "MessageGroupId": group, "MessageDeduplicationId": format!("{group}-{id}"),
    });
    client.ok("SendMessage", message).await
}

async fn receive(client: &mut Client, url: &str, max: u32) -> Vec<Value> {
    let request = json!({
        "QueueUrl": url, "MaxNumberOfMessages": max, "MessageSystemAttributeNames": ["All"],
    });
    let received = client.ok("ReceiveMessage", request).await;
    received["Messages"].as_array().cloned().unwrap_or_default()
}

fn bodies(messages: &[Value]) -> Vec<&str> {
    let bodies = messages.iter();
    bodies
        .map(|message| message["Body"].as_str().unwrap())
        .collect()
}

async fn delete(client: &mut Client, url: &str, message: &Value) {
    let request = json!({"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]});
    client.ok("DeleteMessage", request).await;
}

#[tokio::test]
async fn a_group_is_handed_out_in_order_to_one_receiver_at_a_time() {
    let (world, mut client, url) = with_fifo(json!({})).await;
    for (group, id) in [("a", "1"), ("a", "2"), ("b", "1"), ("a", "3")] {
        send(&mut client, &url, group, id).await;
    }
    let first = receive(&mut client, &url, 2).await;
    assert_eq!(bodies(&first), ["a1", "a2"]);
    let second = receive(&mut client, &url, 10).await;
    assert_eq!(bodies(&second), ["b1"]);
    delete(&mut client, &url, &first[0]).await;
    assert!(
        receive(&mut client, &url, 10).await.is_empty(),
        "a2 is still out"
    );
    let back = json!({"QueueUrl": url, "ReceiptHandle": first[1]["ReceiptHandle"], "VisibilityTimeout": 0});
    client.ok("ChangeMessageVisibility", back).await;
    assert_eq!(bodies(&receive(&mut client, &url, 10).await), ["a2", "a3"]);
    world.end().await;
}

#[tokio::test]
async fn messages_tell_group_number_and_deduplication() {
    let (world, mut client, url) = with_fifo(json!({"ContentBasedDeduplication": "true"})).await;
    let sent = send(&mut client, &url, "a", "1").await;
    let by_content = json!({"QueueUrl": url, "MessageBody": "hello", "MessageGroupId": "a"});
    let second = client.ok("SendMessage", by_content.clone()).await;
    let again = client.ok("SendMessage", by_content).await;
    assert_eq!(second, again, "the duplicate is told of the original");
    let received = receive(&mut client, &url, 10).await;
    assert_eq!(bodies(&received), ["a1", "hello"]);
    for (message, (sent, id)) in received.iter().zip([
        (&sent, "a-1"),
        (
            &second,
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        ),
    ]) {
        let attributes = &message["Attributes"];
        assert_eq!(message["MessageId"], sent["MessageId"]);
        assert_eq!(attributes["SequenceNumber"], sent["SequenceNumber"]);
        assert_eq!(attributes["MessageGroupId"], "a");
        assert_eq!(attributes["MessageDeduplicationId"], id);
    }
    let number = |sent: &Value| sent["SequenceNumber"].as_str().unwrap().to_owned();
    assert!(number(&sent) < number(&second) && number(&sent).len() == 20);
    world.end().await;
}

#[tokio::test]
async fn duplicates_are_found_in_the_queue_or_in_the_group() {
    let (world, mut client, url) = with_fifo(json!({})).await;
    let message = |group: &str, body: &str| {
        json!({
            "QueueUrl": url, "MessageBody": body, "MessageGroupId": group,
            "MessageDeduplicationId": "same",
        })
    };
    let first = client.ok("SendMessage", message("a", "one")).await;
    let received = receive(&mut client, &url, 1).await;
    delete(&mut client, &url, &received[0]).await;
    let again = client.ok("SendMessage", message("b", "two")).await;
    assert_eq!(
        again["MessageId"], first["MessageId"],
        "also when it is deleted"
    );
    assert_eq!(again["SequenceNumber"], first["SequenceNumber"]);
    assert_eq!(
        again["MD5OfMessageBody"], "b8a9f715dbb64fd5c56e7783c6820a61",
        "of what was sent"
    );
    assert!(receive(&mut client, &url, 10).await.is_empty());

    let high =
        json!({"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"});
    client
        .ok(
            "SetQueueAttributes",
            json!({"QueueUrl": url, "Attributes": high}),
        )
        .await;
    for group in ["a", "b", "a"] {
        client.ok("SendMessage", message(group, group)).await;
    }
    assert_eq!(bodies(&receive(&mut client, &url, 10).await), ["a", "b"]);
    world.end().await;
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_finds_duplicates_in_itself() {
    let (world, mut client, url) = with_fifo(json!({})).await;
    let entry = |id: &str, dedup: &str| {
        json!({
            "Id": id, "MessageBody": id, "MessageGroupId": "g", "MessageDeduplicationId": dedup,
        })
    };
    let entries = json!([
        entry("a", "1"),
        entry("b", "2"),
        entry("c", "1"),
        entry("d", "3")
    ]);
    let sent = client
        .ok(
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": entries}),
        )
        .await;
    let sent = sent["Successful"].as_array().unwrap();
    assert_eq!(sent.len(), 4);
    assert_eq!(sent[0]["MessageId"], sent[2]["MessageId"]);
    assert_eq!(sent[0]["SequenceNumber"], sent[2]["SequenceNumber"]);
    assert_eq!(
        bodies(&receive(&mut client, &url, 10).await),
        ["a", "b", "d"]
    );
    world.end().await;
}

#[tokio::test]
async fn an_attempt_made_again_gets_the_same_messages_and_handles() {
    let (world, mut client, url) = with_fifo(json!({})).await;
    for id in ["1", "2"] {
        send(&mut client, &url, "a", id).await;
    }
    let request = json!({"QueueUrl": url, "ReceiveRequestAttemptId": "try-1"});
    let first = client.ok("ReceiveMessage", request.clone()).await;
    assert_eq!(first["Messages"][0]["Body"], "a1");
    for _ in 0..2 {
        assert_eq!(client.ok("ReceiveMessage", request.clone()).await, first);
    }
    delete(&mut client, &url, &first["Messages"][0]).await;
    let after = client.ok("ReceiveMessage", request).await;
    assert_eq!(
        after["Messages"][0]["Body"], "a2",
        "a deleted message ends the attempt"
    );
    world.end().await;
}

#[tokio::test]
async fn a_handle_whose_time_is_over_deletes_nothing() {
    let (world, mut client, url) = with_fifo(json!({"VisibilityTimeout": "0"})).await;
    send(&mut client, &url, "a", "1").await;
    let expired = receive(&mut client, &url, 1).await.remove(0);
    let handle = expired["ReceiptHandle"].as_str().unwrap();
    let text = format!(
        "Value {handle} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
    );
    let request = json!({"QueueUrl": url, "ReceiptHandle": handle});
    let refused = client.refused("DeleteMessage", request.clone()).await;
    let wanted = (
        "InvalidParameterValueException",
        "InvalidParameterValue",
        text.as_str(),
    );
    assert_eq!((&*refused.0, &*refused.1, &*refused.2), wanted);
    let longer = json!({"QueueUrl": url, "VisibilityTimeout": 30});
    let current = client.ok("ReceiveMessage", longer).await["Messages"][0].clone();
    assert_eq!(current["Body"], "a1");
    let refused = client.refused("DeleteMessage", request).await;
    assert_eq!(refused.2, text, "nor after it was handed out again");
    let entries = json!([
        {"Id": "old", "ReceiptHandle": handle},
        {"Id": "new", "ReceiptHandle": current["ReceiptHandle"]},
    ]);
    let batch = json!({"QueueUrl": url, "Entries": entries});
    let deleted = client.ok("DeleteMessageBatch", batch).await;
    assert_eq!(deleted["Successful"], json!([{"Id": "new"}]));
    assert_eq!(deleted["Failed"][0]["Code"], "InvalidParameterValue");
    delete(&mut client, &url, &current).await;
    world.end().await;
}

#[tokio::test]
async fn dead_letters_go_to_a_fifo_queue_in_order() {
    let (world, mut client, dead) = with_fifo(json!({})).await;
    let arn = client.attribute(&dead, "QueueArn").await;
    let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 1}).to_string();
    let attributes =
        json!({"FifoQueue": "true", "RedrivePolicy": policy, "VisibilityTimeout": "0"});
    let url = client.create("work.fifo", attributes).await;
    for id in ["1", "2", "3"] {
        send(&mut client, &url, "a", id).await;
    }
    let mut moved = Vec::new();
    while moved.len() < 3 {
        receive(&mut client, &url, 2).await;
        let wait = json!({
            "QueueUrl": dead, "WaitTimeSeconds": 1, "MessageSystemAttributeNames": ["All"],
        });
        let got = client.ok("ReceiveMessage", wait).await;
        for message in got["Messages"].as_array().into_iter().flatten() {
            moved.push(message.clone());
            delete(&mut client, &dead, message).await;
        }
    }
    assert_eq!(bodies(&moved), ["a1", "a2", "a3"]);
    let attributes = &moved[0]["Attributes"];
    assert_eq!(attributes["MessageGroupId"], "a");
    assert_eq!(attributes["MessageDeduplicationId"], "a-1");
    assert!(
        attributes["DeadLetterQueueSourceArn"]
            .as_str()
            .unwrap()
            .ends_with(":work.fifo")
    );

    let plain = client.create("plain", json!({})).await;
    let refused = client
        .refused(
            "SetQueueAttributes",
            json!({"QueueUrl": plain, "Attributes": {"RedrivePolicy": policy}}),
        )
        .await;
    assert!(
        refused
            .2
            .ends_with("Dead-letter queue must be same type of queue as the source..")
    );
    world.end().await;
}

#[tokio::test]
async fn attributes_of_a_fifo_queue_are_there_and_keep_their_rules() {
    let (world, mut client, url) = with_fifo(json!({"ContentBasedDeduplication": "true"})).await;
    let all = client
        .ok(
            "GetQueueAttributes",
            json!({"QueueUrl": url, "AttributeNames": ["All"]}),
        )
        .await;
    for (name, value) in [
        ("FifoQueue", "true"),
        ("ContentBasedDeduplication", "true"),
        ("DeduplicationScope", "queue"),
        ("FifoThroughputLimit", "perQueue"),
    ] {
        assert_eq!(all["Attributes"][name], value);
    }
    let listed = client.ok("ListQueues", json!({})).await;
    assert_eq!(listed["QueueUrls"], json!([url]));
    let same = client
        .ok("CreateQueue", json!({"QueueName": "q.fifo"}))
        .await;
    assert_eq!(same["QueueUrl"], json!(url));
    let other = json!({"QueueName": "q.fifo", "Attributes": {"FifoQueue": "true", "ContentBasedDeduplication": "false"}});
    let refused = client.refused("CreateQueue", other).await;
    assert_eq!(refused.1, "QueueAlreadyExists");
    assert!(
        refused
            .2
            .ends_with("a different value for attribute ContentBasedDeduplication")
    );
    let mut set = async |attributes: Value| {
        let request = json!({"QueueUrl": url, "Attributes": attributes});
        client.refused("SetQueueAttributes", request).await
    };
    let refused = set(json!({"FifoQueue": "false"})).await;
    assert_eq!(refused.1, "InvalidAttributeValue");
    assert_eq!(
        refused.2,
        "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported."
    );
    for (name, value) in [
        ("ContentBasedDeduplication", "yes"),
        ("DeduplicationScope", "x"),
        ("FifoThroughputLimit", ""),
    ] {
        let refused = set(json!({ name: value })).await;
        assert_eq!(
            refused.2,
            format!("Invalid value for the parameter {name}.")
        );
    }
    let refused = set(json!({"FifoThroughputLimit": "perMessageGroupId"})).await;
    assert_eq!(refused.1, "InvalidAttributeValue");
    world.end().await;
}

#[tokio::test]
async fn what_a_fifo_queue_asks_for_and_a_standard_queue_does_not_take() {
    let (world, mut client, url) = with_fifo(json!({})).await;
    let plain = client.create("plain", json!({})).await;
    let value = "InvalidParameterValue";
    let group = "The request must contain the parameter MessageGroupId.";
    let dedup = "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly";
    let not_here = "The request include parameter that is not valid for this queue type.";
    let cases = [
        ("SendMessage", json!({"QueueUrl": url, "MessageBody": "b", "MessageDeduplicationId": "d"}), "MissingParameter", group.to_owned()),
        ("SendMessage", json!({"QueueUrl": url, "MessageBody": "b", "MessageGroupId": "g"}), value, dedup.to_owned()),
        ("SendMessage", json!({"QueueUrl": url, "MessageBody": "b", "MessageGroupId": "g", "MessageDeduplicationId": "d", "DelaySeconds": 2}), value, format!("Value 2 for parameter DelaySeconds is invalid. Reason: {not_here}")),
        ("SendMessage", json!({"QueueUrl": url, "MessageBody": "b", "MessageGroupId": "g", "MessageDeduplicationId": "a b"}), value, "Value a b for parameter MessageDeduplicationId is invalid. Reason: MessageDeduplicationId can only include alphanumeric and punctuation characters. 1 to 128 in length.".to_owned()),
        ("SendMessage", json!({"QueueUrl": plain, "MessageBody": "b", "MessageDeduplicationId": "d"}), value, format!("Value d for parameter MessageDeduplicationId is invalid. Reason: {not_here}")),
        ("SendMessageBatch", json!({"QueueUrl": url, "Entries": [{"Id": "1", "MessageBody": "b", "MessageGroupId": "g", "MessageDeduplicationId": "d"}, {"Id": "2", "MessageBody": "b", "MessageDeduplicationId": "e"}]}), value, group.to_owned()),
        ("SendMessageBatch", json!({"QueueUrl": url, "Entries": [{"Id": "1", "MessageBody": "b", "MessageGroupId": "g"}]}), value, dedup.to_owned()),
        ("ReceiveMessage", json!({"QueueUrl": plain, "ReceiveRequestAttemptId": "a"}), value, format!("Value a for parameter ReceiveRequestAttemptId is invalid. Reason: {not_here}")),
        ("CreateQueue", json!({"QueueName": "new.fifo"}), value, "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length".to_owned()),
        ("CreateQueue", json!({"QueueName": "new", "Attributes": {"FifoQueue": "true"}}), value, "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length".to_owned()),
        ("CreateQueue", json!({"QueueName": "new", "Attributes": {"FifoQueue": "false"}}), "InvalidAttributeName", "Unknown Attribute FifoQueue.".to_owned()),
        ("SetQueueAttributes", json!({"QueueUrl": plain, "Attributes": {"DeduplicationScope": "queue"}}), "InvalidAttributeName", "You can specify the DeduplicationScope only when FifoQueue is set to true.".to_owned()),
    ];
    for (action, body, code, text) in cases {
        let refused = client.refused(action, body.clone()).await;
        assert_eq!((&*refused.1, refused.2), (code, text), "{action} {body}");
    }
    assert!(
        receive(&mut client, &url, 10).await.is_empty(),
        "nothing of a refused batch is taken"
    );
    let zero = json!({"QueueUrl": url, "MessageBody": "b", "MessageGroupId": "g", "MessageDeduplicationId": "d", "DelaySeconds": 0});
    client.ok("SendMessage", zero).await;
    world.end().await;
}
