//! The door: opening a broker, and sending it commands.

use std::sync::Arc;

use forebay_base::{Clock, Offset, PartitionId, SessionId, Timestamp, TopicId};
use forebay_log::LogReader;
use tokio::sync::watch;

use crate::mailbox::Inner;
use crate::runner::{self, Running};
use crate::stability::Stability;
use crate::{
    Command, Counters, Deliveries, Directory, Expectation, MoveId, MoveInfo, OpenError, Options,
    Outcome, Placed, Pressure, Publish, Receipt, Receive, Refusal, Reply, RequestId, Session,
    Settled, TopicConfig, TopicInfo, TopicStats,
};

/// What every front end holds: cheap to clone.
#[derive(Clone, Debug)]
pub struct Broker {
    inner: Arc<Inner>,
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
        let (id, events) = self.inner.open_session();
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

    /// Sends one command that needs no answer. A shard that is stopping does not take it.
    pub(crate) async fn tell(&self, command: Command) {
        let _ = self.inner.send(SessionId(0), RequestId(0), command).await;
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

    /// [`Command::StartMove`].
    ///
    /// # Errors
    /// [`Refusal::NoSuchTopic`], [`Refusal::MoveRunning`].
    pub async fn start_move(
        &self,
        source: TopicId,
        destination: Option<TopicId>,
        per_second: Option<u32>,
    ) -> Result<MoveInfo, Refusal> {
        let command = Command::StartMove {
            source,
            destination,
            per_second,
        };
        let reply = self.call(command).await;
        expect_reply!(reply, Reply::Move(info) => info)
    }

    /// [`Command::CancelMove`].
    ///
    /// # Errors
    /// [`Refusal::NoSuchMove`].
    pub async fn cancel_move(&self, id: MoveId) -> Result<MoveInfo, Refusal> {
        let reply = self.call(Command::CancelMove { id }).await;
        expect_reply!(reply, Reply::Move(info) => info)
    }

    /// [`Command::ListMoves`].
    ///
    /// # Errors
    /// [`Refusal::NoSuchTopic`].
    pub async fn list_moves(&self, source: TopicId) -> Result<Vec<MoveInfo>, Refusal> {
        let reply = self.call(Command::ListMoves { source }).await;
        expect_reply!(reply, Reply::Moves(moves) => moves)
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
        self.inner.counters.lock().clone()
    }

    /// [`Command::WatchDecided`].
    ///
    /// # Errors
    /// [`Refusal::Stopping`] only.
    pub async fn watch_decided(
        &self,
        partitions: Vec<(PartitionId, Offset)>,
        until: Timestamp,
    ) -> Result<(), Refusal> {
        let reply = self.call(Command::WatchDecided { partitions, until }).await;
        expect_reply!(reply, Reply::Done => ())
    }

    pub(crate) fn reader(&self) -> &Arc<LogReader> {
        &self.inner.reader
    }

    pub(crate) fn stability(&self) -> &Stability {
        &self.inner.stability
    }
}
