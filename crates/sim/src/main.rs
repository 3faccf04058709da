//! `forebay-sim`: runs worlds from seeds, and says which of them broke a promise.
//!
//! It ends with failure if one did, and with the one command that tells the story of that world.
//! Without failure it tells how much the worlds have seen.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it talks to whoever runs it"
)]

use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use forebay_sim::{Failure, Outcome, run_all, run_caught};

/// Simulates the broker on a disk, a clock and clients that a seed leads.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The world of one seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// The worlds of many seeds, FIRST..END.
    #[arg(long, value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Worlds at a time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Tell every step of the world of `--seed`.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Go on after so many worlds that broke a promise.
    #[arg(long, default_value_t = 1)]
    failures: u64,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("FIRST..END, as in 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| error.to_string());
    Ok(number(first)?..number(end)?)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => one(seed, arguments.trace),
        None => many(&arguments),
    }
}

fn one(seed: u64, trace: bool) -> ExitCode {
    if trace {
        // What the broker logs, among the steps.
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::INFO)
            .without_time()
            .with_ansi(false)
            .with_writer(std::io::stdout)
            .init();
    }
    let trace = trace.then(|| -> forebay_sim::Trace { Box::new(|line| println!("{line}")) });
    let outcome = run_caught(seed, trace);
    match outcome.broken {
        Some((step, violation)) => {
            let failure = Failure {
                seed,
                step,
                violation,
            };
            println!("{failure}");
            ExitCode::FAILURE
        }
        None => {
            println!("{}digest {:016x}", outcome.stats, outcome.digest);
            ExitCode::SUCCESS
        }
    }
}

fn many(arguments: &Arguments) -> ExitCode {
    let total = arguments.seeds.end.saturating_sub(arguments.seeds.start);
    let (done, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let progress = |seed: u64, outcome: &Outcome| {
        if let Some((step, violation)) = &outcome.broken {
            let failure = Failure {
                seed,
                step: *step,
                violation: violation.clone(),
            };
            println!("{failure}");
            if failed.fetch_add(1, Ordering::Relaxed) + 1 >= arguments.failures {
                return false;
            }
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of((total / 20).max(1)) {
            eprintln!("{done} of {total}");
        }
        true
    };
    let summary = run_all(arguments.seeds.clone(), arguments.jobs, &progress);
    print!("{}", summary.stats);
    match summary.failures.len() {
        0 => ExitCode::SUCCESS,
        count => {
            println!("{count} worlds broke a promise");
            ExitCode::FAILURE
        }
    }
}
