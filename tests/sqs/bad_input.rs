//! What is wrong gets SQS's own precise error; nobody else notices.

use forebay_tests::raw::{self, Answer, Wire};
use forebay_tests::{Forebay, sqs};
use serde_json::{Value, json};

/// Sends one JSON 1.0 request as an SDK would, unsigned.
async fn call(forebay: &Forebay, action: &str, body: &str) -> Answer {
    call_as(forebay, action, body, "application/x-amz-json-1.0").await
}

async fn call_as(forebay: &Forebay, action: &str, body: &str, content_type: &str) -> Answer {
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nX-Amz-Target: AmazonSQS.{action}\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        forebay.sqs(),
        body.len(),
    );
    raw::http(forebay.sqs(), request.as_bytes())
        .await
        .expect("an answer")
}

/// The last part of `__type`, and the query code of the compatibility header.
fn kind(answer: &Answer) -> (String, String) {
    let body: Value = serde_json::from_str(&answer.body)
        .unwrap_or_else(|_| panic!("an error in JSON: {answer:?}"));
    let shape = body["__type"].as_str().unwrap_or_default();
    let shape = shape.rsplit('#').next().unwrap_or_default().to_owned();
    (
        shape,
        answer
            .header("x-amzn-query-error")
            .unwrap_or_default()
            .to_owned(),
    )
}

fn assert_refused(answer: &Answer, shape: &str, query_code: &str) {
    assert_eq!(answer.status, 400, "{answer:?}");
    let (got, code) = kind(answer);
    assert_eq!(
        (got.as_str(), code.as_str()),
        (shape, format!("{query_code};Sender").as_str()),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_request_has_its_own_error() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let url = sqs::create(&sqs::client(forebay.sqs()), "q").await;
    let gone = url.replace("/q", "/gone");
    let no_queue = (
        "QueueDoesNotExist",
        "AWS.SimpleQueueService.NonExistentQueue",
    );
    let value = ("InvalidParameterValueException", "InvalidParameterValue");
    let entries = |count: usize| -> Vec<Value> {
        (0..count)
            .map(|n| json!({"Id": n.to_string(), "MessageBody": "b"}))
            .collect()
    };
    let twice = json!([{"Id": "a", "MessageBody": "b"}, {"Id": "a", "MessageBody": "b"}]);
    let large = json!([
        {"Id": "a", "MessageBody": "x".repeat(600_000)}, {"Id": "b", "MessageBody": "x".repeat(600_000)},
    ]);
    let cases = [
        ("GetQueueUrl", json!({"QueueName": "gone"}), no_queue),
        (
            "SendMessage",
            json!({"QueueUrl": gone, "MessageBody": "b"}),
            no_queue,
        ),
        ("ReceiveMessage", json!({"QueueUrl": gone}), no_queue),
        ("DeleteQueue", json!({"QueueUrl": gone}), no_queue),
        (
            "SendMessage",
            json!({"QueueUrl": url}),
            ("MissingRequiredParameterException", "MissingParameter"),
        ),
        (
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "x".repeat(1_048_577)}),
            value,
        ),
        (
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "\u{1}"}),
            ("InvalidMessageContents", "InvalidMessageContents"),
        ),
        (
            "SendMessage",
            json!({"QueueUrl": url, "MessageBody": "b", "DelaySeconds": 901}),
            value,
        ),
        (
            "ReceiveMessage",
            json!({"QueueUrl": url, "MaxNumberOfMessages": 11}),
            value,
        ),
        (
            "ReceiveMessage",
            json!({"QueueUrl": url, "WaitTimeSeconds": 21}),
            value,
        ),
        ("CreateQueue", json!({"QueueName": "not a name!"}), value),
        (
            "DeleteMessage",
            json!({"QueueUrl": url, "ReceiptHandle": "no handle of ours"}),
            ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
        ),
        (
            "ChangeMessageVisibility",
            json!({"QueueUrl": url, "ReceiptHandle": "AAAA", "VisibilityTimeout": 1}),
            ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": []}),
            (
                "EmptyBatchRequest",
                "AWS.SimpleQueueService.EmptyBatchRequest",
            ),
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": entries(11)}),
            (
                "TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            ),
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": twice}),
            (
                "BatchEntryIdsNotDistinct",
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            ),
        ),
        (
            "SendMessageBatch",
            json!({"QueueUrl": url, "Entries": large}),
            (
                "BatchRequestTooLong",
                "AWS.SimpleQueueService.BatchRequestTooLong",
            ),
        ),
    ];
    for (action, body, (shape, code)) in cases {
        let answer = call(&forebay, action, &body.to_string()).await;
        let mut shown = body.to_string();
        shown.truncate(80);
        println!("{action} {shown}: {}", answer.body);
        assert_refused(&answer, shape, code);
    }
    forebay.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_before_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let answer = call(&forebay, "NoSuchAction", "{}").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(
        ["InvalidAction", "UnknownOperationException"].contains(&kind(&answer).0.as_str()),
        "{answer:?}"
    );
    for body in [
        "",
        "{",
        "[]",
        "{\"QueueName\": 7}",
        "{\"QueueName\": \"\u{0}\"}",
    ] {
        let answer = call(&forebay, "CreateQueue", body).await;
        assert!((400..500).contains(&answer.status), "{body:?}: {answer:?}");
        assert!(!kind(&answer).0.is_empty(), "{body:?}: {answer:?}");
    }
    let answer = call_as(&forebay, "ListQueues", "{}", "text/plain").await;
    assert!((400..500).contains(&answer.status), "{answer:?}");

    // A length nobody can mean is answered without waiting for the body.
    let head = "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonSQS.SendMessage\r\n\
                Content-Type: application/x-amz-json-1.0\r\nContent-Length: 99999999999999\r\n\r\n";
    let answer = raw::http(forebay.sqs(), head.as_bytes()).await;
    if let Some(answer) = answer {
        assert!((400..500).contains(&answer.status), "{answer:?}");
    }
    // A length that is no number, and no HTTP at all.
    for garbage in [
        &b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ten\r\n\r\n"[..],
        b"AMQP\0\0\x09\x01\r\n\r\n",
    ] {
        let mut wire = Wire::to(forebay.sqs()).await;
        wire.put(garbage).await;
        let text = String::from_utf8_lossy(&wire.rest().await).into_owned();
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    // A body that ends before its length.
    let mut wire = Wire::to(forebay.sqs()).await;
    wire.put(b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonSQS.ListQueues\r\n")
        .await;
    wire.put(b"Content-Type: application/x-amz-json-1.0\r\nContent-Length: 100\r\n\r\n{")
        .await;
    wire.end().await;
    wire.rest().await;
    forebay.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_after_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let mut wire = Wire::to(forebay.sqs()).await;
    for (action, body, status) in [
        ("GetQueueUrl", "{\"QueueName\":\"q\"}", 400),
        ("CreateQueue", "{\"QueueName\":\"q\"}", 200),
        ("GetQueueUrl", "{\"QueueName\":\"q\"}", 200),
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: AmazonSQS.{action}\r\n\
             Content-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
        );
        wire.put(request.as_bytes()).await;
        let answer = raw::read_answer(&mut wire)
            .await
            .expect("the connection is kept");
        assert_eq!(answer.status, status, "{answer:?}");
    }
}
