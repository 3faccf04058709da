//! Deliveries, and the answers about them.

use forebay_base::{Offset, OffsetRange, SessionId, Timestamp};

/// Neighbouring messages with the same delivery count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// The messages.
    pub range: OffsetRange,
    /// Which delivery this is: 1 for the first.
    pub attempt: u32,
}

/// What a consumer shows to settle a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The message.
    pub offset: Offset,
    /// Which of its deliveries is meant: 1 for the first.
    pub attempt: u32,
}

/// How a consumer ends, or prolongs, a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The work is done.
    Ack,
    /// The work is done, if the lease is still held: a receipt whose lease has ended has no
    /// effect.
    AckLeased,
    /// The work is to be tried again.
    Release {
        /// Milliseconds until the message is ready again; 0 for at once.
        delay_ms: u64,
        /// Whether this delivery counts as an attempt.
        count: bool,
    },
    /// The work takes longer.
    Extend {
        /// Milliseconds from now until the lease ends by itself.
        ms: u64,
    },
    /// The work cannot be done.
    DeadLetter,
}

/// What a receipt is still good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The delivery is the current one, and its lease is held.
    Leased {
        /// Who holds it.
        lessee: SessionId,
    },
    /// The delivery was the last one, or one that a crash has made forgotten. Its lease has ended,
    /// and the message waits to be handed out again.
    Ready,
    /// The message was handed out again since.
    Stale,
    /// The message is settled or not durable, or it is out under an earlier delivery.
    Gone,
}

/// The policy of a queue, as far as handing out depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// How often a message may be handed out; `None` for no limit.
    pub max_deliveries: Option<u32>,
    /// How many messages may be leased at once; `None` for no limit.
    pub max_leased: Option<u64>,
}

/// How many messages are in which state. Only durable messages are counted as ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// May be handed out now.
    pub ready: u64,
    /// Handed out and not settled.
    pub leased: u64,
    /// Wait for a moment.
    pub delayed: u64,
}

/// A delivery that is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Which delivery it is: 1 for the first.
    pub attempt: u32,
    /// When it ends by itself, if it does.
    pub deadline: Option<Timestamp>,
}
