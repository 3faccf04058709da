//! The shard's thread: the shell that gives the shard its inputs and carries out what it decides.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use forebay_base::{Clock, Offset, PartitionId, SessionId, Timestamp};
use forebay_log::{
    Committed, DataDir, JournalThread, Position, RealDisk, SnapshotStore, Space, WriteError,
};
use hashbrown::HashMap;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::dead_letters;
use crate::mailbox::{Answer, Inner, Input, is_call};
use crate::recovery::{self, Recovered};
use crate::shard::{DeadLetterJob, Output, ReplyTo, Shard};
use crate::{
    Command, Deliveries, Event, OpenError, Options, Outcome, Pressure, Receipt, Refusal, Reply,
    RequestId,
};

/// A snapshot is due when the journal has grown by so much since the last one, bytes.
const SNAPSHOT_EVERY_BYTES: u64 = 64 << 20;
/// Frames that nothing waits for are written after so long, milliseconds.
const LAZY_MS: u64 = 500;
/// Inputs handled before the journal gets what they made, at most.
const INPUTS_AT_ONCE: usize = 4096;
/// Whether the disk has space is looked at so often while nothing else happens, milliseconds.
const LOOK_MS: u64 = 100;

/// The running shard, owned by whoever opened the broker.
#[derive(Debug)]
pub struct Running {
    inputs: Sender<Input>,
    stopped: watch::Receiver<Option<Result<(), String>>>,
}

impl Running {
    /// Completes when the shard has stopped by itself. The text says why and what to do.
    pub async fn failed(&mut self) -> String {
        loop {
            if let Some(Err(reason)) = &*self.stopped.borrow_and_update() {
                return reason.clone();
            }
            if self.stopped.changed().await.is_err() {
                return "the shard's thread has ended; its log says why".to_owned();
            }
        }
    }

    /// Refuses new commands, makes everything accepted durable, writes a snapshot, stops.
    ///
    /// # Errors
    /// Why that did not work.
    pub async fn shutdown(mut self) -> Result<(), String> {
        // A shard that has stopped already takes no input and has said how it went.
        let _ = self.inputs.send(Input::Stop);
        match self.stopped.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Err("the shard's thread has ended; its log says why".to_owned()),
        }
    }
}

struct Runner {
    shard: Shard,
    inputs: Receiver<Input>,
    held: std::collections::VecDeque<Input>,
    inner: Arc<Inner>,
    journal: JournalThread,
    retry: Option<forebay_log::CommitBuilder>,
    sessions: HashMap<SessionId, UnboundedSender<Event>>,
    calls: HashMap<RequestId, Answer>,
    dead_letters: Sender<DeadLetterJob>,
    snapshots: Snapshots,
    relief: Relief,
    lazy_since: Option<Timestamp>,
    stopping: bool,
    stopped: watch::Sender<Option<Result<(), String>>>,
    _data_dir: DataDir,
}

/// Snapshots taken to get space back after something was settled: two make the one before them
/// unnecessary, and with it the journal it builds on.
const RELIEF_ROUNDS: u32 = 3;
/// Between two of them, milliseconds.
const RELIEF_MS: u64 = 1_000;

/// What is done while the disk is full: consumers go on, and what they settle may let the journal
/// reuse a file.
#[derive(Default)]
struct Relief {
    /// How much was settled when it was last looked at.
    settled: u64,
    rounds: u32,
    next: Timestamp,
}

/// For each partition the lowest offset that must stay readable.
type Needed = Vec<(PartitionId, Offset)>;

/// When the next snapshot is due, and the one that is under way.
struct Snapshots {
    worker: Sender<(Position, Vec<u8>)>,
    last: Position,
    /// The state after the commit that is being written, and what must stay readable by it.
    taken: Option<(Vec<u8>, Needed)>,
    saving: bool,
    /// What must stay readable by the snapshot that is being saved.
    needed: Needed,
    store: Arc<SnapshotStore>,
}

