//! Between a message of this protocol and a record: body, properties and headers, both ways. The
//! rules are those of `docs/mapping.md`.

use std::borrow::Cow;

use forebay_base::{Offset, PartitionId, Timestamp};
use forebay_broker::{Death, Deaths, envelope, namespace};
use forebay_record::{BatchBuilder, BatchError, Headers, Record};
use uuid::Uuid;

use crate::properties::{PERSISTENT, Properties};
use crate::table::{Entries, TableWriter, Value, put_table_item, put_text_item};

/// Record header that keeps property flags and list byte for byte.
pub(crate) const RAW_PROPERTIES: &str = "amqp.properties";
/// Header-table entry that is the record key.
pub(crate) const KEY: &str = "x-forebay-key";
/// Header-table entry that tells how often a message came back (RabbitMQ, quorum queues).
const DELIVERY_COUNT: &str = "x-delivery-count";

/// Properties that other protocols see as headers of these names.
const CONTENT_TYPE: &str = "content-type";
const CONTENT_ENCODING: &str = "content-encoding";
const CORRELATION_ID: &str = "correlation-id";
const REPLY_TO: &str = "reply-to";
const MESSAGE_ID: &str = "message-id";
const TYPE: &str = "type";
const APP_ID: &str = "app-id";

/// Starts of header names that are not the user's own.
const RESERVED: [&str; 3] = [envelope::RESERVED_PREFIX, "amqp.", "sqs."];

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

/// Where a message is published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
}

/// The record key a publisher chose.
pub(crate) fn key_of<'a>(properties: &Properties<'a>) -> Option<&'a [u8]> {
    let headers = properties.headers?;
    Entries::new(headers)
        .flatten()
        .find_map(|(name, value)| match value {
            Value::Text(key) | Value::Bytes(key) if name == KEY.as_bytes() => Some(key),
            _ => None,
        })
}

/// Appends a published message to a batch.
pub(crate) fn push(
    builder: &mut BatchBuilder,
    now: Timestamp,
    id: Uuid,
    (address, has_further_keys): (Address<'_>, bool),
    (raw, properties): (&[u8], &Properties<'_>),
    body: &[u8],
) -> Result<(), BatchError> {
    let mut buffer = Uuid::encode_buffer();
    let id: &str = id.hyphenated().encode_lower(&mut buffer);
    let through_exchange = !address.exchange.is_empty();
    let fixed = [
        (envelope::ID, Some(id.as_bytes())),
        (
            envelope::EXCHANGE,
            through_exchange.then_some(address.exchange.as_bytes()),
        ),
        (
            envelope::ROUTING_KEY,
            // Else it is the name of the queue.
            (through_exchange || has_further_keys).then_some(address.routing_key.as_bytes()),
        ),
        (RAW_PROPERTIES, Some(raw)),
        (CONTENT_TYPE, properties.content_type),
        (CONTENT_ENCODING, properties.content_encoding),
        (CORRELATION_ID, properties.correlation_id),
        (REPLY_TO, properties.reply_to),
        (MESSAGE_ID, properties.message_id),
        (TYPE, properties.kind),
        (APP_ID, properties.app_id),
    ];
    let user = user_headers(properties, |name| {
        fixed[4..]
            .iter()
            .any(|(taken, value)| value.is_some() && *taken == name)
    });
    let headers = fixed
        .iter()
        .filter(|(_, value)| value.is_some())
        .copied()
        .chain(user.iter().map(|(name, value)| (*name, Some(&**value))));
    builder.push(now.0, key_of(properties), Some(body), headers)
}

/// The header-table entries other protocols can read.
fn user_headers<'a>(
    properties: &Properties<'a>,
    taken: impl Fn(&str) -> bool,
) -> Vec<(&'a str, Cow<'a, [u8]>)> {
    let Some(table) = properties.headers else {
        return Vec::new();
    };
    Entries::new(table)
        .flatten()
        .filter_map(|(name, value)| {
            let name = std::str::from_utf8(name).ok()?;
            if is_reserved(name) || name == KEY || taken(name) {
                return None;
            }
            Some((name, value.plain()?))
        })
        .collect()
}

/// What a record's headers say to this protocol, gathered in one walk.
#[derive(Default)]
struct Envelope<'a> {
    id: Option<&'a [u8]>,
    exchange: Option<&'a [u8]>,
    routing_key: Option<&'a [u8]>,
    raw: Option<&'a [u8]>,
    history: Option<&'a [u8]>,
}

impl<'a> Envelope<'a> {
    fn of(headers: &'a Headers) -> Self {
        let mut found = Self::default();
        for (name, value) in headers {
            let Some(value) = value else { continue };
            match name {
                envelope::ID => found.id = Some(value),
                envelope::EXCHANGE => found.exchange = Some(value),
                envelope::ROUTING_KEY => found.routing_key = Some(value),
                RAW_PROPERTIES => found.raw = Some(value),
                envelope::DEAD_LETTER_HISTORY => found.history = Some(value),
                _ => {}
            }
        }
        found
    }
}

