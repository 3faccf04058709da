use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_kafka::Options;
use kafka_protocol::messages::FetchRequest;

use crate::server::Server;
use crate::wire::{batch, fetch_request, records};

fn expect(found: &[(i64, &str)]) -> Vec<(i64, String)> {
    found
        .iter()
        .map(|(offset, value)| (*offset, (*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn what_was_produced_is_fetched_in_every_version() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    client.produce(9, "t", 0, batch(&["a", "b"])).await;
    client.produce(9, "t", 0, batch(&["c"])).await;
    let id = crate::topics::id_of(&mut client, "t").await;
    for version in 4..=18 {
        let mut request = fetch_request(&[("t", 0, 0)], 1_000_000);
        if version >= 13 {
            request.topics[0].topic = Default::default();
            request.topics[0].topic_id = id;
        }
        let response = client.call(version, &request).await;
        let part = &response.responses[0].partitions[0];
        assert_eq!(
            records(&part.records),
            expect(&[(0, "a"), (1, "b"), (2, "c")])
        );
        assert_eq!((part.high_watermark, part.last_stable_offset), (3, 3));
        assert_eq!((response.error_code, response.session_id), (0, 0));
    }
    server.stop().await;
}

#[tokio::test]
async fn an_offset_within_a_batch_gives_the_whole_batch() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    client.produce(9, "t", 0, batch(&["a"])).await;
    client.produce(9, "t", 0, batch(&["b", "c", "d"])).await;
    client.produce(9, "t", 0, batch(&["e"])).await;
    let part = client.fetch(11, "t", 2, 1_000_000).await;
    let found = expect(&[(1, "b"), (2, "c"), (3, "d"), (4, "e")]);
    assert_eq!(records(&part.records), found);
    server.stop().await;
}

#[tokio::test]
async fn limits_are_kept_to_except_by_the_first_batch() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 2).await;
    let large = "x".repeat(10_000);
    for partition in [0, 1] {
        for _ in 0..3 {
            client.produce(9, "t", partition, batch(&[&large])).await;
        }
    }
    let both = [("t", 0, 0), ("t", 1, 0)];
    for (max_bytes, counts) in [
        (1, [1, 0]),
        (15_000, [1, 0]),
        (25_000, [2, 0]),
        (45_000, [3, 1]),
    ] {
        let response = client.call(11, &fetch_request(&both, max_bytes)).await;
        let found: Vec<usize> = response
            .responses
            .iter()
            .map(|topic| records(&topic.partitions[0].records).len())
            .collect();
        assert_eq!(found, counts, "{max_bytes}");
    }
    // The partition's own limit.
    let mut request = fetch_request(&both, 1_000_000);
    for topic in &mut request.topics {
        topic.partitions[0].partition_max_bytes = 12_000;
    }
    let response = client.call(11, &request).await;
    for topic in &response.responses {
        assert_eq!(records(&topic.partitions[0].records).len(), 1);
    }
    server.stop().await;
}

#[tokio::test]
async fn the_options_limit_a_fetch_too() {
    let server = Server::with(Options {
        max_fetch_bytes: 15_000,
        ..Options::default()
    })
    .await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let large = "x".repeat(10_000);
    for _ in 0..3 {
        client.produce(9, "t", 0, batch(&[&large])).await;
    }
    let part = client.fetch(11, "t", 0, i32::MAX).await;
    assert_eq!(records(&part.records).len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_fetch_waits_for_a_record() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let mut reader = server.client().await;
    let request = fetch_request(&[("t", 0, 0)], 1_000_000).with_max_wait_ms(60_000);
    let begun = Instant::now();
    reader.send(11, &request).await;
    client.produce(9, "t", 0, batch(&["a"])).await;
    let response = reader.receive::<FetchRequest>(11).await;
    let part = &response.responses[0].partitions[0];
    assert_eq!(records(&part.records), expect(&[(0, "a")]));
    assert!(begun.elapsed() < Duration::from_secs(30));
    server.stop().await;
}

#[tokio::test]
async fn a_fetch_waits_for_as_many_bytes_as_it_wants() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 2).await;
    let mut reader = server.client().await;
    let request = fetch_request(&[("t", 0, 0), ("t", 1, 0)], 1_000_000)
        .with_max_wait_ms(60_000)
        .with_min_bytes(5 * 1_000);
    reader.send(11, &request).await;
    let value = "x".repeat(1_000);
    for turn in 0..5 {
        client.produce(9, "t", turn % 2, batch(&[&value])).await;
    }
    let response = reader.receive::<FetchRequest>(11).await;
    let counts: Vec<usize> = response
        .responses
        .iter()
        .map(|topic| records(&topic.partitions[0].records).len())
        .collect();
    assert_eq!(counts, [3, 2]);
    server.stop().await;
}

#[tokio::test]
async fn without_a_record_the_answer_comes_in_time_with_zero_bytes() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    for version in [4, 11, 12] {
        let request = fetch_request(&[("t", 0, 0)], 1_000_000).with_max_wait_ms(30);
        let begun = Instant::now();
        let response = client.call(version, &request).await;
        let part = &response.responses[0].partitions[0];
        assert_eq!(part.records, Some(Bytes::new()));
        assert_eq!((part.error_code, part.high_watermark), (0, 0));
        // The broker's clock counts whole milliseconds.
        assert!(begun.elapsed() > Duration::from_millis(28));
    }
    server.stop().await;
}

#[tokio::test]
async fn errors_are_answered_at_once_and_one_by_one() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    client.produce(9, "t", 0, batch(&["a"])).await;
    let wanted = [
        ("t", 0, 2),
        ("t", 0, -1),
        ("t", 9, 0),
        ("absent", 0, 0),
        ("t", 0, 0),
    ];
    let request = fetch_request(&wanted, 1000).with_max_wait_ms(60_000);
    let response = client.call(11, &request).await;
    let codes: Vec<i16> = response
        .responses
        .iter()
        .map(|topic| topic.partitions[0].error_code)
        .collect();
    assert_eq!(codes, [1, 1, 3, 3, 0]);
    let last = &response.responses[4].partitions[0];
    assert_eq!(records(&last.records), expect(&[(0, "a")]));
    let mut request = fetch_request(&[("t", 0, 0)], 1000);
    request.topics[0].partitions[0].current_leader_epoch = 3;
    let response = client.call(11, &request).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 75);
    let response = client
        .call(11, &fetch_request(&[], 1000).with_session_id(4))
        .await;
    assert_eq!(response.error_code, 70);
    server.stop().await;
}

#[tokio::test]
async fn a_reader_of_a_topic_that_goes_is_told_so() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let mut reader = server.client().await;
    let request = fetch_request(&[("t", 0, 0)], 1_000_000).with_max_wait_ms(600_000);
    reader.send(11, &request).await;
    // An answer to something else that was sent after it: the fetch is waiting by now, or never
    // will.
    client.fetch(11, "t", 0, 1000).await;
    let topic = server.broker.directory().topic("t").unwrap();
    let deleted = server.broker.delete_topic(topic.id, Default::default());
    deleted.await.unwrap();
    let response = reader.receive::<FetchRequest>(11).await;
    assert_eq!(response.responses[0].partitions[0].error_code, 3);
    server.stop().await;
}

#[tokio::test]
async fn a_reader_that_waits_and_goes_leaves_no_trace() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let mut reader = server.client().await;
    let request = fetch_request(&[("t", 0, 0)], 1_000_000).with_max_wait_ms(600_000);
    reader.send(11, &request).await;
    reader.finish().await;
    reader.expect_closed().await;
    server.stop().await;
}
