use bytes::Bytes;

use crate::header::{BatchHeader, TimestampType};
use crate::{BatchError, varint};

/// What the name of a header reads as if it is not UTF-8.
const UNREADABLE_NAME: &str = "\u{fffd}";

/// One message of a batch. Key, value and headers share the memory of the batch, or of its
/// decompressed form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Offset relative to the base offset of the batch.
    pub offset_delta: u32,
    /// When it was created, or appended if the batch says so; ms since 1970.
    pub timestamp: i64,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The body; `None` is a tombstone on a compacted topic.
    pub value: Option<Bytes>,
    /// Named values, in the order the producer gave them.
    pub headers: Headers,
}

/// The headers of a record, kept in their wire form and read when asked for.
///
/// Two lists are equal if they hold the same names and values in the same order.
#[derive(Clone, Default)]
pub struct Headers {
    /// Whole headers without their count; the structure was checked when it was read.
    section: Bytes,
    count: u32,
}

impl Headers {
    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All headers in order. A name that is not UTF-8 reads as U+FFFD; only a batch that did not
    /// go through [`Batch::validate_records`](crate::Batch::validate_records) can have one.
    pub fn iter(&self) -> HeaderIter<'_> {
        HeaderIter {
            rest: &self.section,
            count: self.count,
        }
    }

    /// The value of the last header of this name, as Kafka's `lastHeader`. `None` if there is no
    /// such header or its value is null.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let (_, value) = self.iter().filter(|(found, _)| *found == name).last()?;
        value
    }

    /// As [`get`](Self::get), sharing the memory of the batch.
    pub fn get_bytes(&self, name: &str) -> Option<Bytes> {
        self.get(name).map(|value| self.section.slice_ref(value))
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a> IntoIterator for &'a Headers {
    type Item = (&'a str, Option<&'a [u8]>);
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

/// The headers of a record, in order.
#[derive(Clone, Debug)]
pub struct HeaderIter<'a> {
    rest: &'a [u8],
    count: u32,
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a str, Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let (name, value) = take_header(&mut self.rest).ok()?;
        let name = std::str::from_utf8(name).unwrap_or(UNREADABLE_NAME);
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count as usize, Some(self.count as usize))
    }
}

impl ExactSizeIterator for HeaderIter<'_> {}

/// The records of a batch, parsed one by one. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Records {
    body: Bytes,
    at: usize,
    scan: Scan,
}

impl Records {
    /// `body` is the decompressed part of the batch after its header.
    pub(crate) fn new(header: &BatchHeader, body: Bytes) -> Self {
        Records {
            body,
            at: 0,
            scan: Scan::new(header),
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.body.get(self.at..).unwrap_or_default();
        let parsed = self.scan.next(&mut rest)?;
        self.at = self.body.len() - rest.len();
        Some(parsed.map(|record| record.shared(&self.body)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // One item more than records are left if bytes follow the last of them.
        let left = self.scan.left as usize;
        (0, left.checked_add(1))
    }
}

/// A record whose parts are still where they were found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord<'a> {
    offset_delta: u32,
    timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [u8],
    header_count: u32,
}

/// Walks the body of a batch: what is left to read and what the records must keep to.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    left: u32,
    ended: bool,
    base_timestamp: i64,
    append_timestamp: Option<i64>,
    next_delta: u32,
    last_delta: u32,
}

impl Scan {
    pub(crate) fn new(header: &BatchHeader) -> Self {
        Scan {
            left: header.record_count.max(0).cast_unsigned(),
            ended: false,
            base_timestamp: header.base_timestamp,
            append_timestamp: match header.timestamp_type() {
                TimestampType::Create => None,
                TimestampType::LogAppend => Some(header.max_timestamp),
            },
            next_delta: 0,
            last_delta: header.last_offset_delta.max(0).cast_unsigned(),
        }
    }

