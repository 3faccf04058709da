//! A full disk blocks producers, each in its protocol's way; consumers go on; space that returns is
//! enough to recover.

use std::time::Duration;

use forebay_tests::patience::{LONG, until_within};
use forebay_tests::tmpfs::Tmpfs;
use forebay_tests::{Forebay, Start, amqp, kafka, sqs, until};
use futures_util::StreamExt;
use lapin::Event;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::alone;

async fn receive_and_delete(forebay: &Forebay, url: &str) -> usize {
    let client = sqs::client(forebay.sqs());
    let received = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .send()
        .await
        .unwrap();
    for message in received.messages() {
        let handle = message.receipt_handle.clone().unwrap();
        client
            .delete_message()
            .queue_url(url)
            .receipt_handle(handle)
            .send()
            .await
            .unwrap();
    }
    received.messages().len()
}

/// Sends until SQS says no; gives how many were accepted, and the refusal.
async fn fill(forebay: &Forebay, url: &str) -> (u64, String) {
    let client = sqs::client_with_timeout(forebay.sqs(), Duration::from_secs(10));
    let body = "x".repeat(200_000);
    let mut accepted = 0;
    let filling = async {
        loop {
            match client
                .send_message()
                .queue_url(url)
                .message_body(&body)
                .send()
                .await
            {
                Ok(_) => accepted += 1,
                Err(failure) => {
                    let status = failure
                        .raw_response()
                        .map(|response| response.status().as_u16());
                    break format!("HTTP {status:?}: {:?}", failure.into_service_error());
                }
            }
        }
    };
    let refusal = tokio::time::timeout(LONG, filling)
        .await
        .expect("a small disk is full at last");
    (accepted, refusal)
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_are_held_back_consumers_go_on_and_space_brings_all_back() {
    let _alone = alone().await;
    let disk = match Tmpfs::of_mib(160) {
        Ok(disk) => disk,
        Err(reason) => {
            return println!("skipped: no small file system can be mounted here: {reason}");
        }
    };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![1; 80 << 20]).unwrap();
    let start = Start::on(disk.path().join("data"))
        .environment("FOREBAY_JOURNAL_FILE", "4MiB")
        .environment("FOREBAY_JOURNAL_RETAIN", "4MiB")
        .environment("FOREBAY_MIN_FREE", "16MiB");
    let forebay = start.run().await;
    let url = sqs::create(&sqs::client(forebay.sqs()), "q").await;
    let connection = amqp::connect(forebay.amqp()).await;
    let mut events = connection.events_listener();
    let channel = amqp::confirming(&connection).await.unwrap();
    amqp::declare(&channel, "a").await;
    amqp::publish(&channel, "a", b"before", amqp::persistent())
        .await
        .unwrap();
    kafka::create(forebay.kafka(), "k", 1).await;

    let (accepted, refusal) = fill(&forebay, &url).await;
    println!("{accepted} messages of 200 kB were accepted, then: {refusal}");
    assert!(accepted > 0);
    assert!(
        refusal.contains("Some(503)") || refusal.contains("Some(429)"),
        "{refusal}"
    );

    // AMQP: the connection that publishes is told that it is blocked; its publish waits.
    let publishing = tokio::spawn({
        let channel = channel.clone();
        async move { amqp::publish(&channel, "a", b"patient", amqp::persistent()).await }
    });
    let blocked = async {
        while let Some(event) = events.next().await {
            if let Event::ConnectionBlocked(reason) = event {
                return reason;
            }
        }
        panic!("the connection ended");
    };
    let reason = tokio::time::timeout(LONG, blocked)
        .await
        .expect("connection.blocked");
    println!("connection.blocked: {reason}");
    assert!(!publishing.is_finished(), "a blocked publish waits");

    // Kafka: the client is told to try again, and does until its own time is over.
    let hurried: FutureProducer = kafka::config(forebay.kafka())
        .set("message.timeout.ms", "3000")
        .create()
        .unwrap();
    // Working the journal off into segments may make room meanwhile, as long as there is some to do
    // it with: then the disk is filled again.
    until("Kafka to be refused", || async {
        let record = FutureRecord::<str, str>::to("k").payload("late");
        let refused = hurried.send(record, Duration::from_secs(5)).await.is_err();
        if !refused {
            fill(&forebay, &url).await;
        }
        refused.then_some(())
    })
    .await;

    // Consumers go on.
    assert!(receive_and_delete(&forebay, &url).await > 0);
    let other = amqp::connect(forebay.amqp()).await;
    let other_channel = other.create_channel().await.unwrap();
    let got = other_channel
        .basic_get("a".into(), BasicGetOptions::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got.data, b"before");
    got.ack(BasicAckOptions::default()).await.unwrap();

    // A crash on the full disk changes nothing.
    publishing.abort();
    let forebay = forebay.kill_and_restart().await;
    assert!(receive_and_delete(&forebay, &url).await > 0);

    // Space returns: all three can publish again.
    std::fs::remove_file(&ballast).unwrap();
    let client = sqs::client(forebay.sqs());
    until("SQS to accept again", || async {
        client
            .send_message()
            .queue_url(&url)
            .message_body("after")
            .send()
            .await
            .ok()
    })
    .await;
    let connection = amqp::connect(forebay.amqp()).await;
    let channel = amqp::confirming(&connection).await.unwrap();
    let confirmed = tokio::time::timeout(
        LONG,
        amqp::publish(&channel, "a", b"after", amqp::persistent()),
    )
    .await;
    assert!(confirmed.expect("a confirm").unwrap());
    let producer = kafka::producer(forebay.kafka());
    let record = FutureRecord::<str, str>::to("k").payload("after");
    producer
        .send(record, LONG)
        .await
        .expect("Kafka is accepted again");

    // Nothing that was accepted is lost: 1 message "after" and the large ones not yet deleted.
    let mut left = 0;
    until_within(LONG, "the queue to be empty", || async {
        Some(receive_and_delete(&forebay, &url).await).filter(|count| *count == 0)
    })
    .await;
    left += kafka::record_count(forebay.kafka(), "k").await;
    assert!(left >= 1);
}
