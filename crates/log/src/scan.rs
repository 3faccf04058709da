//! Reading a journal file from front to back, without trust in what it holds.

use std::io;

use bytes::Bytes;
use forebay_base::planted;

use crate::commit::{COMMIT_HEADER, Commit, Head, MAGIC, head, is_whole};
use crate::disk::DiskFile;
use crate::position::Geometry;
use crate::supply::PAGE;

const CHUNK: usize = 1 << 20;
const ZERO_PAGE: [u8; PAGE] = [0; PAGE];

/// What lies at a place.
pub(crate) enum Scanned {
    Commit(Commit),
    Seal,
    /// No whole commit. If one was begun here, so many bytes of it are in the file.
    Nothing {
        begun: Option<u64>,
    },
    /// A commit by a later version of the program.
    Version(u8),
}

/// One file, read in chunks.
pub(crate) struct Scan<'a> {
    pub(crate) file: &'a dyn DiskFile,
    pub(crate) number: u64,
    pub(crate) geometry: Geometry,
    pub(crate) journal_id: u64,
    chunk: Bytes,
    chunk_at: u64,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(
        file: &'a dyn DiskFile,
        number: u64,
        geometry: Geometry,
        journal_id: u64,
    ) -> Self {
        Self {
            file,
            number,
            geometry,
            journal_id,
            chunk: Bytes::new(),
            chunk_at: 0,
        }
    }

    /// What lies at byte `at`.
    pub(crate) fn at(&mut self, at: u64) -> io::Result<Scanned> {
        let position = self.geometry.position(self.number, at);
        let room = self.geometry.file_size.saturating_sub(at);
        if room < COMMIT_HEADER as u64 {
            return Ok(Scanned::Nothing { begun: None });
        }
        let start = self.bytes(at, COMMIT_HEADER)?;
        let length = match head(&start, position, self.journal_id) {
            Head::Foreign => return Ok(Scanned::Nothing { begun: None }),
            Head::Version { length, .. } | Head::Commit { length } if length > room => {
                return Ok(Scanned::Nothing { begun: Some(room) });
            }
            Head::Version { length, .. } | Head::Commit { length } => length,
        };
        let bytes = self.bytes(at, usize::try_from(length).unwrap_or(usize::MAX))?;
        if !planted!(TornTailAccepted => true, else is_whole(&bytes)) {
            return Ok(Scanned::Nothing {
                begun: Some(length),
            });
        }
        if let Head::Version { version, .. } = head(&start, position, self.journal_id) {
            return Ok(Scanned::Version(version));
        }
        let commit = Commit::new(position, bytes);
        Ok(if commit.is_seal() {
            Scanned::Seal
        } else {
            Scanned::Commit(commit)
        })
    }

    /// `length` bytes from byte `at` on; the caller knows that the file has them.
    fn bytes(&mut self, at: u64, length: usize) -> io::Result<Bytes> {
        let inside = at
            .checked_sub(self.chunk_at)
            .and_then(|skip| usize::try_from(skip).ok())
            .and_then(|skip| Some(skip..skip.checked_add(length)?))
            .filter(|range| range.end <= self.chunk.len());
        if let Some(range) = inside {
            return Ok(self.chunk.slice(range));
        }
        let room = usize::try_from(self.geometry.file_size - at).unwrap_or(usize::MAX);
        let mut chunk = vec![0; length.max(CHUNK).min(room)];
        self.file.read_at(at, &mut chunk)?;
        (self.chunk, self.chunk_at) = (chunk.into(), at);
        Ok(self.chunk.slice(..length.min(self.chunk.len())))
    }

    /// The first byte at or after `from` where a whole commit or seal lies, at any multiple of 8.
    pub(crate) fn find_commit(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut page = from;
        let mut buffer = vec![0; CHUNK];
        while page < self.geometry.file_size {
            let room = usize::try_from(self.geometry.file_size - page).unwrap_or(usize::MAX);
            let step = CHUNK.min(room);
            let chunk = &mut buffer[..step];
            self.file.read_at(page, chunk)?;
            for (number, part) in chunk.chunks(ZERO_PAGE.len()).enumerate() {
                if part == &ZERO_PAGE[..part.len()] {
                    continue;
                }
                let part_at = page + (number * ZERO_PAGE.len()) as u64;
                for (word, bytes) in part.chunks_exact(8).enumerate() {
                    if bytes[..4] != MAGIC {
                        continue;
                    }
                    let at = part_at + (word * 8) as u64;
                    if matches!(self.at(at)?, Scanned::Commit(_) | Scanned::Seal) {
                        return Ok(Some(at));
                    }
                }
            }
            page += step as u64;
        }
        Ok(None)
    }

    /// How many of the bytes from `at` to the end of its page are not zero. Every
    /// commit is written with zeros up to there, so others are part of a commit that was torn.
    pub(crate) fn page_remains(&mut self, at: u64) -> io::Result<u64> {
        let end = at
            .next_multiple_of(PAGE as u64)
            .min(self.geometry.file_size);
        let length = usize::try_from(end - at).unwrap_or(0);
        let bytes = self.bytes(at, length)?;
        Ok(bytes.iter().filter(|byte| **byte != 0).count() as u64)
    }
}
