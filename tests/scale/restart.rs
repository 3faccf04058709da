//! A gigabyte of journal is no reason to wait.
//!
//! The normal run writes a tenth of it; `FOREBAY_JOURNAL_BYTES=1073741824` the whole.

use std::time::Duration;

use forebay_tests::backlog::fill;
use forebay_tests::{Forebay, Start, kafka, sqs};

use crate::alone;

const LIMIT: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_is_back_in_two_seconds() {
    let _alone = alone().await;
    let wanted: usize = match std::env::var("FOREBAY_JOURNAL_BYTES") {
        Ok(bytes) => bytes.parse().expect("FOREBAY_JOURNAL_BYTES is a number"),
        Err(_) => {
            println!(
                "100 MiB of journal; FOREBAY_JOURNAL_BYTES=1073741824 takes the whole gigabyte"
            );
            100 << 20
        }
    };
    let dir = tempfile::tempdir().unwrap();
    let forebay: Forebay = Start::on(dir.path())
        .environment("FOREBAY_JOURNAL_FILE", "64MiB")
        .run()
        .await;
    sqs::create(&sqs::client(forebay.sqs()), "deep").await;
    let count = wanted as u64 / 1_000;
    fill(forebay.kafka(), "deep", count, 1_000).await;
    let forebay = forebay.kill_and_restart().await;
    println!(
        "{} MiB of journal: every listener open {:?} after the start",
        wanted >> 20,
        forebay.started_in()
    );
    assert!(forebay.started_in() < LIMIT, "{:?}", forebay.started_in());
    assert_eq!(
        kafka::record_count(forebay.kafka(), "deep").await,
        count.cast_signed()
    );
}
