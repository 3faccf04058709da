//! What a queue does not keep: messages whose time is over or that are too many, and itself.

use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::timeout;

use crate::server::*;

async fn declare_with(
    channel: &Channel,
    name: &str,
    arguments: &[(&str, AMQPValue)],
) -> Result<u32, lapin::Error> {
    let mut table = FieldTable::default();
    for (argument, value) in arguments {
        table.insert(ShortString::from(*argument), value.clone());
    }
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let declared = channel.queue_declare(name.into(), options, table).await?;
    Ok(declared.message_count())
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// To the queue `dead`, through the default exchange.
fn to_dead() -> [(&'static str, AMQPValue); 2] {
    [
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text("dead")),
    ]
}

async fn publish_as(
    channel: &Channel,
    queue: &str,
    body: &[u8],
    properties: BasicProperties,
) -> Confirmation {
    let options = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), queue.into(), options, body, properties)
        .await
        .unwrap()
        .await
        .unwrap()
}

/// Reason, queue and original expiration of the latest death.
fn death(delivery: &lapin::message::Delivery) -> (String, String, Option<String>) {
    let headers = delivery.properties.headers().as_ref().unwrap();
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else {
        panic!("no x-death in {headers:?}");
    };
    let AMQPValue::FieldTable(latest) = &deaths.as_slice()[0] else {
        panic!("{deaths:?}");
    };
    let field = |name: &str| match latest.inner().get(name) {
        Some(AMQPValue::LongString(text)) => Some(text.to_string()),
        _ => None,
    };
    let named = |name| field(name).unwrap();
    (
        named("reason"),
        named("queue"),
        field("original-expiration"),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_becomes_a_dead_letter_by_the_queues_time_or_its_own() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare(&channel, "dead").await;
    let mut arguments = to_dead().to_vec();
    declare_with(&channel, "own", &arguments).await.unwrap();
    arguments.push(("x-message-ttl", AMQPValue::LongInt(20)));
    declare_with(&channel, "queue", &arguments).await.unwrap();
    let mut dead = consume(&channel, "dead", true).await;
    publish_as(&channel, "queue", b"a", persistent()).await;
    let letter = next(&mut dead).await;
    assert_eq!(letter.data, b"a");
    assert_eq!(death(&letter), ("expired".into(), "queue".into(), None));
    let properties = persistent().with_expiration("10".into());
    publish_as(&channel, "own", b"b", properties).await;
    let letter = next(&mut dead).await;
    assert_eq!(letter.data, b"b");
    assert_eq!(
        death(&letter),
        ("expired".into(), "own".into(), Some("10".into()))
    );
    assert_eq!(letter.properties.expiration(), &None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_time_at_all_is_enough_for_a_consumer_that_waits() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare(&channel, "dead").await;
    let mut arguments = to_dead().to_vec();
    arguments.push(("x-message-ttl", AMQPValue::LongInt(0)));
    declare_with(&channel, "q", &arguments).await.unwrap();
    let mut consumer = consume(&channel, "q", true).await;
    publish_as(&channel, "q", b"in time", persistent()).await;
    assert_eq!(next(&mut consumer).await.data, b"in time");
    let tag = consumer.tag();
    channel
        .basic_cancel(tag, BasicCancelOptions::default())
        .await
        .unwrap();
    publish_as(&channel, "q", b"too late", persistent()).await;
    let mut dead = consume(&channel, "dead", true).await;
    assert_eq!(next(&mut dead).await.data, b"too late");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_drops_its_oldest_message_or_refuses_the_newest() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare(&channel, "dead").await;
    let mut dead = consume(&channel, "dead", true).await;
    for (queue, overflow, gone, acks) in [
        ("drop", "drop-head", Some(b"0"), [true, true, true]),
        ("refuse", "reject-publish", None, [true, true, false]),
        (
            "refuse-dlx",
            "reject-publish-dlx",
            Some(b"2"),
            [true, true, false],
        ),
    ] {
        let mut arguments = to_dead().to_vec();
        arguments.push(("x-max-length", AMQPValue::LongInt(2)));
        arguments.push(("x-overflow", text(overflow)));
        declare_with(&channel, queue, &arguments).await.unwrap();
        let mut confirmations = Vec::new();
        for body in [b"0", b"1", b"2"] {
            let options = BasicPublishOptions::default();
            let sent = channel.basic_publish("".into(), queue.into(), options, body, persistent());
            confirmations.push(sent.await.unwrap());
        }
        for (confirmation, ack) in confirmations.into_iter().zip(acks) {
            let confirmation = confirmation.await.unwrap();
            assert_eq!(matches!(confirmation, Confirmation::Ack(_)), ack, "{queue}");
        }
        if let Some(gone) = gone {
            let letter = next(&mut dead).await;
            assert_eq!(letter.data, gone);
            assert_eq!(death(&letter), ("maxlen".into(), queue.into(), None));
        }
        assert_eq!(declare_with(&channel, queue, &arguments).await.unwrap(), 2);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_nobody_uses_is_deleted() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = connection.create_channel().await.unwrap();
    let arguments = [("x-expires", AMQPValue::LongInt(20))];
    declare_with(&channel, "q", &arguments).await.unwrap();
    let gone = async {
        while server.broker.directory().topic("q").is_some() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_consumer_is_active_and_the_next_takes_over() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    let arguments = [("x-single-active-consumer", AMQPValue::Boolean(true))];
    declare_with(&channel, "q", &arguments).await.unwrap();
    let first_channel = connection.create_channel().await.unwrap();
    let mut first = consume(&first_channel, "q", true).await;
    let mut second = consume(&channel, "q", true).await;
    for body in [b"a", b"b"] {
        publish_as(&channel, "q", body, persistent()).await;
        assert_eq!(next(&mut first).await.data, body);
    }
    first_channel
        .basic_cancel(first.tag(), BasicCancelOptions::default())
        .await
        .unwrap();
    publish_as(&channel, "q", b"c", persistent()).await;
    assert_eq!(next(&mut second).await.data, b"c");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_cannot_be_are_refused_in_rabbitmqs_words() {
    let server = Server::start().await;
    let connection = server.connect().await;
    for (argument, value, why) in [
        (
            "x-message-ttl",
            AMQPValue::LongInt(-1),
            "{value_negative,-1}",
        ),
        ("x-expires", AMQPValue::LongInt(0), "{value_zero,0}"),
        ("x-overflow", text("no"), "invalid_overflow"),
    ] {
        let channel = connection.create_channel().await.unwrap();
        let (number, text) = code(declare_with(&channel, "q", &[(argument, value)]).await);
        assert_eq!(number, 406);
        let wanted = format!("invalid arg '{argument}' for queue 'q' in vhost '/': {why}");
        assert!(text.contains(&wanted), "{text}");
    }
    server.stop().await;
}
