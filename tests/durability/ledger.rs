//! What producers were promised and consumers saw, and whether the two agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A message: who sent it, and its number in the order of sending. Numbers are never used twice, not
/// even after a failure of unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) producer: String,
    pub(super) number: u64,
}

impl Mark {
    pub(super) fn body(&self) -> String {
        format!("{}:{}", self.producer, self.number)
    }

    pub(super) fn parse(body: &[u8]) -> Self {
        let text = std::str::from_utf8(body).expect("our bodies are text");
        let (producer, number) = text.split_once(':').expect("PRODUCER:NUMBER");
        Self {
            producer: producer.into(),
            number: number.parse().expect("PRODUCER:NUMBER"),
        }
    }
}

/// The books of one topic.
#[derive(Default)]
pub(super) struct Ledger {
    acknowledged: Mutex<BTreeSet<Mark>>,
    delivered: Mutex<BTreeSet<Mark>>,
    settled: Mutex<BTreeSet<Mark>>,
    violations: Mutex<Vec<String>>,
}

impl Ledger {
    pub(super) fn acknowledge(&self, mark: Mark) {
        self.acknowledged.lock().unwrap().insert(mark);
    }

    pub(super) fn deliver(&self, mark: Mark) {
        if self.settled.lock().unwrap().contains(&mark) {
            self.violate(format!("{mark:?} was settled and came back"));
        }
        self.delivered.lock().unwrap().insert(mark);
    }

    pub(super) fn settle(&self, mark: Mark) {
        self.settled.lock().unwrap().insert(mark);
    }

    pub(super) fn violate(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    /// Acknowledged and not delivered so far.
    pub(super) fn missing(&self) -> Vec<Mark> {
        let delivered = self.delivered.lock().unwrap();
        let acknowledged = self.acknowledged.lock().unwrap();
        acknowledged.difference(&delivered).cloned().collect()
    }

    /// Whether consumers are behind by more than a few seconds of work.
    pub(super) fn is_deep(&self) -> bool {
        let delivered = self.delivered.lock().unwrap().len();
        self.acknowledged.lock().unwrap().len() > delivered + 500
    }

    pub(super) fn report(&self, topic: &str) {
        println!(
            "{topic}: {} acknowledged, {} delivered, {} known to be settled",
            self.acknowledged.lock().unwrap().len(),
            self.delivered.lock().unwrap().len(),
            self.settled.lock().unwrap().len(),
        );
    }

    pub(super) fn assert_kept(&self, topic: &str) {
        let violations = self.violations.lock().unwrap();
        assert!(
            violations.is_empty(),
            "{topic}: {} violations, first {:?}",
            violations.len(),
            &violations[..1]
        );
        let missing = self.missing();
        assert!(
            missing.is_empty(),
            "{topic}: {} lost, first {:?}",
            missing.len(),
            &missing[..missing.len().min(20)]
        );
    }
}

/// Numbers of one producer must rise.
#[derive(Default)]
pub(super) struct Rising {
    last: BTreeMap<String, u64>,
}

impl Rising {
    /// What is wrong, if anything is.
    pub(super) fn see(&mut self, mark: &Mark) -> Option<String> {
        let before = self.last.insert(mark.producer.clone(), mark.number);
        let before = before.filter(|before| *before >= mark.number)?;
        Some(format!("{} came after number {before}", mark.body()))
    }
}

/// Acknowledged messages by protocol, and the sign to stop.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) sqs: AtomicU64,
    pub(super) amqp: AtomicU64,
    pub(super) kafka: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    pub(super) fn counts(&self) -> [u64; 3] {
        [&self.sqs, &self.amqp, &self.kafka].map(|count| count.load(Ordering::Relaxed))
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
