//! Requests of administrators: settings, partitions, records and offsets that go, sizes.

use kafka_protocol::messages::alter_configs_request::{
    AlterConfigsResource, AlterableConfig as Alterable,
};
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as Incremental, AlterableConfig,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, BrokerId, CreatePartitionsRequest, DeleteRecordsRequest,
    DescribeLogDirsRequest, GroupId, IncrementalAlterConfigsRequest, ListOffsetsRequest,
    OffsetCommitRequest, OffsetDeleteRequest,
};

use crate::server::Server;
use crate::wire::{Client, batch, builder, records, text, topic};

/// What an operation of IncrementalAlterConfigs is called.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

async fn change(client: &mut Client, changes: &[(&str, i8, Option<&str>)]) -> i16 {
    change_of(client, 2, "t", changes, false).await
}

async fn change_of(
    client: &mut Client,
    kind: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
    validate_only: bool,
) -> i16 {
    let changes = changes.iter().map(|(name, operation, value)| {
        AlterableConfig::default()
            .with_name(text(name))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = Incremental::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(changes.collect());
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only);
    let mut codes = Vec::new();
    for version in 0..=1 {
        let response = client.call(version, &request).await;
        assert_eq!(response.responses.len(), 1);
        assert_eq!(&*response.responses[0].resource_name, name);
        codes.push(response.responses[0].error_code);
    }
    assert_eq!(codes[0], codes[1], "both versions say the same");
    codes[0]
}

#[tokio::test]
async fn single_settings_are_changed_and_the_others_stay() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let config = || server.broker.directory().topic("t").unwrap().config.clone();
    let set = [
        ("retention.ms", SET, Some("5000")),
        ("max.message.bytes", SET, Some("9999")),
    ];
    assert_eq!(change(&mut client, &set).await, 0);
    assert_eq!(config().retention.ms, Some(5000));
    assert_eq!(config().max_message_bytes, 9999);
    let policy = [("cleanup.policy", APPEND, Some("compact"))];
    assert_eq!(change(&mut client, &policy).await, 0);
    assert!(config().compaction.is_some());
    assert_eq!(config().retention.ms, Some(5000));
    let policy = [("cleanup.policy", SUBTRACT, Some("delete"))];
    assert_eq!(change(&mut client, &policy).await, 0);
    assert_eq!(config().retention.ms, None, "only compacted");
    let both = [
        ("cleanup.policy", DELETE, None),
        ("max.message.bytes", DELETE, None),
    ];
    assert_eq!(change(&mut client, &both).await, 0);
    assert!(config().compaction.is_none());
    assert_eq!(config().retention.ms, Some(5000));
    assert_eq!(config().max_message_bytes, 1_048_588);

    let before = config();
    let set = [("retention.ms", SET, Some("1"))];
    assert_eq!(change_of(&mut client, 2, "t", &set, true).await, 0);
    for (changes, code) in [
        (
            vec![
                ("retention.ms", SET, Some("1")),
                ("no.such", SET, Some("1")),
            ],
            40,
        ),
        (vec![("retention.ms", SET, Some("soon"))], 40),
        (vec![("retention.ms", APPEND, Some("1"))], 40),
        (vec![("cleanup.policy", SUBTRACT, Some("delete"))], 40),
        (vec![("retention.ms", SET, None)], 42),
        (vec![("retention.ms", 7, Some("1"))], 40),
        (
            vec![
                ("retention.ms", SET, Some("1")),
                ("retention.ms", DELETE, None),
            ],
            42,
        ),
    ] {
        assert_eq!(change(&mut client, &changes).await, code, "{changes:?}");
    }
    for (kind, name, code) in [(2, "absent", 3), (2, "a b", 17), (4, "1", 42), (8, "1", 42)] {
        let found = change_of(&mut client, kind, name, &set, false).await;
        assert_eq!(found, code, "{kind} {name}");
    }
    assert_eq!(config(), before, "all of it or nothing");
    server.stop().await;
}

#[tokio::test]
async fn settings_are_replaced_in_every_version() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let config = || server.broker.directory().topic("t").unwrap().config.clone();
    let made = config();
    let resource = |name: &str, configs: &[(&str, &str)]| {
        let configs = configs.iter().map(|(name, value)| {
            Alterable::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(name))
            .with_configs(configs.collect())
    };
    for version in 0..=2 {
        let request = AlterConfigsRequest::default().with_resources(vec![
            resource("t", &[("retention.ms", "7"), ("segment.bytes", "1048576")]),
            resource("absent", &[]),
        ]);
        let response = client.call(version, &request).await;
        let codes: Vec<i16> = response
            .responses
            .iter()
            .map(|one| one.error_code)
            .collect();
        assert_eq!(codes, [0, 3]);
        assert_eq!(config().retention.ms, Some(7));
        let request = AlterConfigsRequest::default().with_resources(vec![resource("t", &[])]);
        assert_eq!(
            client.call(version, &request).await.responses[0].error_code,
            0
        );
        assert_eq!(config(), made, "what is not named is as it was made");
    }
    server.stop().await;
}

