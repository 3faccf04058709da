//! A broker and the front end, in this process.

use std::net::SocketAddr;
use std::sync::Arc;

use forebay_base::SystemClock;
use forebay_broker::{Broker, Running};
use forebay_kafka::Options;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::wire::Client;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) broker: Broker,
    running: Running,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    _directory: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let broker_options = forebay_broker::Options::new(directory.path());
        let opened = tokio::task::spawn_blocking(move || {
            Broker::open(broker_options, Arc::new(SystemClock)).unwrap()
        });
        let (broker, running) = opened.await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(forebay_kafka::serve(
            listener,
            broker.clone(),
            options,
            stop.clone(),
        ));
        Self {
            address,
            broker,
            running,
            stop,
            serving,
            _directory: directory,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.serving.await.unwrap().unwrap();
        drop(self.broker);
        // How the broker ends is its own tests' business.
        let _ = self.running.shutdown().await;
    }
}
