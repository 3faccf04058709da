//! Commits: the atomic unit of the journal.
//!
//! ```text
//!  0       4    5    6     8          16         24      28      32     36    40
//!  +-------+----+----+-----+----------+----------+-------+-------+------+-----+- ~ -+- ~ -+
//!  | magic |ver |kind|zero | position | journal  | body  | frame | zero | crc |frames| zero|
//!  | FBCM  |u8  |u8  |     | u64      | id u64   | length| count |      | u32 |      | pad |
//!  +-------+----+----+-----+----------+----------+-------+-------+------+-----+- ~ -+- ~ -+
//! ```
//! Kind 0 holds frames; kind 1 (seal) is empty and ends its file; kind 2 (void) holds zeros and
//! stands where repair has cut something damaged out. The body is padded with zeros to a multiple
//! of 8. The checksum is CRC-32C over bytes 0 to 35 and the padded body. Position
//! and journal id make bytes left over from an earlier use of the file invalid.

use bytes::Bytes;
use forebay_base::{Offset, PartitionId};

use crate::file_header::{u32_at, u64_at};
use crate::frame::{
    APPEND_HEADER, BadFrame, ENTRY, FrameRef, KIND_APPEND, KIND_SEGMENTS, KIND_STATE, STATE_HEADER,
    parse,
};
use crate::position::Position;
use crate::segment::SegmentChange;

pub(crate) const COMMIT_HEADER: usize = 40;
pub(crate) const COMMIT_VERSION: u8 = 1;
/// A seal is a commit without a body.
pub(crate) const SEAL_LENGTH: u64 = COMMIT_HEADER as u64;
pub(crate) const MAGIC: [u8; 4] = *b"FBCM";
const KIND_FRAMES: u8 = 0;
const KIND_SEAL: u8 = 1;
const KIND_VOID: u8 = 2;
const CRC_AT: usize = 36;

/// What one commit adds to one partition; the index is fed with these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) partition: PartitionId,
    pub(crate) first: Offset,
    pub(crate) end: Offset,
    pub(crate) max_timestamp: i64,
    /// Bytes of the batches.
    pub(crate) bytes: u64,
}

/// What a commit changes in the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) touches: Vec<Touch>,
    pub(crate) changes: Vec<SegmentChange>,
}

/// What one append adds to each of its partitions.
#[derive(Clone, Copy, Debug)]
struct Added {
    records: u32,
    max_timestamp: i64,
    bytes: u64,
}

/// Adds to `touches`, joining neighbours of the same partition.
fn touch(touches: &mut Vec<Touch>, partition: PartitionId, base: Offset, added: Added) {
    if added.records == 0 {
        return;
    }
    let end = base.saturating_add(u64::from(added.records));
    match touches.last_mut() {
        Some(last) if last.partition == partition && last.end == base => {
            last.end = end;
            last.max_timestamp = last.max_timestamp.max(added.max_timestamp);
            last.bytes = last.bytes.saturating_add(added.bytes);
        }
        _ => touches.push(Touch {
            partition,
            first: base,
            end,
            max_timestamp: added.max_timestamp,
            bytes: added.bytes,
        }),
    }
}

/// A commit being filled, usually while the one before it is synced.
///
/// A body can have at most 4 GiB and must fit a journal file; [`CommitBuilder::len_bytes`] tells
/// when to stop.
#[derive(Clone, Debug)]
pub struct CommitBuilder {
    buffer: Vec<u8>,
    frames: u32,
    effects: Effects,
}

impl Default for CommitBuilder {
    fn default() -> Self {
        Self::with_capacity(16 << 10)
    }
}

