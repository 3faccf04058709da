use std::collections::HashMap as Map;

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, parse_class, queue};
use amq_protocol::types::{AMQPValue, FieldTable};
use forebay_base::{OffsetRange, PartitionId, TopicId};
use forebay_broker::{ConsumerMode, Delivered, Deliveries, Outcome, Receipt, Run, Settled};
use forebay_broker::{Durability, Placed, Refusal, Reply, TopicConfig};
use proptest::prelude::*;

use super::*;
use crate::frame::{self, Kind};
use crate::{handshake, method, outbox};

#[derive(Default)]
struct Topics(Map<String, Arc<TopicInfo>>);

impl Topics {
    fn with(names: &[&str]) -> Self {
        Self(
            names
                .iter()
                .enumerate()
                .map(|(at, name)| ((*name).to_owned(), topic(at as u64 + 1, name)))
                .collect(),
        )
    }
}

fn topic(id: u64, name: &str) -> Arc<TopicInfo> {
    Arc::new(TopicInfo {
        id: TopicId(id),
        name: name.into(),
        partitions: vec![PartitionId(id)],
        config: TopicConfig::default(),
        created: Timestamp(0),
        modified: Timestamp(0),
    })
}

impl Catalogue for Topics {
    fn topic(&self, name: &str) -> Option<Arc<TopicInfo>> {
        self.0.get(name).cloned()
    }

    fn exchange(&self, _name: &str) -> Option<Arc<ExchangeInfo>> {
        None
    }

    fn refuses_messages(&self) -> bool {
        false
    }

    fn routes_by_fields(&self, _exchange: &str) -> bool {
        false
    }

    fn count(&self, _prefix: &str, at_most: usize) -> usize {
        self.0.len().min(at_most)
    }
}

/// A frame the machine wrote.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Method(u16, AMQPClass),
    Header(u16, u64),
    Body(u16, Vec<u8>),
    Heartbeat,
}

struct Peer {
    link: Connection,
    topics: Topics,
    desk: Desk,
    access: Access,
    roster: Roster,
    requests: u64,
}

impl Peer {
    fn new() -> Self {
        let link = Connection::new(Arc::new(Options::default()), SessionId(1), 0, true);
        Self {
            link,
            topics: Topics::with(&["q"]),
            desk: crate::direct_reply::Switchboard::default().desk().0,
            access: Access::of(&forebay_broker::Settings::new()),
            roster: Roster::default(),
            requests: 0,
        }
    }

    /// One that is through the handshake and has channel 1 open.
    fn open() -> Self {
        let mut peer = Self::new();
        peer.send(&opening());
        peer.hear();
        peer
    }

    fn send(&mut self, bytes: &[u8]) -> usize {
        let world = World {
            catalogue: &self.topics,
            desk: &self.desk,
            now: Timestamp(1_000),
            access: &self.access,
            access_version: 1,
            roster: &self.roster,
        };
        self.link.receive(bytes, world)
    }

    fn call(&mut self, channel: u16, method: AMQPClass) {
        let bytes = encode(channel, &method);
        assert_eq!(self.send(&bytes), bytes.len());
    }

    /// What the machine wrote since the last time.
    fn hear(&mut self) -> Vec<Said> {
        let out = std::mem::take(&mut self.link.out);
        let mut rest = &out[..];
        let mut said = Vec::new();
        while let Some(frame) = frame::take(rest, 1 << 20).unwrap() {
            said.push(match frame.kind {
                Kind::Method => {
                    let (_, method) = parse_class(frame.payload).unwrap();
                    Said::Method(frame.channel, method)
                }
                Kind::Header => Said::Header(
                    frame.channel,
                    frame::content_header(frame.payload).unwrap().0,
                ),
                Kind::Body => Said::Body(frame.channel, frame.payload.to_vec()),
                Kind::Heartbeat => Said::Heartbeat,
            });
            rest = &rest[frame.size()..];
        }
        assert!(rest.is_empty());
        said
    }

    /// Takes the commands as sent.
    fn commands(&mut self) -> Vec<(RequestId, Command)> {
        let mut sent = Vec::new();
        for Queued { command, then } in self.link.take_commands() {
            self.requests += 1;
            let request = RequestId(self.requests);
            if !matches!(then, Then::Nothing) {
                self.link.submitted(request, then);
            }
            sent.push((request, command));
        }
        sent
    }

