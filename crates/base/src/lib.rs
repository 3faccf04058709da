//! The words every other crate shares: identifiers, offsets, time.
//!
//! Nothing here does I/O or knows a protocol. Time is a value that is handed in; the one place
//! that reads the machine's clock is [`SystemClock`], and only the binary and the broker's shell
//! construct it.

mod id;
pub mod planted;
mod time;

pub use id::{Offset, OffsetRange, PartitionId, SessionId, TopicId};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
