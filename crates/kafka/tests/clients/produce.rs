use bytes::{BufMut, Bytes, BytesMut};
use forebay_record::Compression;
use kafka_protocol::messages::{ApiVersionsRequest, InitProducerIdRequest, TransactionalId};

use crate::server::Server;
use crate::wire::{batch, builder, produce_request, records};

#[tokio::test]
async fn batches_get_offsets_in_order_in_every_version() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 2).await;
    for (turn, version) in (0..).zip(3..=12) {
        let placed = client.produce(version, "t", 1, batch(&["a", "b"])).await;
        assert_eq!((placed.error_code, placed.base_offset), (0, 2 * turn));
    }
    let placed = client.produce(12, "t", 0, batch(&["c"])).await;
    assert_eq!((placed.error_code, placed.base_offset), (0, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_topic_is_known_by_its_id_from_version_13_on() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let id = crate::topics::id_of(&mut client, "t").await;
    let mut request = produce_request(1, "", 0, batch(&["a"]));
    request.topic_data[0].topic_id = id;
    let response = client.call(13, &request).await;
    assert_eq!(response.responses[0].topic_id, id);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    request.topic_data[0].topic_id = uuid::Uuid::max();
    let response = client.call(13, &request).await;
    assert_eq!(response.responses[0].partition_responses[0].error_code, 100);
    server.stop().await;
}

#[tokio::test]
async fn every_kind_of_acks_is_kept_to() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    for acks in [-1, 1] {
        let response = client
            .call(9, &produce_request(acks, "t", 0, batch(&["x"])))
            .await;
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    client
        .send(9, &produce_request(0, "t", 0, batch(&["quiet"])))
        .await;
    client.expect_no_answer();
    // The next answer is the next request's.
    client.call(3, &ApiVersionsRequest::default()).await;
    let fetched = client.fetch(11, "t", 2, 1000).await;
    assert_eq!(records(&fetched.records), [(2, "quiet".to_owned())]);
    let response = client
        .call(9, &produce_request(2, "t", 0, batch(&["x"])))
        .await;
    let refused = &response.responses[0].partition_responses[0];
    assert_eq!((refused.error_code, refused.base_offset), (21, -1));
    server.stop().await;
}

#[tokio::test]
async fn a_failure_without_an_answer_closes_the_connection() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client
        .send(9, &produce_request(0, "absent", 0, batch(&["x"])))
        .await;
    client.expect_closed().await;
    server.stop().await;
}

#[tokio::test]
async fn an_end_of_the_client_loses_nothing_it_sent_before() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    for _ in 0..50 {
        client
            .send(9, &produce_request(0, "t", 0, batch(&["x"])))
            .await;
    }
    client.finish().await;
    client.expect_closed().await;
    let mut client = server.client().await;
    let placed = client.produce(9, "t", 0, batch(&["last"])).await;
    assert_eq!(placed.base_offset, 50);
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_batch_is_told_by_its_code() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let good = batch(&["value"]);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = byte;
        Bytes::from(bytes)
    };
    let mut twice = BytesMut::from(&good[..]);
    twice.put_slice(&good);
    let large = "x".repeat(1_100_000);
    let zstd = builder(&[(
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        1,
    )])
    .compression(Compression::Zstd)
    .finish();
    assert_eq!(zstd.header().compression(), Compression::Zstd);
    let control = builder(&[("x", 1)]).control().finish();
    let transactional = builder(&[("x", 1)])
        .producer(5, 0, 0)
        .transactional()
        .finish();
    for (what, version, bytes, code) in [
        ("a flipped byte", 9, changed(good.len() - 1, 0xff), 2),
        ("cut short", 9, good.slice(..good.len() - 1), 2),
        ("an old format", 9, changed(16, 1), 87),
        ("nothing", 9, Bytes::new(), 87),
        ("two batches", 9, twice.freeze(), 87),
        ("too large", 9, batch(&[&large]), 10),
        ("zstd for an old client", 6, zstd.bytes().clone(), 76),
        ("zstd for a new client", 7, zstd.bytes().clone(), 0),
        ("a control batch", 9, control.bytes().clone(), 87),
        (
            "a transaction of nobody",
            9,
            transactional.bytes().clone(),
            49,
        ),
    ] {
        let placed = client.produce(version, "t", 0, bytes).await;
        assert_eq!(placed.error_code, code, "{what}");
        assert_eq!(placed.error_message.is_some(), code != 0 && version >= 8);
    }
    for (name, partition) in [("absent", 0), ("t", 1), ("t", -1)] {
        let placed = client.produce(9, name, partition, good.clone()).await;
        assert_eq!(placed.error_code, 3);
    }
    server.stop().await;
}

#[tokio::test]
async fn an_idempotent_producer_is_held_to_its_sequence() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let new_id = InitProducerIdRequest::default().with_transactional_id(None);
    let first = client.call(4, &new_id).await;
    for version in 0..=5 {
        let other = client.call(version, &new_id).await;
        assert_eq!((other.error_code, other.producer_epoch), (0, 0));
        assert_ne!(first.producer_id, other.producer_id);
    }
    let unnamed = new_id
        .clone()
        .with_transactional_id(Some(TransactionalId::default()));
    assert_eq!(client.call(4, &unnamed).await.error_code, 42);
    assert_eq!((first.error_code, first.producer_epoch), (0, 0));
    let id = first.producer_id.0;
    let of = |epoch, sequence| {
        let batch = builder(&[("a", 1), ("b", 2)]).producer(id, epoch, sequence);
        batch.finish().bytes().clone()
    };
    for (what, epoch, sequence, code, offset) in [
        ("the first", 1, 0, 0, 0),
        ("the next", 1, 2, 0, 2),
        ("the first again", 1, 0, 0, 0),
        ("a gap", 1, 6, 45, -1),
        ("an epoch that is over", 0, 4, 47, -1),
        ("the next after all that", 1, 4, 0, 4),
        ("a new epoch", 2, 0, 0, 6),
    ] {
        let placed = client.produce(9, "t", 0, of(epoch, sequence)).await;
        assert_eq!(
            (placed.error_code, placed.base_offset),
            (code, offset),
            "{what}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn requests_in_flight_are_answered_in_order() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    for turn in 0..200 {
        if turn % 50 == 7 {
            client.send(3, &ApiVersionsRequest::default()).await;
        }
        let acks = if turn % 3 == 0 { 1 } else { -1 };
        client
            .send(9, &produce_request(acks, "t", 0, batch(&["x"])))
            .await;
    }
    for turn in 0..200 {
        if turn % 50 == 7 {
            client.receive::<ApiVersionsRequest>(3).await;
        }
        let response = client
            .receive::<kafka_protocol::messages::ProduceRequest>(9)
            .await;
        let placed = &response.responses[0].partition_responses[0];
        assert_eq!((placed.error_code, placed.base_offset), (0, turn));
    }
    server.stop().await;
}

#[tokio::test]
async fn old_versions_are_refused_partition_by_partition() {
    let server = Server::start().await;
    let mut client = server.client().await;
    // Produce 0, correlation id 1, no client id, acks 1, timeout 0, topic "t", partition 3, "ab".
    client
        .send_frame(
            b"\0\0\0\0\0\0\0\x01\xff\xff\0\x01\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x03\0\0\0\x02ab",
        )
        .await;
    let answer = client.receive_frame().await.unwrap();
    assert_eq!(answer[..4], [0, 0, 0, 1]);
    assert_eq!(answer[answer.len() - 10..][..2], [0, 35]);
    server.stop().await;
}
