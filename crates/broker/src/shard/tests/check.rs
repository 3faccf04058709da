//! Comparing the shard with its model, and what can be read with what was written.

use std::collections::{BTreeMap, BTreeSet};

use forebay_base::{Offset, OffsetRange, PartitionId, Timestamp};
use forebay_log::Source;
use forebay_queue::{Held, Limits, Receipt};

use super::decide::Expect;
use super::model::{Lane, Mood};
use super::world::World;
use crate::records::RecordsOf;
use crate::state::{Partition, ShardState};

/// States are the same, but for how much of them is known to be durable.
pub(super) fn same_state(one: &ShardState, other: &ShardState) {
    let catalog = |state: &ShardState| {
        let topics: Vec<_> = state.catalog.topics().cloned().collect();
        let exchanges: Vec<_> = state.catalog.exchanges().cloned().collect();
        let bindings: Vec<_> = exchanges
            .iter()
            .flat_map(|exchange| state.catalog.bindings_from(&exchange.name))
            .cloned()
            .collect();
        (topics, exchanges, bindings, state.catalog.allocate(1))
    };
    assert_eq!(catalog(one), catalog(other));
    let partitions = |state: &ShardState| -> BTreeMap<PartitionId, Partition> {
        let partitions = state.partitions.clone().into_iter();
        let known = partitions.map(|(id, mut partition)| {
            partition.queue.advance(partition.next);
            (id, partition)
        });
        known.collect()
    };
    assert_eq!(partitions(one), partitions(other));
    assert_eq!(one.offsets, other.offsets);
    assert_eq!(one.producers, other.producers);
    assert_eq!(one.transactions, other.transactions);
    assert_eq!(one.clock, other.clock);
}

impl World {
    /// The shard's state is what the model says it is, and nobody waits for what is there.
    pub(super) fn check(&mut self) {
        self.check_catalog();
        self.check_lanes();
        self.check_streams();
        let jobs: BTreeSet<_> = self
            .jobs
            .iter()
            .map(|(id, job)| (*id, job.range.first))
            .collect();
        for (id, lane) in &self.model.lanes {
            for (offset, message) in lane.messages.iter().enumerate() {
                let aside = matches!(message.mood, Mood::Aside(_));
                let under_way = jobs.contains(&(*id, offset as u64));
                assert!(
                    !aside || under_way,
                    "{id}/{offset} is aside and nobody cares"
                );
            }
        }
        for topic in self.model.topics.keys() {
            let left = self.model.deliverable(*topic);
            let waiting = self.waiting(*topic);
            assert!(
                left == 0 || waiting == 0,
                "{waiting} wait for {left} of {topic}"
            );
        }
        for (request, asked) in &self.asked {
            if let Expect::Watch(partitions, until) = &asked.expect
                && asked.decided.is_none()
            {
                assert!(!self.has_grown(partitions), "{request:?} watches in vain");
                assert!(*until > self.now, "{request:?} is over");
            }
        }
    }

    pub(super) fn has_grown(&self, partitions: &[(PartitionId, Offset)]) -> bool {
        let lanes = &self.model.lanes;
        let grown = |(id, offset): &(PartitionId, Offset)| {
            lanes.get(id).is_none_or(|lane| lane.end > *offset)
        };
        partitions.iter().any(grown)
    }

    fn check_catalog(&self) {
        let catalog = &self.shard.state.catalog;
        assert!(catalog.topics().eq(self.model.topics.values()), "topics");
        let exchanges = catalog
            .exchanges()
            .map(|known| (&known.name, &known.config));
        assert!(exchanges.eq(self.model.exchanges.iter()), "exchanges");
        let bindings: BTreeSet<_> = catalog
            .exchanges()
            .flat_map(|exchange| catalog.bindings_from(&exchange.name))
            .collect();
        assert!(
            bindings.into_iter().eq(self.model.bindings.iter()),
            "bindings"
        );
    }

    fn check_lanes(&mut self) {
        let mut known: Vec<_> = self.shard.state.partitions.keys().copied().collect();
        known.sort();
        assert!(known.iter().eq(self.model.lanes.keys()), "partitions");
        let most: BTreeMap<_, _> = self
            .model
            .topics
            .values()
            .map(|topic| {
                let silent = topic.config.dead_letter.is_none();
                let most = topic.config.max_deliveries.filter(|_| silent);
                (topic.id, most.unwrap_or(u32::MAX))
            })
            .collect();
        for (id, lane) in &mut self.model.lanes {
            let partition = &self.shard.state.partitions[id];
            check_lane(*id, lane, partition, most[&lane.topic]);
        }
    }

