//! Making a damaged journal one that opens: what cannot be read is cut out, and the positions of all
//! the rest stay what they are.
//!
//! A damaged file is first copied to a place aside, as far as it can be read; then a repaired copy
//! takes its name. So a repair that is interrupted has done part of the work and no harm.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::commit::{COMMIT_HEADER, SEAL_LENGTH, encode_seal, encode_void};
use crate::disk::{At, Disk, DiskError, DiskFile};
use crate::file_header::{FILE_HEADER, FileHeader};
use crate::inspect::{Damage, DamageKind, Forgiving, JournalEnd};
use crate::journal::journal_dir;
use crate::position::{Geometry, Position};
use crate::recovery::FIRST_FILE;
use crate::supply::journal_path;

const CHUNK: usize = 1 << 20;

/// What a journal's repair goes by.
#[derive(Clone, Debug)]
pub struct JournalRepair<'a> {
    /// Where the walk that found the damage ended.
    pub end: &'a JournalEnd,
    /// All damage.
    pub damage: &'a [Damage],
    /// Places where commits begin that something refers to: the snapshots' positions and what
    /// their indexes know. Those in a damaged stretch begin a commit again, an empty one.
    pub places: &'a [Position],
    /// The journal must begin no later than this.
    pub from: Position,
    /// The journal must end no sooner than this.
    pub until: Position,
    /// The directory for copies of the files as they were.
    pub aside: &'a Path,
}

impl JournalRepair<'_> {
    /// Repairs the journal of a data directory. Gives the files it has changed or made.
    ///
    /// # Errors
    /// The disk failed or is full: then a later try does the rest.
    pub fn run(
        &self,
        disk: &dyn Disk,
        data_dir: &Path,
        journal_id: u64,
    ) -> Result<Vec<PathBuf>, DiskError> {
        let surgeon = Surgeon {
            disk,
            dir: journal_dir(data_dir),
            aside: self.aside.join("journal"),
            geometry: Geometry {
                file_size: self.end.file_bytes,
            },
            journal_id,
        };
        let mut changed = Vec::new();
        for (number, cuts) in self.cuts(surgeon.geometry) {
            surgeon.operate(number, &self.pieces(number, cuts, surgeon.geometry))?;
            changed.push(journal_path(&surgeon.dir, number));
        }
        Ok(changed)
    }

    /// The stretches of each file that are to hold nothing. A file that needs a new header only
    /// has none.
    fn cuts(&self, geometry: Geometry) -> BTreeMap<u64, Vec<Range<u64>>> {
        let size = geometry.file_size;
        let mut files: BTreeMap<u64, Vec<Range<u64>>> = BTreeMap::new();
        for damage in self.damage {
            let cuts = files.entry(geometry.file_of(damage.position)).or_default();
            match damage.kind {
                DamageKind::Header | DamageKind::Size { .. } | DamageKind::End => {}
                // The log ends there; how far it has to go on is another matter.
                DamageKind::Missing if damage.position >= self.end.end => {}
                DamageKind::Missing | DamageKind::Commits | DamageKind::Frames => {
                    cuts.push(damage.byte..damage.byte.saturating_add(damage.bytes));
                }
            }
        }
        let last = geometry.file_of(self.end.end);
        let first = geometry.file_of(self.from).max(FIRST_FILE);
        if self.end.files == 0 {
            let until = geometry.file_of(self.until);
            for number in first..until {
                files.entry(number).or_default().push(FILE_HEADER..size);
            }
            let end = geometry.byte_of(self.until).max(FILE_HEADER);
            files.entry(until).or_default().push(FILE_HEADER..end);
            return files;
        }
        for number in first..self.end.first {
            files.entry(number).or_default().push(FILE_HEADER..size);
        }
        if self.end.end < self.until {
            let until = geometry.file_of(self.until);
            let mut from = geometry.byte_of(self.end.end).max(FILE_HEADER);
            for number in last..until {
                files.entry(number).or_default().push(from..size);
                from = FILE_HEADER;
            }
            let end = geometry.byte_of(self.until).max(FILE_HEADER);
            files.entry(until).or_default().push(from..end);
        }
        files
    }

    /// The commits to write into a file: where each begins and ends; one that ends with the file
    /// is a seal.
    fn pieces(&self, number: u64, cuts: Vec<Range<u64>>, geometry: Geometry) -> Vec<Range<u64>> {
        let mut pieces = Vec::new();
        for cut in cuts {
            let mut from = cut.start;
            let mut places: Vec<_> = self
                .places
                .iter()
                .filter(|place| geometry.file_of(**place) == number)
                .map(|place| geometry.byte_of(*place))
                .filter(|byte| cut.contains(byte) && byte.is_multiple_of(8))
                .collect();
            places.sort_unstable();
            for place in places {
                let fits = place >= from + COMMIT_HEADER as u64
                    && cut.end.saturating_sub(place) >= SEAL_LENGTH;
                if fits {
                    pieces.push(from..place);
                    from = place;
                }
            }
            if from < cut.end {
                pieces.push(from..cut.end);
            }
        }
        pieces
    }
}

