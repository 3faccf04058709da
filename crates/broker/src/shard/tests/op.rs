//! What can happen to a shard. Things are named by small numbers, which find a fitting one among
//! those there are, so that a list of steps stays meaningful when some are left out.

use proptest::prelude::*;

/// The policy of a topic.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) partitions: u32,
    pub(super) delay_ms: u64,
    pub(super) max_deliveries: Option<u32>,
    pub(super) dead_letter: DeadLetters,
    pub(super) small_messages: bool,
    pub(super) transient: bool,
    pub(super) auto_delete: bool,
    pub(super) until_settled: bool,
}

#[derive(Clone, Debug)]
pub(super) enum DeadLetters {
    None,
    Topic(u8),
    Exchange { exchange: u8, key: Option<u8> },
}

#[derive(Clone, Debug)]
pub(super) enum To {
    Partition(u8),
    Topic { topic: u8, key_hash: Option<u32> },
    Exchange { exchange: u8, key: u8 },
}

/// Which batch of an idempotent producer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sequence {
    Next,
    Repeated(u8),
    Gap,
}

#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) to: To,
    pub(super) records: u8,
    pub(super) filler: u16,
    pub(super) producer: Option<(u8, Sequence)>,
    pub(super) delay_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Hold {
    LeaseMs(u64),
    Session,
    Settled,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Ack,
    AckLeased,
    Release { delay_ms: u64, count: bool },
    Extend { ms: u64 },
    DeadLetter,
}

#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) exchange: u8,
    pub(super) to_exchange: bool,
    pub(super) destination: u8,
    pub(super) key: u8,
}

#[derive(Clone, Debug)]
pub(super) enum Op {
    CreateTopic {
        name: u8,
        session: u8,
        exclusive: bool,
        policy: Policy,
    },
    AlterTopic {
        topic: u8,
        session: u8,
        policy: Policy,
    },
    GrowTopic {
        topic: u8,
        session: u8,
        partitions: u32,
    },
    DeleteTopic {
        topic: u8,
        session: u8,
        unused: bool,
        empty: bool,
    },
    DeclareExchange {
        name: u8,
        kind: u8,
        durable: bool,
        auto_delete: bool,
        internal: bool,
    },
    DeleteExchange {
        name: u8,
        if_unused: bool,
    },
    Bind(Link),
    Unbind(Link),
    Publish {
        session: u8,
        bodies: Vec<Body>,
        synced: bool,
        wait: bool,
    },
    Receive {
        session: u8,
        topic: u8,
        max: u32,
        wait_ms: u64,
        hold: Hold,
    },
    Subscribe {
        session: u8,
        topic: u8,
        consumer: u8,
        credit: u32,
        hold: Hold,
        exclusive: bool,
    },
    Credit {
        session: u8,
        consumer: u8,
        add: u32,
    },
    Unsubscribe {
        session: u8,
        consumer: u8,
    },
    /// `older` goes back so many attempts.
    Settle {
        session: u8,
        deliveries: Vec<(u8, u8)>,
        end: End,
        told: bool,
    },
    Purge {
        topic: u8,
        session: u8,
        leased: bool,
    },
    Trim {
        session: u8,
        partition: u8,
        before: u8,
    },
    /// Retention asks for it: up to an offset, or up to the last of some below which all is
    /// settled.
    Retain {
        partition: u8,
        up_to: Vec<u8>,
        settled: bool,
    },
    Watch {
        session: u8,
        partitions: Vec<(u8, u8)>,
        wait_ms: u64,
    },
    AllocateProducer,
    Ask {
        what: u8,
        topic: u8,
        group: u8,
    },
    Join {
        group: u8,
        member: u8,
    },
    CommitOffsets {
        group: u8,
        partition: u8,
        offset: u8,
    },
    DeleteOffsets {
        group: u8,
        partition: u8,
    },
    DeleteGroup {
        group: u8,
    },
    EndSession {
        session: u8,
    },
    Cancel {
        which: u8,
    },
    AnswerDeadLetter {
        which: u8,
        readable: bool,
    },
    StorageFull(bool),
    Advance {
        ms: u64,
    },
    /// The journal gets on: takes a commit, or writes the one it took, or tells that it is done.
    Journal {
        steps: u8,
        lazy: bool,
    },
    /// The next commit is followed by a snapshot, if the moment allows.
    Snapshot,
    /// The oldest part of the journal is worked off into segments.
    Promote,
    /// A partition's runs are written anew, and what is dead is deleted.
    Clean(u8),
    /// What nobody needs is dropped from the journal.
    Drop,
    /// The power will go at one of the next operations of the disk.
    Arm {
        operations: u8,
    },
    /// The power goes now; in the first recovery once more, if `again` says so.
    Crash {
        torn: Option<u64>,
        again: Option<u8>,
    },
}

