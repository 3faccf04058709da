//! A broker on a temporary directory, the front end on a free port, and a small HTTP client.

use std::net::SocketAddr;
use std::sync::Arc;

use forebay_base::SystemClock;
use forebay_broker::{Broker, Running};
use forebay_sqs::Options;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
    running: Running,
    options: Options,
    dir: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        Self::on(tempfile::tempdir().unwrap(), options).await
    }

    /// Stops everything and starts it anew on the same data.
    pub(crate) async fn restarted(self) -> Self {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        self.running.shutdown().await.unwrap();
        Self::on(self.dir, self.options).await
    }

    async fn on(dir: tempfile::TempDir, options: Options) -> Self {
        let storage = forebay_broker::Options {
            journal_file_bytes: 16 << 20,
            min_free_bytes: 0,
            ..forebay_broker::Options::new(dir.path())
        };
        let (broker, running) = Broker::open(storage, Arc::new(SystemClock)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = forebay_sqs::serve(listener, broker.clone(), options.clone(), stop.clone());
        let served = tokio::spawn(served);
        Self {
            broker,
            address,
            stop,
            served,
            running,
            options,
            dir,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::new(self.address).await
    }

    /// A world with a client and the queue `q`.
    pub(crate) async fn with_queue() -> (Self, Client, String) {
        let world = Self::new().await;
        let mut client = world.client().await;
        let url = client.create("q", json!({})).await;
        (world, client, url)
    }

    /// Stops the front end, without waiting for it.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops the front end, then the broker.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.served.await.unwrap().unwrap();
        self.running.shutdown().await.unwrap();
    }
}

/// One connection, kept alive.
pub(crate) struct Client {
    stream: TcpStream,
    host: String,
    unread: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Client {
    pub(crate) async fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self {
            stream,
            host: address.to_string(),
            unread: Vec::new(),
        }
    }

    /// Calls an action that is expected to succeed.
    pub(crate) async fn ok(&mut self, action: &str, body: Value) -> Value {
        let answer = self.call(action, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{action} {answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/x-amz-json-1.0")
        );
        assert!(answer.header("x-amzn-requestid").is_some());
        answer.json()
    }

    /// Calls an action that is expected to be refused; gives shape, query code and text.
    pub(crate) async fn refused(&mut self, action: &str, body: Value) -> (String, String, String) {
        let answer = self.call(action, &body.to_string()).await;
        assert_eq!(answer.status, 400, "{action} {answer:?}");
        let error = answer.json();
        let shape = error["__type"]
            .as_str()
            .unwrap()
            .rsplit('#')
            .next()
            .unwrap()
            .to_owned();
        let code = answer
            .header("x-amzn-query-error")
            .unwrap()
            .trim_end_matches(";Sender")
            .to_owned();
        (shape, code, error["message"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn create(&mut self, name: &str, attributes: Value) -> String {
        let made = self
            .ok(
                "CreateQueue",
                json!({"QueueName": name, "Attributes": attributes}),
            )
            .await;
        made["QueueUrl"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn attribute(&mut self, url: &str, name: &str) -> String {
        let answer = self
            .ok(
                "GetQueueAttributes",
                json!({"QueueUrl": url, "AttributeNames": [name]}),
            )
            .await;
        answer["Attributes"][name]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) async fn call(&mut self, action: &str, body: &str) -> Answer {
        let target = format!(
            "X-Amz-Target: AmazonSQS.{action}\r\nContent-Type: application/x-amz-json-1.0\r\n"
        );
        self.request("POST / HTTP/1.1", &target, body.as_bytes())
            .await
    }

    pub(crate) async fn request(&mut self, line: &str, headers: &str, body: &[u8]) -> Answer {
        let host = &self.host;
        let head = format!(
            "{line}\r\nHost: {host}\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.put(head.as_bytes()).await;
        self.put(body).await;
        self.answer().await.expect("an answer")
    }

    pub(crate) async fn put(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next answer; `None` if the connection ends instead.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            match self
                .unread
                .windows(4)
                .position(|bytes| bytes == b"\r\n\r\n")
            {
                Some(end) => break end + 4,
                None => self.read().await?,
            }
        };
        let head = String::from_utf8(self.unread[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: String::new(),
        };
        let length: usize = answer
            .header("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while self.unread.len() < end + length {
            self.read().await?;
        }
        answer.body = String::from_utf8(self.unread[end..end + length].to_vec()).unwrap();
        self.unread.drain(..end + length);
        Some(answer)
    }

    async fn read(&mut self) -> Option<()> {
        let read = self.stream.read_buf(&mut self.unread).await.ok()?;
        (read > 0).then_some(())
    }
}
