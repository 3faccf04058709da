//! Compaction from end to end: what is written, promoted, compacted, read.

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_base::Offset;
use forebay_record::{Batch, BatchBuilder};
use proptest::collection::vec;
use proptest::prelude::*;

use super::World;
use crate::{
    Command, Compaction, Cursor, Durability, Outgoing, Publish, Reply, Retention, Target,
    TopicConfig, TopicInfo, WhenFull,
};

/// What is written for a key; nothing deletes it.
type Write = (u8, Option<u64>);

const EAGER: Compaction = Compaction {
    min_lag_ms: 0,
    max_lag_ms: i64::MAX as u64,
    delete_retention_ms: 100_000,
    min_dirty_ratio: 0,
};

impl World {
    fn compacted(&mut self, compaction: Compaction) -> Arc<TopicInfo> {
        let config = TopicConfig {
            retention: Retention::for_ms(u64::MAX),
            compaction: Some(compaction),
            ..TopicConfig::default()
        };
        let name = "table".into();
        match self.call(Command::CreateTopic { name, config }) {
            Ok(Reply::Topic(topic)) => topic,
            other => panic!("{other:?}"),
        }
    }

    /// One batch; values take 200 bytes.
    fn write(&mut self, topic: &TopicInfo, writes: &[Write]) {
        let mut batch = BatchBuilder::new(self.now.0);
        for (key, value) in writes {
            let value = value.map(|value| {
                let mut bytes = value.to_be_bytes().to_vec();
                bytes.resize(200, *key);
                bytes
            });
            let headers: [(&str, Option<&[u8]>); 0] = [];
            batch
                .push(
                    self.now.0,
                    Some(&[*key]),
                    value.as_deref(),
                    headers.into_iter(),
                )
                .unwrap();
        }
        let published = self.call(Command::Publish(Publish {
            messages: vec![Outgoing {
                target: Target::Topic(topic.id),
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

    /// Fills the journal with something else, so that everything before is in segments.
    pub(super) fn push_out(&mut self) {
        let directory = self.shard.topics();
        let filler = directory.iter().find(|topic| &*topic.name == "filler");
        let filler = match filler {
            Some(topic) => topic.clone(),
            None => self.topic("filler", Retention::until_settled()),
        };
        for number in 0..300 {
            self.publish(&filler, number, 1).unwrap();
        }
        let topic = filler.id;
        self.call(Command::Purge {
            topic,
            leased: true,
        })
        .unwrap();
        self.settle();
    }

    /// Everything that can be read.
    fn table(&self, topic: &TopicInfo) -> Vec<(Offset, Write)> {
        let partition = topic.partitions[0];
        let bounds = self.shard.bounds(partition);
        let (mut next, mut all) = (bounds.start, Vec::new());
        let mut cursor = Cursor::default();
        while next < bounds.end {
            let read = self.shard.read(partition, next, 4096, &mut cursor).unwrap();
            let Some(last) = read.last() else { break };
            next = last.base_offset + u64::from(last.records);
            for stored in read {
                let batch = Batch::from_trusted(stored.batch).unwrap();
                for record in batch.records(1 << 20).unwrap() {
                    let record = record.unwrap();
                    let value = record
                        .value
                        .map(|value| u64::from_be_bytes(value[..8].try_into().unwrap()));
                    let offset = stored.base_offset + u64::from(record.offset_delta);
                    all.push((offset, (record.key.unwrap()[0], value)));
                }
            }
        }
        all
    }
}

/// The last that was written for each key, in order.
fn latest(writes: &[Write]) -> Vec<(Offset, Write)> {
    let numbered = (0..).zip(writes);
    let last: BTreeMap<u8, (Offset, Write)> = numbered
        .map(|(offset, write)| (write.0, (offset, *write)))
        .collect();
    let mut last: Vec<_> = last.into_values().collect();
    last.sort_unstable();
    last
}

#[test]
fn the_latest_of_each_key_stays_and_the_rest_goes() {
    let mut world = World::new();
    let topic = world.compacted(EAGER);
    let writes: Vec<Write> = (0..600).map(|n| ((n % 7) as u8, Some(n))).collect();
    for writes in writes.chunks(5) {
        world.write(&topic, writes);
    }
    world.push_out();
    world.pass(2_000);
    assert_eq!(world.table(&topic), latest(&writes));
    world.pass(2_000);
    world.pass(2_000);
    assert!(world.segment_bytes() < 8 << 10, "{}", world.segment_bytes());
    let written = world.shard.counters().promoted_bytes;
    for _ in 0..5 {
        world.pass(50_000);
    }
    assert_eq!(world.shard.counters().promoted_bytes, written, "not again");
    world.restart();
    world.settle();
    assert_eq!(world.table(&topic), latest(&writes));
}

#[test]
fn a_deletion_stays_for_its_time_and_no_longer() {
    let mut world = World::new();
    let topic = world.compacted(EAGER);
    world.write(&topic, &[(1, Some(1)), (2, Some(2))]);
    world.write(&topic, &[(1, None)]);
    world.push_out();
    world.pass(2_000);
    assert_eq!(world.table(&topic), [(1, (2, Some(2))), (2, (1, None))]);
    world.pass(90_000);
    world.write(&topic, &[(3, Some(3))]);
    world.push_out();
    world.pass(2_000);
    let there = [(1, (2, Some(2))), (2, (1, None)), (3, (3, Some(3)))];
    assert_eq!(world.table(&topic), there, "not yet");
    world.pass(20_000);
    world.write(&topic, &[(4, Some(4))]);
    world.push_out();
    world.pass(2_000);
    let left = [(1, (2, Some(2))), (3, (3, Some(3))), (4, (4, Some(4)))];
    assert_eq!(world.table(&topic), left);
}

#[test]
fn what_is_young_stays_until_it_is_not() {
    let mut world = World::new();
    let topic = world.compacted(Compaction {
        min_lag_ms: 50_000,
        ..EAGER
    });
    let writes = [(1, Some(1)), (1, Some(2)), (1, Some(3))];
    world.write(&topic, &writes);
    world.push_out();
    world.pass(2_000);
    assert_eq!(world.table(&topic).len(), 3);
    world.pass(50_000);
    world.pass(2_000);
    assert_eq!(world.table(&topic), latest(&writes));
}

#[test]
fn a_topic_is_compacted_from_when_it_is_told_to() {
    let mut world = World::new();
    let topic = world.topic("table", Retention::for_ms(u64::MAX));
    let writes = [(1, Some(1)), (2, Some(2)), (1, Some(3))];
    world.write(&topic, &writes);
    world.push_out();
    world.pass(20_000);
    assert_eq!(world.table(&topic).len(), 3);
    let config = TopicConfig {
        compaction: Some(EAGER),
        ..topic.config.clone()
    };
    let topic = topic.id;
    let altered = match world.call(Command::AlterTopic { topic, config }) {
        Ok(Reply::Topic(topic)) => topic,
        other => panic!("{other:?}"),
    };
    world.pass(2_000);
    assert_eq!(world.table(&altered), latest(&writes));
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Write>),
    PushOut,
    Pass(u64),
    Trim(u64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let write = (0..9u8, prop::option::weighted(0.8, any::<u64>()));
    prop_oneof![
        8 => vec(write, 1..12).prop_map(Step::Write),
        2 => Just(Step::PushOut),
        2 => prop_oneof![Just(2_000u64), Just(150_000)].prop_map(Step::Pass),
        1 => (0..40u64).prop_map(Step::Trim),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever is written, compacted, let go and lost with the power: what can be read is part of
    /// what was written, in order, and has the last record of each key that was not let go or
    /// deleted.
    #[test]
    fn the_last_word_on_each_key_can_always_be_read(
        steps in vec(step(), 1..40),
        min_dirty_ratio in prop_oneof![Just(0u16), Just(500)],
    ) {
        let mut world = World::new();
        let topic = world.compacted(Compaction { min_dirty_ratio, ..EAGER });
        let partition = topic.partitions[0];
        let mut writes: Vec<Write> = Vec::new();
        let mut start = 0;
        for step in steps {
            match step {
                Step::Write(more) => {
                    world.write(&topic, &more);
                    writes.extend(more);
                }
                Step::PushOut => world.push_out(),
                Step::Pass(ms) => world.pass(ms),
                Step::Trim(before) => {
                    let before = before.min(writes.len() as u64);
                    world.call(Command::TrimPartition { partition, before }).unwrap();
                    start = start.max(before);
                }
                Step::Restart => {
                    world.restart();
                    world.settle();
                }
            }
            let found = world.table(&topic);
            prop_assert!(found.is_sorted_by(|one, next| one.0 < next.0));
            for (offset, write) in &found {
                prop_assert_eq!(write, &writes[*offset as usize]);
            }
            for (offset, write) in latest(&writes) {
                if offset >= start && write.1.is_some() {
                    prop_assert!(found.contains(&(offset, write)), "{:?} is lost", (offset, write));
                }
            }
        }
    }
}