    fn reply(&mut self, request: RequestId, result: Result<Reply, Refusal>) {
        self.link.on_reply(request, result);
        self.link.confirm();
    }

    /// A consumer of `q` on channel 1 that was handed and shown messages 0, 1 and 2.
    fn consuming(prefetch: u16) -> (Self, ConsumerId) {
        let mut peer = Self::open();
        let qos = basic::AMQPMethod::Qos(basic::Qos {
            prefetch_count: prefetch,
            global: false,
        });
        peer.call(1, AMQPClass::Basic(qos));
        let consume = basic::AMQPMethod::Consume(basic::Consume {
            queue: "q".into(),
            consumer_tag: "c".into(),
            ..Default::default()
        });
        peer.call(1, AMQPClass::Basic(consume));
        let commands = peer.commands();
        let [(request, Command::Subscribe(subscribe))] = &commands[..] else {
            panic!("a subscription, not {commands:?}")
        };
        assert_eq!(subscribe.credit, u32::from(prefetch));
        assert_eq!(subscribe.mode, ConsumerMode::UntilSessionEnds);
        let consumer = subscribe.consumer;
        peer.reply(*request, Ok(Reply::Done));
        outbox::on_delivery(&mut peer.link, consumer, run(3));
        let piece = outbox::next_piece(&mut peer.link).unwrap();
        outbox::write(&mut peer.link, &piece, &delivered(3));
        peer.hear();
        (peer, consumer)
    }
}

fn run(count: u32) -> Deliveries {
    Deliveries {
        topic: TopicId(1),
        runs: vec![Run {
            partition: PartitionId(1),
            range: OffsetRange { first: 0, count },
            attempt: 1,
        }],
        at: Timestamp(0),
    }
}

fn receipt(offset: u64) -> Receipt {
    Receipt {
        partition: PartitionId(1),
        offset,
        attempt: 1,
    }
}

fn delivered(count: u64) -> Vec<Delivered> {
    let mut builder = forebay_record::BatchBuilder::new(0);
    for _ in 0..count {
        builder
            .push(0, None, Some(b"body"), std::iter::empty())
            .unwrap();
    }
    let records = builder.finish().records(usize::MAX).unwrap();
    records
        .zip(0..)
        .map(|(record, offset)| Delivered {
            receipt: receipt(offset),
            record: record.unwrap(),
        })
        .collect()
}

fn encode(channel: u16, method: &AMQPClass) -> Vec<u8> {
    let mut out = Vec::new();
    method::put(&mut out, channel, method);
    out
}

/// Header, login, tuning, opening, and channel 1.
fn opening() -> Vec<u8> {
    use connection::AMQPMethod as M;
    let mut capabilities = FieldTable::default();
    for name in ["consumer_cancel_notify", "authentication_failure_close"] {
        capabilities.insert(name.into(), AMQPValue::Boolean(true));
    }
    let mut client_properties = FieldTable::default();
    client_properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    let methods = [
        M::StartOk(connection::StartOk {
            client_properties,
            mechanism: "PLAIN".into(),
            response: "\0guest\0guest".into(),
            locale: "en_US".into(),
        }),
        M::TuneOk(connection::TuneOk {
            channel_max: 0,
            frame_max: 0,
            heartbeat: 0,
        }),
        M::Open(connection::Open {
            virtual_host: "/".into(),
        }),
    ];
    let mut bytes = handshake::PROTOCOL_HEADER.to_vec();
    for method in methods {
        bytes.extend(encode(0, &AMQPClass::Connection(method)));
    }
    bytes.extend(encode(1, &channel_open()));
    bytes
}

fn channel_open() -> AMQPClass {
    AMQPClass::Channel(channel::AMQPMethod::Open(channel::Open {}))
}

fn publish(key: &str, body: &[u8]) -> Vec<u8> {
    publish_to("", key, body, true)
}

