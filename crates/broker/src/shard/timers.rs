//! When time alone earns something.

use std::collections::BTreeSet;

use forebay_base::{PartitionId, Timestamp};
use hashbrown::HashMap;

use super::{Shard, Urgency};
use crate::frame::StateFrame;
use crate::{Reply, RequestId};

/// The moments at which partitions and waiting requests are due. Each has at most one entry.
#[derive(Default)]
pub(super) struct Timers {
    partitions: HashMap<PartitionId, Timestamp>,
    due: BTreeSet<(Timestamp, PartitionId)>,
    requests: BTreeSet<(Timestamp, RequestId)>,
}

impl Timers {
    /// The partition is due then, or not at all. `Timestamp::MAX` is never.
    pub(super) fn note(&mut self, partition: PartitionId, deadline: Option<Timestamp>) {
        let deadline = deadline.filter(|deadline| *deadline < Timestamp::MAX);
        let known = match deadline {
            Some(deadline) => self.partitions.insert(partition, deadline),
            None => self.partitions.remove(&partition),
        };
        if known == deadline {
            return;
        }
        if let Some(known) = known {
            self.due.remove(&(known, partition));
        }
        if let Some(deadline) = deadline {
            self.due.insert((deadline, partition));
        }
    }

    pub(super) fn add_request(&mut self, deadline: Timestamp, request: RequestId) {
        self.requests.insert((deadline, request));
    }

    pub(super) fn remove_request(&mut self, deadline: Timestamp, request: RequestId) {
        self.requests.remove(&(deadline, request));
    }

    fn next(&self) -> Option<Timestamp> {
        let partition = self.due.first().map(|(deadline, _)| *deadline);
        let request = self.requests.first().map(|(deadline, _)| *deadline);
        partition.into_iter().chain(request).min()
    }
}

/// Messages that come back in one step, at most: the shard stays responsive when a million leases
/// end at once.
const EXPIRE_AT_ONCE: usize = 10_000;

impl Shard {
    /// The earliest moment at which [`Shard::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.timers
            .next()
            .into_iter()
            .chain(self.groups.next_deadline())
            .chain(self.movers.next())
            .chain(self.state.transactions.next_deadline())
            .chain(self.idle.next())
            .min()
    }

    /// Time has passed: leases and delays end, waiting requests give up, members time out.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        self.now = now;
        while let Some(&(deadline, request)) = self.timers.requests.first()
            && deadline <= now
        {
            self.time_out(request);
        }
        let due: Vec<PartitionId> = self
            .timers
            .due
            .iter()
            .take_while(|(deadline, _)| *deadline <= now)
            .map(|(_, partition)| *partition)
            .collect();
        for id in due {
            let Some(partition) = self.state.partitions.get(&id) else {
                self.timers.note(id, None);
                continue;
            };
            let topic = partition.topic;
            self.dirty.push(topic);
            let events = match self.backoff(topic) {
                None => partition.queue.expire(now, EXPIRE_AT_ONCE),
                Some(backoff) => {
                    let most = self.limits(topic).max_deliveries;
                    let queue = &partition.queue;
                    queue.expire_into_retry(now, EXPIRE_AT_ONCE, &backoff, most)
                }
            };
            self.observe(id);
            for event in events {
                self.record(
                    Urgency::Lazy,
                    &StateFrame::Queue {
                        partition: id,
                        event,
                    },
                );
            }
        }
        self.groups.expire(now);
        self.step_moves();
        self.end_overdue();
        self.remove_idle();
    }

    /// More messages became durable: the first one that is ready may have an end.
    pub(super) fn note_end(&mut self, id: PartitionId) {
        let known = self.state.partitions.get(&id);
        if known.is_some_and(|known| known.queue.ends().is_some()) {
            self.note_deadline(id);
        }
    }

    pub(super) fn note_deadline(&mut self, id: PartitionId) {
        let deadline = self
            .state
            .partitions
            .get(&id)
            .and_then(|p| p.queue.next_deadline());
        self.timers.note(id, deadline);
    }

    fn time_out(&mut self, request: RequestId) {
        let Some(waiter) = self.end_waiter(request) else {
            return;
        };
        let reply = waiter.empty_reply();
        self.reply_now(waiter.to, Ok(reply));
    }

    pub(super) fn done(&mut self, to: super::ReplyTo) {
        self.reply(to, Ok(Reply::Done));
    }
}
