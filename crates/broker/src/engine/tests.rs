//! The engine with a real journal and real segments on a simulated disk, step by step.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod compacting;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;

use forebay_base::{PartitionId, SessionId, Timestamp};
use forebay_log::{JournalOptions, Operation, SegmentOptions, SimDisk, Trouble};
use forebay_record::BatchBuilder;

use crate::options::Tuning;
use crate::simulation::{Said, Setup, Simulated, Worker};
use crate::{
    Command, ConsumerMode, Cursor, DeadLetterTarget, Deliveries, Durability, Outcome, Outgoing,
    Publish, Receipt, Receive, Refusal, Reply, RequestId, Retention, Target, TopicConfig,
    TopicInfo, WhenFull,
};

const FILE: u64 = 64 << 10;

struct World {
    disk: SimDisk,
    setup: Setup,
    shard: Simulated,
    now: Timestamp,
    requests: u64,
    replies: BTreeMap<RequestId, Result<Reply, Refusal>>,
}

impl World {
    fn new() -> Self {
        let disk = SimDisk::new();
        let journal = JournalOptions {
            file_size: FILE,
            retain_bytes: 0,
            min_free_bytes: 0,
            spare_files: 0,
            segments: SegmentOptions {
                target_bytes: 128 << 10,
                block_bytes: 2 << 10,
                part_bytes: 8 << 10,
                ..SegmentOptions::default()
            },
            ..JournalOptions::default()
        };
        let tuning = Tuning {
            snapshot_every_bytes: FILE,
            promote_files: 1,
            clean_every_ms: 0,
            compact_every_ms: 1_000,
            ..Tuning::default()
        };
        let setup = Setup {
            disk: Arc::new(disk.clone()),
            data_dir: "/data".into(),
            journal_id: 7,
            journal,
            segments: None,
            tuning,
        };
        let now = Timestamp(1_000_000);
        let shard = Simulated::open(&setup, now).unwrap();
        Self {
            disk,
            setup,
            shard,
            now,
            requests: 0,
            replies: BTreeMap::new(),
        }
    }

    fn restart(&mut self) {
        self.disk.crash(None);
        self.shard = Simulated::open(&self.setup, self.now).unwrap();
    }

    /// Lets everything happen that is due, and whatever comes of it.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.shard.turn(self.now);
            for said in self.shard.said() {
                if let Said::Reply {
                    request, result, ..
                } = said
                {
                    self.replies.insert(request, result);
                }
            }
            let busy = self.shard.busy();
            let stepped = busy.iter().any(|worker| self.shard.step(*worker, self.now));
            let due = self.shard.next_turn().is_some_and(|next| next <= self.now);
            if !stepped && !due {
                return;
            }
        }
        panic!("it never comes to rest: {:?}", self.shard.busy());
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.settle();
    }

    fn send(&mut self, command: Command) -> RequestId {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.shard.submit(SessionId(0), request, command);
        request
    }

    fn call(&mut self, command: Command) -> Result<Reply, Refusal> {
        let request = self.send(command);
        self.settle();
        self.replies.remove(&request).unwrap()
    }

    fn topic(&mut self, name: &str, retention: Retention) -> Arc<TopicInfo> {
        let config = TopicConfig {
            retention,
            ..TopicConfig::default()
        };
        let name = name.into();
        match self.call(Command::CreateTopic { name, config }) {
            Ok(Reply::Topic(topic)) => topic,
            other => panic!("{other:?}"),
        }
    }

    /// One batch of `count` messages of about a kilobyte, the first with this number.
    fn publish(&mut self, topic: &TopicInfo, first: u64, count: u64) -> Result<Reply, Refusal> {
        let mut batch = BatchBuilder::new(self.now.0);
        for number in first..first + count {
            let mut body = number.to_be_bytes().to_vec();
            body.resize(1_000, number as u8);
            let headers: [(&str, Option<&[u8]>); 0] = [];
            batch
                .push(self.now.0, None, Some(&body), headers.into_iter())
                .unwrap();
        }
        self.call(Command::Publish(Publish {
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
        }))
    }

    fn receive(&mut self, topic: &TopicInfo, max: u32) -> Deliveries {
        self.receive_as(topic, max, ConsumerMode::LeaseMs(1_000_000))
    }

    fn receive_as(&mut self, topic: &TopicInfo, max: u32, mode: ConsumerMode) -> Deliveries {
        let receive = Receive {
            topic: topic.id,
            max,
            until: None,
            mode,
            attempt: None,
        };
        match self.call(Command::Receive(receive)) {
            Ok(Reply::Deliveries(deliveries)) => deliveries,
            other => panic!("{other:?}"),
        }
    }

    fn settle_as(&mut self, receipts: Vec<Receipt>, outcome: Outcome) {
        let settled = self.call(Command::Settle { receipts, outcome });
        assert!(settled.is_ok(), "{settled:?}");
    }

    fn numbers(&self, deliveries: &Deliveries) -> Vec<u64> {
        let read = self.shard.records(deliveries, &mut Cursor::default());
        let read = read.unwrap();
        let number = |value: &[u8]| u64::from_be_bytes(value[..8].try_into().unwrap());
        read.iter()
            .map(|one| number(one.record.value.as_ref().unwrap()))
            .collect()
    }

    /// The offsets of all batches that can be read.
    fn offsets(&self, partition: PartitionId) -> Vec<u64> {
        let bounds = self.shard.bounds(partition);
        let (mut next, mut all) = (bounds.start, Vec::new());
        let mut cursor = Cursor::default();
        while next < bounds.end {
            let read = self.shard.read(partition, next, 4096, &mut cursor).unwrap();
            let Some(last) = read.last() else { break };
            next = last.base_offset + u64::from(last.records);
            all.extend(read.iter().map(|batch| batch.base_offset));
        }
        all
    }

    fn journal_files(&self) -> u64 {
        let journal = self.shard.journal();
        journal.end.0 / FILE - journal.oldest.0 / FILE + 1
    }

    fn segment_bytes(&self) -> u64 {
        self.shard.segments().iter().map(|one| one.bytes).sum()
    }
}

