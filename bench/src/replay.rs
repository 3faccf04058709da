//! Old records read at full speed, while others work at the tail.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use forebay_tests::{Forebay, Start, kafka};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::fill::{self, Fill};
use crate::process::Usage;
use crate::report::{Report, mib};
use crate::tail::{Latency, Tail};
use crate::wire::Wire;
use crate::{files, raw_disk};

/// What to lay down and to read.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// Bytes of the old topic
    #[arg(long, default_value = "5000000000")]
    bytes: u64,
    /// Bytes of a record, old and new
    #[arg(long, default_value_t = 1_000)]
    value: usize,
    /// Records of an old batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Records produced at the tail, each second
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Consumers at the tail
    #[arg(long, default_value_t = 2)]
    consumers: usize,
    /// Bytes a replaying client asks for at a time
    #[arg(long, default_value_t = 4 << 20)]
    fetch_bytes: i32,
    /// Seconds the tail runs alone before each replay
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// How often everything is done
    #[arg(long, default_value_t = 3)]
    repeats: usize,
}

const OLD: &str = "old";
const NEW: &str = "tail";
const PROBE: Duration = Duration::from_secs(1);

/// A stretch of work: bytes, time, and the tail's latency meanwhile.
struct Stretch {
    bytes: u64,
    time: Duration,
    tail: Option<Latency>,
}

impl Stretch {
    fn rate(&self) -> f64 {
        mib(self.bytes) / self.time.as_secs_f64()
    }
}

pub(crate) async fn run(dir: &Path, start: Start, plan: &Plan, report: &mut Report) {
    let forebay = start.run().await;
    let data = dir.join("data");
    let count = lay_down(&forebay, plan, report).await;
    crate::settle_down(&forebay).await;
    report.say(format!("Files: {:?}", files::by_kind(&data)));
    let syncs = raw_disk::syncs_per_second(dir, PROBE);
    report.say(format!("Disk alone: {syncs:.0} syncs/s of 4 KiB."));
    report.set("disk_syncs_per_second", syncs);
    let plain = || {
        files::forget_cached(&data);
        let (bytes, time) = files::read_plain(&files::of_records(&data), plan.bytes);
        Stretch {
            bytes,
            time,
            tail: None,
        }
    };
    let alone: Vec<f64> = (0..plan.repeats).map(|_| plain().rate()).collect();
    let alone = report.spread("plain_read_alone_mib_per_second", &alone);
    report.say(format!(
        "Reading the files plainly, page cache dropped, nothing else running: {} MiB/s.",
        alone.shown(0)
    ));
    let mut table = Table::default();
    for _ in 0..plan.repeats {
        round(&forebay, &data, plan, count, &plain, &mut table).await;
    }
    table.tell(report);
    report.set("resident", Usage::of(&forebay).resident);
    report.set("peak_resident", Usage::of(&forebay).peak);
    report.say(format!(
        "Resident at most {:.0} MiB.",
        mib(Usage::of(&forebay).peak)
    ));
}

/// Fills the old topic unless it lies there; gives its number of records.
async fn lay_down(forebay: &Forebay, plan: &Plan, report: &mut Report) -> i64 {
    let address = forebay.kafka();
    fill::make_topics(address, &[OLD.to_owned(), NEW.to_owned()]).await;
    let fill = Fill::of_bytes(vec![OLD.to_owned()], plan.bytes, plan.value, plan.batch);
    let mut wire = Wire::to(address).expect("the listener is open");
    let there = wire.fetch((OLD, 0), 0, 0, 1).expect("an answer").end;
    if there > 0 {
        report.say(format!("{there} old records lie there already."));
        return there;
    }
    let filled = tokio::task::spawn_blocking(move || fill.run(address, |_| {})).await;
    let filled = filled.expect("the filling does not panic");
    report.say(format!(
        "{:.2} GB written in {:.1?}.",
        filled.values as f64 / 1e9,
        filled.time
    ));
    filled.records.cast_signed()
}

/// The tail alone, the tail beside a plain reader, beside a raw client, beside librdkafka.
async fn round(
    forebay: &Forebay,
    data: &Path,
    plan: &Plan,
    count: i64,
    plain: &impl Fn() -> Stretch,
    table: &mut Table,
) {
    let address = forebay.kafka();
    let tail = Tail::start(address, NEW, plan.rate, plan.value, plan.consumers);
    let (wait, breath) = (Duration::from_secs(plan.seconds), Duration::from_secs(1));
    tokio::time::sleep(breath).await;
    let with_tail = |mut stretch: Stretch| {
        stretch.tail = Some(tail.take());
        stretch
    };
    for kind in [Kind::Alone, Kind::Plain, Kind::Raw, Kind::Client] {
        files::forget_cached(data);
        tokio::time::sleep(breath).await;
        let (before, begun) = (Usage::of(forebay), Instant::now());
        tail.take();
        let stretch = match kind {
            Kind::Alone => {
                tokio::time::sleep(wait).await;
                with_tail(Stretch {
                    bytes: 0,
                    time: wait,
                    tail: None,
                })
            }
            Kind::Plain => with_tail(tokio::task::block_in_place(plain)),
            Kind::Raw => with_tail(tokio::task::block_in_place(|| {
                replay_raw(address, count, plan.fetch_bytes)
            })),
            Kind::Client => with_tail(tokio::task::block_in_place(|| {
                replay_client(address, count, plan.fetch_bytes)
            })),
        };
        let after = Usage::of(forebay);
        let used = (after.cpu - before.cpu) / begun.elapsed().as_secs_f64();
        table.add(kind, &stretch, used, after.read - before.read);
    }
    tail.stop();
}

