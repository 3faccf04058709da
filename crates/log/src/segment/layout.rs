//! What surrounds the blocks of a segment.
//!
//! ```text
//!  0                 64
//!  +-----------------+- ~ ----------------------------+- ~ ------------+---------+
//!  | header          | blocks, partition by partition | block indexes  | trailer |
//!  +-----------------+- ~ ----------------------------+- ~ ------------+---------+
//!
//!  header, 64 bytes                                                   60    64
//!  +--------+--------+--------+--------+--------+---------- ~ --------+-----+
//!  | magic  |version | zero   |journal | segment| zero                | crc |
//!  |FOREBAYG| u32 = 1| u32    | id u64 | number |                     | u32 |
//!  +--------+--------+--------+--------+--------+---------- ~ --------+-----+
//!
//!  block index of a run: parts of 2048 entries, the last one of what is left
//!  entry, 28 bytes                         after each part's entries
//!  +---------+----------+---------+------+ +-----+
//!  | first   | latest   | byte of |length| | crc |
//!  | offset  | before   | segment | u32  | | u32 |
//!  +---------+----------+---------+------+ +-----+
//!
//!  trailer, 64 bytes
//!  0        8        16     20     24       32       40       48      52    56       64
//!  +--------+--------+------+------+--------+--------+--------+-------+-----+--------+
//!  | blocks'| indexes| runs |blocks| batches|journal | segment|indexes| crc | magic  |
//!  | end u64| end u64| u32  | u32  | u64    | id u64 | number |crc u32| u32 |FOREBAYG|
//!  +--------+--------+------+------+--------+--------+--------+-------+-----+--------+
//! ```
//! The checksum of a part covers where it is, like a block's, then its entries. `latest before`
//! is the latest timestamp in the run before the block; -2⁶³ for the first block.

use bytes::Bytes;
use forebay_base::Offset;

use super::block::Site;
use crate::file_header::{u32_at, u64_at};

pub(crate) const HEADER: usize = 64;
pub(crate) const TRAILER: usize = 64;
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"FOREBAYG";
const INDEX_ENTRY: usize = 28;
/// Entries of a part of a block index, except the last part.
const PART_ENTRIES: u32 = 2048;
const PART_BYTES: u64 = PART_ENTRIES as u64 * INDEX_ENTRY as u64 + 4;

pub(crate) fn header(journal_id: u64, segment: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&journal_id.to_le_bytes());
    bytes[24..32].copy_from_slice(&segment.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Why bytes are not the header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    Version(u32),
    Damaged,
}

pub(crate) fn check_header(bytes: &[u8], journal_id: u64, segment: u64) -> Result<(), BadHeader> {
    if bytes.len() < HEADER || &bytes[..8] != MAGIC {
        return Err(BadHeader::Damaged);
    }
    if crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
        return Err(BadHeader::Damaged);
    }
    if u32_at(bytes, 8) != VERSION {
        return Err(BadHeader::Version(u32_at(bytes, 8)));
    }
    if u64_at(bytes, 16) != journal_id || u64_at(bytes, 24) != segment {
        return Err(BadHeader::Damaged);
    }
    Ok(())
}

/// Where the parts of a segment end, and what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) blocks_end: u64,
    pub(crate) indexes_end: u64,
    pub(crate) runs: u32,
    pub(crate) blocks: u32,
    pub(crate) batches: u64,
    /// Over everything between the two ends.
    pub(crate) indexes_crc: u32,
}

