use std::fmt;
use std::io::{self, Read, Write};

use crate::BatchError;

/// How the records of a batch are compressed: bits 0 to 2 of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy blocks in the framing of xerial's snappy-java, which Kafka's Java client writes; a
    /// single raw block, which librdkafka writes, is read as well.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// Zstandard (RFC 8878, KIP-110).
    Zstd,
}

/// snappy-java's signature, then its version and the oldest version that can read it, both 1.
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Signature alone: readers do not look at the versions.
const XERIAL_SIGNATURE: &[u8; 8] = b"\x82SNAPPY\0";
/// Bytes of input in each block written; snappy-java's default.
const XERIAL_BLOCK: usize = 32 * 1024;

const ATTRIBUTE_BITS: i16 = 0b111;

impl Compression {
    pub(crate) fn from_attributes(attributes: i16) -> Result<Self, BatchError> {
        Ok(match attributes & ATTRIBUTE_BITS {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            other => return Err(BatchError::UnsupportedCompression(other as u8)),
        })
    }

    pub(crate) fn to_attributes(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// Appends the compressed form of `input` to `out`.
    pub(crate) fn compress(self, input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Compression::None => out.extend_from_slice(input),
            Compression::Gzip => {
                let mut gzip = flate2::write::GzEncoder::new(out, flate2::Compression::default());
                gzip.write_all(input)?;
                gzip.finish()?;
            }
            Compression::Snappy => compress_xerial(input, out)?,
            Compression::Lz4 => {
                // Blocks of 64 kB that do not depend on each other: Kafka's Java client reads no
                // other kind.
                let frame = lz4_flex::frame::FrameInfo::new()
                    .block_size(lz4_flex::frame::BlockSize::Max64KB)
                    .block_mode(lz4_flex::frame::BlockMode::Independent);
                let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(frame, out);
                lz4.write_all(input)?;
                lz4.finish()?;
            }
            Compression::Zstd => {
                zstd::stream::copy_encode(input, out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
            }
        }
        Ok(())
    }

    /// Decompresses all of `input`, giving up as soon as the result would pass `max_bytes`.
    pub(crate) fn decompress(self, input: &[u8], max_bytes: usize) -> Result<Vec<u8>, BatchError> {
        let broken = |error: io::Error| self.broken(error);
        match self {
            Compression::None => read_bounded(self, input, max_bytes),
            Compression::Gzip => {
                let gzip = flate2::bufread::MultiGzDecoder::new(input);
                read_bounded(self, gzip, max_bytes)
            }
            Compression::Snappy => decompress_snappy(input, max_bytes),
            Compression::Lz4 => {
                let lz4 = lz4_flex::frame::FrameDecoder::new(input);
                read_bounded(self, lz4, max_bytes)
            }
            Compression::Zstd => {
                let zstd = zstd::stream::read::Decoder::with_buffer(input).map_err(broken)?;
                read_bounded(self, zstd, max_bytes)
            }
        }
    }

    fn broken(self, error: impl fmt::Display) -> BatchError {
        BatchError::Decompress {
            codec: self,
            reason: error.to_string(),
        }
    }
}

impl fmt::Display for Compression {
    /// The name Kafka's `compression.type` uses.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        })
    }
}

fn too_large(max_bytes: usize) -> BatchError {
    BatchError::TooLarge {
        size: (max_bytes as u64).saturating_add(1),
        limit: max_bytes as u64,
    }
}

/// Reads to the end; the buffer grows with what was read, never with what a header promises.
fn read_bounded(
    codec: Compression,
    reader: impl Read,
    max_bytes: usize,
) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    reader
        .take((max_bytes as u64).saturating_add(1))
        .read_to_end(&mut out)
        .map_err(|error| codec.broken(error))?;
    if out.len() > max_bytes {
        return Err(too_large(max_bytes));
    }
    Ok(out)
}

fn compress_xerial(input: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(XERIAL_HEADER);
    let mut encoder = snap::raw::Encoder::new();
    let mut block = vec![0; snap::raw::max_compress_len(input.len().min(XERIAL_BLOCK))];
    for plain in input.chunks(XERIAL_BLOCK) {
        let written = encoder.compress(plain, &mut block)?;
        let length = u32::try_from(written).map_err(io::Error::other)?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(block.get(..written).unwrap_or_default());
    }
    Ok(())
}

fn decompress_snappy(input: &[u8], max_bytes: usize) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    if !input.starts_with(XERIAL_SIGNATURE) {
        append_snappy_block(input, max_bytes, &mut out)?;
        return Ok(out);
    }
    let cut_short = || Compression::Snappy.broken("the framing is cut short");
    let mut rest = input.get(XERIAL_HEADER.len()..).ok_or_else(cut_short)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(cut_short)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(cut_short)?;
        append_snappy_block(block, max_bytes, &mut out)?;
        rest = after;
    }
    Ok(out)
}

fn append_snappy_block(
    block: &[u8],
    max_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let broken = |error: snap::Error| Compression::Snappy.broken(error);
    let claimed = snap::raw::decompress_len(block).map_err(broken)?;
    if claimed > max_bytes.saturating_sub(out.len()) {
        return Err(too_large(max_bytes));
    }
    // The densest element copies 64 bytes for 3, so a larger claim is a lie that need not be
    // given memory first.
    if claimed / 22 > block.len() {
        return Err(Compression::Snappy.broken("the length is more than the block can hold"));
    }
    let start = out.len();
    out.resize(start.saturating_add(claimed), 0);
    let target = out.get_mut(start..).unwrap_or_default();
    snap::raw::Decoder::new()
        .decompress(block, target)
        .map_err(broken)?;
    Ok(())
}
