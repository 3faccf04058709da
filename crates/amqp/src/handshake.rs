//! From the protocol header to `connection.open-ok` (AMQP 0-9-1, 2.2.4): who the peer is, what it
//! can do, and the limits both keep to.

use amq_protocol::protocol::{AMQPClass, connection};
use amq_protocol::types::{AMQPValue, FieldTable};

use crate::Options;
use crate::error::{Code, Fault};
use crate::limits::FRAME_MIN;
use crate::method::short;
use crate::table::{Entries, Value};

/// What a client must send first.
pub(crate) const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\x00\x00\x09\x01";

const MECHANISMS: &str = "PLAIN AMQPLAIN";

/// What this server does beyond AMQP 0-9-1, by the names clients test for.
const CAPABILITIES: [&str; 7] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "authentication_failure_close",
    "per_consumer_qos",
];

/// The RabbitMQ version whose behaviour is matched; clients switch features by it.
const RABBITMQ_VERSION: &str = "4.2.0";

/// The limits both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Bytes of a frame with its envelope.
    pub(crate) frame_max: usize,
    pub(crate) channel_max: u16,
    /// Seconds; 0 means none.
    pub(crate) heartbeat: u16,
}

/// What the peer says it can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) authentication_failure_close: bool,
    pub(crate) consumer_cancel_notify: bool,
    pub(crate) connection_blocked: bool,
}

impl Peer {
    fn of(properties: &FieldTable) -> Self {
        let Some(AMQPValue::FieldTable(capabilities)) = properties.inner().get("capabilities")
        else {
            return Self::default();
        };
        let has = |name| capabilities.inner().get(name) == Some(&AMQPValue::Boolean(true));
        Self {
            authentication_failure_close: has("authentication_failure_close"),
            consumer_cancel_notify: has("consumer_cancel_notify"),
            connection_blocked: has("connection.blocked"),
        }
    }
}

/// `connection.start`.
pub(crate) fn start() -> AMQPClass {
    let mut capabilities = FieldTable::default();
    for name in CAPABILITIES {
        capabilities.insert(name.into(), AMQPValue::Boolean(true));
    }
    let text = |text: &str| AMQPValue::LongString(text.into());
    let mut properties = FieldTable::default();
    properties
        .insert("capabilities".into(), AMQPValue::FieldTable(capabilities))
        .insert("product".into(), text("RabbitMQ"))
        .insert("version".into(), text(RABBITMQ_VERSION))
        .insert(
            "platform".into(),
            text(concat!("Forebay ", env!("CARGO_PKG_VERSION"))),
        )
        .insert("copyright".into(), text("The Forebay authors"))
        .insert(
            "information".into(),
            text("Forebay, speaking AMQP 0-9-1 as RabbitMQ does"),
        )
        .insert("cluster_name".into(), text("forebay"));
    AMQPClass::Connection(connection::AMQPMethod::Start(connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: properties,
        mechanisms: MECHANISMS.into(),
        locales: "en_US".into(),
    }))
}

/// Checks who the peer is. `Err` with the peer's abilities if the login is refused.
pub(crate) fn log_in(options: &Options, answer: &connection::StartOk) -> (Peer, Result<(), Fault>) {
    let peer = Peer::of(&answer.client_properties);
    let mechanism = answer.mechanism.as_str();
    let response = answer.response.as_bytes();
    let credentials = match mechanism {
        "PLAIN" => plain(response),
        "AMQPLAIN" => amqplain(response),
        _ => {
            let text = format!("unknown authentication mechanism '{mechanism}'");
            return (peer, Err(Fault::new(Code::CommandInvalid, text)));
        }
    };
    let known = credentials.is_some_and(|(user, password)| {
        // Both comparisons are made in any case, so time does not tell which failed.
        same(user, options.user.as_bytes()) & same(password, options.password.as_bytes())
    });
    let result = if known {
        Ok(())
    } else {
        Err(Fault::new(
            Code::AccessRefused,
            format!(
                "Login was refused using authentication mechanism {mechanism}. For details see \
                 the broker logfile."
            ),
        )
        .of_connection())
    };
    (peer, result)
}

/// RFC 4616: an identity to act as, the user, the password, each behind a NUL but the first.
fn plain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = response.splitn(3, |octet| *octet == 0);
    let _act_as = parts.next()?;
    Some((parts.next()?, parts.next()?))
}

/// A table of LOGIN and PASSWORD without its length field.
fn amqplain(response: &[u8]) -> Option<(&[u8], &[u8])> {
    let find = |wanted: &[u8]| {
        Entries::new(response)
            .flatten()
            .find_map(|(name, value)| match value {
                Value::Text(text) if name == wanted => Some(text),
                _ => None,
            })
    };
    Some((find(b"LOGIN")?, find(b"PASSWORD")?))
}

/// Whether the two are equal, in a time that depends on their lengths only.
fn same(left: &[u8], right: &[u8]) -> bool {
    let differences = left
        .iter()
        .zip(right)
        .fold(0, |sum, (left, right)| sum | (left ^ right));
    left.len() == right.len() && differences == 0
}

