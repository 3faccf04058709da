//! Reading what the shard hands out: bytes come from the log, not through the shard.

use std::sync::Arc;

use bytes::Bytes;
use forebay_base::{Offset, OffsetRange, PartitionId};
use forebay_log::{LogReader, Source};
use forebay_record::{Batch, Record};
use tokio::task::JoinHandle;

use crate::records::{DECOMPRESSED_AT_MOST, RecordsOf, damaged};
use crate::stability::Stability;
use crate::{Aborted, Broker, Command, Deliveries, Outcome, ReadError, Receipt, Run};

/// Remembers where the last read stopped, so that the next one in sequence finds its place at
/// once, and what it wants in memory. One for each stream of reads; costs nothing to make.
#[derive(Debug, Default)]
pub struct Cursor {
    place: forebay_log::Cursor,
    /// Loads what the next read will want.
    ahead: Option<JoinHandle<()>>,
    /// So many reads more load ahead: none of a reader that finds everything in memory anyway.
    cold: u32,
}

/// Reads after one that had to wait for the disk for which what follows is loaded ahead.
const COLD_READS: u32 = 16;

impl Cursor {
    /// Waits for what is being loaded. Says whether there was anything.
    async fn catch_up(&mut self) -> bool {
        match self.ahead.take() {
            // A load that failed is told by the read that wants it.
            Some(ahead) => ahead.await.is_ok(),
            None => false,
        }
    }

    /// Begins to load what follows, if the reader is one that has to wait for the disk.
    fn look_ahead(&mut self, reader: &Arc<LogReader>) {
        let busy = self
            .ahead
            .as_ref()
            .is_some_and(|ahead| !ahead.is_finished());
        if self.cold == 0 || busy {
            return;
        }
        self.cold -= 1;
        let (reader, place) = (reader.clone(), self.place);
        let load = tokio::task::spawn_blocking(move || reader.load_ahead(&place));
        self.ahead = Some(load);
    }
}

/// The readable offsets of a partition: durable ones only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest readable offset.
    pub start: Offset,
    /// The high watermark: one past the last durable record.
    pub end: Offset,
    /// Everything below is decided: the first record of a transaction that is not, or the end.
    pub decided: Offset,
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

impl Delivered {
    /// About how much memory its parts take, bytes.
    fn weight(&self) -> usize {
        let Record {
            key,
            value,
            headers,
            ..
        } = &self.record;
        let parts = [key.as_ref(), value.as_ref()];
        let parts = parts.into_iter().flatten().map(Bytes::len);
        let headers = headers.iter();
        let headers = headers.map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len));
        parts.chain(headers).sum()
    }
}

/// Takes the first `count` messages off `runs`.
fn take_first(runs: &mut Vec<Run>, mut count: u32) -> Vec<Run> {
    let whole = runs
        .iter()
        .take_while(|run| match count.checked_sub(run.range.count) {
            Some(left) => {
                count = left;
                true
            }
            None => false,
        })
        .count();
    let mut taken: Vec<Run> = runs.drain(..whole).collect();
    if count > 0
        && let Some(run) = runs.first_mut()
    {
        let range = OffsetRange {
            first: run.range.first,
            count,
        };
        taken.push(Run { range, ..*run });
        run.range.first += u64::from(count);
        run.range.count -= count;
    }
    taken
}

#[cfg(any(test, feature = "simulation"))]
impl Cursor {
    pub(crate) fn place(&mut self) -> &mut forebay_log::Cursor {
        &mut self.place
    }
}

/// What was read of deliveries.
#[derive(Clone, Debug)]
pub struct Portion {
    /// What this is about: the first part of what was asked for.
    pub deliveries: Deliveries,
    /// Its messages, without those that are not kept any more.
    pub delivered: Vec<Delivered>,
    /// What is still to be read.
    pub rest: Deliveries,
}

/// Messages read before it is known how large they are.
const FIRST_READ: u32 = 4;
/// Messages read in one step at most: those that come next may be much larger than those before.
const READ_AT_ONCE: u32 = 16;

impl Broker {
    /// The readable offsets of a partition.
    pub fn bounds(&self, partition: PartitionId) -> Bounds {
        bounds(self.reader(), self.stability(), partition)
    }

    /// Bytes of the batches a partition holds, in the journal and in segments, as exact as the
    /// index.
    pub fn bytes(&self, partition: PartitionId) -> u64 {
        self.reader().bytes(partition)
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
        let source = Source::CacheOnly;
        let place = &mut cursor.place;
        let mut found = read(self.reader(), partition, from, max_bytes, place, source)?;
        if found.is_none() && cursor.catch_up().await {
            let place = &mut cursor.place;
            found = read(self.reader(), partition, from, max_bytes, place, source)?;
        }
        if found.is_none() {
            let read = blocking(self.reader(), cursor, move |reader, place| {
                read(reader, partition, from, max_bytes, place, Source::Disk)
            });
            found = read.await?;
            cursor.cold = COLD_READS;
        }
        cursor.look_ahead(self.reader());
        Ok(found.unwrap_or_default())
    }

