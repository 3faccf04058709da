//! How segments are laid out and read.

/// Sizes and budgets of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// Bytes of a segment: the next one is begun when this is reached. A single batch may take
    /// it further. Default 128 MiB.
    pub target_bytes: u64,
    /// Bytes of batches in a block, the unit of checksum and of reading. A larger batch is a
    /// block of its own. Default 64 KiB.
    pub block_bytes: usize,
    /// Bytes written, and locally synced, at a time. Stores like S3 want at least 5 MiB.
    /// Default 8 MiB.
    pub part_bytes: usize,
    /// Bytes kept in memory of what was lately read from segments. Default 32 MiB.
    pub cache_bytes: usize,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        Self {
            target_bytes: 128 << 20,
            block_bytes: 64 << 10,
            part_bytes: 8 << 20,
            cache_bytes: 32 << 20,
        }
    }
}
