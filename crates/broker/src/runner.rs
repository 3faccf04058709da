//! The broker's threads: one for the shard, and those that do its jobs.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

use forebay_base::{Clock, SessionId, Timestamp};
use forebay_log::{
    DataDir, Journal, JournalNews, JournalThread, LogReader, Position, RealDisk, SnapshotStore,
};
use hashbrown::HashMap;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::engine::{Effect, Engine, INPUTS_AT_ONCE, Input, Job, LOOK_MS};
use crate::mailbox::{Answer, Inner, Letter, is_call};
use crate::options::Tuning;
use crate::promotion::{self, Work};
use crate::retention::Retention;
use crate::shard::{DeadLetterJob, ReplyTo};
use crate::stability::Stability;
use crate::{Event, OpenError, Options, Pressure, Refusal, Reply, RequestId};
use crate::{dead_letters, recovery, snapshots};

/// The running shard, owned by whoever opened the broker.
#[derive(Debug)]
pub struct Running {
    inputs: Sender<Letter>,
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
        let _ = self.inputs.send(Input::Stop.into());
        match self.stopped.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Ok(())),
            Err(_) => Err("the shard's thread has ended; its log says why".to_owned()),
        }
    }
}

struct Runner {
    engine: Engine,
    inputs: Receiver<Letter>,
    inner: Arc<Inner>,
    sessions: HashMap<SessionId, UnboundedSender<Event>>,
    calls: HashMap<RequestId, Answer>,
    workers: Workers,
    /// Retention ends when this is dropped.
    _retention: Sender<()>,
    stopped: watch::Sender<Option<Result<(), String>>>,
}

/// Those who do the shard's jobs. They end when this is dropped.
struct Workers {
    journal: JournalThread,
    snapshots: Sender<(Position, Vec<u8>)>,
    dead_letters: Sender<DeadLetterJob>,
    /// With the lock: as long as segments are written, nobody else may open the directory.
    promotion: Sender<(Work, Arc<DataDir>)>,
    data_dir: Arc<DataDir>,
}

/// Opens the data directory, recovers and starts the threads.
pub(crate) fn open(
    options: &Options,
    clock: Arc<dyn Clock>,
) -> Result<(Arc<Inner>, Running), OpenError> {
    let data_dir = Arc::new(DataDir::open(&options.data_dir)?);
    let store = SnapshotStore::open(Arc::new(RealDisk), data_dir.path(), data_dir.journal_id())?;
    let recovered = recovery::recover(options, &data_dir, &store)?;
    let start = recovered.start(options.journal_retain_bytes);
    let (state, journal, reader) = (recovered.state, recovered.journal, recovered.reader);
    let (snapshot, commits) = (recovered.snapshot, recovered.commits);
    tracing::info!(%snapshot, commits, end = %reader.durable_end(), "recovered");
    let (input_sender, inputs) = channel();
    let inner = Inner::new(input_sender.clone(), clock, reader.clone(), options);
    let inner = Arc::new(inner);
    let now = inner.clock.now();
    let engine = Engine::new(state, reader.clone(), &start, Tuning::default(), now);
    let (stopped_sender, stopped) = watch::channel(None);
    let runner = Runner {
        engine,
        inputs,
        inner: inner.clone(),
        sessions: HashMap::new(),
        calls: HashMap::new(),
        _retention: keep_retention(&inner, options.retention_every_ms)?,
        workers: Workers::start(
            journal,
            reader,
            store,
            data_dir,
            inner.stability.clone(),
            &input_sender,
        )?,
        stopped: stopped_sender,
    };
    let (ready, wait) = channel();
    Builder::new()
        .name("shard".into())
        .spawn(move || runner.run(&ready))?;
    // The directory shows everything recovered before anybody can ask.
    let _ = wait.recv();
    let running = Running {
        inputs: input_sender,
        stopped,
    };
    Ok((inner, running))
}

impl Workers {
    fn start(
        journal: Journal,
        reader: Arc<LogReader>,
        store: SnapshotStore,
        data_dir: Arc<DataDir>,
        stability: Arc<Stability>,
        shard: &Sender<Letter>,
    ) -> Result<Self, OpenError> {
        let promoter = journal.promoter();
        let back = shard.clone();
        let promotion = worker("promotion", move |(work, locked): (_, Arc<DataDir>)| {
            let input = promotion::work(&promoter, work);
            drop(locked);
            back.send(input.into()).is_ok()
        })?;
        let back = shard.clone();
        let journal = JournalThread::spawn(
            journal,
            Box::new(move |news| {
                let input = match news {
                    JournalNews::Written(result) => Input::Written(result),
                    JournalNews::Dropped(oldest) => Input::Dropped(oldest),
                };
                // The shard's thread has ended if nobody takes this.
                let _ = back.send(input.into());
            }),
        )?;
        let back = shard.clone();
        let dead_letters = worker("dead-letters", move |job| {
            dead_letters::fetch(job, &reader, &stability, &mut |input| {
                back.send(input.into()).is_ok()
            })
        })?;
        let back = shard.clone();
        let snapshots = worker("snapshots", move |(position, payload): (_, Vec<u8>)| {
            let saved = snapshots::save(&store, position, &payload);
            back.send(saved.into()).is_ok()
        })?;
        Ok(Self {
            journal,
            snapshots,
            dead_letters,
            promotion,
            data_dir,
        })
    }

