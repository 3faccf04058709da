//! Publishing: routing, offsets, appends.

use std::sync::Arc;

use bytes::Bytes;
use forebay_base::{OffsetRange, PartitionId, SessionId, Timestamp, TopicId, planted};
use forebay_queue::{QueueEvent, Sent};
use forebay_record::{BATCH_OVERHEAD, Batch, Compression, NO_PRODUCER_ID};
use forebay_stream::Fresh;

use super::dead_letter::LATEST;
use super::{Output, ReplyTo, Shard, Urgency};
use crate::frame::StateFrame;
use crate::state::producer_batch;
use crate::{
    Durability, Fields, Outgoing, Placed, Publish, Refusal, Reply, Target, WhenFull, namespace,
};

/// How far the durable clock may lag behind while messages arrive, milliseconds.
const CLOCK_STEP_MS: u64 = 60_000;

/// No single command counts as more than this, so that none can ask for more than there is.
pub(crate) const PENDING_AT_MOST: usize = 32 << 20;

impl Shard {
    pub(super) fn publish(&mut self, to: ReplyTo, publish: Publish) {
        if let Some(reason) = &self.storage_full {
            match publish.when_full {
                WhenFull::Wait => self.parked.push_back((to, publish)),
                WhenFull::Refuse => {
                    let reason = reason.clone();
                    self.outputs.push(Output::Released(publish.payload_bytes()));
                    self.reply_now(to, Err(Refusal::StorageFull(reason)));
                }
            }
            return;
        }
        if !self.parked.is_empty() && publish.when_full == WhenFull::Wait {
            // Not before those that wait longer.
            return self.parked.push_back((to, publish));
        }
        self.append_all(to, &publish);
    }

    /// What the next publish brings that waited for space; `None` while there is none, or none
    /// waits.
    pub(crate) fn parked_bytes(&self) -> Option<usize> {
        let (_, next) = self.parked.front()?;
        let there_is_space = self.storage_full.is_none();
        there_is_space.then(|| next.payload_bytes())
    }

    /// Goes on with a publish that waited for space. False if none does, or there is none.
    pub(crate) fn unpark(&mut self, now: Timestamp) -> bool {
        self.now = now;
        if self.storage_full.is_some() {
            return false;
        }
        let next = self.parked.pop_front();
        if let Some((to, publish)) = &next {
            self.append_all(*to, publish);
        }
        next.is_some()
    }

    fn append_all(&mut self, to: ReplyTo, publish: &Publish) {
        let payload_bytes = publish.payload_bytes();
        let results: Vec<_> = publish
            .messages
            .iter()
            .map(|outgoing| self.place(to.session, outgoing))
            .collect();
        if self.filling.urgent {
            self.filling.deferred.payload_bytes += payload_bytes;
        } else {
            // Every message was refused or unroutable: no commit is due that would release it.
            self.outputs.push(Output::Released(payload_bytes));
        }
        let reply = Ok(Reply::Published(results));
        match publish.durability {
            Durability::Synced => self.reply(to, reply),
            Durability::Written => self.reply_now(to, reply),
        }
    }

    fn place(&mut self, session: SessionId, outgoing: &Outgoing) -> Result<Placed, Refusal> {
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        let placed = self
            .route(session, outgoing, &mut entries)
            .map(|routed| match routed {
                Routed::Before(placed) => placed,
                Routed::Fresh { routed, refused } => {
                    let (partition, base_offset) =
                        entries.first().copied().unwrap_or((PartitionId(0), 0));
                    if !entries.is_empty() {
                        let (not_before, lives_ms) = (outgoing.not_before, outgoing.lives_ms);
                        self.append(&entries, &outgoing.batch, not_before, lives_ms);
                        self.remember(outgoing, partition, base_offset);
                    }
                    Placed {
                        routed,
                        partition,
                        base_offset,
                        original: None,
                        refused,
                    }
                }
            });
        self.entries = entries;
        placed
    }

    /// The partitions a message goes to through an exchange.
    fn route_through(
        &mut self,
        exchange: &Arc<str>,
        routing_keys: &[Arc<str>],
        fields: &Fields,
        outgoing: &Outgoing,
        entries: &mut Vec<(PartitionId, u64)>,
    ) -> Result<u32, Refusal> {
        if !namespace::split(exchange).1.is_empty() {
            let known = self.state.catalog.exchange(exchange);
            let known = known.ok_or_else(|| Refusal::NoSuchExchange(exchange.clone()))?;
            if known.config.internal {
                return Err(Refusal::ExchangeInternal(exchange.clone()));
            }
        }
        let mut topics = Vec::new();
        for key in routing_keys {
            let catalog = &self.state.catalog;
            catalog.route(exchange, key, fields, &mut topics);
        }
        for topic in &topics {
            self.check_size(*topic, &outgoing.batch)?;
        }
        let mut refused = 0;
        for topic in &topics {
            if self.refuses(*topic) {
                refused += 1;
                self.dead_letter_refused(*topic, &outgoing.batch);
                continue;
            }
            entries.extend(self.choose(*topic, outgoing.key_hash));
        }
        Ok(refused)
    }

