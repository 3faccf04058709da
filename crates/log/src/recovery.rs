//! Opening a journal: which files there are, where the log ends, and what it says.
//!
//! Only one commit is ever unsynced, so at most the last one can be torn. The first place without
//! a whole commit is therefore the end of the log, unless a whole commit follows anywhere: then
//! something that was durable is damaged, and the journal refuses to open.
//!
//! A last commit that is whole is written once more before it is synced: if its sync has failed in
//! the life before, the system may take it for written, and a sync alone would do nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_base::planted;

use crate::commit::{Commit, encode_seal};
use crate::disk::{At, Disk, DiskError};
use crate::file_header::FILE_HEADER;
use crate::files::Files;
use crate::frame::{BadFrame, FrameRef};
use crate::handles::Handles;
use crate::index::Index;
use crate::index_export::{self, IndexError};
use crate::journal::{Journal, JournalOptions, journal_dir};
use crate::position::{Geometry, Position};
use crate::promoter::Promoter;
use crate::reader::{CacheBudgets, LogReader};
use crate::scan::{Scan, Scanned};
use crate::segment::{Objects, SegmentStore};
use crate::supply::{JournalFile, PAGE, Stock, Supply, SupplyError, SupplyOptions, journal_path};

pub(crate) const FIRST_FILE: u64 = 1;

/// The snapshot that recovery builds on.
#[derive(Clone, Copy, Debug)]
pub struct ReplayFrom<'a> {
    /// The snapshot holds the state after everything before this position.
    pub position: Position,
    /// What [`LogReader::export_index`] gave for the snapshot.
    pub index: &'a [u8],
}

/// Why a journal cannot be opened. Nothing was changed on the disk.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The disk failed, or a file is missing or cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Something that was durable is damaged or missing.
    #[error(
        "journal file {} is damaged at position {position} (byte {byte}): {detail}; nothing was \
         dropped; run `forebay check` to see all damage, then restore the file from a copy",
        file.display()
    )]
    Corrupt {
        /// The damaged or missing file.
        file: PathBuf,
        /// The damaged place in the journal.
        position: Position,
        /// The damaged place in the file.
        byte: u64,
        /// What is wrong there.
        detail: String,
    },
    /// A later version of the program wrote it.
    #[error(
        "{what} in journal file {} has version {found}, this program reads version {supported}: \
         use the program that wrote it or a later one",
        file.display()
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// Which part of the format.
        what: &'static str,
        /// The version found.
        found: u32,
        /// The version this program knows.
        supported: u32,
    },
    /// A file of another data directory lies among the journal's.
    #[error(
        "journal file {} belongs to another data directory (journal id {found:016x}, expected \
         {expected:016x})",
        file.display()
    )]
    Foreign {
        /// The file.
        file: PathBuf,
        /// The journal id in the file.
        found: u64,
        /// The id of this data directory.
        expected: u64,
    },
    /// The index in the snapshot cannot be used.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// [`JournalOptions::file_size`] is out of bounds.
    #[error("a journal file size of {0} bytes is not a multiple of 4096 between 4096 and 2 GiB")]
    FileSize(u64),
    /// There is no room for the first journal file.
    #[error(
        "no room for a journal file of {file_size} bytes in {} (and {min_free_bytes} bytes to \
         stay free)",
        dir.display()
    )]
    NoSpace {
        /// The journal's directory.
        dir: PathBuf,
        /// Bytes a journal file takes.
        file_size: u64,
        /// Bytes that must stay free.
        min_free_bytes: u64,
    },
}

