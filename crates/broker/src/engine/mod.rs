//! What the shard's thread decides, without the thread.
//!
//! Inputs go in by [`Engine::arrive`], time and the disk's state by [`Engine::turn`]; what is to be
//! done comes out by [`Engine::effects`], in order and as plain data. No channel, clock, thread or
//! file is touched here: the broker's threads and the simulation carry out the same effects, with
//! the same functions.

mod cleaning;
mod compacting;
mod promotion;
mod snapshots;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use forebay_base::{PartitionId, SessionId, Timestamp};
use forebay_log::{
    Chunk, CommitBuilder, Committed, LogReader, Position, SegmentChange, Space, SpaceGauge,
    WriteError,
};
use forebay_queue::Attempted;

use crate::catalog::CatalogChange;
use crate::options::Tuning;
use crate::promotion::Work;
use crate::retention::Trim;
use crate::shard::{DeadLetterCopy, DeadLetterJob, Output, ReplyTo, Shard, Undeliverable};
use crate::stability::StabilityChange;
use crate::state::ShardState;
use crate::{Command, Counters, Deliveries, Event, Outcome, Receipt, Refusal, Reply, RequestId};
use cleaning::Cleaning;
use compacting::Compacting;
use promotion::Promotion;
use snapshots::{Relief, Snapshots};

/// Frames that nothing waits for are written after so long, milliseconds.
const LAZY_MS: u64 = 500;
/// Inputs handled before the journal gets what they made, at most.
pub(crate) const INPUTS_AT_ONCE: usize = 4096;
/// Dead letters that cannot be read are tried again after twice this, then after four times this,
/// and so on, milliseconds.
const UNREAD_MS: u64 = 1_000;
/// Whether the disk has space is looked at so often while nothing else happens, milliseconds.
pub(crate) const LOOK_MS: u64 = 100;

/// Whether the next file stands ready is looked at so often while somebody waits for it,
/// milliseconds.
const FILE_MS: u64 = 1;
/// So long a stop waits for what is written to segments, milliseconds.
const STOP_MS: u64 = 10_000;

/// What comes to the shard.
#[derive(Debug)]
pub(crate) enum Input {
    Command {
        to: ReplyTo,
        command: Command,
    },
    SessionOpened(SessionId),
    SessionEnded(SessionId),
    Cancelled(RequestId),
    /// Nobody is left to take these.
    Undelivered {
        session: SessionId,
        lost: Deliveries,
    },
    Written(Result<Committed, WriteError>),
    DeadLetter {
        partition: PartitionId,
        message: Attempted,
        copy: Result<DeadLetterCopy, Undeliverable>,
    },
    /// Messages whose records cannot be read now.
    DeadLettersUnread(DeadLetterJob),
    /// Some records have been there long enough.
    Retain(Trim),
    /// The positions of all snapshots there are now.
    SnapshotSaved(Result<Vec<Position>, String>),
    /// The start of the oldest journal file, after some were dropped.
    Dropped(Position),
    Surveyed(Result<Chunk, Arc<str>>),
    Promoted(Result<SegmentChange, Arc<str>>),
    /// So many segments were deleted.
    Deleted(Result<u64, Arc<str>>),
    Stop,
}

impl Input {
    /// What it adds to the journal, about, bytes.
    fn weight(&self) -> u64 {
        let bytes = match self {
            Self::Command {
                command: Command::Publish(publish),
                ..
            } => publish.payload_bytes(),
            Self::DeadLetter { copy: Ok(copy), .. } => copy.batch.bytes().len(),
            _ => 0,
        };
        bytes as u64
    }
}

/// What is to be done, in this order.
#[derive(Debug)]
pub(crate) enum Effect {
    Reply {
        to: ReplyTo,
        result: Result<Reply, Refusal>,
    },
    Event {
        session: SessionId,
        event: Event,
    },
    /// Nobody waits for the reply to this request any more.
    Forget(RequestId),
    Catalog(CatalogChange),
    Stability(StabilityChange),
    /// Publishing is held up for this reason, or goes on.
    Pressure(Option<Arc<str>>),
    /// So many commands and payload bytes need no longer be counted as waiting.
    Taken {
        commands: usize,
        payload_bytes: usize,
    },
    Job(Job),
}

