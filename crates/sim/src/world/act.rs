//! What clients do.
//!
//! Ordered groups, priorities and transactions join here: an action each, an [`Asked`] each for
//! what its reply means, and what the [`crate::ledger`] must know of them.

use forebay_base::{PartitionId, SessionId};
use forebay_broker::{
    Command, Committed, ConsumerId, ConsumerMode, OffsetCommit, Receive, RequestId, Subscribe,
};

use super::hear::Asked;
use super::topics::DEAD_LETTERS;
use super::{Reader, Standing, World, tell};
use crate::ledger::There;
use crate::violation::Audited;

/// Readers at a time.
const READERS: usize = 4;

impl World {
    pub(super) fn act(&mut self) -> Audited {
        let weights = [
            30, // publish
            6,  // idempotent producers
            18, // receive
            4,  // subscribe
            4,  // credit
            1,  // unsubscribe
            24, // settle
            1,  // purge
            1,  // create
            1,  // alter
            1,  // delete
            3,  // trim
            3,  // commit an offset
            2,  // fetch offsets
            2,  // watch
            1,  // end a session
            1,  // give up waiting
            1,  // open a reader
        ];
        match self.chance.weighted(&weights) {
            0 => self.publish(),
            1 => self.produce(),
            2 => self.receive(),
            3 => self.subscribe(),
            4 => self.give_credit(),
            5 => self.unsubscribe(),
            6 => self.settle(),
            7 => self.purge(),
            8 if self.ledger.present().len() < 9 => self.create_some_topic(),
            9 => self.alter_some_topic(),
            10 if self.chance.one_in(3) => self.delete_some_topic(),
            11 => self.trim(),
            12 => self.commit_offset(),
            13 => self.fetch_offsets(),
            14 => self.watch(),
            15 => self.end_session(),
            16 => self.give_up(),
            _ => self.open_reader(),
        }
        Ok(())
    }

    /// Sends a command and remembers what was asked.
    pub(super) fn submit(&mut self, session: usize, asked: Asked, command: Command) -> RequestId {
        let session = self.sessions.get(session).copied();
        self.submit_as(session.unwrap_or(SessionId(0)), asked, command)
    }

    pub(super) fn submit_as(
        &mut self,
        session: SessionId,
        asked: Asked,
        command: Command,
    ) -> RequestId {
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.stats.commands += 1;
        tell!(self, "{session} {request:?} {}", shorten(&command));
        self.asked.insert(request, asked);
        self.broker.submit(session, request, command);
        request
    }

    pub(super) fn some_session(&mut self) -> SessionId {
        let session = self.chance.pick(&self.sessions).copied();
        session.unwrap_or(SessionId(0))
    }

    fn mode(&mut self, session: SessionId, at_most_once: bool) -> ConsumerMode {
        if at_most_once && self.chance.one_in(3) {
            return ConsumerMode::Settled;
        }
        if session != SessionId(0) && self.chance.one_in(2) {
            return ConsumerMode::UntilSessionEnds;
        }
        let ms = match self.chance.weighted(&[1, 4, 4]) {
            0 => 0,
            1 => self.chance.between(1, 2_000),
            _ => self.chance.between(2_000, 60_000),
        };
        ConsumerMode::LeaseMs(ms)
    }

    fn receive(&mut self) {
        let Some(topic) = self.some_topic(|topic| topic.is_work()) else {
            return;
        };
        let session = self.some_session();
        let at_most_once = self.ledger.topics[&topic].at_most_once;
        let receive = Receive {
            topic,
            attempt: None,
            max: u32::try_from(self.chance.between(1, 10)).unwrap_or(1),
            until: (!self.chance.one_in(3))
                .then(|| self.now.plus_ms(self.chance.between(1, 20_000))),
            mode: self.mode(session, at_most_once),
        };
        let asked = Asked::Receive(session, receive.clone());
        self.submit_as(session, asked, Command::Receive(receive));
    }

    fn subscribe(&mut self) {
        let Some(topic) = self.some_topic(|topic| topic.is_work()) else {
            return;
        };
        let session = self.some_session();
        let consumer = ConsumerId(self.chance.below(3));
        if session == SessionId(0) || self.consumers.contains_key(&(session, consumer)) {
            return;
        }
        let at_most_once = self.ledger.topics[&topic].at_most_once;
        let subscribe = Subscribe {
            topic,
            consumer,
            credit: u32::try_from(self.chance.below(12)).unwrap_or(0),
            mode: self.mode(session, at_most_once),
            exclusive: false,
            priority: i32::try_from(self.chance.below(2)).unwrap_or(0),
        };
        let standing = Standing {
            topic,
            mode: subscribe.mode,
            credit: subscribe.credit,
        };
        self.consumers.insert((session, consumer), standing);
        let asked = Asked::Subscribe(session, consumer);
        self.submit_as(session, asked, Command::Subscribe(subscribe));
    }

    fn some_consumer(&mut self) -> Option<(SessionId, ConsumerId)> {
        let all: Vec<_> = self.consumers.keys().copied().collect();
        self.chance.pick(&all).copied()
    }

    fn give_credit(&mut self) {
        let Some((session, consumer)) = self.some_consumer() else {
            return;
        };
        let add = u32::try_from(self.chance.between(1, 8)).unwrap_or(1);
        if let Some(standing) = self.consumers.get_mut(&(session, consumer)) {
            standing.credit += add;
        }
        tell!(self, "{session} {consumer:?} gets {add} more");
        let command = Command::Credit { consumer, add };
        let request = RequestId(self.next_request);
        self.next_request += 1;
        self.broker.submit(session, request, command);
    }

