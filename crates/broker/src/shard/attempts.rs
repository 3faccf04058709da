//! Attempts to receive that may be made again: a client that did not get the answer asks once more
//! and gets the same one.
//!
//! They are remembered in memory only. After a restart the same attempt is a new one: it gets what
//! is ready, and the messages of the lost answer come again when their leases end.

use std::collections::VecDeque;

use forebay_base::{OffsetRange, PartitionId, Timestamp, TopicId};
use forebay_queue::{Lease, QueueEvent};
use hashbrown::HashMap;

use super::{Shard, Urgency};
use crate::frame::StateFrame;
use crate::{ConsumerMode, Deliveries, Receive, Run};

/// For how long an attempt may be made again, milliseconds.
const REPEATABLE_MS: u64 = 300_000;

/// What a client may ask for once more: the topic and the name of the attempt.
type Name = (TopicId, u128);

#[derive(Default)]
pub(super) struct Attempts {
    answers: HashMap<Name, Answer>,
    /// When which attempt was made, oldest first.
    made: VecDeque<(Timestamp, Name)>,
}

struct Answer {
    runs: Vec<Run>,
    /// When it was first given.
    at: Timestamp,
    /// When its leases end unless somebody changes that.
    deadline: Timestamp,
}

impl Attempts {
    fn forget(&mut self, now: Timestamp) {
        while let Some(&(at, name)) = self.made.front()
            && now.ms_since(at) >= REPEATABLE_MS
        {
            self.made.pop_front();
            // The name may have been used again since.
            if self
                .answers
                .get(&name)
                .is_some_and(|answer| answer.at == at)
            {
                self.answers.remove(&name);
            }
        }
    }
}

impl Shard {
    /// Remembers what an attempt got.
    pub(super) fn note_attempt(&mut self, receive: &Receive, got: &Deliveries) {
        let (Some(attempt), ConsumerMode::LeaseMs(ms)) = (receive.attempt, receive.mode) else {
            return;
        };
        let name = (receive.topic, attempt);
        let answer = Answer {
            runs: got.runs.clone(),
            at: got.at,
            deadline: got.at.plus_ms(ms),
        };
        self.attempts.answers.insert(name, answer);
        self.attempts.made.push_back((got.at, name));
    }

    /// What the same attempt got before, leased anew; `None` if there was none, or something was
    /// done since with a message it got.
    pub(super) fn received_before(&mut self, receive: &Receive) -> Option<Deliveries> {
        let (attempt, ConsumerMode::LeaseMs(ms)) = (receive.attempt?, receive.mode) else {
            return None;
        };
        self.attempts.forget(self.now);
        let name = (receive.topic, attempt);
        let answer = self.attempts.answers.get(&name)?;
        let (runs, at, deadline) = (answer.runs.clone(), answer.at, answer.deadline);
        let as_it_was = |run: &Run| {
            let partition = self.state.partitions.get(&run.partition);
            let lease = Lease {
                attempt: run.attempt,
                deadline: Some(deadline),
            };
            partition.is_some_and(|partition| {
                let mut offsets = run.range.offsets();
                offsets.all(|offset| partition.queue.lease(offset) == Some(lease))
            })
        };
        if deadline <= self.now || !runs.iter().all(as_it_was) {
            self.attempts.answers.remove(&name);
            return None;
        }
        let deadline = self.now.plus_ms(ms);
        for run in &runs {
            self.extend(run.partition, run.range, deadline);
        }
        self.attempts.answers.get_mut(&name)?.deadline = deadline;
        Some(Deliveries {
            topic: receive.topic,
            runs,
            at,
        })
    }

    fn extend(&mut self, partition: PartitionId, range: OffsetRange, deadline: Timestamp) {
        let event = QueueEvent::Extended { range, deadline };
        self.record(Urgency::Now, &StateFrame::Queue { partition, event });
    }
}
