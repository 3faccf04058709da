//! Blocks: the unit of checksum and of reading inside a segment.
//!
//! ```text
//!  0       4      8      12      16        24       32        40        48
//!  +-------+------+------+-------+---------+--------+---------+---------+- ~ -+
//!  | magic | crc  |length| batch |partition| first  | end     | latest  |batch|
//!  | FBB1  | u32  | u32  |count  | u64     | offset | offset  | i64, ms | es  |
//!  +-------+------+------+-------+---------+--------+---------+---------+- ~ -+
//!
//!  a batch:
//!  0      1      4         8         16        24        28
//!  +------+------+---------+---------+---------+---------+- ~ ---+
//!  | kind | zero | payload | base    | max     | records |payload|
//!  | u8   |      | length  | offset  |timestamp| u32     |       |
//!  +------+------+---------+---------+---------+---------+- ~ ---+
//! ```
//! `length` counts the bytes from 48 on. The checksum is CRC-32C over where the block is (journal
//! id, segment number and byte, each u64), bytes 0 to 3, and everything from byte 8 on.
//!
//! Kind 0 and 2 hold their payload; 2 tells that others may refer to it. Kind 1 refers to the
//! payload of a kind 2 elsewhere in the segment: byte u64, length u32, CRC-32C of the payload u32.

use bytes::Bytes;
use forebay_base::{Offset, PartitionId};

use crate::file_header::{u32_at, u64_at};

pub(crate) const BLOCK_HEADER: usize = 48;
pub(crate) const BATCH_HEADER: usize = 28;
const MAGIC: &[u8; 4] = b"FBB1";
const INLINE: u8 = 0;
const REFERENCE: u8 = 1;
const INLINE_SHARED: u8 = 2;
/// Bytes a reference takes instead of a payload.
pub(crate) const REFERENCE_BYTES: usize = 16;

/// Where bytes lie: part of their checksum, so that bytes of another place are never believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) journal_id: u64,
    pub(crate) segment: u64,
    pub(crate) at: u64,
}

impl Site {
    /// The checksum's start: continue it with the bytes themselves.
    pub(crate) fn crc(self) -> u32 {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.journal_id.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..].copy_from_slice(&self.at.to_le_bytes());
        crc32c::crc32c(&bytes)
    }
}

fn checksum(site: Site, block: &[u8]) -> u32 {
    let start = crc32c::crc32c_append(site.crc(), &block[..4]);
    crc32c::crc32c_append(start, &block[8..])
}

/// What a block's header says besides its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHead {
    pub(crate) partition: PartitionId,
    /// The base offset of its first batch.
    pub(crate) first: Offset,
    /// The offset after its last batch.
    pub(crate) end: Offset,
    pub(crate) latest: i64,
    pub(crate) batches: u32,
}

/// Fills in the header of a block whose batches are there, and with it the checksum.
pub(crate) fn finish_block(block: &mut [u8], head: &BlockHead, length: u32, site: Site) {
    block[..4].copy_from_slice(MAGIC);
    block[8..12].copy_from_slice(&length.to_le_bytes());
    block[12..16].copy_from_slice(&head.batches.to_le_bytes());
    block[16..24].copy_from_slice(&head.partition.0.to_le_bytes());
    block[24..32].copy_from_slice(&head.first.to_le_bytes());
    block[32..40].copy_from_slice(&head.end.to_le_bytes());
    block[40..48].copy_from_slice(&head.latest.to_le_bytes());
    let crc = checksum(site, block);
    block[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// A payload that lies elsewhere in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) at: u64,
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

/// The head of a batch as it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchHead {
    pub(crate) base_offset: Offset,
    pub(crate) records: u32,
    pub(crate) max_timestamp: i64,
}

/// Adds a batch that holds its payload.
pub(crate) fn push_inline(
    to: &mut Vec<u8>,
    head: &BatchHead,
    payload: &[u8],
    length: u32,
    shared: bool,
) {
    push_head(
        to,
        head,
        if shared { INLINE_SHARED } else { INLINE },
        length,
    );
    to.extend_from_slice(payload);
}

/// Adds a batch whose payload lies elsewhere.
pub(crate) fn push_reference(to: &mut Vec<u8>, head: &BatchHead, reference: &Reference) {
    push_head(to, head, REFERENCE, REFERENCE_BYTES as u32);
    to.extend_from_slice(&reference.at.to_le_bytes());
    to.extend_from_slice(&reference.length.to_le_bytes());
    to.extend_from_slice(&reference.crc.to_le_bytes());
}

fn push_head(to: &mut Vec<u8>, head: &BatchHead, kind: u8, length: u32) {
    to.extend_from_slice(&[kind, 0, 0, 0]);
    to.extend_from_slice(&length.to_le_bytes());
    to.extend_from_slice(&head.base_offset.to_le_bytes());
    to.extend_from_slice(&head.max_timestamp.to_le_bytes());
    to.extend_from_slice(&head.records.to_le_bytes());
}

/// What the first bytes at a place say about a block there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// No block begins here.
    Foreign,
    /// A block of so many bytes, if it is whole.
    Block { length: u64 },
}