/// Opens the data directory, recovers and starts the threads.
pub(crate) fn open(
    options: &Options,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<Inner>, Running), OpenError> {
    let data_dir = DataDir::open(&options.data_dir)?;
    let store = Arc::new(SnapshotStore::open(
        Arc::new(RealDisk),
        data_dir.path(),
        data_dir.journal_id(),
    )?);
    let Recovered {
        state,
        journal,
        reader,
        snapshot,
        commits,
    } = recovery::recover(options, &data_dir, &store)?;
    tracing::info!(%snapshot, commits, end = %reader.durable_end(), "recovered");
    let last = snapshot.max(journal.oldest());
    let (input_sender, inputs) = channel();
    let inner = Arc::new(Inner::new(
        input_sender.clone(),
        clock,
        reader.clone(),
        options,
    ));
    let mut shard = Shard::new(state, inner.clock.now());
    shard.fit(journal.max_commit_bytes());

    let done = input_sender.clone();
    let journal = JournalThread::spawn(
        journal,
        Box::new(move |result| {
            // The shard's thread has ended if nobody takes this.
            let _ = done.send(Input::Written(result));
        }),
    )?;
    let (dead_letters, jobs) = channel();
    let back = input_sender.clone();
    Builder::new()
        .name("dead-letters".into())
        .spawn(move || dead_letters::work(jobs, &reader, &back))?;
    let (worker, snapshots) = channel();
    let (saver, back) = (store.clone(), input_sender.clone());
    Builder::new()
        .name("snapshots".into())
        .spawn(move || save_snapshots(&saver, snapshots, &back))?;

    let (stopped_sender, stopped) = watch::channel(None);
    let runner = Runner {
        shard,
        inputs,
        held: std::collections::VecDeque::new(),
        inner: inner.clone(),
        journal,
        retry: None,
        sessions: HashMap::new(),
        calls: HashMap::new(),
        dead_letters,
        snapshots: Snapshots {
            worker,
            last,
            taken: None,
            saving: false,
            needed: Vec::new(),
            store,
        },
        relief: Relief::default(),
        lazy_since: None,
        stopping: false,
        stopped: stopped_sender,
        _data_dir: data_dir,
    };
    let (ready, wait) = channel();
    Builder::new()
        .name("shard".into())
        .spawn(move || runner.run(&ready))?;
    // The directory shows everything recovered before anybody can ask.
    let _ = wait.recv();
    Ok((
        inner,
        Running {
            inputs: input_sender,
            stopped,
        },
    ))
}

fn save_snapshots(
    store: &SnapshotStore,
    snapshots: Receiver<(Position, Vec<u8>)>,
    shard: &Sender<Input>,
) {
    for (position, payload) in snapshots {
        let result = store.save(position, &payload);
        let result = result.map(|()| position).map_err(|error| error.to_string());
        if shard.send(Input::SnapshotSaved(result)).is_err() {
            return;
        }
    }
}

impl Runner {
    fn run(mut self, ready: &Sender<()>) {
        self.carry_out();
        let _ = ready.send(());
        let outcome = loop {
            if let Some(outcome) = self.step() {
                break outcome;
            }
        };
        if let Err(reason) = &outcome {
            tracing::error!(%reason, "the shard has stopped");
        }
        self.inner.command_permits.close();
        self.inner.payload_permits.close();
        // The news comes last: whoever hears it may open the directory again.
        let stopped = self.stopped.clone();
        drop(self);
        stopped.send_replace(Some(outcome));
    }