    /// Reads the records of deliveries, in their order. What is no message is left out and settled: a
    /// record that is not kept any more, or was part of a transaction that was aborted, and the marker
    /// of a transaction's end.
    ///
    /// # Errors
    /// The disk is damaged.
    pub async fn records(
        &self,
        deliveries: &Deliveries,
        cursor: &mut Cursor,
    ) -> Result<Vec<Delivered>, ReadError> {
        let mut delivered = Vec::with_capacity(deliveries.len());
        let mut void = false;
        for runs in by_partition(&deliveries.runs) {
            let found = self.messages(runs, cursor, &mut void).await?;
            pick(runs, &found, &mut delivered)?;
        }
        self.settle_gone(deliveries, &delivered, void).await;
        Ok(delivered)
    }

    /// As [`Broker::records`], but stops when more than about `max_bytes` were read, after one
    /// message at the least.
    ///
    /// # Errors
    /// The disk is damaged.
    pub async fn records_within(
        &self,
        deliveries: Deliveries,
        max_bytes: usize,
        cursor: &mut Cursor,
    ) -> Result<Portion, ReadError> {
        let mut rest = deliveries;
        let mut portion = Portion {
            deliveries: Deliveries {
                runs: Vec::new(),
                ..rest.clone()
            },
            delivered: Vec::new(),
            rest: Deliveries {
                runs: Vec::new(),
                ..rest.clone()
            },
        };
        let mut void = false;
        let (mut bytes, mut heaviest, mut count) = (0usize, 1, FIRST_READ);
        while !rest.runs.is_empty() && (bytes == 0 || bytes < max_bytes) {
            let taken = take_first(&mut rest.runs, count);
            for runs in by_partition(&taken) {
                let found = self.messages(runs, cursor, &mut void).await?;
                let before = portion.delivered.len();
                pick(runs, &found, &mut portion.delivered)?;
                for delivered in &portion.delivered[before..] {
                    let weight = delivered.weight();
                    bytes = bytes.saturating_add(weight);
                    heaviest = heaviest.max(weight);
                }
            }
            portion.deliveries.runs.extend(taken);
            let fitting = max_bytes.saturating_sub(bytes) / heaviest;
            let fitting = u32::try_from(fitting).unwrap_or(u32::MAX);
            count = fitting.clamp(1, READ_AT_ONCE);
        }
        portion.rest = rest;
        self.settle_gone(&portion.deliveries, &portion.delivered, void)
            .await;
        Ok(portion)
    }

    /// The batches that hold the messages of `runs`, all of one partition. Says in `void` whether
    /// there were others that hold none.
    async fn messages(
        &self,
        runs: &[Run],
        cursor: &mut Cursor,
        void: &mut bool,
    ) -> Result<Vec<forebay_log::Stored>, ReadError> {
        let found = self.stored(runs, cursor).await?;
        let Some(first) = runs.first() else {
            return Ok(found);
        };
        let batches = found.len();
        let found = self
            .stability()
            .keep_messages(self.reader(), first.partition, found);
        *void |= found.len() < batches;
        Ok(found)
    }

    /// Settles what was handed out and is not there.
    async fn settle_gone(&self, deliveries: &Deliveries, found: &[Delivered], void: bool) {
        let receipts = self.gone(deliveries, found, void);
        if !receipts.is_empty() {
            let outcome = Outcome::Ack;
            self.tell(Command::Settle { receipts, outcome }).await;
        }
    }

    /// What was handed out and is not there, which would be handed out for ever. Only where that can
    /// be: what a queue holds is there until it is settled, unless it is `void`, that is no message.
    fn gone(&self, deliveries: &Deliveries, found: &[Delivered], void: bool) -> Vec<Receipt> {
        if found.len() == deliveries.len() {
            return Vec::new();
        }
        let topic = self.directory().topic_by_id(deliveries.topic);
        if !void && topic.is_none_or(|topic| topic.config.retention.until_settled) {
            return Vec::new();
        }
        let mut found = found.iter().map(|one| one.receipt).peekable();
        let runs = deliveries.runs.iter();
        let all = runs.flat_map(|run| {
            run.range.offsets().map(|offset| Receipt {
                partition: run.partition,
                offset,
                attempt: run.attempt,
            })
        });
        all.filter(|receipt| found.next_if_eq(receipt).is_none())
            .collect()
    }

    async fn stored(
        &self,
        runs: &[Run],
        cursor: &mut Cursor,
    ) -> Result<Vec<forebay_log::Stored>, ReadError> {
        let source = Source::CacheOnly;
        let mut found = stored(self.reader(), runs, &mut cursor.place, source)?;
        if found.is_none() && cursor.catch_up().await {
            found = stored(self.reader(), runs, &mut cursor.place, source)?;
        }
        if found.is_none() {
            let wanted = runs.to_vec();
            let read = blocking(self.reader(), cursor, move |reader, place| {
                stored(reader, &wanted, place, Source::Disk)
            });
            found = read.await?;
            cursor.cold = COLD_READS;
        }
        cursor.look_ahead(self.reader());
        Ok(found.unwrap_or_default())
    }

