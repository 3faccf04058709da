//! From the bytes of a frame to a request.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind};
use kafka_protocol::protocol::Decodable;

use crate::layout::{self, LayoutError};
use crate::versions;

/// A request, or what stands for one.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A request that is served.
    Request(Request),
    /// ApiVersions in a version of the future: answered in version 0 with the error and the table
    /// (KIP-511).
    FutureApiVersions {
        /// What the answer carries back.
        correlation_id: i32,
    },
    /// Produce in a version that is advertised and not served.
    OldProduce {
        /// 0, 1 or 2.
        version: i16,
        /// What the answer carries back.
        correlation_id: i32,
        /// The request after its header.
        body: Bytes,
    },
}

/// A decoded request.
#[derive(Debug)]
pub(crate) struct Request {
    /// Its kind.
    pub(crate) key: ApiKey,
    /// Its version, one that is served.
    pub(crate) version: i16,
    /// What the answer carries back.
    pub(crate) correlation_id: i32,
    /// What the client calls itself; empty if it does not.
    pub(crate) client_id: Bytes,
    /// Its content.
    pub(crate) body: RequestKind,
}

impl Request {
    /// Panics unless encoding and decoding give the same content.
    pub(crate) fn assert_same_again(&self) {
        let mut encoded = BytesMut::new();
        self.body
            .encode(&mut encoded, self.version)
            .expect("what came in a version can go out in it");
        let mut encoded = encoded.freeze();
        if let Some(api) = versions::find(self.key as i16) {
            assert_eq!(layout::check(api.layout, self.version, &encoded), Ok(0));
        }
        let again = RequestKind::decode(self.key, &mut encoded, self.version)
            .expect("what was encoded can be decoded");
        assert_eq!(again, self.body);
    }
}

/// Why a frame is no request that can be answered. Like Kafka, the server then closes the
/// connection: most of these have no answer the client could read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// There is no such kind of request, or it is not served.
    #[error("a request with the API key {0}, which is not served")]
    UnknownApi(i16),
    /// The kind is served, the version is not.
    #[error("a {key:?} request in version {version}, which is not served")]
    UnsupportedVersion {
        /// The kind.
        key: ApiKey,
        /// The version.
        version: i16,
    },
    /// The lengths in it cannot be.
    #[error("a malformed {key:?} request in version {version}: {error}")]
    Layout {
        /// The kind.
        key: ApiKey,
        /// The version.
        version: i16,
        /// What is wrong.
        error: LayoutError,
    },
    /// The content cannot be.
    #[error("a malformed {key:?} request in version {version}: {error}")]
    Content {
        /// The kind.
        key: ApiKey,
        /// The version.
        version: i16,
        /// What the decoder says.
        error: String,
    },
    /// The header cannot be.
    #[error("a malformed request header: {0}")]
    Header(String),
}

/// Key, version and correlation id: what every header starts with.
const HEADER_START: usize = 8;

/// Decodes one frame.
pub(crate) fn parse(mut frame: Bytes) -> Result<Incoming, RequestError> {
    let short = || RequestError::Header("it is cut short".to_owned());
    let [k0, k1, v0, v1, c0, c1, c2, c3] =
        *frame.first_chunk::<HEADER_START>().ok_or_else(short)?;
    let key = i16::from_be_bytes([k0, k1]);
    let version = i16::from_be_bytes([v0, v1]);
    let correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);
    let api = versions::find(key).ok_or(RequestError::UnknownApi(key))?;
    let key = api.key;
    if !api.serves(version) {
        return match key {
            ApiKey::ApiVersions => Ok(Incoming::FutureApiVersions { correlation_id }),
            ApiKey::Produce if (api.advertised_min()..api.min).contains(&version) => {
                frame.advance(HEADER_START);
                let body = skip_client_id(frame).ok_or_else(short)?;
                Ok(Incoming::OldProduce {
                    version,
                    correlation_id,
                    body,
                })
            }
            _ => Err(RequestError::UnsupportedVersion { key, version }),
        };
    }
    let layout_error = |error| RequestError::Layout {
        key,
        version,
        error,
    };
    let header_version = key.request_header_version(version);
    if header_version >= 2 {
        let after = skip_client_id(frame.slice(HEADER_START..)).ok_or_else(short)?;
        layout::skip_tagged(&after).map_err(layout_error)?;
    }
    let header = RequestHeader::decode(&mut frame, header_version)
        .map_err(|error| RequestError::Header(error.to_string()))?;
    layout::check(api.layout, version, &frame).map_err(layout_error)?;
    let body =
        RequestKind::decode(key, &mut frame, version).map_err(|error| RequestError::Content {
            key,
            version,
            error: error.to_string(),
        })?;
    Ok(Incoming::Request(Request {
        key,
        version,
        correlation_id,
        client_id: header.client_id.map(Bytes::from).unwrap_or_default(),
        body,
    }))
}

/// What follows the nullable string at the front of `bytes`; `None` if it is cut short.
fn skip_client_id(mut bytes: Bytes) -> Option<Bytes> {
    let length = usize::try_from(i16::from_be_bytes(*bytes.first_chunk()?)).unwrap_or(0);
    bytes.advance(2);
    if length > bytes.len() {
        return None;
    }
    bytes.advance(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(key: i16, version: i16, rest: &[u8]) -> Bytes {
        let mut frame = Vec::new();
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&7i32.to_be_bytes());
        frame.extend_from_slice(rest);
        frame.into()
    }

    #[test]
    fn a_version_of_the_future_is_told_which_there_are() {
        let parsed = parse(frame(18, 99, &[])).unwrap();
        assert!(matches!(
            parsed,
            Incoming::FutureApiVersions { correlation_id: 7 }
        ));
    }

    #[test]
    fn unknown_keys_and_versions_are_errors() {
        let error = parse(frame(4, 0, &[])).unwrap_err();
        assert!(matches!(error, RequestError::UnknownApi(4)));
        let error = parse(frame(-1, 0, &[])).unwrap_err();
        assert!(matches!(error, RequestError::UnknownApi(-1)));
        let error = parse(frame(3, 14, &[])).unwrap_err();
        assert!(matches!(
            error,
            RequestError::UnsupportedVersion { version: 14, .. }
        ));
        assert!(matches!(
            parse(Bytes::from_static(b"\0\x12\0")),
            Err(RequestError::Header(_))
        ));
    }

    #[test]
    fn the_header_is_read_in_both_its_versions() {
        for (version, tail) in [(0, &b"\0\x02me"[..]), (3, b"\0\x02me\0\x02a\x02b\0")] {
            let Incoming::Request(request) = parse(frame(18, version, tail)).unwrap() else {
                panic!("not a request");
            };
            assert_eq!(&request.client_id[..], b"me");
            assert_eq!(request.version, version);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            key in 0i16..64,
            version in 0i16..20,
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = parse(frame(key, version, &rest));
            let _ = parse(rest.into());
        }
    }
}
