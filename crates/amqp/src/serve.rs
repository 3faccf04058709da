//! Accepts connections and sees them to their end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use forebay_broker::Broker;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::direct_reply::Switchboard;
use crate::drive::drive;
use crate::limits::DRAIN_MS;

/// How long accepting pauses when the machine has no file descriptor left, milliseconds.
const PAUSE_MS: u64 = 100;

/// Serves AMQP 0-9-1 on `listener` until `stop` fires. Then every client is told (320
/// CONNECTION_FORCED), and the call returns when all have left, after about 5 s at the latest.
pub async fn serve(
    listener: TcpListener,
    broker: Broker,
    options: Options,
    stop: CancellationToken,
) -> io::Result<()> {
    let options = Arc::new(options);
    let mut connections = JoinSet::new();
    let switchboard = Switchboard::default();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (broker, options, stop) = (broker.clone(), options.clone(), stop.clone());
                let switchboard = switchboard.clone();
                connections.spawn(async move {
                    if let Err(error) = drive(stream, broker, options, switchboard, stop).await {
                        tracing::debug!(%peer, %error, "connection lost");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
            }
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(Duration::from_millis(DRAIN_MS), drained)
        .await
        .is_err()
    {
        connections.shutdown().await;
    }
    Ok(())
}
