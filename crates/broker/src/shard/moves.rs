//! Moving the messages of a topic elsewhere, at a pace.
//!
//! It takes the two steps of a dead letter: some messages are put aside with a delay that never
//! ends, their records are fetched, and each is settled and appended to its destination in one
//! commit. The next ones are put aside when these have arrived and the pace allows.

use std::sync::Arc;

use forebay_base::{Offset, OffsetRange, PartitionId, Timestamp, TopicId};
use forebay_queue::{Attempted, Limits, QueueEvent};
use hashbrown::HashMap;

use super::dead_letter::{DeadLetterCopy, DeadLetterJob, DeadLetterReason, Undeliverable};
use super::{Output, ReplyTo, Shard, Urgency};
use crate::frame::StateFrame;
use crate::moves::MoveEvent;
use crate::{MoveId, MoveInfo, MoveStatus, Refusal, Reply, TopicInfo};

/// A message with this delay is being moved.
pub(super) const MOVING: Timestamp = Timestamp(i64::MAX - 1);
/// Messages put aside at once.
const AT_ONCE: u32 = 256;
/// A paced move takes so many steps a second, if it may move so many messages.
const STEPS_PER_SECOND: u32 = 10;

/// What is known of running moves besides their durable state.
#[derive(Default)]
pub(super) struct Movers {
    movers: HashMap<MoveId, Mover>,
}

#[derive(Default)]
struct Mover {
    /// Messages that are put aside and have not arrived.
    in_hand: u64,
    /// Not before this moment.
    next: Timestamp,
}

impl Movers {
    /// When the next paced step is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        let idle = self.movers.values().filter(|mover| mover.in_hand == 0);
        idle.map(|mover| mover.next).min()
    }
}

impl Shard {
    pub(super) fn start_move(
        &mut self,
        to: ReplyTo,
        source: TopicId,
        destination: Option<TopicId>,
        per_second: Option<u32>,
    ) {
        for topic in destination.into_iter().chain([source]) {
            if let Err(refusal) = self.usable(to.session, topic) {
                return self.reply(to, Err(refusal));
            }
        }
        if self.state.moves.running_from(source).is_some() {
            return self.reply(to, Err(Refusal::MoveRunning));
        }
        let info = MoveInfo {
            id: self.state.moves.next_id(),
            source,
            destination,
            per_second: per_second.map(|rate| rate.max(1)),
            started: self.now,
            to_move: self.depth(source).ready,
            moved: 0,
            status: MoveStatus::Running,
        };
        let frame = StateFrame::Move(MoveEvent::Started(info.clone()));
        self.record(Urgency::Now, &frame);
        self.movers.movers.insert(info.id, Mover::default());
        self.reply(to, Ok(Reply::Move(info.clone())));
        self.step_move(info.id);
    }

    pub(super) fn cancel_move(&mut self, to: ReplyTo, id: MoveId) {
        match self.state.moves.get(id).map(|info| info.status) {
            None => return self.reply(to, Err(Refusal::NoSuchMove)),
            Some(MoveStatus::Running) => self.end_move(id, MoveStatus::Cancelled),
            Some(_) => return self.reply(to, Err(Refusal::NoSuchMove)),
        }
        let info = self.state.moves.get(id).cloned();
        self.reply(to, info.map(Reply::Move).ok_or(Refusal::NoSuchMove));
    }

    pub(super) fn list_moves(&mut self, to: ReplyTo, source: TopicId) {
        if let Err(refusal) = self.usable(to.session, source) {
            return self.reply(to, Err(refusal));
        }
        let moves = self.state.moves.of(source).cloned().collect();
        self.reply(to, Ok(Reply::Moves(moves)));
    }

    fn end_move(&mut self, id: MoveId, status: MoveStatus) {
        let frame = StateFrame::Move(MoveEvent::Ended { id, status });
        self.record(Urgency::Now, &frame);
        self.movers.movers.remove(&id);
    }

    /// Takes the steps that are due.
    pub(super) fn step_moves(&mut self) {
        let now = self.now;
        let due = self.movers.movers.iter();
        let due = due.filter(|(_, mover)| mover.in_hand == 0 && mover.next <= now);
        let mut due: Vec<MoveId> = due.map(|(id, _)| *id).collect();
        due.sort_unstable();
        for id in due {
            self.step_move(id);
        }
    }

    /// Puts the next messages of a move aside; ends it if there are none.
    fn step_move(&mut self, id: MoveId) {
        let Some(info) = self.state.moves.get(id).cloned() else {
            // Its topic is gone.
            self.movers.movers.remove(&id);
            return;
        };
        let Some(topic) = self.state.catalog.topic(info.source).cloned() else {
            self.movers.movers.remove(&id);
            return;
        };
        let (count, pause_ms) = match info.per_second {
            None => (AT_ONCE, 0),
            Some(rate) => {
                let count = rate.div_ceil(STEPS_PER_SECOND).min(AT_ONCE);
                (count, u64::from(count) * 1_000 / u64::from(rate))
            }
        };
        let taken = self.put_aside(&topic, count);
        if taken == 0 {
            return self.end_move(id, MoveStatus::Completed);
        }
        let mover = self.movers.movers.entry(id).or_default();
        mover.in_hand = taken;
        mover.next = self.now.plus_ms(pause_ms);
    }