    /// The partitions a message goes to, with the offset it gets in each.
    fn route(
        &mut self,
        session: SessionId,
        outgoing: &Outgoing,
        entries: &mut Vec<(PartitionId, u64)>,
    ) -> Result<Routed, Refusal> {
        let mut refused = 0;
        match &outgoing.target {
            Target::Partition(id) => {
                let partition = self
                    .state
                    .partitions
                    .get(id)
                    .ok_or(Refusal::NoSuchPartition)?;
                let next = partition.next;
                self.check_size(partition.topic, &outgoing.batch)?;
                let header = outgoing.batch.header();
                if header.producer_id != NO_PRODUCER_ID || header.is_transactional() {
                    self.check_transaction(*id, header)?;
                }
                if let Some(batch) = producer_batch(outgoing.batch.header())
                    && let Fresh::Duplicate { base_offset } =
                        self.state.producers.check(*id, batch)?
                    && planted!(DuplicateAppended => false, else true)
                {
                    return Ok(Routed::Before(Placed {
                        routed: 1,
                        partition: *id,
                        base_offset,
                        original: None,
                        refused: 0,
                    }));
                }
                entries.push((*id, next));
            }
            Target::Topic(id) => {
                self.usable(session, *id)?;
                self.check_size(*id, &outgoing.batch)?;
                if let Some(before) = self.duplicate(*id, outgoing) {
                    return Ok(Routed::Before(before));
                }
                if self.refuses(*id) {
                    self.dead_letter_refused(*id, &outgoing.batch);
                    return Err(Refusal::TopicFull);
                }
                entries.extend(self.choose(*id, outgoing.key_hash));
            }
            Target::Exchange {
                exchange,
                routing_key,
            } => {
                let keys = std::slice::from_ref(routing_key);
                refused =
                    self.route_through(exchange, keys, &Fields::default(), outgoing, entries)?;
            }
            Target::Routes {
                exchange,
                routing_keys,
                fields,
            } => {
                refused = self.route_through(exchange, routing_keys, fields, outgoing, entries)?;
            }
        }
        Ok(Routed::Fresh {
            routed: u32::try_from(entries.len()).unwrap_or(u32::MAX),
            refused,
        })
    }

    /// The place of the message that this one is a duplicate of.
    fn duplicate(&self, topic: TopicId, outgoing: &Outgoing) -> Option<Placed> {
        let identity = outgoing.identity?;
        let config = &self.state.catalog.topic(topic)?.config;
        if config.dedup_ms == 0 {
            return None;
        }
        let recent = self.state.recent.get(&topic)?;
        let sent = recent.find(identity.key, self.now)?;
        Some(Placed {
            routed: 1,
            partition: sent.partition,
            base_offset: sent.offset,
            original: Some(sent.id),
            refused: 0,
        })
    }

    /// Writes down what makes a later message a duplicate of this one.
    fn remember(&mut self, outgoing: &Outgoing, partition: PartitionId, offset: u64) {
        let (Some(identity), Target::Topic(topic)) = (outgoing.identity, &outgoing.target) else {
            return;
        };
        let config = self.state.catalog.topic(*topic).map(|topic| &topic.config);
        let dedup_ms = config.map_or(0, |config| config.dedup_ms);
        if dedup_ms == 0 {
            return;
        }
        let sent = Sent {
            key: identity.key,
            id: identity.id,
            partition,
            offset,
            until: self.now.plus_ms(dedup_ms),
        };
        let (topic, at) = (*topic, self.now);
        self.record(Urgency::Now, &StateFrame::Sent { topic, sent, at });
    }

    /// The partition of a topic that a message with this key goes to, and its next offset.
    pub(super) fn choose(
        &mut self,
        topic: TopicId,
        key_hash: Option<u32>,
    ) -> Option<(PartitionId, u64)> {
        let topic = self.state.catalog.topic(topic)?;
        let count = topic.partitions.len();
        let index = match (count, key_hash) {
            (1, _) => 0,
            (_, Some(hash)) => hash as usize % count,
            (_, None) => {
                self.partition_turn = self.partition_turn.wrapping_add(1);
                self.partition_turn as usize % count
            }
        };
        let id = *topic.partitions.get(index)?;
        Some((id, self.state.partitions.get(&id)?.next))
    }

