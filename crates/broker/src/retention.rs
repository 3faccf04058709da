//! What retention lets go: how far the start of a partition may move up.
//!
//! A round looks at every partition that has a bound and asks the shard for what is over it. The
//! shard decides, and what it lets go is gone for consumers of every kind: a message that nobody
//! has settled is not handed out any more and is no dead letter either.

use forebay_base::{Offset, PartitionId, Timestamp};
use forebay_log::LogReader;
use hashbrown::HashMap;

use crate::{Directory, TopicConfig};

/// The oldest records of a partition may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trim {
    pub(crate) partition: PartitionId,
    pub(crate) up_to: UpTo,
}

/// How far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UpTo {
    /// All below this offset, settled or not.
    Offset(Offset),
    /// All below the highest of these offsets below which everything is settled.
    LastSettled(Vec<Offset>),
}

/// What is remembered from one round to the next, so that a round without news reads nothing.
#[derive(Default)]
pub(crate) struct Retention {
    oldest: HashMap<PartitionId, Oldest>,
}

/// The first batch of a partition that had not been there long enough.
#[derive(Clone, Copy)]
struct Oldest {
    offset: Offset,
    latest: i64,
}

impl Retention {
    /// What is to go as of `now`. May read the disk.
    pub(crate) fn round(
        &mut self,
        now: Timestamp,
        directory: &Directory,
        reader: &LogReader,
    ) -> Vec<Trim> {
        let known = std::mem::take(&mut self.oldest);
        let mut trims = Vec::new();
        for topic in directory.topics("", None, usize::MAX) {
            for partition in &topic.partitions {
                let known = known.get(partition).copied();
                let below = self.below(*partition, &topic.config, known, now, reader);
                let settled = || settled(*partition, &topic.config, reader);
                let up_to = below.map(UpTo::Offset).or_else(settled);
                trims.extend(up_to.map(|up_to| Trim {
                    partition: *partition,
                    up_to,
                }));
            }
        }
        trims
    }

    /// The offset below which records are over one of the topic's bounds.
    fn below(
        &mut self,
        partition: PartitionId,
        config: &TopicConfig,
        known: Option<Oldest>,
        now: Timestamp,
        reader: &LogReader,
    ) -> Option<Offset> {
        let bounds = reader.bounds(partition)?;
        if bounds.start == bounds.end {
            return None;
        }
        let by_time = config.retention.ms.and_then(|ms| {
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            let oldest_kept = now.0.checked_sub(ms)?;
            let is_kept =
                |known: &Oldest| known.offset == bounds.start && known.latest >= oldest_kept;
            let first = match known.filter(is_kept) {
                Some(known) => known,
                None => first_since(partition, oldest_kept, reader)?,
            };
            let offset = first.offset.max(bounds.start).min(bounds.end);
            let latest = first.latest;
            self.oldest.insert(partition, Oldest { offset, latest });
            Some(offset)
        });
        let by_size = config
            .retention
            .bytes
            .map(|bytes| reader.offset_for_size(partition, bytes).min(bounds.end));
        by_time.max(by_size).filter(|below| *below > bounds.start)
    }
}

/// Where the runs of a work queue end: what is settled and has left the journal cannot be replayed
/// any more.
fn settled(partition: PartitionId, config: &TopicConfig, reader: &LogReader) -> Option<UpTo> {
    if !config.retention.until_settled {
        return None;
    }
    let ends: Vec<Offset> = reader.runs(partition).iter().map(|run| run.end).collect();
    (!ends.is_empty()).then_some(UpTo::LastSettled(ends))
}

/// The first batch with a record of `time` or later; if there is none, one that lies beyond all.
fn first_since(partition: PartitionId, time: i64, reader: &LogReader) -> Option<Oldest> {
    match reader.offset_for_time(partition, time) {
        Ok(Some((offset, latest))) => Some(Oldest { offset, latest }),
        Ok(None) => Some(Oldest {
            offset: Offset::MAX,
            latest: i64::MIN,
        }),
        Err(error) => {
            tracing::warn!(%partition, %error, "what is over its time cannot be found");
            None
        }
    }
}
