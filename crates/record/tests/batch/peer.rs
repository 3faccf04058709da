//! Against the encoder and decoder of the `kafka-protocol` crate, both ways.

use std::collections::HashSet;

use bytes::{Bytes, BytesMut};
use forebay_record::{Batch, Compression};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression as PeerCompression, Record as PeerRecord, RecordBatchDecoder, RecordBatchEncoder,
    RecordEncodeOptions, TimestampType,
};
use proptest::prelude::*;

use crate::sample::{ENOUGH, Plain, build, read, record};

/// Codecs the peer is built with. Its zstd binds the same C library in another version, and only
/// one can be linked; the golden files cover that codec.
const SHARED: [(Compression, PeerCompression); 4] = [
    (Compression::None, PeerCompression::None),
    (Compression::Gzip, PeerCompression::Gzip),
    (Compression::Snappy, PeerCompression::Snappy),
    (Compression::Lz4, PeerCompression::Lz4),
];

/// Records the peer can express: header names once each, and times whose deltas do not overflow.
fn peer_records() -> impl Strategy<Value = Vec<Plain>> {
    let record = record().prop_map(|mut record| {
        let mut seen = HashSet::new();
        record.headers.retain(|(name, _)| seen.insert(name.clone()));
        record.timestamp /= 4;
        record
    });
    proptest::collection::vec(record, 1..20)
}

fn to_peer(record: &Plain, offset: i64) -> PeerRecord {
    PeerRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: 7,
        producer_epoch: 1,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: offset as i32,
        timestamp: record.timestamp,
        key: record.key.clone().map(Bytes::from),
        value: record.value.clone().map(Bytes::from),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    StrBytes::from_string(name.clone()),
                    value.clone().map(Bytes::from),
                )
            })
            .collect(),
    }
}

fn from_peer(record: &PeerRecord) -> Plain {
    Plain {
        timestamp: record.timestamp,
        key: record.key.as_deref().map(<[u8]>::to_vec),
        value: record.value.as_deref().map(<[u8]>::to_vec),
        headers: record
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.as_deref().map(<[u8]>::to_vec)))
            .collect(),
    }
}

proptest! {
    #[test]
    fn the_peer_reads_what_we_build(records in peer_records(), pair in prop::sample::select(&SHARED[..])) {
        let batch = build(&records, pair.0);
        let decoded = RecordBatchDecoder::decode(&mut batch.bytes().clone()).unwrap();
        prop_assert_eq!(decoded.version, 2);
        let seen: Vec<Plain> = decoded.records.iter().map(from_peer).collect();
        prop_assert_eq!(seen, records);
        let offsets = decoded.records.iter().map(|record| record.offset);
        prop_assert!(offsets.eq(0..decoded.records.len() as i64));
    }

    #[test]
    fn we_read_what_the_peer_builds(
        records in peer_records(),
        pair in prop::sample::select(&SHARED[..]),
        base in 0..1i64 << 40,
    ) {
        let theirs: Vec<PeerRecord> = (base..)
            .zip(&records)
            .map(|(offset, record)| to_peer(record, offset))
            .collect();
        let options = RecordEncodeOptions { version: 2, compression: pair.1 };
        let mut encoded = BytesMut::new();
        RecordBatchEncoder::encode(&mut encoded, &theirs, &options).unwrap();
        let batch = Batch::take(&mut encoded.freeze(), ENOUGH).unwrap();
        prop_assert_eq!(batch.header().base_offset, base);
        prop_assert_eq!(batch.header().compression(), pair.0);
        prop_assert_eq!(batch.header().producer_id, 7);
        prop_assert_eq!(batch.offset_count() as usize, records.len());
        prop_assert_eq!(read(&batch), records);
    }
}