    /// Takes the next record from the front of `rest`. `None` after the last record or an error.
    pub(crate) fn next<'a>(
        &mut self,
        rest: &mut &'a [u8],
    ) -> Option<Result<RawRecord<'a>, BatchError>> {
        if self.ended {
            return None;
        }
        let Some(left) = self.left.checked_sub(1) else {
            self.ended = true;
            return (!rest.is_empty())
                .then_some(Err(BatchError::Malformed("bytes after the last record")));
        };
        self.left = left;
        let record = self.take_record(rest);
        self.ended = record.is_err();
        Some(record)
    }

    fn take_record<'a>(&mut self, rest: &mut &'a [u8]) -> Result<RawRecord<'a>, BatchError> {
        let length = varint::take32(rest)?;
        let length =
            usize::try_from(length).map_err(|_| BatchError::Malformed("negative record length"))?;
        let (mut record, after) = rest.split_at_checked(length).ok_or(BatchError::Malformed(
            "a record passes the end of the batch",
        ))?;
        *rest = after;
        let input = &mut record;
        // The attributes of a record have no meaning yet.
        let (_, after) = input
            .split_first()
            .ok_or(BatchError::Malformed("a record without attributes"))?;
        *input = after;
        let timestamp_delta = varint::take64(input)?;
        let offset_delta = self.offset_delta(varint::take32(input)?)?;
        let key = take_nullable(input)?;
        let value = take_nullable(input)?;
        let header_count = varint::take32(input)?;
        let header_count = u32::try_from(header_count)
            .map_err(|_| BatchError::Malformed("negative number of headers"))?;
        let headers = *input;
        for _ in 0..header_count {
            take_header(input)?;
        }
        if !input.is_empty() {
            return Err(BatchError::Malformed("a record longer than its fields"));
        }
        Ok(RawRecord {
            offset_delta,
            // Java's long arithmetic, so that any pair of times survives the way through a delta.
            timestamp: self
                .append_timestamp
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers,
            header_count,
        })
    }

    fn offset_delta(&mut self, delta: i32) -> Result<u32, BatchError> {
        let delta =
            u32::try_from(delta).map_err(|_| BatchError::Malformed("negative offset delta"))?;
        if delta < self.next_delta {
            return Err(BatchError::Malformed("offset deltas do not increase"));
        }
        if delta > self.last_delta {
            return Err(BatchError::Malformed("an offset delta passes the last one"));
        }
        self.next_delta = delta.saturating_add(1);
        Ok(delta)
    }
}

impl<'a> RawRecord<'a> {
    pub(crate) fn offset_delta(&self) -> u32 {
        self.offset_delta
    }

    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The record with its parts as slices of `body`, in which they were found.
    pub(crate) fn shared(&self, body: &Bytes) -> Record {
        Record {
            offset_delta: self.offset_delta,
            timestamp: self.timestamp,
            key: self.key.map(|key| body.slice_ref(key)),
            value: self.value.map(|value| body.slice_ref(value)),
            headers: Headers {
                section: body.slice_ref(self.headers),
                count: self.header_count,
            },
        }
    }

    /// Whether all header names are UTF-8, as the format wants them.
    pub(crate) fn has_readable_headers(&self) -> bool {
        let mut rest = self.headers;
        (0..self.header_count).all(|_| {
            take_header(&mut rest).is_ok_and(|(name, _)| std::str::from_utf8(name).is_ok())
        })
    }
}

fn take_header<'a>(input: &mut &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), BatchError> {
    let name = take_nullable(input)?.ok_or(BatchError::Malformed("a header without a name"))?;
    Ok((name, take_nullable(input)?))
}

/// Takes bytes behind their length; -1 stands for null.
fn take_nullable<'a>(input: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BatchError> {
    let length = varint::take32(input)?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length)
        .map_err(|_| BatchError::Malformed("negative field length in a record"))?;
    let (field, after) = input.split_at_checked(length).ok_or(BatchError::Malformed(
        "a field passes the end of its record",
    ))?;
    *input = after;
    Ok(Some(field))
}
