//! The frame envelope (AMQP 0-9-1, 4.2.3):
//!
//! ```text
//! 0      1         3             7                  size+7 size+8
//! +------+---------+-------------+------------------+------+
//! | type | channel | size        | payload          | 0xCE |
//! +------+---------+-------------+------------------+------+
//! ```

/// Bytes of the envelope around a payload.
pub(crate) const ENVELOPE: usize = 8;
/// Bytes before the payload.
const HEAD: usize = 7;
const END: u8 = 0xCE;
/// Bytes of a content header before its properties.
const CONTENT_HEAD: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Method,
    Header,
    Body,
    Heartbeat,
}

impl Kind {
    fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Method),
            2 => Some(Self::Header),
            3 => Some(Self::Body),
            8 => Some(Self::Heartbeat),
            _ => None,
        }
    }

    fn octet(self) -> u8 {
        match self {
            Self::Method => 1,
            Self::Header => 2,
            Self::Body => 3,
            Self::Heartbeat => 8,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) kind: Kind,
    pub(crate) channel: u16,
    pub(crate) payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes it took on the wire.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + ENVELOPE
    }
}

/// Why bytes are no frame. All of these end the connection with 501 FRAME_ERROR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("unknown frame type {0}")]
    Kind(u8),
    #[error("frame of {size} bytes is larger than the negotiated {limit}")]
    TooLarge { size: u64, limit: u64 },
    #[error("frame end octet is {0}")]
    End(u8),
}

/// The first frame in `input`; `None` if it has not wholly arrived. A frame that cannot become
/// valid is refused as soon as its first bytes show it.
pub(crate) fn take(input: &[u8], frame_max: usize) -> Result<Option<Frame<'_>>, FrameError> {
    let Some(&octet) = input.first() else {
        return Ok(None);
    };
    let kind = Kind::from_octet(octet).ok_or(FrameError::Kind(octet))?;
    let Some(&[_, c0, c1, s0, s1, s2, s3]) = input.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([s0, s1, s2, s3]);
    let size = u64::from(length) + ENVELOPE as u64;
    if size > frame_max as u64 {
        return Err(FrameError::TooLarge {
            size,
            limit: frame_max as u64,
        });
    }
    let rest = &input[HEAD..];
    let Some((payload, after)) = rest.split_at_checked(length as usize) else {
        return Ok(None);
    };
    match after.first() {
        None => Ok(None),
        Some(&END) => Ok(Some(Frame {
            kind,
            channel: u16::from_be_bytes([c0, c1]),
            payload,
        })),
        Some(&other) => Err(FrameError::End(other)),
    }
}

/// Writes a frame whose payload `fill` appends.
pub(crate) fn put(out: &mut Vec<u8>, kind: Kind, channel: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind.octet());
    out.extend_from_slice(&channel.to_be_bytes());
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    out.push(END);
}

/// Writes the content header of a message of `body_size` bytes with properties already encoded,
/// and its body in as many frames as `frame_max` asks for.
pub(crate) fn put_content(
    out: &mut Vec<u8>,
    channel: u16,
    frame_max: usize,
    properties: &[u8],
    body: &[u8],
) {
    put(out, Kind::Header, channel, |out| {
        out.extend_from_slice(&[0, 60, 0, 0]);
        out.extend_from_slice(&(body.len() as u64).to_be_bytes());
        out.extend_from_slice(properties);
    });
    for piece in body.chunks(frame_max.saturating_sub(ENVELOPE).max(1)) {
        put(out, Kind::Body, channel, |out| out.extend_from_slice(piece));
    }
}

/// Whether properties of `length` bytes fit into one content header frame.
pub(crate) fn header_fits(length: usize, frame_max: usize) -> bool {
    length.saturating_add(ENVELOPE + CONTENT_HEAD) <= frame_max
}

