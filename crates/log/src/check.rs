//! Looking for damage in a whole journal, without opening it or changing anything.

use std::ops::ControlFlow;
use std::path::Path;

use crate::disk::{At, Disk};
use crate::inspect::{Damage, Seen, inspect};
use crate::journal::journal_dir;
use crate::position::Position;
use crate::recovery::RecoverError;

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Journal files that were read.
    pub files: u64,
    /// Whole commits in them.
    pub commits: u64,
    /// Bytes of whole commits.
    pub bytes: u64,
    /// All damage, in the order of the journal.
    pub damage: Vec<Damage>,
}

/// How many files the journal has, and bytes that they take; 0 if there is no journal.
///
/// # Errors
/// As for [`check`].
pub fn journal_size(disk: &dyn Disk, data_dir: &Path) -> Result<(u64, u64), RecoverError> {
    let dir = journal_dir(data_dir);
    let (mut files, mut sum) = (0, 0);
    let names = match disk.list(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
        names => names.at("list", &dir)?,
    };
    for name in names {
        let path = dir.join(&name);
        if name.ends_with(".journal") {
            let size = disk.open(&path).and_then(|file| file.size());
            sum += size.at("measure", &path)?;
            files += 1;
        }
    }
    Ok((files, sum))
}

/// Reads every journal file from end to end.
///
/// # Errors
/// What keeps the journal from being read at all: another data directory's files, another version,
/// a disk error.
pub fn check(
    disk: &dyn Disk,
    data_dir: &Path,
    journal_id: u64,
) -> Result<CheckReport, RecoverError> {
    let mut report = CheckReport::default();
    inspect(disk, data_dir, journal_id, Position(0), &mut |seen| {
        match seen {
            Seen::File { .. } => report.files += 1,
            Seen::Commit(commit) => {
                report.commits += 1;
                report.bytes += commit.bytes();
            }
            Seen::Seal(_) => {}
            Seen::Damage(damage) => report.damage.push(damage),
        }
        ControlFlow::Continue(())
    })?;
    Ok(report)
}
