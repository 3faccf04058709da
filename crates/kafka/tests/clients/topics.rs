use forebay_broker::TopicConfig;
use forebay_kafka::Options;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest,
    DescribeConfigsRequest, MetadataRequest,
};
use uuid::Uuid;

use crate::server::Server;
use crate::wire::{Client, text, topic};

async fn metadata(client: &mut Client, version: i16, name: &str) -> MetadataResponseTopic {
    let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![asked]))
        .with_allow_auto_topic_creation(version < 4);
    client.call(version, &request).await.topics[0].clone()
}

pub(crate) async fn id_of(client: &mut Client, name: &str) -> Uuid {
    let found = metadata(client, 12, name).await;
    assert_eq!(found.error_code, 0);
    found.topic_id
}

fn asked(name: &str, partitions: i32) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
}

async fn create(client: &mut Client, asked: CreatableTopic) -> (i16, Option<String>) {
    let request = CreateTopicsRequest::default().with_topics(vec![asked]);
    let result = client.call(7, &request).await.topics[0].clone();
    (
        result.error_code,
        result.error_message.map(|text| text.to_string()),
    )
}

#[tokio::test]
async fn metadata_tells_the_broker_and_the_topics_in_every_version() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 3).await;
    for version in 0..=13 {
        let all = (version > 0).then(Vec::new);
        let request = MetadataRequest::default()
            .with_topics(if version == 0 { Some(Vec::new()) } else { None })
            .with_include_topic_authorized_operations(version >= 8);
        let response = client.call(version, &request).await;
        assert_eq!(response.brokers.len(), 1);
        assert_eq!(*response.brokers[0].node_id, 1);
        assert_eq!(&*response.brokers[0].host, "127.0.0.1");
        assert_eq!(response.brokers[0].port, i32::from(server.address.port()));
        assert_eq!(response.topics.len(), 1);
        assert_eq!(response.topics[0].partitions.len(), 3);
        assert_eq!(response.topics[0].partitions[2].partition_index, 2);
        if let Some(none) = all {
            let request = MetadataRequest::default().with_topics(Some(none));
            assert!(client.call(version, &request).await.topics.is_empty());
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_topic_is_made_when_asked_about_if_all_agree() {
    let options = Options {
        default_partitions: 4,
        ..Options::default()
    };
    let server = Server::with(options).await;
    let mut client = server.client().await;
    assert_eq!(metadata(&mut client, 12, "new").await.error_code, 3);
    assert_eq!(
        metadata(&mut client, 3, "not allowed!").await.error_code,
        17
    );
    let made = metadata(&mut client, 3, "new").await;
    assert_eq!((made.error_code, made.partitions.len()), (0, 4));
    assert_eq!(metadata(&mut client, 12, "new").await.error_code, 0);
    server.stop().await;

    let options = Options {
        auto_create_topics: false,
        ..Options::default()
    };
    let server = Server::with(options).await;
    let mut client = server.client().await;
    assert_eq!(metadata(&mut client, 3, "new").await.error_code, 3);
    server.stop().await;
}

#[tokio::test]
async fn topics_are_found_by_id() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 1).await;
    let id = id_of(&mut client, "t").await;
    for (id, code, name) in [(id, 0, Some("t")), (Uuid::max(), 100, None)] {
        let asked = MetadataRequestTopic::default()
            .with_topic_id(id)
            .with_name(None);
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let found = client.call(12, &request).await.topics[0].clone();
        assert_eq!((found.error_code, found.topic_id), (code, id));
        assert_eq!(found.name.as_deref().map(|name| &**name), name);
    }
    server.stop().await;
}

#[tokio::test]
async fn topics_kafka_has_no_name_for_are_not_shown() {
    let server = Server::start().await;
    let config = TopicConfig::default;
    server
        .broker
        .create_topic("with space", config())
        .await
        .unwrap();
    server.broker.create_topic("fine", config()).await.unwrap();
    let mut client = server.client().await;
    let request = MetadataRequest::default().with_topics(None);
    let topics = client.call(12, &request).await.topics;
    assert_eq!(topics.len(), 1);
    assert_eq!(&***topics[0].name.as_ref().unwrap(), "fine");
    server.stop().await;
}

