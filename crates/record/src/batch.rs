use bytes::{Buf, Bytes};

use crate::builder::set;
use crate::header::{self, BATCH_OVERHEAD, BatchHeader, LEADER_EPOCH, NO_PRODUCER_ID};
use crate::record::{Records, Scan};
use crate::{BatchError, Compression};

/// One record batch v2: its bytes, and its header read once. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    header: BatchHeader,
}

impl Batch {
    /// Takes one batch from the front of `input`, which is advanced past it; after an error it
    /// is as it was. Checks the length against `max_bytes` (which counts the whole batch) and the
    /// bytes that are there, the format, the counts, the codec and the checksum, but not the
    /// records: see [`validate_records`](Self::validate_records).
    pub fn take(input: &mut Bytes, max_bytes: usize) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse(input, max_bytes)?;
        let batch = Batch {
            bytes: input.slice(..header.size()),
            header,
        };
        batch.verify_crc()?;
        input.advance(header.size());
        Ok(batch)
    }

    /// Reads a batch from bytes that are exactly one batch and covered by a checksum that was
    /// verified. Checks all that [`take`](Self::take) checks except the batch's own checksum.
    pub fn from_trusted(bytes: Bytes) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse(&bytes, usize::MAX)?;
        if bytes.len() > header.size() {
            return Err(BatchError::Malformed("bytes after the batch"));
        }
        Ok(Batch { bytes, header })
    }

    /// The fixed fields.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, prefix included.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Compares the checksum of the content with the one in the header.
    pub fn verify_crc(&self) -> Result<(), BatchError> {
        let computed = checksum(&self.bytes);
        if computed != self.header.crc {
            return Err(BatchError::Crc {
                stored: self.header.crc,
                computed,
            });
        }
        Ok(())
    }

    /// Offsets the batch occupies, 1 to 2^31: as many as it had records before any compaction.
    pub fn offset_count(&self) -> u32 {
        self.header.last_offset_delta.max(0).cast_unsigned() + 1
    }

    /// A copy of the bytes that starts at this offset and carries the broker's leader epoch. The
    /// checksum covers neither, so it still holds.
    pub fn with_base_offset(&self, base_offset: u64) -> Bytes {
        let mut copy = self.bytes.to_vec();
        Self::patch_base_offset(&mut copy, base_offset);
        copy.into()
    }

    /// Sets base offset and leader epoch in a copy of a batch. `prefix` is the copy or at least
    /// its first 16 bytes; it is left alone if it is shorter.
    pub fn patch_base_offset(prefix: &mut [u8], base_offset: u64) {
        if let Some(epoch) = prefix.get_mut(header::EPOCH..header::MAGIC) {
            epoch.copy_from_slice(&LEADER_EPOCH.to_be_bytes());
            if let Some(offset) = prefix.first_chunk_mut() {
                *offset = base_offset.to_be_bytes();
            }
        }
    }

    /// The batch with this time, ms since 1970, as the time of every record (KIP-32,
    /// `message.timestamp.type=LogAppendTime`).
    #[must_use]
    pub fn with_append_time(&self, time: i64) -> Batch {
        let mut bytes = self.bytes.to_vec();
        let mut header = self.header;
        header.attributes |= header::TIMESTAMP_TYPE_BIT;
        header.max_timestamp = time;
        set(
            &mut bytes,
            header::ATTRIBUTES,
            header.attributes.to_be_bytes(),
        );
        set(&mut bytes, header::MAX_TIMESTAMP, time.to_be_bytes());
        header.crc = checksum(&bytes);
        set(&mut bytes, header::CRC, header.crc.to_be_bytes());
        Batch {
            bytes: bytes.into(),
            header,
        }
    }

    /// Which records have no key, by their offsets relative to the base offset: a compacted topic
    /// takes none. Costs a walk over the records and, if compressed, decompression up to
    /// `max_decompressed` bytes.
    pub fn without_key(&self, max_decompressed: usize) -> Result<Vec<u32>, BatchError> {
        let mut found = Vec::new();
        for record in self.records(max_decompressed)? {
            let record = record?;
            if record.key.is_none() {
                found.push(record.offset_delta);
            }
        }
        Ok(found)
    }

    /// The records, parsed as they are asked for. A compressed batch is decompressed first, and
    /// refused as [`BatchError::TooLarge`] if its records take more than `max_decompressed` bytes.
    /// The iterator refuses records that break the format, except for header names: see
    /// [`Headers::iter`](crate::Headers::iter).
    pub fn records(&self, max_decompressed: usize) -> Result<Records, BatchError> {
        Ok(Records::new(&self.header, self.body(max_decompressed)?))
    }

    /// Checks what a producer sends as Kafka's broker does, and a little more: it has records,
    /// one for each offset, which all parse; header names are UTF-8; an idempotent producer gives
    /// an epoch and a sequence; it is not a control batch, which only a broker may write. Costs one
    /// walk over the records and, if compressed, decompression up to `max_decompressed` bytes.
    pub fn validate_records(&self, max_decompressed: usize) -> Result<(), BatchError> {
        let header = &self.header;
        if header.record_count.cast_unsigned() != self.offset_count() {
            return Err(BatchError::Malformed("fewer records than offsets"));
        }
        if header.is_control() {
            return Err(BatchError::Malformed("a control batch of a producer"));
        }
        if header.producer_id != NO_PRODUCER_ID
            && (header.producer_id < 0 || header.producer_epoch < 0 || header.base_sequence < 0)
        {
            return Err(BatchError::Malformed(
                "negative producer id, epoch or sequence",
            ));
        }
        let body = self.body(max_decompressed)?;
        let mut rest: &[u8] = &body;
        let mut scan = Scan::new(header);
        while let Some(record) = scan.next(&mut rest) {
            if !record?.has_readable_headers() {
                return Err(BatchError::Malformed("a header name that is not UTF-8"));
            }
        }
        Ok(())
    }

    /// The bytes of the records, decompressed.
    pub(crate) fn body(&self, max_decompressed: usize) -> Result<Bytes, BatchError> {
        let body = self.bytes.slice(BATCH_OVERHEAD..);
        match self.header.compression() {
            Compression::None => Ok(body),
            codec => codec.decompress(&body, max_decompressed).map(Bytes::from),
        }
    }
}

/// The CRC-32C of the part of `batch` that the checksum covers.
pub(crate) fn checksum(batch: &[u8]) -> u32 {
    crc32c::crc32c(batch.get(header::CRC_START..).unwrap_or_default())
}