    fn check_streams(&self) {
        let offsets = &self.shard.state.offsets;
        let known: BTreeMap<_, _> = offsets
            .groups()
            .flat_map(|group| {
                offsets
                    .fetch_all(group)
                    .map(move |(id, at)| (group, id, at))
            })
            .map(|(group, id, at)| ((group.to_owned(), id), at.offset))
            .collect();
        assert_eq!(known, self.model.offsets);
        assert_eq!(
            self.shard.state.producers.next_id(),
            self.model.next_producer
        );
    }

    /// Every message that is still of use can be read, and everything that can be read is what
    /// was written.
    pub(super) fn check_readable(&self) {
        for (id, lane) in &self.model.lanes {
            let bounds = self.reader.bounds(*id);
            let (start, end) = bounds.map_or((0, 0), |bounds| (bounds.start, bounds.end));
            assert_eq!(end, lane.messages.len() as u64, "the end of {id}");
            let stream = !self.model.topics[&lane.topic]
                .config
                .retention
                .until_settled;
            for (offset, message) in lane.messages.iter().enumerate() {
                let offset = offset as u64;
                match self.read(*id, offset) {
                    Some(found) => {
                        assert_eq!(found, message.id, "{id}/{offset}");
                        assert!(offset >= start.max(lane.start), "{id}/{offset} can be read");
                    }
                    None => {
                        let over = message.mood == Mood::Settled && !stream;
                        let over = over || offset < lane.start;
                        assert!(over, "{id}/{offset} was dropped but is {:?}", message.mood);
                    }
                }
            }
        }
    }

    /// What the body at an offset says.
    pub(super) fn read(&self, partition: PartitionId, offset: Offset) -> Option<u64> {
        let ranges = [OffsetRange::one(offset)];
        let mut cursor = forebay_log::Cursor::default();
        let stored = self
            .reader
            .read_at(partition, &ranges, &mut cursor, Source::Disk);
        let stored = stored.unwrap().unwrap();
        let record = RecordsOf::new(&stored).find(offset).unwrap()?;
        let value = record.value.unwrap();
        let (id, filler) = value.split_first_chunk().unwrap();
        let id = u64::from_be_bytes(*id);
        assert!(
            filler.iter().all(|byte| u64::from(*byte) == id % 251),
            "a damaged body"
        );
        Some(id)
    }
}

fn check_lane(id: PartitionId, lane: &mut Lane, partition: &Partition, most: u32) {
    let queue = &partition.queue;
    assert_eq!(partition.topic, lane.topic);
    assert_eq!(
        partition.next,
        lane.messages.len() as u64,
        "the next offset of {id}"
    );
    assert_eq!(queue.end(), lane.end, "the durable end of {id}");
    assert_eq!(queue.start(), lane.start, "the start of {id}");
    let taken = queue.take(u32::MAX, &Limits::default()).unwrap_or_default();
    let ready: BTreeMap<_, _> = taken
        .iter()
        .flat_map(|run| run.range.offsets().map(|offset| (offset, run.attempt - 1)))
        .collect();
    let aside: BTreeSet<_> = queue
        .delayed_until(Timestamp::MAX)
        .iter()
        .flat_map(|run| run.range.offsets())
        .collect();
    for (offset, message) in lane.messages.iter_mut().enumerate() {
        let offset = offset as u64;
        let attempts = queue.attempts(offset);
        if offset >= lane.end {
            continue;
        }
        let receipt = Receipt {
            offset,
            attempt: attempts.max(1),
        };
        let held = queue.check(receipt);
        if let Mood::Ready(worn) = message.mood
            && worn >= most
            && held == Held::Gone
        {
            // Delivered too often, with nowhere to go.
            message.turn(Mood::Settled);
        }
        let fits = match message.mood {
            Mood::Ready(worn) => ready.get(&offset) == Some(&worn),
            Mood::Leased {
                attempt, session, ..
            } => attempts == attempt && held == Held::Leased { lessee: session },
            Mood::Delayed { attempts: worn, .. } | Mood::Aside(worn) => {
                attempts == worn && held == Held::Ready && !ready.contains_key(&offset)
            }
            Mood::Settled => held == Held::Gone,
        };
        assert!(
            fits,
            "{id}/{offset} should be {:?}: {queue:?}",
            message.mood
        );
        let set_aside = matches!(message.mood, Mood::Aside(_));
        assert_eq!(aside.contains(&offset), set_aside, "{id}/{offset} aside");
    }
    let depth = queue.depth();
    assert_eq!(depth.ready, lane.ready().count() as u64, "ready in {id}");
    let leased = lane.count(|mood| matches!(mood, Mood::Leased { .. }));
    assert_eq!(depth.leased, leased, "leased in {id}");
    let delayed = lane.count(|mood| matches!(mood, Mood::Delayed { .. } | Mood::Aside(_)));
    assert_eq!(depth.delayed, delayed, "delayed in {id}");
    let never = |due: &Timestamp| *due < Timestamp::MAX;
    assert_eq!(
        queue.next_deadline().filter(never),
        lane.next_due().filter(never),
        "the next deadline of {id}"
    );
}