async fn delete_records(client: &mut Client, version: i16, name: &str, offset: i64) -> (i16, i64) {
    let partition = DeleteRecordsPartition::default().with_offset(offset);
    let request = DeleteRecordsRequest::default().with_topics(vec![
        DeleteRecordsTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![partition]),
    ]);
    let response = client.call(version, &request).await;
    let result = &response.topics[0].partitions[0];
    (result.error_code, result.low_watermark)
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset_or_all() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    for value in ["a", "b", "c", "d", "e"] {
        client.produce(9, "t", 0, batch(&[value])).await;
    }
    for (version, offset, answer) in [
        (0, 2, (0, 2)),
        (1, 1, (0, 2)),
        (2, 3, (0, 3)),
        (2, 6, (1, -1)),
        (2, -2, (1, -1)),
    ] {
        let found = delete_records(&mut client, version, "t", offset).await;
        assert_eq!(found, answer, "up to {offset}");
    }
    assert_eq!(delete_records(&mut client, 2, "absent", 0).await, (3, -1));
    let fetched = client.fetch(11, "t", 3, 1000).await;
    assert_eq!((fetched.error_code, fetched.log_start_offset), (0, 3));
    assert_eq!(records(&fetched.records)[0].1, "d");
    assert_eq!(client.fetch(11, "t", 2, 1000).await.error_code, 1);
    let earliest = ListOffsetsPartition::default().with_timestamp(-2);
    let request = ListOffsetsRequest::default().with_topics(vec![
        ListOffsetsTopic::default()
            .with_name(topic("t"))
            .with_partitions(vec![earliest]),
    ]);
    let response = client.call(7, &request).await;
    assert_eq!(response.topics[0].partitions[0].offset, 3);
    assert_eq!(delete_records(&mut client, 2, "t", -1).await, (0, 5));
    let produced = client.produce(9, "t", 0, batch(&["f"])).await;
    assert_eq!((produced.base_offset, produced.log_start_offset), (5, 5));

    let compact = [("cleanup.policy", SET, Some("compact"))];
    assert_eq!(change(&mut client, &compact).await, 0);
    assert_eq!(delete_records(&mut client, 2, "t", 6).await, (44, -1));
    server.stop().await;
}

#[tokio::test]
async fn a_compacted_topic_takes_no_record_without_a_key() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let compact = [("cleanup.policy", SET, Some("compact"))];
    assert_eq!(change(&mut client, &compact).await, 0);
    let mut mixed = builder(&[]);
    for key in [Some(&b"k"[..]), None, Some(&b""[..]), None] {
        mixed.push(1000, key, None, std::iter::empty()).unwrap();
    }
    let refused = client
        .produce(9, "t", 0, mixed.finish().bytes().clone())
        .await;
    assert_eq!((refused.error_code, refused.base_offset), (87, -1));
    let wrong: Vec<i32> = refused
        .record_errors
        .iter()
        .map(|one| one.batch_index)
        .collect();
    assert_eq!(wrong, [1, 3]);
    assert!(refused.error_message.is_some());
    let mut keyed = builder(&[]);
    keyed
        .push(1000, Some(b"k"), None, std::iter::empty())
        .unwrap();
    let taken = client
        .produce(9, "t", 0, keyed.finish().bytes().clone())
        .await;
    assert_eq!((taken.error_code, taken.base_offset), (0, 0));
    server.stop().await;
}

#[tokio::test]
async fn the_broker_gives_the_time_if_the_topic_says_so() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let set = [("message.timestamp.type", SET, Some("LogAppendTime"))];
    assert_eq!(change(&mut client, &set).await, 0);
    let before = server.broker.now().0;
    let produced = client.produce(9, "t", 0, batch(&["a", "b"])).await;
    assert_eq!(produced.error_code, 0);
    assert!((before..=server.broker.now().0).contains(&produced.log_append_time_ms));
    let fetched = client.fetch(11, "t", 0, 1000).await;
    let mut bytes = fetched.records.clone().unwrap();
    let stored = forebay_record::Batch::take(&mut bytes, usize::MAX).unwrap();
    for record in stored.records(usize::MAX).unwrap() {
        assert_eq!(record.unwrap().timestamp, produced.log_append_time_ms);
    }
    let set = [("message.timestamp.type", DELETE, None)];
    assert_eq!(change(&mut client, &set).await, 0);
    let produced = client.produce(9, "t", 0, batch(&["c"])).await;
    assert_eq!(produced.log_append_time_ms, -1);
    server.stop().await;
}

async fn grow(client: &mut Client, version: i16, asked: CreatePartitionsTopic) -> i16 {
    let request = CreatePartitionsRequest::default().with_topics(vec![asked]);
    client.call(version, &request).await.results[0].error_code
}

