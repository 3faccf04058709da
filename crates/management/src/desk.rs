//! What the API stands on.

use std::sync::Arc;

use forebay_access::Keeper;
use forebay_amqp::Server;
use forebay_base::Timestamp;
use forebay_broker::{Broker, Refusal};
use tokio_util::sync::CancellationToken;

use crate::rates::Rates;

/// What clients are told of this broker.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program's version.
    pub version: String,
    /// The largest message body, bytes.
    pub max_message_bytes: usize,
    /// Each listener's name and address.
    pub listeners: Vec<(String, std::net::SocketAddr)>,
}

/// The management API of one broker: cheap to clone.
#[derive(Clone)]
pub struct Management {
    pub(crate) desk: Arc<Desk>,
}

pub(crate) struct Desk {
    pub(crate) broker: Broker,
    pub(crate) keeper: Keeper,
    pub(crate) server: Server,
    pub(crate) options: Options,
    pub(crate) rates: Rates,
    pub(crate) started: Timestamp,
}

impl Management {
    /// An API over these.
    pub fn new(broker: Broker, keeper: Keeper, server: Server, options: Options) -> Self {
        let started = broker.now();
        Self {
            desk: Arc::new(Desk {
                broker,
                keeper,
                server,
                options,
                rates: Rates::default(),
                started,
            }),
        }
    }

    /// Applies policies once, in case the program ended before they were, and then measures rates
    /// now and then until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        for vhost in self.desk.keeper.now().vhosts().keys() {
            if self.desk.apply_policies(vhost).await.is_err() {
                return;
            }
        }
        let rounds = self.desk.rates.keep(&self.desk.broker);
        tokio::select! {
            () = rounds => {}
            () = stop.cancelled() => {}
        }
    }

    /// Prometheus' page, with RabbitMQ's names.
    pub async fn metrics(&self) -> String {
        crate::metrics::page(&self.desk, crate::metrics::Detail::Sums).await
    }
}

impl Desk {
    pub(crate) async fn apply_policies(&self, vhost: &str) -> Result<(), Refusal> {
        let access = self.keeper.now();
        let most = self.options.max_message_bytes;
        forebay_amqp::apply_policies(&self.broker, &access, vhost, most).await
    }
}
