//! Batches another implementation wrote, kept as files: see `golden/make.py`.

use bytes::Bytes;
use forebay_record::{Batch, BatchBuilder, Compression, TimestampType};

use crate::sample::{ENOUGH, Plain, build, push_all, read};

const T: i64 = 1_700_000_000_000;

macro_rules! golden {
    ($name:literal) => {
        golden(include_bytes!(concat!("../golden/", $name, ".batch")))
    };
}

fn golden(file: &'static [u8]) -> Batch {
    let mut input = Bytes::from_static(file);
    let batch = Batch::take(&mut input, file.len()).expect("a golden batch is valid");
    assert!(input.is_empty());
    assert_eq!(batch.validate_records(ENOUGH), Ok(()));
    batch
}

fn plain(timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Plain {
    Plain {
        timestamp,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: Vec::new(),
    }
}

impl Plain {
    fn header(mut self, name: &str, value: Option<&[u8]>) -> Plain {
        self.headers
            .push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }
}

fn mixed() -> Vec<Plain> {
    vec![
        plain(T, Some(b"key"), Some(b"value")),
        plain(T + 1, None, Some(b"no key")).header("trace", Some(b"\x00\x01\xfe\xff")),
        plain(T - 5, Some(b"tombstone"), None)
            .header("null", None)
            .header("empty", Some(b"")),
        plain(T + 86_400_000, Some(b""), Some(b""))
            .header("naïve ☃", Some("grün".as_bytes()))
            .header("trace", Some(b"1"))
            .header("trace", Some(b"2")),
        plain(T, Some(&[b'k'; 130]), Some(&[b'v'; 9000])),
    ]
}

fn lines() -> Vec<Plain> {
    (0..40)
        .map(|i| {
            let value = format!("line {i} of a golden batch\n").repeat(70);
            plain(
                T + i,
                Some(format!("key-{i}").as_bytes()),
                Some(value.as_bytes()),
            )
            .header("n", Some(i.to_string().as_bytes()))
        })
        .collect()
}

fn mixed_by(producer: (i64, i16, i32)) -> BatchBuilder {
    let (id, epoch, sequence) = producer;
    let mut builder = BatchBuilder::new(T).producer(id, epoch, sequence);
    push_all(&mut builder, &mixed());
    builder
}

#[test]
fn uncompressed_batches_are_built_byte_for_byte() {
    let idempotent = mixed_by((4711, 3, 12)).finish();
    let transactional = mixed_by((1 << 40, 32767, i32::MAX))
        .transactional()
        .finish();
    for (golden, built) in [
        (golden!("plain"), build(&mixed(), Compression::None)),
        (golden!("idempotent"), idempotent),
        (golden!("transactional"), transactional),
    ] {
        // The golden batches carry leader epoch 0, as a broker's do.
        assert_eq!(built.with_base_offset(0), golden.bytes());
        assert_eq!(read(&golden), mixed());
    }
}

#[test]
fn compressed_batches_are_read() {
    for (golden, codec) in [
        (golden!("gzip"), Compression::Gzip),
        (golden!("snappy"), Compression::Snappy),
        (golden!("snappy_raw"), Compression::Snappy),
        (golden!("lz4"), Compression::Lz4),
        (golden!("zstd"), Compression::Zstd),
    ] {
        assert_eq!(golden.header().compression(), codec);
        assert_eq!(read(&golden), lines(), "{codec}");
    }
}

#[test]
fn headers_tell_what_was_written() {
    let batch = golden!("transactional");
    let header = batch.header();
    assert_eq!(header.base_offset, 0);
    assert_eq!(header.size(), batch.bytes().len());
    assert_eq!(header.compression(), Compression::None);
    assert_eq!(header.timestamp_type(), TimestampType::Create);
    assert!(header.is_transactional() && !header.is_control());
    assert_eq!((header.last_offset_delta, header.record_count), (4, 5));
    assert_eq!(
        (header.base_timestamp, header.max_timestamp),
        (T, T + 86_400_000)
    );
    assert_eq!(
        (
            header.producer_id,
            header.producer_epoch,
            header.base_sequence
        ),
        (1 << 40, 32767, i32::MAX)
    );
    let idempotent = golden!("idempotent");
    assert!(!idempotent.header().is_transactional());
    assert_eq!(idempotent.header().base_sequence, 12);
}
