//! Frames: a length of four bytes, then so many bytes of request.

use bytes::{Buf, Bytes, BytesMut};

/// Room made for each read when nothing is known of what comes.
const READ_BYTES: usize = 16 * 1024;
/// The most room made ahead of what has arrived.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the length field.
const LENGTH_BYTES: usize = 4;

/// Why the bytes of a peer are not frames. The connection cannot go on: where the next frame
/// starts is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The length field is negative.
    #[error("a request with the length {0}")]
    Negative(i32),
    /// The length field is over the limit. The first bytes of TLS or HTTP read as a length are.
    #[error("a request of {size} bytes, {limit} are allowed{}", hint(*.size))]
    TooLarge {
        /// What the length field says.
        size: usize,
        /// What the options allow.
        limit: usize,
    },
}

fn hint(size: usize) -> &'static str {
    match u32::try_from(size).unwrap_or(0).to_be_bytes() {
        [0x16, 3, ..] => "; it looks like TLS, which is not spoken here",
        [b'G', b'E', b'T', b' '] | [b'P', b'O', b'S', b'T'] | [b'H', b'E', b'A', b'D'] => {
            "; it looks like HTTP, which is not spoken here"
        }
        _ => "",
    }
}

/// Collects what arrives and cuts it into frames. Memory follows the bytes that arrived, never
/// what a length field promises.
#[derive(Debug)]
pub(crate) struct FrameBuffer {
    bytes: BytesMut,
    limit: usize,
}

impl FrameBuffer {
    /// Refuses frames longer than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            limit,
        }
    }

    /// Bytes that arrived and were not taken.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where to put the bytes that arrive next, with room for some.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        let room = self.bytes.len().clamp(READ_BYTES, READ_BYTES_MAX);
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES / 4 {
            self.bytes.reserve(room);
        }
        &mut self.bytes
    }

    /// The next whole frame, without its length; `None` if it has not arrived.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.bytes.first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = i32::from_be_bytes(*length);
        let size = usize::try_from(length).map_err(|_| FrameError::Negative(length))?;
        if size > self.limit {
            return Err(FrameError::TooLarge {
                size,
                limit: self.limit,
            });
        }
        if self.bytes.len() - LENGTH_BYTES < size {
            return Ok(None);
        }
        self.bytes.advance(LENGTH_BYTES);
        Ok(Some(self.bytes.split_to(size).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(bodies: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for body in bodies {
            bytes.extend_from_slice(&(body.len() as i32).to_be_bytes());
            bytes.extend_from_slice(body);
        }
        bytes
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_however_they_were_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..12),
            cut in 1usize..70,
        ) {
            let mut buffer = FrameBuffer::new(1000);
            let mut found = Vec::new();
            for piece in framed(&bodies).chunks(cut) {
                buffer.room().extend_from_slice(piece);
                while let Some(frame) = buffer.next().unwrap() {
                    found.push(frame.to_vec());
                }
            }
            prop_assert_eq!(found, bodies);
            prop_assert_eq!(buffer.len(), 0);
        }

        #[test]
        fn a_promise_costs_no_memory(length in 0i32..=1000) {
            let mut buffer = FrameBuffer::new(1000);
            buffer.room().extend_from_slice(&length.to_be_bytes());
            if length > 0 {
                prop_assert_eq!(buffer.next(), Ok(None));
            }
            prop_assert!(buffer.room().capacity() <= 2 * READ_BYTES);
        }
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_before_it_arrives() {
        let mut buffer = FrameBuffer::new(1000);
        buffer.room().extend_from_slice(&1001i32.to_be_bytes());
        assert_eq!(
            buffer.next(),
            Err(FrameError::TooLarge {
                size: 1001,
                limit: 1000
            })
        );
        let mut buffer = FrameBuffer::new(1000);
        buffer.room().extend_from_slice(&(-5i32).to_be_bytes());
        assert_eq!(buffer.next(), Err(FrameError::Negative(-5)));
    }

    #[test]
    fn a_stranger_is_told_apart_in_the_log() {
        let mut buffer = FrameBuffer::new(1000);
        buffer.room().extend_from_slice(b"GET / HTTP/1.1\r\n");
        let error = buffer.next().unwrap_err().to_string();
        assert!(error.contains("HTTP"), "{error}");
    }
}
