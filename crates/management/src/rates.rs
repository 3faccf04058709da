//! How fast messages come and go: each queue is counted every few seconds, and a rate is the
//! difference of the last two counts.

use std::time::Duration;

use forebay_base::{Timestamp, TopicId};
use forebay_broker::{Broker, Command, Refusal, Reply, TopicStats, TopicWork};
use hashbrown::HashMap;
use parking_lot::RwLock;

/// RabbitMQ's own interval.
const EVERY: Duration = Duration::from_secs(5);
/// So many topics are measured by one command, so that messages wait for none of it.
const AT_ONCE: usize = 512;

/// A queue's counts at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    at: Timestamp,
    pub(crate) stats: TopicStats,
    pub(crate) work: TopicWork,
}

/// The last two samples of every queue.
#[derive(Debug, Default)]
pub(crate) struct Rates(RwLock<HashMap<TopicId, (Sample, Sample)>>);

/// Rates of one queue, a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    pub(crate) publish: f64,
    pub(crate) deliver: f64,
    pub(crate) deliver_no_ack: f64,
    pub(crate) ack: f64,
    pub(crate) redeliver: f64,
    pub(crate) ready: f64,
    pub(crate) unacked: f64,
}

impl Rates {
    /// Samples for ever.
    pub(crate) async fn keep(&self, broker: &Broker) {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            if self.sample(broker).await.is_err() {
                return;
            }
        }
    }

    async fn sample(&self, broker: &Broker) -> Result<(), Refusal> {
        let topics = broker.directory().topics("", None, usize::MAX);
        let topics: Vec<TopicId> = topics.iter().map(|topic| topic.id).collect();
        let measured = measure(broker, &topics).await?;
        let at = broker.now();
        let mut known = self.0.write();
        known.retain(|topic, _| measured.contains_key(topic));
        for (topic, (stats, work)) in measured {
            let sample = Sample { at, stats, work };
            known
                .entry(topic)
                .and_modify(|(earlier, later)| {
                    *earlier = *later;
                    *later = sample;
                })
                .or_insert((sample, sample));
        }
        Ok(())
    }

    pub(crate) fn of(&self, topic: TopicId) -> Rate {
        let known = self.0.read();
        known.get(&topic).map(rate).unwrap_or_default()
    }

    pub(crate) fn sum(&self) -> Rate {
        let known = self.0.read();
        known
            .values()
            .map(rate)
            .fold(Rate::default(), |sum, one| Rate {
                publish: sum.publish + one.publish,
                deliver: sum.deliver + one.deliver,
                deliver_no_ack: sum.deliver_no_ack + one.deliver_no_ack,
                ack: sum.ack + one.ack,
                redeliver: sum.redeliver + one.redeliver,
                ready: sum.ready + one.ready,
                unacked: sum.unacked + one.unacked,
            })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a rate need not be exact beyond 2^53 messages"
)]
fn rate((earlier, later): &(Sample, Sample)) -> Rate {
    let ms = later.at.ms_since(earlier.at);
    if ms == 0 {
        return Rate::default();
    }
    let by = |before: u64, after: u64| (after as f64 - before as f64) * 1000.0 / ms as f64;
    let (one, two) = (&earlier.work, &later.work);
    let acked = |work: &TopicWork| work.handed_out.saturating_sub(work.handed_settled);
    Rate {
        publish: by(one.appended, two.appended),
        deliver: by(acked(one), acked(two)),
        deliver_no_ack: by(one.handed_settled, two.handed_settled),
        ack: by(one.settled, two.settled),
        redeliver: by(one.redelivered, two.redelivered),
        ready: by(earlier.stats.ready, later.stats.ready),
        unacked: by(earlier.stats.leased, later.stats.leased),
    }
}

/// Measures of these topics now; those that are gone are left out.
pub(crate) async fn measure(
    broker: &Broker,
    topics: &[TopicId],
) -> Result<HashMap<TopicId, (TopicStats, TopicWork)>, Refusal> {
    let mut found = HashMap::with_capacity(topics.len());
    for some in topics.chunks(AT_ONCE) {
        if let Reply::StatsOf(stats) = broker.call(Command::StatsOf(some.to_vec())).await? {
            let both = some.iter().zip(stats);
            found.extend(both.filter_map(|(topic, stats)| Some((*topic, stats?))));
        }
    }
    Ok(found)
}
