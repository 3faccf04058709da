//! How long a killed program is away.

use std::time::Instant;

use forebay_tests::backlog::fill;
use forebay_tests::{Start, kafka, sqs};

const BYTES: u64 = 1_000;

pub(crate) async fn run(start: Start, journal_bytes: u64) {
    let forebay = start.run().await;
    sqs::create(&sqs::client(forebay.sqs()), "deep").await;
    let count = journal_bytes / BYTES;
    let begun = Instant::now();
    fill(forebay.kafka(), "deep", count, 1_000).await;
    println!(
        "{count} messages of {BYTES} bytes written in {:?}",
        begun.elapsed()
    );
    let mut forebay = forebay;
    for _ in 0..3 {
        forebay = forebay.kill_and_restart().await;
        let resident = forebay.resident_bytes() >> 20;
        println!(
            "after kill -9: every listener open in {:?}, {resident} MiB resident",
            forebay.started_in()
        );
    }
    assert_eq!(
        kafka::record_count(forebay.kafka(), "deep").await,
        count.cast_signed()
    );
    println!("all {count} messages are there");
}
