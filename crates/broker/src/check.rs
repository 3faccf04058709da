//! What a data directory holds, what of it is damaged, and what that means for topics.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forebay_base::{Offset, PartitionId};
use forebay_log::{
    Damage, DamageKind, DataDir, Disk, Examination, ExamineError, Examined, FrameRef, Position,
    Progress, ReadOnlyDisk, ReplayFrom, SegmentStore, SnapshotError, SnapshotStore, index_places,
};

use crate::DataDirError;
use crate::recovery::{replay, split_snapshot};
use crate::state::ShardState;

/// Why nothing can be said of a data directory.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The journal or the segments cannot be read at all.
    #[error(transparent)]
    Examine(#[from] ExamineError),
    /// The snapshots cannot be listed.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// What [`check`] found.
#[derive(Debug)]
pub struct CheckReport {
    /// The number of the directory's journal.
    pub journal_id: u64,
    /// The journal and the segments.
    pub log: Examined,
    /// The snapshots, newest first.
    pub snapshots: Vec<SnapshotSeen>,
    /// The position of the snapshot that an opening would build on.
    pub base: Option<Position>,
    /// Commits that are whole and hold a frame that cannot be understood.
    pub frames: Vec<(Position, String)>,
    /// What there is.
    pub contents: Contents,
    /// Messages that are lost, by topic, partition and offset.
    pub losses: Vec<Loss>,
    /// Those that an earlier repair has given up.
    pub given_up: Vec<Loss>,
    /// What is lost besides messages.
    pub changes: LostChanges,
    pub(crate) places: Vec<Position>,
}

/// A snapshot file.
#[derive(Debug)]
pub struct SnapshotSeen {
    /// Where it stands.
    pub position: Position,
    /// The file.
    pub file: PathBuf,
    /// Why it cannot be used, if it cannot.
    pub wrong: Option<String>,
}

/// How much there is in a data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Topics.
    pub topics: u64,
    /// Their partitions.
    pub partitions: u64,
    /// Messages that are not settled, of topics whose messages go when they are settled.
    pub waiting: u64,
    /// Offsets that other topics keep.
    pub kept: u64,
}

/// Messages that cannot be read any more and were still wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's place in the topic.
    pub partition: u32,
    /// The partition.
    pub id: PartitionId,
    /// The offsets, some of which may have been gone before.
    pub offsets: Range<Offset>,
    /// True if the topic's messages are work that goes when it is settled.
    pub work: bool,
}

/// State changes in damaged commits that no snapshot covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostChanges {
    /// State changes that could be counted.
    pub states: u64,
    /// Appends that could be counted.
    pub appends: u64,
    /// True if there may have been more.
    pub more: bool,
}

impl CheckReport {
    /// True if there is no damage at all.
    pub fn is_whole(&self) -> bool {
        self.log.damage.is_empty()
            && !self.log.headless
            && self.log.damaged_segments.is_empty()
            && self.frames.is_empty()
            && self
                .snapshots
                .iter()
                .all(|snapshot| snapshot.wrong.is_none())
            && self.losses.is_empty()
    }
}

/// Reads everything in a data directory that nobody uses, and changes nothing. `segments` is where
/// its segments are, if they are not in it.
///
/// # Errors
/// What keeps anything from being said: no data directory, one in use, of another version, or one
/// that cannot be read at all.
pub fn check(
    data_dir: &Path,
    segments: Option<SegmentStore>,
    progress: &mut dyn FnMut(Progress),
) -> Result<CheckReport, CheckError> {
    let data_dir = DataDir::existing(data_dir)?;
    look(&data_dir, segments, progress)
}

/// [`check`] in a directory that is held already.
pub(crate) fn look(
    data_dir: &DataDir,
    segments: Option<SegmentStore>,
    progress: &mut dyn FnMut(Progress),
) -> Result<CheckReport, CheckError> {
    let disk: Arc<dyn Disk> = Arc::new(ReadOnlyDisk);
    let path = data_dir.path();
    let segments = segments.unwrap_or_else(|| SegmentStore::local(Arc::clone(&disk), path));
    let store = SnapshotStore::existing(Arc::clone(&disk), path, data_dir.journal_id());
    let mut seen = Snapshots::default();
    for &position in store.positions()?.iter().rev() {
        seen.take(&store, position);
    }
    let Snapshots {
        files,
        base,
        mut places,
    } = seen;
    places.sort_unstable();
    places.dedup();
    let (mut state, mut from) = (ShardState::new(), None);
    if let Some((position, payload)) = &base
        && let Ok((loaded, index)) = split_snapshot(payload)
    {
        state = loaded;
        from = Some(ReplayFrom {
            position: *position,
            index,
        });
    }
    let mut frames: Vec<(Position, String)> = Vec::new();
    let examination = Examination {
        disk: &*disk,
        data_dir: path,
        journal_id: data_dir.journal_id(),
        segments: &segments,
    };
    let mut understand = |position: Position, frame: FrameRef<'_>| {
        if let Err(error) = replay(&mut state, frame)
            && frames.last().is_none_or(|(last, _)| *last != position)
        {
            frames.push((position, error.to_string()));
        }
    };
    let log = examination.run(from, &mut understand, progress)?;
    let base = base.map(|(position, _)| position);
    Ok(CheckReport {
        journal_id: data_dir.journal_id(),
        contents: contents(&state),
        losses: losses(&state, missing(&log)),
        given_up: losses(&state, log.given_up.clone()),
        changes: lost_changes(&log, base.unwrap_or_default()),
        log,
        snapshots: files,
        base,
        frames,
        places,
    })
}

