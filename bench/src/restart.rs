//! How long a killed program with much retained is away, and what memory it takes.

use std::path::Path;
use std::time::{Duration, Instant};

use forebay_tests::{Forebay, Start, sqs};

use crate::fill::{self, Fill};
use crate::process::Usage;
use crate::report::{Report, mib};
use crate::wire::Wire;
use crate::{files, raw_disk};

/// What to lay down, and how often to kill.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// Bytes retained
    #[arg(long, default_value = "20000000000")]
    bytes: u64,
    /// Topics they lie in, of one partition each
    #[arg(long, default_value_t = 1_000)]
    topics: usize,
    /// Bytes of a record
    #[arg(long, default_value_t = 1_000)]
    value: usize,
    /// Records of a batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// How often it is killed and started, with the files in the page cache and without, each
    #[arg(long, default_value_t = 5)]
    repeats: usize,
}

const WORK: &str = "work";

pub(crate) async fn run(dir: &Path, start: Start, plan: &Plan, report: &mut Report) {
    let topics = fill::names("retained", plan.topics);
    let mut forebay = start.run().await;
    let address = forebay.kafka();
    let there = retained(&forebay, &topics);
    if there < plan.bytes / plan.value as u64 {
        let missing = plan.bytes - there * plan.value as u64;
        fill::make_topics(address, &topics).await;
        let each = missing / plan.topics as u64;
        let fill = Fill::of_bytes(topics.clone(), each, plan.value, plan.batch);
        let filled = tokio::task::spawn_blocking(move || fill.run(address, |_| {})).await;
        let filled = filled.expect("the filling does not panic");
        let rate = mib(filled.values) / filled.time.as_secs_f64();
        report.say(format!(
            "{:.2} GB of values written into {} topics in {:.1?}, {rate:.0} MiB/s, every batch synced.",
            filled.values as f64 / 1e9,
            plan.topics,
            filled.time,
        ));
        report.set("fill_mib_per_second", rate);
    } else {
        report.say(format!("{there} records lie there already."));
    }
    let client = sqs::client(forebay.sqs());
    let url = sqs::create(&client, WORK).await;
    for n in 0..plan.repeats * 4 {
        let body = format!("work {n}");
        client
            .send_message()
            .queue_url(&url)
            .message_body(body)
            .send()
            .await
            .expect("SendMessage");
    }
    crate::settle_down(&forebay).await;
    let before = Usage::of(&forebay);
    report.say(format!(
        "Before the kill: {:.0} MiB resident, {:.0} MiB at most; files: {:?}",
        mib(before.resident),
        mib(before.peak),
        files::by_kind(&start_dir(dir)),
    ));
    let syncs = raw_disk::syncs_per_second(dir, Duration::from_secs(1));
    report.say(format!("Disk alone: {syncs:.0} syncs/s of 4 KiB."));
    report.set("disk_syncs_per_second", syncs);
    for cold in [false, true] {
        forebay = kill_often(dir, forebay, plan, &topics, cold, report).await;
    }
    let begun = Instant::now();
    let there = retained(&forebay, &topics);
    report.say(format!(
        "All {there} records are still there; one fetch from the start of each of {} topics took {:.1?} in all; \
         then {:.0} MiB were resident.",
        plan.topics,
        begun.elapsed(),
        mib(Usage::of(&forebay).resident),
    ));
    report.set("resident_after_all_topics", Usage::of(&forebay).resident);
    assert!(there * plan.value as u64 >= plan.bytes, "nothing is lost");
}

async fn kill_often(
    dir: &Path,
    mut forebay: Forebay,
    plan: &Plan,
    topics: &[String],
    cold: bool,
    report: &mut Report,
) -> Forebay {
    let (mut ready, mut fetched, mut received, mut peaks) = (vec![], vec![], vec![], vec![]);
    for n in 0..plan.repeats {
        let start = forebay.kill().await;
        if cold {
            files::forget_cached(&start_dir(dir));
        }
        let begun = Instant::now();
        forebay = start.run().await;
        ready.push(begun.elapsed().as_secs_f64());
        let topic = &topics[n * 7919 % topics.len()];
        let mut wire = Wire::to(forebay.kafka()).expect("the listener is open");
        let got = wire.fetch((topic, 0), 0, 100, 1 << 20).expect("an answer");
        assert!(got.error == 0 && !got.batches.is_empty(), "a cold fetch");
        fetched.push(begun.elapsed().as_secs_f64());
        let client = sqs::client(forebay.sqs());
        let url = sqs::url(&client, WORK).await;
        let message = client.receive_message().queue_url(&url).send().await;
        let messages = message.expect("ReceiveMessage").messages;
        assert_eq!(messages.unwrap_or_default().len(), 1, "work is received");
        received.push(begun.elapsed().as_secs_f64());
        peaks.push(mib(Usage::of(&forebay).peak));
    }
    let word = if cold { "cold" } else { "warm" };
    let ready = report.spread(format!("{word}_ready_seconds"), &ready);
    let fetched = report.spread(format!("{word}_first_fetch_seconds"), &fetched);
    let received = report.spread(format!("{word}_first_receive_seconds"), &received);
    let peaks = report.spread(format!("{word}_peak_resident_mib"), &peaks);
    report.say(format!(
        "After kill -9, page cache {}: listeners open and ready after {} s, first fetch of old records after {} s, \
         first receive of work after {} s; resident at most {} MiB.",
        if cold { "dropped" } else { "warm" },
        ready.shown(2),
        fetched.shown(2),
        received.shown(2),
        peaks.shown(0),
    ));
    forebay
}

/// Records readable in all topics, counted with a fetch from the start of each that is there.
fn retained(forebay: &Forebay, topics: &[String]) -> u64 {
    let mut wire = Wire::to(forebay.kafka()).expect("the listener is open");
    let counted = topics.iter().map(|topic| {
        let fetched = wire.fetch((topic, 0), 0, 0, 1).expect("an answer");
        match fetched.error {
            0 => u64::try_from(fetched.end).unwrap_or(0),
            _ => 0,
        }
    });
    counted.sum()
}

fn start_dir(dir: &Path) -> std::path::PathBuf {
    dir.join("data")
}
