//! The index as bytes, for the shard's snapshot.
//!
//! ```text
//! magic "FBIX", version u32, published position u64, partition count u64, then per partition
//!   id u64, start u64, end u64, latest timestamp i64, entry count u32, then per entry
//!     offset u64, position u64, latest timestamp before i64
//! ```
//! Little-endian, partitions by rising id. The snapshot that holds the bytes has the checksum.

use forebay_base::PartitionId;

use crate::index::{Entry, Index, Track};
use crate::position::Position;

const MAGIC: &[u8; 4] = b"FBIX";
const VERSION: u32 = 1;

/// Why bytes are not an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// They begin with something else.
    #[error("the snapshot holds no journal index where one is expected")]
    NotAnIndex,
    /// A later version of the program wrote them.
    #[error(
        "the snapshot holds a journal index of version {0}; this program reads version {VERSION}"
    )]
    Version(u32),
    /// They end too early, or do not end where they should.
    #[error("the journal index in the snapshot is damaged")]
    Damaged,
}

pub(crate) fn encode(index: &Index) -> Vec<u8> {
    let entries: usize = index.tracks.values().map(Track::entry_count).sum();
    let mut bytes = Vec::with_capacity(24 + index.tracks.len() * 36 + entries * 24);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&index.published.0.to_le_bytes());
    bytes.extend_from_slice(&(index.tracks.len() as u64).to_le_bytes());
    let mut partitions: Vec<_> = index.tracks.iter().collect();
    partitions.sort_unstable_by_key(|(partition, _)| **partition);
    for (partition, track) in partitions {
        for number in [
            partition.0,
            track.start,
            track.end,
            track.latest.cast_unsigned(),
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let count = u32::try_from(track.entry_count()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&count.to_le_bytes());
        for entry in track.entries() {
            let before = entry.latest_before.cast_unsigned();
            for number in [entry.offset, entry.position.0, before] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        }
    }
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Index, IndexError> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(IndexError::NotAnIndex)?;
    let version = take_u32(&mut rest)?;
    if version != VERSION {
        return Err(IndexError::Version(version));
    }
    let mut index = Index {
        published: Position(take_u64(&mut rest)?),
        ..Index::default()
    };
    for _ in 0..take_u64(&mut rest)? {
        let partition = PartitionId(take_u64(&mut rest)?);
        let mut track = Track::new(take_u64(&mut rest)?);
        track.end = take_u64(&mut rest)?;
        track.latest = take_u64(&mut rest)?.cast_signed();
        for _ in 0..take_u32(&mut rest)? {
            track.push(Entry {
                offset: take_u64(&mut rest)?,
                position: Position(take_u64(&mut rest)?),
                latest_before: take_u64(&mut rest)?.cast_signed(),
            });
        }
        if !is_in_order(&track) || index.tracks.insert(partition, track).is_some() {
            return Err(IndexError::Damaged);
        }
    }
    if rest.is_empty() {
        Ok(index)
    } else {
        Err(IndexError::Damaged)
    }
}

fn is_in_order(track: &Track) -> bool {
    track.start <= track.end
        && track
            .entries()
            .zip(track.entries().skip(1))
            .all(|(one, next)| one.offset < next.offset && one.position < next.position)
}

fn take_u32(rest: &mut &[u8]) -> Result<u32, IndexError> {
    let (number, after) = rest.split_first_chunk().ok_or(IndexError::Damaged)?;
    *rest = after;
    Ok(u32::from_le_bytes(*number))
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, IndexError> {
    let (number, after) = rest.split_first_chunk().ok_or(IndexError::Damaged)?;
    *rest = after;
    Ok(u64::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commit::Touch;

    fn sample() -> Index {
        let mut index = Index::default();
        for number in 0..20u64 {
            let touch = Touch {
                partition: PartitionId(number % 3),
                first: number,
                end: number + 3,
                max_timestamp: 5,
            };
            let position = Position(number << 17);
            index.publish(position, Position(position.0 + 8), &[touch]);
        }
        index
    }

    #[test]
    fn what_is_encoded_is_decoded_and_a_short_copy_is_refused() {
        let bytes = encode(&sample());
        assert_eq!(encode(&decode(&bytes).unwrap()), bytes);
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(at in 0..600usize, value in any::<u8>()) {
            let mut bytes = encode(&sample());
            let at = at % bytes.len();
            bytes[at] = value;
            let _any_answer = decode(&bytes);
        }
    }
}
