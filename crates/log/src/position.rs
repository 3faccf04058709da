//! Places in the journal.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in the journal: `file number × file size + byte in the file`. Positions only grow.
/// `Position(0)` lies before everything, because the first file has number 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position(pub u64);

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The one file size of a journal, which turns positions into files and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) file_size: u64,
}

impl Geometry {
    pub(crate) fn file_of(self, position: Position) -> u64 {
        position.0 / self.file_size
    }

    pub(crate) fn byte_of(self, position: Position) -> u64 {
        position.0 % self.file_size
    }

    pub(crate) fn position(self, file: u64, byte: u64) -> Position {
        Position(file.saturating_mul(self.file_size).saturating_add(byte))
    }

    pub(crate) fn start_of(self, file: u64) -> Position {
        self.position(file, 0)
    }
}
