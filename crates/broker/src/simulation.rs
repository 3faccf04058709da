//! A whole shard without threads, channels or clock, for a simulation: the same engine and the same
//! jobs as in life, each done when the simulation says so.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use forebay_base::{Offset, PartitionId, SessionId, Timestamp, TopicId};
use forebay_log::{
    Disk, Journal, LogReader, Position, Promoter, Run, SegmentInfo, SegmentStore, SnapshotStore,
    Source, Space,
};
use forebay_stream::Committed;

pub use crate::options::Tuning;
pub use forebay_log::JournalOptions;

use crate::engine::{Effect, Engine, Input, Job};
use crate::promotion::{self, Work};
use crate::recovery::recover_from;
use crate::retention::Retention;
use crate::shard::{DeadLetterJob, ReplyTo};
use crate::stability::Stability;
use crate::{
    Aborted, Bounds, Command, Counters, Cursor, Delivered, Deliveries, Directory, Event,
    ExchangeInfo, OpenError, Pressure, ReadError, Refusal, Reply, RequestId, Stored, TopicInfo,
};
use crate::{dead_letters, reading, snapshots};

/// On what a shard is opened.
#[derive(Clone)]
pub struct Setup {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// Where the data lies on it.
    pub data_dir: PathBuf,
    /// The journal's own number.
    pub journal_id: u64,
    /// How the journal is laid out.
    pub journal: JournalOptions,
    /// Where segments are; on the disk, if `None`.
    pub segments: Option<SegmentStore>,
    /// When things happen.
    pub tuning: Tuning,
}

/// Who does jobs beside the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Worker {
    /// Writes commits and drops journal files. On a full disk it also looks for space.
    Journal,
    /// Saves snapshots.
    Snapshots,
    /// Reads dead letters.
    DeadLetters,
    /// Works the journal off and cleans segments.
    Promotion,
    /// Looks for records that were there long enough. In life this is done now and then, so it
    /// never counts as busy.
    Retention,
}

/// What the shard said.
#[derive(Clone, Debug)]
pub enum Said {
    /// The answer to a command.
    Reply {
        /// Who had asked.
        session: SessionId,
        /// Which command.
        request: RequestId,
        /// The answer.
        result: Result<Reply, Refusal>,
    },
    /// Something for a session.
    Event {
        /// For whom.
        session: SessionId,
        /// What.
        event: Event,
    },
    /// Publishing is held up, or goes on.
    Pressure(Pressure),
}

/// A partition as the shard's state has it, durable or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionView {
    /// Whose it is.
    pub topic: TopicId,
    /// The offset the next record gets.
    pub next: Offset,
    /// The first readable offset.
    pub start: Offset,
    /// Everything below is settled.
    pub low: Offset,
    /// The offset after the last durable message.
    pub end: Offset,
    /// Messages ready to be handed out.
    pub ready: u64,
    /// Messages in flight.
    pub leased: u64,
    /// Messages that wait for their time.
    pub delayed: u64,
}

/// Where the journal begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalView {
    /// The start of its oldest file.
    pub oldest: Position,
    /// Where the next commit would start.
    pub end: Position,
}

/// From where a life began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The snapshot's position.
    pub snapshot: Position,
    /// How many commits were replayed on top of it.
    pub commits: u64,
}

/// A shard that does nothing unless it is told to.
pub struct Simulated {
    engine: Engine,
    inbox: VecDeque<Input>,
    said: Vec<Said>,
    journal: Journal,
    reader: Arc<LogReader>,
    store: SnapshotStore,
    directory: Directory,
    stability: Stability,
    journal_jobs: VecDeque<Job>,
    snapshot_jobs: VecDeque<(Position, Vec<u8>)>,
    dead_letter_jobs: VecDeque<DeadLetterJob>,
    retention: Retention,
    promoter: Promoter,
    promotion_jobs: VecDeque<Work>,
    recovery: Recovery,
    now: Timestamp,
}

impl Simulated {
    /// Recovers.
    ///
    /// # Errors
    /// What lies on the disk cannot be used, or the disk failed.
    pub fn open(setup: &Setup, now: Timestamp) -> Result<Self, OpenError> {
        let place = (setup.data_dir.as_path(), setup.journal_id);
        let store = SnapshotStore::open(setup.disk.clone(), place.0, place.1)?;
        let recovered = recover_from(
            setup.disk.clone(),
            place,
            &setup.journal,
            setup.segments.clone(),
            &store,
        )?;
        let start = recovered.start(setup.journal.retain_bytes);
        let recovery = Recovery {
            snapshot: recovered.snapshot,
            commits: recovered.commits,
        };
        let reader = recovered.reader;
        let engine = Engine::new(recovered.state, reader.clone(), &start, setup.tuning, now);
        let mut simulated = Self {
            engine,
            inbox: VecDeque::new(),
            said: Vec::new(),
            reader,
            store,
            directory: Directory::default(),
            stability: Stability::default(),
            journal_jobs: VecDeque::new(),
            snapshot_jobs: VecDeque::new(),
            dead_letter_jobs: VecDeque::new(),
            retention: Retention::default(),
            promoter: recovered.journal.promoter(),
            promotion_jobs: VecDeque::new(),
            journal: recovered.journal,
            recovery,
            now,
        };
        simulated.carry_out();
        Ok(simulated)
    }

