use forebay_record::Batch;
use proptest::prelude::*;

use super::*;
use crate::table;

const HERE: (PartitionId, Offset) = (PartitionId(1), 5);

fn published(address: Address<'_>, properties: &Properties<'_>, body: &[u8]) -> Record {
    let mut raw = Vec::new();
    properties.encode(&mut raw);
    let mut builder = BatchBuilder::new(0);
    let both = (&raw[..], properties);
    push(
        &mut builder,
        Timestamp(7),
        Uuid::nil(),
        (address, false),
        both,
        body,
    )
    .unwrap();
    only(builder.finish())
}

fn foreign(key: Option<&[u8]>, headers: &[(&str, Option<&[u8]>)]) -> Record {
    let mut builder = BatchBuilder::new(0);
    builder
        .push(7_000, key, Some(b"body"), headers.iter().copied())
        .unwrap();
    only(builder.finish())
}

fn only(batch: Batch) -> Record {
    batch.records(usize::MAX).unwrap().next().unwrap().unwrap()
}

fn table_of(out: &Outbound<'_>) -> Vec<(String, Option<String>)> {
    let raw = out.properties();
    let properties = Properties::parse(&raw).unwrap();
    let Some(headers) = properties.headers else {
        return Vec::new();
    };
    table::check(headers).unwrap();
    Entries::new(headers)
        .map(|entry| {
            let (name, value) = entry.unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (text(name), value.plain().map(|plain| text(&plain)))
        })
        .collect()
}

fn pair(name: &str, value: &str) -> (String, Option<String>) {
    (name.to_owned(), Some(value.to_owned()))
}

const DEFAULT: Address<'_> = Address {
    exchange: "",
    routing_key: "q",
};

#[test]
fn properties_are_kept_byte_for_byte_and_shown_to_other_protocols() {
    let mut headers = Vec::new();
    let mut table = TableWriter(&mut headers);
    table.text(b"color", b"red");
    table.int(b"count", 3);
    table.void(b"nothing");
    table.text(b"forebay.id", b"forged");
    table.text(b"content-type", b"shadowed");
    table.text(KEY.as_bytes(), b"k");
    let properties = Properties {
        content_type: Some(b"text/plain"),
        correlation_id: Some(b"c"),
        priority: Some(4),
        headers: Some(&headers),
        ..Properties::default()
    };
    let record = published(DEFAULT, &properties, b"body");
    assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(record.timestamp, 7);
    let mut raw = Vec::new();
    properties.encode(&mut raw);
    let nil = Uuid::nil().hyphenated().to_string();
    let shown: Vec<_> = record.headers.iter().collect();
    let expected: [(&str, Option<&[u8]>); 6] = [
        ("forebay.id", Some(nil.as_bytes())),
        (RAW_PROPERTIES, Some(&raw)),
        ("content-type", Some(b"text/plain")),
        ("correlation-id", Some(b"c")),
        ("color", Some(b"red")),
        ("count", Some(b"3")),
    ];
    assert_eq!(shown, expected);
    let outbound = Outbound::new(&record, "q", 1, HERE);
    assert_eq!(*outbound.properties(), raw);
    assert_eq!(outbound.exchange(), b"");
    assert_eq!(outbound.routing_key(), b"q");
    assert_eq!(outbound.body(), b"body");
}

#[test]
fn where_a_message_was_published_to_is_told_to_its_consumer() {
    let address = Address {
        exchange: "x",
        routing_key: "",
    };
    let record = published(address, &Properties::default(), b"");
    let outbound = Outbound::new(&record, "q", 1, HERE);
    assert_eq!(
        (outbound.exchange(), outbound.routing_key()),
        (&b"x"[..], &b""[..])
    );
}

#[test]
fn a_message_that_came_back_says_how_often() {
    let mut headers = Vec::new();
    let mut table = TableWriter(&mut headers);
    table.int(DELIVERY_COUNT.as_bytes(), 99);
    table.text(b"own", b"x");
    let properties = Properties {
        headers: Some(&headers),
        ..Properties::default()
    };
    let record = published(DEFAULT, &properties, b"");
    assert_eq!(
        table_of(&Outbound::new(&record, "q", 3, HERE)),
        [pair("own", "x"), pair(DELIVERY_COUNT, "2")]
    );
}

