//! The accept loop, and the life of a connection.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use forebay_broker::Broker;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::http;
use crate::options::Options;
use crate::server::Server;

/// How long a connection may be idle, or take for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(120);
/// Buffer for the head of a request, and for reading its body, bytes.
const BUFFER_BYTES: usize = 64 * 1024;
/// How long connections may take to finish their requests when the server stops.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How long to wait when no connection can be accepted, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the SQS API on `listener` until `stop` fires and the connections have finished their
/// requests, for which they have 5 seconds. Long polls end at once then, without messages.
///
/// # Errors
///
/// None at present: what goes wrong with a connection ends that connection only.
pub async fn serve(
    listener: TcpListener,
    broker: Broker,
    options: Options,
    stop: CancellationToken,
) -> io::Result<()> {
    let server = Arc::new(Server {
        broker,
        options,
        stop: stop.clone(),
        altering: tokio::sync::Mutex::default(),
    });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, server.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIME, drained).await.is_err() {
        tracing::info!("connections that were still at work are closed");
        connections.shutdown().await;
    }
    Ok(())
}

async fn connection(stream: TcpStream, server: Arc<Server>) {
    // Without it small answers wait for the client's acknowledgement of the one before.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was gone before it was served");
        return;
    }
    let stop = server.stop.clone();
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(http::answer(server, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(BUFFER_BYTES)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
