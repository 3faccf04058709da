//! Measures the running program from outside: synced messages per second by number of producers,
//! beside what the disk can do; memory; recovery after `kill -9`; the draining of a deep backlog.
//!
//! Client and program share the machine, so the figures are what one box gives for both together.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use forebay_tests::Start;
use tempfile::TempDir;

mod backlog;
mod produce;
mod producers;
mod raw_disk;
mod recovery;

/// Measures Forebay: cargo run --release -p forebay-bench -- [COMMAND]
#[derive(Parser)]
#[command(version, about)]
struct CommandLine {
    /// Where the data is laid; a folder of its own is made there and removed afterwards
    #[arg(long, global = true, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
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
    /// Memory under a deep backlog of 100-byte messages, and how it drains
    Backlog {
        /// Messages
        #[arg(long, default_value_t = 10_000_000)]
        messages: u64,
    },
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
    let dir = TempDir::with_prefix_in("forebay-bench-", &line.dir)
        .expect("a folder for the data can be made");
    let start = Start::on(dir.path().join("data")).environment("FOREBAY_JOURNAL_FILE", "64MiB");
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
            produce::run(dir.path(), start, &plan).await;
        }
        Command::Recovery { journal_bytes } => recovery::run(start, journal_bytes).await,
        Command::Backlog { messages } => backlog::run(start, messages).await,
        Command::Idle => {
            let forebay = start.run().await;
            println!(
                "idle: {} KiB resident, up in {:?}",
                forebay.resident_bytes() >> 10,
                forebay.started_in()
            );
        }
    }
}