#[test]
fn records_of_other_protocols_get_properties_headers_and_an_id() {
    let record = foreign(
        Some(b"key"),
        &[
            ("content-type", Some(b"text/plain")),
            ("name", Some(b"value")),
            ("none", None),
            ("binary", Some(&[0xff])),
            ("sqs.types", Some(b"{}")),
        ],
    );
    let outbound = Outbound::new(&record, "topic", 1, HERE);
    let raw = outbound.properties();
    let properties = Properties::parse(&raw).unwrap();
    let derived = Uuid::from_u128(envelope::derived_id(HERE.0, HERE.1)).to_string();
    assert_eq!(properties.content_type, Some(&b"text/plain"[..]));
    assert_eq!(properties.delivery_mode, Some(PERSISTENT));
    assert_eq!(properties.message_id, Some(derived.as_bytes()));
    assert_eq!(properties.timestamp, Some(7));
    assert_eq!(
        table_of(&outbound),
        [
            pair("name", "value"),
            ("none".to_owned(), None),
            pair("binary", "\u{fffd}"),
            pair(KEY, "key"),
        ]
    );
    assert_eq!(outbound.routing_key(), b"topic");
    let with_id = foreign(None, &[(envelope::ID, Some(b"given"))]);
    let outbound = Outbound::new(&with_id, "topic", 1, HERE);
    let raw = outbound.properties();
    assert_eq!(
        Properties::parse(&raw).unwrap().message_id,
        Some(&b"given"[..])
    );
    assert_eq!(Properties::parse(&raw).unwrap().headers, None);
}

#[test]
fn dead_letters_tell_their_death_as_rabbitmq_does() {
    let record = foreign(
        None,
        &[
            (
                envelope::DEAD_LETTER_HISTORY,
                Some(
                    b"2 9000 later max-deliveries 4:work 1:x 1:k\n\
                      1 5000 first rejected 5:other 0: 5:other\n",
                ),
            ),
            (envelope::EXCHANGE, Some(b"x")),
            (envelope::ROUTING_KEY, Some(b"k")),
        ],
    );
    let outbound = Outbound::new(&record, "dead", 1, HERE);
    assert_eq!(
        table_of(&outbound),
        [
            ("x-death".to_owned(), None),
            pair("x-first-death-reason", "rejected"),
            pair("x-first-death-queue", "other"),
            pair("x-first-death-exchange", ""),
            pair("x-last-death-reason", "delivery_limit"),
            pair("x-last-death-queue", "work"),
            pair("x-last-death-exchange", "x"),
        ]
    );
}

#[test]
fn a_header_that_anyone_may_have_written_is_not_trusted() {
    let long = [b'x'; 300];
    let record = foreign(
        None,
        &[
            (envelope::EXCHANGE, Some(&long)),
            (envelope::ROUTING_KEY, Some(&long)),
            (RAW_PROPERTIES, Some(b"\xff\xff\xff")),
            ("reply-to", Some(&long)),
        ],
    );
    let outbound = Outbound::new(&record, "topic", 1, HERE);
    assert_eq!(
        (outbound.exchange(), outbound.routing_key()),
        (&b""[..], &b"topic"[..])
    );
    let raw = outbound.properties();
    assert_eq!(Properties::parse(&raw).unwrap().reply_to, None);
    assert!(Properties::parse(&outbound.properties_without_headers()).is_ok());
}

proptest! {
    #[test]
    fn any_property_bytes_are_carried_or_refused(raw in proptest::collection::vec(any::<u8>(), 0..120)) {
        read_everything(&raw);
        if let Ok(properties) = Properties::parse(&raw) {
            let mut builder = BatchBuilder::new(0);
            push(&mut builder, Timestamp(0), Uuid::nil(), (DEFAULT, false), (&raw, &properties), b"").unwrap();
            let record = only(builder.finish());
            let outbound = Outbound::new(&record, "q", 1, HERE);
            prop_assert_eq!(&*outbound.properties(), &raw[..]);
        }
    }
}
