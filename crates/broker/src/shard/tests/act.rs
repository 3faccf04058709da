//! Steps as commands.

use std::sync::Arc;

use forebay_base::{PartitionId, SessionId, TopicId};

use super::decide::{Asked, Expect};
use super::op::Op;
use super::promise::Promise;
use super::world::World;
use crate::shard::ReplyTo;
use crate::{Command, Refusal, Reply, RequestId};

const EXCHANGES: [&str; 6] = ["x0", "x1", "x2", "amq.topic", "amq.fanout", ""];
const KEYS: [&str; 6] = ["t0", "a", "a.b", "a.*", "#", "a.#"];

pub(super) fn topic_name(number: u8) -> Arc<str> {
    format!("t{}", number % 5).into()
}

pub(super) fn exchange_name(number: u8) -> Arc<str> {
    EXCHANGES[number as usize % EXCHANGES.len()].into()
}

pub(super) fn key(number: u8) -> Arc<str> {
    KEYS[number as usize % KEYS.len()].into()
}

impl World {
    pub(super) fn run(ops: &[Op]) -> Self {
        let mut world = Self::new();
        for op in ops {
            world.act(op);
            if world.ended {
                return world;
            }
        }
        world.finish();
        world
    }

    pub(super) fn act(&mut self, op: &Op) {
        match op {
            Op::CreateTopic { .. }
            | Op::AlterTopic { .. }
            | Op::GrowTopic { .. }
            | Op::DeleteTopic { .. } => {
                self.act_on_topic(op);
            }
            Op::DeclareExchange { .. }
            | Op::DeleteExchange { .. }
            | Op::Bind(_)
            | Op::Unbind(_) => self.act_on_exchange(op),
            Op::Publish {
                session,
                bodies,
                synced,
                wait,
            } => self.publish(*session, bodies, *synced, *wait),
            Op::Receive {
                session,
                topic,
                max,
                wait_ms,
                hold,
            } => self.receive(*session, *topic, *max, *wait_ms, *hold),
            Op::Subscribe { .. } => self.subscribe(op),
            Op::Credit { .. } | Op::Unsubscribe { .. } => self.act_on_consumer(op),
            Op::Settle {
                session,
                deliveries,
                end,
                told,
            } => self.settle(*session, deliveries, *end, *told),
            Op::Purge {
                topic,
                session,
                leased,
            } => self.purge(*topic, *session, *leased),
            Op::Trim {
                session,
                partition,
                before,
            } => self.trim(*session, *partition, u64::from(*before)),
            Op::Retain {
                partition,
                up_to,
                settled,
            } => self.retain(*partition, up_to, *settled),
            Op::Watch {
                session,
                partitions,
                wait_ms,
            } => self.watch(*session, partitions, *wait_ms),
            Op::AllocateProducer => {
                let result = Ok(Reply::Producer(self.model.next_producer));
                self.model.next_producer += 1;
                let promise = Promise {
                    next_producer: self.model.next_producer,
                    ..Promise::default()
                };
                self.expect(0, &result, promise, Command::AllocateProducer);
            }
            Op::Ask { what, topic, group } => self.ask(*what, *topic, *group),
            Op::Join { group, member } => self.join(*group, *member),
            Op::CommitOffsets {
                group,
                partition,
                offset,
            } => self.commit_offsets(*group, *partition, i64::from(*offset)),
            Op::DeleteOffsets { group, partition } => self.delete_offsets(*group, *partition),
            Op::DeleteGroup { group } => {
                let group = format!("g{group}");
                let expect = Expect::GroupDeleted(group.clone());
                self.ask_for(0, expect, Command::DeleteGroup { group });
            }
            Op::EndSession { session } => self.end_session(*session as usize),
            Op::Cancel { which } => self.cancel(*which),
            Op::AnswerDeadLetter { which, readable } => {
                if !self.jobs.is_empty() {
                    let which = *which as usize % self.jobs.len();
                    self.answer_dead_letter(which, *readable);
                }
            }
            Op::StorageFull(full) => {
                self.full = *full;
                let reason = full.then(|| "full".into());
                self.shard.set_storage_full(self.now, reason);
                while self.shard.unpark(self.now) {}
                self.peek();
                self.after();
            }
            Op::Advance { ms } => self.now = self.now.plus_ms(*ms),
            Op::Journal { steps, lazy } => {
                for _ in 0..*steps {
                    if !self.ended {
                        self.journal(*lazy);
                    }
                }
            }
            Op::Snapshot => self.snapshot_wanted = true,
            Op::Drop => self.drop_journal(),
            Op::Promote => self.promote(),
            Op::Clean(which) => self.clean(*which),
            Op::Arm { operations } => self.arm(*operations, Some(u64::from(*operations))),
            Op::Crash { torn, again } => self.crash(*torn, *again),
        }
    }

