//! Writing anew what is whole of segments that are damaged.

use std::collections::BTreeSet;
use std::ops::Range;

use forebay_base::{Offset, PartitionId};

use crate::examine::runs_in;
use crate::promoter::{PromoteError, Promoter, put_in_place};
use crate::segment::{PartitionChange, Rescued, SegmentChange, rescue};

impl Promoter {
    /// Writes all that can be read of these segments into new ones. Once the change is durable,
    /// the index knows the damaged ones no more; what could not be read is gone. The segments
    /// are first copied into the folder `aside`, beside those of the journals.
    ///
    /// # Errors
    /// The store failed. Nothing has changed then.
    pub fn rescue(&self, segments: &[u64], aside: &str) -> Result<SegmentChange, PromoteError> {
        let mut change = SegmentChange::default();
        let segments: BTreeSet<u64> = segments.iter().copied().collect();
        for &number in &segments {
            self.objects.copy_aside(number, aside)?;
            for (partition, run) in runs_in(&self.reader.index.read(), number) {
                change.partitions.push(PartitionChange {
                    partition,
                    journal_from: None,
                    replaces: Some(run.first..run.end),
                    runs: vec![run],
                });
            }
        }
        change
            .partitions
            .sort_by_key(|part| (part.partition, part.runs[0].first));
        let parts = &change.partitions;
        let written = self.write(|writer| {
            for part in parts {
                for run in &part.runs {
                    writer.begin(part.partition, run.first, run.cleaned_at);
                    rescue(
                        &self.objects,
                        part.partition,
                        run,
                        &mut |found| match found {
                            Rescued::Batch(batch, origin) => writer.push(&batch, origin),
                            Rescued::Lost(_) => Ok(()),
                        },
                    )?;
                    writer.end(run.end)?;
                }
            }
            Ok(())
        })?;
        put_in_place(&mut change, written);
        Ok(change)
    }

    /// Says of ranges of offsets that are nowhere that they are gone, where nothing else tells it:
    /// those the journal is still asked for although it begins behind them. A gap between two
    /// commits needs no word.
    pub fn give_up(&self, gone: &[(PartitionId, Range<Offset>)]) -> SegmentChange {
        let index = self.reader.index.read();
        let mut change = SegmentChange::default();
        for (partition, range) in gone {
            let asked_from = index
                .get(*partition)
                .map(|track| track.start.max(index.runs.journal_from(*partition)));
            if asked_from.is_some_and(|from| range.contains(&from)) {
                change.partitions.push(PartitionChange {
                    partition: *partition,
                    journal_from: Some(range.end),
                    replaces: None,
                    runs: Vec::new(),
                });
            }
        }
        change.partitions.sort_by_key(|part| part.partition);
        change
    }

    /// Copies segments that the index does not know into the folder `aside`, beside those of the
    /// journals, before they are deleted as left-overs.
    ///
    /// # Errors
    /// The store failed.
    pub fn keep_unknown(&self, segments: &[u64], aside: &str) -> Result<(), PromoteError> {
        for &number in segments {
            self.objects.copy_aside(number, aside)?;
        }
        Ok(())
    }
}
