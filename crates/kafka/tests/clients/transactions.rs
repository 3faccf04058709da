//! Transactions, message by message.

use bytes::Bytes;
use forebay_broker::{ConsumerMode, Cursor, Receive};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, DescribeProducersRequest,
    DescribeTransactionsRequest, EndTxnRequest, FindCoordinatorRequest, GroupId,
    InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest, OffsetFetchRequest,
    ProducerId, TransactionalId, TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};

use crate::server::Server;
use crate::wire::{Client, builder, fetch_request, records, text, topic};

/// A life of a producer.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Life {
    id: i64,
    epoch: i16,
}

fn name() -> TransactionalId {
    TransactionalId(text("t"))
}

fn init(timeout_ms: i32, expected: Option<Life>) -> InitProducerIdRequest {
    let expected = expected.unwrap_or(Life { id: -1, epoch: -1 });
    InitProducerIdRequest::default()
        .with_transactional_id(Some(name()))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id(ProducerId(expected.id))
        .with_producer_epoch(expected.epoch)
}

async fn begin(client: &mut Client, timeout_ms: i32) -> Life {
    let response = client.call(5, &init(timeout_ms, None)).await;
    assert_eq!(response.error_code, 0);
    Life {
        id: response.producer_id.0,
        epoch: response.producer_epoch,
    }
}

/// The codes of partition 0 of each topic.
async fn add(client: &mut Client, version: i16, life: Life, names: &[&str]) -> Vec<i16> {
    let topics = names.iter().map(|name| {
        AddPartitionsToTxnTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![0])
    });
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(name())
        .with_v3_and_below_producer_id(ProducerId(life.id))
        .with_v3_and_below_producer_epoch(life.epoch)
        .with_v3_and_below_topics(topics.collect());
    let response = client.call(version, &request).await;
    let results = response.results_by_topic_v3_and_below.into_iter();
    let codes = results.map(|topic| topic.results_by_partition[0].partition_error_code);
    codes.collect()
}

async fn end(client: &mut Client, version: i16, life: Life, commit: bool) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(name())
        .with_producer_id(ProducerId(life.id))
        .with_producer_epoch(life.epoch)
        .with_committed(commit);
    client.call(version, &request).await.error_code
}

fn part(life: Life, sequence: i32, value: &str) -> Bytes {
    let batch = builder(&[(value, 1000)]).producer(life.id, life.epoch, sequence);
    batch.transactional().finish().bytes().clone()
}

async fn committed(client: &mut Client, offset: i64) -> PartitionData {
    let request = fetch_request(&[("out", 0, offset)], 1 << 20).with_isolation_level(1);
    let response = client.call(11, &request).await;
    response.responses[0].partitions[0].clone()
}

async fn latest(client: &mut Client, isolation_level: i8) -> i64 {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(0)
        .with_timestamp(-1);
    let request = ListOffsetsRequest::default()
        .with_isolation_level(isolation_level)
        .with_topics(vec![
            ListOffsetsTopic::default()
                .with_name(topic("out"))
                .with_partitions(vec![partition]),
        ]);
    client.call(7, &request).await.topics[0].partitions[0].offset
}

