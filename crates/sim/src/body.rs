//! Messages whose every byte follows from their number.

use bytes::Bytes;
use forebay_record::{Batch, BatchBuilder, Record};

use crate::chance::{Chance, mix};
use crate::violation::{Audited, broken};

/// The header that carries the number.
const NUMBER: &str = "number";
/// The header that says from which topic a dead letter came.
const SOURCE: &str = forebay_broker::envelope::DEAD_LETTER_SOURCE;

/// What a message is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) number: u64,
    pub(crate) key: Option<Bytes>,
    /// `None` is a tombstone.
    pub(crate) length: Option<u32>,
    pub(crate) timestamp: i64,
    /// Its share of its batch, bytes.
    pub(crate) bytes: u64,
    /// Which client sent it: each sees its messages in order.
    pub(crate) sender: u64,
}

impl Body {
    fn value(&self) -> Option<Vec<u8>> {
        let mut bytes = Chance::new(mix(self.number));
        let length = self.length? as usize;
        let mut value = Vec::with_capacity(length + 8);
        while value.len() < length {
            value.extend_from_slice(&bytes.next().to_le_bytes());
        }
        value.truncate(length);
        Some(value)
    }
}

/// A batch of these messages; with a producer's id and the sequence number of the first.
pub(crate) fn batch(bodies: &mut [Body], producer: Option<(i64, i32)>) -> Batch {
    let first = bodies.first().map_or(0, |body| body.timestamp);
    let mut builder = BatchBuilder::new(first);
    if let Some((id, sequence)) = producer {
        builder = builder.producer(id, 0, sequence);
    }
    for body in bodies.iter() {
        let number = body.number.to_be_bytes();
        let headers = [(NUMBER, Some(&number[..]))];
        builder
            .push(
                body.timestamp,
                body.key.as_deref(),
                body.value().as_deref(),
                headers.into_iter(),
            )
            .expect("a message is a few kilobytes at most");
    }
    let batch = builder.finish();
    let share = (batch.bytes().len() as u64).div_ceil(bodies.len().max(1) as u64);
    for body in bodies {
        body.bytes = share;
    }
    batch
}

/// The number of a message that was read.
pub(crate) fn number(record: &Record) -> Audited<u64> {
    match record.headers.get(NUMBER).map(<[u8; 8]>::try_from) {
        Some(Ok(number)) => Ok(u64::from_be_bytes(number)),
        _ => broken(
            "every message carries its number",
            format!("one without: {record:?}"),
        ),
    }
}

/// The topic from which a dead letter came.
pub(crate) fn source(record: &Record) -> Option<String> {
    let source = record.headers.get(SOURCE)?;
    Some(String::from_utf8_lossy(source).into_owned())
}

/// Compares what was read with what was sent.
pub(crate) fn check(record: &Record, body: &Body) -> Audited {
    let fits = record.key == body.key
        && record.value.as_deref() == body.value().as_deref()
        && record.timestamp == body.timestamp;
    if fits {
        return Ok(());
    }
    broken(
        format!("message {} as it was sent: {body:?}", body.number),
        format!("another content: {record:?}"),
    )
}
