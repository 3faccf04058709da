//! Making a damaged data directory one that opens, and giving up what cannot be read in words.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_base::{OffsetRange, PartitionId};
use forebay_log::{
    CommitBuilder, Damage, DamageKind, DataDir, Disk, DiskError, ExamineError, Held,
    JournalOptions, JournalRepair, Position, Progress, PromoteError, RealDisk, Seen, SegmentStore,
    SnapshotError, SnapshotStore, WriteError, inspect,
};
use forebay_queue::QueueEvent;

use crate::check::{CheckError, CheckReport, look};
use crate::frame::StateFrame;
use crate::recovery::{Recovered, recover_from};
use crate::{DataDirError, OpenError};

/// Why a repair did not come to its end. What was done until then does no harm, and a later try
/// does the rest.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// What is damaged cannot be found out.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// There is no snapshot, and the journal has lost its beginning.
    #[error(
        "there is no whole snapshot, and the journal's first file is gone: nothing tells what the \
         rest is about, so it cannot be repaired. `forebay dump --records` shows the messages that \
         are left; restore the directory from a backup"
    )]
    Headless,
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A snapshot cannot be moved.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What was left of the segments cannot be written anew.
    #[error(transparent)]
    Segments(Box<PromoteError>),
    /// It does not open although all that was found was repaired.
    #[error("the repaired directory does not open: {0}")]
    Open(#[from] OpenError),
    /// The last words cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<PromoteError> for RepairError {
    fn from(error: PromoteError) -> Self {
        Self::Segments(Box::new(error))
    }
}

/// What a repair has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Journal files that were changed or made.
    pub journal: Vec<PathBuf>,
    /// Snapshots that were set aside.
    pub snapshots: Vec<PathBuf>,
    /// Segments whose whole part was written anew.
    pub segments: Vec<u64>,
    /// Messages that were given up as work: nobody will be asked to handle them any more.
    pub settled: u64,
}

/// Repairs what a [`crate::check`] finds. Damaged files are kept as they are in the folder `aside` of
/// the data directory, damaged segments in a folder of that name beside the others.
///
/// # Errors
/// See [`RepairError`].
pub fn repair(
    data_dir: &Path,
    segments: Option<SegmentStore>,
    aside: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<Repaired, RepairError> {
    let data_dir = DataDir::existing(data_dir)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let segments =
        segments.unwrap_or_else(|| SegmentStore::local(Arc::clone(&disk), data_dir.path()));
    let report = look(&data_dir, Some(segments.clone()), progress)?;
    if report.log.headless {
        return Err(RepairError::Headless);
    }
    let place = data_dir.path().join(aside);
    let mut repaired = Repaired::default();
    let store = SnapshotStore::existing(Arc::clone(&disk), data_dir.path(), data_dir.journal_id());
    for snapshot in report.snapshots.iter().filter(|seen| seen.wrong.is_some()) {
        store.set_aside(snapshot.position, &place.join("snapshots"))?;
        repaired.snapshots.push(snapshot.file.clone());
    }
    repaired.journal = repair_journal(&report, &*disk, &data_dir, &place)?;
    if report.is_whole() {
        return Ok(repaired);
    }
    let options = JournalOptions {
        retain_bytes: u64::MAX,
        min_free_bytes: 0,
        ..JournalOptions::default()
    };
    let here = (data_dir.path(), data_dir.journal_id());
    let recovered = recover_from(disk, here, &options, Some(segments), &store)?;
    say_goodbye(&report, recovered, aside, &mut repaired)?;
    Ok(repaired)
}

fn repair_journal(
    report: &CheckReport,
    disk: &dyn Disk,
    data_dir: &DataDir,
    place: &Path,
) -> Result<Vec<PathBuf>, RepairError> {
    let log = &report.log;
    let mut damage = log.damage.clone();
    for (position, _) in &report.frames {
        damage.extend(not_understood(
            disk,
            data_dir,
            *position,
            log.end.file_bytes,
        )?);
    }
    damage.sort_by_key(|damage| damage.position);
    let repair = JournalRepair {
        end: &log.end,
        damage: &damage,
        places: &report.places,
        from: log.from,
        until: log.until,
        aside: place,
    };
    Ok(repair.run(disk, data_dir.path(), data_dir.journal_id())?)
}

/// A whole commit whose frames are not understood is cut out like a damaged one.
fn not_understood(
    disk: &dyn Disk,
    data_dir: &DataDir,
    position: Position,
    file_bytes: u64,
) -> Result<Option<Damage>, CheckError> {
    let mut found = None;
    let (path, id) = (data_dir.path(), data_dir.journal_id());
    inspect(disk, path, id, position, &mut |seen| match seen {
        Seen::Commit(commit) => {
            found = Some(Damage {
                file: PathBuf::new(),
                position,
                byte: position.0 % file_bytes.max(1),
                bytes: commit.bytes(),
                kind: DamageKind::Frames,
                held: Held::default(),
            });
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })
    .map_err(ExamineError::from)?;
    Ok(found)
}

/// Makes known what is given up: segments that were written anew, and messages that nobody is to
/// be asked to handle any more.
fn say_goodbye(
    report: &CheckReport,
    recovered: Recovered,
    aside: &str,
    repaired: &mut Repaired,
) -> Result<(), RepairError> {
    let Recovered {
        state, mut journal, ..
    } = recovered;
    let promoter = journal.promoter();
    promoter.keep_unknown(&report.log.unknown_segments, aside)?;
    let numbers: Vec<u64> = report
        .log
        .damaged_segments
        .iter()
        .map(|segment| segment.number)
        .collect();
    let mut commit = CommitBuilder::new();
    if !numbers.is_empty() {
        commit.push_segments(&promoter.rescue(&numbers, aside)?);
        repaired.segments = numbers;
    }
    let gone: Vec<_> = report
        .losses
        .iter()
        .map(|loss| (loss.id, loss.offsets.clone()))
        .collect();
    let given_up = promoter.give_up(&gone);
    if !given_up.partitions.is_empty() {
        commit.push_segments(&given_up);
    }
    let mut buffer = Vec::new();
    for loss in &report.losses {
        let Some(partition) = state.partitions.get(&loss.id) else {
            continue;
        };
        let ranges = partition.queue.live(loss.offsets.start, loss.offsets.end);
        if ranges.is_empty() {
            continue;
        }
        if loss.work {
            repaired.settled += ranges.iter().map(|run| u64::from(run.count)).sum::<u64>();
        }
        settle(loss.id, ranges, &mut buffer);
        commit.push_state(&buffer);
    }
    if !commit.is_empty() {
        journal.write(commit)?;
    }
    Ok(())
}

fn settle(partition: PartitionId, ranges: Vec<OffsetRange>, buffer: &mut Vec<u8>) {
    let event = QueueEvent::Settled { ranges };
    StateFrame::Queue { partition, event }.encode_into(buffer);
}
