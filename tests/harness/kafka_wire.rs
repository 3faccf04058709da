//! Kafka requests by hand, with the message layouts of the `kafka-protocol` crate.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, ProduceRequest, ProduceResponse, RequestHeader, TopicName};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, encode_request_header_into_buffer,
};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use crate::raw::Wire;

/// A connection by hand.
pub struct Session {
    wire: Wire,
}

/// A request frame with the head of `key` and `version`; `body` as it is.
pub fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(7_i32.to_be_bytes());
    bytes.extend([0xff, 0xff]);
    bytes.extend(body);
    framed(&bytes)
}

/// Bytes behind their length.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let mut whole = i32::try_from(bytes.len())
        .expect("a small request")
        .to_be_bytes()
        .to_vec();
    whole.extend(bytes);
    whole
}

/// One batch of one record.
pub fn batch(value: &[u8]) -> Vec<u8> {
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
        producer_id: NO_PRODUCER_ID,
        producer_epoch: NO_PRODUCER_EPOCH,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: NO_SEQUENCE,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(Bytes::copy_from_slice(value)),
        headers: Default::default(),
    };
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut bytes, [&record], &options).expect("a legal record");
    bytes.to_vec()
}

impl Session {
    /// Connects.
    pub async fn to(address: SocketAddr) -> Self {
        Self {
            wire: Wire::to(address).await,
        }
    }

    /// Writes bytes as they are.
    pub async fn put(&mut self, bytes: &[u8]) {
        self.wire.put(bytes).await;
    }

    /// One answer without its length; `None` when the peer has closed.
    pub async fn answer(&mut self) -> Option<Bytes> {
        let length = self.wire.take(4).await?;
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        Some(
            self.wire
                .take(usize::try_from(length).expect("a length"))
                .await?
                .into(),
        )
    }

    /// Everything until the peer closes.
    pub async fn rest(mut self) -> Vec<u8> {
        self.wire.rest().await
    }

    /// Hangs up our side; all that still comes.
    pub async fn hang_up(mut self) -> Vec<u8> {
        self.wire.end().await;
        self.wire.rest().await
    }

    /// Produces `records` with acks=all, version 9; gives the error code of the one partition.
    pub async fn produce(&mut self, topic: &str, partition: i32, records: Vec<u8>) -> i16 {
        const VERSION: i16 = 9;
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(records.into()));
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        let topic = TopicProduceData::default()
            .with_name(name)
            .with_partition_data(vec![data]);
        let produce = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic]);
        let header = RequestHeader::default()
            .with_request_api_key(ApiKey::Produce as i16)
            .with_request_api_version(VERSION)
            .with_correlation_id(7);
        let mut bytes = BytesMut::new();
        encode_request_header_into_buffer(&mut bytes, &header).expect("a legal header");
        produce
            .encode(&mut bytes, VERSION)
            .expect("a legal request");
        self.put(&framed(&bytes)).await;
        let mut answer = self.answer().await.expect("an answer");
        assert_eq!(answer.get_i32(), 7, "the correlation id comes back");
        if ProduceResponse::header_version(VERSION) == 1 {
            assert_eq!(answer.get_u8(), 0, "no tagged fields");
        }
        let response = ProduceResponse::decode(&mut answer, VERSION).expect("a produce response");
        response.responses[0].partition_responses[0].error_code
    }
}
