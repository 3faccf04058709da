//! Exchange, queues, and where dead letters go.

use lapin::options::{
    BasicGetOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};

/// Where the shop publishes its events.
pub(crate) const EXCHANGE: &str = "shop";
/// What an order's event is called.
pub(crate) const ORDER_CREATED: &str = "order.created";
/// Where rejected e-mails go, by way of this exchange.
const FAILED_EXCHANGE: &str = "shop.failed";
const FAILED_EMAILS: &str = "shop_email_failed";

/// A connection as guest.
pub(crate) async fn connect(amqp: &str) -> lapin::Result<Connection> {
    let uri = format!("amqp://guest:guest@{amqp}/%2f");
    Connection::connect(&uri, ConnectionProperties::default()).await
}

/// The queue of a worker. Without dots, so that SQS clients may name it too.
pub(crate) fn queue(worker: &str) -> String {
    format!("shop_{worker}")
}

/// Declares everything, and empties what an earlier run left.
pub(crate) async fn declare(amqp: &str) -> lapin::Result<()> {
    let connection = connect(amqp).await?;
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    for (exchange, kind) in [
        (EXCHANGE, ExchangeKind::Topic),
        (FAILED_EXCHANGE, ExchangeKind::Direct),
    ] {
        channel
            .exchange_declare(exchange.into(), kind, durable, FieldTable::default())
            .await?;
    }
    let mut to_failed = FieldTable::default();
    to_failed.insert(
        "x-dead-letter-exchange".into(),
        AMQPValue::LongString(FAILED_EXCHANGE.into()),
    );
    to_failed.insert(
        "x-dead-letter-routing-key".into(),
        AMQPValue::LongString("email".into()),
    );
    queue_with(
        &channel,
        &queue("email"),
        to_failed,
        EXCHANGE,
        ORDER_CREATED,
    )
    .await?;
    for worker in ["warehouse", "search"] {
        queue_with(
            &channel,
            &queue(worker),
            FieldTable::default(),
            EXCHANGE,
            ORDER_CREATED,
        )
        .await?;
    }
    queue_with(
        &channel,
        &queue("analytics"),
        FieldTable::default(),
        EXCHANGE,
        "order.#",
    )
    .await?;
    queue_with(
        &channel,
        FAILED_EMAILS,
        FieldTable::default(),
        FAILED_EXCHANGE,
        "email",
    )
    .await?;
    connection.close(200, "declared".into()).await
}

async fn queue_with(
    channel: &Channel,
    name: &str,
    arguments: FieldTable,
    exchange: &str,
    key: &str,
) -> lapin::Result<()> {
    channel
        .queue_declare(name.into(), QueueDeclareOptions::durable(), arguments)
        .await?;
    channel
        .queue_purge(name.into(), QueuePurgeOptions::default())
        .await?;
    let (options, none) = (QueueBindOptions::default(), FieldTable::default());
    channel
        .queue_bind(name.into(), exchange.into(), key.into(), options, none)
        .await
}

/// How many e-mails were given up; looks at the first.
pub(crate) async fn count_failed_emails(amqp: &str) -> usize {
    let connection = connect(amqp).await.expect("Forebay runs");
    let channel = connection.create_channel().await.expect("a channel");
    let first = channel
        .basic_get(FAILED_EMAILS.into(), BasicGetOptions { no_ack: true })
        .await
        .expect("basic.get");
    let count = first.map_or(0, |first| {
        let headers = first.properties.headers().clone().unwrap_or_default();
        assert!(
            headers.inner().contains_key("x-death"),
            "a dead letter says where it died: {headers:?}"
        );
        first.message_count as usize + 1
    });
    connection
        .close(200, "counted".into())
        .await
        .expect("a clean close");
    count
}
