//! What can be asked of the shard, and what it answers: plain data, no closures, no borrows.

use std::ops::AddAssign;
use std::sync::Arc;

use forebay_base::{Offset, OffsetRange, PartitionId, Timestamp, TopicId};
use forebay_record::Batch;
use forebay_stream::{
    ActiveProducer, Committed, GroupDescription, GroupListing, GroupReply, HeartbeatRequest,
    JoinRequest, LeaveRequest, SyncRequest, TransactionDescription,
};

use crate::{
    Binding, ExchangeConfig, ExchangeInfo, Fields, MoveId, MoveInfo, Refusal, SettingChange,
    TopicConfig, TopicInfo,
};

/// Names one command of one session; the reply carries it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Names a standing consumer within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerId(pub u64);

/// Everything a front end can ask.
#[derive(Clone, Debug)]
pub enum Command {
    /// Append messages. Replies [`Reply::Published`].
    Publish(Publish),
    /// Make a topic. Replies [`Reply::Topic`], or [`Refusal::TopicExists`] with the one there is.
    CreateTopic {
        /// Its name.
        name: Arc<str>,
        /// Its policy.
        config: TopicConfig,
    },
    /// Replace a topic's policy (not its partition count, nor whether it is ordered). Replies [`Reply::Topic`].
    AlterTopic {
        /// Which.
        topic: TopicId,
        /// The whole new policy.
        config: TopicConfig,
    },
    /// Give a topic more partitions. Replies [`Reply::Topic`].
    GrowTopic {
        /// Which.
        topic: TopicId,
        /// How many it has then. Refused with [`Refusal::PartitionCount`] unless these are more
        /// than before, and for an ordered topic.
        partitions: u32,
    },
    /// Delete a topic, its records and its bindings. Replies [`Reply::Count`]: the ready messages
    /// that went with it.
    DeleteTopic {
        /// Which.
        topic: TopicId,
        /// Only under these conditions.
        only_if: Expectation,
    },
    /// Declare an exchange. Replies [`Reply::Exchange`], or [`Refusal::ExchangeExists`].
    DeclareExchange {
        /// Its name.
        name: Arc<str>,
        /// Its declaration.
        config: ExchangeConfig,
    },
    /// Delete an exchange and its bindings. Replies [`Reply::Done`].
    DeleteExchange {
        /// Its name.
        name: Arc<str>,
        /// Refuse with [`Refusal::InUse`] while it has bindings.
        if_unused: bool,
    },
    /// Add a binding; one that exists is left as it is. Replies [`Reply::Done`].
    Bind(Binding),
    /// Remove a binding; one that does not exist is no error. Replies [`Reply::Done`].
    Unbind(Binding),
    /// Take messages as work, once. Replies [`Reply::Deliveries`], empty if there were none in
    /// time.
    Receive(Receive),
    /// Become a standing consumer. Replies [`Reply::Done`]; deliveries follow as
    /// [`Event::Delivery`].
    Subscribe(Subscribe),
    /// Allow a standing consumer further deliveries. No reply.
    Credit {
        /// Which consumer of the sending session.
        consumer: ConsumerId,
        /// How many more.
        add: u32,
    },
    /// End a standing consumer; what it holds stays leased to the session. Replies
    /// [`Reply::Done`] after its last delivery event.
    Unsubscribe {
        /// Which consumer of the sending session.
        consumer: ConsumerId,
    },
    /// End deliveries. Replies [`Reply::Settled`] when that is durable.
    Settle {
        /// Which.
        receipts: Vec<Receipt>,
        /// How.
        outcome: Outcome,
    },
    /// Settle all ready and delayed messages of a topic. Replies [`Reply::Count`].
    Purge {
        /// Which topic.
        topic: TopicId,
        /// Also those in flight.
        leased: bool,
    },
    /// Let the oldest records of a partition go, settled or not, readable or held by consumers.
    /// Replies [`Reply::Start`] when that is durable; records that are gone already are no error.
    TrimPartition {
        /// Which partition.
        partition: PartitionId,
        /// The first offset that stays. Refused with [`Refusal::BeyondEnd`] if it is above the
        /// high watermark.
        before: Offset,
    },
    /// Measure a topic. Replies [`Reply::Stats`].
    Stats {
        /// Which topic.
        topic: TopicId,
    },
    /// Wait until one of the partitions has a durable record at or after the offset given for it.
    /// Replies [`Reply::Done`] then, or when the time is over.
    Watch {
        /// What to watch.
        partitions: Vec<(PartitionId, Offset)>,
        /// Until when.
        until: Timestamp,
    },
    /// As [`Command::Watch`], and no transaction may be open before that record.
    WatchDecided {
        /// What to watch.
        partitions: Vec<(PartitionId, Offset)>,
        /// Until when.
        until: Timestamp,
    },
    /// A new idempotent producer id, never given before. Replies [`Reply::Producer`].
    AllocateProducer,
    /// Membership of a consumer group. Replies [`Reply::Group`].
    Group(GroupCommand),
    /// Keep a group's offsets. Replies [`Reply::Done`] when durable.
    CommitOffsets(OffsetCommit),
    /// A group's committed offsets. Replies [`Reply::Offsets`].
    FetchOffsets {
        /// The group.
        group: String,
        /// For these partitions only; all it has if `None`.
        partitions: Option<Vec<PartitionId>>,
    },
    /// Forget what a group committed for some partitions. Replies [`Reply::Done`] when durable.
    DeleteOffsets {
        /// The group.
        group: String,
        /// The partitions; those without an offset are no error.
        partitions: Vec<PartitionId>,
    },
    /// What is known of a group's members. Replies [`Reply::GroupDescription`]; a group that has
    /// only committed offsets counts as empty, one that has nothing is refused.
    DescribeGroup {
        /// The group.
        group: String,
    },
    /// All groups with members or committed offsets. Replies [`Reply::Groups`].
    ListGroups,
    /// Move all ready messages of a topic elsewhere, at once or at a pace. Replies
    /// [`Reply::Move`] when it has begun, or [`Refusal::MoveRunning`]: a topic has one at a time.
    StartMove {
        /// From which topic.
        source: TopicId,
        /// Where to; `None` for the topic each message was dead-lettered from.
        destination: Option<TopicId>,
        /// At most so many messages a second.
        per_second: Option<u32>,
    },
    /// Stop a running move; what has moved has moved. Replies [`Reply::Move`].
    CancelMove {
        /// Which.
        id: MoveId,
    },
    /// The last ten moves from a topic. Replies [`Reply::Moves`], the latest first.
    ListMoves {
        /// From which topic.
        source: TopicId,
    },
    /// Change settings, all of them in one commit. Replies [`Reply::Done`].
    Set(Vec<SettingChange>),
    /// Replace the declaration of an exchange, all but its kind. Replies [`Reply::Exchange`].
    AlterExchange {
        /// Its name.
        name: Arc<str>,
        /// Its whole new declaration.
        config: ExchangeConfig,
    },
    /// All bindings. Replies [`Reply::Bindings`].
    ListBindings,
    /// Measure several topics at once. Replies [`Reply::StatsOf`].
    StatsOf(Vec<TopicId>),
    /// Delete a group without members and what it committed. Replies [`Reply::Done`].
    DeleteGroup {
        /// The group.
        group: String,
    },
    /// Transactions.
    Transaction(TransactionCommand),
}

