//! The accept loop, and what an operator can set.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use forebay_broker::Broker;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::connection::Connection;
use crate::topic_config::PARTITIONS_MAX;

/// What an operator can set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Host and port that clients are told to connect to. `None` tells each client the address it
    /// has connected to, which is right unless something translates addresses in between.
    pub advertised: Option<(String, u16)>,
    /// The cluster's id, as clients show it. Not empty.
    pub cluster_id: String,
    /// Whether a topic that a client asks about, and that does not exist, is made.
    pub auto_create_topics: bool,
    /// Partitions of a topic made without saying how many, 1 to 10,000.
    pub default_partitions: u32,
    /// The largest request, bytes.
    pub max_request_bytes: usize,
    /// The most a fetch answers, bytes; a first batch that is larger is answered nevertheless.
    pub max_fetch_bytes: usize,
    /// The most the records of one compressed batch may take when decompressed, bytes.
    pub max_decompressed_bytes: usize,
    /// A connection without a request for so long is closed, milliseconds. Also the longest a
    /// fetch waits.
    pub idle_ms: u64,
    /// The most connections at once. More wait to be accepted.
    pub max_connections: usize,
}

impl Default for Options {
    /// Kafka's defaults, where it has them.
    fn default() -> Self {
        Self {
            advertised: None,
            cluster_id: "forebay".to_owned(),
            auto_create_topics: true,
            default_partitions: 1,
            max_request_bytes: 100 * 1024 * 1024,
            max_fetch_bytes: 55 * 1024 * 1024,
            max_decompressed_bytes: 128 * 1024 * 1024,
            idle_ms: 600_000,
            max_connections: 10_000,
        }
    }
}

/// How long connections may take to end once told to.
const DRAIN: Duration = Duration::from_secs(5);
/// How long to wait after the system refused a connection, which it does when it lacks something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves Kafka clients on `listener` until `stop`. Then takes no more connections, answers the
/// produce requests that are under way, and returns, after about 5 seconds at the latest.
///
/// # Errors
/// If the options make no sense. What a client does wrong, or the network, ends connections only.
pub async fn serve(
    listener: TcpListener,
    broker: Broker,
    options: Options,
    stop: CancellationToken,
) -> io::Result<()> {
    check(&options).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
    let options = Arc::new(options);
    let permits = Arc::new(Semaphore::new(options.max_connections));
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = async {
                let permit = permits.clone().acquire_owned().await;
                (permit, listener.accept().await)
            } => accepted,
        };
        let (permit, (socket, peer)) = match accepted {
            (Ok(permit), Ok(accepted)) => (permit, accepted),
            (_, Err(error)) => {
                warn!(%error, "cannot accept a Kafka connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
            (Err(_closed), _) => break,
        };
        let connection = match Connection::new(socket, peer, broker.clone(), options.clone()) {
            Ok(connection) => connection,
            Err(error) => {
                debug!(%peer, %error, "a Kafka connection ended before it began");
                continue;
            }
        };
        let (stop, abort) = (stop.clone(), abort.clone());
        connections.spawn(async move {
            let _permit = permit;
            tokio::select! {
                ended = connection.run(stop) => match ended {
                    Ok(()) => debug!(%peer, "Kafka connection closed"),
                    Err(error) if error.is_network() => {
                        debug!(%peer, %error, "Kafka connection lost");
                    }
                    Err(error) => info!(%peer, %error, "closing a Kafka connection"),
                },
                () = abort.cancelled() => {}
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait())
        .await
        .is_err()
    {
        abort.cancel();
        connections.wait().await;
    }
    Ok(())
}

fn check(options: &Options) -> Result<(), &'static str> {
    if options.cluster_id.is_empty() {
        return Err("the cluster id must not be empty");
    }
    if !(1..=PARTITIONS_MAX.unsigned_abs()).contains(&options.default_partitions) {
        return Err("the default number of partitions must be from 1 to 10,000");
    }
    if !(1..Semaphore::MAX_PERMITS).contains(&options.max_connections) {
        return Err("at least one connection must be allowed");
    }
    Ok(())
}