/// What takes the disk's time and is done beside the shard; each kind in order.
#[derive(Debug)]
pub(crate) enum Job {
    /// Answered by [`Input::Written`]. There is one at a time.
    Write(CommitBuilder),
    /// Answered by [`Input::Dropped`].
    DropJournal(Position),
    /// Answered by [`Input::SnapshotSaved`]. There is one at a time.
    SaveSnapshot {
        position: Position,
        payload: Vec<u8>,
    },
    /// Answered by [`Input::DeadLetter`] for each message that can be read.
    /// Those that cannot come back as [`Input::DeadLettersUnread`].
    FetchDeadLetters(DeadLetterJob),
    /// There is one at a time.
    Promotion(Work),
}

/// Where recovery ended, and what the journal can take.
pub(crate) struct Start {
    /// Up to where recovery found the snapshots to reach.
    pub(crate) snapshot: Position,
    /// The largest commit, bytes.
    pub(crate) max_commit_bytes: u64,
    /// What the current file can take, bytes.
    pub(crate) room: u64,
    /// Where the oldest journal file starts.
    pub(crate) oldest: Position,
    /// Bytes of a journal file.
    pub(crate) file_size: u64,
    /// So much of the journal stays although it is not needed, bytes.
    pub(crate) retain_bytes: u64,
}

pub(crate) struct Engine {
    shard: Shard,
    reader: Arc<LogReader>,
    tuning: Tuning,
    /// Session 0, which stands for calls outside any session, is not among them.
    sessions: BTreeSet<SessionId>,
    /// What waits until the shard may take more.
    held: VecDeque<Input>,
    /// A commit that found no room.
    retry: Option<CommitBuilder>,
    snapshots: Snapshots,
    relief: Relief,
    space: Space,
    /// The journal's next file stands ready.
    ready: bool,
    /// Bytes a commit can still take in the current journal file.
    room: u64,
    max_commit_bytes: u64,
    file_size: u64,
    retain_bytes: u64,
    /// Dead letters that are to be read at a later time.
    unread: Vec<(Timestamp, DeadLetterJob)>,
    promotion: Promotion,
    cleaning: Cleaning,
    compacting: Compacting,
    lazy_since: Option<Timestamp>,
    counters: Counters,
    taken: (usize, usize),
    stopping: bool,
    /// What works on segments is not waited for any longer.
    stop_by: Timestamp,
    outcome: Option<Result<(), String>>,
    effects: VecDeque<Effect>,
}

impl Engine {
    /// An engine on recovered state; what recovery made is among its effects at once.
    pub(crate) fn new(
        state: ShardState,
        reader: Arc<LogReader>,
        start: &Start,
        tuning: Tuning,
        now: Timestamp,
    ) -> Self {
        let mut shard = Shard::new(state, now);
        shard.fit(start.max_commit_bytes, tuning.commit_bytes);
        let mut engine = Self {
            shard,
            reader,
            tuning,
            sessions: BTreeSet::new(),
            held: VecDeque::new(),
            retry: None,
            snapshots: Snapshots::new(start.snapshot),
            relief: Relief::default(),
            space: Space::Ok,
            ready: true,
            room: start.room,
            max_commit_bytes: start.max_commit_bytes,
            file_size: start.file_size,
            retain_bytes: start.retain_bytes,
            unread: Vec::new(),
            promotion: Promotion::new(start.oldest),
            cleaning: Cleaning::default(),
            compacting: Compacting::default(),
            lazy_since: None,
            counters: Counters::default(),
            taken: (0, 0),
            stopping: false,
            stop_by: Timestamp::MAX,
            outcome: None,
            effects: VecDeque::new(),
        };
        engine.carry_over();
        engine
    }

    /// Handles an input, or keeps it while no more may be taken.
    pub(crate) fn arrive(&mut self, now: Timestamp, input: Input) {
        let may_wait = matches!(
            input,
            Input::Command { .. }
                | Input::SessionEnded(_)
                | Input::Cancelled(_)
                | Input::Undelivered { .. }
                | Input::DeadLetter { .. }
                | Input::Retain(_)
        );
        if may_wait {
            self.take_held(now);
        }
        if may_wait && (!self.held.is_empty() || !self.may_take(input.weight())) {
            self.held.push_back(input);
        } else {
            self.handle(now, input);
        }
    }