    /// One turn: takes what is there, decides it, gives the journal what that made, tells everyone
    /// who waits. Gives the outcome when it is time to stop.
    fn step(&mut self) -> Option<Result<(), String>> {
        let first = match self.inputs.recv_timeout(self.patience()) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Some(Ok(())),
        };
        let now = self.inner.clock.now();
        if let Some(input) = first
            && let Err(reason) = self.arrive(now, input)
        {
            return Some(Err(reason));
        }
        for _ in 0..INPUTS_AT_ONCE {
            let held = (!self.shard.is_full())
                .then(|| self.held.pop_front())
                .flatten();
            let outcome = match held {
                Some(input) => self.handle(now, input),
                None => match self.inputs.try_recv() {
                    Ok(input) => self.arrive(now, input),
                    Err(_) => break,
                },
            };
            if let Err(reason) = outcome {
                return Some(Err(reason));
            }
        }
        self.look_at_space(now);
        if self
            .shard
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.shard.tick(now);
        }
        loop {
            self.shard.serve();
            self.write(now);
            if !self.carry_out() {
                break;
            }
        }
        self.relieve(now);
        if self.stopping { self.stop() } else { None }
    }

    /// How long to wait for the next input.
    fn patience(&self) -> Duration {
        if !self.held.is_empty() && !self.shard.is_full() {
            return Duration::ZERO;
        }
        let now = self.inner.clock.now();
        let lazy = self.lazy_since.map(|since| since.plus_ms(LAZY_MS));
        let next = self.shard.next_deadline().into_iter().chain(lazy).min();
        let wait = next
            .map_or(LOOK_MS, |deadline| deadline.ms_since(now))
            .min(LOOK_MS);
        Duration::from_millis(wait)
    }

    /// Handles an input, or keeps it while the filling commit is full.
    fn arrive(&mut self, now: Timestamp, input: Input) -> Result<(), String> {
        let may_wait = matches!(
            input,
            Input::Command { .. }
                | Input::EndSession(_)
                | Input::Cancel(_)
                | Input::Undelivered { .. }
                | Input::DeadLetter { .. }
        );
        if may_wait && (self.shard.is_full() || !self.held.is_empty()) {
            self.held.push_back(input);
            return Ok(());
        }
        self.handle(now, input)
    }

    /// Gives the shard a command. A session that has ended holds nothing any more, and must not
    /// begin again.
    fn command(&mut self, now: Timestamp, to: ReplyTo, command: Command, answer: Option<Answer>) {
        if !matches!(command, Command::Publish(_)) {
            self.inner.command_permits.add_permits(1);
        }
        if to.session != SessionId(0) && !self.sessions.contains_key(&to.session) {
            if let Command::Publish(publish) = &command {
                let bytes = publish.payload_bytes();
                self.inner.payload_permits.add_permits(bytes);
            }
            if let Some(answer) = answer {
                // The caller may have gone with its session.
                let _ = answer.send(Err(Refusal::Stopping));
            }
            return;
        }
        if let Some(answer) = answer {
            self.calls.insert(to.request, answer);
        }
        self.shard.submit(now, to, command);
    }

    fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), String> {
        match input {
            Input::Command {
                to,
                command,
                answer,
            } => self.command(now, to, command, answer),
            Input::OpenSession { id, events } => {
                self.sessions.insert(id, events);
            }
            Input::EndSession(id) => {
                self.sessions.remove(&id);
                self.shard.end_session(now, id);
            }
            Input::Cancel(request) => {
                self.calls.remove(&request);
                self.shard.cancel(request);
            }
            Input::Undelivered { session, lost } => self.give_back(session, &lost),
            Input::Written(result) => self.written(now, result)?,
            Input::DeadLetter {
                partition,
                message,
                copy,
            } => {
                self.shard
                    .deliver_dead_letter(now, partition, message, copy);
            }
            Input::SnapshotSaved(result) => self.snapshot_saved(result),
            Input::Stop => {
                self.stopping = true;
                self.inner.command_permits.close();
                self.inner.payload_permits.close();
            }
        }
        Ok(())
    }

    fn written(
        &mut self,
        now: Timestamp,
        result: Result<Committed, WriteError>,
    ) -> Result<(), String> {
        let committed = match result {
            Ok(committed) => committed,
            Err(WriteError::NoSpace { commit }) => {
                self.retry = Some(commit);
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        {
            let mut counters = self.inner.counters.lock();
            counters.commits += 1;
            counters.journal_bytes += committed.bytes;
        }
        self.shard.committed(now);
        if let Some((state, needed)) = self.snapshots.taken.take() {
            self.save_snapshot(committed.end, &state, needed);
        }
        Ok(())
    }

    /// Gives the journal the next commit, if it is free and there is one.
    fn write(&mut self, now: Timestamp) {
        if let Some(commit) = self.retry.take() {
            if self.journal.space().get() == Space::Ok {
                self.journal.submit(commit);
            } else {
                self.retry = Some(commit);
            }
            return;
        }
        let lazy = self
            .lazy_since
            .is_some_and(|since| since.plus_ms(LAZY_MS) <= now);
        match self.shard.take_commit(lazy || self.stopping) {
            Some(commit) => {
                self.lazy_since = None;
                let end = self.inner.reader.durable_end();
                let grown = end.0.saturating_sub(self.snapshots.last.0);
                let due = grown >= SNAPSHOT_EVERY_BYTES && !self.snapshots.saving;
                if due && self.shard.is_even() {
                    let state = self.shard.state().save();
                    self.snapshots.taken = Some((state, self.shard.needed().collect()));
                }
                self.journal.submit(commit);
            }
            None if self.shard.is_even() => self.lazy_since = None,
            None => {
                self.lazy_since.get_or_insert(now);
            }
        }
    }

    /// A snapshot is safe: the journal before it is needed only for records.
    fn snapshot_saved(&mut self, result: Result<Position, String>) {
        self.snapshots.saving = false;
        match result {
            Ok(_) => self.drop_journal(),
            Err(error) => tracing::warn!(%error, "a snapshot was not saved; the next one is tried"),
        }
    }

    /// Lets the journal reuse files that hold nothing anybody needs: neither a snapshot recovery
    /// could start from, nor a message that is not settled, nor a stream's record.
    fn drop_journal(&mut self) {
        let oldest_snapshot = match self.snapshots.store.positions() {
            Ok(positions) => positions.first().copied(),
            Err(error) => {
                tracing::warn!(%error, "cannot list snapshots");
                return;
            }
        };
        let Some(snapshot) = oldest_snapshot else {
            return;
        };
        let reader = &self.inner.reader;
        // As of the snapshot: what was settled since may not be durable yet.
        let needed = std::mem::take(&mut self.snapshots.needed).into_iter();
        let needed = needed.filter_map(|(id, offset)| reader.position_of(id, offset));
        self.journal
            .drop_below(needed.fold(snapshot, Position::min));
    }

    /// While the disk is full, takes snapshots without waiting for the journal to grow.
    fn relieve(&mut self, now: Timestamp) {
        let idle = self.shard.is_durable() && !self.snapshots.saving && self.retry.is_none();
        if self.journal.space().get() == Space::Ok || !idle || now < self.relief.next {
            return;
        }
        let settled = self.shard.tally().settled;
        if settled != self.relief.settled {
            self.relief = Relief {
                settled,
                ..Relief::default()
            };
        }
        if self.relief.rounds >= RELIEF_ROUNDS {
            return;
        }
        self.relief.next = now.plus_ms(RELIEF_MS);
        let end = self.inner.reader.durable_end();
        if end > self.snapshots.last {
            self.relief.rounds += 1;
            let state = self.shard.state().save();
            let needed = self.shard.needed().collect();
            self.save_snapshot(end, &state, needed);
        } else {
            // A snapshot needs a commit of its own to stand behind.
            self.shard.note_time(now);
        }
    }

    fn save_snapshot(&mut self, position: Position, state: &[u8], needed: Needed) {
        let payload = recovery::join_snapshot(state, &self.inner.reader.export_index());
        self.snapshots.last = position;
        self.snapshots.needed = needed;
        self.snapshots.saving = self.snapshots.worker.send((position, payload)).is_ok();
    }

    fn look_at_space(&mut self, now: Timestamp) {
        let reason = match self.journal.space().get() {
            Space::Ok => None,
            Space::Low => {
                Some("the disk is full or has less free space than it should keep".into())
            }
        };
        self.shard.set_storage_full(now, reason);
    }

    /// Does what the shard has decided, in order. Says whether messages came back meanwhile, which
    /// others may be waiting for.
    fn carry_out(&mut self) -> bool {
        let mut undelivered = Vec::new();
        for output in self.shard.outputs() {
            match output {
                Output::Reply { to, result } if is_call(to.request) => {
                    let Some(answer) = self.calls.remove(&to.request) else {
                        continue;
                    };
                    if let Err(Ok(Reply::Deliveries(lost))) = answer.send(result) {
                        undelivered.push((to.session, lost));
                    }
                }
                Output::Reply { to, result } => {
                    if let Some(session) = self.sessions.get(&to.session) {
                        // A session that is gone has its end coming.
                        let _ = session.send(Event::Reply {
                            request: to.request,
                            result,
                        });
                    }
                }
                Output::Event { session, event } => {
                    if let Some(session) = self.sessions.get(&session) {
                        let _ = session.send(event);
                    }
                }
                Output::TopicPut(topic) => self.inner.directory.put_topic(topic),
                Output::TopicRemoved(topic) => {
                    self.inner.directory.remove_topic(topic.id);
                    for partition in &topic.partitions {
                        self.inner.reader.remove(*partition);
                    }
                }
                Output::ExchangePut(exchange) => self.inner.directory.put_exchange(exchange),
                Output::ExchangeRemoved(name) => self.inner.directory.remove_exchange(&name),
                Output::DeadLetter(job) => {
                    // The worker ends only after this thread.
                    let _ = self.dead_letters.send(job);
                }
                Output::Released(bytes) => self.inner.payload_permits.add_permits(bytes),
                Output::Pressure(reason) => {
                    let pressure = reason.map_or(Pressure::None, Pressure::StorageFull);
                    tracing::warn!(?pressure, "the pressure on publishers has changed");
                    self.inner.pressure.send_replace(pressure);
                }
            }
        }
        let came_back = !undelivered.is_empty();
        for (session, lost) in undelivered {
            self.give_back(session, &lost);
        }
        let tally = self.shard.tally();
        let mut counters = self.inner.counters.lock();
        counters.topics = self.shard.topic_count() as u64;
        counters.sessions = self.sessions.len() as u64;
        counters.records_in = tally.records_in;
        counters.bytes_in = tally.bytes_in;
        counters.records_out = tally.records_out;
        counters.redelivered = tally.redelivered;
        counters.settled = tally.settled;
        counters.dead_lettered = tally.dead_lettered;
        came_back
    }

    /// Whoever asked for these went away before they came: they were not delivered.
    fn give_back(&mut self, session: SessionId, lost: &Deliveries) {
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
        let to = ReplyTo {
            session,
            request: RequestId(0),
        };
        self.shard.submit(self.inner.clock.now(), to, command);
    }

    /// The outcome, once nothing is under way any more.
    fn stop(&mut self) -> Option<Result<(), String>> {
        if self.retry.is_some() && self.journal.space().get() == Space::Low {
            let reason = "the disk is full: what was not confirmed is not kept";
            return Some(Err(reason.to_owned()));
        }
        let done = self.shard.is_durable() && self.held.is_empty() && !self.snapshots.saving;
        done.then(|| self.last_snapshot())
    }

    /// So that the next start need not replay anything.
    fn last_snapshot(&mut self) -> Result<(), String> {
        let position = self.inner.reader.durable_end();
        if position == self.snapshots.last {
            return Ok(());
        }
        let state = self.shard.state().save();
        let payload = recovery::join_snapshot(&state, &self.inner.reader.export_index());
        self.snapshots
            .store
            .save(position, &payload)
            .map_err(|error| error.to_string())
    }
}
