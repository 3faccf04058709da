//! Bytes written to the disk for each byte of payload, counted by the kernel.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use forebay_tests::{Forebay, Start};

use crate::fill::{self, Fill};
use crate::process::Usage;
use crate::report::{Report, mib};
use crate::work::Work;
use crate::{Protocol, files, process, raw_disk};

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// What to measure: work queues that keep up, streams that are kept
    #[arg(long, value_delimiter = ',', default_values_t = ["queue".to_owned(), "stream".to_owned()])]
    of: Vec<String>,
    /// Protocols of the producers of work
    #[arg(long, value_delimiter = ',', default_values_t = ["amqp".to_owned(), "sqs".to_owned(), "kafka".to_owned()])]
    protocols: Vec<String>,
    /// Bytes of a body
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_024])]
    bytes: Vec<usize>,
    /// Producers of work, and as many consumers
    #[arg(long, default_value_t = 4)]
    pairs: usize,
    /// Messages a producer has under way
    #[arg(long, default_value_t = 250)]
    window: usize,
    /// Messages of work per second; none: as many as go
    #[arg(long)]
    rate: Option<u64>,
    /// Bytes of journal written before work is measured, so that files are used again by then
    #[arg(long, default_value_t = 640 << 20)]
    warm_up: u64,
    /// Seconds of each measurement of work
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Measurements of work, one after the other
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Topics of a stream
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1_000])]
    topics: Vec<usize>,
    /// Bytes of a stream before it is measured
    #[arg(long, default_value = "1000000000")]
    stream_warm_up: u64,
    /// Bytes of a stream that are measured
    #[arg(long, default_value = "4000000000")]
    stream: u64,
    /// Bytes of a stream's bodies per second: fewer than can be worked off, so that the journal
    /// does not grow meanwhile
    #[arg(long, default_value = "100000000")]
    stream_rate: u64,
    /// Bytes of a stream's batches
    #[arg(long, default_value_t = 32 << 10)]
    batch_bytes: usize,
}

/// What has been counted up to some moment.
struct Count {
    at: Instant,
    usage: Usage,
    metrics: BTreeMap<String, f64>,
    files: BTreeMap<String, u64>,
}

impl Count {
    async fn of(forebay: &Forebay, dir: &Path) -> Self {
        Self {
            at: Instant::now(),
            usage: Usage::of(forebay),
            metrics: forebay.metrics().await,
            files: files::by_kind(&dir.join("data")),
        }
    }

    fn metric(&self, name: &str) -> f64 {
        self.metrics.get(name).copied().unwrap_or_default()
    }

    /// Bytes of all files of the journal, used or waiting.
    fn laid_out(&self) -> u64 {
        let kinds = ["journal", "spare", "new"];
        kinds.iter().filter_map(|kind| self.files.get(*kind)).sum()
    }
}

/// What happened between two counts.
struct Between {
    seconds: f64,
    /// Bytes the kernel counted, without `laid_out`.
    written: f64,
    /// Bytes of zeros in new journal files: written once, and then the files are used again.
    laid_out: f64,
    records: f64,
    settled: f64,
    /// Bytes of record batches.
    batches: f64,
    commits: f64,
    cpu: f64,
    /// All counters of bytes the program has.
    counters: Vec<(String, f64)>,
}

impl Between {
    fn of(before: &Count, after: &Count) -> Self {
        let grown = |name: &str| after.metric(name) - before.metric(name);
        let laid_out = after.laid_out().saturating_sub(before.laid_out()) as f64;
        let counters = after
            .metrics
            .keys()
            .filter(|name| name.contains("bytes") && *name != "forebay_bytes_in_total");
        Self {
            seconds: (after.at - before.at).as_secs_f64(),
            written: (after.usage.written() - before.usage.written()) as f64 - laid_out,
            laid_out,
            records: grown("forebay_records_in_total"),
            settled: grown("forebay_settled_total"),
            batches: grown("forebay_bytes_in_total"),
            commits: grown("forebay_commits_total"),
            cpu: after.usage.cpu - before.usage.cpu,
            counters: counters.map(|name| (name.clone(), grown(name))).collect(),
        }
    }

    /// The program's own counters, for each byte of a body.
    fn counted(&self, bodies: f64) -> String {
        let each = self.counters.iter().map(|(name, value)| {
            let name = name
                .trim_start_matches("forebay_")
                .trim_end_matches("_total");
            format!("{name} {:.3}", value / bodies)
        });
        each.collect::<Vec<_>>().join(", ")
    }
}

pub(crate) async fn run(dir: &Path, start: Start, plan: &Plan, report: &mut Report) {
    let syncs = raw_disk::syncs_per_second(dir, Duration::from_secs(2));
    report.say(format!("Disk alone: {syncs:.0} syncs/s of 4 KiB."));
    report.set("disk_syncs_per_second", syncs);
    for of in &plan.of {
        match of.as_str() {
            "queue" => {
                let start = start
                    .clone()
                    .environment("FOREBAY_JOURNAL_RETAIN", "256MiB");
                queues(dir, &start, plan, report).await;
            }
            "stream" => streams(dir, &start, plan, report).await,
            other => panic!("{other:?} is neither queue nor stream"),
        }
    }
}

async fn begin(dir: &Path, start: &Start, report: &mut Report) -> Forebay {
    let forebay = start.run().await;
    let by = match process::count_blocks(&forebay, dir) {
        true => "the block layer",
        false => "the pages made dirty, which may be too much",
    };
    report.set("written_as_counted_by", by);
    forebay
}