struct Surgeon<'a> {
    disk: &'a dyn Disk,
    dir: PathBuf,
    aside: PathBuf,
    geometry: Geometry,
    journal_id: u64,
}

impl Surgeon<'_> {
    fn operate(&self, number: u64, pieces: &[Range<u64>]) -> Result<(), DiskError> {
        let path = journal_path(&self.dir, number);
        let name = path.file_name().unwrap_or_default();
        let old = match self.disk.open(&path) {
            Ok(file) => Some(Forgiving(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).at("open", &path),
        };
        if let Some(old) = &old {
            self.disk
                .create_dir(&self.aside)
                .at("create", &self.aside)?;
            let copy = self.aside.join(name);
            let size = old.size().at("measure", &path)?;
            let file = self.disk.create(&copy).at("create", &copy)?;
            transfer(old, &*file, size).at("write", &copy)?;
            file.sync_data().at("sync", &copy)?;
            self.disk.sync_dir(&self.aside).at("sync", &self.aside)?;
        }
        let unfinished = path.with_extension("new");
        let file = self.disk.create(&unfinished).at("create", &unfinished)?;
        file.allocate(self.geometry.file_size)
            .at("reserve room for", &unfinished)?;
        if let Some(old) = &old {
            transfer(old, &*file, self.geometry.file_size).at("write", &unfinished)?;
        }
        self.patch(&*file, number, pieces)
            .at("write", &unfinished)?;
        file.sync_data().at("sync", &unfinished)?;
        self.disk
            .rename(&unfinished, &path)
            .at("put in place", &path)?;
        self.disk.sync_dir(&self.dir).at("sync", &self.dir)
    }

    fn patch(
        &self,
        file: &dyn DiskFile,
        number: u64,
        pieces: &[Range<u64>],
    ) -> std::io::Result<()> {
        let header = FileHeader {
            number,
            file_size: self.geometry.file_size,
            journal_id: self.journal_id,
        };
        file.write_at(0, &header.encode())?;
        for piece in pieces {
            let mut end = piece.end;
            if end >= self.geometry.file_size {
                end = self.geometry.file_size - SEAL_LENGTH;
                if end < piece.start + COMMIT_HEADER as u64 {
                    // There was no room for a commit before the seal, so it is all that was lost.
                    end = piece.start;
                }
                let seal = encode_seal(self.geometry.position(number, end), self.journal_id);
                file.write_at(end, &seal)?;
            }
            let position = self.geometry.position(number, piece.start);
            let length = usize::try_from(end - piece.start).unwrap_or(0);
            // Commits begin and end at multiples of 8, and there is room for one between any two.
            if let Some(void) = encode_void(position, self.journal_id, length) {
                file.write_at(piece.start, &void)?;
            }
        }
        Ok(())
    }
}

/// Copies the first `size` bytes.
fn transfer(from: &dyn DiskFile, to: &dyn DiskFile, size: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    while at < size {
        let step = CHUNK.min(usize::try_from(size - at).unwrap_or(CHUNK));
        from.read_at(at, &mut buffer[..step])?;
        to.write_at(at, &buffer[..step])?;
        at += step as u64;
    }
    Ok(())
}
