//! Accepts connections and sees them to their end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use forebay_access::Keeper;
use forebay_broker::Broker;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Options;
use crate::direct_reply::Switchboard;
use crate::drive::drive;
use crate::limits::DRAIN_MS;
use crate::roster::Roster;

/// How long accepting pauses when the machine has no file descriptor left, milliseconds.
const PAUSE_MS: u64 = 100;

/// What all connections of a server share.
pub(crate) struct Hall {
    pub(crate) broker: Broker,
    pub(crate) keeper: Keeper,
    pub(crate) options: Arc<Options>,
    pub(crate) roster: Roster,
    pub(crate) switchboard: Switchboard,
}

/// This protocol's server: cheap to clone. It serves listeners, knows who is connected, and opens
/// connections of our own ([`crate::Inside`]).
#[derive(Clone)]
pub struct Server {
    pub(crate) hall: Arc<Hall>,
}

impl Server {
    /// A server for those whom `keeper` knows.
    pub fn new(broker: Broker, keeper: Keeper, options: Options) -> Self {
        Self {
            hall: Arc::new(Hall {
                broker,
                keeper,
                options: Arc::new(options),
                roster: Roster::default(),
                switchboard: Switchboard::default(),
            }),
        }
    }

    /// Who is connected.
    pub fn roster(&self) -> &Roster {
        &self.hall.roster
    }

    /// Serves AMQP 0-9-1 on `listener` until `stop` fires. Then every client is told (320
    /// CONNECTION_FORCED), and the call returns when all have left, after about 5 s at the latest.
    ///
    /// # Errors
    /// None yet.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (hall, stop) = (self.hall.clone(), stop.clone());
                    connections.spawn(async move {
                        if let Err(error) = drive(stream, hall, stop).await {
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
}

/// Serves AMQP 0-9-1 on `listener` until `stop` fires, as [`Server::serve`].
///
/// # Errors
/// None yet.
pub async fn serve(
    listener: TcpListener,
    broker: Broker,
    options: Options,
    stop: CancellationToken,
) -> io::Result<()> {
    let keeper = Keeper::new(broker.clone());
    Server::new(broker, keeper, options)
        .serve(listener, stop)
        .await
}
