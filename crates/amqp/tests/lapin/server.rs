//! A broker with this front end, and what a client does again and again.

use std::sync::Arc;
use std::time::Duration;

use forebay_amqp::{Options, serve};
use forebay_base::SystemClock;
use forebay_broker::{Broker, Running};
use lapin::message::Delivery;
use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Nothing here takes longer unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    pub(crate) broker: Broker,
    running: Running,
    uri: String,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    pub(crate) async fn start_in(dir: tempfile::TempDir) -> Self {
        let options = forebay_broker::Options::new(dir.path());
        let (broker, running) = Broker::open(options, Arc::new(SystemClock)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(
            listener,
            broker.clone(),
            Options::default(),
            stop.clone(),
        ));
        Self {
            broker,
            running,
            uri: format!("amqp://guest:guest@127.0.0.1:{port}/%2f"),
            stop,
            served,
            dir,
        }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection::connect(&self.uri, ConnectionProperties::default())
            .await
            .unwrap()
    }

    pub(crate) async fn stop(self) -> tempfile::TempDir {
        self.stop.cancel();
        timeout(PATIENCE, self.served)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        // How well the broker ends is for its own tests to say.
        self.running.shutdown().await.ok();
        drop(self.broker);
        self.dir
    }
}

pub(crate) async fn declare(channel: &Channel, name: &str) {
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(name.into(), options, FieldTable::default())
        .await
        .unwrap();
}

pub(crate) fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

pub(crate) async fn publish(channel: &Channel, exchange: &str, key: &str, body: &[u8]) {
    channel
        .basic_publish(
            exchange.into(),
            key.into(),
            BasicPublishOptions::default(),
            body,
            persistent(),
        )
        .await
        .unwrap()
        .await
        .unwrap();
}

pub(crate) async fn confirming(connection: &Connection) -> Channel {
    let channel = connection.create_channel().await.unwrap();
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .unwrap();
    channel
}

pub(crate) async fn consume(channel: &Channel, queue: &str, no_ack: bool) -> Consumer {
    let options = BasicConsumeOptions {
        no_ack,
        ..Default::default()
    };
    channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await
        .unwrap()
}

pub(crate) async fn next(consumer: &mut Consumer) -> Delivery {
    use futures_util::StreamExt;
    timeout(PATIENCE, consumer.next())
        .await
        .expect("a delivery")
        .expect("the consumer goes on")
        .expect("the channel is open")
}

/// The reply code of a refused call.
pub(crate) fn code<T>(result: Result<T, lapin::Error>) -> (u16, String) {
    let error = result.err().expect("a refusal");
    match error.kind() {
        lapin::ErrorKind::ProtocolError(error) => (error.get_id(), error.get_message().to_string()),
        other => panic!("another error: {other:?}"),
    }
}
