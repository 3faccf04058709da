//! Raw sockets: for what a well-made client cannot be talked into.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A connection whose reads give up after ten seconds.
pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    /// Connects.
    pub async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("the listener is open");
        stream.set_nodelay(true).expect("a TCP socket");
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Writes all of it; a peer that has closed already is no failure here.
    pub async fn put(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Closes our side for writing.
    pub async fn end(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Exactly so many bytes, or `None` when the peer closed before.
    pub async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        let read =
            tokio::time::timeout(Duration::from_secs(10), self.stream.read_exact(&mut bytes)).await;
        read.unwrap_or_else(|_| panic!("no answer and no close within 10 s"))
            .ok()?;
        Some(bytes)
    }

    /// All until the peer closes. A reset counts as a close.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read =
            tokio::time::timeout(Duration::from_secs(10), self.stream.read_to_end(&mut bytes))
                .await;
        let _ = read
            .unwrap_or_else(|_| panic!("the peer did not close within 10 s; it sent {bytes:?}"));
        bytes
    }
}

/// An HTTP answer: status, head, body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head as sent, header names in lower case.
    pub head: String,
    /// The body as text.
    pub body: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines
            .into_iter()
            .find(|(found, _)| found.trim() == name)
            .map(|(_, value)| value.trim())
    }
}

/// Sends `request` as it is and reads one HTTP answer; `None` when the peer closed without one.
pub async fn http(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let mut wire = Wire::to(address).await;
    wire.put(request).await;
    read_answer(&mut wire).await
}

/// Reads one HTTP answer with a content length or up to the close.
pub async fn read_answer(wire: &mut Wire) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(wire.take(1).await?);
    }
    let head = String::from_utf8(head).expect("a head is ASCII");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("a status line");
    let head = head
        .lines()
        .map(|line| match line.split_once(':') {
            Some((name, value)) => format!("{}:{value}\n", name.to_ascii_lowercase()),
            None => format!("{line}\n"),
        })
        .collect();
    let mut answer = Answer {
        status,
        head,
        body: String::new(),
    };
    let body = match answer
        .header("content-length")
        .and_then(|value| value.parse().ok())
    {
        Some(length) => wire.take(length).await?,
        None => wire.rest().await,
    };
    answer.body = String::from_utf8_lossy(&body).into_owned();
    Some(answer)
}

/// GET with its own connection: status and body.
pub async fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let answer = http(address, request.as_bytes()).await.expect("an answer");
    (answer.status, answer.body)
}
