//! Much data in short time, through the Kafka listener.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use forebay_tests::kafka;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::wire::{Part, Wire, batch, noise, now_ms};

/// Requests under way on the connection.
const UNDER_WAY: usize = 4;
/// What a request carries if its batches are small.
const REQUEST_BYTES: usize = 1 << 20;
/// Topics made with one request.
const MADE_TOGETHER: usize = 200;

/// What is filled, and with what.
pub(crate) struct Fill {
    pub(crate) topics: Vec<String>,
    /// Records for each topic; rounded up to whole batches.
    pub(crate) records: u64,
    /// Bytes of a record's value.
    pub(crate) value: usize,
    /// Records of a batch.
    pub(crate) batch: usize,
    /// Bytes of values per second, of all topics together; `None`: as many as go.
    pub(crate) rate: Option<u64>,
}

/// What was filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filled {
    /// Records of each topic.
    pub(crate) records: u64,
    /// Bytes of all values.
    pub(crate) values: u64,
    pub(crate) time: Duration,
}

/// Names of `count` topics.
pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n:04}")).collect()
}

/// Makes stream topics of one partition each, those that are there already left as they are.
pub(crate) async fn make_topics(address: SocketAddr, topics: &[String]) {
    let admin: AdminClient<DefaultClientContext> =
        kafka::config(address).create().expect("an admin client");
    for some in topics.chunks(MADE_TOGETHER) {
        let wanted: Vec<NewTopic<'_>> = some
            .iter()
            .map(|name| NewTopic::new(name, 1, TopicReplication::Fixed(1)))
            .collect();
        let made = admin.create_topics(&wanted, &AdminOptions::new()).await;
        for outcome in made.expect("CreateTopics") {
            if let Err((topic, error)) = outcome {
                let there = rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists;
                assert_eq!(error, there, "{topic} is made");
            }
        }
    }
}

impl Fill {
    /// Batches of this size, about `bytes` of them for each topic.
    pub(crate) fn of_bytes(topics: Vec<String>, bytes: u64, value: usize, batch: usize) -> Self {
        Self {
            records: bytes / value as u64,
            topics,
            value,
            batch,
            rate: None,
        }
    }

    /// Fills all topics in turns, so that each stretch of the journal holds records of many. `look`
    /// is called now and then with the records acknowledged so far.
    pub(crate) fn run(&self, address: SocketAddr, mut look: impl FnMut(u64)) -> Filled {
        let bytes = noise(self.value * self.batch, 7);
        let values = (0..self.batch).map(|n| bytes.slice(n * self.value..(n + 1) * self.value));
        let batch = batch(now_ms(), values);
        let together = (REQUEST_BYTES / batch.len()).clamp(1, self.topics.len());
        let rounds = self.records.div_ceil(self.batch as u64);
        let begun = Instant::now();
        let mut wire = Wire::to(address).expect("the listener is open");
        let mut waiting: VecDeque<&[String]> = VecDeque::new();
        let mut acknowledged = 0;
        let mut settle = |wire: &mut Wire, waiting: &mut VecDeque<&[String]>| {
            let some = waiting.pop_front().expect("a request is under way");
            match wire.produced().expect("an answer") {
                0 => acknowledged += (some.len() * self.batch) as u64,
                // The disk is held up for a moment; its order does not matter here.
                56 => {
                    std::thread::sleep(Duration::from_millis(100));
                    send(wire, some, &batch);
                    waiting.push_back(some);
                }
                error => panic!("produce failed with error code {error}"),
            }
            look(acknowledged);
        };
        let mut sent = 0;
        for _ in 0..rounds {
            for some in self.topics.chunks(together) {
                if let Some(rate) = self.rate {
                    let due = Duration::from_secs_f64(sent as f64 / rate.max(1) as f64);
                    std::thread::sleep(due.saturating_sub(begun.elapsed()));
                }
                sent += (some.len() * self.value * self.batch) as u64;
                send(&mut wire, some, &batch);
                waiting.push_back(some);
                if waiting.len() >= UNDER_WAY {
                    settle(&mut wire, &mut waiting);
                }
            }
        }
        while !waiting.is_empty() {
            settle(&mut wire, &mut waiting);
        }
        let batches = rounds * self.topics.len() as u64;
        Filled {
            records: rounds * self.batch as u64,
            values: batches * (self.value * self.batch) as u64,
            time: begun.elapsed(),
        }
    }
}

fn send(wire: &mut Wire, topics: &[String], batch: &[u8]) {
    let parts: Vec<Part<'_>> = topics
        .iter()
        .map(|topic| Part {
            topic,
            partition: 0,
            batch,
        })
        .collect();
    wire.produce(&parts).expect("the broker takes requests");
}
