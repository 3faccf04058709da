//! One connection: requests in, responses out in the same order.
//!
//! Requests are handled one after the other, as Kafka does, with one exception: a produce request
//! is handed to the broker and the next request is looked at while it is made durable, so that a
//! client with several in flight shares commits with itself. Every other request first waits until
//! the responses before it are out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forebay_broker::{Broker, Event, Refusal, Reply, RequestId, Session, SessionHandle};
use hashbrown::HashMap;
use kafka_protocol::messages::{ApiKey, RequestKind, ResponseKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{self, Fetcher, Waiting};
use crate::frame::{FrameBuffer, FrameError};
use crate::layout::LayoutError;
use crate::old_produce;
use crate::outgoing::{EncodeError, Outgoing};
use crate::request::{self, Incoming, Request, RequestError};
use crate::serve::Options;

/// Produce requests of one connection that may wait for their commits.
const PIPELINE_MAX: usize = 64;
/// No further request is looked at while the produce requests that wait have so many bytes.
const PIPELINE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bytes read ahead while a request waits, to notice that the client has gone.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// What the handling of a request needs besides the request.
pub(crate) struct Context {
    /// The broker.
    pub(crate) broker: Broker,
    /// The connection's session with it.
    pub(crate) session: SessionHandle,
    /// What the operator has set.
    pub(crate) options: Arc<Options>,
    /// The host the client is told to connect to.
    pub(crate) host: String,
    /// The port the client is told to connect to.
    pub(crate) port: u16,
    /// Where the client is.
    pub(crate) peer: SocketAddr,
}

/// Why a connection ended otherwise than by the client's will.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The network.
    #[error("{0}")]
    Network(#[from] std::io::Error),
    /// The client did not speak in frames.
    #[error("the client sent {0}")]
    Frame(#[from] FrameError),
    /// The client sent what is no request.
    #[error("the client sent {0}")]
    Request(#[from] RequestError),
    /// The client sent what is no old produce request.
    #[error("the client sent a malformed Produce request: {0}")]
    OldProduce(#[from] LayoutError),
    /// A response could not be encoded.
    #[error("{0}")]
    Encode(#[from] EncodeError),
    /// A produce request without an answer failed: the only way to tell the client.
    #[error("a produce request with acks=0 failed: {0}")]
    Unanswered(String),
    /// No request came for long.
    #[error("the client was idle for too long")]
    Idle,
    /// The broker is gone.
    #[error("the broker has stopped")]
    Stopped,
}

impl Ended {
    /// Whether this is everyday life and nobody's mistake.
    pub(crate) fn is_network(&self) -> bool {
        matches!(self, Self::Network(_) | Self::Idle | Self::Stopped)
    }
}

/// A connection.
pub(crate) struct Connection {
    wire: Wire,
    session: Session,
    context: Context,
    fetcher: Fetcher,
    /// Produce requests without a response yet, in order.
    waiting: VecDeque<Waiting>,
    /// Bytes of their batches.
    waiting_bytes: usize,
    /// Replies to those that are not at the front.
    replies: HashMap<RequestId, Result<Reply, Refusal>>,
    out: Outgoing,
}

/// The socket and what came from it.
#[derive(Debug)]
struct Wire {
    socket: TcpStream,
    frames: FrameBuffer,
    /// The client has closed its side.
    ended: bool,
}

impl Wire {
    async fn read(&mut self) -> std::io::Result<()> {
        let count = self.socket.read_buf(self.frames.room()).await?;
        self.ended = count == 0;
        Ok(())
    }

    /// Waits for `work`, but not longer than the client does.
    async fn while_there<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                read = self.read(), if !self.ended && self.frames.len() < READ_AHEAD_BYTES => {
                    if read.is_err() || self.ended {
                        self.ended = true;
                        return None;
                    }
                }
            }
        }
    }
}

impl Connection {
    /// A connection to serve.
    pub(crate) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        broker: Broker,
        options: Arc<Options>,
    ) -> std::io::Result<Self> {
        socket.set_nodelay(true)?;
        let (host, port) = match &options.advertised {
            Some((host, port)) => (host.clone(), *port),
            None => {
                let local = socket.local_addr()?;
                (local.ip().to_canonical().to_string(), local.port())
            }
        };
        let session = broker.session();
        Ok(Self {
            wire: Wire {
                socket,
                frames: FrameBuffer::new(options.max_request_bytes),
                ended: false,
            },
            context: Context {
                session: session.handle(),
                broker,
                options,
                host,
                port,
                peer,
            },
            session,
            fetcher: Fetcher::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            replies: HashMap::new(),
            out: Outgoing::default(),
        })
    }

    /// Serves until the client closes the connection, does something that cannot be answered, or
    /// `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), Ended> {
        let served = self.serve(&stop).await;
        if served.is_err() {
            // What came before is answered all the same, if that is possible.
            let _ = self.drain().await;
        }
        let _ = self.wire.socket.shutdown().await;
        served
    }

    async fn serve(&mut self, stop: &CancellationToken) -> Result<(), Ended> {
        let idle = Duration::from_millis(self.context.options.idle_ms);
        loop {
            while self.has_room() {
                let Some(frame) = self.wire.frames.next()? else {
                    break;
                };
                self.take(request::parse(frame)?, stop).await?;
            }
            self.answer_ready()?;
            self.flush().await?;
            if (self.wire.ended || stop.is_cancelled()) && self.waiting.is_empty() {
                return Ok(());
            }
            let reading =
                !self.wire.ended && !stop.is_cancelled() && self.waiting.len() < PIPELINE_MAX;
            tokio::select! {
                event = self.session.next(), if !self.waiting.is_empty() => {
                    self.note(event.ok_or(Ended::Stopped)?);
                }
                read = self.wire.read(), if reading => read?,
                () = stop.cancelled(), if !stop.is_cancelled() => {}
                () = tokio::time::sleep_until(Instant::now() + idle), if self.waiting.is_empty() => {
                    return Err(Ended::Idle);
                }
            }
        }
    }

    /// Whether another request may be looked at.
    fn has_room(&self) -> bool {
        self.waiting.len() < PIPELINE_MAX && self.waiting_bytes < PIPELINE_BYTES_MAX
    }

    /// Handles one request.
    async fn take(&mut self, incoming: Incoming, stop: &CancellationToken) -> Result<(), Ended> {
        match incoming {
            Incoming::Request(request) => self.handle(request, stop).await,
            Incoming::FutureApiVersions { correlation_id } => {
                self.drain().await?;
                let response = ResponseKind::ApiVersions(api::api_versions::unsupported());
                self.out
                    .push_response(ApiKey::ApiVersions, 0, correlation_id, &response)?;
                Ok(())
            }
            Incoming::OldProduce {
                version,
                correlation_id,
                body,
            } => {
                self.drain().await?;
                if let Some(body) = old_produce::answer(version, &body)? {
                    let mut encoded = Outgoing::default();
                    encoded.push(body);
                    self.out
                        .push_encoded(ApiKey::Produce, version, correlation_id, encoded)?;
                }
                Ok(())
            }
        }
    }

    async fn handle(&mut self, request: Request, stop: &CancellationToken) -> Result<(), Ended> {
        let Request {
            key,
            version,
            correlation_id,
            client_id,
            body,
        } = request;
        if let RequestKind::Produce(produce) = body {
            let waiting =
                api::produce::submit(&self.context, version, correlation_id, produce).await;
            self.waiting_bytes = self.waiting_bytes.saturating_add(waiting.bytes());
            self.waiting.push_back(waiting);
            // Earlier ones may be answered meanwhile.
            while let Some(event) = self.session.try_next() {
                self.note(event);
            }
            return Ok(());
        }
        self.drain().await?;
        let context = &self.context;
        let response = match body {
            RequestKind::Fetch(fetch) => {
                let work = self.fetcher.answer(context, version, fetch);
                if let Some(body) = unless_stopped(stop, self.wire.while_there(work)).await {
                    self.out.push_encoded(key, version, correlation_id, body)?;
                }
                return Ok(());
            }
            RequestKind::JoinGroup(join) => {
                let work = api::join_group::answer(context, version, &client_id, join);
                match unless_stopped(stop, self.wire.while_there(work)).await {
                    Some(response) => ResponseKind::JoinGroup(response),
                    None => return Ok(()),
                }
            }
            RequestKind::SyncGroup(sync) => {
                let work = api::sync_group::answer(context, sync);
                match unless_stopped(stop, self.wire.while_there(work)).await {
                    Some(response) => ResponseKind::SyncGroup(response),
                    None => return Ok(()),
                }
            }
            other => api::answer(context, key, version, other).await?,
        };
        self.out
            .push_response(key, version, correlation_id, &response)?;
        Ok(())
    }

    /// Keeps a reply for the response it belongs to.
    fn note(&mut self, event: Event) {
        if let Event::Reply { request, result } = event {
            self.replies.insert(request, result);
        }
    }

    /// Encodes the responses at the front that are complete.
    fn answer_ready(&mut self) -> Result<(), Ended> {
        while let Some(first) = self.waiting.front() {
            let reply = match first.request() {
                None => None,
                Some(request) => match self.replies.remove(&request) {
                    None => break,
                    reply => reply,
                },
            };
            if let Some(waiting) = self.waiting.pop_front() {
                self.waiting_bytes = self.waiting_bytes.saturating_sub(waiting.bytes());
                waiting.finish(&self.context, reply, &mut self.out)?;
            }
        }
        Ok(())
    }

    /// Waits until every response so far is out.
    async fn drain(&mut self) -> Result<(), Ended> {
        self.answer_ready()?;
        while !self.waiting.is_empty() {
            let event = self.session.next().await.ok_or(Ended::Stopped)?;
            self.note(event);
            self.answer_ready()?;
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Ended> {
        if self.out.len() > 0 {
            self.out.seal();
            let write = self.wire.socket.write_all_buf(&mut self.out);
            let idle = Duration::from_millis(self.context.options.idle_ms);
            tokio::time::timeout(idle, write)
                .await
                .map_err(|_elapsed| Ended::Idle)??;
        }
        Ok(())
    }
}

async fn unless_stopped<T>(
    stop: &CancellationToken,
    work: impl Future<Output = Option<T>>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = work => done,
        () = stop.cancelled() => None,
    }
}
