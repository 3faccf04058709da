//! Operations of a simulated disk, and making some of them fail.

use std::path::{Path, PathBuf};

/// Kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Opening a file.
    Open,
    /// Creating a file.
    Create,
    /// Listing a directory.
    List,
    /// Giving a file another name.
    Rename,
    /// Removing a file.
    Remove,
    /// Making the names in a directory durable.
    SyncDir,
    /// Reserving room.
    Allocate,
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Making a file's bytes durable.
    Sync,
}

/// Makes operations of one kind fail with an input/output error, for a while. A failing operation
/// changes nothing, except that a failed sync gives up what it was to make durable: readers see
/// it until the power goes, and no later sync makes it durable unless it is written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which kind.
    pub operation: Operation,
    /// Only on what lies somewhere in this directory.
    pub dir: PathBuf,
    /// So many go well first.
    pub after: u64,
    /// So many fail then; [`u64::MAX`] for all until [`super::SimDisk::calm`].
    pub times: u64,
}

impl Trouble {
    /// Whether this operation fails; counts it.
    pub(super) fn strikes(&mut self, operation: Operation, path: &Path) -> bool {
        if self.operation != operation || !path.starts_with(&self.dir) || self.times == 0 {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.times = self.times.saturating_sub(u64::from(self.times < u64::MAX));
        true
    }
}

/// A running checksum of everything a disk was asked to do.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Digest {
    pub(super) value: u64,
}

impl Digest {
    pub(super) fn add(&mut self, operation: Operation, path: &Path, at: u64, bytes: &[u8]) {
        let name = crc32c::crc32c(path.as_os_str().as_encoded_bytes());
        let content = crc32c::crc32c(bytes);
        for part in [
            operation as u64,
            u64::from(name),
            at,
            bytes.len() as u64,
            u64::from(content),
        ] {
            self.value = (self.value.rotate_left(5) ^ part).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
}
