//! Measures the running program from outside: synced messages per second by number of producers,
//! beside what the disk can do; memory; bytes written for each byte of payload; recovery after
//! `kill -9`; deep backlogs; replay of what is old.
//!
//! Client and program share the machine, so the figures are what one box gives for both together.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(clippy::disallowed_methods, reason = "a measurement keeps time")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use forebay_tests::{Forebay, Start};
use tempfile::TempDir;

use process::Usage;
use report::Report;

mod amplification;
mod backlog;
mod files;
mod fill;
mod process;
mod produce;
mod producers;
mod raw_disk;
mod recovery;
mod replay;
mod report;
mod restart;
mod tail;
mod wire;
mod work;

/// Measures Forebay: cargo run --release -p forebay-bench -- [COMMAND]
#[derive(Parser)]
#[command(version, about)]
struct CommandLine {
    /// Where the data is laid; a folder of its own is made there and removed afterwards
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Lay the data here instead and leave it there; what lies there already is used
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// An option of forebay, as its flag without the dashes: --option journal-retain=4GiB
    #[arg(long = "option", global = true, value_name = "NAME=VALUE")]
    options: Vec<String>,
    /// Write all figures to this file
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Synced messages/s by number of producers, the syncs/s used, and the disk's own rate
    Produce(Produce),
    /// Time from the start of the process to open listeners, after kill -9
    Recovery {
        /// Bytes of journal to recover, in messages of 1,000 bytes
        #[arg(long, default_value_t = 1 << 30)]
        journal_bytes: u64,
    },
    /// Bytes written to the disk for each byte of payload
    Amplification(amplification::Plan),
    /// Time to the first fetch and receive after kill -9 with much retained in many topics, and memory
    Restart(restart::Plan),
    /// Old records read at full speed while others write and read at the tail: what it does to their
    /// latency, and how far it is from reading the files
    Replay(replay::Plan),
    /// Memory under a deep backlog, the first receive after kill -9, and how it drains
    Backlog(backlog::Plan),
    /// Memory of a program that has just started
    Idle,
}

#[derive(clap::Args)]
struct Produce {
    /// Protocols to measure
    #[arg(long, value_delimiter = ',', default_values_t = ["sqs".to_owned(), "amqp".to_owned(), "kafka".to_owned()])]
    protocols: Vec<String>,
    /// Concurrent producers
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    producers: Vec<usize>,
    /// Messages a producer has on the way before it waits for their acknowledgements. SQS sends
    /// them as batches of up to ten
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100])]
    window: Vec<usize>,
    /// Bytes of a message
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    /// Seconds for each measurement, after one second of warming up
    #[arg(long, default_value_t = 4)]
    seconds: u64,
}

/// A protocol to produce with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Sqs,
    Amqp,
    Kafka,
}

#[tokio::main]
async fn main() {
    let line = CommandLine::parse();
    let temporary = match &line.data_dir {
        Some(_) => None,
        None => Some(
            TempDir::with_prefix_in("forebay-bench-", &line.dir)
                .expect("a folder for the data can be made"),
        ),
    };
    let dir = match (&temporary, line.data_dir) {
        (Some(dir), _) => dir.path().to_owned(),
        (None, dir) => dir.expect("the data has a folder"),
    };
    let mut start = Start::on(dir.join("data")).environment("FOREBAY_JOURNAL_FILE", "64MiB");
    for option in &line.options {
        let (name, value) = option.split_once('=').expect("an option is NAME=VALUE");
        start = start.argument(format!("--{name}")).argument(value);
    }
    let mut report = Report::new(line.json);
    report.set("options", line.options);
    match line.command {
        Command::Produce(options) => {
            let protocols = options.protocols.iter().map(|name| {
                Protocol::from_str(name, true)
                    .unwrap_or_else(|_| panic!("{name:?} is not sqs, amqp or kafka"))
            });
            let plan = produce::Plan {
                protocols: protocols.collect(),
                producers: options.producers,
                windows: options.window,
                bytes: options.bytes,
                time: Duration::from_secs(options.seconds),
            };
            produce::run(&dir, start, &plan).await;
        }
        Command::Recovery { journal_bytes } => recovery::run(start, journal_bytes).await,
        Command::Amplification(plan) => amplification::run(&dir, start, &plan, &mut report).await,
        Command::Restart(plan) => restart::run(&dir, start, &plan, &mut report).await,
        Command::Replay(plan) => replay::run(&dir, start, &plan, &mut report).await,
        Command::Backlog(plan) => backlog::run(&dir, start, &plan, &mut report).await,
        Command::Idle => {
            let forebay = start.run().await;
            println!(
                "idle: {} KiB resident, up in {:?}",
                forebay.resident_bytes() >> 10,
                forebay.started_in()
            );
        }
    }
    report.finish();
}

/// How long nothing may have been written before background work counts as done.
const QUIET: Duration = Duration::from_secs(3);

/// Waits until the program has written nothing for a while: what it works off behind the scenes is
/// done.
async fn settle_down(forebay: &Forebay) {
    let mut written = Usage::of(forebay).dirtied;
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = Usage::of(forebay).dirtied;
        if now != written {
            (written, since) = (now, Instant::now());
        }
    }
}
