//! Recovery: from a data directory to the state it holds.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::Builder;
use std::time::Duration;

use forebay_base::planted;
use forebay_log::{
    DataDir, Disk, FrameRef, Journal, JournalOptions, LogReader, Position, RealDisk, ReplayFrom,
    SegmentStore, SnapshotStore,
};
use forebay_record::Batch;

use crate::engine::Start;
use crate::frame::{FrameError, StateFrame};
use crate::state::ShardState;
use crate::{OpenError, Options};

/// A journal of up to this size is read from end to end at every start, so that damage anywhere
/// in it refuses the start; of a larger one only what the newest snapshot does not cover, and
/// [`check`] reads the rest when asked. Bytes.
const VERIFY_AT_MOST: u64 = 256 << 20;

/// What recovery found.
pub(crate) struct Recovered {
    pub(crate) state: ShardState,
    pub(crate) journal: Journal,
    pub(crate) reader: Arc<LogReader>,
    /// Where the snapshot stands that it started from.
    pub(crate) snapshot: Position,
    /// How many commits were replayed on top of it.
    pub(crate) commits: u64,
}

impl Recovered {
    /// What the shard has to know of it.
    pub(crate) fn start(&self, retain_bytes: u64) -> Start {
        Start {
            oldest: self.journal.oldest(),
            file_size: self.journal.file_size(),
            retain_bytes,
            snapshot: self.snapshot.max(self.journal.oldest()),
            max_commit_bytes: self.journal.max_commit_bytes(),
            room: self.journal.room(),
        }
    }
}

/// Recovers from the real disk, and looks for damage first.
pub(crate) fn recover(
    options: &Options,
    data_dir: &DataDir,
    store: &SnapshotStore,
) -> Result<Recovered, OpenError> {
    verify(data_dir)?;
    let journal_options = JournalOptions {
        file_size: options.journal_file_bytes,
        cache_bytes: options.cache_bytes,
        retain_bytes: options.journal_retain_bytes,
        min_free_bytes: options.min_free_bytes,
        ..JournalOptions::default()
    };
    let place = (data_dir.path(), data_dir.journal_id());
    let segments = options.segments.clone();
    let recovered = recover_from(Arc::new(RealDisk), place, &journal_options, segments, store)?;
    let segments = options.segments.clone();
    let segments =
        segments.unwrap_or_else(|| SegmentStore::local(Arc::new(RealDisk), data_dir.path()));
    must_have_newest(segments, data_dir.journal_id(), &recovered.reader)?;
    Ok(recovered)
}

/// How long the place of the segments may take to answer a question at the start.
const ANSWER: Duration = Duration::from_secs(5);

/// Refuses a place of segments where the newest one is missing: most likely it is another place.
/// One that does not answer is believed; readers of old records will be told.
fn must_have_newest(
    segments: SegmentStore,
    journal_id: u64,
    reader: &LogReader,
) -> Result<(), OpenError> {
    let known = reader.segments();
    let Some(newest) = known.iter().rev().find(|segment| segment.live_bytes > 0) else {
        return Ok(());
    };
    let number = newest.number;
    let (tell, told) = channel();
    Builder::new().name("segments".into()).spawn(move || {
        // Nobody listens any more if it took too long.
        let _ = tell.send(segments.has(journal_id, number));
    })?;
    match told.recv_timeout(ANSWER) {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return Err(OpenError::SegmentMissing { number }),
        Ok(Err(error)) => tracing::warn!(%error, "segments cannot be looked at"),
        Err(_) => tracing::warn!("segments cannot be looked at: their place does not answer"),
    }
    Ok(())
}

/// Loads the newest snapshot and replays the journal behind it.
pub(crate) fn recover_from(
    disk: Arc<dyn Disk>,
    (data_dir, journal_id): (&Path, u64),
    options: &JournalOptions,
    segments: Option<SegmentStore>,
    store: &SnapshotStore,
) -> Result<Recovered, OpenError> {
    let segments = segments.unwrap_or_else(|| SegmentStore::local(disk.clone(), data_dir));
    let snapshot = store.load_newest_valid()?;
    let mut state = ShardState::new();
    let mut from = None;
    if let Some((position, payload)) = &snapshot {
        let (loaded, index) = split_snapshot(payload)?;
        state = loaded;
        from = Some(ReplayFrom {
            position: *position,
            index,
        });
    }
    let mut broken = None;
    let mut commits = 0;
    let mut last = None;
    let (journal, reader) = Journal::open(
        disk,
        data_dir,
        options,
        journal_id,
        segments,
        from,
        &mut |position, frame| {
            commits += u64::from(last.replace(position) != Some(position));
            if let Err(error) = replay(&mut state, frame) {
                broken.get_or_insert((position, error));
            }
        },
    )?;
    if let Some((position, error)) = broken {
        tracing::error!(?position, "a frame cannot be replayed");
        return Err(error.into());
    }
    reader.retain(|partition| state.partitions.contains_key(&partition));
    for (id, partition) in &state.partitions {
        reader.trim(*id, partition.queue.start());
    }
    let snapshot = snapshot.map_or(Position(0), |(position, _)| position);
    Ok(Recovered {
        state,
        journal,
        reader,
        snapshot,
        commits,
    })
}

/// Makes the change a frame of the journal tells of.
pub(crate) fn replay(state: &mut ShardState, frame: FrameRef<'_>) -> Result<(), FrameError> {
    match frame {
        FrameRef::Append(append) => {
            planted!(AppendsNotReplayed => return Ok(()));
            let payload = bytes::Bytes::copy_from_slice(append.payload);
            let batch = Batch::from_trusted(payload).map_err(|_| FrameError::batch())?;
            let entries: Vec<_> = append.entries().collect();
            state.append(&entries, &batch);
        }
        FrameRef::State(payload) => {
            let frame = StateFrame::decode(payload)?;
            planted!(SettledNotReplayed => if matches!(
                frame,
                StateFrame::Queue { event: forebay_queue::QueueEvent::Settled { .. }, .. }
            ) {
                return Ok(());
            });
            planted!(OffsetsNotReplayed => if let StateFrame::Stream(_) = frame { return Ok(()) });
            state.apply(&frame);
        }
        FrameRef::Segments(_) => {}
    }
    Ok(())
}

/// A snapshot is the length of the state, the state, and the log's index.
pub(crate) fn join_snapshot(state: &[u8], index: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(8 + state.len() + index.len());
    payload.extend_from_slice(&(state.len() as u64).to_le_bytes());
    payload.extend_from_slice(state);
    payload.extend_from_slice(index);
    payload
}

pub(crate) fn split_snapshot(payload: &[u8]) -> Result<(ShardState, &[u8]), FrameError> {
    let (length, rest) = payload
        .split_first_chunk::<8>()
        .ok_or_else(FrameError::short)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (state, index) = rest
        .split_at_checked(length)
        .ok_or_else(FrameError::short)?;
    Ok((ShardState::load(state)?, index))
}

/// Refuses a journal with damage anywhere, if it is small enough to look everywhere.
fn verify(data_dir: &DataDir) -> Result<(), OpenError> {
    let size = forebay_log::journal_size(&RealDisk, data_dir.path())?.1;
    if size == 0 || size > VERIFY_AT_MOST {
        return Ok(());
    }
    let report = forebay_log::check(&RealDisk, data_dir.path(), data_dir.journal_id())?;
    match report.damage.first() {
        None => Ok(()),
        Some(damage) => Err(OpenError::Damaged {
            file: damage.file.clone(),
            position: damage.position.0,
            byte: damage.byte,
            others: report.damage.len() - 1,
        }),
    }
}
