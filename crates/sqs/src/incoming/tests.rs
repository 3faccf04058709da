use forebay_base::{PartitionId, TopicId};
use forebay_broker::{Receipt, TopicConfig};
use forebay_record::{BatchBuilder, Record};
use serde_json::{Value as Json, json};

use super::*;

const NOW: Timestamp = Timestamp(2_000);

fn record(key: Option<&[u8]>, value: &[u8], headers: &[(&str, &[u8])]) -> Record {
    let mut batch = BatchBuilder::new(1_000);
    let headers = headers.iter().map(|(name, value)| (*name, Some(*value)));
    batch.push(1_000, key, Some(value), headers).unwrap();
    batch
        .finish()
        .records(usize::MAX)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
}

fn queue() -> TopicInfo {
    TopicInfo {
        id: TopicId(9),
        name: "q".into(),
        partitions: vec![PartitionId(7)],
        config: TopicConfig::default(),
        created: NOW,
        modified: NOW,
    }
}

fn shown(record: Record, attempt: u32, system: &[&str], user: &[&str]) -> Json {
    let receipt = Receipt {
        partition: PartitionId(7),
        offset: 3,
        attempt,
    };
    let delivered = Delivered { receipt, record };
    let asked = Asked {
        system: system_attributes(system.iter().copied()).unwrap(),
        attributes: Filter::new(user.iter().copied()),
    };
    let message = Incoming::new(&delivered, &queue(), NOW, &asked, &Options::default());
    let mut shown = serde_json::to_value(&message).unwrap();
    let handle = shown
        .as_object_mut()
        .unwrap()
        .remove("ReceiptHandle")
        .unwrap();
    let expected = Handle {
        topic: TopicId(9),
        receipt,
        received: NOW,
    };
    assert_eq!(Handle::decode(handle.as_str().unwrap()), Some(expected));
    shown
}

#[test]
fn nothing_asked_is_nothing_told() {
    let record = record(
        Some(b"g"),
        b"hello",
        &[("forebay.id", b"the-id"), ("n", b"1")],
    );
    assert_eq!(
        shown(record, 1, &[], &[]),
        json!({"MessageId": "the-id", "Body": "hello", "MD5OfBody": "5d41402abc4b2a76b9719d911017c592"})
    );
}

#[test]
fn attributes_come_back_with_their_types() {
    let types = br#"{"Foo":"String","n":"Number.int","b":"Binary"}"#;
    let headers: [(&str, &[u8]); 6] = [
        ("forebay.id", b"the-id"),
        ("sqs.types", types),
        ("amqp.properties", b"\0"),
        ("Foo", b"Bar"),
        ("n", b"7"),
        ("b", b"text"),
    ];
    let all = shown(record(None, b"x", &headers), 1, &[], &["All"]);
    assert_eq!(
        all["MessageAttributes"],
        json!({
            "Foo": {"DataType": "String", "StringValue": "Bar"},
            "n": {"DataType": "Number.int", "StringValue": "7"},
            "b": {"DataType": "Binary", "BinaryValue": "dGV4dA=="},
        })
    );
    let one = shown(record(None, b"x", &headers), 1, &[], &["Foo"]);
    assert_eq!(
        one["MD5OfMessageAttributes"],
        "ae7155c6026991b6d54b11589678bf9c"
    );
}

#[test]
fn headers_of_other_protocols_become_attributes() {
    let headers: [(&str, &[u8]); 4] = [("a", b"1"), ("empty", b""), ("raw", b"\xff"), ("a", b"2")];
    let shown = shown(record(None, b"x", &headers), 1, &[], &[".*"]);
    assert_eq!(
        shown["MessageAttributes"],
        json!({
            "a": {"DataType": "String", "StringValue": "2"},
            "empty": {"DataType": "Binary", "BinaryValue": ""},
            "raw": {"DataType": "Binary", "BinaryValue": "/w=="},
        })
    );
}

#[test]
fn types_that_do_not_fit_the_value_are_not_believed() {
    let headers: [(&str, &[u8]); 2] = [("sqs.types", br#"{"a":"String"}"#), ("a", b"\xff")];
    let shown = shown(record(None, b"x", &headers), 1, &[], &["All"]);
    assert_eq!(
        shown["MessageAttributes"],
        json!({"a": {"DataType": "Binary", "BinaryValue": "/w=="}})
    );
}

#[test]
fn bodies_sqs_cannot_carry_are_encoded() {
    let shown = shown(record(None, b"\0\xff", &[]), 1, &[], &[]);
    assert_eq!(shown["Body"], "AP8=");
    assert_eq!(
        shown["MessageAttributes"],
        json!({"forebay.body-encoding": {"DataType": "String", "StringValue": "base64"}})
    );
    let id = Uuid::parse_str(shown["MessageId"].as_str().unwrap()).unwrap();
    assert_eq!(id.as_u128(), envelope::derived_id(PartitionId(7), 3));
}

#[test]
fn system_attributes_are_told_when_asked_for() {
    let headers: [(&str, &[u8]); 2] = [
        ("AWSTraceHeader", b"Root=1"),
        ("forebay.dead-letter.source", b"orders"),
    ];
    let first = shown(record(Some(b"g"), b"x", &headers), 1, &["All"], &[]);
    assert_eq!(
        first["Attributes"],
        json!({
            "SenderId": "anonymous",
            "SentTimestamp": "1000",
            "ApproximateReceiveCount": "1",
            "ApproximateFirstReceiveTimestamp": "2000",
            "MessageGroupId": "g",
            "AWSTraceHeader": "Root=1",
            "DeadLetterQueueSourceArn": "arn:aws:sqs:us-east-1:000000000000:orders",
        })
    );
    let again = shown(
        record(Some(b"a b"), b"x", &[]),
        2,
        &["ApproximateReceiveCount", "MessageGroupId"],
        &[],
    );
    assert_eq!(again["Attributes"], json!({"ApproximateReceiveCount": "2"}));
}

#[test]
fn unknown_system_attributes_are_refused() {
    assert_eq!(
        system_attributes(["Foo"].into_iter()),
        Err(Fault::unknown_attribute("Foo"))
    );
    assert_eq!(
        system_attributes(["Policy", "FifoQueue"].into_iter()),
        Ok(vec![])
    );
}
