//! What clients publish, gathered: consecutive messages with the same `basic.publish`, durability
//! and key become one record batch, and all batches of one read of the socket one command.

use std::sync::Arc;

use forebay_base::Timestamp;
use forebay_broker::{Durability, Outgoing, Publish, Target, WhenFull};
use forebay_record::{Batch, BatchBuilder, BatchError, murmur2};
use uuid::Uuid;

use crate::content::{self, Address};
use crate::limits::{BATCH_BYTES, BATCH_MESSAGES, UNANSWERED_BYTES, UNANSWERED_MESSAGES};
use crate::properties::Properties;
use crate::route::Route;

/// One message as it came.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) channel: u16,
    /// Which opening of that channel number.
    pub(crate) epoch: u64,
    /// The payload of its method frame.
    pub(crate) head: &'a [u8],
    pub(crate) address: Address<'a>,
    pub(crate) route: &'a Route,
    pub(crate) mandatory: bool,
    pub(crate) raw_properties: &'a [u8],
    pub(crate) properties: &'a Properties<'a>,
    pub(crate) body: &'a [u8],
    /// Its number if the channel confirms.
    pub(crate) number: Option<u64>,
}

impl Message<'_> {
    fn durability(&self) -> Durability {
        if self.properties.is_persistent() {
            Durability::Synced
        } else {
            Durability::Written
        }
    }

    /// How long it is worth something, milliseconds.
    fn lives_ms(&self) -> Option<u64> {
        std::str::from_utf8(self.properties.expiration?)
            .ok()?
            .parse()
            .ok()
    }
}

/// Messages that went out as one batch and are answered as one.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) channel: u16,
    pub(crate) epoch: u64,
    /// The confirm number of the first.
    pub(crate) first: Option<u64>,
    pub(crate) exchange: Arc<str>,
    pub(crate) routing_key: Arc<str>,
    /// What to give back if nobody takes it.
    pub(crate) mandatory: Option<Batch>,
    messages: usize,
    bytes: usize,
}

/// A command and whom its answers concern.
pub(crate) type Published = (Publish, Vec<Group>);

#[derive(Debug)]
struct OpenBatch {
    channel: u16,
    epoch: u64,
    head: Vec<u8>,
    exchange: Arc<str>,
    routing_key: Arc<str>,
    route: Route,
    mandatory: bool,
    durability: Durability,
    key: Option<Vec<u8>>,
    lives_ms: Option<u64>,
    first: Option<u64>,
    builder: BatchBuilder,
}

impl OpenBatch {
    fn takes(&self, message: &Message<'_>, key: Option<&[u8]>) -> bool {
        self.channel == message.channel
            && self.epoch == message.epoch
            && self.head == message.head
            && self.route == *message.route
            && self.durability == message.durability()
            && self.key.as_deref() == key
            && self.lives_ms == message.lives_ms()
            && self.builder.len() < BATCH_MESSAGES
            && self.builder.size_bytes() + message.body.len() < BATCH_BYTES
    }
}

/// Message ids in the order of publishing: version 7 UUIDs whose random part counts up from a
/// random start.
#[derive(Debug)]
struct Ids(u128);

impl Ids {
    fn next(&mut self, now: Timestamp) -> Uuid {
        self.0 = self.0.wrapping_add(1);
        let [.., a, b, c, d, e, f, g, h, i, j] = self.0.to_be_bytes();
        let millis = u64::try_from(now.0).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &[a, b, c, d, e, f, g, h, i, j])
            .into_uuid()
    }
}

/// The publishing side of a connection.
#[derive(Debug)]
pub(crate) struct Publisher {
    open: Option<OpenBatch>,
    messages: Vec<Outgoing>,
    groups: Vec<Group>,
    durability: Durability,
    commands: Vec<Published>,
    ids: Ids,
    unanswered_messages: usize,
    unanswered_bytes: usize,
}

impl Publisher {
    /// One whose message ids begin at `seed`.
    pub(crate) fn new(seed: u128) -> Self {
        Self {
            open: None,
            messages: Vec::new(),
            groups: Vec::new(),
            durability: Durability::Written,
            commands: Vec::new(),
            ids: Ids(seed),
            unanswered_messages: 0,
            unanswered_bytes: 0,
        }
    }

    /// Adds a message. Whether it began a batch.
    pub(crate) fn add(&mut self, message: Message<'_>, now: Timestamp) -> Result<bool, BatchError> {
        let key = content::key_of(message.properties);
        let begins = !self
            .open
            .as_ref()
            .is_some_and(|open| open.takes(&message, key));
        if begins {
            self.close_batch();
        }
        let open = self.open.get_or_insert_with(|| OpenBatch {
            channel: message.channel,
            epoch: message.epoch,
            head: message.head.to_vec(),
            exchange: message.address.exchange.into(),
            routing_key: message.address.routing_key.into(),
            route: message.route.clone(),
            mandatory: message.mandatory,
            durability: message.durability(),
            key: key.map(<[u8]>::to_vec),
            lives_ms: message.lives_ms(),
            first: message.number,
            builder: BatchBuilder::with_capacity(
                now.0,
                message
                    .body
                    .len()
                    .saturating_add(message.raw_properties.len())
                    .saturating_add(256),
            ),
        });
        let id = self.ids.next(now);
        let properties = (message.raw_properties, message.properties);
        content::push(
            &mut open.builder,
            now,
            id,
            (message.address, !message.route.further_keys.is_empty()),
            properties,
            message.body,
        )?;
        Ok(begins)
    }

    /// The next message begins a batch.
    pub(crate) fn interrupt(&mut self) {
        self.close_batch();
    }