impl CommitBuilder {
    /// An empty commit.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty commit with room for about `bytes` of frames.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(COMMIT_HEADER + bytes);
        buffer.resize(COMMIT_HEADER, 0);
        Self {
            buffer,
            frames: 0,
            effects: Effects::default(),
        }
    }

    /// Adds one record batch for every partition in `entries`, at the offset given there. The
    /// batch takes `records` offsets in each; `max_timestamp` is in milliseconds since 1970.
    pub fn push_append(
        &mut self,
        entries: &[(PartitionId, Offset)],
        records: u32,
        max_timestamp: i64,
        payload: &[u8],
    ) {
        self.buffer
            .reserve(APPEND_HEADER + entries.len() * ENTRY + payload.len());
        self.push_head(KIND_APPEND, payload.len());
        self.buffer
            .extend_from_slice(&length_u32(entries.len()).to_le_bytes());
        self.buffer.extend_from_slice(&records.to_le_bytes());
        self.buffer.extend_from_slice(&max_timestamp.to_le_bytes());
        let added = Added {
            records,
            max_timestamp,
            bytes: payload.len() as u64,
        };
        for &(partition, offset) in entries {
            self.buffer.extend_from_slice(&partition.0.to_le_bytes());
            self.buffer.extend_from_slice(&offset.to_le_bytes());
            touch(&mut self.effects.touches, partition, offset, added);
        }
        self.buffer.extend_from_slice(payload);
    }

    /// Adds bytes for the shard itself.
    pub fn push_state(&mut self, payload: &[u8]) {
        self.buffer.reserve(STATE_HEADER + payload.len());
        self.push_head(KIND_STATE, payload.len());
        self.buffer.extend_from_slice(payload);
    }

    /// Adds that batches have moved into segments. The segments must be durable already.
    pub fn push_segments(&mut self, change: &SegmentChange) {
        let payload = change.encode();
        self.buffer.reserve(STATE_HEADER + payload.len());
        self.push_head(KIND_SEGMENTS, payload.len());
        self.buffer.extend_from_slice(&payload);
        self.effects.changes.push(change.clone());
    }

    fn push_head(&mut self, kind: u8, payload: usize) {
        self.frames += 1;
        self.buffer.extend_from_slice(&[kind, 0, 0, 0]);
        self.buffer
            .extend_from_slice(&length_u32(payload).to_le_bytes());
    }

    /// Bytes the commit will take in the journal.
    pub fn len_bytes(&self) -> usize {
        self.buffer.len().next_multiple_of(8)
    }

    /// True if nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// The finished commit, and the index's part of it.
    pub(crate) fn seal(self, position: Position, journal_id: u64) -> (Vec<u8>, Effects) {
        let Self {
            mut buffer,
            frames,
            effects,
        } = self;
        let body = buffer.len() - COMMIT_HEADER;
        buffer.resize(buffer.len().next_multiple_of(8), 0);
        write_header(
            &mut buffer,
            KIND_FRAMES,
            (position, journal_id),
            (body, frames),
        );
        (buffer, effects)
    }
}

/// A length that [`CommitBuilder`]'s documentation bounds; a longer one is refused at the write,
/// because no file is that large.
fn length_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn write_header(
    commit: &mut [u8],
    kind: u8,
    (position, journal_id): (Position, u64),
    (body, frames): (usize, u32),
) {
    commit[0..4].copy_from_slice(&MAGIC);
    commit[4] = COMMIT_VERSION;
    commit[5] = kind;
    commit[8..16].copy_from_slice(&position.0.to_le_bytes());
    commit[16..24].copy_from_slice(&journal_id.to_le_bytes());
    commit[24..28].copy_from_slice(&length_u32(body).to_le_bytes());
    commit[28..32].copy_from_slice(&frames.to_le_bytes());
    let crc = checksum(commit);
    commit[CRC_AT..COMMIT_HEADER].copy_from_slice(&crc.to_le_bytes());
}

/// Over everything but the checksum itself.
fn checksum(commit: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&commit[..CRC_AT]), &commit[COMMIT_HEADER..])
}

/// The commit that ends a file.
pub(crate) fn encode_seal(position: Position, journal_id: u64) -> Vec<u8> {
    let mut commit = vec![0; COMMIT_HEADER];
    write_header(&mut commit, KIND_SEAL, (position, journal_id), (0, 0));
    commit
}

/// A commit of `length` bytes that holds nothing, to stand where one was cut out. `None` if there
/// is no such commit: lengths are multiples of 8 from [`COMMIT_HEADER`] on.
pub(crate) fn encode_void(position: Position, journal_id: u64, length: usize) -> Option<Vec<u8>> {
    let body = length.checked_sub(COMMIT_HEADER)?;
    if !body.is_multiple_of(8) || u32::try_from(body).is_err() {
        return None;
    }
    let mut commit = vec![0; length];
    write_header(&mut commit, KIND_VOID, (position, journal_id), (body, 0));
    Some(commit)
}

