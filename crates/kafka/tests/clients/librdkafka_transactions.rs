//! Transactions as librdkafka does them.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(60);

type Sender = ThreadedProducer<DefaultProducerContext>;

fn config(address: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", address);
    config
}

fn producer(address: &str, id: &str) -> Sender {
    let producer: Sender = config(address)
        .set("transactional.id", id)
        .set("transaction.timeout.ms", "60000")
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer
}

fn send(producer: &Sender, topic: &str, value: &str) {
    let record = BaseRecord::<(), _>::to(topic).payload(value);
    producer.send(record).map_err(|(error, _)| error).unwrap();
}

/// The next message or error. A poll may end early with nothing.
fn next(consumer: &BaseConsumer) -> Result<BorrowedMessage<'_>, KafkaError> {
    let begun = Instant::now();
    loop {
        if let Some(next) = consumer.poll(Duration::from_secs(1)) {
            return next;
        }
        assert!(begun.elapsed() < PATIENCE, "something in time");
    }
}

/// The values from the start of partition 0 to where the isolation level ends.
fn read(address: &str, topic: &str, isolation: &str) -> Vec<String> {
    let consumer: BaseConsumer = config(address)
        .set("group.id", "reader")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    all.add_partition_offset(topic, 0, Offset::Beginning)
        .unwrap();
    consumer.assign(&all).unwrap();
    let mut found = Vec::new();
    loop {
        match next(&consumer) {
            Ok(message) => {
                let value = message.payload().unwrap().to_vec();
                found.push(String::from_utf8(value).unwrap());
            }
            Err(KafkaError::PartitionEOF(_)) => return found,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Does what blocks on a thread of its own.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn committed_records_are_read_and_aborted_ones_are_not() {
    let server = Server::start().await;
    let address = server.address.to_string();
    blocking(move || {
        let producer = producer(&address, "t");
        for (values, commit) in [
            (["a", "b"], true),
            (["never", "nor this"], false),
            (["c", "d"], true),
        ] {
            producer.begin_transaction().unwrap();
            for value in values {
                send(&producer, "out", value);
            }
            producer.flush(PATIENCE).unwrap();
            match commit {
                true => producer.commit_transaction(PATIENCE).unwrap(),
                false => producer.abort_transaction(PATIENCE).unwrap(),
            }
        }
        producer.begin_transaction().unwrap();
        send(&producer, "out", "open");
        producer.flush(PATIENCE).unwrap();
        let committed = read(&address, "out", "read_committed");
        assert_eq!(committed, ["a", "b", "c", "d"]);
        let all = read(&address, "out", "read_uncommitted");
        assert_eq!(all, ["a", "b", "never", "nor this", "c", "d", "open"]);
        producer.commit_transaction(PATIENCE).unwrap();
        let committed = read(&address, "out", "read_committed");
        assert_eq!(committed, ["a", "b", "c", "d", "open"]);
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_producer_of_the_same_name_fences_the_first() {
    let server = Server::start().await;
    let address = server.address.to_string();
    blocking(move || {
        let first = producer(&address, "t");
        first.begin_transaction().unwrap();
        send(&first, "out", "first");
        first.flush(PATIENCE).unwrap();
        let second = producer(&address, "t");
        let fenced = first.commit_transaction(PATIENCE).unwrap_err();
        let KafkaError::Transaction(error) = &fenced else {
            panic!("{fenced}");
        };
        assert!(error.is_fatal(), "{fenced}");
        assert_eq!(
            fenced.rdkafka_error_code(),
            Some(RDKafkaErrorCode::Fenced),
            "{fenced}"
        );
        second.begin_transaction().unwrap();
        send(&second, "out", "second");
        second.commit_transaction(PATIENCE).unwrap();
        assert_eq!(read(&address, "out", "read_committed"), ["second"]);
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consume_transform_produce_is_all_or_nothing() {
    const MESSAGES: usize = 40;
    let server = Server::start().await;
    let address = server.address.to_string();
    blocking(move || {
        let feeder: Sender = config(&address).create().unwrap();
        for number in 0..MESSAGES {
            send(&feeder, "in", &number.to_string());
        }
        feeder.flush(PATIENCE).unwrap();
        // Each life works a few messages off, aborts every other time, and then is gone without a
        // word in the middle of a transaction.
        for life in 0.. {
            let consumer: BaseConsumer = config(&address)
                .set("group.id", "workers")
                .set("auto.offset.reset", "earliest")
                .set("enable.auto.commit", "false")
                .set("isolation.level", "read_committed")
                .set("enable.partition.eof", "true")
                .create()
                .unwrap();
            consumer.subscribe(&["in"]).unwrap();
            let producer = producer(&address, "worker");
            let mut over = false;
            for turn in 0..3 {
                producer.begin_transaction().unwrap();
                let mut taken = 0;
                while taken < 5 && !over {
                    match next(&consumer) {
                        Ok(message) => {
                            let value = String::from_utf8(message.payload().unwrap().to_vec());
                            send(&producer, "out", &format!("{}!", value.unwrap()));
                            taken += 1;
                        }
                        Err(KafkaError::PartitionEOF(_)) => over = true,
                        Err(error) => panic!("{error}"),
                    }
                }
                let positions = consumer.position().unwrap();
                let group = consumer.group_metadata().unwrap();
                producer
                    .send_offsets_to_transaction(&positions, &group, PATIENCE)
                    .unwrap();
                if turn == 1 && !over {
                    producer.abort_transaction(PATIENCE).unwrap();
                    // What was taken is to be taken again.
                    let committed = consumer.committed(PATIENCE).unwrap();
                    for position in committed.elements() {
                        consumer
                            .seek(
                                position.topic(),
                                position.partition(),
                                position.offset(),
                                PATIENCE,
                            )
                            .unwrap();
                    }
                } else if turn < 2 || over {
                    producer.commit_transaction(PATIENCE).unwrap();
                } else {
                    producer.flush(PATIENCE).unwrap();
                }
                if over {
                    break;
                }
            }
            if over {
                break;
            }
            assert!(life < 100, "it comes to an end");
        }
        let expected: Vec<_> = (0..MESSAGES).map(|number| format!("{number}!")).collect();
        assert_eq!(read(&address, "out", "read_committed"), expected);
    })
    .await;
    server.stop().await;
}
