//! The promises of segments: what is read is what was written, or an error.

mod corruption;
mod crash;
mod golden;
mod model;
mod objects;
mod rescue;
mod sharing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use forebay_base::{Offset, PartitionId};

use super::{
    DiskObjects, Objects, Origin, Run, RunFound, RunPlace, SegmentError, SegmentOptions,
    SegmentReader, SegmentStore, SegmentWriter, Written,
};
use crate::disk::{Disk, SimDisk};
use crate::reader::{Source, Stored};

pub(super) const ID: u64 = 0x0123_4567_89ab_cdef;

/// A batch, and the name of its payload if it is shared.
pub(super) type Given = (Stored, Option<Origin>);

/// What a run is asked to hold: partition, first, end and batches.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) partition: PartitionId,
    pub(super) first: Offset,
    pub(super) end: Offset,
    pub(super) batches: Vec<Given>,
}

pub(super) fn batch(base_offset: Offset, records: u32, max_timestamp: i64, batch: &[u8]) -> Stored {
    Stored {
        base_offset,
        records,
        max_timestamp,
        batch: Bytes::copy_from_slice(batch),
    }
}

pub(super) fn store(disk: &SimDisk) -> SegmentStore {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let objects = DiskObjects::new(disk, PathBuf::from("/data/segments"));
    SegmentStore::new(Arc::new(objects), "", None)
}

pub(super) fn objects(disk: &SimDisk) -> Objects {
    Objects::new(store(disk), ID)
}

pub(super) fn path(number: u64) -> PathBuf {
    Path::new("/data/segments").join(format!("{ID:016x}/{number:016x}.segment"))
}

pub(super) fn write(
    objects: &Objects,
    options: &SegmentOptions,
    wanted: &[Wanted],
) -> Result<Written, SegmentError> {
    let mut writer = SegmentWriter::new(objects.clone(), 1, options);
    for run in wanted {
        writer.begin(run.partition, run.first, 0);
        for (batch, origin) in &run.batches {
            writer.push(batch, *origin)?;
        }
        writer.end(run.end)?;
    }
    writer.finish()
}

/// The batches from the one that holds `offset` on, read as the log reads: a few at a time, by
/// a walk that begins where the last one stopped, from run to run.
pub(super) fn read(
    reader: &SegmentReader,
    partition: PartitionId,
    runs: &[Run],
    mut offset: Offset,
    at_a_time: usize,
) -> Result<Vec<Stored>, SegmentError> {
    let mut place: Option<RunPlace> = None;
    let mut batches = Vec::new();
    for run in runs {
        let mut done = false;
        while !done {
            let mut walk = reader.walk(partition, run, place, Source::Disk);
            for _ in 0..at_a_time {
                match walk.find(offset)? {
                    RunFound::Batch(batch) => {
                        offset = batch.base_offset + u64::from(batch.records);
                        batches.push(batch);
                        walk.accept();
                    }
                    RunFound::End => {
                        done = true;
                        break;
                    }
                    RunFound::NeedsDisk => panic!("the disk may be read"),
                }
            }
            place = Some(walk.place());
        }
    }
    Ok(batches)
}
