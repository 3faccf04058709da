//! Ten thousand queues over SQS and ten thousand over AMQP in one process.

use std::time::Instant;

use aws_sdk_sqs::Client;
use forebay_tests::{Forebay, amqp, sqs};
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use lapin::Channel;
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

/// Connections that share the AMQP queues: methods of one are answered one by one.
const CONNECTIONS: usize = 8;

/// The queues of one of the connections.
fn share(connection: usize) -> impl Iterator<Item = String> {
    (connection..QUEUES)
        .step_by(CONNECTIONS)
        .map(|n| format!("amqp-{n}"))
}

async fn create_over_amqp(channels: &[Channel]) {
    let sharing = channels.iter().enumerate().map(|(n, channel)| async move {
        for queue in share(n) {
            amqp::declare(channel, &queue).await;
        }
    });
    join_all(sharing).await;
}

/// Publishes to and gets from each; the message is the queue's own.
async fn use_over_amqp(channels: &[Channel]) {
    let sharing = channels.iter().enumerate().map(|(n, channel)| async move {
        let mut confirms = Vec::new();
        for queue in share(n) {
            let (body, options) = (format!("for {queue}"), BasicPublishOptions::default());
            let key = queue.into();
            let publish =
                channel.basic_publish("".into(), key, options, body.as_bytes(), amqp::persistent());
            confirms.push(publish.await.unwrap());
        }
        for confirm in confirms {
            assert!(confirm.await.unwrap().is_ack());
        }
        for queue in share(n) {
            let name = queue.as_str().into();
            let got = channel
                .basic_get(name, BasicGetOptions::default())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(got.data, format!("for {queue}").into_bytes());
            got.ack(BasicAckOptions::default()).await.unwrap();
        }
    });
    join_all(sharing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_queues_of_each_kind_are_usable_in_200_mb() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let mib = |forebay: &Forebay| forebay.resident_bytes() >> 20;
    println!("idle: {} MiB resident", mib(&forebay));
    let client = sqs::client(forebay.sqs());
    let (mut connections, mut channels) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let connection = amqp::connect(forebay.amqp()).await;
        channels.push(amqp::confirming(&connection).await.unwrap());
        connections.push(connection);
    }
    let begun = Instant::now();
    create_over_sqs(&client).await;
    println!(
        "{QUEUES} queues over SQS after {:?}: {} MiB resident",
        begun.elapsed(),
        mib(&forebay)
    );
    create_over_amqp(&channels).await;
    println!(
        "and {QUEUES} over AMQP after {:?}: {} MiB resident",
        begun.elapsed(),
        mib(&forebay)
    );
    use_over_sqs(&client, forebay.sqs()).await;
    use_over_amqp(&channels).await;
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
