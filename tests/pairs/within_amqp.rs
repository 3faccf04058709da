//! AMQP to AMQP loses nothing: every property, every type of header.

use forebay_tests::{Forebay, amqp};
use lapin::BasicProperties;
use lapin::options::{BasicAckOptions, BasicGetOptions};
use lapin::types::{AMQPValue, ByteArray, FieldArray, FieldTable};

fn every_type() -> FieldTable {
    let mut nested = FieldTable::default();
    nested.insert("inner".into(), AMQPValue::LongString("value".into()));
    let array = FieldArray::from(vec![
        AMQPValue::LongInt(1),
        AMQPValue::LongString("two".into()),
    ]);
    let mut table = FieldTable::default();
    table.insert("boolean".into(), AMQPValue::Boolean(true));
    table.insert("short-short".into(), AMQPValue::ShortShortInt(-7));
    table.insert("short".into(), AMQPValue::ShortInt(-700));
    table.insert("long".into(), AMQPValue::LongInt(-70_000));
    table.insert("long-long".into(), AMQPValue::LongLongInt(-7_000_000_000));
    table.insert("double".into(), AMQPValue::Double(0.5));
    table.insert("text".into(), AMQPValue::LongString("Grüße".into()));
    table.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
    table.insert(
        "bytes".into(),
        AMQPValue::ByteArray(ByteArray::from(vec![0xff, 0])),
    );
    table.insert("nothing".into(), AMQPValue::Void);
    table.insert("table".into(), AMQPValue::FieldTable(nested));
    table.insert("array".into(), AMQPValue::FieldArray(array));
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_come_out_as_they_went_in() {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let connection = amqp::connect(forebay.amqp()).await;
    let channel = amqp::confirming(&connection).await.unwrap();
    amqp::declare(&channel, "exact").await;
    let properties = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("identity".into())
        .with_headers(every_type())
        .with_delivery_mode(2)
        .with_priority(4)
        .with_correlation_id("c-1".into())
        .with_reply_to("answers".into())
        .with_message_id("m-1".into())
        .with_timestamp(1_700_000_001)
        .with_type("order.created".into())
        .with_user_id("guest".into())
        .with_app_id("shop".into());
    for properties in [properties, BasicProperties::default()] {
        assert!(
            amqp::publish(&channel, "exact", b"{}", properties.clone())
                .await
                .unwrap()
        );
        let got = channel
            .basic_get("exact".into(), BasicGetOptions::default())
            .await
            .unwrap();
        let got = got.expect("a confirmed message is there");
        assert_eq!(got.data, b"{}");
        assert_eq!(got.properties, properties);
        assert!(!got.redelivered);
        assert_eq!(
            (got.exchange.as_str(), got.routing_key.as_str()),
            ("", "exact")
        );
        got.ack(BasicAckOptions::default()).await.unwrap();
    }
}