/// What there is of snapshots.
#[derive(Default)]
struct Snapshots {
    files: Vec<SnapshotSeen>,
    /// The newest that can be used.
    base: Option<(Position, bytes::Bytes)>,
    /// What the indexes of all of them refer to.
    places: Vec<Position>,
}

impl Snapshots {
    fn take(&mut self, store: &SnapshotStore, position: Position) {
        let wrong = match store.load(position) {
            Ok(None) => Some("its checksum is wrong".to_owned()),
            Err(error) => Some(error.to_string()),
            Ok(Some(payload)) => self.understand(position, payload),
        };
        self.files.push(SnapshotSeen {
            position,
            file: store.path(position),
            wrong,
        });
    }

    fn understand(&mut self, position: Position, payload: bytes::Bytes) -> Option<String> {
        let index = match split_snapshot(&payload) {
            Ok((_, index)) => index_places(index),
            Err(error) => return Some(error.to_string()),
        };
        match index {
            Ok(places) => self.places.extend(places),
            Err(error) => return Some(error.to_string()),
        }
        self.places.push(position);
        if self.base.is_none() {
            self.base = Some((position, payload));
        }
        None
    }
}

pub(crate) fn contents(state: &ShardState) -> Contents {
    let mut contents = Contents {
        topics: state.catalog.topic_count() as u64,
        ..Contents::default()
    };
    for topic in state.catalog.topics() {
        for partition in topic
            .partitions
            .iter()
            .filter_map(|id| state.partitions.get(id))
        {
            contents.partitions += 1;
            let (start, next) = (partition.queue.start(), partition.next);
            if topic.config.retention.until_settled {
                let live = partition.queue.live(start, next);
                contents.waiting += live.iter().map(|run| u64::from(run.count)).sum::<u64>();
            } else {
                contents.kept += next.saturating_sub(start);
            }
        }
    }
    contents
}

/// What cannot be read of the journal and of segments.
fn missing(log: &Examined) -> Vec<(PartitionId, Range<Offset>)> {
    let of_segments = log
        .damaged_segments
        .iter()
        .flat_map(|segment| &segment.lost);
    log.gaps.iter().chain(of_segments).cloned().collect()
}

/// What is missing, as far as somebody still wanted it.
fn losses(state: &ShardState, mut missing: Vec<(PartitionId, Range<Offset>)>) -> Vec<Loss> {
    missing.sort_unstable_by_key(|(partition, range)| (*partition, range.start));
    let mut losses = Vec::new();
    for topic in state.catalog.topics() {
        for (number, &id) in (0_u32..).zip(&topic.partitions) {
            let Some(partition) = state.partitions.get(&id) else {
                continue;
            };
            let from = missing.partition_point(|(other, _)| *other < id);
            let mine = missing[from..].iter().take_while(|(other, _)| *other == id);
            for (_, range) in mine {
                let start = range.start.max(partition.queue.start());
                let end = range.end.min(partition.next);
                let wanted: Vec<_> = if topic.config.retention.until_settled {
                    let live = partition.queue.live(start, end);
                    live.iter().map(|run| run.first..run.end()).collect()
                } else {
                    std::iter::once(start..end).collect()
                };
                losses.extend(wanted.into_iter().filter(|range| !range.is_empty()).map(
                    |offsets| Loss {
                        topic: topic.name.clone(),
                        partition: number,
                        id,
                        offsets,
                        work: topic.config.retention.until_settled,
                    },
                ));
            }
        }
    }
    losses.sort_by(|one, other| {
        let key = |loss: &Loss| (loss.topic.clone(), loss.partition, loss.offsets.start);
        key(one).cmp(&key(other))
    });
    losses
}

/// What was in damaged commits that the snapshot at `base` does not hold.
fn lost_changes(log: &Examined, base: Position) -> LostChanges {
    let mut lost = LostChanges::default();
    let behind = |damage: &&Damage| {
        let holds = !matches!(damage.kind, DamageKind::Header | DamageKind::Size { .. });
        holds && damage.position.0.saturating_add(damage.bytes) > base.0
    };
    for damage in log.damage.iter().filter(behind) {
        lost.states += u64::from(damage.held.states);
        lost.appends += u64::from(damage.held.appends);
        lost.more |= !damage.held.whole;
    }
    lost
}