/// What the first bytes at a place say about a commit there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// No commit was begun here.
    Foreign,
    /// A commit by a later version of the program, if the checksum says so too.
    Version { version: u8, length: u64 },
    /// A commit was begun here; it takes so many bytes, if it is whole.
    Commit { length: u64 },
}

/// Looks at the first [`COMMIT_HEADER`] bytes at `position`.
pub(crate) fn head(bytes: &[u8], position: Position, journal_id: u64) -> Head {
    let known = bytes.len() >= COMMIT_HEADER
        && bytes[0..4] == MAGIC
        && u64_at(bytes, 8) == position.0
        && u64_at(bytes, 16) == journal_id;
    if !known {
        return Head::Foreign;
    }
    let body = u64::from(u32_at(bytes, 24)).next_multiple_of(8);
    let length = COMMIT_HEADER as u64 + body;
    match bytes[4] {
        COMMIT_VERSION => Head::Commit { length },
        version => Head::Version { version, length },
    }
}

/// True if the bytes, as many as [`Head::Commit`] said, are what was written.
pub(crate) fn is_whole(commit: &[u8]) -> bool {
    commit.len() >= COMMIT_HEADER && checksum(commit) == u32_at(commit, CRC_AT)
}

/// A whole commit.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) position: Position,
    /// Where the next commit, or the seal, starts.
    pub(crate) end: Position,
    pub(crate) bytes: Bytes,
}

impl Commit {
    /// Takes bytes that [`is_whole`] approved.
    pub(crate) fn new(position: Position, bytes: Bytes) -> Self {
        Self {
            position,
            end: Position(position.0 + bytes.len() as u64),
            bytes,
        }
    }

    pub(crate) fn is_seal(&self) -> bool {
        self.bytes.get(5) == Some(&KIND_SEAL)
    }

    pub(crate) fn is_void(&self) -> bool {
        self.bytes.get(5) == Some(&KIND_VOID)
    }

    /// Header and frames, without the padding.
    pub(crate) fn unpadded(&self) -> &[u8] {
        if self.is_void() {
            return self.bytes.get(..COMMIT_HEADER).unwrap_or(&self.bytes);
        }
        let end = COMMIT_HEADER.saturating_add(u32_at(&self.bytes, 24) as usize);
        self.bytes.get(..end).unwrap_or(&self.bytes)
    }

    pub(crate) fn frames(&self) -> Frames<'_> {
        Frames {
            bytes: self.unpadded(),
            at: COMMIT_HEADER,
        }
    }

    /// Walks all frames once: the index's part of the commit, or what is wrong with it.
    pub(crate) fn effects(&self) -> Result<Effects, BadFrame> {
        let mut effects = Effects::default();
        let mut count = 0;
        for frame in self.frames() {
            count += 1;
            match frame? {
                FrameRef::Append(append) => {
                    let added = Added {
                        records: append.records,
                        max_timestamp: append.max_timestamp,
                        bytes: append.payload.len() as u64,
                    };
                    for (partition, base) in append.entries() {
                        touch(&mut effects.touches, partition, base, added);
                    }
                }
                FrameRef::Segments(payload) => {
                    let change = SegmentChange::decode(payload).ok_or(BadFrame::Change)?;
                    effects.changes.push(change);
                }
                FrameRef::State(_) => {}
            }
        }
        if count != u32_at(&self.bytes, 28) {
            Err(BadFrame::Length)
        } else {
            Ok(effects)
        }
    }
}

/// The frames of a commit, in order. Ends after the first bad one.
#[derive(Clone, Debug)]
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// The frames that the bytes of a commit seem to hold, whatever its checksum says.
    pub(crate) fn of_damaged(commit: &'a [u8]) -> Self {
        let end = COMMIT_HEADER.saturating_add(u32_at(commit, 24) as usize);
        Self {
            bytes: commit.get(..end).unwrap_or(commit),
            at: COMMIT_HEADER,
        }
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<FrameRef<'a>, BadFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.bytes.len() {
            return None;
        }
        match parse(self.bytes, self.at) {
            Ok((frame, next)) => {
                self.at = next;
                Some(Ok(frame))
            }
            Err(error) => {
                self.at = self.bytes.len();
                Some(Err(error))
            }
        }
    }
}