/// `connection.tune`.
pub(crate) fn tune(options: &Options) -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::Tune(connection::Tune {
        channel_max: options.channel_max,
        frame_max: options.frame_max,
        heartbeat: options.heartbeat_s,
    }))
}

/// What the client made of it: it may lower limits, and 0 leaves them as offered.
pub(crate) fn agree(options: &Options, answer: &connection::TuneOk) -> Result<Limits, Fault> {
    let not_allowed = |text: String| Fault::new(Code::NotAllowed, text);
    let frame_max = match answer.frame_max {
        0 => options.frame_max,
        asked if asked < FRAME_MIN => {
            return Err(not_allowed(format!(
                "negotiated frame_max = {asked} is lower than the minimum allowed value ({FRAME_MIN})"
            )));
        }
        asked if asked > options.frame_max => {
            return Err(not_allowed(format!(
                "negotiated frame_max = {asked} is higher than the maximum allowed value ({})",
                options.frame_max
            )));
        }
        asked => asked,
    };
    let channel_max = match answer.channel_max {
        0 => options.channel_max,
        asked if asked > options.channel_max => {
            return Err(not_allowed(format!(
                "negotiated channel_max = {asked} is higher than the maximum allowed value ({})",
                options.channel_max
            )));
        }
        asked => asked,
    };
    Ok(Limits {
        frame_max: frame_max as usize,
        channel_max,
        heartbeat: answer.heartbeat,
    })
}

/// `connection.open`: there is one virtual host.
pub(crate) fn open(request: &connection::Open) -> Result<AMQPClass, Fault> {
    match request.virtual_host.as_str() {
        "/" => Ok(AMQPClass::Connection(connection::AMQPMethod::OpenOk(
            connection::OpenOk {},
        ))),
        other => Err(Fault::new(
            Code::NotAllowed,
            format!("vhost {other} not found"),
        )),
    }
}

/// `connection.close` for `fault`, or its answer's counterpart for a channel is made by
/// [`crate::connection`].
pub(crate) fn close(fault: &Fault, (class, method): crate::error::MethodId) -> AMQPClass {
    AMQPClass::Connection(connection::AMQPMethod::Close(connection::Close {
        reply_code: fault.code.number(),
        reply_text: short(&fault.reply_text()),
        class_id: class,
        method_id: method,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start_ok(mechanism: &str, response: &[u8]) -> connection::StartOk {
        connection::StartOk {
            client_properties: FieldTable::default(),
            mechanism: mechanism.into(),
            response: response.into(),
            locale: "en_US".into(),
        }
    }

    #[test]
    fn plain_and_amqplain_log_in_and_anything_else_does_not() {
        let options = Options::default();
        let amqplain = b"\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x05guest";
        for (mechanism, response, code) in [
            ("PLAIN", &b"\0guest\0guest"[..], None),
            ("PLAIN", b"guest\0guest\0guest", None),
            ("AMQPLAIN", amqplain, None),
            ("PLAIN", b"\0guest\0guesT", Some(Code::AccessRefused)),
            ("PLAIN", b"\0guest\0gues", Some(Code::AccessRefused)),
            ("PLAIN", b"guest", Some(Code::AccessRefused)),
            ("AMQPLAIN", b"\0guest\0guest", Some(Code::AccessRefused)),
            ("ANONYMOUS", b"", Some(Code::CommandInvalid)),
        ] {
            let (_, result) = log_in(&options, &start_ok(mechanism, response));
            assert_eq!(
                result.err().map(|fault| fault.code),
                code,
                "{mechanism} {response:?}"
            );
        }
    }

    #[test]
    fn a_refused_login_ends_the_connection() {
        let (_, result) = log_in(&Options::default(), &start_ok("PLAIN", b""));
        assert!(result.unwrap_err().is_hard());
    }

    #[test]
    fn a_client_may_lower_limits_but_not_raise_them() {
        let options = Options::default();
        let answer = |channel_max, frame_max| {
            agree(
                &options,
                &connection::TuneOk {
                    channel_max,
                    frame_max,
                    heartbeat: 5,
                },
            )
        };
        assert_eq!(
            answer(0, 0),
            Ok(Limits {
                frame_max: 131_072,
                channel_max: 2_047,
                heartbeat: 5
            })
        );
        assert_eq!(answer(10, 8_192).map(|limits| limits.frame_max), Ok(8_192));
        for (channel_max, frame_max) in [(2_048, 0), (0, 131_073), (0, 8_191)] {
            let fault = answer(channel_max, frame_max).unwrap_err();
            assert_eq!(fault.code, Code::NotAllowed);
        }
    }

    #[test]
    fn only_the_root_virtual_host_exists() {
        let request = |name: &str| {
            open(&connection::Open {
                virtual_host: name.into(),
            })
        };
        assert!(request("/").is_ok());
        let fault = request("other").unwrap_err();
        assert_eq!(fault.reply_text(), "NOT_ALLOWED - vhost other not found");
    }
}
