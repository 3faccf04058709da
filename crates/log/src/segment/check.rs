//! Looking for damage in every segment of a store, without changing anything.

use super::block::{BLOCK_HEADER, Begun, Block, Site, begun};
use super::layout::{BadHeader, HEADER, TRAILER, Trailer, VERSION, check_header};
use super::reader::READ_AHEAD;
use super::store::Objects;
use super::{SegmentError, SegmentStore};

/// What [`SegmentStore::check`] found.
#[derive(Debug, Default)]
pub struct SegmentReport {
    /// Segments that were read.
    pub segments: u64,
    /// Whole blocks in them.
    pub blocks: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// One for each segment that is not whole, by rising number. What lies behind the place it
    /// names was not looked at.
    pub damage: Vec<SegmentError>,
}

impl SegmentStore {
    /// Reads every segment of a journal from end to end. A segment that is missing is not
    /// noticed: only the index knows of it.
    ///
    /// # Errors
    /// The store failed.
    pub fn check(&self, journal_id: u64) -> Result<SegmentReport, SegmentError> {
        let objects = Objects::new(self.clone(), journal_id);
        let mut report = SegmentReport::default();
        let mut numbers = objects.list()?;
        numbers.sort_unstable();
        for number in numbers {
            report.segments += 1;
            match check_one(&objects, number, &mut report) {
                Ok(()) => {}
                Err(error @ SegmentError::Store { .. }) => return Err(error),
                Err(error) => report.damage.push(error),
            }
        }
        Ok(report)
    }
}

/// Reads one segment from end to end. Tells how many blocks it has.
pub(crate) fn check_segment(objects: &Objects, number: u64) -> Result<u64, SegmentError> {
    let mut report = SegmentReport::default();
    check_one(objects, number, &mut report)?;
    Ok(report.blocks)
}

fn check_one(
    objects: &Objects,
    number: u64,
    report: &mut SegmentReport,
) -> Result<(), SegmentError> {
    let damaged = |byte: u64, detail: &str| SegmentError::Damaged {
        object: objects.name(number),
        byte,
        detail: detail.to_owned(),
    };
    let size = objects.size(number)?;
    report.bytes += size;
    let header = objects.read(number, 0..HEADER as u64)?;
    match check_header(&header, objects.journal_id, number) {
        Ok(()) => {}
        Err(BadHeader::Damaged) => return Err(damaged(0, "its header is wrong")),
        Err(BadHeader::Version(found)) => {
            return Err(SegmentError::Version {
                object: objects.name(number),
                found,
                supported: VERSION,
            });
        }
    }
    let trailer_at = size.saturating_sub(TRAILER as u64);
    let trailer = objects.read(number, trailer_at..size)?;
    let trailer = Trailer::decode(&trailer, objects.journal_id, number)
        .filter(|trailer| {
            let ends = [HEADER as u64, trailer.blocks_end, trailer.indexes_end];
            ends.is_sorted() && trailer.indexes_end == trailer_at
        })
        .ok_or_else(|| damaged(trailer_at, "its end is missing or wrong"))?;
    let before = report.blocks;
    check_blocks(objects, number, trailer.blocks_end, report)?;
    if report.blocks - before != u64::from(trailer.blocks) {
        return Err(damaged(trailer_at, "it has another number of blocks"));
    }
    check_indexes(objects, number, &trailer)
}

fn check_blocks(
    objects: &Objects,
    number: u64,
    end: u64,
    report: &mut SegmentReport,
) -> Result<(), SegmentError> {
    let mut at = HEADER as u64;
    while at < end {
        let damaged = |at| SegmentError::Damaged {
            object: objects.name(number),
            byte: at,
            detail: "the checksum of a block is wrong".to_owned(),
        };
        let mut chunk = objects.read(number, at..end.min(at + READ_AHEAD as u64))?;
        match begun(&chunk) {
            Begun::Block { length } if length > end - at => return Err(damaged(at)),
            Begun::Block { length } if length > chunk.len() as u64 => {
                chunk = objects.read(number, at..at + length)?;
            }
            Begun::Block { .. } => {}
            Begun::Foreign => return Err(damaged(at)),
        }
        let mut inside = 0;
        while let Begun::Block { length } = begun(&chunk[inside..]) {
            let after = usize::try_from(length).map_or(usize::MAX, |length| inside + length);
            if after > chunk.len() {
                break;
            }
            let site = Site {
                journal_id: objects.journal_id,
                segment: number,
                at,
            };
            if Block::verified(site, chunk.slice(inside..after)).is_none() {
                return Err(damaged(at));
            }
            report.blocks += 1;
            at += length;
            inside = after;
        }
        let cut = chunk.len() - inside;
        if inside == 0 || (cut >= BLOCK_HEADER && begun(&chunk[inside..]) == Begun::Foreign) {
            return Err(damaged(at));
        }
    }
    Ok(())
}

fn check_indexes(objects: &Objects, number: u64, trailer: &Trailer) -> Result<(), SegmentError> {
    let mut at = trailer.blocks_end;
    let mut crc = 0;
    while at < trailer.indexes_end {
        let end = trailer.indexes_end.min(at + READ_AHEAD as u64);
        let chunk = objects.read(number, at..end)?;
        if chunk.is_empty() {
            break;
        }
        crc = crc32c::crc32c_append(crc, &chunk);
        at += chunk.len() as u64;
    }
    if crc == trailer.indexes_crc {
        return Ok(());
    }
    Err(SegmentError::Damaged {
        object: objects.name(number),
        byte: trailer.blocks_end,
        detail: "the checksum of its block indexes is wrong".to_owned(),
    })
}
