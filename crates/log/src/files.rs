//! The files of a journal directory, before anything in them is believed.

use std::path::{Path, PathBuf};

use crate::disk::{At, Disk, DiskError};
use crate::file_header::{BadFileHeader, FILE_HEADER, FILE_VERSION, FileHeader};
use crate::journal::JournalOptions;
use crate::position::Geometry;
use crate::recovery::{RecoverError, corrupt};
use crate::supply::{JournalFile, PAGE};

pub(crate) const FILE_SIZE_MAX: u64 = 2 << 30;

/// A journal file that is not open: a deep backlog has more files than a process may open.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
}

impl Listed {
    pub(crate) fn open(&self, disk: &dyn Disk) -> Result<JournalFile, DiskError> {
        let file = disk.open(&self.path).at("open", &self.path)?;
        Ok(JournalFile {
            number: self.number,
            path: self.path.clone(),
            file,
        })
    }
}

/// The files of a journal directory.
pub(crate) struct Files {
    pub(crate) geometry: Geometry,
    /// By number, without gaps.
    pub(crate) journal: Vec<Listed>,
    pub(crate) spares: Vec<PathBuf>,
    pub(crate) unfinished: Vec<PathBuf>,
}

impl Files {
    /// Lists the files and checks headers, sizes and numbers.
    pub(crate) fn find(
        disk: &dyn Disk,
        dir: &Path,
        options: &JournalOptions,
        journal_id: u64,
    ) -> Result<Self, RecoverError> {
        let size = options.file_size;
        if size == 0 || !size.is_multiple_of(PAGE as u64) || size > FILE_SIZE_MAX {
            return Err(RecoverError::FileSize(size));
        }
        let mut files = Self::list(disk, dir, Geometry { file_size: size })?;
        files.check_headers(disk, journal_id)?;
        Ok(files)
    }

    /// Lists the files by their names alone.
    pub(crate) fn list(disk: &dyn Disk, dir: &Path, geometry: Geometry) -> Result<Self, DiskError> {
        let mut files = Self {
            geometry,
            journal: Vec::new(),
            spares: Vec::new(),
            unfinished: Vec::new(),
        };
        for name in disk.list(dir).at("list", dir)? {
            let path = dir.join(&name);
            match name
                .split_once('.')
                .map(|(number, kind)| (parse_number(number), kind))
            {
                Some((Some(number), "journal")) => files.journal.push(Listed { number, path }),
                Some((Some(_), "spare")) => files.spares.push(path),
                Some((Some(_), "new")) => files.unfinished.push(path),
                _ => {}
            }
        }
        files.journal.sort_by_key(|file| file.number);
        Ok(files)
    }

    fn check_headers(&mut self, disk: &dyn Disk, journal_id: u64) -> Result<(), RecoverError> {
        let mut expected = None;
        for listed in &self.journal {
            let file = &listed.open(disk)?;
            let header = read_header(file, self.geometry)?;
            if header.journal_id != journal_id {
                return Err(RecoverError::Foreign {
                    file: file.path.clone(),
                    found: header.journal_id,
                    expected: journal_id,
                });
            }
            if expected.is_none() && header.file_size >= PAGE as u64 {
                self.geometry.file_size = header.file_size;
            }
            let size = file.file.size().at("measure", &file.path)?;
            let file_size = self.geometry.file_size;
            let wrong = if header.number != file.number {
                Some(format!("its header has the number {:016x}", header.number))
            } else if header.file_size != file_size || size != file_size {
                Some(format!("it is {size} bytes long instead of {file_size}"))
            } else {
                None
            };
            if let Some(detail) = wrong {
                return Err(corrupt(
                    file.path.clone(),
                    self.geometry,
                    file.number,
                    0,
                    detail,
                ));
            }
            let missing = expected.filter(|expected| *expected != file.number);
            if let Some(missing) = missing {
                let path = file.path.with_file_name(format!("{missing:016x}.journal"));
                let detail = "it is missing, but later ones are there".to_owned();
                return Err(corrupt(path, self.geometry, missing, 0, detail));
            }
            expected = Some(file.number + 1);
        }
        Ok(())
    }
}

fn read_header(file: &JournalFile, geometry: Geometry) -> Result<FileHeader, RecoverError> {
    let mut bytes = [0; FILE_HEADER as usize];
    file.file.read_at(0, &mut bytes).at("read", &file.path)?;
    let detail = match FileHeader::decode(&bytes) {
        Ok(header) => return Ok(header),
        Err(BadFileHeader::Version(found)) => {
            return Err(RecoverError::Version {
                file: file.path.clone(),
                what: "the header",
                found,
                supported: FILE_VERSION,
            });
        }
        Err(BadFileHeader::NotAJournalFile) => "it does not begin like a journal file",
        Err(BadFileHeader::Checksum) => "the checksum of its header is wrong",
    };
    Err(corrupt(
        file.path.clone(),
        geometry,
        file.number,
        0,
        detail.to_owned(),
    ))
}

/// The number in a file name: 16 hexadecimal digits.
fn parse_number(digits: &str) -> Option<u64> {
    let plain = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain
        .then(|| u64::from_str_radix(digits, 16).ok())
        .flatten()
        .filter(|number| *number < 1 << 32)
}