/// The place of a record that was never stored.
pub(crate) const NOWHERE: (PartitionId, Offset) = (PartitionId(0), 0);

/// A record on its way out.
pub(crate) struct Outbound<'a> {
    record: &'a Record,
    found: Envelope<'a>,
    topic: &'a str,
    attempt: u32,
    place: (PartitionId, Offset),
}

impl<'a> Outbound<'a> {
    /// Reads what `record`, taken from `topic` at `place` for the `attempt`th time, says.
    pub(crate) fn new(
        record: &'a Record,
        topic: &'a str,
        attempt: u32,
        place: (PartitionId, Offset),
    ) -> Self {
        Self {
            record,
            found: Envelope::of(&record.headers),
            topic,
            attempt,
            place,
        }
    }

    /// The exchange it was published to. Anyone may have written the header, so it is not trusted
    /// to be a name.
    pub(crate) fn exchange(&self) -> &'a [u8] {
        short(self.found.exchange).unwrap_or_default()
    }

    pub(crate) fn routing_key(&self) -> &'a [u8] {
        short(self.found.routing_key).unwrap_or(self.topic.as_bytes())
    }

    pub(crate) fn body(&self) -> &'a [u8] {
        self.record.value.as_deref().unwrap_or_default()
    }

    /// The encoded properties: the bytes as they were published if nothing has to be said beyond
    /// them.
    pub(crate) fn properties(&self) -> Cow<'a, [u8]> {
        let published = self
            .found
            .raw
            .and_then(|raw| Some((raw, Properties::parse(raw).ok()?)));
        match published {
            Some((raw, _)) if self.attempt <= 1 && self.found.history.is_none() => {
                Cow::Borrowed(raw)
            }
            Some((_, properties)) => Cow::Owned(self.extended(properties)),
            None => Cow::Owned(self.foreign()),
        }
    }

    /// The same without header table, for a peer whose frames are too small for it.
    pub(crate) fn properties_without_headers(&self) -> Vec<u8> {
        let properties = self
            .found
            .raw
            .and_then(|raw| Properties::parse(raw).ok())
            .unwrap_or(Properties {
                delivery_mode: Some(PERSISTENT),
                ..Properties::default()
            });
        let mut out = Vec::new();
        Properties {
            headers: None,
            ..properties
        }
        .encode(&mut out);
        out
    }

    /// Published properties with what the broker adds to the header table.
    fn extended(&self, mut properties: Properties<'_>) -> Vec<u8> {
        let mut table = Vec::new();
        let died = self.found.history.is_some();
        // It does not end once more where it went.
        let expiration = properties.expiration.take_if(|_| died);
        let added = |name: &[u8]| {
            name == DELIVERY_COUNT.as_bytes() || self.found.history.is_some() && is_of_death(name)
        };
        put_entries_but(properties.headers.unwrap_or_default(), added, &mut table);
        self.add_own(&mut table, expiration);
        let mut out = Vec::new();
        Properties {
            headers: Some(&table),
            ..properties
        }
        .encode(&mut out);
        out
    }

    /// Properties of a record that another protocol wrote.
    fn foreign(&self) -> Vec<u8> {
        let mut table = Vec::new();
        let mut properties = Properties {
            delivery_mode: Some(PERSISTENT),
            ..Properties::default()
        };
        for (name, value) in &self.record.headers {
            let property = match name {
                CONTENT_TYPE => &mut properties.content_type,
                CONTENT_ENCODING => &mut properties.content_encoding,
                CORRELATION_ID => &mut properties.correlation_id,
                REPLY_TO => &mut properties.reply_to,
                MESSAGE_ID => &mut properties.message_id,
                TYPE => &mut properties.kind,
                APP_ID => &mut properties.app_id,
                _ => {
                    if !is_reserved(name) && name.len() <= usize::from(u8::MAX) {
                        put_plain(&mut TableWriter(&mut table), name, value);
                    }
                    continue;
                }
            };
            *property = short(value);
        }
        if let Some(key) = &self.record.key {
            put_plain(&mut TableWriter(&mut table), KEY, Some(key));
        }
        self.add_own(&mut table, None);
        let mut buffer = Uuid::encode_buffer();
        let derived = envelope::derived_id(self.place.0, self.place.1);
        let derived: &str = Uuid::from_u128(derived)
            .hyphenated()
            .encode_lower(&mut buffer);
        let id = short(self.found.id).unwrap_or(derived.as_bytes());
        properties.message_id = properties.message_id.or(Some(id));
        properties.timestamp = u64::try_from(self.record.timestamp / 1000).ok();
        properties.headers = (!table.is_empty()).then_some(&table[..]);
        let mut out = Vec::new();
        properties.encode(&mut out);
        out
    }

    fn add_own(&self, table: &mut Vec<u8>, expiration: Option<&[u8]>) {
        if self.attempt > 1 {
            TableWriter(table).int(DELIVERY_COUNT.as_bytes(), i64::from(self.attempt) - 1);
        }
        if let Some(history) = self.found.history {
            Self::add_deaths(&Deaths::read(history), expiration, table);
        }
    }

    /// The headers of a dead letter, as RabbitMQ writes them.
    fn add_deaths(deaths: &Deaths, expiration: Option<&[u8]>, table: &mut Vec<u8>) {
        let mut table = TableWriter(table);
        table.array(DEATHS.as_bytes(), |out| {
            for death in deaths.iter() {
                put_table_item(out, |table| put_death(death, expiration, table));
            }
        });
        let [first, last] = [(FIRST_DEATH, deaths.first()), (LAST_DEATH, deaths.last())];
        for (names, death) in [first, last] {
            let Some(death) = death else { continue };
            let [reason, queue, exchange] = names;
            table.text(reason.as_bytes(), reason_of(death));
            table.text(queue.as_bytes(), own_name(&death.source).as_bytes());
            table.text(exchange.as_bytes(), death.exchange.as_bytes());
        }
    }
}

