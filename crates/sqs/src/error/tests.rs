use http_body_util::BodyExt;

use super::*;
use crate::http;

async fn on_wire(fault: Fault) -> (u16, String, String) {
    let response = http::refusal(&fault);
    let (head, body) = response.into_parts();
    let header = head.headers["x-amzn-query-error"]
        .to_str()
        .unwrap()
        .to_owned();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status.as_u16(),
        header,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

#[tokio::test]
async fn errors_look_as_those_of_aws() {
    let cases = [
        (
            Fault::QueueDoesNotExist,
            400,
            "AWS.SimpleQueueService.NonExistentQueue;Sender",
            r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The specified queue does not exist."}"#,
        ),
        (
            Fault::QueueNameExists {
                attribute: "DelaySeconds".to_owned(),
            },
            400,
            "QueueAlreadyExists;Sender",
            r#"{"__type":"com.amazonaws.sqs#QueueNameExists","message":"A queue already exists with the same name and a different value for attribute DelaySeconds"}"#,
        ),
        (
            Fault::TooManyEntries { sent: 20 },
            400,
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest;Sender",
            r#"{"__type":"com.amazonaws.sqs#TooManyEntriesInBatchRequest","message":"Maximum number of entries per request are 10. You have sent 20."}"#,
        ),
        (
            Fault::BatchTooLong { sent: 1_048_577 },
            400,
            "AWS.SimpleQueueService.BatchRequestTooLong;Sender",
            r#"{"__type":"com.amazonaws.sqs#BatchRequestTooLong","message":"Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes."}"#,
        ),
        (
            Fault::receipt("garbage"),
            400,
            "ReceiptHandleIsInvalid;Sender",
            r#"{"__type":"com.amazonaws.sqs#ReceiptHandleIsInvalid","message":"The input receipt handle \"garbage\" is not a valid receipt handle."}"#,
        ),
        (
            Fault::missing("MessageBody"),
            400,
            "MissingParameter;Sender",
            r#"{"__type":"com.amazon.coral.service#MissingRequiredParameterException","message":"The request must contain the parameter MessageBody."}"#,
        ),
        (
            Fault::invalid(
                11,
                "MaxNumberOfMessages",
                "Must be between 1 and 10, if provided.",
            ),
            400,
            "InvalidParameterValue;Sender",
            r#"{"__type":"com.amazon.coral.service#InvalidParameterValueException","message":"Value 11 for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided."}"#,
        ),
        (
            Fault::from(Refusal::StorageFull("12 MiB are free".into())),
            503,
            "ServiceUnavailable;Receiver",
            r#"{"__type":"com.amazon.coral.service#ServiceUnavailableException","message":"storage is full: 12 MiB are free"}"#,
        ),
    ];
    for (fault, status, header, body) in cases {
        let expected = (status, header.to_owned(), body.to_owned());
        assert_eq!(on_wire(fault).await, expected);
    }
}

#[test]
fn an_unable_server_names_a_time_to_come_again() {
    let response = http::refusal(&Fault::from(Refusal::Stopping));
    assert_eq!(response.headers()["retry-after"], "1");
    assert!(
        http::refusal(&Fault::QueueDoesNotExist)
            .headers()
            .get("retry-after")
            .is_none()
    );
}

#[test]
fn no_refusal_of_the_broker_becomes_a_server_error_but_those_that_are() {
    for refusal in [
        Refusal::NoSuchTopic,
        Refusal::TopicLocked,
        Refusal::InUse,
        Refusal::NotEmpty,
        Refusal::NoSuchBinding,
    ] {
        assert!(Fault::from(refusal.clone()).is_senders(), "{refusal:?}");
    }
}

#[test]
fn long_values_are_not_repeated_whole() {
    let fault = Fault::receipt(&"é".repeat(1_000_000));
    assert!(fault.message().len() < 2 * ECHO_BYTES_MAX);
}
