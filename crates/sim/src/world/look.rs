//! Reading partitions as history, and comparing with what must be there.

use forebay_base::{Offset, PartitionId};
use forebay_broker::{Cursor, ReadError, Stored};
use forebay_record::Batch;

use super::{World, tell};
use crate::ledger::There;
use crate::violation::{Audited, broken};

const DECOMPRESSED_AT_MOST: usize = 64 << 20;

impl World {
    /// Some reader goes on, or somebody reads a whole partition.
    pub(super) fn look(&mut self) -> Audited {
        if self.chance.one_in(12) {
            if let Some(partition) = self.some_partition(|_| true) {
                return self.audit(partition);
            }
            return Ok(());
        }
        if self.chance.one_in(4) {
            return self.read_again();
        }
        if self.readers.is_empty() {
            return Ok(());
        }
        let at = usize::try_from(self.chance.below(self.readers.len() as u64)).unwrap_or(0);
        if self.chance.one_in(15) {
            let partition = self.readers[at].partition;
            let bounds = self.broker.bounds(partition);
            self.readers[at].next = self.chance.between(bounds.start, bounds.end);
        }
        let (partition, from) = (self.readers[at].partition, self.readers[at].next);
        let mut cursor = std::mem::take(&mut self.readers[at].cursor);
        let most = [1, 500, 5_000][usize::try_from(self.chance.below(3)).unwrap_or(0)];
        let next = self.read_on(partition, from, most, &mut cursor)?;
        if let Some(reader) = self.readers.get_mut(at) {
            reader.cursor = cursor;
            reader.next = next.unwrap_or(from);
        }
        Ok(())
    }

    /// Deliveries that could not be read are read again.
    pub(super) fn read_again(&mut self) -> Audited {
        for (session, mode, deliveries) in std::mem::take(&mut self.unread) {
            let there = self.ledger.topics.get(&deliveries.topic);
            if there.is_none_or(|topic| topic.there != There::Yes) {
                continue;
            }
            if self.ledger.all_owed(&deliveries) && !self.read_records(mode, &deliveries)? {
                self.unread.push((session, mode, deliveries));
            }
        }
        Ok(())
    }

    pub(super) fn audit_everything(&mut self) -> Audited {
        for topic in self.ledger.present() {
            for partition in self.ledger.topics[&topic].partitions.clone() {
                self.audit(partition)?;
            }
        }
        Ok(())
    }

    /// Reads a whole partition.
    pub(super) fn audit(&mut self, partition: PartitionId) -> Audited {
        if self.troubled {
            return Ok(());
        }
        self.stats.audits += 1;
        tell!(self, "{partition} is audited");
        let mut next = self.broker.bounds(partition).start;
        let mut cursor = Cursor::default();
        for _ in 0..100_000 {
            match self.read_on(partition, next, 3_000, &mut cursor)? {
                Some(further) if further > next => next = further,
                _ => return Ok(()),
            }
        }
        broken(
            format!("{partition} has an end"),
            "reading does not come to it",
        )
    }

    /// One read from an offset on. Gives where to go on, `None` if there is no partition.
    pub(super) fn read_on(
        &mut self,
        partition: PartitionId,
        from: Offset,
        max_bytes: usize,
        cursor: &mut Cursor,
    ) -> Audited<Option<Offset>> {
        let there = self.ledger.topic_at(partition).map(|topic| topic.there);
        if there != Some(There::Yes) {
            return Ok(None);
        }
        let bounds = self.broker.bounds(partition);
        self.ledger.check_bounds(partition, bounds)?;
        match self.broker.read(partition, from, max_bytes, cursor) {
            Ok(batches) => {
                tell!(
                    self,
                    "{partition} from {from} gives {:?}",
                    batches
                        .iter()
                        .map(|stored| (stored.base_offset, stored.records))
                        .collect::<Vec<_>>()
                );
                self.check_history(partition, from, bounds.end, &batches)
                    .map(Some)
            }
            Err(ReadError::OutOfRange { start }) if start > from => {
                self.ledger.check_start(partition, start)?;
                Ok(Some(start))
            }
            Err(ReadError::Damaged(reason)) if self.troubled => {
                tell!(self, "cannot be read: {reason}");
                self.stats.failed_reads += 1;
                Ok(Some(from))
            }
            Err(error) => broken(
                format!("{partition} can be read from {from} on"),
                error.to_string(),
            ),
        }
    }

    /// Everything that must be there is, and it is what was sent.
    fn check_history(
        &mut self,
        partition: PartitionId,
        from: Offset,
        end: Offset,
        batches: &[Stored],
    ) -> Audited<Offset> {
        let mut next = from;
        for stored in batches {
            let batch_end = stored.base_offset + u64::from(stored.records);
            if batch_end <= next || batch_end > end {
                return broken(
                    format!("{partition} is read from {next} on, up to {end} at most"),
                    format!("a batch from {} to {batch_end}", stored.base_offset),
                );
            }
            self.ledger.check_gap(partition, next, stored.base_offset)?;
            next = self.check_batch(partition, next.max(stored.base_offset), stored)?;
        }
        if batches.is_empty() {
            self.ledger.check_gap(partition, next, end)?;
            return Ok(next.max(end));
        }
        Ok(next)
    }

    fn check_batch(
        &mut self,
        partition: PartitionId,
        from: Offset,
        stored: &Stored,
    ) -> Audited<Offset> {
        let damaged = |error: forebay_record::BatchError| {
            broken::<Offset>(
                format!("{partition}/{} is as it was sent", stored.base_offset),
                error.to_string(),
            )
        };
        let batch = match Batch::from_trusted(stored.batch.clone()) {
            Ok(batch) => batch,
            Err(error) => return damaged(error),
        };
        if let Err(error) = batch.verify_crc() {
            return damaged(error);
        }
        let records = match batch.records(DECOMPRESSED_AT_MOST) {
            Ok(records) => records,
            Err(error) => return damaged(error),
        };
        let mut next = from;
        for record in records {
            let record = match record {
                Ok(record) => record,
                Err(error) => return damaged(error),
            };
            let offset = stored.base_offset + u64::from(record.offset_delta);
            if record.offset_delta >= stored.records {
                return broken(
                    format!(
                        "{partition}/{} takes {} offsets",
                        stored.base_offset, stored.records
                    ),
                    format!("a record at {offset}"),
                );
            }
            self.stats.read += 1;
            self.ledger.see(partition, offset, &record)?;
            if offset < next {
                continue;
            }
            self.ledger.check_gap(partition, next, offset)?;
            next = offset + 1;
        }
        let end = stored.base_offset + u64::from(stored.records);
        self.ledger.check_gap(partition, next, end)?;
        Ok(end)
    }
}
