//! Walking through a journal as it lies on the disk, damage and all, and changing nothing.
//!
//! Opening a journal stops at the first damage; this goes on behind it. What cannot be read, be it
//! for a bad checksum, a bad block of the disk or a file that is short or gone, is one stretch from
//! the last whole commit to the next one.

mod forgiving;

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::commit::{COMMIT_HEADER, COMMIT_VERSION, Commit, Frames, Head, head};
use crate::disk::{At, Disk, DiskError, DiskFile};
use crate::file_header::{BadFileHeader, FILE_HEADER, FileHeader};
use crate::files::{FILE_SIZE_MAX, Files, Listed};
use crate::frame::FrameRef;
use crate::journal::journal_dir;
use crate::position::{Geometry, Position};
use crate::recovery::RecoverError;
use crate::scan::{Scan, Scanned};
use crate::supply::{PAGE, journal_path};
pub(crate) use forgiving::Forgiving;

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
    /// What is wrong.
    pub kind: DamageKind,
    /// What it seems to have held.
    pub held: Held,
}

/// What is wrong with a stretch of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// The first 64 bytes of a file: what it says of itself. No commit is lost by that.
    Header,
    /// The file has another length than the rest; what is missing of it counts by itself.
    Size {
        /// Its length, bytes.
        found: u64,
    },
    /// The whole file is not there.
    Missing,
    /// No whole commit where there was one.
    Commits,
    /// A commit with a right checksum that holds something unreadable.
    Frames,
    /// The log ends here, and what builds on it says that it went on.
    End,
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the file's header is damaged"),
            Self::Size { found } => write!(f, "the file has a wrong length ({found} bytes)"),
            Self::Missing => f.write_str("the file is missing"),
            Self::Commits => f.write_str("no whole commit where there was one"),
            Self::End => f.write_str("the log ends too early"),
            Self::Frames => f.write_str("a commit that cannot be understood"),
        }
    }
}

/// What a damaged stretch seems to have held, as far as its commits' lengths can be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Commits that were begun in it.
    pub commits: u32,
    /// Appends in them.
    pub appends: u32,
    /// State frames in them: what was settled, committed, created or deleted.
    pub states: u32,
    /// True if that accounts for the whole stretch.
    pub whole: bool,
}

/// What a walk comes by, in the order of the journal.
#[derive(Debug)]
pub enum Seen<'a> {
    /// A file begins.
    File {
        /// Its number.
        number: u64,
        /// Where it is.
        path: &'a Path,
    },
    /// A whole commit.
    Commit(SeenCommit<'a>),
    /// The end of a file that was filled.
    Seal(Position),
    /// Something that cannot be read.
    Damage(Damage),
}

/// A whole commit, as it lies in the journal.
#[derive(Clone, Copy, Debug)]
pub struct SeenCommit<'a> {
    pub(crate) commit: &'a Commit,
}

impl<'a> SeenCommit<'a> {
    /// Where it starts.
    pub fn position(&self) -> Position {
        self.commit.position
    }

    /// How long it is, bytes.
    pub fn bytes(&self) -> u64 {
        self.commit.bytes.len() as u64
    }

    /// True if it stands where repair has cut something out.
    pub fn is_void(&self) -> bool {
        self.commit.is_void()
    }

    /// What it holds.
    pub fn frames(&self) -> impl Iterator<Item = FrameRef<'a>> + use<'a> {
        // They were all read once before the commit was handed out.
        self.commit.frames().map_while(Result::ok)
    }
}

/// Where a walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEnd {
    /// Bytes of a journal file.
    pub file_bytes: u64,
    /// The number of the first file.
    pub first: u64,
    /// How many files there are, missing ones not counted.
    pub files: u64,
    /// Where the log ends.
    pub end: Position,
    /// Bytes of a torn commit behind that, which was never acknowledged.
    pub torn: u64,
}