    fn check_size(&self, topic: TopicId, batch: &Batch) -> Result<(), Refusal> {
        let topic = self
            .state
            .catalog
            .topic(topic)
            .ok_or(Refusal::NoSuchTopic)?;
        let (size, limit) = (batch.bytes().len(), self.batch_at_most);
        if size > limit {
            return Err(Refusal::TooLarge { size, limit });
        }
        let limit = topic.config.max_message_bytes as usize;
        if batch.bytes().len() <= limit {
            return Ok(());
        }
        match largest_message(batch) {
            size if size > limit => Err(Refusal::TooLarge { size, limit }),
            _ => Ok(()),
        }
    }

    /// Appends a batch to partitions at their next offsets.
    pub(super) fn append(
        &mut self,
        entries: &[(PartitionId, u64)],
        batch: &Batch,
        not_before: Option<Timestamp>,
        lives_ms: Option<u64>,
    ) {
        let header = batch.header();
        let count = batch.offset_count();
        let commit = &self.filling.commit;
        if !commit.is_empty() && commit.len_bytes() + batch.bytes().len() > self.commit_at_most {
            self.rotate();
        }
        if self.now.ms_since(self.state.clock) >= CLOCK_STEP_MS {
            self.record(Urgency::Lazy, &StateFrame::Clock(self.now));
        }
        // A batch without times is as old as its arrival.
        let latest = match header.max_timestamp {
            none if none < 0 => self.now.0,
            latest => latest,
        };
        self.filling
            .commit
            .push_append(entries, count, latest, batch.bytes());
        self.filling.urgent = true;
        self.state.append(entries, batch);
        if header.is_transactional() && !header.is_control() {
            for &(id, first) in entries {
                self.hold_back(id, header.producer_id, first);
            }
        }
        self.tally.records_in += u64::from(count);
        self.tally.bytes_in += batch.bytes().len() as u64;
        for &(id, first) in entries {
            self.filling.deferred.grew(id, first + u64::from(count));
            let range = OffsetRange { first, count };
            if let Some(ms) = self.lives_ms(id, lives_ms) {
                let at = forebay_queue::end_after(self.now, ms);
                let event = QueueEvent::Ends { range, at };
                self.record(
                    Urgency::Now,
                    &StateFrame::Queue {
                        partition: id,
                        event,
                    },
                );
            }
            if let Some(until) = not_before.or_else(|| self.delayed_until(id)) {
                planted!(DelayForgotten => continue);
                let until = until.min(LATEST);
                let event = QueueEvent::Delayed { range, until };
                self.record(
                    Urgency::Now,
                    &StateFrame::Queue {
                        partition: id,
                        event,
                    },
                );
            }
        }
    }

    fn delayed_until(&self, partition: PartitionId) -> Option<Timestamp> {
        let topic = self.state.partitions.get(&partition)?.topic;
        let delay_ms = self.state.catalog.topic(topic)?.config.delay_ms;
        (delay_ms > 0).then(|| self.now.plus_ms(delay_ms))
    }
}

/// The size of the largest message in a batch as a batch of its own, bytes. What is compressed
/// together counts together.
pub(crate) fn largest_message(batch: &Batch) -> usize {
    let whole = batch.bytes().len();
    if batch.header().record_count <= 1 || batch.header().compression() != Compression::None {
        return whole;
    }
    let Ok(records) = batch.records(whole) else {
        return whole;
    };
    let sizes = records.map(|record| {
        record.map_or(whole, |record| {
            let fields = [record.key.as_ref(), record.value.as_ref()];
            let headers = record.headers.iter();
            let headers = headers.map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len));
            fields.into_iter().flatten().map(Bytes::len).sum::<usize>() + headers.sum::<usize>()
        })
    });
    whole.min(BATCH_OVERHEAD + sizes.max().unwrap_or(0))
}

enum Routed {
    /// To so many topics; so many others had no room.
    Fresh { routed: u32, refused: u32 },
    /// The producer sent it before, and it lies there.
    Before(Placed),
}

impl super::Deferred {
    fn grew(&mut self, partition: PartitionId, end: u64) {
        match self.grown.last_mut() {
            Some((last, known)) if *last == partition => *known = end,
            _ => self.grown.push((partition, end)),
        }
    }
}

impl Publish {
    /// What the command counts as while it is pending, bytes.
    pub(crate) fn payload_bytes(&self) -> usize {
        const OVERHEAD: usize = 256;
        let sum: usize = self
            .messages
            .iter()
            .map(|message| message.batch.bytes().len() + OVERHEAD)
            .sum();
        sum.min(PENDING_AT_MOST)
    }
}
