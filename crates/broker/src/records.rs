//! Taking single records out of stored batches.

use forebay_base::Offset;
use forebay_record::{Batch, Record};

/// Decompressed records of one batch take at most so much memory, bytes.
pub(crate) const DECOMPRESSED_AT_MOST: usize = 256 << 20;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is below the lowest that is kept.
    #[error("offset is below {start}, the lowest that is kept")]
    OutOfRange {
        /// The lowest readable offset.
        start: Offset,
    },
    /// What lies on the disk is not what was written, or the disk failed. The text says where.
    #[error("{0}")]
    Damaged(String),
}

/// Finds single records in batches, in ascending order without starting over.
pub(crate) struct RecordsOf<'a> {
    stored: &'a [forebay_log::Stored],
    open: Option<(usize, forebay_record::Records)>,
}

impl<'a> RecordsOf<'a> {
    pub(crate) fn new(stored: &'a [forebay_log::Stored]) -> Self {
        Self { stored, open: None }
    }

    /// The record at `offset`, if one of the batches holds it.
    pub(crate) fn find(&mut self, offset: Offset) -> Result<Option<Record>, ReadError> {
        let index = self
            .stored
            .partition_point(|stored| stored.base_offset <= offset);
        let Some(index) = index.checked_sub(1) else {
            return Ok(None);
        };
        let stored = &self.stored[index];
        let delta = offset - stored.base_offset;
        if delta >= u64::from(stored.records) {
            return Ok(None);
        }
        // Going back within a batch, or over to another, opens it anew.
        for fresh in [false, true] {
            if fresh || self.open.as_ref().is_none_or(|(open, _)| *open != index) {
                let batch = Batch::from_trusted(stored.batch.clone()).map_err(damaged)?;
                self.open = Some((index, batch.records(DECOMPRESSED_AT_MOST).map_err(damaged)?));
            }
            let Some((_, records)) = &mut self.open else {
                return Ok(None);
            };
            for record in records {
                let record = record.map_err(damaged)?;
                if u64::from(record.offset_delta) == delta {
                    return Ok(Some(record));
                }
                if u64::from(record.offset_delta) > delta {
                    break;
                }
            }
        }
        Ok(None)
    }
}

pub(crate) fn damaged(error: forebay_record::BatchError) -> ReadError {
    tracing::error!(%error, "a stored batch cannot be read");
    ReadError::Damaged(error.to_string())
}