    /// To be called when inputs have arrived, and at [`Engine::next_turn`] at the latest: passes
    /// time, serves those who wait, gives the journal what all that made.
    pub(crate) fn turn(&mut self, now: Timestamp, space: &SpaceGauge) {
        self.look_at_space(now, space);
        self.take_held(now);
        let deadline = self.shard.next_deadline();
        if deadline.is_some_and(|deadline| deadline <= now) {
            self.shard.tick(now);
        }
        self.shard.serve();
        self.write(now);
        self.relieve(now);
        self.read_again(now);
        if self.shard.forget_handed(now) {
            self.cleaning.note();
        }
        self.promote(now);
        if self.stopping {
            self.stop(now);
        }
        self.carry_over();
        self.count_taken();
    }

    /// When the next turn is due although nothing arrives. The disk's space may change besides.
    pub(crate) fn next_turn(&self, now: Timestamp) -> Option<Timestamp> {
        let held = self.next_held().and_then(|bytes| {
            if self.may_take(bytes) {
                return Some(now);
            }
            // Whatever the next file is waited for comes from nobody's input.
            let waits = self.space == Space::Ok && !self.ready && !self.shard.is_full();
            waits.then(|| now.plus_ms(FILE_MS))
        });
        let lazy = self.lazy_since.map(|since| since.plus_ms(LAZY_MS));
        let look = (self.space == Space::Low).then(|| now.plus_ms(LOOK_MS));
        let deadline = self.shard.next_deadline();
        let promotion = self.next_promotion(now);
        let stop = self.stopping.then_some(self.stop_by);
        let unread = self.unread.iter().map(|(at, _)| *at).min();
        let all = [held, lazy, look, deadline, promotion, stop, unread];
        all.into_iter().flatten().min()
    }

