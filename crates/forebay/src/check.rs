//! `forebay check`: what is damaged in the journal of a broker that is stopped.

use std::io::{self, Write};

use bytesize::ByteSize;

use crate::failure::Failure;
use crate::settings::Settings;

/// Reads the whole journal, names each damaged stretch on stdout, and fails if there is one.
pub(crate) fn run(settings: &Settings) -> Result<(), Failure> {
    crate::trace::start(&settings.log)?;
    let dir = &settings.data_dir;
    // Opening a directory that is missing or empty would make it a data directory.
    if !dir.join("FOREBAY").exists() {
        return Err(Failure::NothingToCheck { dir: dir.clone() });
    }
    let report = forebay_broker::check(dir).map_err(|error| Failure::Open(error.to_string()))?;
    let mut text = format!(
        "{} journal files, {} commits of {} in all\n",
        report.files,
        report.commits,
        ByteSize(report.bytes)
    );
    for damage in &report.damage {
        text.push_str(&format!(
            "damaged: {} bytes at byte {} of {} (position {})\n",
            damage.bytes,
            damage.byte,
            damage.file.display(),
            damage.position
        ));
    }
    // If nobody reads it, the exit code tells the essence.
    let _ = io::stdout().write_all(text.as_bytes());
    match report.damage.len() {
        0 => Ok(()),
        places => Err(Failure::Damaged { places }),
    }
}