/// Who asks about its transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transactional {
    /// The name the producer gave itself.
    pub name: String,
    /// The producer id it believes to have.
    pub producer: i64,
    /// And the epoch.
    pub epoch: i16,
}

/// Transactions (KIP-98).
#[derive(Clone, Debug)]
pub enum TransactionCommand {
    /// A producer names itself: lives before it are fenced, and what they left undecided is
    /// aborted. Replies [`Reply::Transactional`].
    Register {
        /// The name.
        name: String,
        /// How long its transactions may take, milliseconds.
        timeout_ms: u64,
        /// The id and epoch it believes to have, to go on after an error (KIP-360).
        expected: Option<(i64, i16)>,
    },
    /// The transaction will append to these partitions. Replies [`Reply::Done`] when durable.
    AddPartitions {
        /// Whose.
        who: Transactional,
        /// The partitions, all of which must exist.
        partitions: Vec<PartitionId>,
    },
    /// The transaction will commit offsets for a group. Replies [`Reply::Done`] when durable.
    AddGroup {
        /// Whose.
        who: Transactional,
        /// The group.
        group: String,
    },
    /// Offsets to commit if the transaction is committed. Replies [`Reply::Done`] when durable.
    HoldOffsets {
        /// Whose.
        who: Transactional,
        /// The offsets.
        commit: OffsetCommit,
    },
    /// The transaction takes effect as a whole, or not at all. Replies [`Reply::Done`] when that is
    /// durable; a repetition is answered in the same way.
    End {
        /// Whose.
        who: Transactional,
        /// Whether it takes effect.
        commit: bool,
    },
    /// An operator aborts the transaction of this producer id and epoch, and fences its producer.
    /// Replies [`Reply::Done`] when durable.
    Abort {
        /// The producer id.
        producer: i64,
        /// The epoch.
        epoch: i16,
    },
    /// What is known of a producer that named itself. Replies [`Reply::Transactions`] with one, or
    /// none.
    Describe {
        /// The name.
        name: String,
    },
    /// Everything known of producers that named themselves. Replies [`Reply::Transactions`], in
    /// order of name.
    List,
    /// Which of these partitions a transaction holds an offset of the group for. Replies
    /// [`Reply::Partitions`].
    Held {
        /// The group.
        group: String,
        /// The partitions.
        partitions: Vec<PartitionId>,
    },
    /// Who writes to a partition with sequence numbers. Replies [`Reply::Producers`].
    Producers {
        /// The partition.
        partition: PartitionId,
    },
}

