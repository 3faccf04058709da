//! Fetching dead letters' records for the shard, which has none at hand.

use std::sync::Arc;

use forebay_base::{Offset, OffsetRange};
use forebay_log::{LogReader, Source};
use forebay_queue::Attempted;
use forebay_record::{Batch, BatchBuilder, Record};

use crate::engine::Input;
use crate::envelope;
use crate::records::{ReadError, RecordsOf};
use crate::shard::{DeadLetterJob, Undeliverable};

/// Reads the records of a job's messages and tells the shard of each that can be read. Gives false
/// when the shard has ended.
pub(crate) fn fetch(
    job: &DeadLetterJob,
    reader: &LogReader,
    shard: &mut dyn FnMut(Input) -> bool,
) -> bool {
    for message in &job.messages {
        for offset in message.range.offsets() {
            let copy = match read(reader, job, offset) {
                Ok(Some(record)) => copy(job, message.attempt, &record),
                Ok(None) => Err(Undeliverable),
                Err(error) => {
                    // It stays aside, and the next start tries again: a disk that fails now is no
                    // reason to give a message up.
                    let topic = &job.topic.name;
                    tracing::error!(%error, %topic, offset, "a dead letter cannot be read");
                    continue;
                }
            };
            let input = Input::DeadLetter {
                partition: job.partition,
                message: Attempted {
                    range: OffsetRange::one(offset),
                    attempt: message.attempt,
                },
                copy,
            };
            if !shard(input) {
                return false;
            }
        }
    }
    true
}

/// The record of a message; `None` if retention has dropped it.
fn read(
    reader: &LogReader,
    job: &DeadLetterJob,
    offset: Offset,
) -> Result<Option<Record>, ReadError> {
    let mut cursor = forebay_log::Cursor::default();
    let ranges = [OffsetRange::one(offset)];
    let stored = reader
        .read_at(job.partition, &ranges, &mut cursor, Source::Disk)
        .map_err(|error| ReadError::Damaged(error.to_string()))?;
    RecordsOf::new(&stored.unwrap_or_default()).find(offset)
}

/// The record as it goes to the dead-letter target, and the routing key it was published with.
fn copy(
    job: &DeadLetterJob,
    deliveries: u32,
    record: &Record,
) -> Result<(Batch, Arc<str>), Undeliverable> {
    let routing_key = record
        .headers
        .get(envelope::ROUTING_KEY)
        .and_then(|key| std::str::from_utf8(key).ok())
        .unwrap_or(&job.topic.name);
    let routing_key: Arc<str> = routing_key.into();
    let deliveries = deliveries.to_string();
    let time = job.at.0.to_string();
    let reason: [(&str, Option<&[u8]>); 4] = [
        (
            envelope::DEAD_LETTER_SOURCE,
            Some(job.topic.name.as_bytes()),
        ),
        (
            envelope::DEAD_LETTER_REASON,
            Some(job.reason.word().as_bytes()),
        ),
        (
            envelope::DEAD_LETTER_DELIVERIES,
            Some(deliveries.as_bytes()),
        ),
        (envelope::DEAD_LETTER_TIME, Some(time.as_bytes())),
    ];
    let kept = record
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with("forebay.dead-letter."));
    let headers = kept.chain(reason);
    let mut batch = BatchBuilder::new(record.timestamp);
    batch
        .push(
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            headers,
        )
        .map_err(|_| Undeliverable)?;
    Ok((batch.finish(), routing_key))
}
