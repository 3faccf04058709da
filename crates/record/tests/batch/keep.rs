//! A batch of which records go: what is left is as it was.

use crate::sample::{ENOUGH, Plain, build, codec, push_all, read, records};
use bytes::Bytes;
use forebay_record::{Batch, BatchBuilder, BatchError, BatchHeader, Compression, Record};
use proptest::prelude::*;

/// A batch of an idempotent producer, in a transaction or not.
fn batch(records: &[Plain], codec: Compression, transactional: bool) -> Batch {
    let mut builder = BatchBuilder::new(records[0].timestamp)
        .compression(codec)
        .producer(77, 3, 1000);
    if transactional {
        builder = builder.transactional();
    }
    push_all(&mut builder, records);
    let bytes = builder.finish().with_base_offset(500);
    Batch::from_trusted(bytes).expect("it was just built")
}

/// What may not change, whatever goes.
fn identity(header: &BatchHeader) -> impl PartialEq + std::fmt::Debug {
    (
        (header.base_offset, header.last_offset_delta),
        (header.base_timestamp, header.attributes),
        (
            header.producer_id,
            header.producer_epoch,
            header.base_sequence,
        ),
        header.partition_leader_epoch,
    )
}

fn deltas(batch: &Batch) -> Vec<u32> {
    batch
        .records(ENOUGH)
        .expect("the batch decompresses")
        .map(|record| record.expect("the record parses").offset_delta)
        .collect()
}

fn wanted(mask: u32) -> impl Fn(&Record) -> bool {
    move |record| mask & (1 << record.offset_delta) != 0
}

proptest! {
    #[test]
    fn the_records_that_stay_keep_everything(
        records in records(),
        codec in codec(),
        transactional: bool,
        mask: u32,
    ) {
        let whole = batch(&records, codec, transactional);
        let kept = whole.keep(ENOUGH, wanted(mask)).unwrap();
        let left: Vec<(u32, Plain)> = (0..)
            .zip(&records)
            .filter(|(delta, _)| mask & (1 << delta) != 0)
            .map(|(delta, record)| (delta, record.clone()))
            .collect();
        let Some(kept) = kept else {
            prop_assert!(left.is_empty());
            return Ok(());
        };
        prop_assert_eq!(Batch::take(&mut kept.bytes().clone(), ENOUGH).unwrap(), kept.clone());
        prop_assert_eq!(identity(kept.header()), identity(whole.header()));
        prop_assert_eq!(kept.offset_count(), whole.offset_count());
        prop_assert_eq!(kept.header().record_count as usize, left.len());
        prop_assert_eq!(deltas(&kept), left.iter().map(|(delta, _)| *delta).collect::<Vec<_>>());
        let latest = left.iter().map(|(_, record)| record.timestamp).max();
        prop_assert_eq!(Some(kept.header().max_timestamp), latest);
        prop_assert_eq!(read(&kept), left.into_iter().map(|(_, record)| record).collect::<Vec<_>>());
    }

    #[test]
    fn what_goes_in_steps_is_what_goes_at_once(
        records in records(),
        codec in codec(),
        first: u32,
        second: u32,
    ) {
        let whole = batch(&records, codec, false);
        let once = whole.keep(ENOUGH, wanted(first & second)).unwrap();
        let steps = whole
            .keep(ENOUGH, wanted(first))
            .unwrap()
            .and_then(|kept| kept.keep(ENOUGH, wanted(second)).unwrap());
        prop_assert_eq!(once.is_some(), steps.is_some());
        if let (Some(once), Some(steps)) = (once, steps) {
            prop_assert_eq!(identity(once.header()), identity(steps.header()));
            prop_assert_eq!(deltas(&once), deltas(&steps));
            prop_assert_eq!(read(&once), read(&steps));
        }
    }

    #[test]
    fn damaged_records_are_refused_or_read(
        records in records(),
        codec in codec(),
        at: prop::sample::Index,
        byte in 1..=u8::MAX,
    ) {
        let whole = build(&records, codec);
        let mut bytes = whole.bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= byte;
        if let Ok(damaged) = Batch::from_trusted(Bytes::from(bytes))
            && let Ok(Some(kept)) = damaged.keep(ENOUGH, |record| record.offset_delta != 0)
        {
            prop_assert_eq!(kept.offset_count(), damaged.offset_count());
        }
    }
}

fn one(value: &[u8]) -> Plain {
    Plain {
        timestamp: 9,
        key: Some(b"key".to_vec()),
        value: Some(value.to_vec()),
        headers: Vec::new(),
    }
}

#[test]
fn a_batch_of_which_nothing_goes_is_shared() {
    let whole = build(&[one(b"a"), one(b"b")], Compression::Zstd);
    let kept = whole.keep(ENOUGH, |_| true).unwrap().unwrap();
    assert_eq!(kept.bytes().as_ptr(), whole.bytes().as_ptr());
}

#[test]
fn a_control_batch_stays_as_it_is() {
    let mut builder = BatchBuilder::new(1)
        .producer(4, 1, -1)
        .transactional()
        .control();
    push_all(&mut builder, &[one(b"marker")]);
    let marker = builder.finish();
    assert_eq!(marker.keep(ENOUGH, |_| false), Ok(Some(marker.clone())));
}

#[test]
fn the_time_of_appending_stays() {
    let whole = build(&[one(b"a"), one(b"b")], Compression::None).with_append_time(4711);
    let kept = whole.keep(ENOUGH, |record| record.offset_delta == 1);
    let kept = kept.unwrap().unwrap();
    assert_eq!(kept.header().max_timestamp, 4711);
    assert_eq!(read(&kept)[0].timestamp, 4711);
}

#[test]
fn a_batch_that_does_not_decompress_is_an_error() {
    let whole = build(&[one(&[7; 1000]), one(b"b")], Compression::Gzip);
    let refused = whole.keep(100, |_| true);
    assert!(matches!(
        refused,
        Err(BatchError::TooLarge { limit: 100, .. })
    ));
}
