//! Record batches from bytes: whatever is read must agree with itself, and nothing may panic or
//! take memory that the input does not warrant.

#![no_main]

use bytes::Bytes;
use forebay_record::{BATCH_OVERHEAD, Batch, BatchBuilder, Record};
use libfuzzer_sys::fuzz_target;

/// Small, so that a decompression bomb shows as memory and not as patience.
const DECOMPRESSED_MAX: usize = 1 << 20;
const BATCH_MAX: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let mut input = Bytes::copy_from_slice(data);
    while let Ok(batch) = Batch::take(&mut input, BATCH_MAX) {
        exercise(&batch);
    }
    // The fuzzer cannot guess a checksum, and every insertion breaks the length.
    let mut sealed = Bytes::from(seal(data));
    if let Ok(batch) = Batch::take(&mut sealed, BATCH_MAX) {
        assert!(sealed.is_empty());
        exercise(&batch);
    }
});

fn seal(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if bytes.len() >= BATCH_OVERHEAD {
        let length = (bytes.len() - 12) as u32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}

fn exercise(batch: &Batch) {
    assert_eq!(
        Batch::from_trusted(batch.bytes().clone()).as_ref(),
        Ok(batch)
    );
    let valid = batch.validate_records(DECOMPRESSED_MAX);
    let records = batch
        .records(DECOMPRESSED_MAX)
        .and_then(|records| records.collect::<Result<Vec<Record>, _>>());
    let records = match records {
        Ok(records) => records,
        Err(_) => {
            assert!(valid.is_err(), "what cannot be read is not valid");
            return;
        }
    };
    assert_eq!(records.len(), batch.header().record_count as usize);
    for record in &records {
        assert!(record.offset_delta < batch.offset_count());
        assert_eq!(record.headers.iter().count(), record.headers.len());
    }
    if valid.is_ok() {
        rebuild(batch, &records);
    }
}

/// Valid records survive the way through a builder.
fn rebuild(batch: &Batch, records: &[Record]) {
    let mut builder =
        BatchBuilder::new(batch.header().base_timestamp).compression(batch.header().compression());
    for record in records {
        builder
            .push(
                record.timestamp,
                record.key.as_deref(),
                record.value.as_deref(),
                record.headers.iter(),
            )
            .expect("a record of a small batch fits");
    }
    let rebuilt = builder.finish();
    assert_eq!(rebuilt.verify_crc(), Ok(()));
    let again: Vec<Record> = rebuilt
        .records(usize::MAX)
        .expect("what was built decompresses")
        .collect::<Result<_, _>>()
        .expect("what was built parses");
    assert_eq!(again, records);
}
