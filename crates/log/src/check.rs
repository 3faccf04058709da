//! Looking for damage in a whole journal, without opening it or changing anything.

use std::path::{Path, PathBuf};

use crate::commit::COMMIT_VERSION;
use crate::disk::{At, Disk};
use crate::file_header::FILE_HEADER;
use crate::files::Files;
use crate::journal::{JournalOptions, journal_dir};
use crate::position::{Geometry, Position};
use crate::recovery::RecoverError;
use crate::scan::{Scan, Scanned};
use crate::supply::JournalFile;

/// A stretch of the journal that was durable and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where the stretch starts in the journal.
    pub position: Position,
    /// Where it starts in the file.
    pub byte: u64,
    /// Bytes to the next whole commit or the end of the file.
    pub bytes: u64,
}

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

/// Bytes that the journal's files take; 0 if there is no journal.
///
/// # Errors
/// As for [`check`].
pub fn journal_bytes(disk: &dyn Disk, data_dir: &Path) -> Result<u64, RecoverError> {
    let dir = journal_dir(data_dir);
    let mut sum = 0;
    let names = match disk.list(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        names => names.at("list", &dir)?,
    };
    for name in names {
        let path = dir.join(&name);
        if name.ends_with(".journal") {
            let size = disk.open(&path).and_then(|file| file.size());
            sum += size.at("measure", &path)?;
        }
    }
    Ok(sum)
}

/// Reads every journal file from end to end.
///
/// # Errors
/// What keeps the files from being read at all: a missing file, a damaged file header, another
/// version, a disk error.
pub fn check(
    disk: &dyn Disk,
    data_dir: &Path,
    journal_id: u64,
) -> Result<CheckReport, RecoverError> {
    let dir = journal_dir(data_dir);
    let files = Files::find(disk, &dir, &JournalOptions::default(), journal_id)?;
    let mut report = CheckReport::default();
    // Without a whole commit behind it, what cannot be read is only the end of the log.
    let mut suspect = Vec::new();
    for listed in &files.journal {
        let file = &listed.open(disk)?;
        report.files += 1;
        let mut scan = Scan::new(&*file.file, file.number, files.geometry, journal_id);
        check_file(file, files.geometry, &mut scan, &mut report, &mut suspect)?;
    }
    Ok(report)
}

fn check_file(
    file: &JournalFile,
    geometry: Geometry,
    scan: &mut Scan<'_>,
    report: &mut CheckReport,
    suspect: &mut Vec<Damage>,
) -> Result<(), RecoverError> {
    let mut at = FILE_HEADER;
    loop {
        match scan.at(at).at("read", &file.path)? {
            Scanned::Commit(commit) => {
                report.damage.append(suspect);
                report.commits += 1;
                report.bytes += commit.bytes.len() as u64;
                at += commit.bytes.len() as u64;
            }
            Scanned::Seal => {
                report.damage.append(suspect);
                return Ok(());
            }
            Scanned::Version(found) => {
                return Err(RecoverError::Version {
                    file: file.path.clone(),
                    what: "a commit",
                    found: u32::from(found),
                    supported: u32::from(COMMIT_VERSION),
                });
            }
            Scanned::Nothing { .. } => {
                let next = scan.find_commit(at).at("read", &file.path)?;
                suspect.push(Damage {
                    file: file.path.clone(),
                    position: geometry.position(file.number, at),
                    byte: at,
                    bytes: next.unwrap_or(geometry.file_size) - at,
                });
                match next {
                    Some(next) => at = next,
                    None => return Ok(()),
                }
            }
        }
    }
}
