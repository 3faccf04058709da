//! Fetching dead letters' records for the shard, which has none at hand.

use std::sync::Arc;

use forebay_base::{Offset, OffsetRange};
use forebay_log::{LogReader, Source};
use forebay_queue::Attempted;
use forebay_record::{BatchBuilder, Record};

use crate::engine::Input;
use crate::envelope;
use crate::records::{ReadError, RecordsOf};
use crate::shard::{DeadLetterCopy, DeadLetterJob, DeadLetterReason, Undeliverable};
use crate::stability::Stability;
use crate::{DeadLetterTarget, Death, Deaths, FieldValue, Fields, namespace};

/// Reads the records of a job's messages and tells the shard of each that can be read, and which
/// cannot be now. Gives false when the shard has ended.
pub(crate) fn fetch(
    mut job: DeadLetterJob,
    reader: &LogReader,
    stability: &Stability,
    shard: &mut dyn FnMut(Input) -> bool,
) -> bool {
    let mut unread = Vec::new();
    for message in std::mem::take(&mut job.messages) {
        for offset in message.range.offsets() {
            let message = Attempted {
                range: OffsetRange::one(offset),
                attempt: message.attempt,
            };
            if job.topic.config.ordered && !unread.is_empty() {
                // None before those that come before it.
                unread.push(message);
                continue;
            }
            let copy = match read(reader, stability, &job, offset) {
                Ok(Some(record)) => copy(&job, message.attempt, &record),
                Ok(None) => Err(Undeliverable),
                Err(error) => {
                    // It stays aside: a disk or a store that fails now is no reason to give a
                    // message up.
                    if job.tries == 0 {
                        let topic = &job.topic.name;
                        tracing::error!(%error, %topic, offset, "a dead letter cannot be read now");
                    }
                    unread.push(message);
                    continue;
                }
            };
            let input = Input::DeadLetter {
                partition: job.partition,
                message,
                copy,
            };
            if !shard(input) {
                return false;
            }
        }
    }
    if unread.is_empty() {
        return true;
    }
    job.messages = unread;
    job.tries = job.tries.saturating_add(1);
    shard(Input::DeadLettersUnread(job))
}

/// The record of a message; `None` if retention has dropped it, or it is no message.
fn read(
    reader: &LogReader,
    stability: &Stability,
    job: &DeadLetterJob,
    offset: Offset,
) -> Result<Option<Record>, ReadError> {
    let mut cursor = forebay_log::Cursor::default();
    let ranges = [OffsetRange::one(offset)];
    let stored = reader
        .read_at(job.partition, &ranges, &mut cursor, Source::Disk)
        .map_err(|error| ReadError::Damaged(error.to_string()))?;
    let stored = stability.keep_messages(reader, job.partition, stored.unwrap_or_default());
    RecordsOf::new(&stored).find(offset)
}

/// What a record's headers say, for routing: of each the text, without the type it once had.
fn fields(record: &Record) -> Fields {
    let shown = record.headers.iter().filter_map(|(name, value)| {
        let text = std::str::from_utf8(value.unwrap_or_default()).ok()?;
        let value = FieldValue {
            class: None,
            text: text.to_owned(),
        };
        (!name.starts_with(envelope::RESERVED_PREFIX)).then(|| (name.to_owned(), value))
    });
    Fields::of(shown)
}

/// The record as it goes to the dead-letter target.
fn copy(
    job: &DeadLetterJob,
    deliveries: u32,
    record: &Record,
) -> Result<DeadLetterCopy, Undeliverable> {
    let origin = record.headers.get(envelope::DEAD_LETTER_SOURCE);
    let origin = origin.and_then(|name| std::str::from_utf8(name).ok());
    let origin: Option<Arc<str>> = origin.map(Into::into);
    if job.reason == DeadLetterReason::Moved {
        return moved(record, origin);
    }
    let text = |name| {
        let value = record.headers.get(name);
        value.and_then(|value| std::str::from_utf8(value).ok())
    };
    let exchange = text(envelope::EXCHANGE).unwrap_or_default();
    let own_name = namespace::split(&job.topic.name).1;
    let routing_key = text(envelope::ROUTING_KEY).unwrap_or(own_name);
    let history = record.headers.get(envelope::DEAD_LETTER_HISTORY);
    let mut deaths = history.map(Deaths::read).unwrap_or_default();
    deaths.add(Death {
        count: 1,
        time_ms: u64::try_from(job.at.0).unwrap_or_default(),
        first: false,
        reason: job.reason.word().to_owned(),
        source: job.topic.name.to_string(),
        exchange: exchange.to_owned(),
        routing_key: routing_key.to_owned(),
    });
    let circle = deaths.without_rejection(DeadLetterReason::Rejected.word());
    let (deaths, deliveries) = (deaths.to_text(), deliveries.to_string());
    let time = job.at.0.to_string();
    // Where it is published to now, if not straight to a topic.
    let now_through = match &job.topic.config.dead_letter {
        Some(DeadLetterTarget::Exchange {
            exchange,
            routing_key: key,
        }) => {
            let local = namespace::split(exchange).1;
            let key = key.as_deref().unwrap_or(routing_key);
            (!local.is_empty()).then_some((local, key))
        }
        _ => None,
    };
    let own: [(&str, Option<&str>); 7] = [
        (
            envelope::EXCHANGE,
            now_through.map(|(exchange, _)| exchange),
        ),
        (envelope::ROUTING_KEY, now_through.map(|(_, key)| key)),
        (envelope::DEAD_LETTER_SOURCE, Some(&job.topic.name)),
        (envelope::DEAD_LETTER_REASON, Some(job.reason.word())),
        (envelope::DEAD_LETTER_DELIVERIES, Some(&deliveries)),
        (envelope::DEAD_LETTER_TIME, Some(&time)),
        (envelope::DEAD_LETTER_HISTORY, Some(&deaths)),
    ];
    let kept = record
        .headers
        .iter()
        .filter(|(name, _)| !own.iter().any(|(taken, _)| name == taken));
    let own = own.iter().filter(|(_, value)| value.is_some());
    let headers = kept.chain(own.map(|(name, value)| (*name, value.map(str::as_bytes))));
    let mut batch = BatchBuilder::new(record.timestamp);
    batch
        .push(
            record.timestamp,
            record.key.as_deref(),
            record.value.as_deref(),
            headers,
        )
        .map_err(|_| Undeliverable)?;
    Ok(DeadLetterCopy {
        batch: batch.finish(),
        routing_key: routing_key.into(),
        fields: fields(record),
        circle,
        origin,
    })
}

/// The record as it is moved: it is no dead letter any more.
fn moved(record: &Record, origin: Option<Arc<str>>) -> Result<DeadLetterCopy, Undeliverable> {
    let kept = record.headers.iter();
    let kept = kept.filter(|(name, _)| !name.starts_with(envelope::DEAD_LETTER_PREFIX));
    let mut batch = BatchBuilder::new(record.timestamp);
    let (key, value) = (record.key.as_deref(), record.value.as_deref());
    batch
        .push(record.timestamp, key, value, kept)
        .map_err(|_| Undeliverable)?;
    Ok(DeadLetterCopy {
        batch: batch.finish(),
        routing_key: "".into(),
        fields: Fields::default(),
        circle: Vec::new(),
        origin,
    })
}
