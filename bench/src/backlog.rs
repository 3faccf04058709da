//! Memory under a deep backlog, and how it drains.

use std::time::Instant;

use forebay_tests::backlog::{drain, fill};
use forebay_tests::{Start, sqs};

const WARM: u64 = 200_000;
const BYTES: usize = 100;

pub(crate) async fn run(start: Start, messages: u64) {
    let forebay = start.run().await;
    let client = sqs::client(forebay.sqs());
    println!("idle: {} KiB resident", forebay.resident_bytes() >> 10);
    for name in ["warm", "deep"] {
        sqs::create(&client, name).await;
    }
    // So that the tail cache, which has a fixed budget, is full before and after.
    fill(forebay.kafka(), "warm", WARM, 1_000).await;
    drain(&forebay, "warm", WARM).await;
    let empty = forebay.resident_bytes();
    println!("empty, tail cache filled: {} MiB resident", empty >> 20);
    let begun = Instant::now();
    fill(forebay.kafka(), "deep", messages, BYTES).await;
    let full = forebay.resident_bytes();
    let rate = messages as f64 / begun.elapsed().as_secs_f64();
    println!(
        "{messages} messages of {BYTES} bytes in at {rate:.0}/s: {} MiB resident",
        full >> 20
    );
    println!(
        "growth: {:.1} MiB",
        (full as f64 - empty as f64) / f64::from(1 << 20)
    );
    let rates = drain(&forebay, "deep", messages).await;
    println!("drained over AMQP, messages/s by tenth: {rates:.0?}");
    println!("after: {} MiB resident", forebay.resident_bytes() >> 20);
}