/// Membership of a classic consumer group.
#[derive(Clone, Debug)]
pub enum GroupCommand {
    /// Join or rejoin; answered when the rebalance is complete.
    Join(JoinRequest),
    /// Deliver or await the assignment.
    Sync(SyncRequest),
    /// Still alive.
    Heartbeat(HeartbeatRequest),
    /// Leave.
    Leave(LeaveRequest),
}

/// Offsets to keep for a group.
#[derive(Clone, Debug)]
pub struct OffsetCommit {
    /// The group.
    pub group: String,
    /// The member, empty for a consumer outside group membership.
    pub member: String,
    /// Its static identity.
    pub instance: Option<String>,
    /// The generation it believes in; -1 outside group membership.
    pub generation: i32,
    /// What to keep. Partitions that do not exist must be left out.
    pub entries: Vec<(PartitionId, Committed)>,
}

/// Messages to append. Messages of one command are appended in order, in one commit.
#[derive(Clone, Debug)]
pub struct Publish {
    /// What to append, where.
    pub messages: Vec<Outgoing>,
    /// When to reply.
    pub durability: Durability,
    /// What to do when the disk is full.
    pub when_full: WhenFull,
}

/// One record batch on its way in. A batch of many records costs little more than one of one.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to.
    pub target: Target,
    /// The records. Its base offset is assigned here.
    pub batch: Batch,
    /// Hash of the records' common key: chooses the partition of a topic that has several. Without
    /// it partitions take turns.
    pub key_hash: Option<u32>,
    /// Not to be handed out as work before this time; overrides the topic's own delay.
    pub not_before: Option<Timestamp>,
    /// What makes the message a duplicate of one before, in a topic that finds these out and is
    /// named as the target; for a batch of one record.
    pub identity: Option<Identity>,
    /// How long the messages are worth something, milliseconds, if not longer than the topic says.
    pub lives_ms: Option<u64>,
}

/// What a message's duplicates are known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A digest, the lower and upper half each as good as random: a message with the key of one
    /// that was sent within the topic's window is its duplicate.
    pub key: u128,
    /// The message's own id, which whoever sends a duplicate is told.
    pub id: u128,
}