    fn give(&self, job: Job) {
        // Each worker ends only after this thread.
        match job {
            Job::Write(commit) => self.journal.submit(commit),
            Job::DropJournal(below) => self.journal.drop_below(below),
            Job::SaveSnapshot { position, payload } => {
                let _ = self.snapshots.send((position, payload));
            }
            Job::FetchDeadLetters(job) => {
                let _ = self.dead_letters.send(job);
            }
            Job::Promotion(work) => {
                let _ = self.promotion.send((work, self.data_dir.clone()));
            }
        }
    }
}

/// Starts the thread that looks now and then what retention lets go.
fn keep_retention(inner: &Arc<Inner>, every_ms: u64) -> std::io::Result<Sender<()>> {
    let (alive, ended) = channel();
    let inner = inner.clone();
    let every = Duration::from_millis(every_ms.max(1));
    Builder::new().name("retention".into()).spawn(move || {
        let mut retention = Retention::default();
        while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            let now = inner.clock.now();
            for trim in retention.round(now, &inner.directory, &inner.reader) {
                inner.put(Input::Retain(trim));
            }
        }
    })?;
    Ok(alive)
}

/// Starts a thread that does jobs, one after the other, until `work` says that it is over or
/// nobody can send any more.
fn worker<J: Send + 'static>(
    name: &str,
    mut work: impl FnMut(J) -> bool + Send + 'static,
) -> std::io::Result<Sender<J>> {
    let (sender, jobs) = channel::<J>();
    Builder::new().name(name.to_owned()).spawn(move || {
        for job in jobs {
            if !work(job) {
                return;
            }
        }
    })?;
    Ok(sender)
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
        self.close();
        // The news comes last: whoever hears it may open the directory again.
        let stopped = self.stopped.clone();
        drop(self);
        stopped.send_replace(Some(outcome));
    }

    /// Takes what is there, lets it be decided, carries that out. Gives the outcome when it is
    /// time to stop.
    fn step(&mut self) -> Option<Result<(), String>> {
        let now = self.inner.clock.now();
        let next = self.engine.next_turn(now);
        let patience = next.map_or(LOOK_MS, |next| next.ms_since(now).min(LOOK_MS));
        let patience = Duration::from_millis(patience);
        let first = match self.inputs.recv_timeout(patience) {
            Ok(letter) => Some(letter),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Some(Ok(())),
        };
        let now = self.inner.clock.now();
        if let Some(letter) = first {
            self.open(now, letter);
            for _ in 0..INPUTS_AT_ONCE {
                let Ok(letter) = self.inputs.try_recv() else {
                    break;
                };
                self.open(now, letter);
            }
        }
        loop {
            self.engine.turn(now, &self.workers.journal.space());
            if !self.carry_out() {
                break;
            }
        }
        self.engine.outcome().cloned()
    }

    fn open(&mut self, now: Timestamp, letter: Letter) {
        let input = match letter {
            Letter::Plain(input) => input,
            Letter::Call {
                to,
                command,
                answer,
            } => {
                self.calls.insert(to.request, answer);
                Input::Command { to, command }
            }
            Letter::OpenSession { id, events } => {
                self.sessions.insert(id, events);
                Input::SessionOpened(id)
            }
        };
        match input {
            Input::SessionEnded(id) => drop(self.sessions.remove(&id)),
            Input::Stop => self.close(),
            _ => {}
        }
        self.engine.arrive(now, input);
    }

    /// Nobody is let in any more.
    fn close(&self) {
        self.inner.command_permits.close();
        self.inner.payload_permits.close();
    }

    /// Does what was decided, in order. Says whether messages came back meanwhile, which others
    /// may be waiting for.
    fn carry_out(&mut self) -> bool {
        let mut lost = Vec::new();
        for effect in self.engine.effects() {
            match effect {
                Effect::Reply { to, result } if is_call(to.request) => {
                    let Some(answer) = self.calls.remove(&to.request) else {
                        continue;
                    };
                    if let Err(Ok(Reply::Deliveries(deliveries))) = answer.send(result) {
                        lost.push((to.session, deliveries));
                    }
                }
                Effect::Reply { to, result } => tell(&self.sessions, to, result),
                Effect::Event { session, event } => {
                    if let Some(session) = self.sessions.get(&session) {
                        // A session that is gone has its end coming.
                        let _ = session.send(event);
                    }
                }
                Effect::Forget(request) => drop(self.calls.remove(&request)),
                Effect::Catalog(change) => self.inner.directory.follow(change),
                Effect::Stability(change) => self.inner.stability.follow(change),
                Effect::Pressure(reason) => {
                    let pressure = reason.map_or(Pressure::None, Pressure::StorageFull);
                    tracing::warn!(?pressure, "the pressure on publishers has changed");
                    self.inner.pressure.send_replace(pressure);
                }
                Effect::Taken {
                    commands,
                    payload_bytes,
                } => {
                    self.inner.command_permits.add_permits(commands);
                    self.inner.payload_permits.add_permits(payload_bytes);
                }
                Effect::Job(job) => self.workers.give(job),
            }
        }
        *self.inner.counters.lock() = self.engine.counters();
        let came_back = !lost.is_empty();
        for (session, lost) in lost {
            let now = self.inner.clock.now();
            self.engine
                .arrive(now, Input::Undelivered { session, lost });
        }
        came_back
    }
}

fn tell(
    sessions: &HashMap<SessionId, UnboundedSender<Event>>,
    to: ReplyTo,
    result: Result<Reply, Refusal>,
) {
    if let Some(session) = sessions.get(&to.session) {
        let request = to.request;
        // A session that is gone has its end coming.
        let _ = session.send(Event::Reply { request, result });
    }
}
