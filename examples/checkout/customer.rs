//! A customer: one HTTP request at a time, over a connection of its own.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// POSTs JSON; gives status and body.
pub(crate) async fn post(address: SocketAddr, path: &str, json: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("the shop is open");
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{json}",
        json.len(),
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the shop listens");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("the shop answers");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|word| word.parse().ok())
        .expect("a status line");
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    (status, body.unwrap_or_default())
}