fn receipts(deliveries: &Deliveries) -> Vec<Receipt> {
    let runs = deliveries.runs.iter();
    let receipts = runs.flat_map(|run| {
        run.range.offsets().map(|offset| Receipt {
            partition: run.partition,
            offset,
            attempt: run.attempt,
        })
    });
    receipts.collect()
}

#[test]
fn a_stream_outlives_the_journal() {
    let mut world = World::new();
    let topic = world.topic("history", Retention::for_ms(u64::MAX));
    for number in 0..1_000 {
        world.publish(&topic, number, 1).unwrap();
    }
    assert!(world.journal_files() <= 6, "{}", world.journal_files());
    assert!(world.shard.segments().len() > 3);
    let partition = topic.partitions[0];
    let all: Vec<u64> = (0..1_000).collect();
    assert_eq!(world.offsets(partition), all);
    let counters = world.shard.counters();
    assert!(counters.promoted_bytes > 900_000, "{counters:?}");
    world.restart();
    assert_eq!(world.offsets(partition), all);
}

#[test]
fn work_that_is_done_in_time_is_never_written_twice() {
    let mut world = World::new();
    let topic = world.topic("work", Retention::until_settled());
    for number in 0..1_000 {
        world.publish(&topic, number, 1).unwrap();
        let got = world.receive(&topic, 1);
        assert_eq!(world.numbers(&got), [number]);
        world.settle_as(receipts(&got), Outcome::Ack);
    }
    assert!(world.journal_files() <= 6, "{}", world.journal_files());
    assert_eq!(world.shard.counters().promoted_bytes, 0);
}

#[test]
fn a_message_that_is_stuck_holds_its_own_room_only() {
    let mut world = World::new();
    let topic = world.topic("work", Retention::until_settled());
    world.publish(&topic, 0, 1).unwrap();
    let stuck = world.receive(&topic, 1);
    for number in 1..1_000 {
        world.publish(&topic, number, 1).unwrap();
        let got = world.receive(&topic, 1);
        world.settle_as(receipts(&got), Outcome::Ack);
    }
    assert!(world.journal_files() <= 6, "{}", world.journal_files());
    assert!(
        world.segment_bytes() < 16 << 10,
        "{}",
        world.segment_bytes()
    );
    world.restart();
    world.settle();
    assert_eq!(world.numbers(&stuck), [0]);
    world.pass(2_000_000);
    let again = world.receive(&topic, 10);
    assert_eq!(world.numbers(&again), [0]);
}

#[test]
fn what_is_settled_later_goes_from_segments() {
    let mut world = World::new();
    let topic = world.topic("work", Retention::until_settled());
    for number in 0..100 {
        world.publish(&topic, number * 10, 10).unwrap();
    }
    // The others are the newest, and in the journal.
    let before = world.segment_bytes();
    assert!(before > 700_000, "{before}");
    // One of each batch stays.
    let got = world.receive(&topic, 1_000);
    let (stay, go): (Vec<_>, Vec<_>) = receipts(&got)
        .into_iter()
        .partition(|receipt| receipt.offset % 10 == 3);
    world.settle_as(go, Outcome::Ack);
    world.pass(1_000);
    world.pass(2_000);
    let after = world.segment_bytes();
    assert!(after < before / 6, "{before} became {after}");
    let written = world.shard.counters().promoted_bytes;
    for _ in 0..5 {
        world.pass(20_000);
    }
    assert_eq!(world.shard.counters().promoted_bytes, written, "not again");
    world.restart();
    world.settle();
    let mut numbers = world.numbers(&got);
    // What lies in the journal still can be read, settled or not.
    numbers.retain(|number| number % 10 == 3);
    let stayed: Vec<u64> = (0..100).map(|batch| batch * 10 + 3).collect();
    assert_eq!(numbers, stayed);
    world.settle_as(stay, Outcome::Ack);
    for _ in 0..5 {
        world.pass(20_000);
    }
    assert_eq!(world.segment_bytes(), 0);
    assert_eq!(world.shard.segments(), []);
}