/// A content header: the size of the body to come and the encoded properties. `None` if it is too
/// short or of another class than basic.
pub(crate) fn content_header(payload: &[u8]) -> Option<(u64, &[u8])> {
    let (head, properties) = payload.split_at_checked(CONTENT_HEAD)?;
    let (class, sizes) = head.split_first_chunk::<2>()?;
    let size = sizes.last_chunk::<8>()?;
    (*class == [0, 60]).then_some((u64::from_be_bytes(*size), properties))
}

pub(crate) fn put_heartbeat(out: &mut Vec<u8>) {
    put(out, Kind::Heartbeat, 0, |_| {});
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Owned = (Kind, u16, Vec<u8>);

    fn all(mut input: &[u8], frame_max: usize) -> (Vec<Owned>, Option<FrameError>) {
        let mut frames = Vec::new();
        loop {
            match take(input, frame_max) {
                Ok(Some(frame)) => {
                    frames.push((frame.kind, frame.channel, frame.payload.to_vec()));
                    input = &input[frame.size()..];
                }
                Ok(None) => return (frames, None),
                Err(error) => return (frames, Some(error)),
            }
        }
    }

    #[test]
    fn a_frame_that_cannot_become_valid_is_refused_early() {
        assert_eq!(take(&[4], 8192), Err(FrameError::Kind(4)));
        assert_eq!(
            take(&[1, 0, 1, 0xff, 0xff, 0xff, 0xff], 8192),
            Err(FrameError::TooLarge {
                size: 0x1_0000_0007,
                limit: 8192
            })
        );
        assert_eq!(
            take(&[8, 0, 0, 0, 0, 0, 0, 0], 8192),
            Err(FrameError::End(0))
        );
        assert_eq!(take(&[1, 0, 1], 8192), Ok(None));
    }

    #[test]
    fn the_largest_frame_is_accepted_and_one_byte_more_is_not() {
        for (length, fits) in [(8192 - ENVELOPE, true), (8193 - ENVELOPE, false)] {
            let mut out = Vec::new();
            put(&mut out, Kind::Body, 7, |out| {
                out.resize(out.len() + length, 1)
            });
            assert_eq!(take(&out, 8192).is_ok(), fits);
        }
    }

    #[test]
    fn bodies_are_cut_to_the_frame_size_and_an_empty_body_has_no_frame() {
        let mut out = Vec::new();
        put_content(&mut out, 3, 8192, &[0, 0], &[9; 20_000]);
        let (frames, error) = all(&out, 8192);
        assert_eq!(error, None);
        let sizes: Vec<_> = frames.iter().map(|(_, _, payload)| payload.len()).collect();
        assert_eq!(sizes, [14, 8184, 8184, 20_000 - 2 * 8184]);
        assert_eq!(content_header(&frames[0].2), Some((20_000, &[0, 0][..])));
        out.clear();
        put_content(&mut out, 3, 8192, &[0, 0], &[]);
        assert_eq!(all(&out, 8192).0.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_panic(input in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = all(&input, 8192);
        }

        #[test]
        fn frames_come_out_the_same_however_the_bytes_were_split(
            payloads in proptest::collection::vec((0..4usize, any::<u16>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..8),
            cuts in proptest::collection::vec(1..30usize, 0..40),
        ) {
            let kinds = [Kind::Method, Kind::Header, Kind::Body, Kind::Heartbeat];
            let mut wire = Vec::new();
            let mut expected = Vec::new();
            for (kind, channel, payload) in payloads {
                put(&mut wire, kinds[kind], channel, |out| out.extend_from_slice(&payload));
                expected.push((kinds[kind], channel, payload));
            }
            prop_assert_eq!(&all(&wire, 8192).0, &expected);
            let mut pending = Vec::new();
            let mut got = Vec::new();
            let mut rest = &wire[..];
            let mut cuts = cuts.into_iter();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
                rest = after;
                pending.extend_from_slice(piece);
                while let Ok(Some(frame)) = take(&pending, 8192) {
                    got.push((frame.kind, frame.channel, frame.payload.to_vec()));
                    let size = frame.size();
                    pending.drain(..size);
                }
            }
            prop_assert_eq!(got, expected);
        }
    }
}
