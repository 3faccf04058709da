//! Bytes that are not a batch: refused, never believed, never a panic.

use bytes::Bytes;
use forebay_record::{BATCH_OVERHEAD, Batch, BatchError, Compression};
use proptest::prelude::*;

use crate::sample::{ENOUGH, Plain, build, codec, records};

/// Where the checksummed part of a batch starts.
const CRC_START: usize = 21;

proptest! {
    #[test]
    fn a_flipped_byte_under_the_checksum_is_found(
        records in records(),
        codec in codec(),
        at: prop::sample::Index,
        flip in 1..=u8::MAX,
    ) {
        let batch = build(&records, codec);
        let mut bytes = batch.bytes().to_vec();
        let at = CRC_START + at.index(bytes.len() - CRC_START);
        bytes[at] ^= flip;
        let taken = Batch::take(&mut Bytes::from(bytes), ENOUGH);
        // In the header the damage may break a rule before the checksum is looked at.
        if at >= BATCH_OVERHEAD {
            prop_assert!(matches!(taken, Err(BatchError::Crc { .. })), "{taken:?}");
        } else {
            prop_assert!(taken.is_err());
        }
    }

    #[test]
    fn a_flipped_byte_in_the_checksum_is_found(records in records(), at in 17usize..21, flip in 1..=u8::MAX) {
        let mut bytes = build(&records, Compression::None).bytes().to_vec();
        bytes[at] ^= flip;
        let taken = Batch::take(&mut Bytes::from(bytes), ENOUGH);
        prop_assert!(matches!(taken, Err(BatchError::Crc { .. })), "{taken:?}");
    }

    #[test]
    fn every_cut_is_found(records in records(), cut: prop::sample::Index) {
        let batch = build(&records, Compression::None);
        let cut = cut.index(batch.bytes().len());
        let mut front = batch.bytes().slice(..cut);
        prop_assert_eq!(Batch::take(&mut front, ENOUGH), Err(BatchError::Truncated));
        prop_assert_eq!(front.len(), cut);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        exercise(bytes);
    }

    // As above behind a header that holds, so that records and codecs are reached.
    #[test]
    fn arbitrary_records_do_no_harm(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        count in 0..20i32,
        codec in 0..5i16,
    ) {
        exercise(forged(&body, count, codec));
    }

    #[test]
    fn damaged_records_do_no_harm(
        records in records(),
        codec in codec(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = build(&records, codec).bytes().to_vec();
        let body = bytes.len() - BATCH_OVERHEAD;
        for (at, byte) in flips {
            bytes[BATCH_OVERHEAD + at.index(body)] = byte;
        }
        exercise(bytes);
    }
}

/// Reads whatever can be read of `bytes`, believing any checksum.
fn exercise(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    let _ = Batch::take(&mut bytes.clone(), ENOUGH);
    let Ok(batch) = Batch::from_trusted(bytes) else {
        return;
    };
    let parsed = batch
        .records(ENOUGH)
        .and_then(|records| records.collect::<Result<Vec<_>, _>>());
    if batch.validate_records(ENOUGH).is_ok() {
        let parsed = parsed.expect("what is valid can be read");
        assert_eq!(parsed.len() as u32, batch.offset_count());
        for record in parsed {
            assert_eq!(record.headers.iter().count(), record.headers.len());
        }
    }
}

/// A batch with this body and a checksum that holds.
fn forged(body: &[u8], count: i32, attributes: i16) -> Vec<u8> {
    let mut bytes = build(&[], Compression::None).bytes().to_vec();
    bytes.extend_from_slice(body);
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
    bytes[23..27].copy_from_slice(&(count.max(1) - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    seal(&mut bytes);
    bytes
}

fn seal(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[CRC_START..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn refusal_of_records(body: &[u8], count: i32) -> BatchError {
    let mut bytes = Bytes::from(forged(body, count, 0));
    let batch = Batch::take(&mut bytes, ENOUGH).expect("the header holds");
    let refused = batch
        .validate_records(ENOUGH)
        .expect_err("the records are broken");
    let read = batch
        .records(ENOUGH)
        .expect("nothing to decompress")
        .find_map(Result::err);
    if refused != BatchError::Malformed("a header name that is not UTF-8") {
        assert_eq!(read.as_ref(), Some(&refused), "both ways say the same");
    }
    refused
}

#[test]
fn every_broken_rule_of_a_record_has_its_words() {
    // Length, attributes, timestamp delta, offset delta, key, value, headers; -1 is 0x01.
    let whole = [12, 0, 0, 0, 1, 1, 0];
    for (body, count, words) in [
        (vec![], 1, "a record ends inside an integer"),
        (vec![0x01], 1, "negative record length"),
        (
            vec![14, 0, 0, 0, 1, 1, 0],
            1,
            "a record passes the end of the batch",
        ),
        (vec![0], 1, "a record without attributes"),
        (vec![12, 0, 0, 1, 1, 1, 0], 1, "negative offset delta"),
        (
            vec![12, 0, 0, 2, 1, 1, 0],
            1,
            "an offset delta passes the last one",
        ),
        ([whole, whole].concat(), 2, "offset deltas do not increase"),
        (
            vec![12, 0, 0, 0, 3, 1, 0],
            1,
            "negative field length in a record",
        ),
        (
            vec![12, 0, 0, 0, 8, 1, 0],
            1,
            "a field passes the end of its record",
        ),
        (vec![12, 0, 0, 0, 1, 1, 1], 1, "negative number of headers"),
        (
            vec![12, 0, 0, 0, 1, 1, 2],
            1,
            "a record ends inside an integer",
        ),
        (
            vec![16, 0, 0, 0, 1, 1, 2, 1, 1],
            1,
            "a header without a name",
        ),
        (
            vec![14, 0, 0, 0, 1, 1, 0, 0],
            1,
            "a record longer than its fields",
        ),
        (
            vec![18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1],
            1,
            "a header name that is not UTF-8",
        ),
        (
            [whole.as_slice(), &[0]].concat(),
            1,
            "bytes after the last record",
        ),
    ] {
        assert_eq!(
            refusal_of_records(&body, count),
            BatchError::Malformed(words),
            "{body:?}"
        );
    }
}

#[test]
fn a_record_ends_where_its_length_says() {
    // Were the length not heeded, the second record would be read as the value of the first.
    let first = [12, 0, 0, 0, 1, 14, 0];
    let second = [12, 0, 0, 2, 1, 1, 0];
    assert_eq!(
        refusal_of_records(&[first, second].concat(), 2),
        BatchError::Malformed("a field passes the end of its record")
    );
}

#[test]
fn every_broken_rule_of_a_header_is_refused() {
    let set = |at: usize, field: &[u8]| {
        let mut bytes = forged(&[12, 0, 0, 0, 1, 1, 0], 1, 0);
        bytes[at..at + field.len()].copy_from_slice(field);
        seal(&mut bytes);
        Batch::take(&mut Bytes::from(bytes), 1000)
    };
    assert!(set(0, &[]).is_ok());
    let huge = i32::MAX.to_be_bytes();
    let minus_one = (-1i32).to_be_bytes();
    assert_eq!(set(16, &[1]), Err(BatchError::Magic(1)));
    assert_eq!(set(16, &[0xff]), Err(BatchError::Magic(-1)));
    assert_eq!(
        set(8, &minus_one),
        Err(BatchError::Malformed("negative length"))
    );
    assert_eq!(
        set(8, &48i32.to_be_bytes()),
        Err(BatchError::Malformed("length shorter than a batch header"))
    );
    assert_eq!(
        set(8, &huge),
        Err(BatchError::TooLarge {
            size: i32::MAX as u64 + 12,
            limit: 1000
        })
    );
    assert_eq!(
        set(21, &5i16.to_be_bytes()),
        Err(BatchError::UnsupportedCompression(5))
    );
    assert_eq!(
        set(23, &minus_one),
        Err(BatchError::Malformed("negative last offset delta"))
    );
    assert_eq!(
        set(57, &minus_one),
        Err(BatchError::Malformed("negative record count"))
    );
    assert_eq!(
        set(57, &huge),
        Err(BatchError::Malformed("more records than offsets"))
    );
    let sparse = set(23, &huge).unwrap();
    assert_eq!(sparse.offset_count(), 1 << 31);
    assert_eq!(
        sparse.validate_records(ENOUGH),
        Err(BatchError::Malformed("fewer records than offsets"))
    );
}

#[test]
fn a_snappy_block_cannot_ask_for_memory_it_does_not_fill() {
    // Claims 16 MiB - 1 in a block of one literal.
    let raw = [0xff, 0xff, 0xff, 0x07, 0x00, b'x'];
    let batch = Batch::from_trusted(Bytes::from(forged(&raw, 1, 2))).unwrap();
    assert!(matches!(
        batch.records(ENOUGH),
        Err(BatchError::Decompress {
            codec: Compression::Snappy,
            ..
        })
    ));
}

#[test]
fn a_name_that_is_not_utf8_reads_as_a_replacement() {
    let body = [18, 0, 0, 0, 1, 1, 2, 2, 0xff, 1];
    let batch = Batch::from_trusted(Bytes::from(forged(&body, 1, 0))).unwrap();
    let record = batch.records(ENOUGH).unwrap().next().unwrap().unwrap();
    assert!(record.headers.iter().eq([("\u{fffd}", None)]));
}

#[test]
fn the_append_time_of_a_batch_is_the_time_of_its_records() {
    let mut bytes = build(
        &[Plain {
            timestamp: 1000,
            key: None,
            value: None,
            headers: Vec::new(),
        }],
        Compression::None,
    )
    .bytes()
    .to_vec();
    bytes[21..23].copy_from_slice(&8i16.to_be_bytes());
    bytes[35..43].copy_from_slice(&2000i64.to_be_bytes());
    seal(&mut bytes);
    let batch = Batch::take(&mut Bytes::from(bytes), ENOUGH).unwrap();
    let record = batch.records(ENOUGH).unwrap().next().unwrap().unwrap();
    assert_eq!(record.timestamp, 2000);
}