impl Journal {
    /// Opens the journal of a data directory, or begins one if there is none.
    ///
    /// Every frame from `from` on, or from the beginning, is handed to `replay` with the position
    /// of its commit, in order. A torn last commit is cut, with a warning. `journal_id` is the
    /// data directory's own number: files with another one are refused. `segments` is where
    /// batches go that outlive the journal; opening does not read it.
    pub fn open(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        options: &JournalOptions,
        journal_id: u64,
        segments: SegmentStore,
        from: Option<ReplayFrom<'_>>,
        replay: &mut dyn FnMut(Position, FrameRef<'_>),
    ) -> Result<(Self, Arc<LogReader>), RecoverError> {
        let dir = journal_dir(data_dir);
        disk.create_dir(&dir).at("create", &dir)?;
        let files = Files::find(&*disk, &dir, options, journal_id)?;
        let mut index = from.map_or(Ok(Index::default()), |from| {
            index_export::decode(from.index)
        })?;
        if let Some(oldest) = files.journal.first() {
            // The snapshot's index may be older than the last file that was dropped.
            index.clamp_below(files.geometry.position(oldest.number, FILE_HEADER));
        }
        let handles = Handles::new(Arc::clone(&disk), dir.clone());
        let recovery = Recovery {
            disk,
            files,
            journal_id,
            dir,
        };
        let start = recovery.start(from.map(|from| from.position), index.published)?;
        let budgets = CacheBudgets {
            tail: options.cache_bytes,
            cold: options.cold_cache_bytes,
        };
        let geometry = recovery.files.geometry;
        let objects = Objects::new(segments, journal_id);
        let reader = Arc::new(LogReader::new(
            geometry,
            journal_id,
            handles,
            index,
            budgets,
            (objects.clone(), &options.segments),
        ));
        for file in &recovery.files.journal {
            reader.add_file(file.number);
        }
        let replay_from = from.map_or(Position(0), |from| from.position);
        let end = match start {
            Some(start) => Some(recovery.replay(start, replay_from, &reader, replay)?),
            None => None,
        };
        recovery.finish(options, reader, objects, end)
    }
}

/// Damage at `byte` of a file.
pub(crate) fn corrupt(
    file: PathBuf,
    geometry: Geometry,
    number: u64,
    byte: u64,
    detail: String,
) -> RecoverError {
    RecoverError::Corrupt {
        file,
        position: geometry.position(number, byte),
        byte,
        detail,
    }
}

/// Where the log ends.
struct LogEnd {
    file: JournalFile,
    at: u64,
}

struct Recovery {
    disk: Arc<dyn Disk>,
    files: Files,
    journal_id: u64,
    dir: PathBuf,
}

impl Recovery {
    /// Where to start reading; `None` if there is no journal yet.
    fn start(
        &self,
        from: Option<Position>,
        published: Position,
    ) -> Result<Option<Position>, RecoverError> {
        let geometry = self.files.geometry;
        let wanted = match from {
            Some(from) => from.min(published),
            None if self.files.journal.is_empty() => return Ok(None),
            None => geometry.position(FIRST_FILE, FILE_HEADER),
        };
        let number = geometry.file_of(wanted);
        if self.files.journal.iter().any(|file| file.number == number) {
            return Ok(Some(wanted));
        }
        let detail = match from {
            Some(_) => "it is missing, but the snapshot builds on it",
            None => "it is missing, and there is no snapshot to build on",
        };
        let (path, byte) = (journal_path(&self.dir, number), geometry.byte_of(wanted));
        Err(corrupt(path, geometry, number, byte, detail.to_owned()))
    }

