//! Methods as bytes. The crate `amq-protocol` reads and writes them; here stand the checks that go
//! first and the few methods that come once per message and are read by hand.

use amq_protocol::frame::WriteContext;
use amq_protocol::protocol::{AMQPClass, gen_class, parse_class};
use amq_protocol::types::generation::gen_field_table;
use amq_protocol::types::parsing::parse_field_table;
use amq_protocol::types::{FieldTable, ShortString};

use crate::error::MethodId;
use crate::frame::{self, Kind};
use crate::table::{self, Malformed, Reader, put_short_string};

/// Why a method cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MethodError {
    /// Its fields are not what they must be: 502.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Class or method is not of this protocol: 540.
    #[error("unknown method")]
    Unknown,
    /// Only servers send it: 503.
    #[error("unimplemented method")]
    NotForServers,
}

/// The class and method ids in front of every method payload.
pub(crate) fn id(payload: &[u8]) -> Result<MethodId, Malformed> {
    let mut reader = Reader::new(payload);
    Ok((reader.short()?, reader.short()?))
}

/// Where the one table of a method lies, by the fields before it: how many short strings after a
/// reserved short, and whether an octet of flags follows.
enum TablePlace {
    None,
    First,
    After { short_strings: u8, flags: bool },
}

fn table_place(id: MethodId) -> Result<TablePlace, MethodError> {
    let after = |short_strings, flags| TablePlace::After {
        short_strings,
        flags,
    };
    Ok(match id {
        (10, 11) => TablePlace::First,
        (40, 10) | (60, 20) => after(2, true),
        (40, 30 | 40) | (50, 20) => after(3, true),
        (50, 10) => after(1, true),
        (50, 50) => after(3, false),
        (10, 21 | 31 | 40 | 50 | 51 | 70)
        | (20, 10 | 20 | 21 | 40 | 41)
        | (30, 10)
        | (40, 20)
        | (50, 30 | 40)
        | (60, 10 | 30 | 31 | 40 | 70 | 80 | 90 | 100 | 110 | 120)
        | (85, 10)
        | (90, 10 | 20 | 30) => TablePlace::None,
        (10, 10 | 20 | 30 | 41 | 60 | 61 | 71)
        | (20, 11)
        | (30, 11)
        | (40, 11 | 21 | 31 | 51)
        | (50, 11 | 21 | 31 | 41 | 51)
        | (60, 11 | 21 | 50 | 60 | 71 | 72 | 111)
        | (85, 11)
        | (90, 11 | 21 | 31) => return Err(MethodError::NotForServers),
        _ => return Err(MethodError::Unknown),
    })
}

/// Reads a method that a client may send.
pub(crate) fn parse(payload: &[u8]) -> Result<AMQPClass, MethodError> {
    let id = id(payload)?;
    let mut reader = Reader::new(&payload[4..]);
    match table_place(id)? {
        TablePlace::None => {}
        TablePlace::First => table::check(reader.long_string()?)?,
        TablePlace::After {
            short_strings,
            flags,
        } => {
            reader.short()?;
            for _ in 0..short_strings {
                reader.short_string()?;
            }
            if flags {
                reader.octet()?;
            }
            table::check(reader.long_string()?)?;
        }
    }
    match parse_class(payload) {
        Ok(([], method)) => Ok(method),
        Ok(_) => Err(Malformed("method: bytes after the last field").into()),
        Err(_) => Err(Malformed("method: its fields cannot be read").into()),
    }
}

/// Writes a method frame.
pub(crate) fn put(out: &mut Vec<u8>, channel: u16, method: &AMQPClass) {
    let encoded = gen_class(method)(WriteContext::from(Vec::new()));
    let (payload, _) = encoded
        .expect("writing to memory fails only where a reserved gap overflows, and gaps are fixed")
        .into_inner();
    frame::put(out, Kind::Method, channel, |out| {
        out.extend_from_slice(&payload);
    });
}

/// A table's entries, without its length.
pub(crate) fn table_bytes(table: &FieldTable) -> Vec<u8> {
    let encoded = gen_field_table(table)(WriteContext::from(Vec::new()));
    let (bytes, _) = encoded
        .expect("writing to memory fails only where a reserved gap overflows, and gaps are fixed")
        .into_inner();
    bytes.get(4..).unwrap_or_default().to_vec()
}

/// The table with these entries.
pub(crate) fn table_of(inside: &[u8]) -> FieldTable {
    let length = u32::try_from(inside.len()).unwrap_or_default();
    let whole = [&length.to_be_bytes()[..], inside].concat();
    parse_field_table(&whole[..]).map_or_else(|_| FieldTable::default(), |(_, table)| table)
}

