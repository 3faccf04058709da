//! The shard's durable state: what a snapshot holds and what the journal rebuilds.
//!
//! It changes by [`ShardState::append`] and [`ShardState::apply`] and by nothing else, in life and
//! at recovery alike.

use std::collections::BTreeMap;

use forebay_base::{Offset, PartitionId, Timestamp, TopicId, planted};
use forebay_queue::{QueueEvent, QueueView, Recent};
use forebay_record::{Batch, BatchHeader, NO_PRODUCER_ID};
use forebay_stream::{GroupOffsets, ProducerBatch, Producers, StreamEvent, Transactions};
use hashbrown::HashMap;
use serde::{Deserialize, Serialize, Serializer};
use twox_hash::XxHash64;

use crate::catalog::{Catalog, CatalogChange};
use crate::frame::{FrameError, StateFrame};
use crate::moves::Moves;
use crate::records::DECOMPRESSED_AT_MOST;
use crate::settings::{self, Settings};

/// One partition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Partition {
    pub(crate) topic: TopicId,
    /// The offset the next record gets; at or after the durable end, which the queue view knows.
    pub(crate) next: Offset,
    pub(crate) queue: QueueView,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ShardState {
    pub(crate) catalog: Catalog,
    /// Written down by rising id, so that equal states have equal bytes.
    #[serde(serialize_with = "in_order")]
    pub(crate) partitions: HashMap<PartitionId, Partition, foldhash::fast::FixedState>,
    pub(crate) offsets: GroupOffsets,
    pub(crate) producers: Producers,
    /// The time as far as durable state knows it: a minute behind at most. Idle producers are
    /// measured by it.
    pub(crate) clock: Timestamp,
    /// What was sent lately to topics that find out duplicates.
    pub(crate) recent: BTreeMap<TopicId, Recent>,
    pub(crate) moves: Moves,
    /// In a snapshot they come behind the rest.
    #[serde(skip)]
    pub(crate) settings: Settings,
    /// And behind those.
    #[serde(skip)]
    pub(crate) transactions: Transactions,
}

fn in_order<S: Serializer>(
    partitions: &HashMap<PartitionId, Partition, foldhash::fast::FixedState>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut sorted: Vec<_> = partitions.iter().collect();
    sorted.sort_unstable_by_key(|(id, _)| **id);
    serializer.collect_map(sorted)
}

/// Snapshots start with this; another number is another format.
const SNAPSHOT_VERSION: u8 = 2;

impl ShardState {
    pub(crate) fn new() -> Self {
        Self {
            catalog: Catalog::new(),
            partitions: HashMap::default(),
            offsets: GroupOffsets::default(),
            producers: Producers::default(),
            clock: Timestamp::default(),
            recent: BTreeMap::new(),
            moves: Moves::default(),
            settings: Settings::default(),
            transactions: Transactions::default(),
        }
    }