/// Looks at the first [`BLOCK_HEADER`] bytes; fewer are no block.
pub(crate) fn begun(bytes: &[u8]) -> Begun {
    if bytes.len() < BLOCK_HEADER || &bytes[..4] != MAGIC {
        return Begun::Foreign;
    }
    Begun::Block {
        length: BLOCK_HEADER as u64 + u64::from(u32_at(bytes, 8)),
    }
}

/// A block whose checksum holds.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) at: u64,
    pub(crate) bytes: Bytes,
}

/// The batch at a place of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) base_offset: Offset,
    pub(crate) records: u32,
    pub(crate) max_timestamp: i64,
    pub(crate) payload: Payload,
    /// Where the next batch begins.
    pub(crate) next: usize,
}

impl Entry {
    /// The offset after its last one.
    pub(crate) fn end(&self) -> Offset {
        self.base_offset.saturating_add(u64::from(self.records))
    }
}

/// Where the payload of a batch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    Here {
        range: std::ops::Range<usize>,
        shared: bool,
    },
    Elsewhere(Reference),
}

impl Block {
    /// Takes as many bytes as [`begun`] said; `None` if they are not what was written there.
    pub(crate) fn verified(site: Site, bytes: Bytes) -> Option<Self> {
        let whole = match begun(&bytes) {
            Begun::Block { length } => {
                let good = || checksum(site, &bytes) == u32_at(&bytes, 4);
                let good = forebay_base::planted!(BlockReadUnchecked => true, else good());
                length == bytes.len() as u64 && good
            }
            Begun::Foreign => false,
        };
        whole.then_some(Self { at: site.at, bytes })
    }

    /// Bytes that [`Block::verified`] took before.
    pub(crate) fn known(at: u64, bytes: Bytes) -> Self {
        Self { at, bytes }
    }

    pub(crate) fn head(&self) -> BlockHead {
        BlockHead {
            partition: PartitionId(u64_at(&self.bytes, 16)),
            first: u64_at(&self.bytes, 24),
            end: u64_at(&self.bytes, 32),
            latest: u64_at(&self.bytes, 40).cast_signed(),
            batches: u32_at(&self.bytes, 12),
        }
    }

    /// The byte of the segment after it.
    pub(crate) fn after(&self) -> u64 {
        self.at.saturating_add(self.bytes.len() as u64)
    }

    /// The batch at byte `at`; `None` at the end, and where there is nothing that makes sense.
    #[inline]
    pub(crate) fn entry(&self, at: usize) -> Option<Entry> {
        let start = at.checked_add(BATCH_HEADER)?;
        let head = self.bytes.get(at..start)?;
        let next = start.checked_add(u32_at(head, 4) as usize)?;
        if next > self.bytes.len() {
            return None;
        }
        let payload = match head[0] {
            REFERENCE => Payload::Elsewhere(Reference {
                at: u64_at(&self.bytes, start),
                length: u32_at(&self.bytes, start + 8),
                crc: u32_at(&self.bytes, start + 12),
            }),
            INLINE | INLINE_SHARED => Payload::Here {
                range: start..next,
                shared: head[0] == INLINE_SHARED,
            },
            _ => return None,
        };
        Some(Entry {
            base_offset: u64_at(head, 8),
            max_timestamp: u64_at(head, 16).cast_signed(),
            records: u32_at(head, 24),
            payload,
            next,
        })
    }
}
