//! The door: opening a broker, and sending it commands.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use forebay_base::{Clock, Offset, PartitionId, SessionId, Timestamp, TopicId};
use forebay_log::{DataDirError, LogReader, RecoverError, SnapshotError};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::runner::{self, Input};
use crate::shard::ReplyTo;
use crate::{
    Command, Deliveries, Directory, Expectation, FrameError, Outcome, Placed, Publish, Receipt,
    Receive, Refusal, Reply, RequestId, Session, Settled, TopicConfig, TopicInfo, TopicStats,
};

/// How to open a broker.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything lies. Made if it is not there.
    pub data_dir: PathBuf,
    /// Size of one journal file, bytes: a multiple of 4096, at least 16 MiB for messages of the
    /// largest size. A journal that exists keeps the size it was made with.
    pub journal_file_bytes: u64,
    /// So much of the newest journal is kept although nothing in it is needed any more, so that
    /// recent work can be replayed, bytes.
    pub journal_retain_bytes: u64,
    /// Memory for the newest records, bytes.
    pub cache_bytes: usize,
    /// Publishing waits while the disk has less than this free, bytes.
    pub min_free_bytes: u64,
    /// Commands other than publishes that may wait for the shard.
    pub mailbox_commands: usize,
    /// Payload bytes that may wait to become durable; at least 32 MiB.
    pub pending_bytes: usize,
}

impl Options {
    /// The defaults, on `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            journal_file_bytes: 64 << 20,
            journal_retain_bytes: 256 << 20,
            cache_bytes: 32 << 20,
            min_free_bytes: 64 << 20,
            mailbox_commands: 16 << 10,
            pending_bytes: 64 << 20,
        }
    }
}

/// Why a broker did not open. Each says in one sentence what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] RecoverError),
    /// The snapshots cannot be read.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Something that was durable cannot be read.
    #[error(
        "journal file {} is damaged at byte {byte} (position {position}){}; nothing was changed: \
         restore the file from a copy",
        file.display(),
        match others { 0 => String::new(), more => format!(" and in {more} places more") }
    )]
    Damaged {
        /// The damaged file.
        file: PathBuf,
        /// Where the damage starts in the journal.
        position: u64,
        /// Where it starts in the file.
        byte: u64,
        /// How many further damaged places there are.
        others: usize,
    },
    /// A frame or snapshot of a later version, or none of ours.
    #[error("the journal holds a frame that {0}; use the program that wrote it or a later one")]
    Frame(#[from] FrameError),
    /// A thread could not be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// Whether publishing is held up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    /// It is not.
    #[default]
    None,
    /// The disk is full or nearly so; the text says more.
    StorageFull(Arc<str>),
}

/// Counts since the start, but for those that say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Topics there are.
    pub topics: u64,
    /// Sessions open.
    pub sessions: u64,
    /// Commits made durable. Each took one write and one sync.
    pub commits: u64,
    /// Bytes of these commits.
    pub journal_bytes: u64,
    /// Records appended.
    pub records_in: u64,
    /// Bytes of record batches appended.
    pub bytes_in: u64,
    /// Records handed out as work.
    pub records_out: u64,
    /// Of these, not for the first time.
    pub redelivered: u64,
    /// Records settled.
    pub settled: u64,
    /// Records that became dead letters.
    pub dead_lettered: u64,
}

/// What every front end holds: cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    inner: Arc<Inner>,
}

/// The running shard, owned by whoever opened the broker.
#[derive(Debug)]
pub struct Running {
    pub(crate) inputs: Sender<Input>,
    pub(crate) stopped: watch::Receiver<Option<Result<(), String>>>,
}

/// What the shard's thread and the doors share.
pub(crate) struct Inner {
    inputs: Sender<Input>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) directory: Directory,
    pub(crate) reader: Arc<LogReader>,
    pub(crate) pressure: watch::Sender<Pressure>,
    pub(crate) counters: Mutex<Counters>,
    /// One for every command other than a publish that may wait.
    pub(crate) command_permits: Semaphore,
    /// One for every payload byte that may be pending.
    pub(crate) payload_permits: Semaphore,
    next_request: AtomicU64,
    next_session: AtomicU64,
}

/// Set in a request's number if a caller waits for its reply outside the session's events.
const CALL: u64 = 1 << 63;

