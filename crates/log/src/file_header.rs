//! The first 64 bytes of a journal file.
//!
//! ```text
//!  0        8        12       16       24       32       40            60    64
//!  +--------+--------+--------+--------+--------+--------+------ ~ -----+-----+
//!  | magic  |version | zero   | file   | file   |journal | zero         | crc |
//!  |FOREBAYJ| u32    | u32    | number | size   | id     |              | u32 |
//!  +--------+--------+--------+--------+--------+--------+------ ~ -----+-----+
//! ```
//! Numbers are little-endian; the checksum is CRC-32C over bytes 0 to 59.

/// Length of a file header; the first commit follows at once.
pub(crate) const FILE_HEADER: u64 = 64;
pub(crate) const FILE_VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"FOREBAYJ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) number: u64,
    pub(crate) file_size: u64,
    pub(crate) journal_id: u64,
}

/// Why 64 bytes are not a header this program can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFileHeader {
    NotAJournalFile,
    Version(u32),
    Checksum,
}

impl FileHeader {
    pub(crate) fn encode(&self) -> [u8; FILE_HEADER as usize] {
        let mut bytes = [0; FILE_HEADER as usize];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FILE_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.file_size.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.journal_id.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FILE_HEADER as usize]) -> Result<Self, BadFileHeader> {
        if &bytes[0..8] != MAGIC {
            return Err(BadFileHeader::NotAJournalFile);
        }
        let version = u32_at(bytes, 8);
        if version != FILE_VERSION {
            return Err(BadFileHeader::Version(version));
        }
        if crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(BadFileHeader::Checksum);
        }
        Ok(Self {
            number: u64_at(bytes, 16),
            file_size: u64_at(bytes, 24),
            journal_id: u64_at(bytes, 32),
        })
    }
}

/// The little-endian number at `at`; 0 where the bytes end before it does.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(number) => u32::from_le_bytes(*number),
        None => 0,
    }
}

/// The little-endian number at `at`; 0 where the bytes end before it does.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(number) => u64::from_le_bytes(*number),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let header = FileHeader {
            number: 7,
            file_size: 1 << 20,
            journal_id: 42,
        };
        let good = header.encode();
        assert_eq!(FileHeader::decode(&good), Ok(header));
        for bit in 0..good.len() * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }
}
