//! A client that sends single messages and reads single answers.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use forebay_record::{Batch, BatchBuilder};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, FetchRequest, ProduceRequest, RequestHeader, ResponseHeader,
    TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Client {
    socket: TcpStream,
    sent: i32,
    answered: i32,
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            socket: TcpStream::connect(address).await.unwrap(),
            sent: 0,
            answered: 0,
        }
    }

    pub(crate) async fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(version, request).await;
        self.receive::<R>(version).await
    }

    pub(crate) async fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.sent += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.sent)
            .with_client_id(Some(text("test")));
        let mut frame = BytesMut::new();
        header
            .encode(&mut frame, R::header_version(version))
            .unwrap();
        request.encode(&mut frame, version).unwrap();
        self.send_frame(&frame).await;
    }

    pub(crate) async fn send_frame(&mut self, frame: &[u8]) {
        let length = i32::try_from(frame.len()).unwrap().to_be_bytes();
        self.send_bytes(&[&length, frame].concat()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The answer to the oldest request without one. It has to carry its id and nothing after it.
    pub(crate) async fn receive<R: Request>(&mut self, version: i16) -> R::Response {
        self.answered += 1;
        let mut frame = self.receive_frame().await.expect("an answer");
        let key = ApiKey::try_from(R::KEY).unwrap();
        let header =
            ResponseHeader::decode(&mut frame, key.response_header_version(version)).unwrap();
        assert_eq!(header.correlation_id, self.answered);
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(!frame.has_remaining(), "bytes after the response");
        response
    }

    /// That no answer to the oldest request without one will come.
    pub(crate) fn expect_no_answer(&mut self) {
        self.answered += 1;
    }

    pub(crate) async fn receive_frame(&mut self) -> Option<Bytes> {
        let length = self.socket.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.socket.read_exact(&mut frame).await.ok()?;
        Some(frame.into())
    }

    /// Waits until the server has closed the connection, without a further answer.
    pub(crate) async fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        let _ = self.socket.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "an answer: {rest:?}");
    }

    /// Closes this side only.
    pub(crate) async fn finish(&mut self) {
        self.socket.shutdown().await.unwrap();
    }

    pub(crate) async fn create(&mut self, name: &str, partitions: i32) {
        let asked = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![asked]);
        let response = self.call(7, &request).await;
        assert_eq!(response.topics[0].error_code, 0, "{:?}", response.topics);
    }

    pub(crate) async fn produce(
        &mut self,
        version: i16,
        name: &str,
        partition: i32,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce_request(-1, name, partition, records);
        let response = self.call(version, &request).await;
        response.responses[0].partition_responses[0].clone()
    }

    /// Fetches one partition.
    pub(crate) async fn fetch(
        &mut self,
        version: i16,
        name: &str,
        offset: i64,
        max_bytes: i32,
    ) -> PartitionData {
        let request = fetch_request(&[(name, 0, offset)], max_bytes);
        let response = self.call(version, &request).await;
        assert_eq!(response.error_code, 0);
        response.responses[0].partitions[0].clone()
    }
}

pub(crate) fn produce_request(
    acks: i16,
    name: &str,
    partition: i32,
    records: Bytes,
) -> ProduceRequest {
    let data = PartitionProduceData::default()
        .with_index(partition)
        .with_records(Some(records));
    ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(1000)
        .with_topic_data(vec![
            TopicProduceData::default()
                .with_name(topic(name))
                .with_partition_data(vec![data]),
        ])
}

/// A fetch that does not wait, up to version 12. The limit holds for each partition and for all.
pub(crate) fn fetch_request(wanted: &[(&str, i32, i64)], max_bytes: i32) -> FetchRequest {
    let topics = wanted.iter().map(|(name, partition, offset)| {
        let part = FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(max_bytes);
        FetchTopic::default()
            .with_topic(topic(name))
            .with_partitions(vec![part])
    });
    FetchRequest::default()
        .with_min_bytes(1)
        .with_max_bytes(max_bytes)
        .with_topics(topics.collect())
}

/// A builder with records of these values and times.
pub(crate) fn builder(records: &[(&str, i64)]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(records.first().map_or(0, |(_, time)| *time));
    for (value, time) in records {
        builder
            .push(*time, None, Some(value.as_bytes()), std::iter::empty())
            .unwrap();
    }
    builder
}

/// A batch of these values, each at the time 1000.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    let records: Vec<_> = values.iter().map(|value| (*value, 1000)).collect();
    builder(&records).finish().bytes().clone()
}

/// Offsets and values in fetched bytes.
pub(crate) fn records(bytes: &Option<Bytes>) -> Vec<(i64, String)> {
    let mut bytes = bytes.clone().expect("records are never null");
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let batch = Batch::take(&mut bytes, usize::MAX).unwrap();
        for (index, record) in (0..).zip(batch.records(usize::MAX).unwrap()) {
            let value = record.unwrap().value.unwrap();
            let offset = batch.header().base_offset + index;
            found.push((offset, String::from_utf8(value.to_vec()).unwrap()));
        }
    }
    found
}