    /// What is to be done, in order.
    pub(crate) fn effects(&mut self) -> std::collections::vec_deque::Drain<'_, Effect> {
        self.effects.drain(..)
    }

    /// How it ended, once it has: nothing is to be done any more then.
    pub(crate) fn outcome(&self) -> Option<&Result<(), String>> {
        self.outcome.as_ref()
    }

    /// The state, whether durable or not yet.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn state(&self) -> &ShardState {
        self.shard.state()
    }

    /// Whether nothing is decided that is not durable.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn is_durable(&self) -> bool {
        self.shard.is_durable() && self.retry.is_none()
    }

    /// Counts as of now.
    pub(crate) fn counters(&self) -> Counters {
        let tally = self.shard.tally();
        Counters {
            topics: self.shard.topic_count() as u64,
            sessions: self.sessions.len() as u64,
            records_in: tally.records_in,
            bytes_in: tally.bytes_in,
            records_out: tally.records_out,
            redelivered: tally.redelivered,
            settled: tally.settled,
            dead_lettered: tally.dead_lettered,
            journal_size: self
                .reader
                .durable_end()
                .0
                .saturating_sub(self.promotion.oldest().0),
            ..self.counters.clone()
        }
    }

    fn take_held(&mut self, now: Timestamp) {
        for _ in 0..INPUTS_AT_ONCE {
            if !self.next_held().is_some_and(|bytes| self.may_take(bytes)) {
                break;
            }
            if !self.shard.unpark(now)
                && let Some(input) = self.held.pop_front()
            {
                self.handle(now, input);
            }
        }
    }

    /// What the next input brings that waits, bytes: of publishes those first that waited for
    /// space.
    fn next_held(&self) -> Option<u64> {
        let parked = self.shard.parked_bytes().map(|bytes| bytes as u64);
        parked.or_else(|| self.held.front().map(Input::weight))
    }

    /// Whether an input that brings so many bytes may be handled now: a state that is ahead of a
    /// disk without room could not be relieved. So nothing is taken that needs the next file as
    /// long as nobody knows whether there will be one, and what is left of the last file is taken
    /// in small sips.
    fn may_take(&self, bytes: u64) -> bool {
        if self.shard.is_full() {
            return false;
        }
        if self.space == Space::Ok && self.ready {
            return true;
        }
        let most = self.max_commit_bytes;
        let reserve = self.tuning.reserve_bytes.min(most / 4);
        let left = self.room.saturating_sub(self.shard.pending_bytes());
        if self.space == Space::Ok {
            return left >= reserve.saturating_add(bytes);
        }
        let sip = self.tuning.reserve_bytes / 16;
        let may_sip = left >= sip.min(most / 32);
        left >= reserve || (may_sip && self.is_quiet() && self.relief.is_over(self.settled()))
    }

    fn handle(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Command { to, command } => self.command(now, to, command),
            Input::SessionOpened(id) => {
                self.sessions.insert(id);
            }
            Input::SessionEnded(id) => {
                self.sessions.remove(&id);
                self.shard.end_session(now, id);
            }
            Input::Cancelled(request) => {
                self.shard.cancel(request);
                // A reply that was on its way has gone before.
                self.carry_over();
                self.effects.push_back(Effect::Forget(request));
            }
            Input::Undelivered { session, lost } => self.give_back(now, session, &lost),
            Input::Written(result) => self.written(now, result),
            Input::DeadLetter {
                partition,
                message,
                copy,
            } => {
                self.shard
                    .deliver_dead_letter(now, partition, message, copy);
            }
            Input::DeadLettersUnread(job) => {
                let wait = UNREAD_MS << job.tries.min(8);
                self.unread.push((now.plus_ms(wait), job));
            }
            Input::Retain(trim) => self.shard.retain(now, &trim),
            Input::SnapshotSaved(result) => self.snapshot_saved(result),
            Input::Dropped(oldest) => self.dropped(oldest),
            Input::Surveyed(surveyed) => self.surveyed(now, surveyed),
            Input::Promoted(promoted) => self.promoted(now, promoted),
            Input::Deleted(deleted) => self.deleted(now, deleted),
            Input::Stop => {
                self.stopping = true;
                self.stop_by = now.plus_ms(STOP_MS);
            }
        }
    }

    /// Gives the shard a command. A session that has ended holds nothing any more, and must not
    /// begin again.
    fn command(&mut self, now: Timestamp, to: ReplyTo, command: Command) {
        if !matches!(command, Command::Publish(_)) {
            self.taken.0 += 1;
        }
        if to.session == SessionId(0) || self.sessions.contains(&to.session) {
            return self.shard.submit(now, to, command);
        }
        if let Command::Publish(publish) = &command {
            self.taken.1 += publish.payload_bytes();
        }
        let result = Err(Refusal::Stopping);
        self.effects.push_back(Effect::Reply { to, result });
    }

    /// Whoever asked for these went away before they came: they were not delivered.
    fn give_back(&mut self, now: Timestamp, session: SessionId, lost: &Deliveries) {
        let receipts = lost.runs.iter().flat_map(|run| {
            run.range.offsets().map(|offset| Receipt {
                partition: run.partition,
                offset,
                attempt: run.attempt,
            })
        });
        let command = Command::Settle {
            receipts: receipts.collect(),
            outcome: Outcome::Release {
                delay_ms: 0,
                count: false,
            },
        };
        let request = RequestId(0);
        self.shard
            .submit(now, ReplyTo { session, request }, command);
    }

    fn written(&mut self, now: Timestamp, result: Result<Committed, WriteError>) {
        let committed = match result {
            Ok(committed) => committed,
            Err(WriteError::NoSpace { commit }) => {
                self.room = 0;
                self.retry = Some(commit);
                return;
            }
            Err(error) => {
                self.outcome.get_or_insert(Err(error.to_string()));
                return;
            }
        };
        self.counters.commits += 1;
        self.counters.journal_bytes += committed.bytes;
        self.room = committed.room;
        self.shard.committed(now);
        self.snapshot_taken(committed.end);
    }

    /// Gives the journal the next commit, if it is free and there is one.
    fn write(&mut self, now: Timestamp) {
        if let Some(commit) = self.retry.take() {
            match self.space {
                Space::Ok => self.effects.push_back(Effect::Job(Job::Write(commit))),
                Space::Low => self.retry = Some(commit),
            }
            return;
        }
        let since = self.lazy_since.map(|since| since.plus_ms(LAZY_MS));
        let lazy = since.is_some_and(|due| due <= now);
        match self.shard.take_commit(lazy || self.stopping) {
            Some(commit) => {
                self.lazy_since = None;
                self.take_snapshot(now);
                // First of all: the disk is the slowest.
                self.effects.push_front(Effect::Job(Job::Write(commit)));
            }
            None if self.shard.is_even() => self.lazy_since = None,
            None => {
                self.lazy_since.get_or_insert(now);
            }
        }
    }

    /// Lets dead letters be read that could not be before.
    fn read_again(&mut self, now: Timestamp) {
        for (_, job) in self.unread.extract_if(.., |(at, _)| *at <= now) {
            self.effects
                .push_back(Effect::Job(Job::FetchDeadLetters(job)));
        }
    }

    fn look_at_space(&mut self, now: Timestamp, space: &SpaceGauge) {
        // In this order: a file that is made makes the space, too.
        self.ready = space.is_ready();
        let space = space.get();
        if space == Space::Low && self.space == Space::Ok {
            self.relief = Relief::default();
        }
        self.space = space;
        let reason = match space {
            Space::Ok => None,
            Space::Low => {
                Some("the disk is full or has less free space than it should keep".into())
            }
        };
        self.shard.set_storage_full(now, reason);
    }

    /// Whether nothing is decided that is not durable, and nothing is under way.
    fn is_quiet(&self) -> bool {
        self.shard.is_durable() && self.retry.is_none() && !self.snapshots.is_saving()
    }

    /// Whether the disk is full and nothing more can be taken or done about it.
    fn is_exhausted(&self) -> bool {
        self.space == Space::Low && !self.may_take(0) && self.relief.is_over(self.settled())
    }

    fn settled(&self) -> u64 {
        self.shard.tally().settled
    }

    /// Puts what the shard wants done among the effects.
    fn carry_over(&mut self) {
        let mut marks = Vec::new();
        for output in self.shard.outputs() {
            self.effects.push_back(match output {
                Output::Reply { to, result } => Effect::Reply { to, result },
                Output::Event { session, event } => Effect::Event { session, event },
                Output::Catalog(change) => {
                    if let CatalogChange::TopicRemoved(topic)
                    | CatalogChange::TopicRetired(topic, _) = &change
                    {
                        for partition in &topic.partitions {
                            self.reader.remove(*partition);
                        }
                        self.promotion.note_dead();
                        self.cleaning.note();
                    }
                    self.compacting.note();
                    Effect::Catalog(change)
                }
                // Before the journal can have what is not decided.
                Output::Stability(change @ StabilityChange::Opened { .. }) => {
                    self.effects.push_front(Effect::Stability(change));
                    continue;
                }
                Output::Stability(change) => Effect::Stability(change),
                Output::DeadLetter(job) => Effect::Job(Job::FetchDeadLetters(job)),
                Output::Pressure(reason) => Effect::Pressure(reason),
                Output::Started(partition, at) => {
                    self.reader.trim(partition, at);
                    self.promotion.note_dead();
                    self.cleaning.note();
                    continue;
                }
                Output::Released(bytes) => {
                    self.taken.1 += bytes;
                    continue;
                }
                Output::Durable(mark) => {
                    marks.push(mark);
                    continue;
                }
            });
        }
        for mark in marks {
            self.marked(mark);
        }
    }

    fn count_taken(&mut self) {
        let (commands, payload_bytes) = std::mem::take(&mut self.taken);
        if commands + payload_bytes > 0 {
            self.effects.push_back(Effect::Taken {
                commands,
                payload_bytes,
            });
        }
    }

    /// Comes to the outcome, once nothing is under way any more and a last snapshot is saved, so
    /// that the next start need not replay anything.
    fn stop(&mut self, now: Timestamp) {
        let works = self.promotion.is_working() && now < self.stop_by;
        if self.outcome.is_some() || works {
            return;
        }
        if self.retry.is_some() && self.space == Space::Low {
            let reason = "the disk is full: what was not confirmed is not kept";
            self.outcome = Some(Err(reason.to_owned()));
        } else if self.is_quiet() && (self.next_held().is_none() || self.is_exhausted()) {
            self.last_snapshot();
        }
    }
}
