//! `kill -9` under load, again and again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_tests::patience::LONG;
use forebay_tests::{Forebay, amqp, kafka, sqs, until};
use rdkafka::Message as _;

use super::ledger::{Ledger, Mark, Progress, Rising};
use super::load::{self, Lane};
use crate::alone;

const ROUNDS: u64 = 20;

/// Reads all of a topic and checks that each producer's numbers rise, each on one partition.
async fn audit_stream(forebay: &Forebay, topic: &'static str, ledger: &Ledger) {
    let count = kafka::record_count(forebay.kafka(), topic).await;
    let reader = kafka::reader(forebay.kafka(), topic);
    let mut order = Rising::default();
    let mut homes = std::collections::BTreeMap::new();
    let mut offsets = std::collections::BTreeMap::new();
    for _ in 0..count {
        let waited = tokio::time::timeout(Duration::from_secs(30), reader.recv()).await;
        let record = waited.expect("the whole topic can be read").unwrap();
        let mark = Mark::parse(record.payload().unwrap());
        if let Some(wrong) = order.see(&mark) {
            ledger.violate(wrong);
        }
        let home = *homes
            .entry(mark.producer.clone())
            .or_insert(record.partition());
        if home != record.partition() {
            ledger.violate(format!(
                "{} lies in partitions {home} and {}",
                mark.producer,
                record.partition()
            ));
        }
        let before = offsets.insert(record.partition(), record.offset());
        if before.is_some_and(|before| before >= record.offset()) {
            ledger.violate(format!("offset {} after {before:?}", record.offset()));
        }
        ledger.deliver(mark);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_settled_comes_back() {
    let _alone = alone().await;
    let dir = tempfile::tempdir().unwrap();
    let mut forebay = Forebay::on(dir.path()).await;
    let (sqs_at, amqp_at, kafka_at) = (forebay.sqs(), forebay.amqp(), forebay.kafka());
    sqs::create(&sqs::client(sqs_at), "sqs-work").await;
    let connection = amqp::connect(amqp_at).await;
    amqp::declare(&connection.create_channel().await.unwrap(), "amqp-work").await;
    kafka::create(kafka_at, "stream", 4).await;

    let progress = Arc::new(Progress::default());
    let lane = |topic: &'static str| Lane {
        topic,
        is_worked_off: topic.ends_with("-work"),
        ledger: Arc::new(Ledger::default()),
        progress: progress.clone(),
    };
    let (sqs_work, amqp_work, stream) = (lane("sqs-work"), lane("amqp-work"), lane("stream"));
    let producers = [
        tokio::spawn(load::sqs_producer(sqs_at, "sqs", sqs_work.clone())),
        tokio::spawn(load::kafka_producer(
            kafka_at,
            "kafka-queue",
            sqs_work.clone(),
        )),
        tokio::spawn(load::amqp_producer(amqp_at, "amqp", amqp_work.clone())),
        tokio::spawn(load::sqs_producer(sqs_at, "sqs-keyed", stream.clone())),
        tokio::spawn(load::amqp_producer(amqp_at, "amqp-keyed", stream.clone())),
        tokio::spawn(load::kafka_producer(
            kafka_at,
            "kafka-keyed",
            stream.clone(),
        )),
    ];
    let consuming = Arc::new(Progress::default());
    let consumers = [
        tokio::spawn(load::sqs_consumer(
            sqs_at,
            sqs_work.clone(),
            consuming.clone(),
        )),
        tokio::spawn(load::amqp_consumer(
            amqp_at,
            amqp_work.clone(),
            consuming.clone(),
        )),
    ];

    for round in 1..=ROUNDS {
        // A different amount of work in each round, so that the kill falls anywhere.
        let quota = 60 + round * 7_919 % 900;
        let before = progress.counts();
        until(
            &format!("{quota} acknowledgements from each protocol in round {round}"),
            || async {
                let now = progress.counts();
                (0..3)
                    .all(|protocol| now[protocol] >= before[protocol] + quota)
                    .then_some(())
            },
        )
        .await;
        forebay = forebay.kill_and_restart().await;
        println!(
            "round {round}: {:?} acknowledged, up again in {:?}",
            progress.counts(),
            forebay.started_in()
        );
    }

    progress.stop();
    for producer in producers {
        producer.await.unwrap();
    }
    // What has not come when the deadline is over is reported as lost below.
    let drained = || sqs_work.ledger.missing().is_empty() && amqp_work.ledger.missing().is_empty();
    let begun = Instant::now();
    while !drained() && begun.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    consuming.stop();
    for consumer in consumers {
        consumer.await.unwrap();
    }
    audit_stream(&forebay, "stream", &stream.ledger).await;
    for lane in [&sqs_work, &amqp_work, &stream] {
        lane.ledger.report(lane.topic);
    }
    for lane in [&sqs_work, &amqp_work, &stream] {
        lane.ledger.assert_kept(lane.topic);
    }
}
