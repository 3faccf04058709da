//! The AMQP client: `lapin`.

use std::net::SocketAddr;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// A connection as guest; an error when the listener is not there.
pub async fn try_connect(address: SocketAddr) -> lapin::Result<Connection> {
    let uri = format!("amqp://guest:guest@{address}/%2f");
    Connection::connect(&uri, ConnectionProperties::default()).await
}

/// A connection as guest.
pub async fn connect(address: SocketAddr) -> Connection {
    try_connect(address).await.expect("an AMQP connection")
}

/// A channel with publisher confirms.
pub async fn confirming(connection: &Connection) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    Ok(channel)
}

/// Declares a durable queue without arguments.
pub async fn declare(channel: &Channel, queue: &str) {
    channel
        .queue_declare(
            queue.into(),
            QueueDeclareOptions::durable(),
            FieldTable::default(),
        )
        .await
        .expect("queue.declare");
}

/// What a persistent message says of itself.
pub fn persistent() -> BasicProperties {
    BasicProperties::default().with_delivery_mode(2)
}

/// Publishes to a queue through the default exchange and waits for the confirm: true for ack.
pub async fn publish(
    channel: &Channel,
    queue: &str,
    body: &[u8],
    properties: BasicProperties,
) -> lapin::Result<bool> {
    let confirm = channel
        .basic_publish(
            "".into(),
            queue.into(),
            BasicPublishOptions::default(),
            body,
            properties,
        )
        .await?;
    Ok(confirm.await?.is_ack())
}
