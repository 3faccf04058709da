//! The nine pairs: what one protocol put in, another takes out with the same body, key and headers
//! (docs/mapping.md).

use forebay_tests::letter::{collect, make_topic, send};
use forebay_tests::{Forebay, Letter, Protocol};

/// Letters that every protocol can say.
fn letters_for_all() -> Vec<Letter> {
    vec![
        Letter::text("hello"),
        Letter::text("x"),
        Letter::text("Grüße aus 東京 🚂\n\ttab"),
        Letter::text("{\"order\":17}")
            .header("tenant", "acme")
            .header("trace", "0af7651916cd43dd"),
        Letter::text("keyed").key("customer-17").header("n", "42"),
        Letter::text("binary header").header("raw", vec![0xff, 0x00, 0xfe]),
        Letter::text("large ".repeat(40_000)),
    ]
}

/// Bodies that SQS cannot say but may have to hear.
fn letters_in_bytes() -> Vec<Letter> {
    vec![
        Letter::bytes(vec![0xff, 0x00, 0x80, 0xc3]).header("tenant", "acme"),
        Letter::bytes((0..=255).collect::<Vec<u8>>()),
        Letter::text("a control character: \u{1}"),
    ]
}

async fn pair(producer: Protocol, consumer: Protocol) {
    let dir = tempfile::tempdir().unwrap();
    let forebay = Forebay::on(dir.path()).await;
    let mut letters = letters_for_all();
    if producer != Protocol::Sqs {
        letters.extend(letters_in_bytes());
    }
    if producer != Protocol::Sqs && consumer != Protocol::Sqs {
        letters.push(Letter::bytes([]));
    }
    let makers = if producer == consumer {
        vec![producer]
    } else {
        vec![producer, consumer]
    };
    for maker in makers {
        let topic = format!("made-by-{maker:?}");
        make_topic(&forebay, maker, &topic).await;
        send(&forebay, producer, &topic, &letters).await;
        let got = collect(&forebay, consumer, &topic, letters.len()).await;
        assert_same(
            &got,
            &letters,
            &format!("{producer:?} to {consumer:?} on a topic made by {maker:?}"),
        );
    }
}

/// Compares without printing a quarter of a megabyte when it differs.
fn assert_same(got: &[Letter], sent: &[Letter], what: &str) {
    for (index, (got, sent)) in got.iter().zip(sent).enumerate() {
        assert!(
            got.body == sent.body,
            "{what}: body {index} differs: {:?}",
            String::from_utf8_lossy(&got.body)
        );
        assert_eq!(
            (&got.key, &got.headers),
            (&sent.key, &sent.headers),
            "{what}: letter {index}"
        );
    }
    assert_eq!(got.len(), sent.len(), "{what}");
}

macro_rules! nine {
    ($($name:ident: $producer:ident to $consumer:ident;)*) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            pair(Protocol::$producer, Protocol::$consumer).await;
        }
    )* };
}

nine! {
    sqs_to_sqs: Sqs to Sqs;
    sqs_to_amqp: Sqs to Amqp;
    sqs_to_kafka: Sqs to Kafka;
    amqp_to_sqs: Amqp to Sqs;
    amqp_to_amqp: Amqp to Amqp;
    amqp_to_kafka: Amqp to Kafka;
    kafka_to_sqs: Kafka to Sqs;
    kafka_to_amqp: Kafka to Amqp;
    kafka_to_kafka: Kafka to Kafka;
}