#[tokio::test]
async fn what_is_not_decided_is_not_seen_by_those_who_want_only_that() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let asked = FindCoordinatorRequest::default()
        .with_key_type(1)
        .with_coordinator_keys(vec![text("t")]);
    let found = client.call(6, &asked).await;
    assert_eq!(found.coordinators[0].error_code, 0);
    client.create("out", 1).await;
    let life = begin(&mut client, 60_000).await;
    assert_eq!(add(&mut client, 3, life, &["out"]).await, [0]);
    for (sequence, value) in [(0, "a"), (1, "b")] {
        let placed = client
            .produce(9, "out", 0, part(life, sequence, value))
            .await;
        assert_eq!(placed.error_code, 0);
    }
    let plain = crate::wire::batch(&["plain"]);
    client.produce(9, "out", 0, plain).await;

    let seen = committed(&mut client, 0).await;
    assert_eq!((seen.high_watermark, seen.last_stable_offset), (3, 0));
    assert!(records(&seen.records).is_empty());
    let all = client.fetch(11, "out", 0, 1 << 20).await;
    assert_eq!(records(&all.records).len(), 3);
    assert_eq!(all.aborted_transactions, None);
    assert_eq!(
        (latest(&mut client, 0).await, latest(&mut client, 1).await),
        (3, 0)
    );

    // A fetch that waits for what is decided gets it when it is.
    let waiting = fetch_request(&[("out", 0, 0)], 1 << 20)
        .with_isolation_level(1)
        .with_max_wait_ms(60_000);
    let mut reader = server.client().await;
    reader.send(11, &waiting).await;
    assert_eq!(end(&mut client, 3, life, true).await, 0);
    let got = reader
        .receive::<kafka_protocol::messages::FetchRequest>(11)
        .await;
    let got = got.responses[0].partitions[0].clone();
    assert_eq!((got.high_watermark, got.last_stable_offset), (4, 4));
    assert_eq!(got.aborted_transactions, Some(Vec::new()));
    assert_eq!(end(&mut client, 3, life, true).await, 0, "a repetition");
    assert_eq!(
        end(&mut client, 3, life, false).await,
        48,
        "but not the other way"
    );

    assert_eq!(add(&mut client, 0, life, &["out"]).await, [0]);
    client.produce(9, "out", 0, part(life, 2, "never")).await;
    assert_eq!(end(&mut client, 0, life, false).await, 0);
    let seen = committed(&mut client, 0).await;
    let aborted = seen.aborted_transactions.unwrap();
    let aborted: Vec<_> = aborted
        .iter()
        .map(|one| (one.producer_id.0, one.first_offset))
        .collect();
    assert_eq!(aborted, [(life.id, 4)]);
    assert_eq!(seen.last_stable_offset, 6);
    let seen = committed(&mut client, 6).await;
    assert_eq!(seen.aborted_transactions, Some(Vec::new()));
    server.stop().await;
}

#[tokio::test]
async fn those_who_take_work_get_what_was_committed_and_no_markers() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("out", 1).await;
    let life = begin(&mut client, 60_000).await;
    let mut sequence = 0;
    for (value, commit) in [("yes", true), ("no", false), ("also", true)] {
        add(&mut client, 3, life, &["out"]).await;
        let placed = client
            .produce(9, "out", 0, part(life, sequence, value))
            .await;
        assert_eq!(placed.error_code, 0);
        assert_eq!(end(&mut client, 3, life, commit).await, 0);
        sequence += 1;
    }
    add(&mut client, 3, life, &["out"]).await;
    client
        .produce(9, "out", 0, part(life, sequence, "open"))
        .await;
    let topic = server.broker.directory().topic("out").unwrap();
    let receive = |max| Receive {
        topic: topic.id,
        max,
        until: None,
        mode: ConsumerMode::LeaseMs(0),
        attempt: None,
    };
    let deliveries = server.broker.receive(receive(100)).await.unwrap();
    let read = server
        .broker
        .records(&deliveries, &mut Cursor::default())
        .await;
    let values: Vec<_> = read
        .unwrap()
        .iter()
        .map(|one| one.record.value.clone().unwrap())
        .collect();
    assert_eq!(values, ["yes", "also"]);
    // What is no message is settled; the others are ready again. The open one is not there yet.
    assert_eq!(server.broker.stats(topic.id).await.unwrap().ready, 2);
    assert_eq!(end(&mut client, 3, life, true).await, 0);
    assert_eq!(server.broker.stats(topic.id).await.unwrap().ready, 4);
    server.stop().await;
}

#[tokio::test]
async fn a_new_life_fences_the_ones_before_and_ends_what_they_left() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("out", 1).await;
    let old = begin(&mut client, 60_000).await;
    add(&mut client, 3, old, &["out"]).await;
    client.produce(9, "out", 0, part(old, 0, "left")).await;
    let new = begin(&mut client, 60_000).await;
    assert_eq!(new.id, old.id);
    assert!(new.epoch > old.epoch);
    let seen = committed(&mut client, 0).await;
    assert_eq!((seen.high_watermark, seen.last_stable_offset), (2, 2));
    assert_eq!(seen.aborted_transactions.unwrap().len(), 1);

    let late = client.produce(9, "out", 0, part(old, 1, "late")).await;
    assert_eq!(late.error_code, 47);
    assert_eq!(add(&mut client, 1, old, &["out"]).await, [47]);
    assert_eq!(add(&mut client, 2, old, &["out"]).await, [90]);
    assert_eq!(end(&mut client, 1, old, true).await, 47);
    assert_eq!(end(&mut client, 2, old, true).await, 90);
    for (version, code) in [(3, 47), (4, 90)] {
        let again = client.call(version, &init(60_000, Some(old))).await;
        assert_eq!(again.error_code, code);
    }
    // The present life may go on after an error of its own, twice as well as once.
    for _ in 0..2 {
        let again = client.call(5, &init(60_000, Some(new))).await;
        assert_eq!((again.error_code, again.producer_epoch), (0, new.epoch + 1));
    }
    server.stop().await;
}