    fn unsubscribe(&mut self) {
        if let Some((session, consumer)) = self.some_consumer() {
            self.submit_as(
                session,
                Asked::Unsubscribe,
                Command::Unsubscribe { consumer },
            );
        }
    }

    pub(super) fn some_partition(
        &mut self,
        fits: impl Fn(&crate::ledger::Topic) -> bool,
    ) -> Option<PartitionId> {
        let topic = self.some_topic(fits)?;
        let partitions = self.ledger.topics[&topic].partitions.clone();
        self.chance.pick(&partitions).copied()
    }

    fn trim(&mut self) {
        let rare = self.chance.one_in(4);
        let fits = |topic: &crate::ledger::Topic| !topic.is_work() || rare;
        let fits = |topic: &crate::ledger::Topic| fits(topic) && &*topic.name != DEAD_LETTERS;
        let Some(partition) = self.some_partition(fits) else {
            return;
        };
        let Some(lane) = self.ledger.lanes.get_mut(&partition) else {
            return;
        };
        let before = self.chance.below(lane.sure_end() + 1);
        lane.trim_asked = lane.trim_asked.max(before);
        self.stats.trims += 1;
        let asked = Asked::Trim(partition, before);
        self.submit(0, asked, Command::TrimPartition { partition, before });
    }

    fn commit_offset(&mut self) {
        let Some(partition) = self.some_partition(|_| true) else {
            return;
        };
        let group = format!("g{}", self.chance.below(3));
        let known = self
            .ledger
            .offsets
            .entry((group.clone(), partition))
            .or_default();
        let last = known.sent.last().copied().unwrap_or(known.sure);
        let offset = last + 1 + i64::try_from(self.chance.below(5)).unwrap_or(0);
        known.sent.push(offset);
        let committed = Committed {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
            timestamp: self.now,
        };
        let asked = Asked::Commit(group.clone(), partition, offset);
        let commit = OffsetCommit {
            group,
            member: String::new(),
            instance: None,
            generation: -1,
            entries: vec![(partition, committed)],
        };
        self.submit(0, asked, Command::CommitOffsets(commit));
    }

    pub(super) fn fetch_offsets(&mut self) {
        let group = format!("g{}", self.chance.below(3));
        let asked = Asked::Fetch(group.clone());
        let command = Command::FetchOffsets {
            group,
            partitions: None,
        };
        self.submit(0, asked, command);
    }

    fn watch(&mut self) {
        let Some(partition) = self.some_partition(|_| true) else {
            return;
        };
        let session = self.some_session();
        let end = self.broker.bounds(partition).end;
        let until = self.now.plus_ms(self.chance.below(10_000));
        let partitions = vec![(partition, end + self.chance.below(3))];
        let command = Command::Watch { partitions, until };
        self.submit_as(session, Asked::Watch(session), command);
    }

    fn end_session(&mut self) {
        if self.sessions.len() < 2 {
            return self.open_session();
        }
        let at = usize::try_from(self.chance.between(1, self.sessions.len() as u64 - 1));
        let session = self.sessions.remove(at.unwrap_or(1));
        self.end_this_session(session);
        if self.chance.one_in(2) {
            self.open_session();
        }
    }

    pub(super) fn end_this_session(&mut self, session: SessionId) {
        tell!(self, "{session} ends");
        self.broker.end_session(session);
        self.consumers.retain(|(of, _), _| *of != session);
        // Nobody is there to hear the answers to what waits.
        for asked in self.asked.values_mut() {
            *asked = match asked {
                Asked::Receive(of, receive) | Asked::GivenUp(of, receive) if *of == session => {
                    Asked::Left(receive.mode)
                }
                Asked::Watch(of) if *of == session => Asked::Left(ConsumerMode::LeaseMs(0)),
                _ => continue,
            };
        }
        self.ledger.let_go_of(session);
    }

    /// Whoever waits for messages gives up.
    fn give_up(&mut self) {
        let waiting = self
            .asked
            .iter()
            .filter_map(|(request, asked)| match asked {
                Asked::Receive(..) | Asked::Watch(_) => Some(*request),
                _ => None,
            });
        let waiting: Vec<_> = waiting.collect();
        if let Some(request) = self.chance.pick(&waiting).copied() {
            tell!(self, "{request:?} is given up");
            if let Some(Asked::Receive(session, receive)) = self.asked.remove(&request) {
                self.asked.insert(request, Asked::GivenUp(session, receive));
            }
            self.broker.cancel(request);
        }
    }

    fn open_reader(&mut self) {
        let Some(partition) = self.some_partition(|topic| &*topic.name != DEAD_LETTERS) else {
            return;
        };
        if self.readers.len() >= READERS {
            self.readers.remove(0);
        }
        let there = |topic: &crate::ledger::Topic| topic.there == There::Yes;
        if self.ledger.topic_at(partition).is_some_and(there) {
            let next = self.broker.bounds(partition).start;
            self.readers.push(Reader {
                partition,
                next,
                cursor: forebay_broker::Cursor::default(),
            });
        }
    }
}

fn shorten(command: &Command) -> String {
    match command {
        Command::Publish(publish) => {
            let mut text = String::from("Publish");
            for message in &publish.messages {
                let count = message.batch.offset_count();
                text += &format!(" {count} to {:?}", message.target);
            }
            format!("{text} ({:?}, {:?})", publish.durability, publish.when_full)
        }
        other => format!("{other:?}"),
    }
}