fn policy() -> impl Strategy<Value = Policy> {
    let dead_letter = prop_oneof![
        3 => Just(DeadLetters::None),
        4 => (0..5u8).prop_map(DeadLetters::Topic),
        1 => (0..4u8, prop::option::of(0..6u8))
            .prop_map(|(exchange, key)| DeadLetters::Exchange { exchange, key }),
    ];
    (
        prop_oneof![3 => Just(1u32), 1 => 2..4u32],
        prop_oneof![4 => Just(0u64), 1 => Just(50), 1 => Just(700)],
        prop::option::of(1..4u32),
        dead_letter,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.8),
    )
        .prop_map(
            |(
                partitions,
                delay_ms,
                max_deliveries,
                dead_letter,
                small_messages,
                transient,
                auto_delete,
                until_settled,
            )| Policy {
                partitions,
                delay_ms,
                max_deliveries,
                dead_letter,
                small_messages,
                transient,
                auto_delete,
                until_settled,
            },
        )
}

fn body(to: impl Strategy<Value = To>) -> impl Strategy<Value = Body> {
    let sequence = prop_oneof![
        4 => Just(Sequence::Next),
        2 => (0..7u8).prop_map(Sequence::Repeated),
        1 => Just(Sequence::Gap),
    ];
    (
        to,
        1..4u8,
        prop_oneof![1 => 0..60u16, 1 => 0..700u16],
        prop::option::weighted(0.3, (0..2u8, sequence)),
        prop::option::weighted(0.15, prop_oneof![0..500u64, Just(u64::MAX)]),
    )
        .prop_map(|(to, records, filler, producer, delay_ms)| Body {
            to,
            records,
            filler,
            producer,
            delay_ms,
        })
}

fn bodies() -> impl Strategy<Value = Vec<Body>> {
    let straight = prop_oneof![
        any::<u8>().prop_map(To::Partition),
        (any::<u8>(), prop::option::weighted(0.3, any::<u32>()))
            .prop_map(|(topic, key_hash)| To::Topic { topic, key_hash }),
    ];
    let routed = (0..6u8, 0..6u8).prop_map(|(exchange, key)| To::Exchange { exchange, key });
    prop_oneof![
        3 => prop::collection::vec(body(straight), 1..4),
        1 => prop::collection::vec(body(routed), 1..2),
    ]
}

fn hold() -> impl Strategy<Value = Hold> {
    prop_oneof![
        3 => prop_oneof![Just(0u64), 1..400u64, Just(60_000)].prop_map(Hold::LeaseMs),
        3 => Just(Hold::Session),
        1 => Just(Hold::Settled),
    ]
}

fn end() -> impl Strategy<Value = End> {
    let delay = || prop_oneof![6 => Just(0u64), 4 => 1..400u64, 1 => Just(u64::MAX)];
    prop_oneof![
        4 => Just(End::Ack),
        1 => Just(End::AckLeased),
        3 => (delay(), prop::bool::weighted(0.8))
            .prop_map(|(delay_ms, count)| End::Release { delay_ms, count }),
        1 => delay().prop_map(|ms| End::Extend { ms }),
        2 => Just(End::DeadLetter),
    ]
}