/// Walks from `from` on, or from the first commit that begins behind it.
///
/// # Errors
/// What keeps the journal from being read at all: no file, another data directory's files, another
/// version, a directory that cannot be listed.
pub fn inspect(
    disk: &dyn Disk,
    data_dir: &Path,
    journal_id: u64,
    from: Position,
    visit: &mut dyn FnMut(Seen<'_>) -> ControlFlow<()>,
) -> Result<JournalEnd, RecoverError> {
    let dir = journal_dir(data_dir);
    let (geometry, headers) = headers(disk, &dir)?;
    let mut inspection = Inspection {
        disk,
        dir: &dir,
        geometry,
        journal_id,
        visit,
        suspect: Vec::new(),
        end: JournalEnd {
            file_bytes: geometry.file_size,
            first: headers.first().map_or(0, |(listed, _)| listed.number),
            files: headers.len() as u64,
            end: Position(0),
            torn: 0,
        },
        log_ended: true,
    };
    // A break is the visitor's own wish.
    let _ = inspection.files(headers, from)?;
    Ok(inspection.end)
}

/// What a file says of itself.
type Header = Result<FileHeader, BadFileHeader>;

/// All files with their headers, and the size that most sensible of them have.
fn headers(disk: &dyn Disk, dir: &Path) -> Result<(Geometry, Vec<(Listed, Header)>), DiskError> {
    let unknown = Geometry { file_size: 0 };
    let files = Files::list(disk, dir, unknown)?.journal;
    let mut found = Vec::new();
    let mut size = 0;
    let mut longest = 0;
    for listed in files {
        let file = listed.open(disk)?;
        longest = longest.max(file.file.size().at("measure", &file.path)?);
        let mut bytes = [0; FILE_HEADER as usize];
        // What cannot be read is no header.
        let _ = file.file.read_at(0, &mut bytes);
        let header = FileHeader::decode(&bytes);
        if let Ok(header) = &header
            && size == 0
            && header.file_size >= PAGE as u64
            && header.file_size <= FILE_SIZE_MAX
        {
            size = header.file_size;
        }
        found.push((listed, header));
    }
    if size == 0 {
        size = longest.max(PAGE as u64);
    }
    Ok((Geometry { file_size: size }, found))
}

struct Inspection<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    geometry: Geometry,
    journal_id: u64,
    visit: &'a mut dyn FnMut(Seen<'_>) -> ControlFlow<()>,
    /// Without a whole commit behind it, what cannot be read is only the end of the log.
    suspect: Vec<Damage>,
    end: JournalEnd,
    /// The last file was not sealed.
    log_ended: bool,
}