/// A short string; what is too long for one is cut between characters.
pub(crate) fn short(text: &str) -> ShortString {
    let mut end = text.len().min(usize::from(u8::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    ShortString::from(&text[..end])
}

/// `basic.publish` (60, 40).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PublishHead<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) routing_key: &'a str,
    pub(crate) mandatory: bool,
    pub(crate) immediate: bool,
}

impl<'a> PublishHead<'a> {
    pub(crate) const ID: MethodId = (60, 40);

    /// Reads the payload of the method frame.
    pub(crate) fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(payload);
        reader.bytes(6)?;
        let mut text = || {
            std::str::from_utf8(reader.short_string()?)
                .map_err(|_| Malformed("name: it is not UTF-8"))
        };
        let (exchange, routing_key) = (text()?, text()?);
        let flags = reader.octet()?;
        Ok(Self {
            exchange,
            routing_key,
            mandatory: flags & 1 != 0,
            immediate: flags & 2 != 0,
        })
    }
}

/// `basic.ack`, `basic.nack` and `basic.reject`: what to do with which deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settlement {
    pub(crate) tag: u64,
    pub(crate) multiple: bool,
    pub(crate) how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Ack,
    Requeue,
    Discard,
}

impl Settlement {
    /// Reads the payload of the method frame if it is one of the three.
    pub(crate) fn parse(id: MethodId, payload: &[u8]) -> Option<Result<Self, Malformed>> {
        let kind = match id {
            (60, kind @ (80 | 90 | 120)) => kind,
            _ => return None,
        };
        let mut reader = Reader::new(payload);
        let fields = (|| {
            reader.bytes(4)?;
            Ok((reader.longlong()?, reader.octet()?))
        })();
        Some(fields.map(|(tag, flags)| {
            let (first, second) = (flags & 1 != 0, flags & 2 != 0);
            let requeued = |requeue| if requeue { How::Requeue } else { How::Discard };
            let (multiple, how) = match kind {
                80 => (first, How::Ack),
                90 => (false, requeued(first)),
                _ => (first, requeued(second)),
            };
            Self { tag, multiple, how }
        }))
    }
}

/// Writes `basic.deliver` (60, 60).
pub(crate) fn put_deliver(
    out: &mut Vec<u8>,
    channel: u16,
    consumer_tag: &str,
    tag: u64,
    redelivered: bool,
    (exchange, routing_key): (&[u8], &[u8]),
) {
    frame::put(out, Kind::Method, channel, |out| {
        out.extend_from_slice(&[0, 60, 0, 60]);
        put_short_string(out, consumer_tag.as_bytes());
        out.extend_from_slice(&tag.to_be_bytes());
        out.push(u8::from(redelivered));
        put_short_string(out, exchange);
        put_short_string(out, routing_key);
    });
}

/// Writes `basic.get-ok` (60, 71).
pub(crate) fn put_get_ok(
    out: &mut Vec<u8>,
    channel: u16,
    tag: u64,
    redelivered: bool,
    (exchange, routing_key): (&[u8], &[u8]),
    message_count: u32,
) {
    frame::put(out, Kind::Method, channel, |out| {
        out.extend_from_slice(&[0, 60, 0, 71]);
        out.extend_from_slice(&tag.to_be_bytes());
        out.push(u8::from(redelivered));
        put_short_string(out, exchange);
        put_short_string(out, routing_key);
        out.extend_from_slice(&message_count.to_be_bytes());
    });
}

/// Writes `basic.return` (60, 50).
pub(crate) fn put_return(
    out: &mut Vec<u8>,
    channel: u16,
    (code, text): (u16, &str),
    (exchange, routing_key): (&[u8], &[u8]),
) {
    frame::put(out, Kind::Method, channel, |out| {
        out.extend_from_slice(&[0, 60, 0, 50]);
        out.extend_from_slice(&code.to_be_bytes());
        put_short_string(out, text.as_bytes());
        put_short_string(out, exchange);
        put_short_string(out, routing_key);
    });
}

/// Writes the confirmation of published messages: `basic.ack` (60, 80) or `basic.nack` (60, 120).
pub(crate) fn put_confirm(out: &mut Vec<u8>, channel: u16, tag: u64, multiple: bool, ack: bool) {
    frame::put(out, Kind::Method, channel, |out| {
        out.extend_from_slice(&[0, 60, 0, if ack { 80 } else { 120 }]);
        out.extend_from_slice(&tag.to_be_bytes());
        out.push(u8::from(multiple));
    });
}

#[cfg(test)]
mod tests {
    use amq_protocol::protocol::{basic, queue};
    use proptest::prelude::*;

    use super::*;

