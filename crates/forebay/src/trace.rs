//! The trace: what the program tells of its work, on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Starts tracing what `filter` lets through.
pub(crate) fn start(filter: &str) -> Result<(), Failure> {
    let given = filter.to_owned();
    let wrong = |reason: String| Failure::LogFilter {
        given: given.clone(),
        reason,
    };
    // It tells of each request it tries again; who waits for them tells what comes of it.
    let filter = match filter.contains("object_store") {
        true => filter.to_owned(),
        false => format!("object_store=warn,{filter}"),
    };
    let parsed = EnvFilter::try_new(&filter).map_err(|error| wrong(error.to_string()))?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init()
        .map_err(|error| wrong(error.to_string()))
}
