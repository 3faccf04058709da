//! Working off the journal: what of it is kept goes into segments, and what in segments is mostly
//! dead goes, or is written anew.
//!
//! The shard decides what is to be kept, as of a moment that is durable; the work itself is done
//! here, on whatever thread calls.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use forebay_base::{Offset, OffsetRange, PartitionId, Timestamp};
use forebay_log::{Chunk, Keeper, Kept, Position, Promoter, Run, Stored};
use forebay_record::Batch;

use crate::compaction::Compact;
use crate::engine::Input;
use crate::records::DECOMPRESSED_AT_MOST;

/// One piece of work.
#[derive(Debug)]
pub(crate) enum Work {
    /// Looks at what lies in the oldest journal files below a position. Answered by
    /// [`Input::Surveyed`].
    Survey { below: Position, max_batches: usize },
    /// Writes what is to be kept of it. Answered by [`Input::Promoted`].
    Promote { chunk: Chunk, plan: Plan },
    /// Writes anew what is to be kept of runs. Answered by [`Input::Promoted`].
    Rewrite {
        runs: Vec<(PartitionId, Vec<Run>)>,
        plan: Plan,
        at: Timestamp,
    },
    /// Writes runs anew without records that others supersede. Answered by [`Input::Promoted`].
    Compact(Compact),
    /// Deletes segments that hold nothing any more. Answered by [`Input::Deleted`].
    DeleteDead,
}

/// Does it, and tells how that went.
pub(crate) fn work(promoter: &Promoter, work: Work) -> Input {
    match work {
        Work::Survey { below, max_batches } => {
            Input::Surveyed(tell(promoter.survey(below, max_batches)))
        }
        Work::Promote { chunk, mut plan } => {
            Input::Promoted(tell(promoter.promote(chunk, &mut plan)))
        }
        Work::Rewrite { runs, mut plan, at } => {
            let change = promoter.rewrite(&runs, &mut plan).map(|mut change| {
                for part in &mut change.partitions {
                    if plan.is_work(part.partition) {
                        part.runs.iter_mut().for_each(|run| run.cleaned_at = at.0);
                    }
                }
                change
            });
            Input::Promoted(tell(change))
        }
        Work::Compact(compact) => Input::Promoted(tell(compact.work(promoter))),
        Work::DeleteDead => Input::Deleted(tell(promoter.delete_dead())),
    }
}

fn tell<T>(result: Result<T, impl std::fmt::Display>) -> Result<T, Arc<str>> {
    result.map_err(|error| error.to_string().into())
}

/// What is to be kept, by partition. Of a partition that is not in it, nothing is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    partitions: BTreeMap<PartitionId, Wanted>,
}

/// What is to be kept of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Nothing below.
    pub(crate) start: Offset,
    /// Only these, in order and without overlaps; everything if `None`.
    pub(crate) live: Option<Vec<OffsetRange>>,
}

impl Wanted {
    /// How many of the offsets from `first` on and below `end` are to be kept.
    pub(crate) fn count(&self, first: Offset, end: Offset) -> u64 {
        let first = first.max(self.start);
        let Some(live) = &self.live else {
            return end.saturating_sub(first);
        };
        let skip = live.partition_point(|range| range.end() <= first);
        let within = live[skip..].iter().take_while(|range| range.first < end);
        let pieces = within.map(|range| range.end().min(end) - range.first.max(first));
        pieces.sum()
    }
}

impl Plan {
    pub(crate) fn add(&mut self, partition: PartitionId, wanted: Wanted) {
        self.partitions.insert(partition, wanted);
    }

    /// Whether the partition's records are kept one by one. When those of others were last
    /// written anew is for compaction to say.
    fn is_work(&self, partition: PartitionId) -> bool {
        let wanted = self.partitions.get(&partition);
        wanted.is_some_and(|wanted| wanted.live.is_some())
    }
}

impl Keeper for Plan {
    fn may_keep(&mut self, partition: PartitionId, offsets: Range<Offset>) -> bool {
        let wanted = self.partitions.get(&partition);
        wanted.is_some_and(|wanted| wanted.count(offsets.start, offsets.end) > 0)
    }

    /// A batch stays as it is if at least half of it is wanted, and is written anew without the
    /// rest if less is.
    fn keep(&mut self, partition: PartitionId, stored: &Stored) -> Kept {
        let Some(wanted) = self.partitions.get(&partition) else {
            return Kept::Nothing;
        };
        let records = u64::from(stored.records);
        let end = stored.base_offset.saturating_add(records);
        let count = wanted.count(stored.base_offset, end);
        if count == 0 {
            return Kept::Nothing;
        }
        if count >= records.div_ceil(2) {
            return Kept::Whole;
        }
        let kept = Batch::from_trusted(stored.batch.clone()).and_then(|batch| {
            batch.keep(DECOMPRESSED_AT_MOST, |record| {
                let offset = stored.base_offset + u64::from(record.offset_delta);
                wanted.count(offset, offset + 1) > 0
            })
        });
        match kept {
            Ok(None) => Kept::Nothing,
            Ok(Some(batch)) => Kept::Part {
                max_timestamp: batch.header().max_timestamp,
                batch: batch.bytes().clone(),
            },
            Err(error) => {
                // Better too much than too little.
                let offset = stored.base_offset;
                tracing::error!(%error, %partition, offset, "a stored batch cannot be read");
                Kept::Whole
            }
        }
    }
}