fn publish_to(exchange: &str, key: &str, body: &[u8], mandatory: bool) -> Vec<u8> {
    let mut out = encode(
        1,
        &AMQPClass::Basic(basic::AMQPMethod::Publish(basic::Publish {
            exchange: exchange.into(),
            routing_key: key.into(),
            mandatory,
            immediate: false,
        })),
    );
    frame::put_content(&mut out, 1, 131_072, &[0, 0], body);
    out
}

/// The code a machine closed the connection or channel 1 with.
fn closed_with(said: &[Said]) -> Option<(u16, u16)> {
    said.iter().find_map(|one| match one {
        Said::Method(channel, AMQPClass::Connection(connection::AMQPMethod::Close(close))) => {
            Some((*channel, close.reply_code))
        }
        Said::Method(channel, AMQPClass::Channel(channel::AMQPMethod::Close(close))) => {
            Some((*channel, close.reply_code))
        }
        _ => None,
    })
}

#[test]
fn the_handshake_goes_its_way() {
    let mut peer = Peer::new();
    let bytes = opening();
    assert_eq!(peer.send(&bytes), bytes.len());
    let names: Vec<_> = peer
        .hear()
        .iter()
        .map(|said| match said {
            Said::Method(channel, method) => (
                *channel,
                method.get_amqp_class_id(),
                method.get_amqp_method_id(),
            ),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, [(0, 10, 10), (0, 10, 30), (0, 10, 41), (1, 20, 11)]);
}

#[test]
fn another_protocol_header_is_answered_with_ours() {
    let mut peer = Peer::new();
    peer.send(b"AMQP\x01\x01\x00\x0a");
    assert_eq!(peer.link.out, b"AMQP\x00\x00\x09\x01");
    assert!(peer.link.is_closed());
}

#[test]
fn what_breaks_the_protocol_closes_the_connection_with_its_code() {
    let method = |channel: u16, payload: &[u8]| {
        let mut out = Vec::new();
        frame::put(&mut out, Kind::Method, channel, |out| {
            out.extend_from_slice(payload);
        });
        out
    };
    let with_kind = |kind, channel| {
        let mut out = Vec::new();
        frame::put(&mut out, kind, channel, |out| {
            out.extend_from_slice(&[0; 14])
        });
        out
    };
    let head = publish("q", b"")[..publish("q", b"").len() - 22].to_vec();
    let after_head = |rest: Vec<u8>| [head.clone(), rest].concat();
    for (name, bytes, code) in [
        ("unopened channel", publish_on(2), 504),
        ("second open", encode(1, &channel_open()), 504),
        ("unknown method", method(1, &[0, 50, 0, 99]), 540),
        ("unknown class", method(1, &[0, 99, 0, 10]), 540),
        ("method of servers", method(1, &[0, 60, 0, 60]), 503),
        ("cut method", method(1, &[0, 50, 0, 10, 0]), 502),
        (
            "connection method on a channel",
            encode(1, &handshake::tune(&Options::default())),
            503,
        ),
        ("frame end", vec![8, 0, 0, 0, 0, 0, 0, 1], 501),
        ("frame type", vec![7], 501),
        ("frame size", vec![1, 0, 1, 0xff, 0, 0, 0], 501),
        ("body without method", with_kind(Kind::Body, 1), 505),
        ("header without method", with_kind(Kind::Header, 1), 505),
        (
            "body instead of header",
            after_head(with_kind(Kind::Body, 1)),
            505,
        ),
        (
            "method instead of header",
            after_head(encode(1, &channel_open())),
            505,
        ),
        (
            "header of another class",
            after_head(with_kind(Kind::Header, 1)),
            502,
        ),
        ("content on channel 0", with_kind(Kind::Body, 0), 505),
    ] {
        let mut peer = Peer::open();
        peer.send(&bytes);
        assert_eq!(closed_with(&peer.hear()), Some((0, code)), "{name}");
        assert!(!peer.link.is_closed(), "{name}");
        let answer = connection::AMQPMethod::CloseOk(connection::CloseOk {});
        peer.send(&encode(0, &AMQPClass::Connection(answer)));
        assert!(peer.link.is_closed(), "{name}");
    }
}

fn publish_on(channel: u16) -> Vec<u8> {
    let mut bytes = publish("q", b"x");
    bytes[1..3].copy_from_slice(&channel.to_be_bytes());
    bytes
}

#[test]
fn a_body_larger_than_announced_is_refused() {
    let mut peer = Peer::open();
    let mut bytes = publish("q", b"1234");
    let size_at = bytes.len() - (4 + 8) - 1 - 2 - 8;
    bytes[size_at..size_at + 8].copy_from_slice(&3u64.to_be_bytes());
    peer.send(&bytes);
    assert_eq!(closed_with(&peer.hear()), Some((0, 505)));
}

#[test]
fn a_soft_error_closes_one_channel_until_the_peer_agrees() {
    let mut peer = Peer::open();
    peer.call(2, channel_open());
    let passive = |name: &str| {
        AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
            queue: name.into(),
            passive: true,
            ..Default::default()
        }))
    };
    peer.call(1, passive("none"));
    let said = peer.hear();
    assert_eq!(closed_with(&said), Some((1, 404)));
    let Some(Said::Method(1, AMQPClass::Channel(channel::AMQPMethod::Close(close)))) = said.last()
    else {
        panic!("{said:?}")
    };
    assert_eq!((close.class_id, close.method_id), (50, 10));
    // What was under way meanwhile is ignored, contents too.
    peer.send(&publish("q", b"late"));
    peer.call(1, passive("none"));
    assert_eq!(peer.hear(), []);
    assert!(peer.commands().is_empty());
    let close_ok = channel::AMQPMethod::CloseOk(channel::CloseOk {});
    peer.call(1, AMQPClass::Channel(close_ok));
    peer.call(1, channel_open());
    assert_eq!(peer.hear().len(), 1);
}

