//! AMQP 0-9-1 by hand: frames that no client library would send.

use std::net::SocketAddr;

use crate::raw::Wire;

/// A frame that came.
#[derive(Clone, Debug)]
pub struct Frame {
    /// 1 method, 2 header, 3 body, 8 heartbeat.
    pub kind: u8,
    /// Its channel.
    pub channel: u16,
    /// What is between the head and the end mark.
    pub payload: Vec<u8>,
}

/// A `connection.close` or `channel.close`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The channel; 0 when it is the connection that is closed.
    pub channel: u16,
    /// The reply code.
    pub code: u16,
    /// The reply text.
    pub text: String,
}

/// A connection by hand.
pub struct Session {
    wire: Wire,
}

/// A whole frame.
pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend(
        u32::try_from(payload.len())
            .expect("a small payload")
            .to_be_bytes(),
    );
    bytes.extend(payload);
    bytes.push(0xce);
    bytes
}

/// A method frame.
pub fn method(channel: u16, class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend(method.to_be_bytes());
    payload.extend(arguments);
    frame(1, channel, &payload)
}

/// A short string.
pub fn shortstr(text: &str) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).expect("a short string")];
    bytes.extend(text.as_bytes());
    bytes
}

impl Session {
    /// A bare TCP connection.
    pub async fn raw(address: SocketAddr) -> Self {
        Self {
            wire: Wire::to(address).await,
        }
    }

    /// A connection opened on vhost `/` as guest, without heartbeats.
    pub async fn open(address: SocketAddr) -> Self {
        let mut session = Self::raw(address).await;
        session.put(b"AMQP\0\0\x09\x01").await;
        session.expect(10, 10).await;
        let mut start_ok = vec![0, 0, 0, 0];
        start_ok.extend(shortstr("PLAIN"));
        start_ok.extend([0, 0, 0, 12]);
        start_ok.extend(b"\0guest\0guest");
        start_ok.extend(shortstr("en_US"));
        session.put(&method(0, 10, 11, &start_ok)).await;
        let tune = session.expect(10, 30).await;
        let mut tune_ok = tune[4..10].to_vec();
        tune_ok.extend([0, 0]);
        session.put(&method(0, 10, 31, &tune_ok)).await;
        let mut open = shortstr("/");
        open.extend([0, 0]);
        session.put(&method(0, 10, 40, &open)).await;
        session.expect(10, 41).await;
        session
    }

    /// An open connection with channel 1 open.
    pub async fn with_channel(address: SocketAddr) -> Self {
        let mut session = Self::open(address).await;
        session.put(&method(1, 20, 10, &[0])).await;
        session.expect(20, 11).await;
        session
    }

    /// Writes bytes as they are.
    pub async fn put(&mut self, bytes: &[u8]) {
        self.wire.put(bytes).await;
    }

    /// The next frame; `None` when the peer has closed.
    pub async fn next(&mut self) -> Option<Frame> {
        let head = self.wire.take(7).await?;
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = self.wire.take(size as usize + 1).await?;
        assert_eq!(payload.pop(), Some(0xce), "a frame ends with its mark");
        Some(Frame {
            kind: head[0],
            channel: u16::from_be_bytes([head[1], head[2]]),
            payload,
        })
    }

    /// The next frame is that method; gives its payload, ids included.
    pub async fn expect(&mut self, class: u16, method: u16) -> Vec<u8> {
        let frame = self.next().await.expect("a frame");
        let ids = [class.to_be_bytes(), method.to_be_bytes()].concat();
        assert_eq!(
            frame.payload.get(..4),
            Some(&ids[..]),
            "wanted {class}.{method}, got {frame:?}"
        );
        frame.payload
    }

    /// Reads until a close comes; `None` when the peer hangs up without one.
    pub async fn close(&mut self) -> Option<Close> {
        loop {
            let frame = self.next().await?;
            let ids = frame.payload.get(..4);
            if ids == Some(&[0, 10, 0, 50]) || ids == Some(&[0, 20, 0, 40]) {
                let code = u16::from_be_bytes([frame.payload[4], frame.payload[5]]);
                let length = usize::from(frame.payload[6]);
                let text = String::from_utf8_lossy(&frame.payload[7..7 + length]).into_owned();
                return Some(Close {
                    channel: frame.channel,
                    code,
                    text,
                });
            }
        }
    }

    /// Answers a close and checks that the peer hangs up.
    pub async fn confirm_close(mut self) {
        self.put(&method(0, 10, 51, &[])).await;
        self.wire.rest().await;
    }

    /// Hangs up our side; all that still comes.
    pub async fn hang_up(mut self) -> Vec<u8> {
        self.wire.end().await;
        self.wire.rest().await
    }

    /// Everything until the peer hangs up.
    pub async fn rest(mut self) -> Vec<u8> {
        self.wire.rest().await
    }
}
