//! Leaving records out of a stored batch.

use bytes::Bytes;

use crate::batch::checksum;
use crate::builder::{set, to_length};
use crate::header::{
    ATTRIBUTES, BATCH_OVERHEAD, CRC, LENGTH, MAX_TIMESTAMP, PREFIX, RECORD_COUNT, TimestampType,
};
use crate::record::{Record, Scan};
use crate::{Batch, BatchError};

impl Batch {
    /// The batch with only those records that `keep` wants; `None` if it wants none. What is left
    /// keeps its offsets, its times and its bytes, and the batch its offset range, its producer,
    /// its transaction and its codec; the latest timestamp is that of the records that are left.
    /// A batch of which nothing goes is shared and not written anew, and so is a control batch,
    /// whose records are not messages.
    ///
    /// # Errors
    /// The records do not decompress to `max_decompressed` bytes or fewer, or break the format.
    pub fn keep(
        &self,
        max_decompressed: usize,
        mut keep: impl FnMut(&Record) -> bool,
    ) -> Result<Option<Batch>, BatchError> {
        if self.header().is_control() {
            return Ok(Some(self.clone()));
        }
        let body = self.body(max_decompressed)?;
        let mut kept = Kept::default();
        let mut rest: &[u8] = &body;
        let mut scan = Scan::new(self.header());
        loop {
            let before = rest;
            let Some(record) = scan.next(&mut rest) else {
                break;
            };
            let record = record?.shared(&body);
            if keep(&record) {
                kept.add(&before[..before.len() - rest.len()], record.timestamp);
            } else {
                kept.dropped = true;
            }
        }
        match (kept.count, kept.dropped) {
            (0, _) => Ok(None),
            (_, false) => Ok(Some(self.clone())),
            _ => self.with_records(&kept).map(Some),
        }
    }

    /// This batch with other records, already in their wire form.
    fn with_records(&self, kept: &Kept) -> Result<Batch, BatchError> {
        let header = self.bytes().get(..BATCH_OVERHEAD).unwrap_or_default();
        let mut bytes = Vec::with_capacity(BATCH_OVERHEAD + kept.records.len());
        bytes.extend_from_slice(header);
        let codec = self.header().compression();
        let mut attributes = self.header().attributes;
        if codec.compress(&kept.records, &mut bytes).is_err() {
            // A codec that cannot write to memory is no reason to lose what must be kept.
            bytes.truncate(BATCH_OVERHEAD);
            bytes.extend_from_slice(&kept.records);
            attributes &= !codec.to_attributes();
        }
        let max_timestamp = match self.header().timestamp_type() {
            TimestampType::Create => kept.max_timestamp,
            TimestampType::LogAppend => self.header().max_timestamp,
        };
        let length = to_length(bytes.len() - PREFIX)?;
        set(&mut bytes, LENGTH, length.to_be_bytes());
        set(&mut bytes, ATTRIBUTES, attributes.to_be_bytes());
        set(&mut bytes, MAX_TIMESTAMP, max_timestamp.to_be_bytes());
        set(&mut bytes, RECORD_COUNT, kept.count.to_be_bytes());
        let crc = checksum(&bytes);
        set(&mut bytes, CRC, crc.to_be_bytes());
        Batch::from_trusted(Bytes::from(bytes))
    }
}

/// The records that stay, as they lay in the batch.
#[derive(Default)]
struct Kept {
    records: Vec<u8>,
    count: i32,
    max_timestamp: i64,
    dropped: bool,
}

impl Kept {
    fn add(&mut self, record: &[u8], timestamp: i64) {
        self.records.extend_from_slice(record);
        self.max_timestamp = match self.count {
            0 => timestamp,
            _ => self.max_timestamp.max(timestamp),
        };
        self.count = self.count.saturating_add(1);
    }
}
