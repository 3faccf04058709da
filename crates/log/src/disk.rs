//! The one door to the disk. [`RealDisk`] is the operating system; [`SimDisk`] is memory that
//! can lose, tear and refuse exactly what a real disk may.

mod read_only;
mod real;
mod sim;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use read_only::ReadOnlyDisk;
pub use real::RealDisk;
pub use sim::{Fault, Operation, SimDisk, Trouble};

/// A place for files. What is not synced may be lost, whole or in part, when the power goes.
pub trait Disk: Send + Sync + 'static {
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates an empty file; an existing one of that name is emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a directory and those above it; one that exists is left alone.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name, replacing a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable: creations, renames, removals.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that can still be allocated where `dir` lives.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// The file's length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Makes the file `size` bytes long and reserves the room, so that later writes inside it do
    /// not fail for want of space. New bytes read as zero.
    fn allocate(&self, size: u64) -> io::Result<()>;

    /// Fills `buffer` from byte `at` on; fails if the file ends before.
    fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` from byte `at` on.
    fn write_at(&self, at: u64, bytes: &[u8]) -> io::Result<()>;

    /// Returns when everything written to this file is durable.
    fn sync_data(&self) -> io::Result<()>;
}

/// A disk operation that failed, and where.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct DiskError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// The file or directory it was tried on.
    pub path: PathBuf,
    /// What the disk said.
    pub source: io::Error,
}

impl DiskError {
    pub(crate) fn is_no_space(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Names the place of a failure.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|source| DiskError {
            action,
            path: path.to_owned(),
            source,
        })
    }
}
