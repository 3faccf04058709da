//! Streams: watching partitions grow, consumer groups, offsets, producer ids.

use forebay_base::{Offset, PartitionId, Timestamp};
use forebay_stream::{
    GroupDescription, GroupListing, GroupPhase, GroupRefusal, StreamEvent, Token,
};

use super::consume::{Readable, WaitsFor};
use super::{ReplyTo, Shard, Urgency};
use crate::frame::StateFrame;
use crate::{GroupCommand, OffsetCommit, Reply, RequestId};

impl Shard {
    pub(super) fn watch(
        &mut self,
        to: ReplyTo,
        partitions: Vec<(PartitionId, Offset)>,
        readable: Readable,
        until: Timestamp,
    ) {
        if self.have_grown(&partitions, readable) || until <= self.now {
            return self.reply_now(to, Ok(Reply::Done));
        }
        for (id, _) in &partitions {
            self.watchers.entry(*id).or_default().push(to.request);
        }
        self.wait(to, until, WaitsFor::Records(partitions, readable));
    }

    /// Whether one of the partitions has a durable record at or after its offset, or is gone.
    fn have_grown(&self, partitions: &[(PartitionId, Offset)], readable: Readable) -> bool {
        partitions.iter().any(|(id, offset)| {
            let end = match readable {
                Readable::All => self.durable_end(*id),
                // The queue view sees no further.
                Readable::Decided => {
                    let known = self.state.partitions.get(id);
                    known.map(|known| known.queue.end())
                }
            };
            end.is_none_or(|end| end > *offset)
        })
    }

    /// The partition grew, or is gone.
    pub(super) fn wake_watchers(&mut self, id: PartitionId) {
        let Some(requests) = self.watchers.get(&id) else {
            return;
        };
        let sees_it = |request: &RequestId| match self.waiters.get(request) {
            Some(waiter) => match &waiter.waits_for {
                WaitsFor::Records(partitions, readable) => self.have_grown(partitions, *readable),
                WaitsFor::Messages(_) => false,
            },
            None => false,
        };
        let woken: Vec<_> = requests.iter().copied().filter(sees_it).collect();
        for request in woken {
            if let Some(waiter) = self.end_waiter(request) {
                self.reply_now(waiter.to, Ok(Reply::Done));
            }
        }
    }

    pub(super) fn forget_watch(
        &mut self,
        request: RequestId,
        partitions: &[(PartitionId, Offset)],
    ) {
        for (id, _) in partitions {
            if let Some(requests) = self.watchers.get_mut(id) {
                requests.retain(|known| *known != request);
                if requests.is_empty() {
                    self.watchers.remove(id);
                }
            }
        }
    }

    pub(super) fn allocate_producer(&mut self, to: ReplyTo) {
        let id = self.state.producers.next_id();
        let event = StreamEvent::ProducerAllocated { next: id + 1 };
        self.record(Urgency::Now, &StateFrame::Stream(event));
        self.reply(to, Ok(Reply::Producer(id)));
    }

    pub(super) fn commit_offsets(&mut self, to: ReplyTo, commit: OffsetCommit) {
        let OffsetCommit {
            group,
            member,
            instance,
            generation,
            entries,
        } = commit;
        let checked =
            self.groups
                .check_commit(self.now, &group, &member, generation, instance.as_deref());
        if let Err(refusal) = checked {
            return self.reply_now(to, Err(refusal.into()));
        }
        if !entries.is_empty() {
            let event = StreamEvent::OffsetsCommitted {
                group,
                at: self.now,
                entries,
            };
            self.record(Urgency::Now, &StateFrame::Stream(event));
        }
        self.done(to);
    }

    pub(super) fn fetch_offsets(
        &mut self,
        to: ReplyTo,
        group: &str,
        partitions: Option<&[PartitionId]>,
    ) {
        let offsets = &self.state.offsets;
        let found = match partitions {
            Some(partitions) => partitions
                .iter()
                .filter_map(|id| Some((*id, offsets.fetch(group, *id)?.clone())))
                .collect(),
            None => offsets
                .fetch_all(group)
                .map(|(id, known)| (id, known.clone()))
                .collect(),
        };
        self.reply(to, Ok(Reply::Offsets(found)));
    }

    pub(super) fn delete_offsets(
        &mut self,
        to: ReplyTo,
        group: String,
        partitions: Vec<PartitionId>,
    ) {
        let offsets = &self.state.offsets;
        if partitions
            .iter()
            .any(|id| offsets.fetch(&group, *id).is_some())
        {
            let event = StreamEvent::OffsetsDeleted { group, partitions };
            self.record(Urgency::Now, &StateFrame::Stream(event));
        }
        self.done(to);
    }

    pub(super) fn group(&mut self, to: ReplyTo, command: GroupCommand) {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.group_requests.insert(token.0, to);
        match command {
            GroupCommand::Join(join) => self.groups.join(self.now, token, join),
            GroupCommand::Sync(sync) => self.groups.sync(self.now, token, sync),
            GroupCommand::Heartbeat(beat) => self.groups.heartbeat(self.now, token, &beat),
            GroupCommand::Leave(leave) => self.groups.leave(self.now, token, &leave),
        }
    }

    /// Sends what the groups have to say. Membership is not durable: after a restart members join
    /// again, as they do when a coordinator moves.
    pub(super) fn drain_groups(&mut self) {
        for (token, reply) in self.groups.drain() {
            if let Some(to) = self.group_requests.remove(&token.0) {
                self.reply_now(to, Ok(Reply::Group(reply)));
            }
        }
    }

    pub(super) fn describe_group(&mut self, to: ReplyTo, group: String) {
        let known = self.groups.describe(&group).or_else(|| {
            let committed = self.state.offsets.last_commit(&group).is_some();
            committed.then(|| GroupDescription {
                group,
                phase: GroupPhase::Empty,
                protocol_type: String::new(),
                protocol: String::new(),
                leader: None,
                generation: 0,
                members: Vec::new(),
            })
        });
        let description = known.map(Reply::GroupDescription);
        self.reply(to, description.ok_or_else(|| GroupRefusal::NotFound.into()));
    }

    pub(super) fn list_groups(&mut self, to: ReplyTo) {
        let mut groups = self.groups.list();
        for group in self.state.offsets.groups() {
            if let Err(at) = groups.binary_search_by(|known| known.group.as_str().cmp(group)) {
                let listing = GroupListing {
                    group: group.to_owned(),
                    phase: GroupPhase::Empty,
                    protocol_type: String::new(),
                };
                groups.insert(at, listing);
            }
        }
        self.reply(to, Ok(Reply::Groups(groups)));
    }

    pub(super) fn delete_group(&mut self, to: ReplyTo, group: String) {
        let committed = self.state.offsets.last_commit(&group).is_some();
        match self.groups.delete(&group) {
            Err(GroupRefusal::NotFound) if committed => {}
            Err(refusal) => return self.reply(to, Err(refusal.into())),
            Ok(()) => {}
        }
        if committed {
            let event = StreamEvent::GroupDeleted { group };
            self.record(Urgency::Now, &StateFrame::Stream(event));
        }
        self.done(to);
    }
}