pub(crate) fn is_call(request: RequestId) -> bool {
    request.0 & CALL != 0
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn new(
        inputs: Sender<Input>,
        clock: Arc<dyn Clock>,
        reader: Arc<LogReader>,
        options: &Options,
    ) -> Self {
        let pending = options.pending_bytes.max(crate::shard::PENDING_AT_MOST);
        Self {
            inputs,
            clock,
            directory: Directory::default(),
            reader,
            pressure: watch::Sender::new(Pressure::None),
            counters: Mutex::default(),
            command_permits: Semaphore::new(options.mailbox_commands.max(1)),
            payload_permits: Semaphore::new(pending),
            next_request: AtomicU64::new(1),
            next_session: AtomicU64::new(1),
        }
    }

    pub(crate) fn next_request(&self) -> RequestId {
        RequestId(self.next_request.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn end_session(&self, id: SessionId) {
        self.put(Input::EndSession(id));
    }

    /// Puts an input into the mailbox; a shard that has stopped needs none.
    fn put(&self, input: Input) -> bool {
        self.inputs.send(input).is_ok()
    }

    pub(crate) async fn send(
        &self,
        session: SessionId,
        request: RequestId,
        command: Command,
    ) -> Result<(), Refusal> {
        self.admit(&command).await?;
        let to = ReplyTo { session, request };
        let sent = self.put(Input::Command {
            to,
            command,
            answer: None,
        });
        sent.then_some(()).ok_or(Refusal::Stopping)
    }

    pub(crate) async fn call(
        &self,
        session: SessionId,
        command: Command,
    ) -> Result<Reply, Refusal> {
        self.admit(&command).await?;
        let request = RequestId(self.next_request().0 | CALL);
        let (answer, reply) = oneshot::channel();
        let waits = matches!(command, Command::Receive(_) | Command::Watch { .. });
        let to = ReplyTo { session, request };
        if !self.put(Input::Command {
            to,
            command,
            answer: Some(answer),
        }) {
            return Err(Refusal::Stopping);
        }
        let mut call = Call {
            inner: self,
            to,
            waits,
            reply,
            answered: false,
        };
        let result = (&mut call.reply).await;
        call.answered = true;
        result.unwrap_or(Err(Refusal::Stopping))
    }

    /// Waits until the shard may be given one command more.
    async fn admit(&self, command: &Command) -> Result<(), Refusal> {
        let permit = match command {
            Command::Publish(publish) => {
                let bytes = u32::try_from(publish.payload_bytes()).unwrap_or(u32::MAX);
                self.payload_permits.acquire_many(bytes).await
            }
            _ => self.command_permits.acquire().await,
        };
        permit.map_err(|_| Refusal::Stopping)?.forget();
        Ok(())
    }
}

/// A call whose caller waits for the reply. A caller that gives up leaves nothing behind: what
/// waits is cancelled, and messages that were on their way go back.
struct Call<'a> {
    inner: &'a Inner,
    to: ReplyTo,
    waits: bool,
    reply: oneshot::Receiver<Result<Reply, Refusal>>,
    answered: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // A reply that comes later finds the door closed and is given back by the shard's thread.
        self.reply.close();
        match self.reply.try_recv() {
            Ok(Ok(Reply::Deliveries(lost))) => {
                let session = self.to.session;
                self.inner.put(Input::Undelivered { session, lost });
            }
            Ok(_) => {}
            Err(_) if self.waits => {
                self.inner.put(Input::Cancel(self.to.request));
            }
            Err(_) => {}
        }
    }
}

macro_rules! expect_reply {
    ($reply:expr, $pattern:pat => $value:expr) => {
        match $reply? {
            $pattern => Ok($value),
            other => {
                unreachable!("the shard answers each command with its own reply, not {other:?}")
            }
        }
    };
}

impl Broker {
    /// Opens the data directory, recovers, and starts the shard. Blocks until it is ready.
    ///
    /// # Errors
    /// The directory cannot be used, or what lies in it is damaged: nothing was changed then.
    pub fn open(options: Options, clock: Arc<dyn Clock>) -> Result<(Self, Running), OpenError> {
        let (inner, running) = runner::open(&options, clock)?;
        Ok((Self { inner }, running))
    }

    /// The topics and exchanges.
    pub fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// The present moment, by the broker's clock.
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Opens a session.
    pub fn session(&self) -> Session {
        let id = SessionId(self.inner.next_session.fetch_add(1, Ordering::Relaxed));
        let (sender, events) = mpsc::unbounded_channel();
        self.inner.put(Input::OpenSession { id, events: sender });
        Session::new(id, self.inner.clone(), events)
    }

