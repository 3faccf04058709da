//! Messages that go although nobody asked for them: their time is over, or there are too many.
//!
//! Both are looked for when a topic is served, so what goes and what is handed out are never the
//! same. Without a dead-letter target a message that goes is settled; the frame may be lost with a
//! crash, since the message goes again after it.

use forebay_base::{OffsetRange, PartitionId, TopicId};
use forebay_queue::{Attempted, QueueEvent};
use forebay_record::Batch;

use super::dead_letter::DeadLetterReason;
use super::{Output, Shard, Urgency};
use crate::frame::StateFrame;
use crate::{Overflow, TopicConfig};

/// Messages that go in one step, at most.
const AT_ONCE: usize = 256;

impl Shard {
    /// Lets messages go whose time is over. `unwanted` says that whoever waits has been served:
    /// messages that are worth something only to them go too.
    pub(super) fn drop_ended(&mut self, topic: TopicId, unwanted: bool) {
        let Some(info) = self.state.catalog.topic(topic).cloned() else {
            return;
        };
        for id in &info.partitions {
            while let Some(partition) = self.state.partitions.get(id) {
                let ended = partition.queue.ended(self.now, unwanted, AT_ONCE);
                if ended.is_empty() {
                    break;
                }
                self.let_go(*id, ended, DeadLetterReason::Expired);
            }
        }
    }

    /// Lets the oldest ready messages go that are more than the topic may hold.
    pub(super) fn drop_excess(&mut self, topic: TopicId) {
        let Some(info) = self.state.catalog.topic(topic).cloned() else {
            return;
        };
        let TopicConfig {
            max_length: Some(most),
            overflow: Overflow::DropOldest,
            ..
        } = info.config
        else {
            return;
        };
        for id in &info.partitions {
            while let Some(partition) = self.state.partitions.get(id) {
                let excess = partition.queue.depth().ready.saturating_sub(most);
                let oldest = partition.queue.oldest(excess.min(AT_ONCE as u64));
                if oldest.is_empty() {
                    break;
                }
                self.let_go(*id, oldest, DeadLetterReason::TooMany);
            }
        }
    }

    fn let_go(
        &mut self,
        partition: PartitionId,
        messages: Vec<Attempted>,
        reason: DeadLetterReason,
    ) {
        let known = self.state.partitions.get(&partition);
        let topic = known.and_then(|known| self.state.catalog.topic(known.topic));
        if topic.is_some_and(|topic| topic.config.dead_letter.is_some()) {
            return self.dead_letter(partition, messages, reason);
        }
        let ranges = messages.iter().map(|message| message.range).collect();
        let event = QueueEvent::Settled { ranges };
        self.record(Urgency::Lazy, &StateFrame::Queue { partition, event });
    }

    /// Whether the topic refuses a message: it holds as many as it may, those counted that are not
    /// durable yet.
    pub(super) fn refuses(&self, topic: TopicId) -> bool {
        let Some(topic) = self.state.catalog.topic(topic) else {
            return false;
        };
        let Some(most) = topic.config.max_length else {
            return false;
        };
        topic.config.overflow != Overflow::DropOldest
            && topic.partitions.iter().any(|id| {
                self.state.partitions.get(id).is_some_and(|partition| {
                    let coming = partition.next.saturating_sub(partition.queue.end());
                    partition.queue.depth().ready.saturating_add(coming) >= most
                })
            })
    }

    /// A message that a topic refused goes to its dead-letter target, if it was declared so: it is
    /// appended and put aside in one commit.
    pub(super) fn dead_letter_refused(&mut self, topic: TopicId, batch: &Batch) {
        let Some(info) = self.state.catalog.topic(topic).cloned() else {
            return;
        };
        let wanted = info.config.overflow == Overflow::RefuseAndDeadLetter;
        if !wanted || info.config.dead_letter.is_none() {
            return;
        }
        let Some((id, first)) = self.choose(topic, None) else {
            return;
        };
        self.append(
            &[(id, first)],
            batch,
            Some(super::dead_letter::LATEST),
            None,
        );
        let range = OffsetRange {
            first,
            count: batch.offset_count(),
        };
        let messages = vec![Attempted { range, attempt: 0 }];
        // Its record can be read when this commit is durable.
        if let Some(job) = self.put_aside_dead(id, messages, DeadLetterReason::TooMany) {
            self.filling.deferred.outputs.push(Output::DeadLetter(job));
        }
    }

    /// How long a message of the topic lives, milliseconds: the shorter of what the topic says and
    /// what the message says.
    pub(super) fn lives_ms(&self, partition: PartitionId, own: Option<u64>) -> Option<u64> {
        let known = self.state.partitions.get(&partition)?;
        let topic = self.state.catalog.topic(known.topic)?;
        topic.config.message_ms.into_iter().chain(own).min()
    }
}
