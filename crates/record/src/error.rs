use crate::Compression;

/// Why bytes are not a record batch v2, or cannot be read as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the record batch is cut short")]
    Truncated,
    /// The batch, or what it decompresses to, is larger than the caller allows.
    #[error("the record batch takes {size} bytes or more, {limit} are allowed")]
    TooLarge {
        /// Bytes the batch claims or was seen to need; a lower bound for decompressed data.
        size: u64,
        /// Bytes allowed by the caller or by the format.
        limit: u64,
    },
    /// The message format is not 2. Formats 0 and 1 went out with Kafka 4.0 (KIP-724).
    #[error("the message format {0} is not supported, only 2 is")]
    Magic(i8),
    /// The checksum does not match the content.
    #[error("the record batch has checksum {stored:08x} but its content has {computed:08x}")]
    Crc {
        /// The checksum in the header.
        stored: u32,
        /// The CRC-32C of the bytes after it.
        computed: u32,
    },
    /// The structure breaks the format's rules.
    #[error("malformed record batch: {0}")]
    Malformed(&'static str),
    /// The attributes name a codec that does not exist.
    #[error("the compression codec {0} does not exist")]
    UnsupportedCompression(u8),
    /// The records do not decompress.
    #[error("the records do not decompress with {codec}: {reason}")]
    Decompress {
        /// The codec the attributes name.
        codec: Compression,
        /// What the codec's library says.
        reason: String,
    },
}