    /// The state as a snapshot's bytes.
    pub(crate) fn save(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![SNAPSHOT_VERSION])
            .and_then(|bytes| postcard::to_extend(&self.settings, bytes))
            .and_then(|bytes| postcard::to_extend(&self.transactions, bytes))
            .and_then(|bytes| postcard::to_extend(&self.catalog.resting, bytes))
            .and_then(|bytes| postcard::to_extend(&self.beside(QueueView::tenants), bytes))
            .and_then(|bytes| postcard::to_extend(&self.beside(QueueView::ends), bytes))
            .expect("writing to memory cannot fail and every field has a known length")
    }

    /// The state a snapshot holds.
    pub(crate) fn load(bytes: &[u8]) -> Result<Self, FrameError> {
        let Some((&SNAPSHOT_VERSION, bytes)) = bytes.split_first() else {
            return Err(postcard::Error::DeserializeBadEncoding.into());
        };
        let (mut state, rest): (Self, _) = postcard::take_from_bytes(bytes)?;
        state.load_further(rest)?;
        planted!(OffsetsNotInSnapshot => state.offsets = GroupOffsets::default());
        planted!(ProducersNotInSnapshot => state.producers = Producers::default());
        planted!(QueuesNotInSnapshot => for partition in state.partitions.values_mut() {
            partition.queue = QueueView::new(partition.queue.start());
        });
        state.catalog.index();
        Ok(state)
    }

    /// What later versions added behind the rest; an older snapshot ends earlier.
    fn load_further(&mut self, rest: &[u8]) -> Result<(), FrameError> {
        if rest.is_empty() {
            return Ok(());
        }
        let (settings, rest) = postcard::take_from_bytes(rest)?;
        self.settings = settings;
        if rest.is_empty() {
            return Ok(());
        }
        let (transactions, rest) = postcard::take_from_bytes(rest)?;
        self.transactions = transactions;
        if rest.is_empty() {
            return Ok(());
        }
        let (resting, rest) = postcard::take_from_bytes(rest)?;
        self.catalog.resting = resting;
        if rest.is_empty() {
            return Ok(());
        }
        let (tenants, rest) = postcard::take_from_bytes(rest)?;
        self.put_beside(tenants, QueueView::restore_tenants);
        if rest.is_empty() {
            return Ok(());
        }
        self.put_beside(postcard::from_bytes(rest)?, QueueView::restore_ends);
        Ok(())
    }

    /// What some queue views have beside their stored form, by rising id of their partitions.
    fn beside<'a, T>(
        &'a self,
        of: impl Fn(&'a QueueView) -> Option<&'a T>,
    ) -> Vec<(PartitionId, &'a T)> {
        let known = self.partitions.iter();
        let known = known.filter_map(|(id, partition)| Some((*id, of(&partition.queue)?)));
        let mut known: Vec<_> = known.collect();
        known.sort_unstable_by_key(|(id, _)| *id);
        known
    }

    fn put_beside<T>(
        &mut self,
        stored: Vec<(PartitionId, T)>,
        restore: impl Fn(&mut QueueView, T),
    ) {
        for (id, of_view) in stored {
            if let Some(partition) = self.partitions.get_mut(&id) {
                restore(&mut partition.queue, of_view);
            }
        }
    }

    /// A batch was appended to partitions, at the base offset given for each.
    pub(crate) fn append(&mut self, entries: &[(PartitionId, Offset)], batch: &Batch) {
        let header = batch.header();
        let count = u64::from(offsets_of(header));
        let mut groups = None;
        let mut tenants = None;
        for (id, base) in entries {
            let Some(partition) = self.partitions.get_mut(id) else {
                continue;
            };
            if partition.queue.is_ordered() {
                let groups = groups.get_or_insert_with(|| groups_of(batch));
                partition.queue.append(*base, groups.iter().copied());
            } else if self.catalog.is_fair(partition.topic) {
                let tenants = tenants.get_or_insert_with(|| tenants_of(batch));
                partition.queue.append_fairly(*base, tenants);
            }
            partition.next = partition.next.max(base.saturating_add(count));
            if let Some(batch) = producer_batch(header) {
                self.producers.record(*id, batch, *base, self.clock);
                if header.is_transactional() {
                    self.transactions.appended(*id, batch.id, *base);
                }
            }
        }
    }

    /// Something else happened.
    pub(crate) fn apply(&mut self, frame: &StateFrame) -> CatalogChange {
        match frame {
            StateFrame::Catalog(event) => {
                let change = self.catalog.apply(event);
                match &change {
                    CatalogChange::TopicPut(topic) => {
                        for id in &topic.partitions {
                            self.partitions.entry(*id).or_insert_with(|| Partition {
                                topic: topic.id,
                                next: 0,
                                queue: match topic.config.ordered {
                                    true => QueueView::ordered(0),
                                    false => QueueView::new(0),
                                },
                            });
                        }
                    }
                    CatalogChange::TopicRemoved(topic) | CatalogChange::TopicRetired(topic, _) => {
                        for id in &topic.partitions {
                            self.partitions.remove(id);
                        }
                        self.recent.remove(&topic.id);
                        self.moves.forget(topic.id);
                        let partitions = topic.partitions.clone();
                        let event = StreamEvent::PartitionsRemoved { partitions };
                        self.offsets.apply(&event);
                        self.producers.apply(&event);
                        self.transactions.apply(&event);
                    }
                    _ => {}
                }
                return change;
            }
            StateFrame::Queue { partition, event } => {
                if let QueueEvent::Started { at } = event {
                    self.transactions.trim(*partition, *at);
                }
                if let Some(partition) = self.partitions.get_mut(partition) {
                    partition.queue.apply(event);
                }
            }
            StateFrame::Stream(event) => {
                self.offsets.apply(event);
                self.producers.apply(event);
                self.transactions.apply(event);
            }
            StateFrame::Clock(now) => {
                self.clock = self.clock.max(*now);
                self.producers.expire(self.clock);
                self.transactions.expire(self.clock);
                self.recent.retain(|_, recent| {
                    recent.forget(*now);
                    !recent.is_empty()
                });
            }
            StateFrame::Move(event) => self.moves.apply(event),
            StateFrame::Settings(changes) => {
                settings::apply(&mut self.settings, changes);
                return CatalogChange::Settings(changes.clone());
            }
            StateFrame::Sent { topic, sent, at } => {
                if self.catalog.topic(*topic).is_some() {
                    self.recent.entry(*topic).or_default().add(*sent, *at);
                }
            }
        }
        CatalogChange::None
    }
}