/// One entry of `x-death`.
fn put_death(death: &Death, expiration: Option<&[u8]>, mut table: TableWriter<'_>) {
    table.int(b"count", i64::try_from(death.count).unwrap_or(i64::MAX));
    table.text(b"reason", reason_of(death));
    table.text(b"queue", own_name(&death.source).as_bytes());
    table.time(b"time", death.time_ms / 1000);
    table.text(b"exchange", death.exchange.as_bytes());
    table.array(b"routing-keys", |out| {
        put_text_item(out, death.routing_key.as_bytes());
    });
    if let Some(expiration) = expiration.filter(|_| death.first) {
        table.text(b"original-expiration", expiration);
    }
}

/// A queue's name in its virtual host.
fn own_name(source: &str) -> &str {
    namespace::split(source).1
}

fn reason_of(death: &Death) -> &[u8] {
    match &*death.reason {
        "max-deliveries" => b"delivery_limit",
        other => other.as_bytes(),
    }
}

const DEATHS: &str = "x-death";
const FIRST_DEATH: [&str; 3] = [
    "x-first-death-reason",
    "x-first-death-queue",
    "x-first-death-exchange",
];
const LAST_DEATH: [&str; 3] = [
    "x-last-death-reason",
    "x-last-death-queue",
    "x-last-death-exchange",
];

fn is_of_death(name: &[u8]) -> bool {
    let mut all = FIRST_DEATH.iter().chain(&LAST_DEATH).chain([&DEATHS]);
    all.any(|own| own.as_bytes() == name)
}

/// A value another protocol wrote: text if it is UTF-8, else bytes.
fn put_plain(table: &mut TableWriter<'_>, name: &str, value: Option<&[u8]>) {
    match value {
        None => table.void(name.as_bytes()),
        Some(value) if std::str::from_utf8(value).is_ok() => table.text(name.as_bytes(), value),
        Some(value) => table.bytes(name.as_bytes(), value),
    }
}

/// `text` if it can be a short string.
fn short(text: Option<&[u8]>) -> Option<&[u8]> {
    text.filter(|text| text.len() <= usize::from(u8::MAX))
}

/// Copies a table's entries but those with names that `left_out` says.
pub(crate) fn put_entries_but(
    mut table: &[u8],
    left_out: impl Fn(&[u8]) -> bool,
    out: &mut Vec<u8>,
) {
    while !table.is_empty() {
        let mut entries = Entries::new(table);
        let Some(Ok((name, _))) = entries.next() else {
            break;
        };
        let (entry, rest) = table.split_at(table.len() - entries.rest_len());
        if !left_out(name) {
            out.extend_from_slice(entry);
        }
        table = rest;
    }
}

/// Publishes and delivers a message with these properties and compares: for fuzzing.
pub(crate) fn read_everything(raw: &[u8]) {
    let Ok(properties) = Properties::parse(raw) else {
        return;
    };
    let mut builder = BatchBuilder::new(0);
    let address = Address {
        exchange: "exchange",
        routing_key: "key",
    };
    let pushed = push(
        &mut builder,
        Timestamp(0),
        Uuid::nil(),
        (address, false),
        (raw, &properties),
        b"body",
    );
    if pushed.is_err() {
        return;
    }
    let records = builder.finish().records(usize::MAX);
    for record in records.into_iter().flatten().flatten() {
        let outbound = Outbound::new(&record, "topic", 1, NOWHERE);
        assert_eq!(&*outbound.properties(), raw);
        let outbound = Outbound::new(&record, "topic", 2, NOWHERE);
        for extended in [
            outbound.properties().into_owned(),
            outbound.properties_without_headers(),
        ] {
            let again = Properties::parse(&extended).map(|again| Properties {
                headers: properties.headers,
                ..again
            });
            assert_eq!(again, Ok(properties));
        }
    }
}

#[cfg(test)]
mod tests;
