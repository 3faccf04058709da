//! Bytes on their way to the client: small ones gathered, large ones passed on as they are.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::Encodable;

/// Pieces shorter than this are copied: that costs less than one more entry in a vectored write.
const COPY_BYTES: usize = 2048;

/// What is to be written to a socket, in order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    pieces: VecDeque<Bytes>,
    /// Behind the pieces.
    tail: BytesMut,
    /// Bytes in the pieces.
    sealed: usize,
}

/// A response that does not fit its version: a mistake of this program.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode a {key:?} response in version {version}: {error}")]
pub(crate) struct EncodeError {
    key: ApiKey,
    version: i16,
    error: String,
}

impl Outgoing {
    /// Bytes not yet written.
    pub(crate) fn len(&self) -> usize {
        self.sealed + self.tail.len()
    }

    /// Where to append small things.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends bytes, without a copy if they are many.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if piece.len() < COPY_BYTES {
            self.tail.extend_from_slice(&piece);
        } else {
            self.seal();
            self.sealed += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Appends all of `other`.
    pub(crate) fn append(&mut self, mut other: Outgoing) {
        other.seal();
        for piece in other.pieces {
            self.push(piece);
        }
    }

    /// Makes everything readable through [`Buf`].
    pub(crate) fn seal(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.sealed += tail.len();
            self.pieces.push_back(tail);
        }
    }

    /// Appends a whole response, length and header included. After an error nothing was appended.
    pub(crate) fn push_response(
        &mut self,
        key: ApiKey,
        version: i16,
        correlation_id: i32,
        response: &ResponseKind,
    ) -> Result<(), EncodeError> {
        let start = self.tail.len();
        self.push_length(0);
        let encoded = self
            .encode(key, version, correlation_id, response)
            .and_then(|()| {
                i32::try_from(self.tail.len() - start - LENGTH_BYTES)
                    .map_err(|_| "it is larger than 2 GiB".to_owned())
            });
        match encoded {
            Ok(length) => {
                if let Some(field) = self.tail.get_mut(start..start + LENGTH_BYTES) {
                    field.copy_from_slice(&length.to_be_bytes());
                }
                Ok(())
            }
            Err(error) => {
                self.tail.truncate(start);
                Err(EncodeError {
                    key,
                    version,
                    error,
                })
            }
        }
    }

    fn encode(
        &mut self,
        key: ApiKey,
        version: i16,
        correlation_id: i32,
        response: &ResponseKind,
    ) -> Result<(), String> {
        self.push_header(key, version, correlation_id)?;
        response
            .encode(&mut self.tail, version)
            .map_err(|error| error.to_string())
    }

    fn push_length(&mut self, length: i32) {
        self.tail.extend_from_slice(&length.to_be_bytes());
    }

    fn push_header(
        &mut self,
        key: ApiKey,
        version: i16,
        correlation_id: i32,
    ) -> Result<(), String> {
        ResponseHeader::default()
            .with_correlation_id(correlation_id)
            .encode(&mut self.tail, key.response_header_version(version))
            .map_err(|error| error.to_string())
    }

    /// Appends a whole response whose body is encoded already.
    pub(crate) fn push_encoded(
        &mut self,
        key: ApiKey,
        version: i16,
        correlation_id: i32,
        body: Outgoing,
    ) -> Result<(), EncodeError> {
        let failed = |error: String| EncodeError {
            key,
            version,
            error,
        };
        let mut header = Outgoing::default();
        header
            .push_header(key, version, correlation_id)
            .map_err(failed)?;
        let length = i32::try_from(header.len() + body.len())
            .map_err(|_| failed("it is larger than 2 GiB".to_owned()))?;
        self.push_length(length);
        self.append(header);
        self.append(body);
        Ok(())
    }
}

/// Bytes of a frame's length field.
const LENGTH_BYTES: usize = 4;

/// Only what was sealed is seen.
impl Buf for Outgoing {
    fn remaining(&self) -> usize {
        self.sealed
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut count: usize) {
        self.sealed = self.sealed.saturating_sub(count);
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                break;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::HeartbeatResponse;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_comes_out_in_order(
            sizes in prop::collection::vec((any::<bool>(), 0usize..5000), 0..12),
            step in 1usize..7000,
        ) {
            let mut outgoing = Outgoing::default();
            let mut expected = Vec::new();
            for (index, (small, size)) in sizes.into_iter().enumerate() {
                let piece = vec![index as u8; size];
                expected.extend_from_slice(&piece);
                if small {
                    outgoing.tail().extend_from_slice(&piece);
                } else {
                    outgoing.push(piece.into());
                }
            }
            prop_assert_eq!(outgoing.len(), expected.len());
            outgoing.seal();
            let mut found = Vec::new();
            while outgoing.has_remaining() {
                let take = step.min(outgoing.chunk().len());
                found.extend_from_slice(&outgoing.chunk()[..take]);
                outgoing.advance(take);
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(outgoing.len(), 0);
        }
    }

    #[test]
    fn a_response_is_length_header_and_body() {
        let mut outgoing = Outgoing::default();
        let response = ResponseKind::Heartbeat(HeartbeatResponse::default().with_error_code(27));
        outgoing
            .push_response(ApiKey::Heartbeat, 1, 5, &response)
            .unwrap();
        outgoing.seal();
        assert_eq!(
            outgoing.chunk(),
            [0, 0, 0, 10, 0, 0, 0, 5, 0, 0, 0, 0, 0, 27]
        );
    }

    #[test]
    fn a_response_that_does_not_fit_its_version_leaves_nothing_behind() {
        let mut outgoing = Outgoing::default();
        let response = ResponseKind::Heartbeat(HeartbeatResponse::default());
        assert!(
            outgoing
                .push_response(ApiKey::Heartbeat, 99, 5, &response)
                .is_err()
        );
        assert_eq!(outgoing.len(), 0);
    }
}
