//! The one binary: it reads the options, opens the data directory and the listeners, and starts
//! and stops everything in order.
//!
//! Nothing about messages is decided here. Besides `forebay-log` this is the only crate that opens
//! files, and the only one that talks to the operator: the banner on stdout, one sentence on
//! stderr when something is wrong, and the trace on stderr.

use std::process::ExitCode;

use options::Task;

mod address;
mod banner;
mod check;
mod dump;
mod failure;
mod keys;
mod options;
mod progress;
mod segments;
mod serve;
mod settings;
mod signal;
mod span;
mod trace;

// A message on its way is many small allocations made on one thread and freed on another. mimalloc
// gives such memory back to its own thread without a lock, and to the system soon after a surge.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let task = match options::read() {
        Ok(task) => task,
        Err(stop) => return stop.exit(),
    };
    let done = match task {
        Task::Serve(settings) => serve::run(settings),
        Task::Check(settings, check) => check::run(&settings, &check),
        Task::Dump(settings, dump) => dump::run(&settings, &dump),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.exit(),
    }
}
