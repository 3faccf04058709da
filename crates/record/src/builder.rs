use bytes::Bytes;

use crate::batch::checksum;
use crate::header::{
    ATTRIBUTES, BASE_SEQUENCE, BASE_TIMESTAMP, BATCH_OVERHEAD, CONTROL_BIT, CRC, EPOCH,
    LAST_OFFSET_DELTA, LENGTH, MAGIC, MAGIC_V2, MAX_TIMESTAMP, NO_PRODUCER_ID, PREFIX,
    PRODUCER_EPOCH, PRODUCER_ID, RECORD_COUNT, TRANSACTIONAL_BIT,
};
use crate::{Batch, BatchError, Compression, varint};

/// The leader epoch of a batch that no broker has stored yet.
const NO_LEADER_EPOCH: i32 = -1;
/// Longest value of a length field.
const LENGTH_MAX: usize = i32::MAX as usize;
/// What room a new builder has: enough for a small message, so that one allocation serves it.
const CAPACITY: usize = 512;

/// Builds a batch from records. Offsets count from 0; set the base offset of the finished batch
/// with [`Batch::with_base_offset`].
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records so far.
    buffer: Vec<u8>,
    base_timestamp: i64,
    max_timestamp: i64,
    count: i32,
    compression: Compression,
    flags: i16,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
}

impl BatchBuilder {
    /// An empty, uncompressed batch without a producer. `base_timestamp` (ms since 1970) is best
    /// the time of the first record: the others are stored relative to it.
    pub fn new(base_timestamp: i64) -> Self {
        Self::with_capacity(base_timestamp, CAPACITY)
    }

    /// As [`new`](Self::new), with room for `bytes` bytes of batch before the buffer grows.
    pub fn with_capacity(base_timestamp: i64, bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(bytes.max(BATCH_OVERHEAD));
        buffer.resize(BATCH_OVERHEAD, 0);
        BatchBuilder {
            buffer,
            base_timestamp,
            max_timestamp: -1,
            count: 0,
            compression: Compression::None,
            flags: 0,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }

    /// Compresses the records when the batch is finished.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Marks the batch as the work of an idempotent producer (KIP-98).
    #[must_use]
    pub fn producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// Marks the batch as part of its producer's transaction (KIP-98).
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.flags |= TRANSACTIONAL_BIT;
        self
    }

    /// Marks the batch as one that holds the broker's markers, not messages (KIP-98).
    #[must_use]
    pub fn control(mut self) -> Self {
        self.flags |= CONTROL_BIT;
        self
    }