fn link() -> impl Strategy<Value = Link> {
    (0..6u8, prop::bool::weighted(0.2), 0..6u8, 0..6u8).prop_map(
        |(exchange, to_exchange, destination, key)| Link {
            exchange,
            to_exchange,
            destination,
            key,
        },
    )
}

fn wait() -> impl Strategy<Value = u64> {
    prop_oneof![2 => Just(0u64), 1 => 1..200u64, 2 => Just(10_000)]
}

fn session() -> impl Strategy<Value = u8> {
    0..3u8
}

fn catalog_op() -> BoxedStrategy<Op> {
    prop_oneof![
        4 => (0..5u8, session(), prop::bool::weighted(0.1), policy()).prop_map(
            |(name, session, exclusive, policy)| Op::CreateTopic {
                name,
                session,
                exclusive,
                policy
            }
        ),
        1 => (any::<u8>(), session(), policy())
            .prop_map(|(topic, session, policy)| Op::AlterTopic { topic, session, policy }),
        1 => (any::<u8>(), session(), 0..5u32).prop_map(
            |(topic, session, partitions)| Op::GrowTopic { topic, session, partitions }
        ),
        1 => (any::<u8>(), session(), any::<bool>(), any::<bool>()).prop_map(
            |(topic, session, unused, empty)| Op::DeleteTopic { topic, session, unused, empty }
        ),
        2 => (
            0..6u8,
            0..3u8,
            any::<bool>(),
            prop::bool::weighted(0.3),
            prop::bool::weighted(0.1)
        )
            .prop_map(|(name, kind, durable, auto_delete, internal)| Op::DeclareExchange {
                name,
                kind,
                durable,
                auto_delete,
                internal
            }),
        1 => (0..6u8, any::<bool>())
            .prop_map(|(name, if_unused)| Op::DeleteExchange { name, if_unused }),
        4 => link().prop_map(Op::Bind),
        1 => link().prop_map(Op::Unbind),
    ]
    .boxed()
}

fn work_op() -> BoxedStrategy<Op> {
    prop_oneof![
        9 => (session(), bodies(), prop::bool::weighted(0.85), any::<bool>()).prop_map(
            |(session, bodies, synced, wait)| Op::Publish { session, bodies, synced, wait }
        ),
        7 => (session(), any::<u8>(), 1..9u32, wait(), hold()).prop_map(
            |(session, topic, max, wait_ms, hold)| Op::Receive {
                session,
                topic,
                max,
                wait_ms,
                hold
            }
        ),
        2 => (session(), any::<u8>(), 0..3u8, 0..6u32, hold(), prop::bool::weighted(0.1))
            .prop_map(|(session, topic, consumer, credit, hold, exclusive)| Op::Subscribe {
                session,
                topic,
                consumer,
                credit,
                hold,
                exclusive
            }),
        1 => (session(), 0..3u8, 0..5u32)
            .prop_map(|(session, consumer, add)| Op::Credit { session, consumer, add }),
        1 => (session(), 0..3u8)
            .prop_map(|(session, consumer)| Op::Unsubscribe { session, consumer }),
        9 => (
            session(),
            prop::collection::vec(
                (any::<u8>(), prop_oneof![12 => Just(0u8), 1 => Just(1), 1 => Just(255)]),
                1..5
            ),
            end(),
            prop::bool::weighted(0.2)
        )
            .prop_map(|(session, deliveries, end, told)| Op::Settle {
                session,
                deliveries,
                end,
                told
            }),
        1 => (any::<u8>(), session(), any::<bool>())
            .prop_map(|(topic, session, leased)| Op::Purge { topic, session, leased }),
        3 => (any::<u8>(), prop::bool::weighted(0.9))
            .prop_map(|(which, readable)| Op::AnswerDeadLetter { which, readable }),
    ]
    .boxed()
}

