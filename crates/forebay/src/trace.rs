//! The trace: what the program tells of its work, on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Starts tracing what `filter` lets through.
pub(crate) fn start(filter: &str) -> Result<(), Failure> {
    let wrong = |reason: String| Failure::LogFilter {
        given: filter.to_owned(),
        reason,
    };
    let parsed = EnvFilter::try_new(filter).map_err(|error| wrong(error.to_string()))?;
    tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init()
        .map_err(|error| wrong(error.to_string()))
}