#[tokio::test]
async fn topics_get_more_partitions_and_never_fewer() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 2).await;
    let queue = forebay_broker::TopicConfig::default();
    server.broker.create_topic("queue", queue).await.unwrap();
    let asked = |name: &str, count| {
        CreatePartitionsTopic::default()
            .with_name(topic(name))
            .with_count(count)
            .with_assignments(None)
    };
    let assigned = |count, brokers: &[i32]| {
        let assigned = brokers
            .iter()
            .map(|id| CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(*id)]));
        asked("t", count).with_assignments(Some(assigned.collect()))
    };
    client.produce(9, "t", 1, batch(&["before"])).await;
    for version in 0..=3 {
        let count = 3 + i32::from(version);
        assert_eq!(grow(&mut client, version, asked("t", count)).await, 0);
        let found = server.broker.directory().topic("t").unwrap();
        assert_eq!(found.partitions.len(), 3 + version as usize);
        let produced = client.produce(9, "t", count - 1, batch(&["new"])).await;
        assert_eq!((produced.error_code, produced.base_offset), (0, 0));
    }
    let again = client.produce(9, "t", 1, batch(&["after"])).await;
    assert_eq!(again.base_offset, 1);
    for (asked, code) in [
        (asked("t", 6), 37),
        (asked("t", 5), 37),
        (asked("t", -1), 37),
        (asked("t", 10_001), 37),
        (asked("queue", 2), 37),
        (asked("absent", 2), 3),
        (assigned(8, &[1]), 39),
        (assigned(7, &[2]), 39),
        (assigned(7, &[1]), 0),
    ] {
        let what = format!("{asked:?}");
        assert_eq!(grow(&mut client, 3, asked).await, code, "{what}");
    }
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![asked("t", 9)])
        .with_validate_only(true);
    assert_eq!(client.call(3, &request).await.results[0].error_code, 0);
    let twice = CreatePartitionsRequest::default().with_topics(vec![asked("t", 9); 2]);
    let response = client.call(3, &twice).await;
    assert_eq!(
        (response.results.len(), response.results[0].error_code),
        (1, 42)
    );
    assert_eq!(
        server
            .broker
            .directory()
            .topic("t")
            .unwrap()
            .partitions
            .len(),
        7
    );
    server.stop().await;
}

#[tokio::test]
async fn committed_offsets_are_forgotten_when_asked() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 2).await;
    let forget = |group: &str, partitions: &[i32]| {
        let partitions = partitions
            .iter()
            .map(|index| OffsetDeleteRequestPartition::default().with_partition_index(*index));
        OffsetDeleteRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(vec![
                OffsetDeleteRequestTopic::default()
                    .with_name(topic("t"))
                    .with_partitions(partitions.collect()),
            ])
    };
    let absent = client.call(0, &forget("g", &[0])).await;
    assert_eq!((absent.error_code, absent.topics.len()), (69, 0));
    let commits = [0, 1].map(|index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(5)
    });
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(topic("t"))
                .with_partitions(commits.to_vec()),
        ]);
    let committed = client.call(8, &commit).await;
    assert_eq!(committed.topics[0].partitions[0].error_code, 0);
    let deleted = client.call(0, &forget("g", &[0, 7])).await;
    assert_eq!(deleted.error_code, 0);
    let partitions = &deleted.topics[0].partitions;
    let codes: Vec<i16> = partitions.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [0, 3]);
    let all = forebay_broker::Command::FetchOffsets {
        group: "g".to_owned(),
        partitions: None,
    };
    let Ok(forebay_broker::Reply::Offsets(left)) = server.broker.call(all).await else {
        panic!("no offsets");
    };
    let second = server.broker.directory().topic("t").unwrap().partitions[1];
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].0, second);
    server.stop().await;
}

#[tokio::test]
async fn sizes_are_told() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 2).await;
    client.create("u", 1).await;
    let body = "x".repeat(10_000);
    client.produce(9, "t", 1, batch(&[&body])).await;
    for version in 1..=4 {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let response = client.call(version, &request).await;
        assert_eq!(response.error_code, 0);
        let directory = &response.results[0];
        assert_eq!((directory.error_code, directory.topics.len()), (0, 2));
        let sizes = directory.topics[0].partitions.iter();
        let sizes: Vec<i64> = sizes.map(|one| one.partition_size).collect();
        assert_eq!(sizes[0], 0);
        assert!((10_000..20_000).contains(&sizes[1]), "{sizes:?}");
        let one = DescribableLogDirTopic::default()
            .with_topic(topic("t"))
            .with_partitions(vec![1, 9]);
        let request = DescribeLogDirsRequest::default().with_topics(Some(vec![one]));
        let response = client.call(version, &request).await;
        let topics = &response.results[0].topics;
        assert_eq!((topics.len(), topics[0].partitions.len()), (1, 1));
        assert_eq!(topics[0].partitions[0].partition_index, 1);
    }
    server.stop().await;
}
