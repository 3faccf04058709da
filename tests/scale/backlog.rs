//! A deep backlog costs no memory and drains as fast at its end as at its start.
//!
//! The normal run takes half a million messages. `FOREBAY_BACKLOG=10000000 cargo test --release -p
//! forebay-tests --test endurance backlog` takes ten million, which is minutes of work.

use std::time::Instant;

use forebay_tests::backlog::{drain, fill};
use forebay_tests::{Start, sqs};

use crate::alone;

const GROWTH_LIMIT: u64 = 64 << 20;

fn backlog() -> u64 {
    match std::env::var("FOREBAY_BACKLOG") {
        Ok(count) => count
            .parse()
            .expect("FOREBAY_BACKLOG is a number of messages"),
        Err(_) => {
            println!(
                "500,000 messages; FOREBAY_BACKLOG=10000000 takes ten million, which is minutes of work"
            );
            500_000
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_costs_no_memory_and_drains_steadily() {
    let _alone = alone().await;
    let count = backlog();
    let dir = tempfile::tempdir().unwrap();
    // The tail cache is not what is measured: it is small, and full before.
    let start = Start::on(dir.path()).environment("FOREBAY_CACHE", "8MiB");
    let forebay = start
        .environment("FOREBAY_JOURNAL_FILE", "64MiB")
        .run()
        .await;
    let client = sqs::client(forebay.sqs());
    sqs::create(&client, "warm").await;
    sqs::create(&client, "deep").await;
    fill(forebay.kafka(), "warm", 200_000, 100).await;
    drain(&forebay, "warm", 200_000).await;
    let empty = forebay.resident_bytes();

    let begun = Instant::now();
    fill(forebay.kafka(), "deep", count, 100).await;
    let full = forebay.resident_bytes();
    println!(
        "{count} messages in {:?}; resident {} MiB when empty, {} MiB when full",
        begun.elapsed(),
        empty >> 20,
        full >> 20,
    );
    assert!(
        full.saturating_sub(empty) < GROWTH_LIMIT,
        "{} MiB more",
        (full - empty) >> 20
    );

    let rates = drain(&forebay, "deep", count).await;
    let drained = forebay.resident_bytes();
    println!(
        "drained at {rates:.0?} messages/s by tenth; resident {} MiB",
        drained >> 20
    );
    assert!(
        drained.saturating_sub(empty) < GROWTH_LIMIT,
        "{} MiB more",
        (drained - empty) >> 20
    );
    let (first, last) = (
        rates[..3].iter().sum::<f64>(),
        rates[7..].iter().sum::<f64>(),
    );
    assert!(
        last > first / 2.0,
        "the end of a backlog drains as fast as its start: {rates:.0?}"
    );
}