#[test]
fn nothing_is_read_while_a_method_waits_for_the_broker() {
    let mut peer = Peer::open();
    let declare = encode(
        1,
        &AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
            queue: "new".into(),
            ..Default::default()
        })),
    );
    let both = [declare.clone(), publish("new", b"x")].concat();
    assert_eq!(peer.send(&both), declare.len());
    assert!(!peer.link.wants_input());
    let commands = peer.commands();
    let [(request, Command::CreateTopic { name, .. })] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!(&**name, "new");
    assert_eq!(peer.hear(), []);
    peer.reply(*request, Ok(Reply::Topic(topic(9, "new"))));
    assert_eq!(peer.hear().len(), 1);
    assert!(peer.link.wants_input());
    assert_eq!(
        peer.send(&both[declare.len()..]),
        both.len() - declare.len()
    );
    assert_eq!(peer.commands().len(), 1);
}

#[test]
fn what_was_published_in_a_row_is_one_command_and_one_ack() {
    let mut peer = Peer::open();
    let select = confirm::AMQPMethod::Select(confirm::Select { nowait: true });
    peer.call(1, AMQPClass::Confirm(select));
    peer.send(&publish("q", b"x").repeat(5));
    let commands = peer.commands();
    let [(request, Command::Publish(published))] = &commands[..] else {
        panic!("{commands:?}")
    };
    let [outgoing] = &published.messages[..] else {
        panic!("{published:?}")
    };
    assert_eq!(outgoing.batch.offset_count(), 5);
    let placed = Placed {
        routed: 1,
        partition: PartitionId(1),
        base_offset: 0,
        original: None,
        refused: 0,
    };
    peer.reply(*request, Ok(Reply::Published(vec![Ok(placed)])));
    let ack = basic::AMQPMethod::Ack(basic::Ack {
        delivery_tag: 5,
        multiple: true,
    });
    assert_eq!(peer.hear(), [Said::Method(1, AMQPClass::Basic(ack))]);
}