/// How many offsets a batch takes.
pub(crate) fn offsets_of(header: &BatchHeader) -> u32 {
    u32::try_from(header.last_offset_delta).unwrap_or(0) + 1
}

/// The batch as the idempotent producer's rules see it; `None` if no such producer made it, or the
/// broker itself did, to end a transaction.
pub(crate) fn producer_batch(header: &BatchHeader) -> Option<ProducerBatch> {
    let of_producer = header.producer_id != NO_PRODUCER_ID && !header.is_control();
    of_producer.then(|| ProducerBatch {
        id: header.producer_id,
        epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        count: offsets_of(header),
    })
}

/// The group of each record: a hash of its key, which the same key always has.
fn groups_of(batch: &Batch) -> Vec<u64> {
    groups_or(batch, XxHash64::oneshot(SEED, b""))
}

/// As [`groups_of`], with 0 for records without a key.
fn tenants_of(batch: &Batch) -> Vec<u64> {
    groups_or(batch, 0)
}

const SEED: u64 = 0;

fn groups_or(batch: &Batch, no_key: u64) -> Vec<u64> {
    let count = batch.offset_count() as usize;
    // The count is checked against the size of the batch when it is taken in.
    let mut groups = Vec::with_capacity(count.min(batch.bytes().len()));
    let each = |delta: u32, key: Option<&[u8]>| {
        groups.resize(delta as usize, no_key);
        groups.push(key.map_or(no_key, |key| XxHash64::oneshot(SEED, key)));
    };
    if let Err(error) = batch.each_key(DECOMPRESSED_AT_MOST, each) {
        tracing::error!(%error, "the keys of a batch cannot be read: its records are one group");
    }
    groups.resize(count, no_key);
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_from_before_there_were_transactions_has_none() {
        let mut state = ShardState::new();
        let before = postcard::to_extend(&state, vec![SNAPSHOT_VERSION]).unwrap();
        assert_eq!(ShardState::load(&before).unwrap().save(), state.save());
        state
            .transactions
            .apply(&StreamEvent::TransactionalProducer {
                name: "t".to_owned(),
                producer: 1,
                epoch: 0,
                last_epoch: -1,
                timeout_ms: 1,
                at: Timestamp(1),
            });
        let again = ShardState::load(&state.save()).unwrap();
        assert_eq!(again.transactions, state.transactions);
    }
}
