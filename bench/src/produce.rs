//! The table of produce rates.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use forebay_tests::{Forebay, Start};

use crate::producers::{self, Tally};
use crate::{Protocol, raw_disk};

/// What to measure.
pub(crate) struct Plan {
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) producers: Vec<usize>,
    pub(crate) windows: Vec<usize>,
    pub(crate) bytes: usize,
    pub(crate) time: Duration,
}

const WARM_UP: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_secs(2);

pub(crate) async fn run(dir: &Path, start: Start, plan: &Plan) {
    let forebay = start.run().await;
    println!(
        "messages of {} bytes, each acknowledged after its sync; {:?} each",
        plan.bytes, plan.time
    );
    println!(
        "disk alone: {:.0} syncs/s of 4 KiB, one writer",
        raw_disk::syncs_per_second(dir, PROBE)
    );
    println!();
    println!("protocol  producers  window  messages/s  syncs/s  messages/sync     p50     p99");
    for protocol in &plan.protocols {
        for window in &plan.windows {
            for count in &plan.producers {
                measure(&forebay, plan, *protocol, *count, *window).await;
            }
        }
    }
    println!();
    println!(
        "disk alone: {:.0} syncs/s of 4 KiB, one writer",
        raw_disk::syncs_per_second(dir, PROBE)
    );
    println!("resident: {} MiB", forebay.resident_bytes() >> 20);
}

async fn syncs(forebay: &Forebay) -> f64 {
    forebay
        .metrics()
        .await
        .get("forebay_syncs_total")
        .copied()
        .expect("a count of syncs")
}

async fn measure(forebay: &Forebay, plan: &Plan, protocol: Protocol, count: usize, window: usize) {
    let topic = format!("{protocol:?}-{count}-{window}");
    let stop = Arc::new(AtomicBool::new(false));
    let tally = Arc::new(Tally::default());
    let running = producers::start(
        forebay, protocol, &topic, count, window, plan.bytes, &tally, &stop,
    )
    .await;
    tokio::time::sleep(WARM_UP).await;
    let (before, syncs_before, begun) = (tally.take(), syncs(forebay).await, Instant::now());
    tokio::time::sleep(plan.time).await;
    let (after, syncs_after, time) = (tally.take(), syncs(forebay).await, begun.elapsed());
    stop.store(true, Ordering::Relaxed);
    for producer in running {
        producer.await.unwrap();
    }
    drop(before);
    let messages = after.messages as f64 / time.as_secs_f64();
    let syncs = (syncs_after - syncs_before) / time.as_secs_f64();
    println!(
        "{:<8}  {count:>9}  {window:>6}  {messages:>10.0}  {syncs:>7.0}  {:>13.1}  {:>6}  {:>6}",
        format!("{protocol:?}").to_lowercase(),
        messages / syncs.max(1.0),
        shown(after.percentile(50)),
        shown(after.percentile(99)),
    );
}

fn shown(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..1_000 => format!("{micros}us"),
        micros => format!("{:.1}ms", micros as f64 / 1_000.0),
    }
}
