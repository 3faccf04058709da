//! The frames the shard writes beside appends: everything else that changes its state.
//!
//! A frame is one [`StateFrame`] in postcard's format (a varint for the variant, then its fields
//! in order). `docs/format.md` lists them. Variants are known by their place: new ones go to the
//! end, none is removed or reordered.

use forebay_base::{PartitionId, Timestamp, TopicId};
use forebay_queue::{QueueEvent, Sent};
use forebay_stream::StreamEvent;
use serde::{Deserialize, Serialize};

use crate::SettingChange;
use crate::catalog::CatalogEvent;
use crate::moves::MoveEvent;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum StateFrame {
    Catalog(CatalogEvent),
    Queue {
        partition: PartitionId,
        event: QueueEvent,
    },
    Stream(StreamEvent),
    /// The time, now and then: what is measured in hours does not follow a client's clock.
    Clock(Timestamp),
    /// A message whose duplicates are to be found out was appended, at that moment.
    Sent {
        topic: TopicId,
        sent: Sent,
        at: Timestamp,
    },
    Move(MoveEvent),
    Settings(Vec<SettingChange>),
}

/// A frame, or a snapshot, that this version cannot read.
#[derive(Debug, thiserror::Error)]
#[error("cannot be read: {0}")]
pub struct FrameError(#[from] postcard::Error);

impl FrameError {
    /// A record batch that is not one.
    pub(crate) fn batch() -> Self {
        Self(postcard::Error::DeserializeBadEncoding)
    }

    /// Something that ends too early.
    pub(crate) fn short() -> Self {
        Self(postcard::Error::DeserializeUnexpectedEnd)
    }
}

impl StateFrame {
    pub(crate) fn encode_into(&self, buffer: &mut Vec<u8>) {
        buffer.clear();
        postcard::to_io(self, buffer)
            .expect("writing to memory cannot fail and every field has a known length");
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        Ok(postcard::from_bytes(bytes)?)
    }
}
