use crate::{BatchError, Compression};

/// Bytes of a batch before its first record.
pub const BATCH_OVERHEAD: usize = 61;
/// Bytes the length field does not count: the base offset and the length field itself.
pub(crate) const PREFIX: usize = 12;
/// The producer id of a batch whose producer is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;
/// The leader epoch the broker stamps on every batch it stores: a partition has one leader only.
pub const LEADER_EPOCH: i32 = 0;

/// Where the checksummed part starts: everything after the checksum.
pub(crate) const CRC_START: usize = ATTRIBUTES;

pub(crate) const LENGTH: usize = 8;
pub(crate) const EPOCH: usize = 12;
pub(crate) const MAGIC: usize = 16;
pub(crate) const CRC: usize = 17;
pub(crate) const ATTRIBUTES: usize = 21;
pub(crate) const LAST_OFFSET_DELTA: usize = 23;
pub(crate) const BASE_TIMESTAMP: usize = 27;
pub(crate) const MAX_TIMESTAMP: usize = 35;
pub(crate) const PRODUCER_ID: usize = 43;
pub(crate) const PRODUCER_EPOCH: usize = 51;
pub(crate) const BASE_SEQUENCE: usize = 53;
pub(crate) const RECORD_COUNT: usize = 57;

pub(crate) const MAGIC_V2: i8 = 2;

pub(crate) const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
pub(crate) const TRANSACTIONAL_BIT: i16 = 1 << 4;
pub(crate) const CONTROL_BIT: i16 = 1 << 5;

/// Who gave the records of a batch their time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer, one per record.
    Create,
    /// The broker, one for the whole batch (KIP-32, `message.timestamp.type=LogAppendTime`).
    LogAppend,
}

/// The fixed fields of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record; producers send 0, the broker sets it.
    pub base_offset: i64,
    /// Bytes after the length field, so 12 fewer than the batch has.
    pub length: u32,
    /// Epoch of the leader that stored the batch; -1 if a producer sent it.
    pub partition_leader_epoch: i32,
    /// CRC-32C of everything from the attributes to the end.
    pub crc: u32,
    /// The raw attribute bits; read them with the methods of this struct.
    pub attributes: i16,
    /// Offset of the last record relative to the base offset, never negative. Compaction may have
    /// removed that record: the batch still occupies its offset.
    pub last_offset_delta: i32,
    /// The time the records' deltas count from, in ms since 1970.
    pub base_timestamp: i64,
    /// The latest time of a record, or the append time, in ms since 1970; -1 if there is none.
    pub max_timestamp: i64,
    /// Id of the idempotent producer, [`NO_PRODUCER_ID`] without one (KIP-98).
    pub producer_id: i64,
    /// Epoch of the idempotent producer, -1 without one.
    pub producer_epoch: i16,
    /// Sequence number of the first record, -1 without an idempotent producer.
    pub base_sequence: i32,
    /// Records in the batch, from 0 to `last_offset_delta + 1`.
    pub record_count: i32,
    compression: Compression,
}

impl BatchHeader {
    /// Reads and checks the fixed fields at the front of `bytes`, but not the checksum. The
    /// length field is checked against the smallest batch, `max_bytes` and the bytes that are
    /// there, in this order.
    pub(crate) fn parse(bytes: &[u8], max_bytes: usize) -> Result<Self, BatchError> {
        // All formats have the magic in the same place, so an old one is named as such even where
        // it is shorter than the smallest batch of this one.
        let magic = i8::from_be_bytes(field(bytes, MAGIC)?);
        if magic != MAGIC_V2 {
            return Err(BatchError::Magic(magic));
        }
        let length = i32::from_be_bytes(field(bytes, LENGTH)?);
        let length = u32::try_from(length).map_err(|_| BatchError::Malformed("negative length"))?;
        let size = u64::from(length) + PREFIX as u64;
        if size < BATCH_OVERHEAD as u64 {
            return Err(BatchError::Malformed("length shorter than a batch header"));
        }
        if size > max_bytes as u64 {
            return Err(BatchError::TooLarge {
                size,
                limit: max_bytes as u64,
            });
        }
        if size > bytes.len() as u64 {
            return Err(BatchError::Truncated);
        }
        let attributes = i16::from_be_bytes(field(bytes, ATTRIBUTES)?);
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(field(bytes, 0)?),
            length,
            partition_leader_epoch: i32::from_be_bytes(field(bytes, EPOCH)?),
            crc: u32::from_be_bytes(field(bytes, CRC)?),
            attributes,
            last_offset_delta: i32::from_be_bytes(field(bytes, LAST_OFFSET_DELTA)?),
            base_timestamp: i64::from_be_bytes(field(bytes, BASE_TIMESTAMP)?),
            max_timestamp: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP)?),
            producer_id: i64::from_be_bytes(field(bytes, PRODUCER_ID)?),
            producer_epoch: i16::from_be_bytes(field(bytes, PRODUCER_EPOCH)?),
            base_sequence: i32::from_be_bytes(field(bytes, BASE_SEQUENCE)?),
            record_count: i32::from_be_bytes(field(bytes, RECORD_COUNT)?),
            compression: Compression::from_attributes(attributes)?,
        };
        header.check_counts()?;
        Ok(header)
    }

    fn check_counts(&self) -> Result<(), BatchError> {
        if self.last_offset_delta < 0 {
            return Err(BatchError::Malformed("negative last offset delta"));
        }
        if self.record_count < 0 {
            return Err(BatchError::Malformed("negative record count"));
        }
        // Fewer records than offsets is what compaction leaves behind; more cannot be.
        if i64::from(self.record_count) > i64::from(self.last_offset_delta) + 1 {
            return Err(BatchError::Malformed("more records than offsets"));
        }
        Ok(())
    }

    /// Bytes of the whole batch, prefix included.
    pub fn size(&self) -> usize {
        self.length as usize + PREFIX
    }

    /// How the records are compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Whose time the records carry.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_BIT == 0 {
            TimestampType::Create
        } else {
            TimestampType::LogAppend
        }
    }

    /// Whether the batch belongs to a transaction (KIP-98).
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds a marker of the broker and no messages (KIP-98).
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], BatchError> {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .copied()
        .ok_or(BatchError::Truncated)
}
