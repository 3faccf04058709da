//! The index as bytes, for the shard's snapshot.
//!
//! ```text
//! magic "FBIX", version u32 = 2, published position u64, worked-off position u64,
//! next segment u64, partition count u64, then per partition
//!   id u64, start u64, end u64, latest timestamp i64, bytes u64, last position u64,
//!   entry count u32, then per entry
//!     offset u64, position u64, latest timestamp before i64, bytes before u64
//! then segment count u64, and per segment its number u64 and bytes u64
//! then lane count u64, and per partition with runs
//!   id u64, journal from u64, run count u32, then per run
//!     segment, first, end, at, bytes, shared bytes, index at, blocks, records u64,
//!     latest timestamp, cleaned at i64
//! ```
//! Little-endian, partitions and segments by rising number. The snapshot that holds the bytes has
//! the checksum.

use forebay_base::PartitionId;

use crate::index::Index;
use crate::position::Position;
use crate::runs::Lane;
use crate::segment::{NewSegment, Run};
use crate::track::{Entry, Track};

const MAGIC: &[u8; 4] = b"FBIX";
const VERSION: u32 = 2;

/// Why bytes are not an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// They begin with something else.
    #[error("the snapshot holds no journal index where one is expected")]
    NotAnIndex,
    /// Another version of the program wrote them.
    #[error(
        "the snapshot holds a journal index of version {0}; this program reads version {VERSION}: \
         use the program that wrote it"
    )]
    Version(u32),
    /// They end too early, or do not end where they should.
    #[error("the journal index in the snapshot is damaged")]
    Damaged,
}

pub(crate) fn encode(index: &Index) -> Vec<u8> {
    let entries: usize = index.tracks.values().map(Track::entry_count).sum();
    let mut bytes = Vec::with_capacity(64 + index.tracks.len() * 52 + entries * 32);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    let head = [index.published.0, index.worked_off.0, index.runs.next];
    put(&mut bytes, &head);
    put(&mut bytes, &[index.tracks.len() as u64]);
    let mut partitions: Vec<_> = index.tracks.iter().collect();
    partitions.sort_unstable_by_key(|(partition, _)| **partition);
    for (partition, track) in partitions {
        encode_track(&mut bytes, partition.0, track);
    }
    let segments: Vec<_> = index.runs.segments().collect();
    put(&mut bytes, &[segments.len() as u64]);
    for segment in segments {
        put(&mut bytes, &[segment.number, segment.bytes]);
    }
    let lanes = index.runs.lanes();
    put(&mut bytes, &[lanes.len() as u64]);
    for (partition, lane) in lanes {
        put(&mut bytes, &[partition.0, lane.journal_from]);
        put_count(&mut bytes, lane.runs.len());
        for run in &lane.runs {
            encode_run(&mut bytes, run);
        }
    }
    bytes
}

fn encode_track(bytes: &mut Vec<u8>, partition: u64, track: &Track) {
    let latest = track.latest.cast_unsigned();
    let head = [
        partition,
        track.start,
        track.end,
        latest,
        track.bytes,
        track.last.0,
    ];
    put(bytes, &head);
    put_count(bytes, track.entry_count());
    for entry in track.entries() {
        let before = entry.latest_before.cast_unsigned();
        put(
            bytes,
            &[entry.offset, entry.position.0, before, entry.bytes_before],
        );
    }
}

fn encode_run(bytes: &mut Vec<u8>, run: &Run) {
    put(
        bytes,
        &[
            run.segment,
            run.first,
            run.end,
            run.at,
            run.bytes,
            run.shared_bytes,
            run.index_at,
            u64::from(run.blocks),
            run.records,
            run.latest.cast_unsigned(),
            run.cleaned_at.cast_unsigned(),
        ],
    );
}

