//! What is built is read back, whole and unchanged.

use crate::sample::{CODECS, ENOUGH, Plain, build, codec, push_all, read, records};
use bytes::{Bytes, BytesMut};
use forebay_record::{
    BATCH_OVERHEAD, Batch, BatchBuilder, BatchError, Compression, LEADER_EPOCH, NO_PRODUCER_ID,
    TimestampType,
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn what_is_built_is_read(records in records(), codec in codec()) {
        let built = build(&records, codec);
        let mut input = built.bytes().clone();
        let taken = Batch::take(&mut input, ENOUGH).unwrap();
        prop_assert!(input.is_empty());
        prop_assert_eq!(&taken, &built);
        prop_assert_eq!(taken.validate_records(ENOUGH), Ok(()));
        prop_assert_eq!(read(&taken), records.clone());
        prop_assert_eq!(taken.offset_count() as usize, records.len());
        prop_assert_eq!(taken.header().record_count as usize, records.len());
        prop_assert_eq!(
            Some(taken.header().max_timestamp),
            records.iter().map(|record| record.timestamp).max()
        );
        let deltas = taken.records(ENOUGH).unwrap().map(|record| record.unwrap().offset_delta);
        prop_assert!(deltas.eq(0..records.len() as u32));
    }

    #[test]
    fn batches_are_taken_one_after_the_other(lists in proptest::collection::vec(records(), 1..4)) {
        let batches: Vec<Batch> = lists.iter().map(|list| build(list, Compression::None)).collect();
        let mut joined = BytesMut::new();
        for batch in &batches {
            joined.extend_from_slice(batch.bytes());
        }
        let mut input = joined.freeze();
        for batch in &batches {
            prop_assert_eq!(&Batch::take(&mut input, ENOUGH).unwrap(), batch);
        }
        prop_assert!(input.is_empty());
    }

    #[test]
    fn a_new_base_offset_changes_nothing_else(records in records(), offset in 0..i64::MAX as u64) {
        let batch = build(&records, Compression::None);
        let moved = Batch::take(&mut batch.with_base_offset(offset), ENOUGH).unwrap();
        prop_assert_eq!(moved.header().base_offset, offset as i64);
        prop_assert_eq!(moved.header().partition_leader_epoch, LEADER_EPOCH);
        prop_assert_eq!(moved.header().crc, batch.header().crc);
        prop_assert_eq!(&moved.bytes()[17..], &batch.bytes()[17..]);
        prop_assert_eq!(read(&moved), records);
        let mut copy = batch.bytes().to_vec();
        Batch::patch_base_offset(&mut copy, offset);
        prop_assert_eq!(copy, moved.bytes().to_vec());
    }

    #[test]
    fn a_cleared_builder_builds_as_a_new_one(first in records(), second in records()) {
        let base = second[0].timestamp;
        let mut reused = BatchBuilder::new(first[0].timestamp);
        push_all(&mut reused, &first);
        reused.clear(base);
        push_all(&mut reused, &second);
        prop_assert_eq!(reused.len(), second.len());
        let size = reused.size_bytes();
        let batch = reused.finish();
        prop_assert_eq!(batch.bytes().len(), size);
        prop_assert_eq!(batch, build(&second, Compression::None));
    }
}

proptest! {
    #[test]
    fn the_time_of_appending_is_that_of_every_record(
        records in records(),
        codec in codec(),
        time in 0..i64::MAX,
    ) {
        let batch = build(&records, codec).with_append_time(time);
        prop_assert_eq!(&Batch::take(&mut batch.bytes().clone(), ENOUGH).unwrap(), &batch);
        prop_assert_eq!(batch.validate_records(ENOUGH), Ok(()));
        prop_assert_eq!(batch.header().timestamp_type(), TimestampType::LogAppend);
        let stamped: Vec<Plain> = records
            .iter()
            .map(|record| Plain { timestamp: time, ..record.clone() })
            .collect();
        prop_assert_eq!(read(&batch), stamped);
    }

    #[test]
    fn records_without_a_key_are_found(records in records(), codec in codec()) {
        let keyless = (0..).zip(&records).filter(|(_, record)| record.key.is_none());
        let wanted: Vec<u32> = keyless.map(|(delta, _)| delta).collect();
        prop_assert_eq!(build(&records, codec).without_key(ENOUGH), Ok(wanted));
    }
}

