//! The basic properties of a content header (AMQP 0-9-1, 4.2.6.1 and class basic), read in place.

use crate::table::{self, Malformed, Reader, put_counted, put_short_string};

const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const PRIORITY: u16 = 1 << 11;
const CORRELATION_ID: u16 = 1 << 10;
const REPLY_TO: u16 = 1 << 9;
const EXPIRATION: u16 = 1 << 8;
const MESSAGE_ID: u16 = 1 << 7;
const TIMESTAMP: u16 = 1 << 6;
const TYPE: u16 = 1 << 5;
const USER_ID: u16 = 1 << 4;
const APP_ID: u16 = 1 << 3;
const CLUSTER_ID: u16 = 1 << 2;
/// The two lowest bits: one unused, one that announces a second word of flags, which class basic
/// does not have.
const UNDEFINED: u16 = 0b11;

/// Delivery mode of messages that survive a restart.
pub(crate) const PERSISTENT: u8 = 2;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties<'a> {
    pub(crate) content_type: Option<&'a [u8]>,
    pub(crate) content_encoding: Option<&'a [u8]>,
    /// The inside of the header table.
    pub(crate) headers: Option<&'a [u8]>,
    pub(crate) delivery_mode: Option<u8>,
    pub(crate) priority: Option<u8>,
    pub(crate) correlation_id: Option<&'a [u8]>,
    pub(crate) reply_to: Option<&'a [u8]>,
    pub(crate) expiration: Option<&'a [u8]>,
    pub(crate) message_id: Option<&'a [u8]>,
    /// Seconds since 1970.
    pub(crate) timestamp: Option<u64>,
    pub(crate) kind: Option<&'a [u8]>,
    pub(crate) user_id: Option<&'a [u8]>,
    pub(crate) app_id: Option<&'a [u8]>,
    pub(crate) cluster_id: Option<&'a [u8]>,
}

impl<'a> Properties<'a> {
    /// Reads flags and property list, all of `raw`.
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(raw);
        let flags = reader.short()?;
        if flags & UNDEFINED != 0 {
            return Err(Malformed("properties: undefined flags"));
        }
        let mut properties = Properties::default();
        let has = |flag| flags & flag != 0;
        let text =
            |reader: &mut Reader<'a>, flag| has(flag).then(|| reader.short_string()).transpose();
        properties.content_type = text(&mut reader, CONTENT_TYPE)?;
        properties.content_encoding = text(&mut reader, CONTENT_ENCODING)?;
        if has(HEADERS) {
            let headers = reader.long_string()?;
            table::check(headers)?;
            properties.headers = Some(headers);
        }
        properties.delivery_mode = has(DELIVERY_MODE).then(|| reader.octet()).transpose()?;
        properties.priority = has(PRIORITY).then(|| reader.octet()).transpose()?;
        properties.correlation_id = text(&mut reader, CORRELATION_ID)?;
        properties.reply_to = text(&mut reader, REPLY_TO)?;
        properties.expiration = text(&mut reader, EXPIRATION)?;
        properties.message_id = text(&mut reader, MESSAGE_ID)?;
        properties.timestamp = has(TIMESTAMP).then(|| reader.longlong()).transpose()?;
        properties.kind = text(&mut reader, TYPE)?;
        properties.user_id = text(&mut reader, USER_ID)?;
        properties.app_id = text(&mut reader, APP_ID)?;
        properties.cluster_id = text(&mut reader, CLUSTER_ID)?;
        if !reader.is_empty() {
            return Err(Malformed("properties: bytes after the last"));
        }
        Ok(properties)
    }

    /// Whether the message is to survive a restart.
    pub(crate) fn is_persistent(&self) -> bool {
        self.delivery_mode == Some(PERSISTENT)
    }

    /// Appends flags and property list. Texts longer than a short string can be are cut.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let flag = |present: bool, flag: u16| if present { flag } else { 0 };
        let flags = flag(self.content_type.is_some(), CONTENT_TYPE)
            | flag(self.content_encoding.is_some(), CONTENT_ENCODING)
            | flag(self.headers.is_some(), HEADERS)
            | flag(self.delivery_mode.is_some(), DELIVERY_MODE)
            | flag(self.priority.is_some(), PRIORITY)
            | flag(self.correlation_id.is_some(), CORRELATION_ID)
            | flag(self.reply_to.is_some(), REPLY_TO)
            | flag(self.expiration.is_some(), EXPIRATION)
            | flag(self.message_id.is_some(), MESSAGE_ID)
            | flag(self.timestamp.is_some(), TIMESTAMP)
            | flag(self.kind.is_some(), TYPE)
            | flag(self.user_id.is_some(), USER_ID)
            | flag(self.app_id.is_some(), APP_ID)
            | flag(self.cluster_id.is_some(), CLUSTER_ID);
        out.extend_from_slice(&flags.to_be_bytes());
        let text = |out: &mut Vec<u8>, text: Option<&[u8]>| {
            if let Some(text) = text {
                put_short_string(out, text);
            }
        };
        text(out, self.content_type);
        text(out, self.content_encoding);
        if let Some(headers) = self.headers {
            put_counted(out, |out| out.extend_from_slice(headers));
        }
        out.extend(self.delivery_mode);
        out.extend(self.priority);
        text(out, self.correlation_id);
        text(out, self.reply_to);
        text(out, self.expiration);
        text(out, self.message_id);
        if let Some(timestamp) = self.timestamp {
            out.extend_from_slice(&timestamp.to_be_bytes());
        }
        text(out, self.kind);
        text(out, self.user_id);
        text(out, self.app_id);
        text(out, self.cluster_id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = Option<Vec<u8>>> {
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20))
    }

    #[test]
    fn flags_that_class_basic_does_not_have_are_refused() {
        assert!(Properties::parse(&[0, 1, 0, 0]).is_err());
        assert!(Properties::parse(&[0, 2]).is_err());
        assert!(Properties::parse(&[0, 0, 0]).is_err());
        assert!(Properties::parse(&[0]).is_err());
        assert_eq!(Properties::parse(&[0, 0]), Ok(Properties::default()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Properties::parse(&input);
        }

        #[test]
        fn what_was_encoded_is_read_back(
            texts in proptest::collection::vec(text(), 10),
            numbers in (any::<Option<u8>>(), any::<Option<u8>>(), any::<Option<u64>>()),
            with_headers in any::<bool>(),
        ) {
            let text = |at: usize| texts[at].as_deref();
            let properties = Properties {
                content_type: text(0),
                content_encoding: text(1),
                headers: with_headers.then_some(&[1, b'a', b'V'][..]),
                delivery_mode: numbers.0,
                priority: numbers.1,
                correlation_id: text(2),
                reply_to: text(3),
                expiration: text(4),
                message_id: text(5),
                timestamp: numbers.2,
                kind: text(6),
                user_id: text(7),
                app_id: text(8),
                cluster_id: text(9),
            };
            let mut raw = Vec::new();
            properties.encode(&mut raw);
            prop_assert_eq!(Properties::parse(&raw), Ok(properties));
        }
    }
}