fn replay_raw(address: SocketAddr, count: i64, fetch_bytes: i32) -> Stretch {
    let mut wire = Wire::to(address).expect("the listener is open");
    let (mut next, mut bytes, begun) = (0, 0, Instant::now());
    while next < count {
        let fetched = wire
            .fetch((OLD, 0), next, 1_000, fetch_bytes)
            .expect("an answer");
        assert_eq!(fetched.error, 0, "old records can be read");
        bytes += fetched.batches.len() as u64;
        next = fetched.next().unwrap_or(next);
    }
    Stretch {
        bytes,
        time: begun.elapsed(),
        tail: None,
    }
}

fn replay_client(address: SocketAddr, count: i64, fetch_bytes: i32) -> Stretch {
    let consumer: BaseConsumer = kafka::config(address)
        .set("group.id", "replay")
        .set("enable.auto.commit", "false")
        .set("fetch.message.max.bytes", fetch_bytes.to_string())
        .set("check.crcs", "false")
        .create()
        .expect("a consumer");
    let mut from_start = TopicPartitionList::new();
    from_start
        .add_partition_offset(OLD, 0, Offset::Beginning)
        .expect("a legal offset");
    let begun = Instant::now();
    consumer.assign(&from_start).expect("an assignment");
    let (mut seen, mut bytes) = (0, 0);
    while seen < count {
        let Some(message) = consumer.poll(Duration::from_secs(30)) else {
            panic!("record {seen} of {count} does not come");
        };
        let message = message.expect("a record");
        assert_eq!(message.offset(), seen, "in order, none left out");
        bytes += message.payload().map_or(0, <[u8]>::len) as u64;
        seen += 1;
    }
    Stretch {
        bytes,
        time: begun.elapsed(),
        tail: None,
    }
}

/// What happens beside the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Alone,
    Plain,
    Raw,
    Client,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Alone => "nothing",
            Kind::Plain => "plain_reading",
            Kind::Raw => "raw_client",
            Kind::Client => "librdkafka",
        }
    }
}

#[derive(Default)]
struct Table(std::collections::BTreeMap<Kind, Vec<Row>>);

struct Row {
    rate: f64,
    tail: Latency,
    processors: f64,
}

impl Table {
    fn add(&mut self, kind: Kind, stretch: &Stretch, processors: f64, read: u64) {
        let tail = stretch.tail.expect("the tail runs");
        println!(
            "  beside {}: {:.0} MiB/s in {:.1?}; tail {} ({} records); the program used {processors:.2} processors and \
             read {:.0} MiB from the disk",
            kind.name(),
            stretch.rate(),
            stretch.time,
            tail.shown(),
            tail.records,
            mib(read),
        );
        self.0.entry(kind).or_default().push(Row {
            rate: stretch.rate(),
            tail,
            processors,
        });
    }

    fn of(&self, kind: Kind, what: impl Fn(&Row) -> f64) -> Vec<f64> {
        self.0
            .get(&kind)
            .map(|rows| rows.iter().map(what).collect())
            .unwrap_or_default()
    }

    fn tell(&self, report: &mut Report) {
        let mut medians = std::collections::BTreeMap::new();
        for kind in [Kind::Alone, Kind::Plain, Kind::Raw, Kind::Client] {
            let name = kind.name();
            let rate = report.spread(
                format!("{name}_mib_per_second"),
                &self.of(kind, |row| row.rate),
            );
            let p50 = report.spread(
                format!("{name}_tail_p50_ms"),
                &self.of(kind, |row| row.tail.p50 as f64 / 1e3),
            );
            let p99 = report.spread(
                format!("{name}_tail_p99_ms"),
                &self.of(kind, |row| row.tail.p99 as f64 / 1e3),
            );
            report.spread(
                format!("{name}_processors"),
                &self.of(kind, |row| row.processors),
            );
            report.say(format!(
                "Beside {}: {} MiB/s; tail latency p50 {} ms, p99 {} ms.",
                name.replace('_', " "),
                rate.shown(0),
                p50.shown(2),
                p99.shown(2),
            ));
            medians.insert(kind, (rate.median, p99.median));
        }
        let (plain, quiet) = (medians[&Kind::Plain].0, medians[&Kind::Alone].1);
        for kind in [Kind::Raw, Kind::Client] {
            let (rate, p99) = medians[&kind];
            let name = kind.name();
            report.set(format!("{name}_of_plain_reading"), rate / plain);
            report.set(format!("{name}_tail_p99_times"), p99 / quiet);
            report.say(format!(
                "Replay by {}: {:.0} % of plain reading beside the same tail; the tail's p99 is {:.1} times that of \
                 the tail alone.",
                name.replace('_', " "),
                rate / plain * 100.0,
                p99 / quiet,
            ));
        }
    }
}
