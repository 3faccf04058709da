//! The data directory: whose it is, and that only one process uses it.
//!
//! `FOREBAY` is a text file of three lines: `forebay data directory`, `version 2`, and
//! `journal ` with the journal id as 16 hexadecimal digits. `lock` is empty; whoever uses the
//! directory holds an exclusive lock (flock) on it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::disk::{At, Disk, DiskError, RealDisk};

const TITLE: &str = "forebay data directory";
const VERSION: u32 = 2;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// There are files in it, but not the one that makes it ours.
    #[error(
        "{} is not a Forebay data directory and not empty (it holds {found:?}): choose another \
         directory",
        dir.display()
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
        /// A name that was found in it.
        found: String,
    },
    /// Its identity file says something else.
    #[error("{} does not name a Forebay data directory: restore it from a copy", file.display())]
    Unreadable {
        /// The identity file.
        file: PathBuf,
    },
    /// An earlier version of the program made it.
    #[error(
        "{} has format version {found}, which this program no longer reads (it reads version \
         {VERSION}): empty its queues with the program that made it, then start this one on a new \
         directory",
        dir.display()
    )]
    Outdated {
        /// The directory.
        dir: PathBuf,
        /// The version found.
        found: u32,
    },
    /// A later version of the program made it.
    #[error(
        "{} has format version {found}, this program knows version {VERSION}: use the program \
         that made it or a later one",
        dir.display()
    )]
    Version {
        /// The directory.
        dir: PathBuf,
        /// The version found.
        found: u32,
    },
    /// Another process uses it.
    #[error("{} is in use by another process", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// A data directory in use: locked until this is dropped or the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    journal_id: u64,
    _lock: File,
}

impl DataDir {
    /// Takes the directory into use, making it if it is missing or empty.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        RealDisk.create_dir(path).at("create", path)?;
        let identity = path.join("FOREBAY");
        if !identity.exists() {
            require_empty(path)?;
        }
        let lock = lock(path)?;
        let journal_id = match fs::read_to_string(&identity) {
            Ok(text) => parse(&text, path, &identity)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path, &identity)?,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(DataDirError::Unreadable { file: identity });
            }
            Err(source) => {
                return Err(DiskError {
                    action: "read",
                    path: identity,
                    source,
                }
                .into());
            }
        };
        Ok(Self {
            path: path.to_owned(),
            journal_id,
            _lock: lock,
        })
    }

    /// Takes a directory that is one already, changing nothing in it.
    ///
    /// # Errors
    /// [`DataDirError::Unreadable`] too if there is none.
    pub fn existing(path: &Path) -> Result<Self, DataDirError> {
        let identity = path.join("FOREBAY");
        let text = match fs::read_to_string(&identity) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::InvalidData
                ) =>
            {
                return Err(DataDirError::Unreadable { file: identity });
            }
            Err(error) => return Err(error).at("read", &identity).map_err(Into::into),
        };
        let journal_id = parse(&text, path, &identity)?;
        // A copy may have been made without the lock, and then nobody uses it; what cannot be
        // written to can be locked all the same.
        let lock = path.join("lock");
        let lock = match File::open(&lock) {
            Ok(file) => hold(file, path, lock)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                File::open(&identity).at("open", &identity)?
            }
            Err(error) => return Err(error).at("open", &lock).map_err(Into::into),
        };
        Ok(Self {
            path: path.to_owned(),
            journal_id,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number that ties the journal's files to this directory; random, and the same for the
    /// directory's whole life.
    pub fn journal_id(&self) -> u64 {
        self.journal_id
    }
}

/// What a directory may hold before it is first used: a lock of ours, and what file systems put
/// into the root of a new volume.
fn require_empty(dir: &Path) -> Result<(), DataDirError> {
    let names = RealDisk.list(dir).at("list", dir)?;
    let foreign = names.into_iter().find(|name| {
        !matches!(
            name.as_str(),
            "lock" | "FOREBAY.new" | "FOREBAY" | "lost+found"
        )
    });
    match foreign {
        Some(found) => Err(DataDirError::Foreign {
            dir: dir.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

fn lock(dir: &Path) -> Result<File, DataDirError> {
    let path = dir.join("lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .at("write", &path)?;
    hold(lock, dir, path)
}

fn hold(lock: File, dir: &Path, path: PathBuf) -> Result<File, DataDirError> {
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(DataDirError::Locked {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(DiskError {
            action: "lock",
            path,
            source,
        }
        .into()),
    }
}

fn parse(text: &str, dir: &Path, identity: &Path) -> Result<u64, DataDirError> {
    let unreadable = || DataDirError::Unreadable {
        file: identity.to_owned(),
    };
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(unreadable());
    }
    let version = lines
        .next()
        .and_then(|line| line.strip_prefix("version ")?.parse().ok());
    match version {
        Some(VERSION) => {}
        Some(found) if found < VERSION => {
            return Err(DataDirError::Outdated {
                dir: dir.to_owned(),
                found,
            });
        }
        Some(found) => {
            return Err(DataDirError::Version {
                dir: dir.to_owned(),
                found,
            });
        }
        None => return Err(unreadable()),
    }
    let digits = lines.next().and_then(|line| line.strip_prefix("journal "));
    digits
        .filter(|digits| digits.len() == 16)
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(unreadable)
}

fn create(dir: &Path, identity: &Path) -> Result<u64, DataDirError> {
    let journal_id = random_id()?;
    let text = format!("{TITLE}\nversion {VERSION}\njournal {journal_id:016x}\n");
    let unfinished = dir.join("FOREBAY.new");
    let file = RealDisk.create(&unfinished).at("create", &unfinished)?;
    file.write_at(0, text.as_bytes()).at("write", &unfinished)?;
    file.sync_data().at("sync", &unfinished)?;
    RealDisk
        .rename(&unfinished, identity)
        .at("put in place", identity)?;
    RealDisk.sync_dir(dir).at("sync", dir)?;
    Ok(journal_id)
}

fn random_id() -> Result<u64, DiskError> {
    let source = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    File::open(source)
        .and_then(|mut file| file.read_exact(&mut bytes))
        .at("read", source)?;
    Ok(u64::from_le_bytes(bytes))
}
