//! Consumer groups: shared partitions, committed offsets, rebalance.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_tests::{Forebay, kafka, until};
use rdkafka::Message as _;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::producer::FutureRecord;

fn member(forebay: &Forebay) -> StreamConsumer {
    let consumer: StreamConsumer = kafka::config(forebay.kafka())
        .set("group.id", "workers")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "200")
        .create()
        .unwrap();
    consumer.subscribe(&["events"]).unwrap();
    consumer
}

async fn produce(forebay: &Forebay, numbers: std::ops::Range<u32>) {
    let producer = kafka::producer(forebay.kafka());
    for n in numbers {
        let payload = n.to_string();
        let record = FutureRecord::<str, str>::to("events")
            .partition((n % 4).cast_signed())
            .payload(&payload);
        producer
            .send(record, Duration::from_secs(30))
            .await
            .unwrap();
    }
}

/// Reads with a member until `count` numbers are in `seen`.
async fn read(consumer: &StreamConsumer, seen: &Mutex<BTreeSet<String>>, count: usize) {
    while seen.lock().unwrap().len() < count {
        // The other member may have taken the last one.
        let waited = tokio::time::timeout(Duration::from_millis(200), consumer.recv()).await;
        let Ok(message) = waited else { continue };
        let message = message.unwrap();
        let number = String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
        assert!(
            seen.lock().unwrap().insert(number.clone()),
            "{number} came twice"
        );
        consumer.commit_message(&message, CommitMode::Sync).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_shares_partitions_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    kafka::create(forebay.kafka(), "events", 4).await;
    produce(&forebay, 0..40).await;
    let seen = Arc::new(Mutex::new(BTreeSet::new()));
    let first = member(&forebay);
    tokio::time::timeout(Duration::from_secs(60), read(&first, &seen, 40))
        .await
        .expect("40 records");

    let second = member(&forebay);
    until("two partitions each", || async {
        // Both must poll for a rebalance to go on; there is nothing new to read yet.
        let _ = tokio::time::timeout(Duration::from_millis(100), first.recv()).await;
        let _ = tokio::time::timeout(Duration::from_millis(100), second.recv()).await;
        let counts = [
            first.assignment().unwrap().count(),
            second.assignment().unwrap().count(),
        ];
        (counts == [2, 2]).then_some(())
    })
    .await;
    produce(&forebay, 40..80).await;
    let both = async { tokio::join!(read(&first, &seen, 80), read(&second, &seen, 80)) };
    tokio::time::timeout(Duration::from_secs(60), both)
        .await
        .expect("80 records, each once");
    drop((first, second));

    // Offsets survive a crash: the next member gets only what is new.
    let forebay = forebay.kill_and_restart().await;
    produce(&forebay, 80..100).await;
    let third = member(&forebay);
    tokio::time::timeout(Duration::from_secs(60), read(&third, &seen, 100))
        .await
        .expect("20 more");
}