    fn close_batch(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.builder.is_empty() {
            return;
        }
        if open.durability != self.durability {
            self.close_command();
            self.durability = open.durability;
        }
        let messages = open.builder.len();
        let batch = open.builder.finish();
        let bytes = batch.bytes().len();
        self.unanswered_messages += messages;
        self.unanswered_bytes += bytes;
        self.groups.push(Group {
            channel: open.channel,
            epoch: open.epoch,
            first: open.first,
            exchange: open.exchange.clone(),
            routing_key: open.routing_key.clone(),
            mandatory: open.mandatory.then(|| batch.clone()),
            messages,
            bytes,
        });
        let target = if open.route.is_plain() {
            Target::Exchange {
                exchange: open.exchange,
                routing_key: open.routing_key,
            }
        } else {
            let mut routing_keys = vec![open.routing_key];
            routing_keys.extend(open.route.further_keys);
            Target::Routes {
                exchange: open.exchange,
                routing_keys,
                fields: open.route.fields,
            }
        };
        self.messages.push(Outgoing {
            target,
            batch,
            // Without its sign bit, as Kafka's clients do: a key finds the same partition.
            key_hash: open.key.as_deref().map(|key| murmur2(key) & 0x7fff_ffff),
            not_before: None,
            identity: None,
            lives_ms: open.lives_ms,
        });
    }

    fn close_command(&mut self) {
        if !self.messages.is_empty() {
            let publish = Publish {
                messages: std::mem::take(&mut self.messages),
                durability: self.durability,
                when_full: WhenFull::Wait,
            };
            self.commands
                .push((publish, std::mem::take(&mut self.groups)));
        }
    }

    /// Everything added so far, as commands.
    pub(crate) fn take(&mut self) -> std::vec::Drain<'_, Published> {
        self.close_batch();
        self.close_command();
        self.commands.drain(..)
    }

    /// A group was answered.
    pub(crate) fn answered(&mut self, group: &Group) {
        self.unanswered_messages = self.unanswered_messages.saturating_sub(group.messages);
        self.unanswered_bytes = self.unanswered_bytes.saturating_sub(group.bytes);
    }

    /// Whether anything waits for an answer.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.unanswered_messages > 0
    }

    /// Whether so much waits for an answer that no more should be read.
    pub(crate) fn is_full(&self) -> bool {
        self.unanswered_messages >= UNANSWERED_MESSAGES || self.unanswered_bytes >= UNANSWERED_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static PLAIN: std::sync::LazyLock<Route> = std::sync::LazyLock::new(Route::default);

    fn message<'a>(head: &'a [u8], properties: &'a Properties<'a>) -> Message<'a> {
        Message {
            channel: 1,
            epoch: 1,
            head,
            address: Address {
                exchange: "",
                routing_key: "q",
            },
            route: &PLAIN,
            mandatory: false,
            raw_properties: &[0, 0],
            properties,
            body: b"body",
            number: None,
        }
    }

    #[test]
    fn consecutive_messages_of_one_kind_share_a_batch() {
        let mut publisher = Publisher::new(7);
        let transient = Properties::default();
        let now = Timestamp(1_000);
        let mut begins = Vec::new();
        for head in [b"a", b"a", b"b", b"b", b"a"] {
            begins.push(publisher.add(message(head, &transient), now).unwrap());
        }
        assert_eq!(begins, [true, false, true, false, true]);
        let commands: Vec<_> = publisher.take().collect();
        let [(publish, groups)] = &commands[..] else {
            panic!("one command for one durability, got {}", commands.len())
        };
        let counts: Vec<_> = publish
            .messages
            .iter()
            .map(|message| message.batch.offset_count())
            .collect();
        assert_eq!(counts, [2, 2, 1]);
        assert_eq!(groups.len(), 3);
    }

    #[test]
    fn durability_and_key_split_batches_and_durability_commands_too() {
        let mut publisher = Publisher::new(7);
        let persistent = Properties {
            delivery_mode: Some(2),
            ..Properties::default()
        };
        let transient = Properties::default();
        let mut table = Vec::new();
        crate::table::TableWriter(&mut table).text(content::KEY.as_bytes(), b"k");
        let keyed = Properties {
            headers: Some(&table),
            ..persistent
        };
        for properties in [&transient, &persistent, &keyed] {
            publisher
                .add(message(b"a", properties), Timestamp(0))
                .unwrap();
        }
        let commands: Vec<_> = publisher.take().collect();
        let shape: Vec<_> = commands
            .iter()
            .map(|(publish, _)| (publish.durability, publish.messages.len()))
            .collect();
        assert_eq!(shape, [(Durability::Written, 1), (Durability::Synced, 2)]);
        let hashes: Vec<_> = commands[1]
            .0
            .messages
            .iter()
            .map(|one| one.key_hash)
            .collect();
        assert_eq!(hashes, [None, Some(murmur2(b"k") & 0x7fff_ffff)]);
    }

    #[test]
    fn what_is_unanswered_stops_reading_until_it_is_answered() {
        let mut publisher = Publisher::new(7);
        let properties = Properties::default();
        let body = vec![0; UNANSWERED_BYTES];
        let big = Message {
            body: &body,
            ..message(b"a", &properties)
        };
        publisher.add(big, Timestamp(0)).unwrap();
        let commands: Vec<_> = publisher.take().collect();
        assert!(publisher.is_full());
        publisher.answered(&commands[0].1[0]);
        assert!(!publisher.is_full());
    }

    #[test]
    fn ids_ascend_within_a_connection() {
        let mut ids = Ids(u128::MAX >> 64);
        let first = ids.next(Timestamp(5));
        let second = ids.next(Timestamp(5));
        assert!(first < second);
        assert_eq!(first.get_version_num(), 7);
    }
}
