//! Snapshots: the shard's state as opaque bytes, saved now and then.
//!
//! ```text
//!  0        8        12      16         24         32            40     44
//!  +--------+--------+-------+----------+----------+-------------+------+- ~ -+
//!  | magic  |version | zero  | journal  | position | payload     | crc  | pay |
//!  |FOREBAYS| u32    |       | id u64   | u64      | length u64  | u32  | load|
//!  +--------+--------+-------+----------+----------+-------------+------+- ~ -+
//! ```
//! The file `snapshots/POSITION.snapshot`; numbers are little-endian. The checksum is CRC-32C
//! over bytes 0 to 39 and the payload.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use forebay_base::planted;

use crate::disk::{At, Disk, DiskError, DiskFile};
use crate::file_header::{u32_at, u64_at};
use crate::inspect::Forgiving;
use crate::position::Position;

const MAGIC: &[u8; 8] = b"FOREBAYS";
const VERSION: u32 = 1;
const HEADER: usize = 44;
const CRC_AT: usize = 40;
/// How many snapshots are kept: if the newest is damaged, there is one to fall back on.
const KEEP: usize = 2;

/// Why a snapshot cannot be saved or loaded.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A later version of the program wrote it.
    #[error(
        "snapshot {} has version {found}, this program reads version {VERSION}: use the program \
         that wrote it or a later one",
        file.display()
    )]
    Version {
        /// The file.
        file: PathBuf,
        /// The version found.
        found: u32,
    },
}

/// The snapshots of a data directory.
pub struct SnapshotStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    journal_id: u64,
}

impl SnapshotStore {
    /// The store of a data directory; makes its folder if there is none.
    pub fn open(
        disk: Arc<dyn Disk>,
        data_dir: &Path,
        journal_id: u64,
    ) -> Result<Self, SnapshotError> {
        let dir = data_dir.join("snapshots");
        disk.create_dir(&dir).at("create", &dir)?;
        Ok(Self {
            disk,
            dir,
            journal_id,
        })
    }

    /// The store of a data directory as it is: nothing is made.
    pub fn existing(disk: Arc<dyn Disk>, data_dir: &Path, journal_id: u64) -> Self {
        let dir = data_dir.join("snapshots");
        Self {
            disk,
            dir,
            journal_id,
        }
    }

    /// Saves `payload`, the state after everything before `position`. When this returns, it is
    /// durable, and of the older snapshots the newest one is still there.
    pub fn save(&self, position: Position, payload: &[u8]) -> Result<(), SnapshotError> {
        let path = self.path(position);
        let unfinished = path.with_extension("new");
        let header = self.header(position, payload);
        let file = self.disk.create(&unfinished).at("create", &unfinished)?;
        file.write_at(0, &header).at("write", &unfinished)?;
        file.write_at(HEADER as u64, payload)
            .at("write", &unfinished)?;
        planted!(SnapshotNotSynced => (), else file.sync_data().at("sync", &unfinished)?);
        self.disk
            .rename(&unfinished, &path)
            .at("put in place", &path)?;
        self.disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        let positions = self.positions()?;
        for &old in positions.iter().rev().skip(KEEP) {
            let old = self.path(old);
            self.disk.remove(&old).at("remove", &old)?;
        }
        Ok(())
    }

    /// The newest snapshot that is whole; a damaged one is passed over with a warning. `None` if
    /// there is none: then only a complete journal can be opened.
    pub fn load_newest_valid(&self) -> Result<Option<(Position, Bytes)>, SnapshotError> {
        for &position in self.positions()?.iter().rev() {
            if let Some(payload) = self.load(position)? {
                return Ok(Some((position, payload)));
            }
            let file = self.path(position);
            tracing::warn!(file = %file.display(), "a snapshot is damaged and is passed over");
        }
        Ok(None)
    }

    /// The positions of the snapshots there are, lowest first, whole or not. The journal is
    /// needed from the lowest of them on.
    pub fn positions(&self) -> Result<Vec<Position>, SnapshotError> {
        let names = match self.disk.list(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            names => names.at("list", &self.dir)?,
        };
        let digits = names
            .iter()
            .filter_map(|name| name.strip_suffix(".snapshot"));
        let mut positions: Vec<_> = digits
            .filter(|digits| digits.len() == 16)
            .filter_map(|digits| u64::from_str_radix(digits, 16).ok().map(Position))
            .collect();
        positions.sort_unstable();
        Ok(positions)
    }

    /// The file of a snapshot.
    pub fn path(&self, position: Position) -> PathBuf {
        self.dir.join(Self::name(position))
    }

    fn name(position: Position) -> String {
        format!("{:016x}.snapshot", position.0)
    }

    fn header(&self, position: Position, payload: &[u8]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[0..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&self.journal_id.to_le_bytes());
        header[24..32].copy_from_slice(&position.0.to_le_bytes());
        header[32..40].copy_from_slice(&(payload.len() as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), payload);
        header[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        header
    }

    /// Gives a snapshot another place, where it is none any more.
    pub fn set_aside(&self, position: Position, dir: &Path) -> Result<(), SnapshotError> {
        let (from, to) = (self.path(position), dir.join(Self::name(position)));
        self.disk.create_dir(dir).at("create", dir)?;
        self.disk.rename(&from, &to).at("move away", &from)?;
        self.disk.sync_dir(dir).at("sync", dir)?;
        self.disk.sync_dir(&self.dir).at("sync", &self.dir)?;
        Ok(())
    }

    /// The payload of a snapshot; `None` if the file is damaged.
    pub fn load(&self, position: Position) -> Result<Option<Bytes>, SnapshotError> {
        let path = self.path(position);
        let file = Forgiving(self.disk.open(&path).at("open", &path)?);
        let size = usize::try_from(file.size().at("measure", &path)?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; size];
        file.read_at(0, &mut bytes).at("read", &path)?;
        if bytes.starts_with(MAGIC) && u32_at(&bytes, 8) != VERSION {
            return Err(SnapshotError::Version {
                file: path,
                found: u32_at(&bytes, 8),
            });
        }
        let payload = bytes.get(HEADER..).unwrap_or_default();
        let good = bytes.starts_with(MAGIC)
            && u64_at(&bytes, 32) == payload.len() as u64
            && bytes.get(..HEADER) == Some(&self.header(position, payload)[..]);
        if !good {
            return Ok(None);
        }
        Ok(Some(Bytes::from(bytes).slice(HEADER..)))
    }
}
