//! Ten thousand queues over SQS and ten thousand over AMQP in one process.

use std::time::Instant;

use aws_sdk_sqs::Client;
use forebay_tests::{Forebay, amqp, sqs};
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicPublishOptions};

use crate::alone;

const QUEUES: usize = 10_000;
const AT_ONCE: usize = 32;
const RESIDENT_LIMIT: u64 = 200 << 20;

async fn create_over_sqs(client: &Client) {
    let making = (0..QUEUES).map(|n| {
        let create = client.create_queue().queue_name(format!("sqs-{n}"));
        async move { create.send().await.map(|_| ()) }
    });
    stream::iter(making)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await
        .unwrap();
}

/// Sends to and takes from each; the message is the queue's own.
async fn use_over_sqs(client: &Client, address: std::net::SocketAddr) {
    let using = (0..QUEUES).map(|n| {
        let client = client.clone();
        async move {
            let url = format!("http://{address}/000000000000/sqs-{n}");
            let body = format!("for sqs-{n}");
            client
                .send_message()
                .queue_url(&url)
                .message_body(&body)
                .send()
                .await
                .unwrap();
            let received = client
                .receive_message()
                .queue_url(&url)
                .wait_time_seconds(10)
                .send()
                .await
                .unwrap();
            let message = &received.messages()[0];
            assert_eq!(message.body.as_ref(), Some(&body));
            let handle = message.receipt_handle.clone().unwrap();
            client
                .delete_message()
                .queue_url(&url)
                .receipt_handle(handle)
                .send()
                .await
                .unwrap();
        }
    });
    stream::iter(using)
        .buffer_unordered(AT_ONCE)
        .collect::<()>()
        .await;
}

async fn create_over_amqp(channel: &lapin::Channel) {
    let making =
        (0..QUEUES).map(|n| async move { amqp::declare(channel, &format!("amqp-{n}")).await });
    stream::iter(making).buffered(AT_ONCE).collect::<()>().await;
}

async fn use_over_amqp(channel: &lapin::Channel) {
    let mut confirms = Vec::with_capacity(QUEUES);
    for n in 0..QUEUES {
        let (queue, body) = (format!("amqp-{n}"), format!("for amqp-{n}"));
        let options = BasicPublishOptions::default();
        let publish = channel.basic_publish(
            "".into(),
            queue.into(),
            options,
            body.as_bytes(),
            amqp::persistent(),
        );
        confirms.push(publish.await.unwrap());
    }
    for confirm in confirms {
        assert!(confirm.await.unwrap().is_ack());
    }
    for n in 0..QUEUES {
        let queue = format!("amqp-{n}");
        let got = channel
            .basic_get(queue.into(), BasicGetOptions::default())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(got.data, format!("for amqp-{n}").into_bytes());
        got.ack(BasicAckOptions::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_queues_of_each_kind_are_usable_in_200_mb() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let mib = |forebay: &Forebay| forebay.resident_bytes() >> 20;
    println!("idle: {} MiB resident", mib(&forebay));
    let client = sqs::client(forebay.sqs());
    let connection = amqp::connect(forebay.amqp()).await;
    let channel = amqp::confirming(&connection).await.unwrap();
    let begun = Instant::now();
    create_over_sqs(&client).await;
    println!(
        "{QUEUES} queues over SQS after {:?}: {} MiB resident",
        begun.elapsed(),
        mib(&forebay)
    );
    create_over_amqp(&channel).await;
    println!(
        "and {QUEUES} over AMQP after {:?}: {} MiB resident",
        begun.elapsed(),
        mib(&forebay)
    );
    use_over_sqs(&client, forebay.sqs()).await;
    use_over_amqp(&channel).await;
    println!(
        "all used after {:?}: {} MiB resident",
        begun.elapsed(),
        mib(&forebay)
    );
    assert!(
        forebay.resident_bytes() < RESIDENT_LIMIT,
        "{} MiB resident",
        mib(&forebay)
    );

    // And they are there after a crash.
    let forebay = forebay.kill_and_restart().await;
    println!(
        "up again in {:?}: {} MiB resident",
        forebay.started_in(),
        mib(&forebay)
    );
    let client = sqs::client(forebay.sqs());
    sqs::url(&client, "sqs-9999").await;
    sqs::url(&client, "amqp-9999").await;
    assert!(
        forebay.resident_bytes() < RESIDENT_LIMIT,
        "{} MiB resident",
        mib(&forebay)
    );
}
