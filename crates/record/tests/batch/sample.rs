//! Records as plain data, and the way into a batch and back.

use forebay_record::{Batch, BatchBuilder, Compression, Record};
use proptest::prelude::*;

/// More than any batch of these tests decompresses to.
pub(crate) const ENOUGH: usize = 1 << 24;

pub(crate) const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plain {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Plain {
    pub(crate) fn of(record: &Record) -> Plain {
        Plain {
            timestamp: record.timestamp,
            key: record.key.as_deref().map(<[u8]>::to_vec),
            value: record.value.as_deref().map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|(name, value)| (name.to_owned(), value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}

pub(crate) fn push_all(builder: &mut BatchBuilder, records: &[Plain]) {
    for record in records {
        let headers = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()));
        builder
            .push(
                record.timestamp,
                record.key.as_deref(),
                record.value.as_deref(),
                headers,
            )
            .expect("a small record fits");
    }
}

pub(crate) fn build(records: &[Plain], compression: Compression) -> Batch {
    let base_timestamp = records.first().map_or(0, |record| record.timestamp);
    let mut builder = BatchBuilder::new(base_timestamp).compression(compression);
    push_all(&mut builder, records);
    builder.finish()
}

pub(crate) fn read(batch: &Batch) -> Vec<Plain> {
    batch
        .records(ENOUGH)
        .expect("the batch decompresses")
        .map(|record| Plain::of(&record.expect("the record parses")))
        .collect()
}

pub(crate) fn codec() -> impl Strategy<Value = Compression> {
    proptest::sample::select(CODECS.as_slice())
}

fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    // Runs of one byte compress, random bytes do not: both ways through a codec are taken.
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..longest),
        (any::<u8>(), 0..longest * 20).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

pub(crate) fn record() -> impl Strategy<Value = Plain> {
    (
        prop_oneof![any::<i64>(), 1_700_000_000_000i64..1_700_000_100_000],
        proptest::option::of(bytes(20)),
        proptest::option::of(bytes(200)),
        proptest::collection::vec((".{0,12}", proptest::option::of(bytes(20))), 0..4),
    )
        .prop_map(|(timestamp, key, value, headers)| Plain {
            timestamp,
            key,
            value,
            headers,
        })
}

pub(crate) fn records() -> impl Strategy<Value = Vec<Plain>> {
    proptest::collection::vec(record(), 1..20)
}