impl Inspection<'_> {
    fn files(
        &mut self,
        headers: Vec<(Listed, Header)>,
        from: Position,
    ) -> Result<ControlFlow<()>, RecoverError> {
        let mut expected = None;
        for (listed, header) in headers {
            for missing in expected.unwrap_or(listed.number)..listed.number {
                // One file at most stands ready, so the file before this one was sealed once.
                let missing = self.missing(missing);
                let flow = self.say_suspects();
                if flow.is_break() || self.say(missing).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            expected = Some(listed.number + 1);
            if listed.number < self.geometry.file_of(from) {
                self.log_ended = false;
                continue;
            }
            if self.file(&listed, &header, from)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        if let (false, Some(next)) = (self.log_ended, expected) {
            // The next file stands ready before one is sealed.
            let damage = self.missing(next);
            self.end.end = self.geometry.position(next, FILE_HEADER);
            return Ok(self.say(damage));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn missing(&self, number: u64) -> Damage {
        Damage {
            file: journal_path(self.dir, number),
            position: self.geometry.position(number, FILE_HEADER),
            byte: FILE_HEADER,
            bytes: self.geometry.file_size - FILE_HEADER,
            kind: DamageKind::Missing,
            held: Held::default(),
        }
    }

    /// Reports damage that something whole follows.
    fn say(&mut self, damage: Damage) -> ControlFlow<()> {
        (self.visit)(Seen::Damage(damage))
    }

    fn say_suspects(&mut self) -> ControlFlow<()> {
        self.end.torn = 0;
        for damage in std::mem::take(&mut self.suspect) {
            self.say(damage)?;
        }
        ControlFlow::Continue(())
    }

    fn header(
        &mut self,
        listed: &Listed,
        header: &Header,
        size: u64,
    ) -> Result<ControlFlow<()>, RecoverError> {
        let kind = match header {
            Ok(header) if header.journal_id != self.journal_id => {
                return Err(RecoverError::Foreign {
                    file: listed.path.clone(),
                    found: header.journal_id,
                    expected: self.journal_id,
                });
            }
            Ok(header)
                if header.number == listed.number
                    && header.file_size == self.geometry.file_size =>
            {
                None
            }
            _ => Some(DamageKind::Header),
        };
        let size = (size != self.geometry.file_size).then_some(DamageKind::Size { found: size });
        for kind in kind.into_iter().chain(size) {
            let damage = Damage {
                file: listed.path.clone(),
                position: self.geometry.start_of(listed.number),
                byte: 0,
                bytes: FILE_HEADER,
                kind,
                held: Held::default(),
            };
            if self.say(damage).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn file(
        &mut self,
        listed: &Listed,
        header: &Header,
        from: Position,
    ) -> Result<ControlFlow<()>, RecoverError> {
        let (number, path) = (listed.number, &listed.path);
        if (self.visit)(Seen::File { number, path }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let file = listed.open(self.disk)?.file;
        let size = file.size().at("measure", path)?;
        if self.header(listed, header, size)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        let file = Forgiving(file);
        let mut scan = Scan::new(&file, number, self.geometry, self.journal_id);
        let mut at = if self.geometry.file_of(from) == number {
            self.geometry.byte_of(from).max(FILE_HEADER)
        } else {
            FILE_HEADER
        };
        loop {
            let position = self.geometry.position(number, at);
            let flow = match scan.at(at).at("read", path)? {
                Scanned::Version(found) => {
                    return Err(RecoverError::Version {
                        file: path.clone(),
                        what: "a commit",
                        found: u32::from(found),
                        supported: u32::from(COMMIT_VERSION),
                    });
                }
                Scanned::Commit(commit) => {
                    at += commit.bytes.len() as u64;
                    let flow = self.commit(path, &commit);
                    self.end.end = commit.end;
                    flow
                }
                Scanned::Seal => {
                    self.log_ended = false;
                    let flow = self.say_suspects();
                    self.end.end = position;
                    return Ok(match flow {
                        ControlFlow::Continue(()) => (self.visit)(Seen::Seal(position)),
                        flow => flow,
                    });
                }
                Scanned::Nothing { begun } => {
                    let next = scan.find_commit(at).at("read", path)?;
                    let end = next.unwrap_or(self.geometry.file_size);
                    let damage = Damage {
                        file: path.clone(),
                        position,
                        byte: at,
                        bytes: end - at,
                        kind: DamageKind::Commits,
                        held: held(&file, self.geometry, (number, self.journal_id), at..end),
                    };
                    if self.suspect.is_empty() {
                        self.end.end = position;
                        self.end.torn = match begun {
                            Some(begun) => begun,
                            None => scan.page_remains(at).at("read", path)?,
                        };
                    }
                    self.suspect.push(damage);
                    let Some(next) = next else {
                        self.log_ended = true;
                        return Ok(ControlFlow::Continue(()));
                    };
                    at = next;
                    ControlFlow::Continue(())
                }
            };
            if flow.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    fn commit(&mut self, path: &Path, commit: &Commit) -> ControlFlow<()> {
        self.say_suspects()?;
        if commit.effects().is_ok() {
            return (self.visit)(Seen::Commit(SeenCommit { commit }));
        }
        let damage = Damage {
            file: path.to_owned(),
            position: commit.position,
            byte: self.geometry.byte_of(commit.position),
            bytes: commit.bytes.len() as u64,
            kind: DamageKind::Frames,
            held: Held {
                commits: 1,
                ..Held::default()
            },
        };
        self.say(damage)
    }
}

/// What the bytes of a damaged stretch seem to have been.
fn held(
    file: &dyn DiskFile,
    geometry: Geometry,
    (number, journal_id): (u64, u64),
    stretch: std::ops::Range<u64>,
) -> Held {
    let mut held = Held::default();
    let mut at = stretch.start;
    while at < stretch.end {
        let mut start = [0; COMMIT_HEADER];
        if stretch.end - at < COMMIT_HEADER as u64 || file.read_at(at, &mut start).is_err() {
            return held;
        }
        let position = geometry.position(number, at);
        let Head::Commit { length } = head(&start, position, journal_id) else {
            return held;
        };
        if length > stretch.end - at {
            return held;
        }
        held.commits += 1;
        // The length is at most that of the file.
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        if file.read_at(at, &mut bytes).is_err() {
            return held;
        }
        for frame in Frames::of_damaged(&bytes) {
            match frame {
                Ok(FrameRef::State(_)) => held.states += 1,
                Ok(_) => held.appends += 1,
                Err(_) => return held,
            }
        }
        at += length;
    }
    held.whole = true;
    held
}