async fn queues(dir: &Path, start: &Start, plan: &Plan, report: &mut Report) {
    for protocol in &plan.protocols {
        let protocol = Protocol::from_str(protocol, true)
            .unwrap_or_else(|_| panic!("{protocol:?} is not sqs, amqp or kafka"));
        for bytes in &plan.bytes {
            let work = Work {
                protocol,
                pairs: plan.pairs,
                window: plan.window,
                bytes: *bytes,
                rate: plan.rate,
            };
            let forebay = begin(dir, start, report).await;
            let group = process::blocks_of(&forebay);
            queue(dir, &forebay, &work, plan, report).await;
            forebay.terminate().await;
            process::forget_blocks(&group);
            clear(dir);
        }
    }
}

async fn queue(dir: &Path, forebay: &Forebay, work: &Work, plan: &Plan, report: &mut Report) {
    let name = format!("{:?}_{}", work.protocol, work.bytes).to_lowercase();
    let working = work.start(forebay, "work").await;
    let mut count = Count::of(forebay, dir).await;
    let begun = Instant::now();
    while count.metric("forebay_journal_bytes_total") < plan.warm_up as f64 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        count = Count::of(forebay, dir).await;
        let settled = count.metric("forebay_settled_total");
        assert!(
            settled > 0.0 || begun.elapsed() < Duration::from_secs(60),
            "work is done"
        );
    }
    let (mut of_bodies, mut of_batches, mut rates, mut last) = (vec![], vec![], vec![], None);
    for _ in 0..plan.repeats {
        let before = Count::of(forebay, dir).await;
        tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
        let between = Between::of(&before, &Count::of(forebay, dir).await);
        let bodies = between.records * work.bytes as f64;
        of_bodies.push(between.written / bodies);
        of_batches.push(between.written / between.batches);
        rates.push(between.settled / between.seconds);
        last = Some(between);
    }
    working.stop().await;
    let Some(between) = last else { return };
    let of_bodies = report.spread(format!("queue_{name}_written_per_body_byte"), &of_bodies);
    let of_batches = report.spread(format!("queue_{name}_written_per_record_byte"), &of_batches);
    let rates = report.spread(format!("queue_{name}_messages_per_second"), &rates);
    report.say(format!(
        "Queue, {:?}, bodies of {} bytes: {} bytes written for a byte of body, {} for a byte of stored record; \
         {} messages/s in and settled.",
        work.protocol,
        work.bytes,
        of_bodies.shown(3),
        of_batches.shown(3),
        rates.shown(0),
    ));
    tell_more(&between, between.records * work.bytes as f64, report);
}

fn tell_more(between: &Between, bodies: f64, report: &mut Report) {
    report.say(format!(
        "  In the last {:.0} s: {:.0} records, {:.1} MB of bodies, {:.1} MB of stored records, {:.0} commits of {:.1} KiB \
         written; {:.2} processors. By the program's own counters, for a byte of body: {}. New journal files took \
         {:.0} MiB besides.",
        between.seconds,
        between.records,
        bodies / 1e6,
        between.batches / 1e6,
        between.commits,
        between.written / between.commits / 1024.0,
        between.cpu / between.seconds,
        between.counted(bodies),
        mib(between.laid_out as u64),
    ));
}

async fn streams(dir: &Path, start: &Start, plan: &Plan, report: &mut Report) {
    for count in &plan.topics {
        for bytes in &plan.bytes {
            let forebay = begin(dir, start, report).await;
            let group = process::blocks_of(&forebay);
            stream(dir, &forebay, *count, *bytes, plan, report).await;
            forebay.kill().await;
            process::forget_blocks(&group);
            clear(dir);
        }
    }
}

async fn stream(
    dir: &Path,
    forebay: &Forebay,
    topics: usize,
    value: usize,
    plan: &Plan,
    report: &mut Report,
) {
    let address = forebay.kafka();
    let names = fill::names("kept", topics);
    fill::make_topics(address, &names).await;
    let batch = (plan.batch_bytes / value).max(1);
    let fill = |bytes: u64| {
        let mut fill = Fill::of_bytes(names.clone(), bytes / topics as u64, value, batch);
        fill.rate = Some(plan.stream_rate);
        async move {
            let filled = tokio::task::spawn_blocking(move || fill.run(address, |_| {}));
            filled.await.expect("the filling does not panic")
        }
    };
    fill(plan.stream_warm_up).await;
    crate::settle_down(forebay).await;
    let before = Count::of(forebay, dir).await;
    let filled = fill(plan.stream).await;
    let produced = before.at.elapsed();
    crate::settle_down(forebay).await;
    let after = Count::of(forebay, dir).await;
    let between = Between::of(&before, &after);
    let bodies = filled.values as f64;
    let name = format!("stream_{topics}_topics_{value}");
    report.set(
        format!("{name}_written_per_body_byte"),
        between.written / bodies,
    );
    report.set(
        format!("{name}_written_per_record_byte"),
        between.written / between.batches,
    );
    report.say(format!(
        "Stream, {topics} topics, bodies of {value} bytes in batches of {batch}: {:.3} bytes written for a byte of \
         body, {:.3} for a byte of stored record; {:.1} GB produced in {produced:.1?}, worked off {:.1?} later. \
         Files: {:?}",
        between.written / bodies,
        between.written / between.batches,
        bodies / 1e9,
        after.at - before.at - produced,
        after.files,
    ));
    tell_more(&between, bodies, report);
}

/// Takes the data away, so that the next run begins anew.
fn clear(dir: &Path) {
    std::fs::remove_dir_all(dir.join("data")).expect("the data can be removed");
}
