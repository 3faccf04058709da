//! A broker in a directory of its own, and short words for what is asked of it.

use std::path::Path;
use std::sync::Arc;

use forebay_base::{Clock, SystemClock};
use forebay_broker::*;
use forebay_record::{Batch, BatchBuilder};

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) broker: Broker,
    running: Option<Running>,
}

pub(crate) fn options(dir: &Path) -> Options {
    Options {
        journal_file_bytes: 4 << 20,
        journal_retain_bytes: 0,
        min_free_bytes: 0,
        ..Options::new(dir)
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Arc::new(SystemClock), |_| {})
    }

    pub(crate) fn with(clock: Arc<dyn Clock>, change: impl Fn(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        change(&mut options);
        let (broker, running) = Broker::open(options, clock).unwrap();
        Self {
            dir,
            broker,
            running: Some(running),
        }
    }

    /// Stops in good order and opens again.
    pub(crate) async fn restart(&mut self, change: impl Fn(&mut Options)) {
        self.running.take().unwrap().shutdown().await.unwrap();
        let mut options = options(self.dir.path());
        change(&mut options);
        let (broker, running) = Broker::open(options, Arc::new(SystemClock)).unwrap();
        self.broker = broker;
        self.running = Some(running);
    }

    pub(crate) async fn shutdown(&mut self) -> Result<(), String> {
        self.running.take().unwrap().shutdown().await
    }

    pub(crate) async fn topic(&self, name: &str, config: TopicConfig) -> Arc<TopicInfo> {
        self.broker.create_topic(name, config).await.unwrap()
    }

    pub(crate) async fn publish(&self, topic: &TopicInfo, bodies: &[&[u8]]) -> Placed {
        let publish = publish(topic, bodies, WhenFull::Refuse);
        let mut results = self.broker.publish(publish).await.unwrap();
        results.remove(0).unwrap()
    }

    /// Leases for a minute what there is within `wait_ms`.
    pub(crate) async fn receive(&self, topic: &TopicInfo, max: u32, wait_ms: u64) -> Deliveries {
        let receive = receive(&self.broker, topic, max, wait_ms);
        self.broker.receive(receive).await.unwrap()
    }

    pub(crate) async fn bodies(&self, deliveries: &Deliveries) -> Vec<String> {
        let mut cursor = Cursor::default();
        let delivered = self.broker.records(deliveries, &mut cursor).await.unwrap();
        delivered
            .into_iter()
            .map(|one| String::from_utf8(one.record.value.unwrap().to_vec()).unwrap())
            .collect()
    }

    pub(crate) async fn settle(&self, deliveries: &Deliveries, outcome: Outcome) {
        let receipts = receipts(deliveries);
        let settled = self.broker.settle(receipts, outcome).await.unwrap();
        assert!(settled.iter().all(|settled| *settled == Settled::Held));
    }

    pub(crate) async fn stats(&self, topic: &TopicInfo) -> TopicStats {
        self.broker.stats(topic.id).await.unwrap()
    }
}

pub(crate) fn receive(broker: &Broker, topic: &TopicInfo, max: u32, wait_ms: u64) -> Receive {
    Receive {
        topic: topic.id,
        max,
        until: (wait_ms > 0).then(|| broker.now().plus_ms(wait_ms)),
        mode: ConsumerMode::LeaseMs(60_000),
        attempt: None,
    }
}

pub(crate) fn publish(topic: &TopicInfo, bodies: &[&[u8]], when_full: WhenFull) -> Publish {
    let outgoing = plain(Target::Topic(topic.id), batch(bodies));
    publish_this(outgoing, when_full)
}

pub(crate) fn publish_this(outgoing: Outgoing, when_full: WhenFull) -> Publish {
    Publish {
        messages: vec![outgoing],
        durability: Durability::Synced,
        when_full,
    }
}

/// A message about which nothing special is asked.
pub(crate) fn plain(target: Target, batch: Batch) -> Outgoing {
    Outgoing {
        target,
        batch,
        key_hash: None,
        not_before: None,
        identity: None,
        lives_ms: None,
    }
}

pub(crate) fn batch(bodies: &[&[u8]]) -> Batch {
    batch_of(1_000, bodies)
}

/// A batch whose records have this time.
pub(crate) fn batch_of(time: i64, bodies: &[&[u8]]) -> Batch {
    let mut batch = BatchBuilder::new(time);
    for body in bodies {
        let headers = std::iter::empty();
        batch.push(time, None, Some(body), headers).unwrap();
    }
    batch.finish()
}

pub(crate) fn receipts(deliveries: &Deliveries) -> Vec<Receipt> {
    let runs = deliveries.runs.iter();
    runs.flat_map(|run| {
        run.range.offsets().map(|offset| Receipt {
            partition: run.partition,
            offset,
            attempt: run.attempt,
        })
    })
    .collect()
}
