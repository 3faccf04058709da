//! What can happen to the messages of a partition.

use forebay_base::{Offset, OffsetRange, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

/// One change of a queue view. These are written to the journal, where a variant is known by its
/// place: new variants go to the end, and none is ever removed or reordered.
///
/// An event that does not fit a message's state (such as settling what is settled) leaves that
/// message as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QueueEvent {
    /// Messages were appended that must not be handed out before a moment. May arrive before the
    /// messages are durable.
    Delayed {
        /// The messages.
        range: OffsetRange,
        /// The first moment at which they may be handed out.
        until: Timestamp,
    },
    /// Ready messages were handed out; each now has one delivery attempt more.
    Delivered {
        /// The messages.
        ranges: Vec<OffsetRange>,
        /// Who has them.
        lessee: SessionId,
        /// When the lease ends by itself; `None` for a lease that lasts until the messages are
        /// settled or released.
        deadline: Option<Timestamp>,
    },
    /// The messages are done and never come back, whatever their state was.
    Settled {
        /// The messages.
        ranges: Vec<OffsetRange>,
    },
    /// Leases and delays ended; the messages are ready again, now or later.
    Released {
        /// The messages.
        ranges: Vec<OffsetRange>,
        /// When they become ready; `None` for now.
        until: Option<Timestamp>,
        /// Whether the delivery that ends here counts as an attempt.
        count: bool,
    },
    /// Leases got another deadline.
    Extended {
        /// The messages.
        range: OffsetRange,
        /// The new deadline, later or earlier than the old one.
        deadline: Timestamp,
    },
    /// Every message below an offset was settled.
    Purged {
        /// The first offset that is not touched.
        below: Offset,
        /// Whether leased messages are settled too; if not, they stay leased and may return.
        leased: bool,
    },
    /// The first readable offset of the partition moved up; everything below is settled, leased
    /// or not.
    Started {
        /// The new first readable offset.
        at: Offset,
    },
    /// Messages were appended that end at a moment: then they go, if they are ready and no message
    /// that is ready lies before them. May arrive before the messages are durable.
    Ends {
        /// The messages.
        range: OffsetRange,
        /// When; [`end_after`](crate::end_after) tells.
        at: Timestamp,
    },
}
