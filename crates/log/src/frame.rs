//! Frames: what a commit is made of.
//!
//! ```text
//!  0      1      4             8             12            16              24
//!  +------+------+-------------+-------------+-------------+---------------+
//!  | kind | zero | payload     | entries     | records     | max timestamp |
//!  | u8   |      | length u32  | u32         | u32         | i64, ms       |
//!  +------+------+-------------+-------------+-------------+---------------+
//!  then for each entry:  partition u64, base offset u64
//!  then the payload
//! ```
//! That is `Append`, kind 1. `State`, kind 2, and `Segments`, kind 3, have only the first 8 bytes,
//! then their payload.
//! Frames follow each other without gaps; numbers are little-endian.

use forebay_base::{Offset, PartitionId};

use crate::file_header::{u32_at, u64_at};

pub(crate) const KIND_APPEND: u8 = 1;
pub(crate) const KIND_STATE: u8 = 2;
pub(crate) const KIND_SEGMENTS: u8 = 3;
pub(crate) const STATE_HEADER: usize = 8;
pub(crate) const APPEND_HEADER: usize = 24;
pub(crate) const ENTRY: usize = 16;

/// One frame, borrowed from the commit that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameRef<'a> {
    /// Records for one or more partitions.
    Append(AppendRef<'a>),
    /// Bytes that only the shard understands.
    State(&'a [u8]),
    /// Batches have moved into segments. Only the log understands it, and has dealt with it.
    Segments(&'a [u8]),
}

/// A record batch and the places it was appended to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendRef<'a> {
    /// How many offsets the batch takes in each partition.
    pub records: u32,
    /// The latest timestamp in the batch, milliseconds since 1970.
    pub max_timestamp: i64,
    /// The record batch; the offsets inside it are relative to those of [`AppendRef::entries`].
    pub payload: &'a [u8],
    entries: &'a [u8],
}

impl AppendRef<'_> {
    /// Each partition the batch was appended to, with the offset of its first record there.
    pub fn entries(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        self.entries
            .chunks_exact(ENTRY)
            .map(|entry| (PartitionId(u64_at(entry, 0)), u64_at(entry, 8)))
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFrame {
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    #[error("a frame that is longer than its commit")]
    Length,
    #[error("a change of segments that makes no sense")]
    Change,
}

/// Where the parts of a frame lie in the bytes it was found in.
struct Layout {
    kind: u8,
    entries: std::ops::Range<usize>,
    payload: std::ops::Range<usize>,
}

#[inline]
fn layout(bytes: &[u8], at: usize) -> Result<Layout, BadFrame> {
    let head = bytes
        .get(at..at.saturating_add(STATE_HEADER))
        .ok_or(BadFrame::Length)?;
    let kind = head[0];
    let payload = u32_at(head, 4) as usize;
    let (entries_start, entries) = match kind {
        KIND_APPEND => {
            let count = bytes.get(at..at + APPEND_HEADER).ok_or(BadFrame::Length)?;
            let length = (u32_at(count, 8) as usize).checked_mul(ENTRY);
            (at + APPEND_HEADER, length.ok_or(BadFrame::Length)?)
        }
        KIND_STATE | KIND_SEGMENTS => (at + STATE_HEADER, 0),
        other => return Err(BadFrame::Kind(other)),
    };
    let payload_start = entries_start.checked_add(entries).ok_or(BadFrame::Length)?;
    let end = payload_start.checked_add(payload).ok_or(BadFrame::Length)?;
    if end > bytes.len() {
        return Err(BadFrame::Length);
    }
    Ok(Layout {
        kind,
        entries: entries_start..payload_start,
        payload: payload_start..end,
    })
}

/// The frame at `at`, and where the next one starts.
pub(crate) fn parse(bytes: &[u8], at: usize) -> Result<(FrameRef<'_>, usize), BadFrame> {
    let found = layout(bytes, at)?;
    let next = found.payload.end;
    let payload = &bytes[found.payload];
    match found.kind {
        KIND_STATE => return Ok((FrameRef::State(payload), next)),
        KIND_SEGMENTS => return Ok((FrameRef::Segments(payload), next)),
        _ => {}
    }
    let append = AppendRef {
        records: u32_at(bytes, at + 12),
        max_timestamp: u64_at(bytes, at + 16).cast_signed(),
        payload,
        entries: &bytes[found.entries],
    };
    Ok((FrameRef::Append(append), next))
}

/// One partition's part in an append, found by [`find`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    pub(crate) base_offset: Offset,
    pub(crate) records: u32,
    pub(crate) max_timestamp: i64,
    pub(crate) payload: std::ops::Range<usize>,
    /// Where the frame after it starts.
    pub(crate) next: usize,
}

/// The first append from frame `at` on that gave `partition` an offset of `from` or above.
/// Reads frame headers only; `bytes` ends with the last frame.
pub(crate) fn find(
    bytes: &[u8],
    mut at: usize,
    partition: PartitionId,
    from: Offset,
) -> Result<Option<Match>, BadFrame> {
    while at < bytes.len() {
        let found = layout(bytes, at)?;
        let next = found.payload.end;
        for entry in bytes[found.entries].chunks_exact(ENTRY) {
            if u64_at(entry, 0) != partition.0 {
                continue;
            }
            let base_offset = u64_at(entry, 8);
            let records = u32_at(bytes, at + 12);
            if base_offset.saturating_add(u64::from(records)) > from {
                return Ok(Some(Match {
                    base_offset,
                    records,
                    max_timestamp: u64_at(bytes, at + 16).cast_signed(),
                    payload: found.payload,
                    next,
                }));
            }
        }
        at = next;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that often look like frames.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(
            prop_oneof![3 => Just(0u8), 2 => 0..4u8, 1 => any::<u8>()],
            0..200,
        )
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic_or_stand_still(bytes in bytes(), at in 0..220usize) {
            if let Ok((_, next)) = parse(&bytes, at) {
                prop_assert!(next > at && next <= bytes.len());
            }
            if let Ok(Some(found)) = find(&bytes, at, PartitionId(0), 0) {
                prop_assert!(found.payload.end <= bytes.len());
            }
        }
    }
}