#[tokio::test]
async fn topics_are_made_and_deleted_in_every_version() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for version in 2..=7 {
        let name = format!("t{version}");
        let request = CreateTopicsRequest::default().with_topics(vec![asked(&name, 2)]);
        let made = client.call(version, &request).await.topics[0].clone();
        assert_eq!(made.error_code, 0);
        if version >= 5 {
            assert_eq!((made.num_partitions, made.replication_factor), (2, 1));
            let configs = made.configs.unwrap();
            assert!(configs.iter().any(|one| &*one.name == "retention.ms"));
        }
        if version >= 7 {
            assert_eq!(made.topic_id, id_of(&mut client, &name).await);
        }
        assert_eq!(metadata(&mut client, 12, &name).await.partitions.len(), 2);
    }
    for version in 1..=5 {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![topic(&format!("t{}", version + 1)), topic("absent")]);
        let response = client.call(version, &request).await;
        let codes: Vec<i16> = response
            .responses
            .iter()
            .map(|one| one.error_code)
            .collect();
        assert_eq!(codes, [0, 3]);
    }
    let id = id_of(&mut client, "t7").await;
    let by_id = DeleteTopicState::default()
        .with_name(None)
        .with_topic_id(id);
    let request = DeleteTopicsRequest::default().with_topics(vec![by_id.clone()]);
    let response = client.call(6, &request).await;
    assert_eq!(response.responses[0].error_code, 0);
    assert_eq!(&***response.responses[0].name.as_ref().unwrap(), "t7");
    let request = DeleteTopicsRequest::default().with_topics(vec![by_id]);
    assert_eq!(client.call(6, &request).await.responses[0].error_code, 100);
    let request = MetadataRequest::default().with_topics(None);
    assert!(client.call(12, &request).await.topics.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_made_is_told_by_its_code() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("there", 1).await;
    let set = |name: &str, value: &str| {
        asked("t", 1).with_configs(vec![
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value))),
        ])
    };
    let assigned = |brokers: &[i32]| {
        let brokers = brokers.iter().map(|id| BrokerId(*id)).collect();
        CreatableTopic::default()
            .with_name(topic("assigned"))
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(vec![
                CreatableReplicaAssignment::default().with_broker_ids(brokers),
            ])
    };
    for (asked, code) in [
        (asked("there", 1), 36),
        (asked("..", 1), 17),
        (asked("with space", 1), 17),
        (asked("t", 0), 37),
        (asked("t", -2), 37),
        (asked("t", 10_001), 37),
        (asked("t", 1).with_replication_factor(2), 38),
        (set("cleanup.policy", "shrink"), 40),
        (set("no.such.thing", "1"), 40),
        (set("retention.ms", "soon"), 40),
        (assigned(&[2]), 39),
        (assigned(&[1]), 0),
        (asked("t", -1).with_replication_factor(-1), 0),
    ] {
        let what = format!("{asked:?}");
        let (found, message) = create(&mut client, asked).await;
        assert_eq!(found, code, "{what}");
        assert_eq!(message.is_some(), code != 0);
    }
    let request = CreateTopicsRequest::default().with_topics(vec![asked("d", 1), asked("d", 1)]);
    let response = client.call(7, &request).await;
    assert_eq!(response.topics.len(), 1);
    assert_eq!(response.topics[0].error_code, 42);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![asked("dry", 1)])
        .with_validate_only(true);
    assert_eq!(client.call(7, &request).await.topics[0].error_code, 0);
    assert_eq!(metadata(&mut client, 12, "dry").await.error_code, 3);
    server.stop().await;
}

#[tokio::test]
async fn settings_are_kept_and_described() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let setting = |name: &str, value: &str| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
    };
    let made = asked("t", 1).with_configs(vec![
        setting("retention.ms", "5000"),
        setting("segment.bytes", "1048576"),
    ]);
    assert_eq!(create(&mut client, made).await.0, 0);
    let info = server.broker.directory().topic("t").unwrap();
    assert_eq!(info.config.retention.ms, Some(5000));
    for version in 1..=4 {
        let resource = |kind, name| {
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(name))
                .with_configuration_keys(None)
        };
        let request = DescribeConfigsRequest::default()
            .with_include_synonyms(true)
            .with_resources(vec![
                resource(2, "t"),
                resource(4, "1"),
                resource(2, "absent"),
                resource(4, "7"),
                resource(8, "1"),
            ]);
        let response = client.call(version, &request).await;
        let codes: Vec<i16> = response.results.iter().map(|one| one.error_code).collect();
        assert_eq!(codes, [0, 0, 3, 42, 42]);
        let value = |name: &str| {
            let configs = &response.results[0].configs;
            let found = configs.iter().find(|one| &*one.name == name).unwrap();
            (
                found.value.clone().unwrap().to_string(),
                found.config_source,
            )
        };
        assert_eq!(value("retention.ms"), ("5000".to_owned(), 1));
        assert_eq!(value("segment.bytes"), ("1048576".to_owned(), 1));
        assert_eq!(value("cleanup.policy"), ("delete".to_owned(), 5));
    }
    server.stop().await;
}

#[tokio::test]
async fn the_cluster_is_one_broker() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for version in 0..=2 {
        let response = client
            .call(version, &DescribeClusterRequest::default())
            .await;
        assert_eq!(response.error_code, 0);
        assert_eq!(&*response.cluster_id, "forebay");
        assert_eq!(response.brokers[0].port, i32::from(server.address.port()));
    }
    let request = DescribeClusterRequest::default().with_endpoint_type(2);
    assert_eq!(client.call(1, &request).await.error_code, 115);
    server.stop().await;
}