    fn put_aside(&mut self, topic: &Arc<TopicInfo>, count: u32) -> u64 {
        let mut left = count;
        let mut taken = 0;
        for &partition in &topic.partitions {
            let state = self.state.partitions.get(&partition);
            let messages = state.and_then(|state| state.queue.take(left, &Limits::default()));
            let messages = messages.unwrap_or_default();
            for message in &messages {
                let (range, until) = (message.range, MOVING);
                let event = QueueEvent::Delayed { range, until };
                // Lost in a crash, it is taken again.
                self.record(Urgency::Lazy, &StateFrame::Queue { partition, event });
                left = left.saturating_sub(range.count);
                taken += u64::from(range.count);
            }
            self.send_off(topic, partition, messages);
            if left == 0 {
                break;
            }
        }
        taken
    }

    fn send_off(
        &mut self,
        topic: &Arc<TopicInfo>,
        partition: PartitionId,
        messages: Vec<Attempted>,
    ) {
        if !messages.is_empty() {
            self.outputs.push(Output::DeadLetter(DeadLetterJob {
                topic: topic.clone(),
                partition,
                messages,
                reason: DeadLetterReason::Moved,
                at: self.now,
                tries: 0,
            }));
        }
    }

    /// The record of a message that is being moved, or the news that there is none.
    pub(super) fn deliver_moved(
        &mut self,
        partition: PartitionId,
        source: TopicId,
        offset: Offset,
        copy: Result<DeadLetterCopy, Undeliverable>,
    ) {
        let Some(info) = self.state.moves.running_from(source).cloned() else {
            return self.keep(partition, offset, source);
        };
        let mut moved = 0;
        if let Ok(copy) = copy {
            let destination = match self.destination(&info, &copy) {
                Ok(destination) => destination,
                Err(status) => {
                    self.end_move(info.id, status);
                    return self.keep(partition, offset, source);
                }
            };
            let entries: Vec<_> = self.choose(destination, None).into_iter().collect();
            self.append(&entries, &copy.batch, None, None);
            moved = 1;
        }
        let ranges = vec![OffsetRange::one(offset)];
        let event = QueueEvent::Settled { ranges };
        self.record(Urgency::Now, &StateFrame::Queue { partition, event });
        let (id, count) = (info.id, moved);
        let frame = StateFrame::Move(MoveEvent::Moved { id, count });
        self.record(Urgency::Now, &frame);
        self.dirty.push(source);
        self.note_moved(source);
    }

    /// A message that was put aside for a move has arrived, or is gone.
    pub(super) fn note_moved(&mut self, source: TopicId) {
        let Some(id) = self.state.moves.running_from(source).map(|info| info.id) else {
            return;
        };
        let mover = self.movers.movers.entry(id).or_default();
        mover.in_hand = mover.in_hand.saturating_sub(1);
        if mover.in_hand == 0 && mover.next <= self.now {
            self.step_move(id);
        }
    }

    fn destination(&self, info: &MoveInfo, copy: &DeadLetterCopy) -> Result<TopicId, MoveStatus> {
        let catalog = &self.state.catalog;
        let found = match (info.destination, &copy.origin) {
            (Some(id), _) => catalog.topic(id),
            (None, None) => return Err(MoveStatus::NoOrigin),
            (None, Some(name)) => catalog.topic_named(name),
        };
        found.map(|topic| topic.id).ok_or(MoveStatus::NoDestination)
    }

    /// After a restart: goes on with what was being moved.
    pub(super) fn resume_moves(&mut self) {
        let running: Vec<(MoveId, TopicId)> = {
            let running = self.state.moves.running();
            running.map(|info| (info.id, info.source)).collect()
        };
        for (id, _) in &running {
            self.movers.movers.insert(*id, Mover::default());
        }
        let mut aside: Vec<(PartitionId, TopicId, Vec<Attempted>)> = Vec::new();
        for (id, partition) in &self.state.partitions {
            let messages = partition.queue.delayed_until(MOVING);
            if !messages.is_empty() {
                aside.push((*id, partition.topic, messages));
            }
        }
        aside.sort_unstable_by_key(|(partition, ..)| *partition);
        for (partition, topic, messages) in aside {
            let running = running.iter().find(|(_, source)| *source == topic);
            let info = self.state.catalog.topic(topic).cloned();
            if let (Some((id, _)), Some(info)) = (running, info) {
                let count = messages
                    .iter()
                    .map(|message| u64::from(message.range.count));
                self.movers.movers.entry(*id).or_default().in_hand += count.sum::<u64>();
                self.send_off(&info, partition, messages);
            } else {
                let ranges = messages.iter().map(|message| message.range).collect();
                let event = QueueEvent::Released {
                    ranges,
                    until: None,
                    count: true,
                };
                self.record(Urgency::Lazy, &StateFrame::Queue { partition, event });
            }
        }
    }
}