fn one(value: &[u8]) -> Vec<Plain> {
    vec![Plain {
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(value.to_vec()),
        headers: Vec::new(),
    }]
}

#[test]
fn uncompressed_fields_share_the_memory_of_the_batch() {
    let batch = build(&one(b"shared"), Compression::None);
    let record = batch.records(0).unwrap().next().unwrap().unwrap();
    let value = record.value.unwrap();
    assert!(batch.bytes().as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn decompression_stops_at_the_limit() {
    let body = vec![7; 1 << 20];
    for codec in CODECS.into_iter().skip(1) {
        let batch = build(&one(&body), codec);
        assert_eq!(batch.header().compression(), codec);
        let limit = body.len();
        assert!(
            matches!(
                batch.records(limit),
                Err(BatchError::TooLarge { limit: found, .. }) if found == limit as u64
            ),
            "{codec}"
        );
        assert_eq!(
            batch.validate_records(limit),
            batch.records(limit).map(|_| ()),
            "{codec}"
        );
        assert_eq!(read(&batch), one(&body), "{codec}");
    }
}

#[test]
fn a_batch_over_the_limit_is_refused_before_it_is_there() {
    let batch = build(&one(b"0123456789"), Compression::None);
    let size = batch.bytes().len();
    let mut front = batch.bytes().slice(..BATCH_OVERHEAD);
    assert_eq!(
        Batch::take(&mut front, size - 1),
        Err(BatchError::TooLarge {
            size: size as u64,
            limit: size as u64 - 1
        })
    );
    assert_eq!(Batch::take(&mut front, size), Err(BatchError::Truncated));
    assert_eq!(front.len(), BATCH_OVERHEAD, "an error leaves the input");
}

#[test]
fn trusted_bytes_are_exactly_one_batch() {
    let batch = build(&one(b"x"), Compression::None);
    assert_eq!(
        Batch::from_trusted(batch.bytes().clone()),
        Ok(batch.clone())
    );
    let mut longer = batch.bytes().to_vec();
    longer.push(0);
    assert_eq!(
        Batch::from_trusted(Bytes::from(longer)),
        Err(BatchError::Malformed("bytes after the batch"))
    );
    let shorter = batch.bytes().slice(..batch.bytes().len() - 1);
    assert_eq!(Batch::from_trusted(shorter), Err(BatchError::Truncated));
}

#[test]
fn a_batch_without_records_occupies_one_offset_and_is_no_input() {
    let batch = BatchBuilder::new(5).compression(Compression::Gzip).finish();
    assert_eq!(batch.bytes().len(), BATCH_OVERHEAD);
    assert_eq!(batch.offset_count(), 1);
    assert_eq!(batch.header().producer_id, NO_PRODUCER_ID);
    assert_eq!(batch.records(ENOUGH).unwrap().count(), 0);
    assert!(batch.validate_records(ENOUGH).is_err());
}

#[test]
fn what_only_a_broker_may_write_is_no_input() {
    let mut builder = BatchBuilder::new(0).producer(4, 1, -1).transactional();
    push_all(&mut builder, &one(b"x"));
    let negative_sequence = builder.clone().finish();
    assert!(negative_sequence.validate_records(ENOUGH).is_err());
    let marker = builder.producer(4, 1, 0).control().finish();
    assert!(marker.header().is_control() && marker.header().is_transactional());
    assert!(marker.validate_records(ENOUGH).is_err());
}

#[test]
fn the_last_header_of_a_name_counts() {
    let mut records = one(b"x");
    records[0].headers = vec![
        ("a".into(), Some(b"1".to_vec())),
        ("null".into(), None),
        ("a".into(), Some(b"2".to_vec())),
    ];
    let batch = build(&records, Compression::None);
    let record = batch.records(ENOUGH).unwrap().next().unwrap().unwrap();
    assert_eq!(record.headers.len(), 3);
    assert_eq!(record.headers.get("a"), Some(b"2".as_slice()));
    assert_eq!(
        record.headers.get_bytes("a"),
        Some(Bytes::from_static(b"2"))
    );
    assert_eq!(record.headers.get("null"), None);
    assert_eq!(record.headers.get("b"), None);
}
