//! Reading what the shard hands out: bytes come from the log, not through the shard.

use std::sync::Arc;

use bytes::Bytes;
use forebay_base::{Offset, OffsetRange, PartitionId};
use forebay_log::{LogReader, Source};
use forebay_record::{Batch, Record};

use crate::records::{DECOMPRESSED_AT_MOST, RecordsOf, damaged};
use crate::{Broker, Deliveries, ReadError, Receipt};

/// Remembers where the last read stopped, so that the next one in sequence finds its place at
/// once. One for each stream of reads; costs nothing to make.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor(forebay_log::Cursor);

/// The readable offsets of a partition: durable ones only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest readable offset.
    pub start: Offset,
    /// The high watermark: one past the last durable record.
    pub end: Offset,
    /// The latest timestamp of a durable record, milliseconds since 1970; -1 if there is none.
    pub max_timestamp: i64,
}

/// One stored batch. Its bytes carry the base offset its producer wrote; the true one stands here.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// How many offsets it takes.
    pub records: u32,
    /// The batch.
    pub batch: Bytes,
}

/// One message handed out.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// What settles it.
    pub receipt: Receipt,
    /// The message.
    pub record: Record,
}

impl Broker {
    /// The readable offsets of a partition.
    pub fn bounds(&self, partition: PartitionId) -> Bounds {
        self.reader().bounds(partition).map_or(
            Bounds {
                start: 0,
                end: 0,
                max_timestamp: -1,
            },
            |bounds| Bounds {
                start: bounds.start,
                end: bounds.end,
                max_timestamp: bounds.max_timestamp,
            },
        )
    }

    /// Reads batches from `from` on: first the one that contains it, at least one even if larger
    /// than `max_bytes`, none beyond the high watermark. From memory if it is there, else from
    /// disk on a blocking thread.
    ///
    /// # Errors
    /// The offset is not kept any more, or the disk is damaged.
    pub async fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        max_bytes: usize,
        cursor: &mut Cursor,
    ) -> Result<Vec<Stored>, ReadError> {
        let cached =
            self.reader()
                .read(partition, from, max_bytes, &mut cursor.0, Source::CacheOnly);
        let stored = match cached.map_err(|error| self.explain(partition, error))? {
            Some(stored) => stored,
            None => {
                let found = blocking(self.reader(), cursor, move |reader, cursor| {
                    reader.read(partition, from, max_bytes, cursor, Source::Disk)
                });
                let found = found.await?;
                found
                    .map_err(|error| self.explain(partition, error))?
                    .unwrap_or_default()
            }
        };
        Ok(stored
            .into_iter()
            .map(|stored| Stored {
                base_offset: stored.base_offset,
                records: stored.records,
                batch: stored.batch,
            })
            .collect())
    }

    /// Reads the records of deliveries, in their order. A record that is not kept any more is left
    /// out.
    ///
    /// # Errors
    /// The disk is damaged.
    pub async fn records(
        &self,
        deliveries: &Deliveries,
        cursor: &mut Cursor,
    ) -> Result<Vec<Delivered>, ReadError> {
        let mut delivered = Vec::with_capacity(deliveries.len());
        let mut runs = deliveries.runs.as_slice();
        while let Some(first) = runs.first() {
            let partition = first.partition;
            let same = runs
                .iter()
                .take_while(|run| run.partition == partition)
                .count();
            let (here, rest) = runs.split_at(same);
            let ranges: Vec<OffsetRange> = here.iter().map(|run| run.range).collect();
            let stored = self.stored(partition, ranges, cursor).await?;
            let mut records = RecordsOf::new(&stored);
            for run in here {
                for offset in run.range.offsets() {
                    if let Some(record) = records.find(offset)? {
                        let receipt = Receipt {
                            partition,
                            offset,
                            attempt: run.attempt,
                        };
                        delivered.push(Delivered { receipt, record });
                    }
                }
            }
            runs = rest;
        }
        Ok(delivered)
    }

    async fn stored(
        &self,
        partition: PartitionId,
        mut ranges: Vec<OffsetRange>,
        cursor: &mut Cursor,
    ) -> Result<Vec<forebay_log::Stored>, ReadError> {
        ranges.sort_unstable();
        let cached = self
            .reader()
            .read_at(partition, &ranges, &mut cursor.0, Source::CacheOnly);
        if let Some(stored) = cached.map_err(|error| self.explain(partition, error))? {
            return Ok(stored);
        }
        let found = blocking(self.reader(), cursor, move |reader, cursor| {
            reader.read_at(partition, &ranges, cursor, Source::Disk)
        });
        let found = found
            .await?
            .map_err(|error| self.explain(partition, error))?;
        Ok(found.unwrap_or_default())
    }

    /// The first record whose timestamp is at or after `timestamp`, milliseconds since 1970, and
    /// that record's timestamp.
    ///
    /// # Errors
    /// The disk is damaged.
    pub async fn offset_for_time(
        &self,
        partition: PartitionId,
        timestamp: i64,
    ) -> Result<Option<(Offset, i64)>, ReadError> {
        let mut cursor = Cursor::default();
        let found = blocking(self.reader(), &mut cursor, move |reader, _| {
            reader.offset_for_time(partition, timestamp)
        });
        let found = found
            .await?
            .map_err(|error| self.explain(partition, error))?;
        let Some((base, latest)) = found else {
            return Ok(None);
        };
        for stored in self.read(partition, base, 1, &mut cursor).await? {
            let batch = Batch::from_trusted(stored.batch).map_err(damaged)?;
            for record in batch.records(DECOMPRESSED_AT_MOST).map_err(damaged)? {
                let record = record.map_err(damaged)?;
                if record.timestamp >= timestamp {
                    let offset = stored.base_offset + u64::from(record.offset_delta);
                    return Ok(Some((offset, record.timestamp)));
                }
            }
        }
        Ok(Some((base, latest)))
    }

    fn explain(&self, partition: PartitionId, error: forebay_log::ReadError) -> ReadError {
        match error {
            forebay_log::ReadError::OutOfRange { start, .. } => ReadError::OutOfRange { start },
            forebay_log::ReadError::Dropped(_) => ReadError::OutOfRange {
                start: self.bounds(partition).start,
            },
            other => {
                tracing::error!(error = %other, "cannot read");
                ReadError::Damaged(other.to_string())
            }
        }
    }
}

/// Runs a read that may touch the disk on a thread that may block.
async fn blocking<T: Send + 'static>(
    reader: &Arc<LogReader>,
    cursor: &mut Cursor,
    read: impl FnOnce(&LogReader, &mut forebay_log::Cursor) -> T + Send + 'static,
) -> Result<T, ReadError> {
    let reader = reader.clone();
    let mut log = cursor.0;
    let task = tokio::task::spawn_blocking(move || {
        let result = read(&reader, &mut log);
        (result, log)
    });
    let (result, log) = task
        .await
        .map_err(|error| ReadError::Damaged(error.to_string()))?;
    cursor.0 = log;
    Ok(result)
}
