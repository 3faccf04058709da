//! From the protocol header to `connection.open-ok` (AMQP 0-9-1, 2.2.4): who the peer is, what it
//! can do, and the limits both keep to.

use amq_protocol::protocol::{AMQPClass, connection};
use amq_protocol::types::{AMQPValue, FieldTable};
use forebay_access::{Access, LoginRefused};

use crate::Options;
use crate::error::{Code, Fault};
use crate::limits::FRAME_MIN;
use crate::method::{short, table_bytes};
use crate::roster::Reached;
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) authentication_failure_close: bool,
    pub(crate) consumer_cancel_notify: bool,
    pub(crate) connection_blocked: bool,
    pub(crate) mechanism: &'static str,
    /// What it says of itself: the inside of a table.
    pub(crate) properties: Box<[u8]>,
}

impl Peer {
    fn of(properties: &FieldTable) -> Self {
        let Some(AMQPValue::FieldTable(capabilities)) = properties.inner().get("capabilities")
        else {
            return Self {
                properties: table_bytes(properties).into(),
                ..Self::default()
            };
        };
        let has = |name| capabilities.inner().get(name) == Some(&AMQPValue::Boolean(true));
        Self {
            authentication_failure_close: has("authentication_failure_close"),
            consumer_cancel_notify: has("consumer_cancel_notify"),
            connection_blocked: has("connection.blocked"),
            mechanism: "",
            properties: table_bytes(properties).into(),
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
pub(crate) fn log_in(
    access: &Access,
    loopback: bool,
    answer: &connection::StartOk,
) -> (Peer, Result<String, Fault>) {
    let mut peer = Peer::of(&answer.client_properties);
    let mechanism = answer.mechanism.as_str();
    let response = answer.response.as_bytes();
    let credentials = match mechanism {
        "PLAIN" => {
            peer.mechanism = "PLAIN";
            plain(response)
        }
        "AMQPLAIN" => {
            peer.mechanism = "AMQPLAIN";
            amqplain(response)
        }
        _ => {
            let text = format!("unknown authentication mechanism '{mechanism}'");
            return (peer, Err(Fault::new(Code::CommandInvalid, text)));
        }
    };
    let named = credentials.and_then(|(user, password)| {
        let user = std::str::from_utf8(user).ok()?;
        Some((user, password))
    });
    let result = match named {
        None => Err(LoginRefused::Credentials),
        Some((user, password)) => access
            .log_in(user, password, loopback)
            .map(|()| user.to_owned()),
    };
    let result = result.map_err(|why| {
        tracing::warn!(mechanism, %why, "a login was refused");
        let text = match why {
            LoginRefused::Credentials => format!(
                "Login was refused using authentication mechanism {mechanism}. For details see \
                 the broker logfile."
            ),
            LoginRefused::NotLoopback => {
                "Login was refused: user can only log in via localhost".to_owned()
            }
        };
        Fault::new(Code::AccessRefused, text).of_connection()
    });
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

/// `connection.open`.
pub(crate) fn open(vhost: &str, user: &str, access: &Access) -> Result<AMQPClass, Fault> {
    let text = match access.vhosts().contains_key(vhost) {
        true if access.may_enter(vhost, user) => {
            let answer = connection::AMQPMethod::OpenOk(connection::OpenOk {});
            return Ok(AMQPClass::Connection(answer));
        }
        true => format!("access to vhost '{vhost}' refused for user '{user}'"),
        false => format!("vhost {vhost} not found"),
    };
    Err(Fault::new(Code::NotAllowed, text))
}

/// The refusal of a connection beyond a limit.
pub(crate) fn crowded(reached: Reached, vhost: &str, user: &str) -> Fault {
    let text = match reached {
        Reached::OfVhost(limit) => format!(
            "access to vhost '{vhost}' refused for user '{user}': connection limit ({limit}) is \
             reached"
        ),
        Reached::OfUser(limit) => format!(
            "connection refused for user '{user}': user connection limit ({limit}) is reached"
        ),
    };
    Fault::new(Code::NotAllowed, text)
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
        let access = Access::of(&forebay_broker::Settings::new());
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
            let (_, result) = log_in(&access, true, &start_ok(mechanism, response));
            assert_eq!(
                result.err().map(|fault| fault.code),
                code,
                "{mechanism} {response:?}"
            );
        }
    }

    #[test]
    fn a_refused_login_ends_the_connection() {
        let access = Access::of(&forebay_broker::Settings::new());
        let (_, result) = log_in(&access, true, &start_ok("PLAIN", b""));
        assert!(result.unwrap_err().is_hard());
        let (_, result) = log_in(&access, false, &start_ok("PLAIN", b"\0guest\0guest"));
        assert!(result.unwrap_err().is_hard(), "guest from elsewhere");
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
    fn only_virtual_hosts_that_are_there_can_be_opened_by_those_who_may() {
        let access = Access::of(&forebay_broker::Settings::new());
        assert!(open("/", "guest", &access).is_ok());
        let text = |vhost, user| open(vhost, user, &access).unwrap_err().reply_text();
        assert_eq!(
            text("other", "guest"),
            "NOT_ALLOWED - vhost other not found"
        );
        assert_eq!(
            text("/", "stranger"),
            "NOT_ALLOWED - access to vhost '/' refused for user 'stranger'"
        );
    }
}
