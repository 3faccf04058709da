//! Exchanges, confirms, returns, prefetch and requeue as `lapin` sees them.

use forebay_tests::{Forebay, amqp};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions,
    BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions,
};
use lapin::types::FieldTable;
use lapin::{Channel, Confirmation, ExchangeKind};

async fn exchange(channel: &Channel, name: &str, kind: ExchangeKind, bindings: &[(&str, &str)]) {
    let none = FieldTable::default();
    channel
        .exchange_declare(
            name.into(),
            kind,
            ExchangeDeclareOptions::default(),
            none.clone(),
        )
        .await
        .unwrap();
    for (queue, key) in bindings {
        amqp::declare(channel, queue).await;
        let options = QueueBindOptions::default();
        channel
            .queue_bind(
                (*queue).into(),
                name.into(),
                (*key).into(),
                options,
                none.clone(),
            )
            .await
            .unwrap();
    }
}

async fn publish(channel: &Channel, exchange: &str, key: &str, body: &[u8]) -> Confirmation {
    let options = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let confirm = channel
        .basic_publish(
            exchange.into(),
            key.into(),
            options,
            body,
            amqp::persistent(),
        )
        .await
        .unwrap();
    confirm.await.unwrap()
}

async fn drain(channel: &Channel, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some(got) = channel
        .basic_get(queue.into(), BasicGetOptions::default())
        .await
        .unwrap()
    {
        got.ack(BasicAckOptions::default()).await.unwrap();
        bodies.push(String::from_utf8(got.delivery.data).unwrap());
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_route_and_what_has_no_route_comes_back_before_its_confirm() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let connection = amqp::connect(forebay.amqp()).await;
    let channel = amqp::confirming(&connection).await.unwrap();
    exchange(
        &channel,
        "d",
        ExchangeKind::Direct,
        &[
            ("red", "red"),
            ("blue", "blue"),
            ("both", "red"),
            ("both", "blue"),
        ],
    )
    .await;
    exchange(
        &channel,
        "f",
        ExchangeKind::Fanout,
        &[("all-1", ""), ("all-2", "")],
    )
    .await;
    exchange(
        &channel,
        "t",
        ExchangeKind::Topic,
        &[
            ("eu", "order.*.eu"),
            ("orders", "order.#"),
            ("everything", "#"),
        ],
    )
    .await;
    for (name, key) in [
        ("d", "red"),
        ("d", "blue"),
        ("f", "any"),
        ("t", "order.created.eu"),
        ("t", "order"),
        ("t", ""),
    ] {
        let body = format!("{name}:{key}");
        let confirmed = publish(&channel, name, key, body.as_bytes()).await;
        assert_eq!(confirmed, Confirmation::Ack(None), "{body}");
    }
    let nowhere = publish(&channel, "d", "green", b"lost").await;
    let Confirmation::Ack(Some(returned)) = nowhere else {
        panic!("not returned: {nowhere:?}")
    };
    assert_eq!(
        (returned.reply_code, returned.delivery.data.as_slice()),
        (312, &b"lost"[..])
    );
    let expected: [(&str, &[&str]); 8] = [
        ("red", &["d:red"]),
        ("blue", &["d:blue"]),
        ("both", &["d:red", "d:blue"]),
        ("all-1", &["f:any"]),
        ("all-2", &["f:any"]),
        ("eu", &["t:order.created.eu"]),
        ("orders", &["t:order.created.eu", "t:order"]),
        ("everything", &["t:order.created.eu", "t:order", "t:"]),
    ];
    for (queue, bodies) in expected {
        assert_eq!(drain(&channel, queue).await, bodies, "{queue}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prefetch_holds_back_until_an_ack_and_a_nack_puts_back_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let connection = amqp::connect(forebay.amqp()).await;
    let channel = amqp::confirming(&connection).await.unwrap();
    amqp::declare(&channel, "q").await;
    for n in 0..6 {
        amqp::publish(&channel, "q", n.to_string().as_bytes(), amqp::persistent())
            .await
            .unwrap();
    }
    channel
        .basic_qos(2, BasicQosOptions::default())
        .await
        .unwrap();
    let mut consumer = channel
        .basic_consume(
            "q".into(),
            "c".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    let first = consumer.next().await.unwrap().unwrap();
    let second = consumer.next().await.unwrap().unwrap();
    assert_eq!(
        (first.data.as_slice(), second.data.as_slice()),
        (&b"0"[..], &b"1"[..])
    );
    // With two out, the rest stays: another consumer's get finds the third.
    let other = connection.create_channel().await.unwrap();
    let third = other
        .basic_get("q".into(), BasicGetOptions::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((third.data.as_slice(), third.message_count), (&b"2"[..], 3));
    third.ack(BasicAckOptions::default()).await.unwrap();
    second.ack(BasicAckOptions::default()).await.unwrap();
    let fourth = consumer.next().await.unwrap().unwrap();
    assert_eq!(fourth.data, b"3");
    first
        .nack(BasicNackOptions {
            requeue: true,
            multiple: false,
        })
        .await
        .unwrap();
    let again = consumer.next().await.unwrap().unwrap();
    assert_eq!(
        (again.data.as_slice(), again.redelivered),
        (&b"0"[..], true)
    );
    // Acks of all at once.
    again.ack(BasicAckOptions { multiple: true }).await.unwrap();
    let fifth = consumer.next().await.unwrap().unwrap();
    assert_eq!(fifth.data, b"4");
    // What a channel leaves unsettled when it closes goes back.
    channel.close(200, "done".into()).await.unwrap();
    assert_eq!(drain(&other, "q").await, ["4", "5"]);
}
