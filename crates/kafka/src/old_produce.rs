//! Produce in versions 0 to 2, which carry the old message formats.
//!
//! Kafka 4 advertises them and serves none: librdkafka looks at them to learn whether the broker
//! knows compression (KAFKA-18659). A client that does send one is told UNSUPPORTED_VERSION for
//! each partition, in the form of that version, and the connection goes on.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;

use crate::layout::{self, LayoutError};

/// What to answer: the response's body, or `None` if the client wants no answer.
pub(crate) fn answer(version: i16, body: &Bytes) -> Result<Option<Bytes>, LayoutError> {
    layout::check(&layout::PRODUCE, version, body)?;
    let mut reader = Reader { rest: body };
    let acks = i16::from_be_bytes(reader.take()?);
    let _timeout: [u8; 4] = reader.take()?;
    let mut out = BytesMut::new();
    let topics = reader.count(&mut out)?;
    for _ in 0..topics {
        let name_length = i16::from_be_bytes(reader.take()?).max(0);
        let name = reader.bytes(usize::from(name_length.unsigned_abs()))?;
        out.put_i16(name_length);
        out.put_slice(name);
        let partitions = reader.count(&mut out)?;
        for _ in 0..partitions {
            let index: [u8; 4] = reader.take()?;
            let size = i32::from_be_bytes(reader.take()?).max(0);
            reader.bytes(usize::try_from(size).unwrap_or(0))?;
            out.put_slice(&index);
            out.put_i16(ResponseError::UnsupportedVersion.code());
            out.put_i64(-1);
            if version >= 2 {
                out.put_i64(-1);
            }
        }
    }
    if version >= 1 {
        out.put_i32(0);
    }
    Ok((acks != 0).then(|| out.freeze()))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], LayoutError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(LayoutError::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], LayoutError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(LayoutError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads how many elements there are and says the same in the answer.
    fn count(&mut self, out: &mut BytesMut) -> Result<i32, LayoutError> {
        let count = i32::from_be_bytes(self.take()?).max(0);
        out.put_i32(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// acks 1, timeout 9, one topic "t" with partition 3 and records "ab".
    const REQUEST: &[u8] = b"\0\x01\0\0\0\x09\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x03\0\0\0\x02ab";

    #[test]
    fn each_partition_is_refused_in_the_form_of_the_version() {
        let refused =
            b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x03\0\x23\xff\xff\xff\xff\xff\xff\xff\xff";
        let answer_in = |version| {
            answer(version, &Bytes::from_static(REQUEST))
                .unwrap()
                .unwrap()
        };
        assert_eq!(&answer_in(0)[..], refused);
        assert_eq!(answer_in(1)[..], [&refused[..], &[0; 4]].concat());
        let append_time = [0xff; 8];
        assert_eq!(
            answer_in(2)[..],
            [&refused[..], &append_time, &[0; 4]].concat()
        );
    }

    #[test]
    fn cut_short_it_is_no_request() {
        for length in 0..REQUEST.len() {
            assert!(answer(0, &Bytes::from_static(&REQUEST[..length])).is_err());
        }
    }
}