    /// Opens a session. Its id is above 0 and was not used since the start.
    pub fn open_session(&mut self, session: SessionId) {
        self.inbox.push_back(Input::SessionOpened(session));
    }

    /// Ends a session.
    pub fn end_session(&mut self, session: SessionId) {
        self.inbox.push_back(Input::SessionEnded(session));
    }

    /// Sends a command for a session, or for none: session 0. The request's number is above 0 and
    /// was not used since the start.
    pub fn submit(&mut self, session: SessionId, request: RequestId, command: Command) {
        let to = ReplyTo { session, request };
        self.inbox.push_back(Input::Command { to, command });
    }

    /// Whoever waits for a receive or watch gives up.
    pub fn cancel(&mut self, request: RequestId) {
        self.inbox.push_back(Input::Cancelled(request));
    }

    /// Whoever had asked for these was gone when they came.
    pub fn undelivered(&mut self, session: SessionId, lost: Deliveries) {
        self.inbox.push_back(Input::Undelivered { session, lost });
    }

    /// Begins an orderly stop; turns and steps lead on to it.
    pub fn stop(&mut self) {
        self.inbox.push_back(Input::Stop);
    }

    /// One turn of the shard: takes everything that has arrived, decides, gives out jobs.
    pub fn turn(&mut self, now: Timestamp) {
        self.now = now;
        if self.stopped().is_some() {
            return;
        }
        for input in self.inbox.drain(..) {
            self.engine.arrive(now, input);
        }
        self.engine.turn(now, &self.journal.space());
        self.carry_out();
    }

    /// When a turn is due at the latest, although nothing arrives.
    pub fn next_turn(&self) -> Option<Timestamp> {
        let ended = self.stopped().is_some();
        self.engine.next_turn(self.now).filter(|_| !ended)
    }

    /// What the shard said since the last call.
    pub fn said(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }

    /// How it ended, once it has.
    pub fn stopped(&self) -> Option<&Result<(), String>> {
        self.engine.outcome()
    }

    /// The workers that have something to do.
    pub fn busy(&self) -> Vec<Worker> {
        let low = self.wants_file();
        let all = [
            (Worker::Journal, low || !self.journal_jobs.is_empty()),
            (Worker::Snapshots, !self.snapshot_jobs.is_empty()),
            (Worker::DeadLetters, !self.dead_letter_jobs.is_empty()),
            (Worker::Promotion, !self.promotion_jobs.is_empty()),
        ];
        let busy = all.into_iter().filter(|(_, busy)| *busy);
        busy.map(|(worker, _)| worker).collect()
    }

    /// Lets a worker do the oldest of its jobs. False if it has none.
    pub fn step(&mut self, worker: Worker, now: Timestamp) -> bool {
        self.now = now;
        match worker {
            Worker::Journal => return self.step_journal(),
            Worker::Snapshots => {
                let Some((position, payload)) = self.snapshot_jobs.pop_front() else {
                    return false;
                };
                let saved = snapshots::save(&self.store, position, &payload);
                self.inbox.push_back(saved);
            }
            Worker::DeadLetters => {
                let Some(job) = self.dead_letter_jobs.pop_front() else {
                    return false;
                };
                dead_letters::fetch(job, &self.reader, &self.stability, &mut |input| {
                    self.inbox.push_back(input);
                    true
                });
            }
            Worker::Promotion => {
                let Some(work) = self.promotion_jobs.pop_front() else {
                    return false;
                };
                let input = promotion::work(&self.promoter, work);
                self.inbox.push_back(input);
            }
            Worker::Retention => {
                let trims = self.retention.round(now, &self.directory, &self.reader);
                self.inbox.extend(trims.into_iter().map(Input::Retain));
            }
        }
        true
    }

    /// Whether the next journal file is still to be made: in life a thread does that at once.
    fn wants_file(&self) -> bool {
        let space = self.journal.space();
        space.get() == Space::Low || !space.is_ready()
    }

    fn step_journal(&mut self) -> bool {
        let (below, had_one) = match self.journal_jobs.pop_front() {
            Some(Job::Write(commit)) => {
                let written = self.journal.write(commit);
                self.inbox.push_back(Input::Written(written));
                return true;
            }
            Some(Job::DropJournal(below)) => (below, true),
            _ if self.wants_file() => (Position(0), false),
            _ => return false,
        };
        if let Err(error) = self.journal.drop_below(below) {
            tracing::warn!(%error, "a journal file that is no longer needed was not dropped");
        }
        if had_one {
            let oldest = self.journal.oldest();
            self.inbox.push_back(Input::Dropped(oldest));
        }
        had_one
    }