    /// Sends one command and waits for its reply, outside any session: what it leases must have a
    /// time. Dropping the future cancels a receive or watch that still waits.
    ///
    /// # Errors
    /// Whatever the shard refuses.
    pub async fn call(&self, command: Command) -> Result<Reply, Refusal> {
        self.inner.call(SessionId(0), command).await
    }

    /// [`Command::Publish`]. The outer error means that nothing was appended.
    ///
    /// # Errors
    /// [`Refusal::StorageFull`], [`Refusal::Stopping`]; for single messages see the results.
    pub async fn publish(&self, publish: Publish) -> Result<Vec<Result<Placed, Refusal>>, Refusal> {
        let reply = self.call(Command::Publish(publish)).await;
        expect_reply!(reply, Reply::Published(results) => results)
    }

    /// [`Command::CreateTopic`].
    ///
    /// # Errors
    /// [`Refusal::TopicExists`] with the topic there is.
    pub async fn create_topic(
        &self,
        name: &str,
        config: TopicConfig,
    ) -> Result<Arc<TopicInfo>, Refusal> {
        let reply = self
            .call(Command::CreateTopic {
                name: name.into(),
                config,
            })
            .await;
        expect_reply!(reply, Reply::Topic(topic) => topic)
    }

    /// [`Command::AlterTopic`].
    ///
    /// # Errors
    /// [`Refusal::NoSuchTopic`].
    pub async fn alter_topic(
        &self,
        topic: TopicId,
        config: TopicConfig,
    ) -> Result<Arc<TopicInfo>, Refusal> {
        let reply = self.call(Command::AlterTopic { topic, config }).await;
        expect_reply!(reply, Reply::Topic(topic) => topic)
    }

    /// [`Command::DeleteTopic`]. Gives the number of ready messages that went with it.
    ///
    /// # Errors
    /// [`Refusal::NoSuchTopic`], [`Refusal::InUse`], [`Refusal::NotEmpty`].
    pub async fn delete_topic(&self, topic: TopicId, only_if: Expectation) -> Result<u64, Refusal> {
        let reply = self.call(Command::DeleteTopic { topic, only_if }).await;
        expect_reply!(reply, Reply::Count(count) => count)
    }

    /// [`Command::Receive`].
    ///
    /// # Errors
    /// [`Refusal::NoSuchTopic`], [`Refusal::ConsumerExclusive`].
    pub async fn receive(&self, receive: Receive) -> Result<Deliveries, Refusal> {
        let reply = self.call(Command::Receive(receive)).await;
        expect_reply!(reply, Reply::Deliveries(deliveries) => deliveries)
    }

    /// [`Command::Settle`]. Returns when the outcome is durable.
    ///
    /// # Errors
    /// [`Refusal::Stopping`] only; for single receipts see the results.
    pub async fn settle(
        &self,
        receipts: Vec<Receipt>,
        outcome: Outcome,
    ) -> Result<Vec<Settled>, Refusal> {
        let reply = self.call(Command::Settle { receipts, outcome }).await;
        expect_reply!(reply, Reply::Settled(results) => results)
    }

    /// [`Command::Purge`]. Gives the number of ready messages purged.
    ///
    /// # Errors
    /// [`Refusal::NoSuchTopic`].
    pub async fn purge(&self, topic: TopicId, leased: bool) -> Result<u64, Refusal> {
        let reply = self.call(Command::Purge { topic, leased }).await;
        expect_reply!(reply, Reply::Count(count) => count)
    }

    /// [`Command::Stats`].
    ///
    /// # Errors
    /// [`Refusal::NoSuchTopic`].
    pub async fn stats(&self, topic: TopicId) -> Result<TopicStats, Refusal> {
        let reply = self.call(Command::Stats { topic }).await;
        expect_reply!(reply, Reply::Stats(stats) => stats)
    }

    /// [`Command::Watch`].
    ///
    /// # Errors
    /// [`Refusal::Stopping`] only.
    pub async fn watch(
        &self,
        partitions: Vec<(PartitionId, Offset)>,
        until: Timestamp,
    ) -> Result<(), Refusal> {
        let reply = self.call(Command::Watch { partitions, until }).await;
        expect_reply!(reply, Reply::Done => ())
    }

    /// Whether publishing is held up, and why; changes as that changes.
    pub fn pressure(&self) -> watch::Receiver<Pressure> {
        self.inner.pressure.subscribe()
    }

    /// Counters of the whole broker.
    pub fn counters(&self) -> Counters {
        *self.inner.counters.lock()
    }

    pub(crate) fn reader(&self) -> &Arc<LogReader> {
        &self.inner.reader
    }
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
