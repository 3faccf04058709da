//! One topic at once: filled by RabbitMQ, worked off by SQS, replayed by Kafka.

use forebay_tests::letter::{collect, make_topic, send};
use forebay_tests::{Forebay, Letter, Protocol};

#[tokio::test(flavor = "multi_thread")]
async fn work_that_is_done_can_be_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    make_topic(&forebay, Protocol::Kafka, "orders").await;
    let letters: Vec<Letter> = (0..200)
        .map(|n| Letter::text(format!("order {n}")).key("k"))
        .collect();
    send(&forebay, Protocol::Amqp, "orders", &letters).await;
    let worked = collect(&forebay, Protocol::Sqs, "orders", letters.len()).await;
    assert_eq!(worked, letters);
    for _ in 0..2 {
        let replayed = collect(&forebay, Protocol::Kafka, "orders", letters.len()).await;
        assert_eq!(replayed, letters);
    }
    // Nothing is left as work.
    let client = forebay_tests::sqs::client(forebay.sqs());
    let url = forebay_tests::sqs::url(&client, "orders").await;
    let empty = client
        .receive_message()
        .queue_url(url)
        .wait_time_seconds(1)
        .send()
        .await
        .unwrap();
    assert_eq!(empty.messages, None);
}
