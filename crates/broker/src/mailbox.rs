//! The mailbox: what comes to the shard's thread, how much of it may wait, and what the thread and
//! the doors share besides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use forebay_base::{Clock, SessionId};
use forebay_log::LogReader;
use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::engine::Input;
use crate::shard::ReplyTo;
use crate::stability::Stability;
use crate::{Command, Counters, Directory, Event, Options, Pressure, Refusal, Reply, RequestId};

pub(crate) type Answer = oneshot::Sender<Result<Reply, Refusal>>;

/// What comes to the shard's thread: an input, and who waits for what becomes of it.
pub(crate) enum Letter {
    Plain(Input),
    Call {
        to: ReplyTo,
        command: Command,
        answer: Answer,
    },
    OpenSession {
        id: SessionId,
        events: UnboundedSender<Event>,
    },
}

impl From<Input> for Letter {
    fn from(input: Input) -> Self {
        Self::Plain(input)
    }
}

/// What the shard's thread and the doors share.
pub(crate) struct Inner {
    inputs: Sender<Letter>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) directory: Directory,
    pub(crate) stability: Arc<Stability>,
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
        inputs: Sender<Letter>,
        clock: Arc<dyn Clock>,
        reader: Arc<LogReader>,
        options: &Options,
    ) -> Self {
        let pending = options.pending_bytes.max(crate::shard::PENDING_AT_MOST);
        Self {
            inputs,
            clock,
            directory: Directory::default(),
            stability: Arc::default(),
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

    pub(crate) fn open_session(&self) -> (SessionId, UnboundedReceiver<Event>) {
        let id = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        let (events, receiver) = unbounded_channel();
        self.put(Letter::OpenSession { id, events });
        (id, receiver)
    }

    pub(crate) fn end_session(&self, id: SessionId) {
        self.put(Input::SessionEnded(id));
    }

    /// Puts an input into the mailbox; a shard that has stopped needs none.
    pub(crate) fn put(&self, letter: impl Into<Letter>) -> bool {
        self.inputs.send(letter.into()).is_ok()
    }

    pub(crate) async fn send(
        &self,
        session: SessionId,
        request: RequestId,
        command: Command,
    ) -> Result<(), Refusal> {
        self.admit(&command).await?;
        let to = ReplyTo { session, request };
        let sent = self.put(Input::Command { to, command });
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
        let waits = matches!(
            command,
            Command::Receive(_) | Command::Watch { .. } | Command::WatchDecided { .. }
        );
        let to = ReplyTo { session, request };
        if !self.put(Letter::Call {
            to,
            command,
            answer,
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
                self.inner.put(Input::Cancelled(self.to.request));
            }
            Err(_) => {}
        }
    }
}