    /// Reads everything from `start` on into the reader, hands what lies at `replay_from` or
    /// later to `replay`, and finds the end.
    fn replay(
        &self,
        start: Position,
        replay_from: Position,
        reader: &LogReader,
        replay: &mut dyn FnMut(Position, FrameRef<'_>),
    ) -> Result<LogEnd, RecoverError> {
        let geometry = self.files.geometry;
        let mut at = geometry.byte_of(start).max(FILE_HEADER);
        let mut after = start;
        let mut last = None;
        let first = geometry.file_of(start);
        for (place, listed) in self.files.journal.iter().enumerate() {
            if listed.number < first {
                continue;
            }
            let file = &listed.open(&*self.disk)?;
            let mut scan = Scan::new(&*file.file, file.number, geometry, self.journal_id);
            loop {
                match scan.at(at).at("read", &file.path)? {
                    Scanned::Commit(commit) => {
                        let end = commit.end;
                        last = Some((commit.position, commit.bytes.clone()));
                        self.take_in(file, commit, (after, replay_from), reader, replay)?;
                        at = geometry.byte_of(end);
                        after = end;
                    }
                    Scanned::Seal if place + 1 < self.files.journal.len() => {
                        let position = geometry.position(file.number, at);
                        last = Some((position, encode_seal(position, self.journal_id).into()));
                        break;
                    }
                    Scanned::Seal => {
                        let next = file.number + 1;
                        let detail = "it is missing, but the file before it was sealed";
                        let path = journal_path(&self.dir, next);
                        return Err(corrupt(path, geometry, next, 0, detail.to_owned()));
                    }
                    Scanned::Version(found) => {
                        return Err(RecoverError::Version {
                            file: file.path.clone(),
                            what: "a commit",
                            found: u32::from(found),
                            supported: u32::from(crate::commit::COMMIT_VERSION),
                        });
                    }
                    Scanned::Nothing { begun } => {
                        self.check_nothing_follows(place, at)?;
                        let end = geometry.position(file.number, at);
                        self.check_reaches(file, end, replay_from.max(reader.published()))?;
                        cut(&mut scan, file, at, begun)?;
                        if let Some((position, bytes)) = &last {
                            self.write_again(*position, bytes)?;
                        }
                        file.file.sync_data().at("sync", &file.path)?;
                        return Ok(LogEnd {
                            file: file.clone(),
                            at,
                        });
                    }
                }
            }
            at = FILE_HEADER;
        }
        // The loop ends at the last file's end at the latest, and `start` saw to a first file.
        let detail = "the snapshot builds on it, but it is not there".to_owned();
        Err(corrupt(
            journal_path(&self.dir, first),
            geometry,
            first,
            at,
            detail,
        ))
    }

    fn take_in(
        &self,
        file: &JournalFile,
        commit: Commit,
        (after, replay_from): (Position, Position),
        reader: &LogReader,
        replay: &mut dyn FnMut(Position, FrameRef<'_>),
    ) -> Result<(), RecoverError> {
        let bad = |error: BadFrame| {
            let detail = format!("its checksum is right, but it holds {error}");
            let byte = self.files.geometry.byte_of(commit.position);
            corrupt(
                file.path.clone(),
                self.files.geometry,
                file.number,
                byte,
                detail,
            )
        };
        let effects = commit.effects().map_err(bad)?;
        if commit.position >= replay_from {
            for frame in commit.frames() {
                replay(commit.position, frame.map_err(bad)?);
            }
        }
        let held = commit.bytes.len();
        planted!(SegmentsNotReplayed => {
            let changes = Vec::new();
            let effects = crate::commit::Effects { changes, ..effects };
            reader.publish(after, commit, held, &effects);
            return Ok(());
        });
        reader.publish(after, commit, held, &effects);
        Ok(())
    }

    /// Makes sure that what was read at `position` is on the disk and not only in memory.
    fn write_again(&self, position: Position, bytes: &[u8]) -> Result<(), DiskError> {
        forebay_base::planted!(LastCommitNotWrittenAgain => return Ok(()));
        let number = self.files.geometry.file_of(position);
        let listed = self.files.journal.iter().find(|file| file.number == number);
        let Some(listed) = listed else {
            return Ok(());
        };
        let JournalFile { file, path, .. } = listed.open(&*self.disk)?;
        file.write_at(self.files.geometry.byte_of(position), bytes)
            .at("write", &path)?;
        file.sync_data().at("sync", &path)
    }

    /// Refuses if a whole commit lies behind byte `at` of a file, or in a later file.
    fn check_nothing_follows(&self, place: usize, at: u64) -> Result<(), RecoverError> {
        let geometry = self.files.geometry;
        let damaged = &self.files.journal[place];
        let mut from = at;
        for listed in &self.files.journal[place..] {
            let file = listed.open(&*self.disk)?;
            let mut scan = Scan::new(&*file.file, file.number, geometry, self.journal_id);
            if let Some(byte) = scan.find_commit(from).at("read", &file.path)? {
                let follows = geometry.position(file.number, byte);
                let detail = format!("there is no whole commit, but one follows at {follows}");
                let path = damaged.path.clone();
                return Err(corrupt(path, geometry, damaged.number, at, detail));
            }
            from = FILE_HEADER;
        }
        Ok(())
    }

    /// Refuses if the log ends before what the snapshot builds on.
    fn check_reaches(
        &self,
        file: &JournalFile,
        end: Position,
        needed: Position,
    ) -> Result<(), RecoverError> {
        if end >= needed {
            return Ok(());
        }
        let byte = self.files.geometry.byte_of(end);
        let detail = format!("the log ends there, but the snapshot builds on it up to {needed}");
        Err(corrupt(
            file.path.clone(),
            self.files.geometry,
            file.number,
            byte,
            detail,
        ))
    }

    /// Puts the writer where the log ends, or begins the first file.
    fn finish(
        self,
        options: &JournalOptions,
        reader: Arc<LogReader>,
        objects: Objects,
        end: Option<LogEnd>,
    ) -> Result<(Journal, Arc<LogReader>), RecoverError> {
        let Self {
            disk,
            files,
            journal_id,
            dir,
        } = self;
        let Files {
            geometry,
            journal,
            spares,
            unfinished,
        } = files;
        for path in &unfinished {
            disk.remove(path).at("remove", path)?;
        }
        let mut stock = Stock {
            next: FIRST_FILE,
            ..Stock::default()
        };
        for path in spares {
            let size = disk
                .open(&path)
                .and_then(|file| file.size())
                .at("measure", &path)?;
            if size == geometry.file_size && stock.spares.len() < options.spare_files {
                stock.spares.push(path);
            } else {
                disk.remove(&path).at("remove", &path)?;
            }
        }
        let oldest = journal.first().map_or(FIRST_FILE, |file| file.number);
        if let Some(end) = &end {
            let mut later = journal
                .into_iter()
                .filter(|file| file.number > end.file.number);
            stock.ready = later.next().map(|file| file.open(&*disk)).transpose()?;
            stock.next = stock
                .ready
                .as_ref()
                .map_or(end.file.number, |file| file.number)
                + 1;
            for file in later {
                // Nothing was ever written to it: at most one file is made ahead.
                reader.remove_file(file.number);
                disk.remove(&file.path).at("remove", &file.path)?;
            }
        }
        disk.sync_dir(&dir).at("sync", &dir)?;
        let supply = Supply::new(
            disk,
            dir.clone(),
            geometry,
            journal_id,
            SupplyOptions {
                min_free_bytes: options.min_free_bytes,
                spare_files: options.spare_files,
            },
            stock,
        );
        let LogEnd { file, at } = match end {
            Some(end) => end,
            None => LogEnd {
                file: first_file(&supply, &dir, options)?,
                at: FILE_HEADER,
            },
        };
        reader.add_file(file.number);
        reader.set_durable(geometry.position(file.number, at));
        let promoter = Promoter::new(Arc::clone(&reader), objects, options.segments.clone());
        let journal = Journal {
            reader: Arc::clone(&reader),
            promoter,
            supply: Arc::new(supply),
            geometry,
            journal_id,
            retain_bytes: options.retain_bytes,
            current: file,
            at,
            oldest,
            stopped: None,
        };
        Ok((journal, reader))
    }
}

fn first_file(
    supply: &Supply,
    dir: &Path,
    options: &JournalOptions,
) -> Result<JournalFile, RecoverError> {
    supply.take().map_err(|error| match error {
        SupplyError::NoSpace => RecoverError::NoSpace {
            dir: dir.to_owned(),
            file_size: options.file_size,
            min_free_bytes: options.min_free_bytes,
        },
        SupplyError::Failed(error) => RecoverError::Disk(DiskError {
            action: error.action,
            path: error.path.clone(),
            source: std::io::Error::new(error.source.kind(), error.source.to_string()),
        }),
    })
}

/// Removes what is left of a torn commit at byte `at`, so that it is told of once.
fn cut(
    scan: &mut Scan<'_>,
    file: &JournalFile,
    at: u64,
    begun: Option<u64>,
) -> Result<(), DiskError> {
    let remains = scan.page_remains(at).at("read", &file.path)?;
    if begun.is_none() && remains == 0 {
        return Ok(());
    }
    let position = scan.geometry.position(scan.number, at);
    let bytes = begun.unwrap_or(remains);
    tracing::warn!(
        file = %file.path.display(),
        %position,
        byte = at,
        bytes,
        "cut a torn commit from the end of the journal; it had not been acknowledged"
    );
    let end = (at + bytes)
        .next_multiple_of(PAGE as u64)
        .min(scan.geometry.file_size);
    let zeros = vec![0; usize::try_from(end - at).unwrap_or(0)];
    file.file.write_at(at, &zeros).at("write", &file.path)
}