#[tokio::test]
async fn a_transaction_that_takes_too_long_is_aborted() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("out", 1).await;
    let life = begin(&mut client, 200).await;
    add(&mut client, 3, life, &["out"]).await;
    client.produce(9, "out", 0, part(life, 0, "slow")).await;
    let waiting = fetch_request(&[("out", 0, 0)], 1 << 20)
        .with_isolation_level(1)
        .with_max_wait_ms(60_000);
    let got = client.call(11, &waiting).await.responses[0].partitions[0].clone();
    assert_eq!(got.aborted_transactions.unwrap().len(), 1);
    assert_eq!(end(&mut client, 3, life, true).await, 90);
    server.stop().await;
}

#[tokio::test]
async fn every_mistake_has_its_code() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("out", 1).await;
    for timeout_ms in [0, -1, 900_001] {
        let refused = client.call(5, &init(timeout_ms, None)).await;
        assert_eq!((refused.error_code, refused.producer_id.0), (50, -1));
    }
    let nobody = Life { id: 77, epoch: 0 };
    assert_eq!(add(&mut client, 3, nobody, &["out"]).await, [49]);
    assert_eq!(end(&mut client, 3, nobody, true).await, 49);
    let life = begin(&mut client, 60_000).await;
    assert_eq!(
        add(
            &mut client,
            3,
            Life {
                id: life.id + 1,
                ..life
            },
            &["out"]
        )
        .await,
        [49]
    );
    assert_eq!(end(&mut client, 3, life, true).await, 48, "there is none");
    assert_eq!(
        add(&mut client, 3, life, &["out", "nowhere"]).await,
        [55, 3]
    );
    let outside = client.produce(9, "out", 0, part(life, 0, "x")).await;
    assert_eq!(outside.error_code, 48, "the partition was not added");
    let stranger = client.produce(9, "out", 0, part(nobody, 0, "x")).await;
    assert_eq!(stranger.error_code, 49);
    let control = builder(&[("x", 1000)]).producer(life.id, life.epoch, 0);
    let control = control.transactional().control().finish().bytes().clone();
    assert_eq!(client.produce(9, "out", 0, control).await.error_code, 87);
    let no_id = builder(&[("x", 1000)]).transactional().finish();
    let refused = client.produce(9, "out", 0, no_id.bytes().clone()).await;
    assert_eq!(refused.error_code, 87);
    assert_eq!(client.fetch(11, "out", 0, 1 << 20).await.high_watermark, 0);
    server.stop().await;
}

fn offsets(life: Life, offset: i64) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("m")));
    TxnOffsetCommitRequest::default()
        .with_transactional_id(name())
        .with_group_id(GroupId(text("g")))
        .with_producer_id(ProducerId(life.id))
        .with_producer_epoch(life.epoch)
        .with_topics(vec![
            TxnOffsetCommitRequestTopic::default()
                .with_name(topic("in"))
                .with_partitions(vec![partition]),
        ])
}

async fn hold(client: &mut Client, version: i16, request: &TxnOffsetCommitRequest) -> i16 {
    let response = client.call(version, request).await;
    response.topics[0].partitions[0].error_code
}

async fn fetched(client: &mut Client, stable: bool) -> (i64, i16) {
    let request = OffsetFetchRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_require_stable(stable)
        .with_topics(Some(vec![
            OffsetFetchRequestTopic::default()
                .with_name(topic("in"))
                .with_partition_indexes(vec![0]),
        ]));
    let response = client.call(7, &request).await;
    let partition = &response.topics[0].partitions[0];
    (partition.committed_offset, partition.error_code)
}