fn put<const N: usize>(bytes: &mut Vec<u8>, numbers: &[u64; N]) {
    let numbers = numbers.map(u64::to_le_bytes);
    bytes.extend_from_slice(numbers.as_flattened());
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&count.to_le_bytes());
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Index, IndexError> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(IndexError::NotAnIndex)?;
    let version = take_u32(&mut rest)?;
    if version != VERSION {
        return Err(IndexError::Version(version));
    }
    let mut index = Index {
        published: Position(take_u64(&mut rest)?),
        worked_off: Position(take_u64(&mut rest)?),
        ..Index::default()
    };
    let next = take_u64(&mut rest)?;
    for _ in 0..take_u64(&mut rest)? {
        let (partition, track) = decode_track(&mut rest)?;
        if !is_in_order(&track) || index.tracks.insert(partition, track).is_some() {
            return Err(IndexError::Damaged);
        }
    }
    for _ in 0..take_u64(&mut rest)? {
        let (number, bytes) = (take_u64(&mut rest)?, take_u64(&mut rest)?);
        if number >= next {
            return Err(IndexError::Damaged);
        }
        index.runs.add_segment(&NewSegment { number, bytes });
    }
    index.runs.next = next;
    for _ in 0..take_u64(&mut rest)? {
        let partition = PartitionId(take_u64(&mut rest)?);
        let mut lane = Lane {
            journal_from: take_u64(&mut rest)?,
            runs: Vec::new(),
        };
        for _ in 0..take_u32(&mut rest)? {
            lane.runs.push(decode_run(&mut rest)?);
        }
        let track = index.tracks.get(&partition);
        let fits = track.is_some_and(|track| lane.journal_from <= track.end);
        if !fits || !index.runs.restore(partition, lane) {
            return Err(IndexError::Damaged);
        }
    }
    if rest.is_empty() {
        Ok(index)
    } else {
        Err(IndexError::Damaged)
    }
}

fn decode_track(rest: &mut &[u8]) -> Result<(PartitionId, Track), IndexError> {
    let partition = PartitionId(take_u64(rest)?);
    let mut track = Track::new(take_u64(rest)?);
    track.end = take_u64(rest)?;
    track.latest = take_u64(rest)?.cast_signed();
    track.bytes = take_u64(rest)?;
    track.last = Position(take_u64(rest)?);
    for _ in 0..take_u32(rest)? {
        track.push(Entry {
            offset: take_u64(rest)?,
            position: Position(take_u64(rest)?),
            latest_before: take_u64(rest)?.cast_signed(),
            bytes_before: take_u64(rest)?,
        });
    }
    Ok((partition, track))
}

fn decode_run(rest: &mut &[u8]) -> Result<Run, IndexError> {
    Ok(Run {
        segment: take_u64(rest)?,
        first: take_u64(rest)?,
        end: take_u64(rest)?,
        at: take_u64(rest)?,
        bytes: take_u64(rest)?,
        shared_bytes: take_u64(rest)?,
        index_at: take_u64(rest)?,
        blocks: u32::try_from(take_u64(rest)?).map_err(|_| IndexError::Damaged)?,
        records: take_u64(rest)?,
        latest: take_u64(rest)?.cast_signed(),
        cleaned_at: take_u64(rest)?.cast_signed(),
    })
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
    use crate::commit::{Effects, Touch};
    use crate::segment::{PartitionChange, SegmentChange};

    fn change() -> SegmentChange {
        let run = |first, end| Run {
            segment: 1,
            first,
            end,
            at: 64,
            bytes: 200,
            shared_bytes: 0,
            index_at: 0,
            blocks: 1,
            records: 2,
            latest: 5,
            cleaned_at: 0,
        };
        SegmentChange {
            below: Position(3 << 17),
            segments: vec![NewSegment {
                number: 1,
                bytes: 1000,
            }],
            partitions: vec![PartitionChange {
                partition: PartitionId(1),
                journal_from: Some(7),
                replaces: None,
                runs: vec![run(1, 4), run(4, 7)],
            }],
        }
    }

    fn sample() -> Index {
        let mut index = Index::default();
        for number in 0..20u64 {
            let touch = Touch {
                partition: PartitionId(number % 3),
                first: number,
                end: number + 3,
                max_timestamp: 5,
                bytes: 100,
            };
            let changes = match number {
                12 => vec![change()],
                _ => Vec::new(),
            };
            let effects = Effects {
                touches: vec![touch],
                changes,
            };
            let position = Position(number << 17);
            index.publish(position, Position(position.0 + 8), &effects);
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
        fn no_bytes_make_decoding_panic(at in 0..1200usize, value in any::<u8>()) {
            let mut bytes = encode(&sample());
            let at = at % bytes.len();
            bytes[at] = value;
            let _any_answer = decode(&bytes);
        }
    }
}