/// Where a message is published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One partition.
    Partition(PartitionId),
    /// A topic; the broker chooses the partition.
    Topic(TopicId),
    /// An exchange, which routes to any number of topics, none included.
    Exchange {
        /// Its name; empty for the default exchange.
        exchange: Arc<str>,
        /// The routing key.
        routing_key: Arc<str>,
    },
    /// The same with several routing keys, or with fields to route by. A topic that several keys
    /// reach gets the message once.
    Routes {
        /// The exchange's name; empty for the default exchange.
        exchange: Arc<str>,
        /// The routing keys.
        routing_keys: Vec<Arc<str>>,
        /// What the message says of itself.
        fields: Fields,
    },
}

/// When a publish is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After the sync.
    Synced,
    /// At once, when the message has its place: it is lost if the machine or the program stops
    /// before the next sync.
    Written,
}

/// What a publish does while the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// Refuse with [`Refusal::StorageFull`].
    Refuse,
    /// Wait, in order, until space returns.
    Wait,
}

/// Where a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// How many topics took it; 0 if no binding wanted it.
    pub routed: u32,
    /// The first partition it went to. Meaningless if `routed` is 0.
    pub partition: PartitionId,
    /// The offset of its first record there.
    pub base_offset: Offset,
    /// If nothing was appended because it is a duplicate: the id of the message that lies there.
    pub original: Option<u128>,
    /// How many topics more should have taken it and had no room for it.
    pub refused: u32,
}

/// Credit with a deadline.
#[derive(Clone, Debug)]
pub struct Receive {
    /// From which topic.
    pub topic: TopicId,
    /// At most so many, at least 1.
    pub max: u32,
    /// Wait until then for the first; `None` answers at once.
    pub until: Option<Timestamp>,
    /// How the messages are held.
    pub mode: ConsumerMode,
    /// Names this attempt to receive, by a digest. The same attempt made again within five minutes
    /// gets the same messages under the same receipts, leased anew, as long as their leases last
    /// and nothing was done with any of them. Of leases with a time only.
    pub attempt: Option<u128>,
}

/// How deliveries are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerMode {
    /// Leased for so many milliseconds, whatever happens to the session; 0 makes them ready again
    /// at once.
    LeaseMs(u64),
    /// Leased until settled or the session ends.
    UntilSessionEnds,
    /// Settled by being delivered: at most once.
    Settled,
}

/// A standing consumer.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Of which topic.
    pub topic: TopicId,
    /// Its id, chosen by the session, not in use there.
    pub consumer: ConsumerId,
    /// How many deliveries it is ready to take now.
    pub credit: u32,
    /// How they are held.
    pub mode: ConsumerMode,
    /// No other consumer beside it.
    pub exclusive: bool,
    /// It is served before those of a lower priority as long as it has credit. 0 is the usual
    /// one, and that of [`Receive`].
    pub priority: i32,
}

/// Messages handed out, by runs of neighbouring offsets. Read them with
/// [`crate::Broker::records`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deliveries {
    /// The topic.
    pub topic: TopicId,
    /// What was handed out.
    pub runs: Vec<Run>,
    /// When.
    pub at: Timestamp,
}

impl Deliveries {
    /// How many messages.
    pub fn len(&self) -> usize {
        self.runs.iter().map(|run| run.range.count as usize).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// Neighbouring messages of one partition handed out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The partition.
    pub partition: PartitionId,
    /// The offsets.
    pub range: OffsetRange,
    /// 1 at the first delivery, one more at each further.
    pub attempt: u32,
}

/// Names one delivery of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Receipt {
    /// The partition.
    pub partition: PartitionId,
    /// The message.
    pub offset: Offset,
    /// Which delivery of it.
    pub attempt: u32,
}

/// How a delivery ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done for ever.
    Ack,
    /// Done for ever if the lease is still held; nothing otherwise.
    AckLeased,
    /// Back to the queue.
    Release {
        /// Not again before so many milliseconds.
        delay_ms: u64,
        /// Whether the delivery counts as one.
        count: bool,
    },
    /// Hold it so many milliseconds from now.
    Extend {
        /// Milliseconds from now.
        ms: u64,
    },
    /// To the topic's dead-letter target.
    DeadLetter,
}

