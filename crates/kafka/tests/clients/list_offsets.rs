use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{ListOffsetsRequest, OffsetForLeaderEpochRequest};

use crate::server::Server;
use crate::wire::{Client, builder, topic};

async fn list(client: &mut Client, version: i16, timestamps: &[i64]) -> Vec<(i16, i64, i64)> {
    let mut found = Vec::new();
    for timestamp in timestamps {
        let part = ListOffsetsPartition::default().with_timestamp(*timestamp);
        let request = ListOffsetsRequest::default().with_topics(vec![
            ListOffsetsTopic::default()
                .with_name(topic("t"))
                .with_partitions(vec![part]),
        ]);
        let response = client.call(version, &request).await;
        let part = &response.topics[0].partitions[0];
        found.push((part.error_code, part.offset, part.timestamp));
    }
    found
}

#[tokio::test]
async fn offsets_are_found_by_time() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    assert_eq!(
        list(&mut client, 7, &[-1, -2, -3, 0]).await,
        [(0, 0, -1), (0, 0, -1), (0, -1, -1), (0, -1, -1)]
    );
    for records in [
        &[("a", 100), ("b", 200)][..],
        &[("c", 500), ("d", 400)],
        &[("e", 300)],
    ] {
        let records = builder(records).finish();
        client.produce(9, "t", 0, records.bytes().clone()).await;
    }
    for version in 1..=10 {
        assert_eq!(
            list(&mut client, version, &[-1, -2, 0, 150, 300, 500, 501]).await,
            [
                (0, 5, -1),
                (0, 0, -1),
                (0, 0, 100),
                (0, 1, 200),
                (0, 2, 500),
                (0, 2, 500),
                (0, -1, -1)
            ],
            "v{version}"
        );
    }
    assert_eq!(
        list(&mut client, 9, &[-3, -4, -5, -6]).await,
        [(0, 2, 500), (0, 0, -1), (0, -1, -1), (35, -1, -1)]
    );
    server.stop().await;
}

#[tokio::test]
async fn a_partition_asked_for_twice_is_refused() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let part = |index| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_timestamp(-1)
    };
    let request = ListOffsetsRequest::default().with_topics(vec![
        ListOffsetsTopic::default()
            .with_name(topic("t"))
            .with_partitions(vec![part(0), part(0), part(5)]),
    ]);
    let response = client.call(5, &request).await;
    let parts = &response.topics[0].partitions;
    let codes: Vec<i16> = parts.iter().map(|part| part.error_code).collect();
    assert_eq!(codes, [0, 42, 3]);
    server.stop().await;
}

#[tokio::test]
async fn the_only_epoch_ends_at_the_high_watermark() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let records = builder(&[("a", 1), ("b", 2)]).finish();
    client.produce(9, "t", 0, records.bytes().clone()).await;
    for version in 2..=4 {
        for (current, asked, expected) in [
            (-1, 0, (0, 0, 2)),
            (0, 1, (0, -1, -1)),
            (1, 0, (75, -1, -1)),
        ] {
            let part = OffsetForLeaderPartition::default()
                .with_current_leader_epoch(current)
                .with_leader_epoch(asked);
            let request = OffsetForLeaderEpochRequest::default().with_topics(vec![
                OffsetForLeaderTopic::default()
                    .with_topic(topic("t"))
                    .with_partitions(vec![part]),
            ]);
            let response = client.call(version, &request).await;
            let part = &response.topics[0].partitions[0];
            let found = (part.error_code, part.leader_epoch, part.end_offset);
            assert_eq!(found, expected);
        }
    }
    server.stop().await;
}