    /// The transactions that were aborted and have records or a marker in the partition from `from`
    /// on and below `end`, in the order of their markers.
    pub fn aborted(&self, partition: PartitionId, from: Offset, end: Offset) -> Vec<Aborted> {
        self.stability().aborted(partition, from, end)
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
            offset_for_time(reader, partition, timestamp)
        });
        found.await
    }
}

pub(crate) fn bounds(reader: &LogReader, stability: &Stability, partition: PartitionId) -> Bounds {
    let Some(bounds) = reader.bounds(partition) else {
        return Bounds {
            max_timestamp: -1,
            ..Bounds::default()
        };
    };
    // What is open is looked at after the end was, and so is not newer than that.
    let open = stability.first_open(partition).unwrap_or(Offset::MAX);
    Bounds {
        start: bounds.start,
        end: bounds.end,
        // Records may be deleted before they are decided.
        decided: open.min(bounds.end).max(bounds.start),
        max_timestamp: bounds.max_timestamp,
    }
}

/// [`Broker::read`]; `None` if the source does not suffice.
pub(crate) fn read(
    reader: &LogReader,
    partition: PartitionId,
    from: Offset,
    max_bytes: usize,
    place: &mut forebay_log::Cursor,
    source: Source,
) -> Result<Option<Vec<Stored>>, ReadError> {
    let found = reader.read(partition, from, max_bytes, place, source);
    let found = found.map_err(|error| explain(reader, partition, error))?;
    let stored = |stored: forebay_log::Stored| Stored {
        base_offset: stored.base_offset,
        records: stored.records,
        batch: stored.batch,
    };
    Ok(found.map(|batches| batches.into_iter().map(stored).collect()))
}

/// The runs in their order, those of one partition together.
pub(crate) fn by_partition(runs: &[Run]) -> impl Iterator<Item = &[Run]> {
    runs.chunk_by(|one, next| one.partition == next.partition)
}

/// The batches that hold the messages of `runs`, all of one partition; `None` if the source does
/// not suffice.
pub(crate) fn stored(
    reader: &LogReader,
    runs: &[Run],
    place: &mut forebay_log::Cursor,
    source: Source,
) -> Result<Option<Vec<forebay_log::Stored>>, ReadError> {
    let Some(first) = runs.first() else {
        return Ok(Some(Vec::new()));
    };
    let mut ranges: Vec<OffsetRange> = runs.iter().map(|run| run.range).collect();
    ranges.sort_unstable();
    let found = reader.read_at(first.partition, &ranges, place, source);
    found.map_err(|error| explain(reader, first.partition, error))
}

/// Takes the messages of `runs` out of the batches that hold them.
pub(crate) fn pick(
    runs: &[Run],
    stored: &[forebay_log::Stored],
    delivered: &mut Vec<Delivered>,
) -> Result<(), ReadError> {
    let mut records = RecordsOf::new(stored);
    for run in runs {
        for offset in run.range.offsets() {
            if let Some(record) = records.find(offset)? {
                let receipt = Receipt {
                    partition: run.partition,
                    offset,
                    attempt: run.attempt,
                };
                delivered.push(Delivered { receipt, record });
            }
        }
    }
    Ok(())
}

/// [`Broker::offset_for_time`]; may read the disk.
pub(crate) fn offset_for_time(
    reader: &LogReader,
    partition: PartitionId,
    timestamp: i64,
) -> Result<Option<(Offset, i64)>, ReadError> {
    let found = reader.offset_for_time(partition, timestamp);
    let Some((base, latest)) = found.map_err(|error| explain(reader, partition, error))? else {
        return Ok(None);
    };
    let mut place = forebay_log::Cursor::default();
    let batches = read(reader, partition, base, 1, &mut place, Source::Disk)?;
    for stored in batches.unwrap_or_default() {
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

fn explain(reader: &LogReader, partition: PartitionId, error: forebay_log::ReadError) -> ReadError {
    match error {
        forebay_log::ReadError::OutOfRange { start, .. } => ReadError::OutOfRange { start },
        forebay_log::ReadError::Dropped(_) => ReadError::OutOfRange {
            start: reader.bounds(partition).map_or(0, |bounds| bounds.start),
        },
        other => {
            tracing::error!(error = %other, "cannot read");
            ReadError::Damaged(other.to_string())
        }
    }
}

/// Runs a read that may touch the disk on a thread that may block.
async fn blocking<T: Send + 'static>(
    reader: &Arc<LogReader>,
    cursor: &mut Cursor,
    read: impl FnOnce(&LogReader, &mut forebay_log::Cursor) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let reader = reader.clone();
    let mut moved = cursor.place;
    let task = tokio::task::spawn_blocking(move || {
        let result = read(&reader, &mut moved);
        (result, moved)
    });
    let (result, moved) = task
        .await
        .map_err(|error| ReadError::Damaged(error.to_string()))?;
    cursor.place = moved;
    result
}