    pub(super) fn session(&self, number: u8) -> SessionId {
        self.sessions[number as usize % self.sessions.len()]
    }

    /// A topic there is, or now and then one there is not.
    pub(super) fn some_topic(&self, number: u8) -> TopicId {
        let topics: Vec<_> = self.model.topics.keys().collect();
        match topics.len() {
            0 => TopicId(1_000),
            _ if number == 255 => TopicId(1_000),
            count => *topics[number as usize % count],
        }
    }

    pub(super) fn some_partition(&self, number: u8) -> PartitionId {
        let lanes: Vec<_> = self.model.lanes.keys().collect();
        match lanes.len() {
            0 => PartitionId(1_000),
            _ if number == 255 => PartitionId(1_000),
            count => *lanes[number as usize % count],
        }
    }

    pub(super) fn ask_for(&mut self, session: u8, expect: Expect, command: Command) {
        let session = self.session(session);
        let request = RequestId(self.next_request);
        self.next_request += 1;
        let asked = Asked {
            session,
            what: format!("{command:?}"),
            expect,
            decided: None,
        };
        self.asked.insert(request, asked);
        let to = ReplyTo { session, request };
        self.submit(to, command);
    }

    pub(super) fn submit(&mut self, to: ReplyTo, command: Command) {
        self.shard.submit(self.now, to, command);
        self.peek();
        self.after();
    }

    pub(super) fn expect(
        &mut self,
        session: u8,
        result: &Result<Reply, Refusal>,
        promise: Promise,
        command: Command,
    ) {
        let expect = Expect::Is(format!("{result:?}"), promise);
        self.ask_for(session, expect, command);
    }

    /// As `expect`, where the answer rests on the catalog.
    pub(super) fn expect_of_catalog(
        &mut self,
        session: u8,
        result: &Result<Reply, Refusal>,
        command: Command,
    ) {
        self.forget_cancelled();
        let promise = Promise::of_catalog(String::new(), &self.model);
        self.expect(session, result, promise, command);
    }

    /// The topic, or why the session may not use it.
    pub(super) fn usable(&self, session: u8, topic: TopicId) -> Result<(), Refusal> {
        let known = self.model.topics.contains_key(&topic);
        known.then_some(()).ok_or(Refusal::NoSuchTopic)?;
        let mine = self.model.may_use(self.session(session), topic);
        mine.then_some(()).ok_or(Refusal::TopicLocked)
    }

    /// Consumers whose topic has gone are told.
    pub(super) fn forget_cancelled(&mut self) {
        let topics = &self.model.topics;
        let gone = self
            .consumers
            .extract_if(.., |_, known| !topics.contains_key(&known.topic));
        self.cancels.extend(gone.map(|(key, _)| key));
    }

    pub(super) fn end_session(&mut self, number: usize) {
        let id = self.sessions[number];
        let consumers: Vec<_> = self.consumers.keys().filter(|(of, _)| *of == id).collect();
        let consumers: Vec<_> = consumers.into_iter().copied().collect();
        for (session, consumer) in consumers {
            self.remove_consumer(session, consumer);
        }
        let touched = &self.touched;
        self.model
            .give_back(|partition, session, _| session == id && touched.contains(&(id, partition)));
        let topics: Vec<_> = self.model.topics.values().cloned().collect();
        for topic in topics
            .iter()
            .filter(|topic| topic.config.exclusive == Some(id))
        {
            self.model.remove_topic(topic.id);
        }
        self.forget_cancelled();
        // Nobody is left to hear the answers to what waits.
        self.asked.retain(|_, asked| {
            let waits = matches!(asked.expect, Expect::Receive(_) | Expect::Watch(..));
            !(waits && asked.decided.is_none() && asked.session == id)
        });
        self.sessions[number] = SessionId(self.next_session);
        self.next_session += 1;
        self.shard.end_session(self.now, id);
        self.peek();
        self.after();
    }

    pub(super) fn cancel(&mut self, which: u8) {
        let waiting: Vec<_> = self
            .asked
            .iter()
            .filter(|(_, asked)| {
                let waits = matches!(asked.expect, Expect::Receive(_) | Expect::Watch(..));
                waits && asked.decided.is_none()
            })
            .map(|(request, _)| *request)
            .collect();
        if !waiting.is_empty() {
            let request = waiting[which as usize % waiting.len()];
            self.asked.remove(&request);
            self.shard.cancel(request);
            self.peek();
            self.after();
        }
    }
}