#[test]
fn a_mandatory_message_comes_back_before_its_ack_and_one_that_failed_is_nacked() {
    let mut peer = Peer::open();
    let select = confirm::AMQPMethod::Select(confirm::Select { nowait: true });
    peer.call(1, AMQPClass::Confirm(select));
    peer.send(&[publish("none", b"lost"), publish("full", b"x")].concat());
    let commands = peer.commands();
    let placed = Placed {
        routed: 0,
        partition: PartitionId(0),
        base_offset: 0,
        original: None,
        refused: 0,
    };
    let results = vec![Ok(placed), Err(Refusal::StorageFull("full".into()))];
    peer.reply(commands[0].0, Ok(Reply::Published(results)));
    let said = peer.hear();
    let [
        Said::Method(1, AMQPClass::Basic(basic::AMQPMethod::Return(returned))),
        Said::Header(1, 4),
        Said::Body(1, body),
        Said::Method(1, AMQPClass::Basic(basic::AMQPMethod::Ack(ack))),
        Said::Method(1, AMQPClass::Basic(basic::AMQPMethod::Nack(nack))),
    ] = &said[..]
    else {
        panic!("{said:?}")
    };
    assert_eq!(
        (returned.reply_code, returned.routing_key.as_str()),
        (312, "none")
    );
    assert_eq!(body, b"lost");
    assert_eq!((ack.delivery_tag, nack.delivery_tag), (1, 2));
}

#[test]
fn publishing_to_nowhere_closes_the_channel_when_the_broker_says_so() {
    let mut peer = Peer::open();
    peer.send(&publish_to("none", "k", b"x", false));
    let commands = peer.commands();
    let results = vec![Err(Refusal::NoSuchExchange("none".into()))];
    peer.reply(commands[0].0, Ok(Reply::Published(results)));
    assert_eq!(closed_with(&peer.hear()), Some((1, 404)));
}

#[test]
fn a_channel_that_was_closed_hears_no_more_answers() {
    let mut peer = Peer::open();
    for exchange in ["one", "two"] {
        peer.send(&publish_to(exchange, "k", b"x", false));
    }
    for (request, _) in peer.commands() {
        let results = vec![Err(Refusal::NoSuchExchange("none".into()))];
        peer.reply(request, Ok(Reply::Published(results)));
    }
    assert_eq!(peer.hear().len(), 1);
}

#[test]
fn reading_stops_while_too_much_is_unanswered() {
    let mut peer = Peer::open();
    let body = vec![0; 5 << 20];
    let one = publish("q", &body);
    let mut sent = 0;
    while peer.link.wants_input() {
        assert_eq!(peer.send(&one), one.len());
        sent += 1;
    }
    assert_eq!(sent, 4);
    for (request, command) in peer.commands() {
        assert!(matches!(command, Command::Publish(_)));
        peer.reply(request, Err(Refusal::Stopping));
    }
    assert!(peer.link.wants_input());
}

#[test]
fn acks_that_came_together_are_one_settlement_and_give_credit_back() {
    let (mut peer, consumer) = Peer::consuming(10);
    let ack = |delivery_tag| {
        let ack = basic::AMQPMethod::Ack(basic::Ack {
            delivery_tag,
            multiple: false,
        });
        encode(1, &AMQPClass::Basic(ack))
    };
    peer.send(&[ack(3), ack(1), ack(2)].concat());
    let commands = peer.commands();
    let [
        (_, Command::Settle { receipts, outcome }),
        (_, Command::Credit { consumer: to, add }),
    ] = &commands[..]
    else {
        panic!("{commands:?}")
    };
    assert_eq!(receipts[..], [2, 0, 1].map(receipt));
    assert_eq!((*outcome, *to, *add), (Outcome::Ack, consumer, 3));
    assert_eq!(peer.hear(), []);
    peer.send(&ack(1));
    assert_eq!(closed_with(&peer.hear()), Some((1, 406)));
}

#[test]
fn closing_a_channel_ends_its_consumers_first_and_then_gives_back_what_they_held() {
    let (mut peer, consumer) = Peer::consuming(10);
    outbox::on_delivery(&mut peer.link, consumer, run(1));
    let close = channel::AMQPMethod::Close(channel::Close {
        reply_code: 200,
        reply_text: "bye".into(),
        class_id: 0,
        method_id: 0,
    });
    peer.call(1, AMQPClass::Channel(close));
    let commands: Vec<_> = peer.commands().into_iter().map(|(_, one)| one).collect();
    let [
        Command::Unsubscribe { consumer: ended },
        Command::Settle {
            receipts: seen,
            outcome: Outcome::Release { count: true, .. },
        },
        Command::Settle {
            receipts: unseen,
            outcome: Outcome::Release { count: false, .. },
        },
    ] = &commands[..]
    else {
        panic!("{commands:?}")
    };
    assert_eq!(*ended, consumer);
    assert_eq!((seen.len(), unseen.len()), (3, 1));
    // What the broker handed out before it knew goes back too.
    outbox::on_delivery(&mut peer.link, consumer, run(1));
    peer.link.flush();
    assert_eq!(peer.commands().len(), 1);
}