/// What became of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It was held under this receipt, and the outcome took effect.
    Held,
    /// Its lease had run out and nobody has it: [`Outcome::Ack`] still settles it, nothing else
    /// takes effect.
    Expired,
    /// It has been handed out again since; nothing changed.
    Stale,
    /// It is settled already, or never existed.
    Gone,
}

/// Conditions of a deletion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// Refuse with [`Refusal::InUse`] while the topic has standing consumers.
    pub unused: bool,
    /// Refuse with [`Refusal::NotEmpty`] while it has ready messages.
    pub empty: bool,
}

/// Measures of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicStats {
    /// Messages ready to be handed out.
    pub ready: u64,
    /// Messages in flight.
    pub leased: u64,
    /// Messages that wait for their time.
    pub delayed: u64,
    /// Standing consumers.
    pub consumers: u32,
}

/// What has gone through a topic, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicWork {
    /// Messages that came in all its life: the sum of where its partitions end.
    pub appended: u64,
    /// Messages handed out as work since the broker started.
    pub handed_out: u64,
    /// Of these, not for the first time.
    pub redelivered: u64,
    /// Of these, settled by being handed out.
    pub handed_settled: u64,
    /// Messages settled by receipt since the broker started.
    pub settled: u64,
}

impl AddAssign for TopicWork {
    fn add_assign(&mut self, other: Self) {
        self.appended += other.appended;
        self.handed_out += other.handed_out;
        self.redelivered += other.redelivered;
        self.handed_settled += other.handed_settled;
        self.settled += other.settled;
    }
}

/// What the shard answers.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Done, with nothing to tell.
    Done,
    /// A topic.
    Topic(Arc<TopicInfo>),
    /// An exchange.
    Exchange(Arc<ExchangeInfo>),
    /// One result for each message, in order.
    Published(Vec<Result<Placed, Refusal>>),
    /// What was received.
    Deliveries(Deliveries),
    /// One result for each receipt, in order.
    Settled(Vec<Settled>),
    /// A number of messages.
    Count(u64),
    /// The first readable offset of a partition.
    Start(Offset),
    /// Measures.
    Stats(TopicStats),
    /// Measures of each topic asked for; `None` for one that is not there.
    StatsOf(Vec<Option<(TopicStats, TopicWork)>>),
    /// All bindings, in order.
    Bindings(Vec<Binding>),
    /// A producer id.
    Producer(i64),
    /// What the group says.
    Group(GroupReply),
    /// Committed offsets. Partitions without one are left out.
    Offsets(Vec<(PartitionId, Committed)>),
    /// A group.
    GroupDescription(GroupDescription),
    /// A move.
    Move(MoveInfo),
    /// Moves.
    Moves(Vec<MoveInfo>),
    /// Groups, in order of name.
    Groups(Vec<GroupListing>),
    /// A producer that named itself.
    Transactional {
        /// Its producer id.
        producer: i64,
        /// Its epoch.
        epoch: i16,
    },
    /// What is known of producers that named themselves.
    Transactions(Vec<TransactionDescription>),
    /// Partitions.
    Partitions(Vec<PartitionId>),
    /// The producers of a partition, and where each has an open transaction's first record there.
    Producers(Vec<(ActiveProducer, Option<Offset>)>),
}

/// What the shard tells a session.
#[derive(Clone, Debug)]
pub enum Event {
    /// The answer to a command that was sent with [`crate::SessionHandle::submit`].
    Reply {
        /// Which command.
        request: RequestId,
        /// The answer.
        result: Result<Reply, Refusal>,
    },
    /// Messages for a standing consumer.
    Delivery {
        /// Which consumer.
        consumer: ConsumerId,
        /// What.
        deliveries: Deliveries,
    },
    /// The consumer's topic is gone, and so is the consumer.
    ConsumerCancelled {
        /// Which consumer.
        consumer: ConsumerId,
    },
}