#[test]
fn what_is_settled_by_being_handed_out_can_still_be_read() {
    let mut world = World::new();
    let topic = world.topic("work", Retention::until_settled());
    for number in 0..300 {
        world.publish(&topic, number, 1).unwrap();
    }
    assert!(!world.shard.segments().is_empty());
    let got = world.receive_as(&topic, 300, ConsumerMode::Settled);
    for _ in 0..10 {
        world.pass(2_000);
        world.shard.step(Worker::Retention, world.now);
        world.settle();
    }
    let all: Vec<u64> = (0..300).collect();
    assert_eq!(world.numbers(&got), all);
    world.pass(20_000);
    world.pass(2_000);
    assert_eq!(world.shard.segments(), []);
}

#[test]
fn a_dead_letter_that_cannot_be_read_now_is_read_later() {
    let mut world = World::new();
    let dead = world.topic("dead", Retention::until_settled());
    let config = TopicConfig {
        dead_letter: Some(DeadLetterTarget::Topic("dead".into())),
        ..TopicConfig::default()
    };
    let name = "work".into();
    let topic = match world.call(Command::CreateTopic { name, config }) {
        Ok(Reply::Topic(topic)) => topic,
        other => panic!("{other:?}"),
    };
    for number in 0..300 {
        world.publish(&topic, number, 1).unwrap();
    }
    // What was read before is not in memory after a start.
    world.restart();
    let got = world.receive(&topic, 3);
    world.disk.trouble(Trouble {
        operation: Operation::Read,
        dir: "/data/segments".into(),
        after: 0,
        times: 12,
    });
    world.settle_as(receipts(&got), Outcome::DeadLetter);
    let none = world.receive(&dead, 10);
    assert!(none.is_empty());
    for _ in 0..6 {
        world.pass(100_000);
    }
    let arrived = world.receive(&dead, 10);
    assert_eq!(world.numbers(&arrived), [0, 1, 2]);
}

#[test]
fn a_deleted_topic_leaves_no_segments() {
    let mut world = World::new();
    let topic = world.topic("history", Retention::for_ms(u64::MAX));
    for number in 0..300 {
        world.publish(&topic, number, 1).unwrap();
    }
    assert!(!world.shard.segments().is_empty());
    let deleted = world.call(Command::DeleteTopic {
        topic: topic.id,
        only_if: crate::Expectation::default(),
    });
    assert!(deleted.is_ok());
    world.pass(2_000);
    assert_eq!(world.shard.segments(), []);
}

#[test]
fn a_store_that_fails_stops_nobody_while_the_journal_has_room() {
    let mut world = World::new();
    let topic = world.topic("history", Retention::for_ms(u64::MAX));
    world.disk.trouble(Trouble {
        operation: Operation::Write,
        dir: "/data/segments".into(),
        after: 0,
        times: 3,
    });
    for number in 0..500 {
        world.publish(&topic, number, 1).unwrap();
    }
    assert_eq!(world.shard.segments(), []);
    assert!(world.shard.counters().storage_error.is_some());
    for _ in 0..10 {
        world.pass(60_000);
    }
    assert!(world.shard.counters().storage_error.is_none());
    assert!(!world.shard.segments().is_empty());
    assert!(world.journal_files() <= 6, "{}", world.journal_files());
    let all: Vec<u64> = (0..500).collect();
    assert_eq!(world.offsets(topic.partitions[0]), all);
}

#[test]
fn consumers_make_room_on_a_full_disk() {
    for files in 2..6 {
        let mut world = World::new();
        let topic = world.topic("work", Retention::until_settled());
        world.disk.set_capacity(Some(files * FILE + (200 << 10)));
        let mut taken = 0;
        while world.publish(&topic, taken, 1).is_ok() {
            taken += 1;
            assert!(taken < 5_000);
        }
        for number in 0..taken {
            let got = world.receive(&topic, 1);
            assert_eq!(world.numbers(&got), [number]);
            world.settle_as(receipts(&got), Outcome::Ack);
            world.pass(10);
        }
        for _ in 0..10 {
            world.pass(1_000);
        }
        assert!(world.publish(&topic, taken, 1).is_ok(), "{files} files");
    }
}

#[test]
fn a_stop_leaves_nothing_to_replay() {
    let mut world = World::new();
    let topic = world.topic("history", Retention::for_ms(u64::MAX));
    for number in 0..300 {
        world.publish(&topic, number, 1).unwrap();
    }
    world.shard.stop();
    world.settle();
    assert_eq!(world.shard.stopped(), Some(&Ok(())));
    assert!(!world.shard.step(Worker::Journal, world.now));
    world.restart();
    assert_eq!(world.shard.recovered().commits, 0);
    let all: Vec<u64> = (0..300).collect();
    assert_eq!(world.offsets(topic.partitions[0]), all);
}
