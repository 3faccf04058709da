//! Reading the body of a request, within bounds of size and time.

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};

use crate::error::Fault;
use crate::limits::{REQUEST_BYTES_DRAINED, REQUEST_BYTES_MAX};

/// How long a client may take for its body.
const TIME: Duration = Duration::from_secs(60);

/// Reads a body to its end. What is larger than the limit is dropped as it comes, not kept.
pub(crate) async fn read<B: Body<Data = Bytes> + Unpin>(body: B) -> Result<Bytes, Fault> {
    tokio::time::timeout(TIME, collect(body))
        .await
        .unwrap_or(Err(Fault::RequestTimeout))
}

async fn collect<B: Body<Data = Bytes> + Unpin>(mut body: B) -> Result<Bytes, Fault> {
    let announced = body.size_hint().lower();
    if announced > REQUEST_BYTES_DRAINED as u64 {
        return Err(Fault::RequestTooLarge);
    }
    let Some(first) = next(&mut body).await? else {
        return Ok(Bytes::new());
    };
    if body.is_end_stream() {
        return Ok(first);
    }
    let mut whole = BytesMut::from(first);
    while let Some(data) = next(&mut body).await? {
        if whole.len() + data.len() > REQUEST_BYTES_MAX {
            return drain(body, whole.len() + data.len()).await;
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Takes the rest of a body that is too large, so that the client gets to read the answer.
async fn drain<B: Body<Data = Bytes> + Unpin>(
    mut body: B,
    mut taken: usize,
) -> Result<Bytes, Fault> {
    while taken <= REQUEST_BYTES_DRAINED {
        let Some(data) = next(&mut body).await? else {
            break;
        };
        taken += data.len();
    }
    Err(Fault::RequestTooLarge)
}

/// The next piece of data; `None` at the end.
async fn next<B: Body<Data = Bytes> + Unpin>(body: &mut B) -> Result<Option<Bytes>, Fault> {
    loop {
        let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        match frame.map(|frame| frame.map(Frame::into_data)) {
            None => return Ok(None),
            Some(Ok(Ok(data))) => return Ok(Some(data)),
            Some(Ok(Err(_trailers))) => {}
            Some(Err(_)) => {
                return Err(Fault::Serialization(
                    "The request body could not be read.".to_owned(),
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;

    fn pieces(count: usize, bytes: usize) -> impl Body<Data = Bytes> + Unpin {
        let piece = Bytes::from(vec![b'x'; bytes]);
        let frames = std::iter::repeat_n(piece, count)
            .map(|piece| Ok::<_, std::io::Error>(Frame::data(piece)));
        StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn bodies_are_read_whole() {
        assert_eq!(
            read(Full::new(Bytes::from_static(b"abc"))).await,
            Ok(Bytes::from_static(b"abc"))
        );
        assert_eq!(read(Full::new(Bytes::new())).await, Ok(Bytes::new()));
        assert_eq!(read(pieces(3, 2)).await, Ok(Bytes::from_static(b"xxxxxx")));
    }

    #[tokio::test]
    async fn large_bodies_are_refused() {
        let over = REQUEST_BYTES_MAX / 65_536 + 1;
        assert_eq!(
            read(pieces(over, 65_536)).await,
            Err(Fault::RequestTooLarge)
        );
        assert_eq!(
            read(pieces(usize::MAX, 65_536)).await,
            Err(Fault::RequestTooLarge)
        );
    }
}
