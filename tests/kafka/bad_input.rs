//! What is wrong gets Kafka's own error number, or a closed connection where Kafka has none.

use bytes::Buf;
use forebay_tests::kafka_wire::{Session, batch, framed, request};
use forebay_tests::{Forebay, kafka};
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaErrorCode;

const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const UNSUPPORTED_VERSION: i16 = 35;

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_close_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let cases: [(&str, Vec<u8>); 8] = [
        ("negative length", (-1_i32).to_be_bytes().to_vec()),
        ("absurd length", i32::MAX.to_be_bytes().to_vec()),
        ("no room for a header", framed(&[0, 18])),
        ("empty request", framed(&[])),
        ("unknown API key", request(9_999, 0, &[])),
        ("unknown version of Produce", request(0, 99, &[0; 16])),
        ("a body cut off", request(3, 1, &[0, 0, 0, 9])),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in cases {
        let mut session = Session::to(forebay.kafka()).await;
        session.put(&bytes).await;
        let rest = session.rest().await;
        assert!(rest.is_empty(), "{what}: {rest:?}");
    }
    // A request that ends in the middle.
    let mut session = Session::to(forebay.kafka()).await;
    session.put(&1_000_i32.to_be_bytes()).await;
    session.put(&[0, 0, 0, 9]).await;
    assert!(session.hang_up().await.is_empty());
    forebay.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let mut session = Session::to(forebay.kafka()).await;
    session.put(&request(18, 99, &[])).await;
    let mut answer = session.answer().await.expect("an answer");
    assert_eq!(answer.get_i32(), 7);
    assert_eq!(answer.get_i16(), UNSUPPORTED_VERSION);
    assert!(
        answer.get_i32() > 0,
        "the list is there, so that the client can choose"
    );
    // The same connection then says it right.
    session.put(&request(18, 0, &[])).await;
    let mut answer = session.answer().await.expect("the connection is kept");
    assert_eq!((answer.get_i32(), answer.get_i16()), (7, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_batch_is_refused_and_stores_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    kafka::create(forebay.kafka(), "events", 1).await;
    let mut session = Session::to(forebay.kafka()).await;
    let good = batch(b"precious");
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert_eq!(session.produce("events", 0, flipped).await, CORRUPT_MESSAGE);
    let cut = good[..good.len() - 3].to_vec();
    let refused = session.produce("events", 0, cut).await;
    assert!(
        [CORRUPT_MESSAGE, 87].contains(&refused),
        "a batch cut off: {refused}"
    );
    let mut long = good.clone();
    long[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    let refused = session.produce("events", 0, long).await;
    assert!(
        [CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, 87].contains(&refused),
        "an absurd batch length: {refused}"
    );
    assert_eq!(kafka::record_count(forebay.kafka(), "events").await, 0);
    assert_eq!(session.produce("events", 0, good).await, 0);
    assert_eq!(kafka::record_count(forebay.kafka(), "events").await, 1);
    forebay.assert_healthy().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_produce_has_its_own_number() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    kafka::create(forebay.kafka(), "events", 1).await;
    let mut session = Session::to(forebay.kafka()).await;
    assert_eq!(
        session.produce("events", 5, batch(b"x")).await,
        UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        session.produce("events", -1, batch(b"x")).await,
        UNKNOWN_TOPIC_OR_PARTITION
    );
    assert_eq!(
        session.produce("nowhere", 0, batch(b"x")).await,
        UNKNOWN_TOPIC_OR_PARTITION
    );
    let producer: rdkafka::producer::FutureProducer = kafka::config(forebay.kafka())
        .set("message.max.bytes", "40000000")
        .create()
        .unwrap();
    let large = vec![b'x'; 3 << 20];
    let record = FutureRecord::<[u8], [u8]>::to("events").payload(&large);
    let (failure, _) = producer
        .send(record, std::time::Duration::from_secs(30))
        .await
        .expect_err("3 MiB");
    let KafkaError::MessageProduction(code) = failure else {
        panic!("{failure}")
    };
    assert_eq!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge,
        "Kafka's own limit is 1 MiB: {MESSAGE_TOO_LARGE}"
    );
    forebay.assert_healthy().await;
}