fn stream_op() -> BoxedStrategy<Op> {
    prop_oneof![
        1 => (session(), any::<u8>(), 0..20u8)
            .prop_map(|(session, partition, before)| Op::Trim { session, partition, before }),
        1 => (any::<u8>(), prop::collection::vec(0..30u8, 1..4), any::<bool>()).prop_map(
            |(partition, up_to, settled)| Op::Retain { partition, up_to, settled }
        ),
        2 => (session(), prop::collection::vec((any::<u8>(), 0..3u8), 1..3), wait()).prop_map(
            |(session, partitions, wait_ms)| Op::Watch { session, partitions, wait_ms }
        ),
        1 => Just(Op::AllocateProducer),
        1 => (0..6u8, any::<u8>(), 0..2u8)
            .prop_map(|(what, topic, group)| Op::Ask { what, topic, group }),
        1 => (0..2u8, 0..3u8).prop_map(|(group, member)| Op::Join { group, member }),
        2 => (0..2u8, any::<u8>(), any::<u8>()).prop_map(
            |(group, partition, offset)| Op::CommitOffsets { group, partition, offset }
        ),
        1 => (0..2u8, any::<u8>())
            .prop_map(|(group, partition)| Op::DeleteOffsets { group, partition }),
        1 => (0..2u8).prop_map(|group| Op::DeleteGroup { group }),
    ]
    .boxed()
}

fn world_op() -> BoxedStrategy<Op> {
    prop_oneof![
        60 => (prop_oneof![3 => Just(1u8), 2 => 2..7u8], prop::bool::weighted(0.3))
            .prop_map(|(steps, lazy)| Op::Journal { steps, lazy }),
        10 => prop_oneof![0..300u64, Just(10_000), Just(70_000)]
            .prop_map(|ms| Op::Advance { ms }),
        2 => (1..3u8).prop_map(|session| Op::EndSession { session }),
        2 => any::<u8>().prop_map(|which| Op::Cancel { which }),
        1 => prop::bool::weighted(0.3).prop_map(Op::StorageFull),
        3 => Just(Op::Snapshot),
        3 => Just(Op::Drop),
        3 => Just(Op::Promote),
        1 => any::<u8>().prop_map(Op::Clean),
        1 => (1..12u8).prop_map(|operations| Op::Arm { operations }),
        3 => (prop::option::weighted(0.8, any::<u64>()), prop::option::weighted(0.2, 1..9u8))
            .prop_map(|(torn, again)| Op::Crash { torn, again }),
    ]
    .boxed()
}

/// Some topics to begin with, the first with dead letters that go to the second; then anything.
pub(super) fn ops() -> BoxedStrategy<Vec<Op>> {
    let topics = prop::collection::vec(policy(), 1..4).prop_map(|policies| {
        let numbered = (0u8..).zip(policies);
        let topics = numbered.map(|(name, mut policy)| {
            policy.transient = false;
            policy.auto_delete = false;
            if name == 0 {
                policy.dead_letter = DeadLetters::Topic(1);
            }
            Op::CreateTopic {
                name,
                session: 0,
                exclusive: false,
                policy,
            }
        });
        let journal = Op::Journal {
            steps: 3,
            lazy: false,
        };
        topics.chain([journal]).collect::<Vec<_>>()
    });
    let op = prop_oneof![
        2 => catalog_op(),
        12 => work_op(),
        2 => stream_op(),
        8 => world_op(),
    ];
    let rest = prop_oneof![
        prop::collection::vec(op.clone(), 1..60),
        prop::collection::vec(op, 60..300),
    ];
    (topics, rest)
        .prop_map(|(mut ops, rest)| {
            ops.extend(rest);
            ops
        })
        .boxed()
}