#[test]
fn a_channel_with_a_shared_limit_shows_no_more_than_that() {
    let (mut peer, consumer) = Peer::consuming(10);
    let qos = basic::AMQPMethod::Qos(basic::Qos {
        prefetch_count: 4,
        global: true,
    });
    peer.call(1, AMQPClass::Basic(qos));
    outbox::on_delivery(&mut peer.link, consumer, run(3));
    let piece = outbox::next_piece(&mut peer.link).unwrap();
    assert_eq!(piece.deliveries.len(), 1);
    outbox::write(&mut peer.link, &piece, &delivered(1));
    assert!(outbox::next_piece(&mut peer.link).is_none());
    let ack = basic::AMQPMethod::Ack(basic::Ack {
        delivery_tag: 2,
        multiple: true,
    });
    peer.call(1, AMQPClass::Basic(ack));
    let piece = outbox::next_piece(&mut peer.link).unwrap();
    assert_eq!(piece.deliveries.len(), 2);
}

#[test]
fn a_cancelled_consumer_without_acks_is_first_shown_what_counts_as_settled() {
    let (mut peer, consumer) = Peer::consuming(10);
    peer.link.consumers.get_mut(&consumer).unwrap().no_ack = true;
    outbox::on_delivery(&mut peer.link, consumer, run(2));
    let cancel = basic::AMQPMethod::Cancel(basic::Cancel {
        consumer_tag: "c".into(),
        nowait: false,
    });
    peer.call(1, AMQPClass::Basic(cancel));
    let commands = peer.commands();
    peer.reply(commands[0].0, Ok(Reply::Done));
    assert_eq!(peer.hear(), []);
    let piece = outbox::next_piece(&mut peer.link).unwrap();
    outbox::write(&mut peer.link, &piece, &delivered(2));
    let said = peer.hear();
    assert_eq!(said.len(), 7);
    let cancel_ok = basic::AMQPMethod::CancelOk(basic::CancelOk {
        consumer_tag: "c".into(),
    });
    assert_eq!(
        said.last(),
        Some(&Said::Method(1, AMQPClass::Basic(cancel_ok)))
    );
    assert!(peer.link.wants_input());
}

#[test]
fn a_queue_that_goes_cancels_its_consumers() {
    let (mut peer, consumer) = Peer::consuming(10);
    peer.link.on_consumer_cancelled(consumer);
    let cancel = basic::AMQPMethod::Cancel(basic::Cancel {
        consumer_tag: "c".into(),
        nowait: true,
    });
    assert_eq!(peer.hear(), [Said::Method(1, AMQPClass::Basic(cancel))]);
}

#[test]
fn peers_that_asked_are_told_of_pressure_and_others_are_not() {
    let mut peer = Peer::open();
    peer.link.pressure(Some("disk"));
    assert_eq!(peer.hear(), []);
    peer.link.peer.connection_blocked = true;
    peer.link.pressure(Some("disk"));
    peer.link.pressure(None);
    let blocked = connection::AMQPMethod::Blocked(connection::Blocked {
        reason: "disk".into(),
    });
    let unblocked = connection::AMQPMethod::Unblocked(connection::Unblocked {});
    let said = [blocked, unblocked].map(|method| Said::Method(0, AMQPClass::Connection(method)));
    assert_eq!(peer.hear(), said);
}