#[tokio::test]
async fn offsets_are_committed_with_their_transaction_or_not_at_all() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("in", 1).await;
    let life = begin(&mut client, 60_000).await;
    assert_eq!(
        hold(&mut client, 3, &offsets(life, 5)).await,
        48,
        "the group was not added"
    );
    for (commit, expected) in [(false, -1), (true, 5)] {
        let added = AddOffsetsToTxnRequest::default()
            .with_transactional_id(name())
            .with_producer_id(ProducerId(life.id))
            .with_producer_epoch(life.epoch)
            .with_group_id(GroupId(text("g")));
        assert_eq!(client.call(3, &added).await.error_code, 0);
        let member = offsets(life, 5)
            .with_member_id(text("nobody"))
            .with_generation_id(3);
        assert_eq!(
            hold(&mut client, 3, &member).await,
            22,
            "no such generation"
        );
        let stale = Life {
            epoch: life.epoch + 1,
            ..life
        };
        assert_eq!(hold(&mut client, 3, &offsets(stale, 5)).await, 47);
        assert_eq!(
            hold(&mut client, if commit { 0 } else { 3 }, &offsets(life, 5)).await,
            0
        );
        assert_eq!(fetched(&mut client, false).await, (-1, 0));
        assert_eq!(fetched(&mut client, true).await, (-1, 88));
        assert_eq!(end(&mut client, 3, life, commit).await, 0);
        assert_eq!(fetched(&mut client, true).await, (expected, 0));
    }
    server.stop().await;
}

#[tokio::test]
async fn an_operator_sees_transactions_and_can_end_one_that_hangs() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("out", 1).await;
    let life = begin(&mut client, 60_000).await;
    add(&mut client, 3, life, &["out"]).await;
    client.produce(9, "out", 0, part(life, 0, "hangs")).await;

    let asked = DescribeTransactionsRequest::default()
        .with_transactional_ids(vec![name(), TransactionalId(text("unknown"))]);
    let states = client.call(0, &asked).await.transaction_states;
    assert_eq!(states[0].transaction_state.as_str(), "Ongoing");
    assert_eq!(states[0].transaction_timeout_ms, 60_000);
    assert_eq!(states[0].topics[0].partitions, [0]);
    assert_eq!(states[1].error_code, 105);

    let listed = ListTransactionsRequest::default()
        .with_state_filters(vec![text("Ongoing"), text("Confused")])
        .with_duration_filter(-1);
    let listed = client.call(1, &listed).await;
    assert_eq!(listed.transaction_states[0].producer_id.0, life.id);
    assert_eq!(listed.unknown_state_filters, [text("Confused")]);
    let empty = ListTransactionsRequest::default()
        .with_state_filters(vec![text("Empty")])
        .with_duration_filter(-1);
    assert!(client.call(1, &empty).await.transaction_states.is_empty());

    let producers = DescribeProducersRequest::default().with_topics(vec![
        TopicRequest::default()
            .with_name(topic("out"))
            .with_partition_indexes(vec![0]),
    ]);
    let described = client.call(0, &producers).await;
    let active = &described.topics[0].partitions[0].active_producers[0];
    assert_eq!(active.producer_id.0, life.id);
    assert_eq!(
        (active.last_sequence, active.current_txn_start_offset),
        (0, 0)
    );

    let marker = |commit, epoch| {
        let topic = WritableTxnMarkerTopic::default()
            .with_name(topic("out"))
            .with_partition_indexes(vec![0]);
        let marker = WritableTxnMarker::default()
            .with_producer_id(ProducerId(life.id))
            .with_producer_epoch(epoch)
            .with_transaction_result(commit)
            .with_topics(vec![topic]);
        WriteTxnMarkersRequest::default().with_markers(vec![marker])
    };
    for (commit, epoch, code) in [
        (true, life.epoch, 42),
        (false, life.epoch + 1, 47),
        (false, life.epoch, 0),
    ] {
        let response = client.call(1, &marker(commit, epoch)).await;
        assert_eq!(response.markers[0].topics[0].partitions[0].error_code, code);
    }
    let seen = committed(&mut client, 0).await;
    assert_eq!(seen.last_stable_offset, 2);
    assert_eq!(end(&mut client, 3, life, true).await, 90);
    server.stop().await;
}
