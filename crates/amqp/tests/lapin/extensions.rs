//! What RabbitMQ adds to the protocol.

use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel};
use tokio::time::timeout;

use crate::server::*;

const REPLY_TO: &str = "amq.rabbitmq.reply-to";

async fn publish_to(
    channel: &Channel,
    (exchange, key): (&str, &str),
    mandatory: bool,
    properties: BasicProperties,
    body: &[u8],
) -> lapin::Confirmation {
    let options = BasicPublishOptions {
        mandatory,
        ..Default::default()
    };
    channel
        .basic_publish(exchange.into(), key.into(), options, body, properties)
        .await
        .unwrap()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_reply_goes_to_whoever_asked_and_through_no_queue() {
    let server = Server::start().await;
    let (asker, worker) = (server.connect().await, server.connect().await);
    let (asking, working) = (confirming(&asker).await, confirming(&worker).await);
    declare(&working, "requests").await;
    let mut answers = consume(&asking, REPLY_TO, true).await;
    let mut requests = consume(&working, "requests", true).await;
    for n in 0..3_u8 {
        let properties = BasicProperties::default()
            .with_reply_to(REPLY_TO.into())
            .with_correlation_id(n.to_string().into());
        publish_to(&asking, ("", "requests"), false, properties, &[n]).await;
        let request = next(&mut requests).await;
        let address = request.properties.reply_to().as_ref().unwrap().to_string();
        assert!(address.starts_with("amq.rabbitmq.reply-to."), "{address}");
        let answer = BasicProperties::default()
            .with_correlation_id(request.properties.correlation_id().clone().unwrap());
        let confirmed = publish_to(&working, ("", &address), true, answer, &[n + 100]).await;
        assert!(matches!(confirmed, lapin::Confirmation::Ack(None)));
        let answer = next(&mut answers).await;
        assert_eq!(answer.data, [n + 100]);
        assert_eq!(answer.routing_key.as_str(), address);
        let correlation = answer.properties.correlation_id().as_ref().unwrap();
        assert_eq!(correlation.as_str(), n.to_string());
    }
    assert_eq!(server.broker.directory().topic_count(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_reply_to_one_who_has_gone_comes_back_if_it_is_mandatory() {
    let server = Server::start().await;
    let (asker, worker) = (server.connect().await, server.connect().await);
    let (asking, working) = (confirming(&asker).await, confirming(&worker).await);
    declare(&working, "requests").await;
    let _waiting = consume(&asking, REPLY_TO, true).await;
    let mut requests = consume(&working, "requests", true).await;
    let properties = BasicProperties::default().with_reply_to(REPLY_TO.into());
    publish_to(&asking, ("", "requests"), false, properties, b"?").await;
    let request = next(&mut requests).await;
    let address = request.properties.reply_to().as_ref().unwrap().to_string();
    let exists = |channel: Channel, name: String| async move {
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let declared = channel.queue_declare(name.into(), options, FieldTable::default());
        declared.await.is_ok()
    };
    assert!(exists(worker.create_channel().await.unwrap(), address.clone()).await);
    asker.close(200, "gone".into()).await.unwrap();
    let gone =
        async { while exists(worker.create_channel().await.unwrap(), address.clone()).await {} };
    timeout(PATIENCE, gone).await.unwrap();
    let none = BasicProperties::default;
    let dropped = publish_to(&working, ("", &address), false, none(), b"!").await;
    assert!(matches!(dropped, lapin::Confirmation::Ack(None)));
    let returned = publish_to(&working, ("", &address), true, none(), b"!").await;
    let lapin::Confirmation::Ack(Some(returned)) = returned else {
        panic!("{returned:?}");
    };
    assert_eq!((returned.reply_code, &*returned.data), (312, &b"!"[..]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_with_direct_replies_have_rabbitmqs_words() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let consume_with = |channel: Channel, no_ack| async move {
        let options = BasicConsumeOptions {
            no_ack,
            ..Default::default()
        };
        channel
            .basic_consume(REPLY_TO.into(), "".into(), options, FieldTable::default())
            .await
    };
    let acks = connection.create_channel().await.unwrap();
    let (number, text) = code(consume_with(acks, false).await);
    assert_eq!(number, 406);
    assert!(text.contains("reply consumer cannot acknowledge"), "{text}");
    let twice = connection.create_channel().await.unwrap();
    let _first = consume_with(twice.clone(), true).await.unwrap();
    let (number, text) = code(consume_with(twice, true).await);
    assert_eq!(number, 406);
    assert!(text.contains("reply consumer already set"), "{text}");
    let nobody = confirming(&connection).await;
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default().with_reply_to(REPLY_TO.into());
    let published = nobody
        .basic_publish("".into(), "q".into(), options, b"", properties)
        .await
        .unwrap()
        .await;
    let (number, text) = code(published);
    assert_eq!(number, 406);
    assert!(
        text.contains("fast reply consumer does not exist"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_higher_priority_gets_what_it_can_take_and_others_the_rest() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare(&channel, "work").await;
    let consume = |priority: i32, prefetch: u16| {
        let channel = channel.clone();
        async move {
            let qos = BasicQosOptions::default();
            channel.basic_qos(prefetch, qos).await.unwrap();
            let mut arguments = FieldTable::default();
            arguments.insert("x-priority".into(), AMQPValue::LongInt(priority));
            let options = BasicConsumeOptions::default();
            let consumer = channel.basic_consume("work".into(), "".into(), options, arguments);
            consumer.await.unwrap()
        }
    };
    let mut low = consume(-5, 100).await;
    let mut high = consume(5, 2).await;
    for n in 0..5_u8 {
        publish(&channel, "", "work", &[n]).await;
    }
    let mut got = (Vec::new(), Vec::new());
    for _ in 0..2 {
        got.0.extend(next(&mut high).await.data);
    }
    for _ in 0..3 {
        got.1.extend(next(&mut low).await.data);
    }
    assert_eq!(got, (vec![0, 1], vec![2, 3, 4]));
    let text = FieldTable::from(std::collections::BTreeMap::from([(
        "x-priority".into(),
        AMQPValue::LongString("high".into()),
    )]));
    let refused = connection.create_channel().await.unwrap();
    let options = BasicConsumeOptions::default();
    let refused = refused.basic_consume("work".into(), "".into(), options, text);
    assert_eq!(code(refused.await).0, 406);
    server.stop().await;
}

/// A queue whose dead letters go to `target` by the default exchange.
async fn declare_dying(channel: &Channel, name: &str, target: &str, limit: Option<i32>) {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(target));
    if let Some(limit) = limit {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(limit));
    }
    let options = QueueDeclareOptions::durable();
    let declared = channel.queue_declare(name.into(), options, arguments);
    declared.await.unwrap();
}

/// `queue`, `reason`, `count` of each death, and the reason and queue of the first.
fn deaths(headers: &FieldTable) -> (Vec<(String, String, i64)>, String) {
    let text = |table: &FieldTable, name: &str| match table.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    };
    let Some(AMQPValue::FieldArray(all)) = headers.inner().get("x-death") else {
        panic!("no x-death: {headers:?}")
    };
    let one = |death: &AMQPValue| {
        let AMQPValue::FieldTable(death) = death else {
            panic!("{death:?}")
        };
        let count = match death.inner().get("count") {
            Some(AMQPValue::LongLongInt(count)) => *count,
            other => panic!("{other:?}"),
        };
        (text(death, "queue"), text(death, "reason"), count)
    };
    let first = ["x-first-death-queue", "x-first-death-reason"].map(|name| text(headers, name));
    (all.as_slice().iter().map(one).collect(), first.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_dies_again_and_again_tells_all_its_deaths_the_latest_first() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare_dying(&channel, "one", "two", None).await;
    declare_dying(&channel, "two", "one", None).await;
    publish(&channel, "", "one", b"x").await;
    let mut one = consume(&channel, "one", false).await;
    let mut two = consume(&channel, "two", false).await;
    let reject = BasicRejectOptions { requeue: false };
    next(&mut one).await.reject(reject).await.unwrap();
    next(&mut two).await.reject(reject).await.unwrap();
    let again = next(&mut one).await;
    let death = |queue: &str, count| (queue.to_owned(), "rejected".to_owned(), count);
    assert_eq!(
        deaths(again.properties.headers().as_ref().unwrap()),
        (
            vec![death("two", 1), death("one", 1)],
            "one rejected".into()
        )
    );
    again.reject(reject).await.unwrap();
    let again = next(&mut two).await;
    assert_eq!(
        deaths(again.properties.headers().as_ref().unwrap()),
        (
            vec![death("one", 2), death("two", 1)],
            "one rejected".into()
        )
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_go_round_for_ever_without_a_rejection_is_dropped() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare(&channel, "grave").await;
    declare_dying(&channel, "round", "round", Some(1)).await;
    declare_dying(&channel, "ends", "grave", Some(1)).await;
    let mut grave = consume(&channel, "grave", true).await;
    for queue in ["round", "ends"] {
        publish(&channel, "", queue, queue.as_bytes()).await;
        let mut consumer = consume(&channel, queue, false).await;
        for attempt in 0..2 {
            let delivery = next(&mut consumer).await;
            assert_eq!(delivery.redelivered, attempt > 0);
            let requeue = BasicRejectOptions { requeue: true };
            delivery.reject(requeue).await.unwrap();
        }
        if queue == "ends" {
            // Dead letters move in order: what went round would have come back before this.
            let letter = next(&mut grave).await;
            let (deaths, _) = deaths(letter.properties.headers().as_ref().unwrap());
            assert_eq!(deaths[0].1, "delivery_limit");
        }
    }
    let get = channel.basic_get("round".into(), BasicGetOptions::default());
    assert!(get.await.unwrap().is_none());
    server.stop().await;
}

async fn declare_exchange(
    channel: &Channel,
    name: &str,
    kind: lapin::ExchangeKind,
    arguments: FieldTable,
) {
    let options = ExchangeDeclareOptions::default();
    let declared = channel.exchange_declare(name.into(), kind, options, arguments);
    declared.await.unwrap();
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

async fn bodies(channel: &Channel, queue: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    let options = BasicGetOptions { no_ack: true };
    while let Some(got) = channel.basic_get(queue.into(), options).await.unwrap() {
        bodies.push(String::from_utf8_lossy(&got.delivery.data).into_owned());
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_headers_exchange_matches_in_its_four_ways() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    declare_exchange(
        &channel,
        "h",
        lapin::ExchangeKind::Headers,
        FieldTable::default(),
    )
    .await;
    declare_exchange(
        &channel,
        "front",
        lapin::ExchangeKind::Fanout,
        FieldTable::default(),
    )
    .await;
    let options = ExchangeBindOptions::default();
    let led = channel.exchange_bind(
        "h".into(),
        "front".into(),
        "".into(),
        options,
        FieldTable::default(),
    );
    led.await.unwrap();
    let (one, two) = (AMQPValue::LongInt(1), text("two"));
    for how in ["all", "any", "all-with-x", "any-with-x", ""] {
        let queue = if how.is_empty() { "default" } else { how };
        declare(&channel, queue).await;
        let mut arguments = table(&[
            ("a", one.clone()),
            ("b", two.clone()),
            ("x-c", AMQPValue::Void),
        ]);
        if !how.is_empty() {
            arguments.insert("x-match".into(), text(how));
        }
        let options = QueueBindOptions::default();
        let bound = channel.queue_bind(
            queue.into(),
            "h".into(),
            "ignored".into(),
            options,
            arguments,
        );
        bound.await.unwrap();
    }
    for (exchange, body, headers) in [
        (
            "h",
            "both",
            table(&[("a", AMQPValue::LongLongInt(1)), ("b", two.clone())]),
        ),
        ("front", "a", table(&[("a", one.clone())])),
        (
            "h",
            "text",
            table(&[("a", text("1")), ("x-c", one.clone())]),
        ),
        (
            "h",
            "everything",
            table(&[("a", one.clone()), ("b", two), ("x-c", text("any"))]),
        ),
        ("h", "none", table(&[("other", one)])),
    ] {
        let properties = BasicProperties::default().with_headers(headers);
        publish_to(
            &channel,
            (exchange, "key"),
            false,
            properties,
            body.as_bytes(),
        )
        .await;
    }
    assert_eq!(bodies(&channel, "all").await, ["both", "everything"]);
    assert_eq!(bodies(&channel, "default").await, ["both", "everything"]);
    assert_eq!(bodies(&channel, "any").await, ["both", "a", "everything"]);
    assert_eq!(bodies(&channel, "all-with-x").await, ["everything"]);
    assert_eq!(
        bodies(&channel, "any-with-x").await,
        ["both", "a", "text", "everything"]
    );
    let wrong = connection.create_channel().await.unwrap();
    let arguments = table(&[("x-match", text("most"))]);
    let options = QueueBindOptions::default();
    let refused = wrong.queue_bind("all".into(), "h".into(), "".into(), options, arguments);
    assert_eq!(code(refused.await).0, 406);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alternate_exchange_takes_what_no_binding_wants_across_a_restart() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    let options = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let direct = lapin::ExchangeKind::Direct;
    let declare_main = |channel: Channel, alternate: &'static str| async move {
        let arguments = table(&[("alternate-exchange", text(alternate))]);
        let direct = lapin::ExchangeKind::Direct;
        channel
            .exchange_declare("main".into(), direct, options, arguments)
            .await
    };
    declare_main(channel.clone(), "rest").await.unwrap();
    let declared = channel.exchange_declare("rest".into(), direct, options, FieldTable::default());
    declared.await.unwrap();
    for (queue, exchange, key) in [("known", "main", "k"), ("unknown", "rest", "u")] {
        declare(&channel, queue).await;
        let options = QueueBindOptions::default();
        let none = FieldTable::default();
        let bound = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, none);
        bound.await.unwrap();
    }
    let other = declare_main(connection.create_channel().await.unwrap(), "other").await;
    assert_eq!(code(other).0, 406);
    let dir = server.stop().await;
    let server = Server::start_in(dir).await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    for key in ["k", "u", "lost"] {
        let none = BasicProperties::default();
        let confirmed = publish_to(&channel, ("main", key), true, none, key.as_bytes()).await;
        let returned = matches!(confirmed, lapin::Confirmation::Ack(Some(_)));
        assert_eq!(returned, key == "lost");
    }
    assert_eq!(bodies(&channel, "known").await, ["k"]);
    assert_eq!(bodies(&channel, "unknown").await, ["u"]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_names_further_keys_and_hides_some() {
    let server = Server::start().await;
    let connection = server.connect().await;
    let channel = confirming(&connection).await;
    for queue in ["to", "cc", "bcc"] {
        declare(&channel, queue).await;
    }
    let keys = |keys: &[&str]| {
        let keys: Vec<_> = keys.iter().map(|key| text(key)).collect();
        AMQPValue::FieldArray(keys.into())
    };
    let headers = table(&[
        ("CC", keys(&["cc", "to", "nowhere"])),
        ("BCC", keys(&["bcc"])),
        ("mine", text("kept")),
    ]);
    let properties = BasicProperties::default().with_headers(headers);
    publish_to(&channel, ("", "to"), true, properties, b"x").await;
    for queue in ["to", "cc", "bcc"] {
        let options = BasicGetOptions { no_ack: true };
        let got = channel
            .basic_get(queue.into(), options)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(got.delivery.routing_key.as_str(), "to");
        let headers = got.delivery.properties.headers().clone().unwrap();
        let names: Vec<_> = headers.inner().keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["CC", "mine"]);
        assert_eq!(bodies(&channel, queue).await, Vec::<String>::new());
    }
    let properties = BasicProperties::default().with_headers(table(&[("CC", text("cc"))]));
    let options = BasicPublishOptions::default();
    let published = channel
        .basic_publish("".into(), "to".into(), options, b"", properties)
        .await
        .unwrap()
        .await;
    assert_eq!(code(published).0, 406);
    server.stop().await;
}