#[test]
fn a_method_that_looks_into_a_queue_waits_for_what_was_published_before() {
    let mut peer = Peer::open();
    let get = basic::AMQPMethod::Get(basic::Get {
        queue: "q".into(),
        no_ack: true,
    });
    let (message, get) = (publish("q", b"x"), encode(1, &AMQPClass::Basic(get)));
    assert_eq!(
        peer.send(&[message.clone(), get.clone()].concat()),
        message.len()
    );
    assert!(!peer.link.wants_input());
    let commands = peer.commands();
    let [(request, Command::Publish(_))] = &commands[..] else {
        panic!("{commands:?}")
    };
    let placed = Placed {
        routed: 1,
        partition: PartitionId(1),
        base_offset: 0,
        original: None,
        refused: 0,
    };
    peer.reply(*request, Ok(Reply::Published(vec![Ok(placed)])));
    // It has its place, but was answered before it was durable.
    assert_eq!(peer.send(&get), get.len());
    let commands = peer.commands();
    let [(barrier, Command::Publish(nothing))] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!(nothing.messages.len(), 0);
    assert_eq!(nothing.durability, Durability::Synced);
    peer.reply(*barrier, Ok(Reply::Published(Vec::new())));
    let commands = peer.commands();
    assert!(
        matches!(&commands[..], [(_, Command::Receive(_))]),
        "{commands:?}"
    );
    assert!(!peer.link.wants_input());
    // An answer of the wrong kind is an error of ours, not a hang.
    peer.reply(commands[0].0, Ok(Reply::Settled(vec![Settled::Gone])));
    assert_eq!(closed_with(&peer.hear()), Some((0, 541)));
}

/// What a machine said and sent, for comparing two of them.
fn outcome(peer: &mut Peer) -> (Vec<Said>, Vec<String>) {
    let mut said = Vec::new();
    let mut sent = Vec::new();
    loop {
        said.extend(peer.hear());
        let commands = peer.commands();
        if commands.is_empty() {
            return (said, sent);
        }
        for (request, command) in commands {
            match &command {
                Command::Publish(publish) => {
                    let placed = Placed {
                        routed: 1,
                        partition: PartitionId(1),
                        base_offset: 0,
                        original: None,
                        refused: 0,
                    };
                    for message in &publish.messages {
                        for _ in 0..message.batch.offset_count() {
                            sent.push(format!("{:?}", message.target));
                        }
                    }
                    let results = vec![Ok(placed); publish.messages.len()];
                    peer.reply(request, Ok(Reply::Published(results)));
                }
                other => {
                    sent.push(format!("{other:?}"));
                    peer.reply(request, Ok(Reply::Done));
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn bytes_mean_the_same_however_they_are_split(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..6),
        cuts in proptest::collection::vec(1..80usize, 0..60),
    ) {
        let mut wire = opening();
        for body in &bodies {
            wire.extend(publish("q", body));
            wire.extend(publish("r", body));
        }
        let mut whole = Peer::new();
        prop_assert_eq!(whole.send(&wire), wire.len());
        let expected = outcome(&mut whole);

        let mut split = Peer::new();
        let mut got = (Vec::new(), Vec::new());
        let mut pending: Vec<u8> = Vec::new();
        let mut rest = &wire[..];
        let mut cuts = cuts.into_iter();
        while !rest.is_empty() {
            let cut = cuts.next().unwrap_or(rest.len()).min(rest.len());
            pending.extend_from_slice(&rest[..cut]);
            rest = &rest[cut..];
            let taken = split.send(&pending);
            pending.drain(..taken);
            let (said, sent) = outcome(&mut split);
            got.0.extend(said);
            got.1.extend(sent);
        }
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn no_bytes_make_an_open_connection_panic(
        frames in proptest::collection::vec(
            (1..4u8, 0..3u16, prop::sample::select(vec![10u8, 20, 30, 40, 50, 60, 85, 90]), 0..125u8,
             proptest::collection::vec(any::<u8>(), 0..60)),
            1..12,
        ),
    ) {
        let mut peer = Peer::open();
        let mut bytes = Vec::new();
        for (kind, channel, class, method, rest) in frames {
            let kind = [Kind::Method, Kind::Header, Kind::Body][usize::from(kind) - 1];
            frame::put(&mut bytes, kind, channel, |out| {
                out.extend_from_slice(&[0, class, 0, method]);
                out.extend_from_slice(&rest);
            });
        }
        while !bytes.is_empty() {
            let taken = peer.send(&bytes);
            bytes.drain(..taken);
            let before = bytes.len();
            outcome(&mut peer);
            if taken == 0 && bytes.len() == before {
                break;
            }
        }
    }
}
