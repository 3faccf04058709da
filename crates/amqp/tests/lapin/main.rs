//! The front end before a real broker, asked by a real client.

#![allow(clippy::unwrap_used, reason = "a test fails by it, in its helpers too")]

mod extensions;
mod limits;
mod server;

use lapin::message::BasicReturnMessage;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Confirmation, ExchangeKind};
use tokio::time::timeout;

use server::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_delivered_in_order_and_acked_for_good() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare(&channel, "q").await;
    let mut waiting = Vec::new();
    for number in 0..3_000u32 {
        let confirm = channel
            .basic_publish(
                "".into(),
                "q".into(),
                BasicPublishOptions::default(),
                &number.to_be_bytes(),
                persistent(),
            )
            .await
            .unwrap();
        waiting.push(confirm);
    }
    for confirm in waiting {
        assert!(matches!(confirm.await.unwrap(), Confirmation::Ack(None)));
    }
    channel
        .basic_qos(100, BasicQosOptions::default())
        .await
        .unwrap();
    let mut consumer = consume(&channel, "q", false).await;
    for number in 0..3_000u32 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.data, number.to_be_bytes());
        assert_eq!(delivery.delivery_tag, u64::from(number) + 1);
        assert!(!delivery.redelivered);
        assert_eq!(delivery.exchange.as_str(), "");
        assert_eq!(delivery.routing_key.as_str(), "q");
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    channel
        .basic_cancel(consumer.tag(), BasicCancelOptions::default())
        .await
        .unwrap();
    let dir = {
        connection.close(200, "bye".into()).await.unwrap();
        server.stop().await
    };
    let server = Server::start_in(dir).await;
    let connection = server.connect().await;
    let channel = connection.create_channel().await.unwrap();
    let left = channel
        .basic_get("q".into(), BasicGetOptions::default())
        .await
        .unwrap();
    assert!(left.is_none());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_many_frames_come_back_whole() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare(&channel, "q").await;
    let mut consumer = consume(&channel, "q", true).await;
    for size in [0, 1, 131_064, 131_065, 300_000, 5_000_000] {
        let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        publish(&channel, "", "q", &body).await;
        assert_eq!(next(&mut consumer).await.data, body, "{size} bytes");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_and_headers_come_back_as_they_were() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare(&channel, "q").await;
    let mut headers = FieldTable::default();
    headers.insert("text".into(), AMQPValue::LongString("ä".into()));
    headers.insert("number".into(), AMQPValue::LongInt(7));
    headers.insert("nothing".into(), AMQPValue::Void);
    headers.insert(
        "list".into(),
        AMQPValue::FieldArray(vec![AMQPValue::Boolean(true)].into()),
    );
    let properties = persistent()
        .with_content_type("text/plain".into())
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_priority(3)
        .with_timestamp(1_234)
        .with_message_id("m".into())
        .with_type("t".into())
        .with_app_id("a".into())
        .with_user_id("guest".into())
        .with_headers(headers);
    channel
        .basic_publish(
            "".into(),
            "q".into(),
            BasicPublishOptions::default(),
            b"body",
            properties.clone(),
        )
        .await
        .unwrap()
        .await
        .unwrap();
    let got = channel
        .basic_get("q".into(), BasicGetOptions::default())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(got.delivery.properties, properties);
    assert_eq!(got.message_count, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mandatory_messages_nobody_takes_come_back_before_their_ack() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    let options = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let confirmation = channel
        .basic_publish("".into(), "nowhere".into(), options, b"lost", persistent())
        .await
        .unwrap()
        .await
        .unwrap();
    let Confirmation::Ack(Some(returned)) = confirmation else {
        panic!("no return: {confirmation:?}")
    };
    let BasicReturnMessage {
        delivery,
        reply_code,
        reply_text,
    } = returned;
    assert_eq!(delivery.data, b"lost");
    assert_eq!(delivery.properties, persistent());
    assert_eq!(delivery.routing_key.as_str(), "nowhere");
    assert_eq!((reply_code, reply_text.as_str()), (312, "NO_ROUTE"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_requeued_comes_again_first_and_says_so() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare(&channel, "q").await;
    for body in [b"1", b"2", b"3"] {
        publish(&channel, "", "q", body).await;
    }
    let get = async || {
        channel
            .basic_get("q".into(), BasicGetOptions::default())
            .await
            .unwrap()
    };
    let first = get().await.unwrap();
    assert_eq!(first.message_count, 2);
    let requeue = BasicNackOptions {
        requeue: true,
        ..Default::default()
    };
    first.nack(requeue).await.unwrap();
    let again = get().await.unwrap();
    assert_eq!((&*again.data, again.redelivered), (&b"1"[..], true));
    let headers = again.properties.headers().clone().unwrap();
    assert_eq!(
        headers.inner().get("x-delivery-count"),
        Some(&AMQPValue::LongLongInt(1))
    );
    // Closing the channel gives back what it held.
    channel.close(200, "bye".into()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let mut consumer = consume(&channel, "q", true).await;
    for (body, redelivered) in [(b"1", true), (b"2", false), (b"3", false)] {
        let delivery = next(&mut consumer).await;
        assert_eq!(
            (&*delivery.data, delivery.redelivered),
            (&body[..], redelivered)
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_gives_back_what_it_held() {
    let server = Server::start().await;
    let keeper = server.connect().await;
    let channel = confirming(&keeper).await;
    declare(&channel, "q").await;
    publish(&channel, "", "q", b"x").await;
    let connection = server.connect().await;
    let other = connection.create_channel().await.unwrap();
    let mut consumer = consume(&other, "q", false).await;
    assert!(!next(&mut consumer).await.redelivered);
    let mut waiting = consume(&channel, "q", false).await;
    connection.close(200, "bye".into()).await.unwrap();
    let again = next(&mut waiting).await;
    assert!(again.redelivered);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exchanges_route_and_bindings_of_exchanges_lead_on() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    for (name, kind) in [
        ("d", ExchangeKind::Direct),
        ("f", ExchangeKind::Fanout),
        ("t", ExchangeKind::Topic),
    ] {
        channel
            .exchange_declare(
                name.into(),
                kind,
                ExchangeDeclareOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
    }
    for queue in ["q1", "q2"] {
        declare(&channel, queue).await;
    }
    for (queue, exchange, key) in [("q1", "t", "a.*"), ("q2", "t", "a.#"), ("q1", "d", "k")] {
        channel
            .queue_bind(
                queue.into(),
                exchange.into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .unwrap();
    }
    channel
        .exchange_bind(
            "t".into(),
            "f".into(),
            "".into(),
            ExchangeBindOptions::default(),
            FieldTable::default(),
        )
        .await
        .unwrap();
    publish(&channel, "f", "a.b", b"both").await;
    publish(&channel, "t", "a.b.c", b"second").await;
    publish(&channel, "d", "k", b"first").await;
    let get = async |queue: &str| {
        let got = channel
            .basic_get(queue.into(), BasicGetOptions { no_ack: true })
            .await
            .unwrap()
            .unwrap();
        let delivery = got.delivery;
        (
            delivery.data,
            delivery.exchange.to_string(),
            delivery.routing_key.to_string(),
        )
    };
    let expect = |body: &[u8], exchange: &str, key: &str| {
        (body.to_vec(), exchange.to_string(), key.to_string())
    };
    assert_eq!(get("q1").await, expect(b"both", "f", "a.b"));
    assert_eq!(get("q1").await, expect(b"first", "d", "k"));
    assert_eq!(get("q2").await, expect(b"both", "f", "a.b"));
    assert_eq!(get("q2").await, expect(b"second", "t", "a.b.c"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rejected_messages_go_to_the_dead_letter_exchange_and_tell_their_death() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare(&channel, "dead").await;
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-dead-letter-exchange".into(),
        AMQPValue::LongString("".into()),
    );
    arguments.insert(
        "x-dead-letter-routing-key".into(),
        AMQPValue::LongString("dead".into()),
    );
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare("q".into(), options, arguments)
        .await
        .unwrap();
    publish(&channel, "", "q", b"x").await;
    let mut dead = consume(&channel, "dead", true).await;
    let got = channel
        .basic_get("q".into(), BasicGetOptions::default())
        .await
        .unwrap()
        .unwrap();
    got.reject(BasicRejectOptions { requeue: false })
        .await
        .unwrap();
    let letter = next(&mut dead).await;
    assert_eq!(letter.data, b"x");
    assert_eq!(letter.routing_key.as_str(), "dead");
    let headers = letter.properties.headers().clone().unwrap();
    let text = |text: &str| Some(AMQPValue::LongString(text.into()));
    assert_eq!(
        headers.inner().get("x-first-death-queue").cloned(),
        text("q")
    );
    let Some(AMQPValue::FieldArray(deaths)) = headers.inner().get("x-death") else {
        panic!("no x-death: {headers:?}")
    };
    let [AMQPValue::FieldTable(death)] = deaths.as_slice() else {
        panic!("one death: {deaths:?}")
    };
    assert_eq!(death.inner().get("reason").cloned(), text("rejected"));
    assert_eq!(death.inner().get("queue").cloned(), text("q"));
    assert_eq!(
        death.inner().get("count").cloned(),
        Some(AMQPValue::LongLongInt(1))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_the_codes_and_texts_clients_know() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let fresh = async || connection.create_channel().await.unwrap();
    let none = FieldTable::default;
    let channel = fresh().await;
    declare(&channel, "q").await;

    let passive = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    assert_eq!(
        code(
            fresh()
                .await
                .queue_declare("x".into(), passive, none())
                .await
        ),
        (404, "NOT_FOUND - no queue 'x' in vhost '/'".into())
    );
    let transient = QueueDeclareOptions::default();
    assert_eq!(
        code(
            fresh()
                .await
                .queue_declare("q".into(), transient, none())
                .await
        ),
        (
            406,
            "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': \
             received 'false' but current is 'true'"
                .into()
        )
    );
    assert_eq!(
        code(
            fresh()
                .await
                .queue_declare("amq.x".into(), transient, none())
                .await
        ),
        (
            403,
            "ACCESS_REFUSED - queue name 'amq.x' contains reserved prefix 'amq.*'".into()
        )
    );
    assert_eq!(
        code(
            fresh()
                .await
                .basic_consume("x".into(), "".into(), Default::default(), none())
                .await
                .map(|_| ())
        ),
        (404, "NOT_FOUND - no queue 'x' in vhost '/'".into())
    );
    let bind = QueueBindOptions::default();
    assert_eq!(
        code(
            fresh()
                .await
                .queue_bind("q".into(), "x".into(), "".into(), bind, none())
                .await
        ),
        (404, "NOT_FOUND - no exchange 'x' in vhost '/'".into())
    );
    assert_eq!(
        code(
            fresh()
                .await
                .exchange_delete("amq.direct".into(), ExchangeDeleteOptions::default())
                .await
        )
        .0,
        403
    );
    let mut levels = none();
    levels.insert("x-max-priority".into(), AMQPValue::LongInt(5));
    assert_eq!(
        code(
            fresh()
                .await
                .queue_declare("t".into(), transient, levels)
                .await
        ),
        (
            406,
            "PRECONDITION_FAILED - argument 'x-max-priority' is not supported yet".into()
        )
    );
    publish(&confirming(&connection).await, "", "q", b"x").await;
    let not_empty = QueueDeleteOptions {
        if_empty: true,
        ..Default::default()
    };
    assert_eq!(
        code(fresh().await.queue_delete("q".into(), not_empty).await),
        (
            406,
            "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty".into()
        )
    );
    assert_eq!(
        fresh()
            .await
            .queue_delete("q".into(), QueueDeleteOptions::default())
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        fresh()
            .await
            .queue_delete("q".into(), QueueDeleteOptions::default())
            .await
            .unwrap(),
        0
    );
    assert!(connection.status().connected());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_to_a_missing_exchange_closes_the_channel() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    let confirm = channel
        .basic_publish(
            "none".into(),
            "k".into(),
            BasicPublishOptions::default(),
            b"x",
            persistent(),
        )
        .await
        .unwrap();
    assert_eq!(
        code(confirm.await),
        (404, "NOT_FOUND - no exchange 'none' in vhost '/'".into())
    );
    assert!(connection.create_channel().await.is_ok());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exclusive_queue_is_locked_for_others_takes_their_replies_and_ends_with_its_owner() {
    let server = Server::start().await;
    let owner = server.connect().await;
    let other = server.connect().await;
    let channel = owner.create_channel().await.unwrap();
    let options = QueueDeclareOptions {
        exclusive: true,
        ..Default::default()
    };
    let queue = channel
        .queue_declare("".into(), options, FieldTable::default())
        .await
        .unwrap();
    let name = queue.name().to_string();
    assert!(name.starts_with("amq.gen-"));
    let mut replies = consume(&channel, &name, true).await;
    publish(&confirming(&other).await, "", &name, b"reply").await;
    assert_eq!(next(&mut replies).await.data, b"reply");
    let refused = other
        .create_channel()
        .await
        .unwrap()
        .basic_get(name.as_str().into(), BasicGetOptions::default())
        .await
        .map(|_| ());
    assert_eq!(code(refused).0, 405);
    owner.close(200, "bye".into()).await.unwrap();
    let passive = QueueDeclareOptions {
        passive: true,
        ..Default::default()
    };
    // The end of a session is decided after what was sent before it, so one question is enough
    // once the broker has worked off the end; until then the queue is locked.
    let end = async {
        loop {
            let channel = other.create_channel().await.unwrap();
            let asked = channel
                .queue_declare(name.as_str().into(), passive, FieldTable::default())
                .await;
            match code(asked).0 {
                404 => return,
                405 => {}
                other => panic!("{other}"),
            }
        }
    };
    timeout(PATIENCE, end).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_made_by_another_protocol_can_be_declared_as_durable() {
    let server = Server::start().await;
    server
        .broker
        .create_topic("foreign", forebay_broker::TopicConfig::default())
        .await
        .unwrap();
    let connection = server.connect().await;
    let channel = connection.create_channel().await.unwrap();
    declare(&channel, "foreign").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_tells_clients_why() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = connection.create_channel().await.unwrap();
    declare(&channel, "q").await;
    let mut consumer = consume(&channel, "q", true).await;
    server.stop().await;
    use futures_util::StreamExt;
    let end = timeout(PATIENCE, consumer.next()).await.unwrap();
    let error = end.expect("an error").expect_err("an error");
    assert!(
        error.to_string().contains("CONNECTION_FORCED") || error.to_string().contains("320"),
        "{error}"
    );
}
