//! What is wrong gets its own precise error, and the connection goes on.

use serde_json::{Value, json};

use crate::world::World;

const JSON: &str = "Content-Type: application/x-amz-json-1.0\r\n";

#[tokio::test]
async fn each_wrong_request_has_its_own_error() {
    let (world, mut client, url) = World::with_queue().await;
    let entries = |count: usize| -> Value {
        (0..count)
            .map(|n| json!({"Id": n.to_string(), "MessageBody": "b"}))
            .collect()
    };
    let value = "InvalidParameterValueException/InvalidParameterValue";
    let missing = "MissingRequiredParameterException/MissingParameter";
    let serialization = "SerializationException/SerializationException";
    let no_queue = "QueueDoesNotExist/AWS.SimpleQueueService.NonExistentQueue";
    let too_large =
        "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.";
    let entry_id = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.";
    let cases = [
        (
            "SendMessage",
            json!({"QueueUrl": "http://x/0/gone", "MessageBody": "b"}),
            no_queue,
            "The specified queue does not exist.",
        ),
        (
            "ReceiveMessage",
            json!({"QueueUrl": "http://x/0/gone"}),
            no_queue,
            "The specified queue does not exist.",
        ),
        (
            "SendMessage",
            json!({"MessageBody": "b"}),
            missing,
            "The request must contain the parameter QueueUrl.",
        ),
        (
            "SendMessage",
            json!({"QueueUrl": "http://x/", "MessageBody": "b"}),
            "InvalidAddress/InvalidAddress",
            "The address http://x/ is not valid for this endpoint.",
        ),
        (
            "SendMessage",
            json!({"QueueUrl": url}),
            missing,
            "The request must contain the parameter MessageBody.",
        ),
        (
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "x".repeat(1_048_577)}),
            value,
            too_large,
        ),
        (
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": {}}),
            serialization,
            "Start of structure or map found where not expected.",
        ),
        (
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "b", "DelaySeconds": "1"}),
            serialization,
            "STRING_VALUE can not be converted to an Integer",
        ),
        (
            "ReceiveMessage",
            json!({"QueueUrl": url, "MaxNumberOfMessages": 11}),
            value,
            "Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
        ),
        (
            "ReceiveMessage",
            json!({"QueueUrl": url, "MaxNumberOfMessages": 0}),
            value,
            "Value 0 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.",
        ),
        (
            "ReceiveMessage",
            json!({"QueueUrl": url, "WaitTimeSeconds": 21}),
            value,
            "Value 21 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.",
        ),
        (
            "ReceiveMessage",
            json!({"QueueUrl": url, "WaitTimeSeconds": -1}),
            value,
            "Value -1 for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.",
        ),
        (
            "ReceiveMessage",
            json!({"QueueUrl": url, "VisibilityTimeout": 43201}),
            value,
            "Value 43201 for parameter VisibilityTimeout is invalid. Reason: Must be >= 0 and <= 43200, if provided.",
        ),
        (
            "ReceiveMessage",
            json!({"QueueUrl": url, "AttributeNames": ["Foo"]}),
            "InvalidAttributeName/InvalidAttributeName",
            "Unknown Attribute Foo.",
        ),
        (
            "CreateQueue",
            json!({}),
            missing,
            "The request must contain the parameter QueueName.",
        ),
        (
            "CreateQueue",
            json!({"QueueName": "in.fo"}),
            value,
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        ),
        (
            "NoSuchAction",
            json!({}),
            "UnknownOperationException/InvalidAction",
            "The action NoSuchAction is not valid for this endpoint.",
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": []}),
            "EmptyBatchRequest/AWS.SimpleQueueService.EmptyBatchRequest",
            "There should be at least one SendMessageBatchRequestEntry in the request.",
        ),
        (
            "DeleteMessageBatch",
            json!({"QueueUrl": url}),
            "EmptyBatchRequest/AWS.SimpleQueueService.EmptyBatchRequest",
            "There should be at least one DeleteMessageBatchRequestEntry in the request.",
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": entries(20)}),
            "TooManyEntriesInBatchRequest/AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            "Maximum number of entries per request are 10. You have sent 20.",
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": [{"Id": "a:b", "MessageBody": "b"}]}),
            "InvalidBatchEntryId/AWS.SimpleQueueService.InvalidBatchEntryId",
            entry_id,
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": [{"MessageBody": "b"}]}),
            missing,
            "The request must contain the parameter SendMessageBatchRequestEntry.1.Id.",
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": [{"Id": "a", "MessageBody": "b"}, {"Id": "a", "MessageBody": "b"}]}),
            "BatchEntryIdsNotDistinct/AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            "Id a repeated.",
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": [{"Id": "a", "MessageBody": "x".repeat(1_000_000)}, {"Id": "b", "MessageBody": "x".repeat(48_577)}]}),
            "BatchRequestTooLong/AWS.SimpleQueueService.BatchRequestTooLong",
            "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes.",
        ),
    ];
    for (action, body, kind, text) in cases {
        let (shape, code, message) = client.refused(action, body).await;
        assert_eq!(
            (format!("{shape}/{code}").as_str(), message.as_str()),
            (kind, text),
            "{action}"
        );
    }
    client
        .ok(
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "still here"}),
        )
        .await;
    world.end().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_connection_goes_on() {
    let world = World::new().await;
    let mut client = world.client().await;
    let target = "X-Amz-Target: AmazonSQS.ListQueues\r\n";
    let foreign = "X-Amz-Target: DynamoDB_20120810.ListTables\r\n";
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (line, headers, body, status, words) in [
        (
            "POST / HTTP/1.1",
            format!("{target}{JSON}"),
            &b"{"[..],
            400,
            "SerializationException",
        ),
        (
            "POST / HTTP/1.1",
            format!("{target}{JSON}"),
            b"[]",
            400,
            "SerializationException",
        ),
        (
            "POST / HTTP/1.1",
            format!("{target}{JSON}"),
            b"{\"QueueNamePrefix\":\"\xff\"}",
            400,
            "SerializationException",
        ),
        (
            "POST / HTTP/1.1",
            format!("{target}Content-Type: text/plain\r\n"),
            b"{}",
            415,
            "UnsupportedMediaTypeException",
        ),
        (
            "POST / HTTP/1.1",
            target.to_owned(),
            b"{}",
            415,
            "UnsupportedMediaTypeException",
        ),
        (
            "POST / HTTP/1.1",
            format!("{foreign}{JSON}"),
            b"{}",
            400,
            "UnknownOperationException",
        ),
        (
            "PUT / HTTP/1.1",
            format!("{target}{JSON}"),
            b"{}",
            400,
            "UnknownOperationException",
        ),
        (
            "POST / HTTP/1.1",
            JSON.to_owned(),
            b"{}",
            400,
            "UnknownOperationException",
        ),
        (
            "GET /nothing HTTP/1.1",
            String::new(),
            b"",
            400,
            "UnknownOperationException",
        ),
        (
            "POST / HTTP/1.1",
            form.to_owned(),
            b"Version=2012-11-05",
            400,
            "<Code>MissingParameter</Code>",
        ),
        (
            "GET /?Action=Nonsense HTTP/1.1",
            String::new(),
            b"",
            400,
            "<Code>InvalidAction</Code>",
        ),
        ("GET / HTTP/1.1", String::new(), b"", 200, "Forebay"),
        ("GET /health HTTP/1.1", String::new(), b"", 200, "Forebay"),
        (
            "POST /000000000000/q HTTP/1.1",
            format!("{target}{JSON}"),
            b"",
            200,
            "{}",
        ),
    ] {
        let answer = client.request(line, &headers, body).await;
        assert_eq!(answer.status, status, "{line} {headers} {answer:?}");
        assert!(answer.body.contains(words), "{line} {headers} {answer:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let (world, mut client, url) = World::with_queue().await;
    let body = format!(
        "{{\"QueueUrl\":\"{url}\",\"MessageBody\":\"{}\"}}",
        "x".repeat(8 << 20)
    );
    let answer = client.call("SendMessage", &body).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
    assert!(
        answer.body.contains("RequestEntityTooLarge"),
        "{}",
        answer.body
    );
    client
        .ok(
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "still here"}),
        )
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_length_nobody_can_mean_is_refused_unread() {
    let world = World::new().await;
    let mut client = world.client().await;
    client
        .put(format!("POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonSQS.SendMessage\r\n{JSON}Content-Length: 99999999999\r\n\r\n").as_bytes())
        .await;
    assert_eq!(client.answer().await.unwrap().status, 413);
    assert!(client.answer().await.is_none(), "the connection is closed");
    world.end().await;
}

#[tokio::test]
async fn requests_sent_in_one_go_are_answered_in_order() {
    let world = World::new().await;
    let mut client = world.client().await;
    let mut wire = String::new();
    for n in 0..20 {
        let body = json!({"QueueName": format!("q{n}")}).to_string();
        wire += &format!(
            "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonSQS.CreateQueue\r\n{JSON}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    client.put(wire.as_bytes()).await;
    for n in 0..20 {
        let answer = client.answer().await.unwrap();
        assert_eq!(
            answer.json()["QueueUrl"],
            format!("http://x/000000000000/q{n}")
        );
    }
    world.end().await;
}