impl Trailer {
    pub(crate) fn encode(&self, journal_id: u64, segment: u64) -> [u8; TRAILER] {
        let mut bytes = [0; TRAILER];
        bytes[..8].copy_from_slice(&self.blocks_end.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.indexes_end.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.runs.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.batches.to_le_bytes());
        bytes[32..40].copy_from_slice(&journal_id.to_le_bytes());
        bytes[40..48].copy_from_slice(&segment.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.indexes_crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..52]);
        bytes[52..56].copy_from_slice(&crc.to_le_bytes());
        bytes[56..].copy_from_slice(MAGIC);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8], journal_id: u64, segment: u64) -> Option<Self> {
        let whole = bytes.len() == TRAILER
            && &bytes[56..] == MAGIC
            && crc32c::crc32c(&bytes[..52]) == u32_at(bytes, 52)
            && u64_at(bytes, 32) == journal_id
            && u64_at(bytes, 40) == segment;
        whole.then(|| Self {
            blocks_end: u64_at(bytes, 0),
            indexes_end: u64_at(bytes, 8),
            runs: u32_at(bytes, 16),
            blocks: u32_at(bytes, 20),
            batches: u64_at(bytes, 24),
            indexes_crc: u32_at(bytes, 48),
        })
    }
}

/// Where a block is, and what lies before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    pub(crate) first: Offset,
    pub(crate) latest_before: i64,
    pub(crate) at: u64,
    pub(crate) length: u32,
}

/// Adds the block index of a run to `to`, which begins at byte `site.at` of the segment.
pub(crate) fn push_index(to: &mut Vec<u8>, entries: &[BlockEntry], site: Site) {
    for part in entries.chunks(PART_ENTRIES as usize) {
        let start = to.len();
        for entry in part {
            to.extend_from_slice(&entry.first.to_le_bytes());
            to.extend_from_slice(&entry.latest_before.to_le_bytes());
            to.extend_from_slice(&entry.at.to_le_bytes());
            to.extend_from_slice(&entry.length.to_le_bytes());
        }
        let at = site.at.saturating_add(start as u64);
        let crc = crc32c::crc32c_append(Site { at, ..site }.crc(), &to[start..]);
        to.extend_from_slice(&crc.to_le_bytes());
    }
}

/// How many parts the index of so many blocks has.
pub(crate) fn index_parts(blocks: u32) -> u32 {
    blocks.div_ceil(PART_ENTRIES)
}

/// Where part `number` of a block index lies, counted from the index's start, and its length.
pub(crate) fn index_part(blocks: u32, number: u32) -> (u64, usize) {
    let before = number.saturating_mul(PART_ENTRIES);
    let entries = blocks.saturating_sub(before).min(PART_ENTRIES) as usize;
    let bytes = entries * INDEX_ENTRY + 4;
    (u64::from(number).saturating_mul(PART_BYTES), bytes)
}

/// A part of a block index whose checksum holds.
#[derive(Clone, Debug)]
pub(crate) struct IndexPart(Bytes);

impl IndexPart {
    /// Takes the bytes of a part; `None` if they are not what was written there.
    pub(crate) fn verified(site: Site, bytes: Bytes) -> Option<Self> {
        let entries = bytes.len().checked_sub(4)?;
        let whole = entries > 0
            && entries.is_multiple_of(INDEX_ENTRY)
            && crc32c::crc32c_append(site.crc(), &bytes[..entries]) == u32_at(&bytes, entries);
        whole.then_some(Self(bytes))
    }

    /// Bytes that [`IndexPart::verified`] took before.
    pub(crate) fn known(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }

    fn len(&self) -> usize {
        self.0.len().saturating_sub(4) / INDEX_ENTRY
    }

    pub(crate) fn get(&self, number: usize) -> BlockEntry {
        let at = number.saturating_mul(INDEX_ENTRY);
        BlockEntry {
            first: u64_at(&self.0, at),
            latest_before: u64_at(&self.0, at + 8).cast_signed(),
            at: u64_at(&self.0, at + 16),
            length: u32_at(&self.0, at + 24),
        }
    }

    /// The last entry that `is`, where all that are come before all that are not.
    pub(crate) fn last_where(&self, is: impl Fn(&BlockEntry) -> bool) -> Option<BlockEntry> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if is(&self.get(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.checked_sub(1).map(|last| self.get(last))
    }
}
