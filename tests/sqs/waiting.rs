//! Long polls, leases and batches as the SDK sees them.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry};
use forebay_tests::{Forebay, sqs};

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_wakes_when_a_message_comes() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let client = sqs::client(forebay.sqs());
    let url = sqs::create(&client, "q").await;
    let begun = Instant::now();
    let polling = tokio::spawn(
        client
            .receive_message()
            .queue_url(&url)
            .wait_time_seconds(20)
            .send(),
    );
    client
        .send_message()
        .queue_url(&url)
        .message_body("wake up")
        .send()
        .await
        .unwrap();
    let received = polling.await.unwrap().unwrap();
    assert_eq!(received.messages()[0].body.as_deref(), Some("wake up"));
    assert!(
        begun.elapsed() < Duration::from_secs(15),
        "it waited for its deadline"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_message_wakes_a_long_poll_too() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let client = sqs::client(forebay.sqs());
    let url = sqs::create(&client, "q").await;
    client
        .send_message()
        .queue_url(&url)
        .message_body("again")
        .send()
        .await
        .unwrap();
    let first = client
        .receive_message()
        .queue_url(&url)
        .wait_time_seconds(10)
        .send()
        .await
        .unwrap();
    let handle = first.messages()[0].receipt_handle.clone().unwrap();
    let polling = tokio::spawn(
        client
            .receive_message()
            .queue_url(&url)
            .wait_time_seconds(20)
            .send(),
    );
    let change = client
        .change_message_visibility()
        .queue_url(&url)
        .receipt_handle(handle);
    change.visibility_timeout(0).send().await.unwrap();
    let second = polling.await.unwrap().unwrap();
    assert_eq!(
        second.messages()[0].message_id,
        first.messages()[0].message_id
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_runs_out_gives_the_message_back_and_its_handle_still_deletes() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let client = sqs::client(forebay.sqs());
    let url = sqs::create(&client, "q").await;
    client
        .send_message()
        .queue_url(&url)
        .message_body("leased")
        .send()
        .await
        .unwrap();
    let receive = || {
        client
            .receive_message()
            .queue_url(&url)
            .wait_time_seconds(10)
    };
    let first = receive().visibility_timeout(1).send().await.unwrap();
    let second = receive().send().await.unwrap();
    assert_eq!(
        second.messages()[0].message_id,
        first.messages()[0].message_id
    );
    assert_ne!(
        second.messages()[0].receipt_handle,
        first.messages()[0].receipt_handle
    );
    let handle = second.messages()[0].receipt_handle.clone().unwrap();
    client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(&handle)
        .send()
        .await
        .unwrap();
    client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(&handle)
        .send()
        .await
        .expect("a second delete is no error");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_answer_entry_by_entry() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let client = sqs::client(forebay.sqs());
    let url = sqs::create(&client, "q").await;
    let entry = |id: &str, body: &str| {
        SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body(body)
            .build()
            .unwrap()
    };
    let sent = client
        .send_message_batch()
        .queue_url(&url)
        .entries(entry("good", "fine"))
        .entries(entry("bad", "\u{2}"))
        .entries(entry("also-good", "fine too"))
        .send()
        .await
        .unwrap();
    let good: Vec<&str> = sent
        .successful()
        .iter()
        .map(|entry| entry.id.as_str())
        .collect();
    assert_eq!(good, ["good", "also-good"]);
    assert_eq!(sent.failed().len(), 1);
    assert_eq!(
        (sent.failed()[0].id.as_str(), sent.failed()[0].sender_fault),
        ("bad", true)
    );
    assert_eq!(sent.failed()[0].code, "InvalidMessageContents");

    let mut handles = Vec::new();
    while handles.len() < 2 {
        let receive = client
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(10)
            .wait_time_seconds(10);
        let received = receive.send().await.unwrap();
        handles.extend(
            received
                .messages()
                .iter()
                .filter_map(|message| message.receipt_handle.clone()),
        );
    }
    let delete = |id: &str, handle: &str| {
        DeleteMessageBatchRequestEntry::builder()
            .id(id)
            .receipt_handle(handle)
            .build()
            .unwrap()
    };
    let deleted = client
        .delete_message_batch()
        .queue_url(&url)
        .entries(delete("one", &handles[0]))
        .entries(delete("nonsense", "not a handle"))
        .entries(delete("two", &handles[1]))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.successful().len(), 2);
    assert_eq!(deleted.failed()[0].code, "ReceiptHandleIsInvalid");
}