    fn carry_out(&mut self) {
        for effect in self.engine.effects() {
            match effect {
                Effect::Reply { to, result } => self.said.push(Said::Reply {
                    session: to.session,
                    request: to.request,
                    result,
                }),
                Effect::Event { session, event } => {
                    self.said.push(Said::Event { session, event });
                }
                Effect::Catalog(change) => self.directory.follow(change),
                Effect::Stability(change) => self.stability.follow(change),
                Effect::Pressure(reason) => {
                    let pressure = reason.map_or(Pressure::None, Pressure::StorageFull);
                    self.said.push(Said::Pressure(pressure));
                }
                Effect::Forget(_) | Effect::Taken { .. } => {}
                Effect::Job(job @ (Job::Write(_) | Job::DropJournal(_))) => {
                    self.journal_jobs.push_back(job);
                }
                Effect::Job(Job::SaveSnapshot { position, payload }) => {
                    self.snapshot_jobs.push_back((position, payload));
                }
                Effect::Job(Job::FetchDeadLetters(job)) => self.dead_letter_jobs.push_back(job),
                Effect::Job(Job::Promotion(work)) => self.promotion_jobs.push_back(work),
            }
        }
    }

    /// Reads as [`crate::Broker::read`] does.
    ///
    /// # Errors
    /// The offset is not kept any more, or the disk is damaged.
    pub fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        max_bytes: usize,
        cursor: &mut Cursor,
    ) -> Result<Vec<Stored>, ReadError> {
        let source = Source::Disk;
        let place = cursor.place();
        let found = reading::read(&self.reader, partition, from, max_bytes, place, source);
        Ok(found?.unwrap_or_default())
    }

    /// Reads as [`crate::Broker::records`] does.
    ///
    /// # Errors
    /// The disk is damaged.
    pub fn records(
        &self,
        deliveries: &Deliveries,
        cursor: &mut Cursor,
    ) -> Result<Vec<Delivered>, ReadError> {
        let mut delivered = Vec::with_capacity(deliveries.len());
        for runs in reading::by_partition(&deliveries.runs) {
            let stored = reading::stored(&self.reader, runs, cursor.place(), Source::Disk)?;
            if let Some(first) = runs.first() {
                let stored = stored.unwrap_or_default();
                let stored = self
                    .stability
                    .keep_messages(&self.reader, first.partition, stored);
                reading::pick(runs, &stored, &mut delivered)?;
            }
        }
        Ok(delivered)
    }

    /// Looks as [`crate::Broker::offset_for_time`] does.
    ///
    /// # Errors
    /// The disk is damaged.
    pub fn offset_for_time(
        &self,
        partition: PartitionId,
        timestamp: i64,
    ) -> Result<Option<(Offset, i64)>, ReadError> {
        reading::offset_for_time(&self.reader, partition, timestamp)
    }

    /// The topics there durably are, by id.
    pub fn topics(&self) -> Vec<Arc<TopicInfo>> {
        let mut topics = self.directory.topics("", None, usize::MAX);
        topics.sort_by_key(|topic| topic.id);
        topics
    }

    /// The exchanges there durably are, by name.
    pub fn exchanges(&self) -> Vec<Arc<ExchangeInfo>> {
        self.directory.exchanges()
    }

    /// What the shard has of a partition.
    pub fn partition(&self, partition: PartitionId) -> Option<PartitionView> {
        let partition = self.engine.state().partitions.get(&partition)?;
        let depth = partition.queue.depth();
        Some(PartitionView {
            topic: partition.topic,
            next: partition.next,
            start: partition.queue.start(),
            low: partition.queue.low(),
            end: partition.queue.end(),
            ready: depth.ready,
            leased: depth.leased,
            delayed: depth.delayed,
        })
    }

    /// The readable offsets of a partition.
    pub fn bounds(&self, partition: PartitionId) -> Bounds {
        reading::bounds(&self.reader, &self.stability, partition)
    }

    /// The transactions that were aborted and have records or a marker in the partition from `from`
    /// on and below `end`, in the order of their markers.
    pub fn aborted(&self, partition: PartitionId, from: Offset, end: Offset) -> Vec<Aborted> {
        self.stability.aborted(partition, from, end)
    }

    /// What a group has committed.
    pub fn committed(&self, group: &str, partition: PartitionId) -> Option<Committed> {
        let offsets = &self.engine.state().offsets;
        offsets.fetch(group, partition).cloned()
    }

    /// The positions of the snapshots on the disk; none if it cannot be read.
    pub fn snapshots(&self) -> Vec<Position> {
        self.store.positions().unwrap_or_default()
    }

    /// Where the journal begins and ends.
    pub fn journal(&self) -> JournalView {
        JournalView {
            oldest: self.journal.oldest(),
            end: self.journal.end(),
        }
    }

    /// The segments the index knows.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.reader.segments()
    }

    /// The runs of a partition in segments, in order.
    pub fn runs(&self, partition: PartitionId) -> Vec<Run> {
        self.reader.runs(partition)
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.engine.counters()
    }

    /// From where this life began.
    pub fn recovered(&self) -> Recovery {
        self.recovery
    }

    /// The whole state, as a snapshot would hold it.
    pub fn state(&self) -> Vec<u8> {
        self.engine.state().save()
    }

    /// Whether nothing is decided that is not durable.
    pub fn is_durable(&self) -> bool {
        self.engine.is_durable()
    }
}
