//! Transactions from end to end: what is written, promoted, cleaned, compacted, read.

use std::collections::BTreeSet;

use forebay_base::{Offset, PartitionId};
use forebay_record::{Batch, BatchBuilder, Marker};

use super::{World, receipts};
use crate::simulation::Worker;
use crate::{
    Command, Compaction, Cursor, Durability, Outcome, Outgoing, Publish, Reply, Retention, Stored,
    Target, TopicConfig, TopicInfo, TransactionCommand, Transactional, WhenFull,
};

impl World {
    fn transact(&mut self, command: TransactionCommand) -> Reply {
        self.call(Command::Transaction(command)).unwrap()
    }

    fn register(&mut self, name: &str) -> Transactional {
        let command = TransactionCommand::Register {
            name: name.to_owned(),
            timeout_ms: 900_000,
            expected: None,
        };
        match self.transact(command) {
            Reply::Transactional { producer, epoch } => Transactional {
                name: name.to_owned(),
                producer,
                epoch,
            },
            other => panic!("{other:?}"),
        }
    }

    /// One batch of the producer's transaction, of messages with these numbers and one key.
    fn append(&mut self, who: &Transactional, topic: &TopicInfo, sequence: i32, numbers: &[u64]) {
        let partitions = topic.partitions.clone();
        let add = TransactionCommand::AddPartitions {
            who: who.clone(),
            partitions,
        };
        self.transact(add);
        let mut batch = BatchBuilder::new(self.now.0)
            .producer(who.producer, who.epoch, sequence)
            .transactional();
        for number in numbers {
            let body = number.to_be_bytes();
            let headers: [(&str, Option<&[u8]>); 0] = [];
            batch
                .push(self.now.0, Some(b"key"), Some(&body), headers.into_iter())
                .unwrap();
        }
        let published = self.call(Command::Publish(Publish {
            messages: vec![Outgoing {
                target: Target::Partition(topic.partitions[0]),
                batch: batch.finish(),
                key_hash: None,
                not_before: None,
                identity: None,
                lives_ms: None,
            }],
            durability: Durability::Synced,
            when_full: WhenFull::Refuse,
        }));
        assert!(published.is_ok(), "{published:?}");
    }

    fn end(&mut self, who: &Transactional, commit: bool) {
        let who = who.clone();
        self.transact(TransactionCommand::End { who, commit });
    }

    /// What a client reads that wants what is committed, offset and number, in the way clients
    /// find it out.
    fn committed(&self, topic: &TopicInfo) -> Vec<(Offset, u64)> {
        let partition = topic.partitions[0];
        let bounds = self.shard.bounds(partition);
        let told = self.shard.aborted(partition, bounds.start, bounds.decided);
        let mut told: Vec<_> = told.iter().map(|one| (one.first, one.producer)).collect();
        told.sort_unstable();
        let mut told = told.into_iter().peekable();
        let mut passing = BTreeSet::new();
        let mut all = Vec::new();
        for stored in self.batches(partition, bounds.decided) {
            let base = stored.base_offset;
            while let Some((_, producer)) = told.next_if(|(first, _)| *first <= base) {
                passing.insert(producer);
            }
            let batch = Batch::from_trusted(stored.batch).unwrap();
            let producer = batch.header().producer_id;
            if batch.header().is_control() {
                if batch.marker() == Ok(Some(Marker::Abort)) {
                    passing.remove(&producer);
                }
                continue;
            }
            if batch.header().is_transactional() && passing.contains(&producer) {
                continue;
            }
            for record in batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let value = record.value.unwrap();
                let number = u64::from_be_bytes(value[..8].try_into().unwrap());
                all.push((base + u64::from(record.offset_delta), number));
            }
        }
        all
    }

    fn batches(&self, partition: PartitionId, end: Offset) -> Vec<Stored> {
        let (mut next, mut all) = (self.shard.bounds(partition).start, Vec::new());
        let mut cursor = Cursor::default();
        while next < end {
            let read = self.shard.read(partition, next, 4096, &mut cursor).unwrap();
            let Some(last) = read.last() else { break };
            next = last.base_offset + u64::from(last.records);
            all.extend(read.into_iter().filter(|stored| stored.base_offset < end));
        }
        all
    }
}

#[test]
fn work_that_was_aborted_goes_and_its_marker_stays_until_all_before_it_is_gone() {
    let mut world = World::new();
    let topic = world.topic("work", Retention::until_settled());
    let partition = topic.partitions[0];
    world.publish(&topic, 0, 1).unwrap();
    let stuck = world.receive(&topic, 1);
    let who = world.register("t");
    world.append(&who, &topic, 0, &[10, 11]);
    world.append(&who, &topic, 2, &[12]);
    world.end(&who, false);
    // What is met of it is passed over and settled, as `Broker::records` does.
    let void = world.receive(&topic, 100);
    assert_eq!(world.numbers(&void), Vec::<u64>::new());
    assert_eq!(receipts(&void).len(), 4);
    world.settle_as(receipts(&void), Outcome::Ack);
    world.append(&who, &topic, 3, &[20, 21]);
    world.end(&who, true);
    let expected = vec![(0, 0), (5, 20), (6, 21)];
    assert_eq!(world.committed(&topic), expected);
    for _ in 0..3 {
        world.push_out();
        world.pass(2_000);
        world.restart();
        world.settle();
        let bases = world.batches(partition, 7).into_iter();
        let bases: Vec<_> = bases.map(|stored| stored.base_offset).collect();
        assert_eq!(bases, [0, 4, 5], "the aborted records go, the marker stays");
        assert_eq!(world.committed(&topic), expected);
    }
    let left = world.receive(&topic, 100);
    assert_eq!(world.numbers(&left), [20, 21]);
    world.settle_as(receipts(&stuck), Outcome::Ack);
    world.settle_as(receipts(&left), Outcome::Ack);
    world.push_out();
    world.pass(60_000);
    world.shard.step(Worker::Retention, world.now);
    world.settle();
    assert_eq!(world.shard.bounds(partition).start, 8);
    assert_eq!(world.shard.aborted(partition, 0, 100), []);
}

#[test]
fn what_is_not_decided_supersedes_nothing() {
    let mut world = World::new();
    let config = TopicConfig {
        retention: Retention::for_ms(u64::MAX),
        compaction: Some(Compaction {
            min_lag_ms: 0,
            max_lag_ms: 1,
            delete_retention_ms: 100_000,
            min_dirty_ratio: 0,
        }),
        ..TopicConfig::default()
    };
    let name = "table".into();
    let topic = match world.call(Command::CreateTopic { name, config }) {
        Ok(Reply::Topic(topic)) => topic,
        other => panic!("{other:?}"),
    };
    let (one, other) = (world.register("one"), world.register("other"));
    world.append(&one, &topic, 0, &[1]);
    world.end(&one, true);
    world.append(&other, &topic, 0, &[2]);
    world.append(&one, &topic, 1, &[3]);
    world.end(&one, true);
    for _ in 0..3 {
        world.push_out();
        world.pass(5_000);
    }
    assert_eq!(world.committed(&topic), [(0, 1)], "before what is open");
    world.end(&other, false);
    for _ in 0..3 {
        world.push_out();
        world.pass(5_000);
    }
    assert_eq!(world.committed(&topic), [(3, 3)]);
    world.restart();
    world.settle();
    assert_eq!(world.committed(&topic), [(3, 3)]);
}