    fn payload(method: AMQPClass) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, 1, &method);
        out[7..out.len() - 1].to_vec()
    }

    #[test]
    fn methods_read_by_hand_agree_with_the_crate() {
        let publish = payload(AMQPClass::Basic(basic::AMQPMethod::Publish(
            basic::Publish {
                exchange: "e".into(),
                routing_key: "some.key".into(),
                mandatory: true,
                immediate: false,
            },
        )));
        assert_eq!(
            PublishHead::parse(&publish),
            Ok(PublishHead {
                exchange: "e",
                routing_key: "some.key",
                mandatory: true,
                immediate: false
            })
        );
        let nack = payload(AMQPClass::Basic(basic::AMQPMethod::Nack(basic::Nack {
            delivery_tag: 7,
            multiple: true,
            requeue: false,
        })));
        assert_eq!(
            Settlement::parse((60, 120), &nack),
            Some(Ok(Settlement {
                tag: 7,
                multiple: true,
                how: How::Discard
            }))
        );
        let reject = payload(AMQPClass::Basic(basic::AMQPMethod::Reject(basic::Reject {
            delivery_tag: 8,
            requeue: true,
        })));
        assert_eq!(
            Settlement::parse((60, 90), &reject),
            Some(Ok(Settlement {
                tag: 8,
                multiple: false,
                how: How::Requeue
            }))
        );
    }

    #[test]
    fn methods_written_by_hand_agree_with_the_crate() {
        let mut out = Vec::new();
        put_deliver(&mut out, 5, "tag", 9, true, (b"e", b"k"));
        let deliver = AMQPClass::Basic(basic::AMQPMethod::Deliver(basic::Deliver {
            consumer_tag: "tag".into(),
            delivery_tag: 9,
            redelivered: true,
            exchange: "e".into(),
            routing_key: "k".into(),
        }));
        let mut expected = Vec::new();
        put(&mut expected, 5, &deliver);
        assert_eq!(out, expected);
        out.clear();
        expected.clear();
        put_get_ok(&mut out, 5, 9, false, (b"", b"k"), 3);
        let get_ok = AMQPClass::Basic(basic::AMQPMethod::GetOk(basic::GetOk {
            delivery_tag: 9,
            redelivered: false,
            exchange: "".into(),
            routing_key: "k".into(),
            message_count: 3,
        }));
        put(&mut expected, 5, &get_ok);
        assert_eq!(out, expected);
        out.clear();
        expected.clear();
        put_return(&mut out, 5, (312, "NO_ROUTE"), (b"e", b"k"));
        let returned = AMQPClass::Basic(basic::AMQPMethod::Return(basic::Return {
            reply_code: 312,
            reply_text: "NO_ROUTE".into(),
            exchange: "e".into(),
            routing_key: "k".into(),
        }));
        put(&mut expected, 5, &returned);
        assert_eq!(out, expected);
        out.clear();
        expected.clear();
        put_confirm(&mut out, 5, 4, true, true);
        let ack = AMQPClass::Basic(basic::AMQPMethod::Ack(basic::Ack {
            delivery_tag: 4,
            multiple: true,
        }));
        put(&mut expected, 5, &ack);
        assert_eq!(out, expected);
    }

    #[test]
    fn methods_of_servers_and_of_nobody_are_told_apart() {
        assert_eq!(parse(&[0, 60, 0, 60]), Err(MethodError::NotForServers));
        assert_eq!(parse(&[0, 99, 0, 1]), Err(MethodError::Unknown));
        assert_eq!(parse(&[0, 20, 0, 99]), Err(MethodError::Unknown));
        assert!(matches!(
            parse(&[0, 20, 0, 10]),
            Err(MethodError::Malformed(_))
        ));
    }

    #[test]
    fn a_deeply_nested_argument_is_refused_before_it_is_read() {
        let mut inside = Vec::new();
        for _ in 0..20_000 {
            let length = inside.len() as u32;
            let mut array = vec![b'A'];
            array.extend_from_slice(&length.to_be_bytes());
            array.extend_from_slice(&inside);
            inside = array;
        }
        let mut payload = vec![0, 50, 0, 10, 0, 0, 1, b'q', 0];
        payload.extend_from_slice(&(inside.len() as u32 + 2).to_be_bytes());
        payload.extend_from_slice(b"\x01n");
        payload.extend_from_slice(&inside);
        assert!(matches!(parse(&payload), Err(MethodError::Malformed(_))));
    }

    #[test]
    fn what_was_written_is_read_back() {
        let declare = AMQPClass::Queue(queue::AMQPMethod::Declare(queue::Declare {
            queue: "q".into(),
            durable: true,
            ..queue::Declare::default()
        }));
        assert_eq!(parse(&payload(declare.clone())), Ok(declare));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            class in prop::sample::select(vec![10u8, 20, 30, 40, 50, 60, 85, 90]),
            method in 0..130u8,
            rest in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut payload = vec![0, class, 0, method];
            payload.extend_from_slice(&rest);
            let _ = parse(&payload);
            let _ = PublishHead::parse(&payload);
            let _ = Settlement::parse((u16::from(class), u16::from(method)), &payload);
        }
    }
}