    /// Adds a record; `timestamp` is in ms since 1970. Refused as [`BatchError::TooLarge`], and
    /// the batch left as it was, if the batch would pass the 2 GiB its format can count.
    pub fn push<'a>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + Clone,
    ) -> Result<(), BatchError> {
        // Java's long arithmetic: the reader's wrapping addition undoes it for any pair of times.
        let timestamp_delta = timestamp.wrapping_sub(self.base_timestamp);
        let mut header_count = 0;
        let mut headers_len = 0usize;
        for (name, header) in headers.clone() {
            header_count = i32::saturating_add(header_count, 1);
            headers_len = headers_len
                .saturating_add(nullable_len(Some(name.as_bytes()))?)
                .saturating_add(nullable_len(header)?);
        }
        let record_len = 1usize
            .saturating_add(varint::len64(timestamp_delta))
            .saturating_add(varint::len32(self.count))
            .saturating_add(nullable_len(key)?)
            .saturating_add(nullable_len(value)?)
            .saturating_add(varint::len32(header_count))
            .saturating_add(headers_len);
        let record_len_field = to_length(record_len)?;
        let added = record_len.saturating_add(varint::len32(record_len_field));
        to_length(self.buffer.len().saturating_add(added))?;

        let out = &mut self.buffer;
        out.reserve(added);
        varint::put32(out, record_len_field);
        out.push(0);
        varint::put64(out, timestamp_delta);
        varint::put32(out, self.count);
        put_nullable(out, key);
        put_nullable(out, value);
        varint::put32(out, header_count);
        for (name, header) in headers {
            put_nullable(out, Some(name.as_bytes()));
            put_nullable(out, header);
        }
        self.max_timestamp = if self.count == 0 {
            timestamp
        } else {
            self.max_timestamp.max(timestamp)
        };
        self.count += 1;
        Ok(())
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.count.max(0).cast_unsigned() as usize
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes the batch would have now if it were not compressed.
    pub fn size_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Drops the records and keeps buffer and settings, to build another batch.
    pub fn clear(&mut self, base_timestamp: i64) {
        self.buffer.truncate(BATCH_OVERHEAD);
        self.base_timestamp = base_timestamp;
        self.max_timestamp = -1;
        self.count = 0;
    }

    /// Finishes the batch. It stays uncompressed if its codec fails or makes it larger. Without
    /// any record it is as compaction may leave one: no records, one offset.
    pub fn finish(mut self) -> Batch {
        let mut codec = Compression::None;
        if self.compression != Compression::None && self.count > 0 {
            let plain = self.buffer.get(BATCH_OVERHEAD..).unwrap_or_default();
            let mut packed = Vec::with_capacity(BATCH_OVERHEAD + plain.len() / 2);
            packed.resize(BATCH_OVERHEAD, 0);
            let compressed = self.compression.compress(plain, &mut packed);
            if compressed.is_ok() && packed.len() < self.buffer.len() {
                codec = self.compression;
                self.buffer = packed;
            }
        }
        self.write_header(codec);
        Batch::from_trusted(Bytes::from(self.buffer))
            .expect("the header just written describes the buffer it was written into")
    }

    fn write_header(&mut self, codec: Compression) {
        let length = to_length(self.buffer.len() - PREFIX)
            .expect("push refuses records beyond the largest batch, and compression only shrinks");
        let last_offset_delta = self.count.max(1) - 1;
        let attributes = codec.to_attributes() | self.flags;
        let out = &mut self.buffer;
        set(out, 0, 0i64.to_be_bytes());
        set(out, LENGTH, length.to_be_bytes());
        set(out, EPOCH, NO_LEADER_EPOCH.to_be_bytes());
        set(out, MAGIC, MAGIC_V2.to_be_bytes());
        set(out, ATTRIBUTES, attributes.to_be_bytes());
        set(out, LAST_OFFSET_DELTA, last_offset_delta.to_be_bytes());
        set(out, BASE_TIMESTAMP, self.base_timestamp.to_be_bytes());
        set(out, MAX_TIMESTAMP, self.max_timestamp.to_be_bytes());
        set(out, PRODUCER_ID, self.producer_id.to_be_bytes());
        set(out, PRODUCER_EPOCH, self.producer_epoch.to_be_bytes());
        set(out, BASE_SEQUENCE, self.base_sequence.to_be_bytes());
        set(out, RECORD_COUNT, self.count.to_be_bytes());
        let crc = checksum(out);
        set(out, CRC, crc.to_be_bytes());
    }
}

/// Writes one header field; `out` has room for a whole header from the start.
pub(crate) fn set<const N: usize>(out: &mut [u8], at: usize, field: [u8; N]) {
    out[at..at + N].copy_from_slice(&field);
}

pub(crate) fn to_length(bytes: usize) -> Result<i32, BatchError> {
    i32::try_from(bytes).map_err(|_| BatchError::TooLarge {
        size: bytes as u64,
        limit: LENGTH_MAX as u64,
    })
}

fn nullable_len(field: Option<&[u8]>) -> Result<usize, BatchError> {
    match field {
        None => Ok(varint::len32(-1)),
        Some(field) => Ok(varint::len32(to_length(field.len())?).saturating_add(field.len())),
    }
}

/// Appends bytes behind their length, whose fit `nullable_len` has checked.
fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => varint::put32(out, -1),
        Some(field) => {
            varint::put32(out, field.len() as i32);
            out.extend_from_slice(field);
        }
    }
}
