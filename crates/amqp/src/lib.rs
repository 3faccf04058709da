//! The AMQP 0-9-1 front end, with the extensions RabbitMQ's clients rely on.
//!
//! It lets a program that talks to RabbitMQ talk to Forebay unchanged. Queues are topics,
//! `basic.consume` is standing credit, `basic.ack` settles. A connection is one task: a state
//! machine ([`connection`]) that turns bytes and broker events into bytes and broker commands, and
//! a driver ([`drive`]) that moves them. Who may come in and do what is for `forebay_access` to
//! say, and asked before a method is begun ([`rights`]). Speed comes from doing everything by the socket read:
//! what was published in a row becomes one record batch and one command, confirms and acks are
//! gathered, deliveries are encoded into one buffer. Memory of a connection is bounded by the
//! names in [`limits`].

mod arguments;
mod channel;
mod confirm;
mod connection;
mod content;
mod control;
mod credit;
mod describe;
mod direct_reply;
mod drive;
mod error;
mod frame;
mod handshake;
mod inside;
mod limits;
mod method;
mod methods;
mod names;
mod outbox;
mod policies;
mod properties;
mod publish;
mod queue_arguments;
mod rights;
mod roster;
mod route;
mod serve;
mod settle;
mod table;
mod unacked;

pub use describe::{ExchangeFacts, QueueFacts, binding_arguments};
pub use inside::{Got, Inside, Message, Said};
pub use policies::apply_policies;
pub use roster::{ChannelReport, ConnectionReport, ConsumerReport, Roster};
pub use serve::{Server, serve};

/// What clients are offered and asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Heartbeat interval proposed in `connection.tune`, seconds; 0 proposes none.
    pub heartbeat_s: u16,
    /// Largest frame offered, bytes, at least 8,192 and at most 131,072.
    pub frame_max: u32,
    /// Highest channel number offered, at least 1.
    pub channel_max: u16,
    /// Largest message body, bytes; a larger one closes its channel with 406.
    pub max_message_bytes: usize,
}

impl Default for Options {
    /// RabbitMQ's own: 60 s, 128 KiB, 2,047 channels, 16 MiB.
    fn default() -> Self {
        Self {
            heartbeat_s: limits::HEARTBEAT_S,
            frame_max: limits::FRAME_MAX,
            channel_max: limits::CHANNEL_MAX,
            max_message_bytes: limits::MESSAGE_MAX,
        }
    }
}

/// Takes `bytes` for a stream of frames and reads all that is in them: for fuzzing.
///
/// # Panics
/// If what was read is not the same after writing and reading it again.
#[doc(hidden)]
pub fn read_everything(mut bytes: &[u8]) {
    use frame::Kind;
    while let Ok(Some(frame)) = frame::take(bytes, limits::FRAME_MAX as usize) {
        match frame.kind {
            Kind::Method => read_method(frame.payload),
            Kind::Header => {
                if let Some((_, properties)) = frame::content_header(frame.payload) {
                    content::read_everything(properties);
                }
            }
            Kind::Body | Kind::Heartbeat => {}
        }
        bytes = &bytes[frame.size()..];
    }
}

fn read_method(payload: &[u8]) {
    if let Ok(id) = method::id(payload) {
        let _ = method::Settlement::parse(id, payload);
    }
    let _ = method::PublishHead::parse(payload);
    let Ok(parsed) = method::parse(payload) else {
        return;
    };
    // Compared as bytes: a number that is none is not equal to itself.
    let written = |method: &_| {
        let mut out = Vec::new();
        method::put(&mut out, 1, method);
        out
    };
    let first = written(&parsed);
    let payload = &first[frame::ENVELOPE - 1..first.len() - 1];
    let again = method::parse(payload).map(|method| written(&method));
    assert_eq!(again.as_ref(), Ok(&first));
}
