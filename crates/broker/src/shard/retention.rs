//! Letting the oldest records of a partition go: because a client says so, or retention does.

use forebay_base::{Offset, PartitionId, Timestamp, planted};
use forebay_queue::QueueEvent;

use super::{Output, ReplyTo, Shard, Urgency};
use crate::frame::StateFrame;
use crate::retention::{Trim, UpTo};
use crate::stability::StabilityChange;
use crate::{Refusal, Reply};

impl Shard {
    pub(super) fn trim_partition(&mut self, to: ReplyTo, id: PartitionId, before: Offset) {
        let Some(partition) = self.state.partitions.get(&id) else {
            return self.reply(to, Err(Refusal::NoSuchPartition));
        };
        let topic = partition.topic;
        let end = self.durable_end(id).unwrap_or(0);
        if let Err(refusal) = self.usable(to.session, topic) {
            return self.reply(to, Err(refusal));
        }
        if before > end {
            return self.reply_now(to, Err(Refusal::BeyondEnd { end }));
        }
        let start = self.start(id, before);
        self.reply(to, Ok(Reply::Start(start)));
    }

    /// Retention asks for a partition's oldest records to go. What does not fit any more, because
    /// the partition is gone or its records are, is passed over.
    pub(crate) fn retain(&mut self, now: Timestamp, trim: &Trim) {
        self.now = now;
        let Some(partition) = self.state.partitions.get(&trim.partition) else {
            return;
        };
        let low = self.low(trim.partition, partition);
        let below = match &trim.up_to {
            UpTo::Offset(below) => Some(*below),
            UpTo::LastSettled(places) => places.iter().copied().filter(|at| *at <= low).max(),
        };
        if let Some(below) = below {
            let below = below.min(partition.queue.end());
            self.start(trim.partition, below);
        }
    }

    /// Moves the start of a partition up. Gives the start it has then.
    fn start(&mut self, partition: PartitionId, at: Offset) -> Offset {
        let known = self.state.partitions.get(&partition);
        let start = known.map_or(0, |known| known.queue.start());
        if at <= start {
            return start;
        }
        let event = planted!(
            TrimmedTooFar => QueueEvent::Started { at: at + 1 },
            else QueueEvent::Started { at }
        );
        self.record(Urgency::Now, &StateFrame::Queue { partition, event });
        let output = Output::Started(partition, at);
        self.filling.deferred.outputs.push(output);
        let change = StabilityChange::Started { partition, at };
        let output = Output::Stability(change);
        self.filling.deferred.outputs.push(output);
        at
    }
}
