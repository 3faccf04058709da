//! Receipt handles: which delivery of which message of which queue, opaque to clients.
//!
//! ```text
//! base64url, unpadded, of
//!   0      version, 1
//!   1..9   topic id            u64, big-endian like all that follows
//!   9..17  partition id        u64
//!  17..25  offset              u64
//!  25..29  attempt             u32
//!  29..37  received, ms        i64
//!  37..41  CRC-32C of 0..37
//! ```
//! The checksum tells a damaged or invented handle from one this server gave; it is no secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forebay_base::{PartitionId, Timestamp, TopicId};
use forebay_broker::Receipt;

const VERSION: u8 = 1;
const CHECKED: usize = 37;
const BYTES: usize = CHECKED + 4;
/// Characters of a handle.
const CHARS: usize = 55;

/// What a receipt handle says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) topic: TopicId,
    pub(crate) receipt: Receipt,
    pub(crate) received: Timestamp,
}

impl Handle {
    pub(crate) fn encode(&self) -> String {
        let mut bytes = [0; BYTES];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.topic.0.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.receipt.partition.0.to_be_bytes());
        bytes[17..25].copy_from_slice(&self.receipt.offset.to_be_bytes());
        bytes[25..29].copy_from_slice(&self.receipt.attempt.to_be_bytes());
        bytes[29..37].copy_from_slice(&self.received.0.to_be_bytes());
        let checksum = crc32c::crc32c(&bytes[..CHECKED]);
        bytes[CHECKED..].copy_from_slice(&checksum.to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` if this server cannot have given the handle.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        if text.len() != CHARS {
            return None;
        }
        let mut bytes = [0; BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let checksum = u32::from_be_bytes(bytes[CHECKED..].try_into().ok()?);
        let whole = length == BYTES && crc32c::crc32c(&bytes[..CHECKED]) == checksum;
        if !whole || bytes[0] != VERSION {
            return None;
        }
        Some(Self {
            topic: TopicId(u64::from_be_bytes(bytes[1..9].try_into().ok()?)),
            receipt: Receipt {
                partition: PartitionId(u64::from_be_bytes(bytes[9..17].try_into().ok()?)),
                offset: u64::from_be_bytes(bytes[17..25].try_into().ok()?),
                attempt: u32::from_be_bytes(bytes[25..29].try_into().ok()?),
            },
            received: Timestamp(i64::from_be_bytes(bytes[29..37].try_into().ok()?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn handles_come_back_as_they_were(
            topic: u64, partition: u64, offset: u64, attempt: u32, received: i64,
        ) {
            let handle = Handle {
                topic: TopicId(topic),
                receipt: Receipt { partition: PartitionId(partition), offset, attempt },
                received: Timestamp(received),
            };
            let text = handle.encode();
            prop_assert_eq!(text.len(), CHARS);
            prop_assert_eq!(Handle::decode(&text), Some(handle));
        }

        #[test]
        fn a_changed_character_is_noticed(offset: u64, at in 0..CHARS, with in "[A-Za-z0-9_-]") {
            let handle = Handle {
                topic: TopicId(1),
                receipt: Receipt { partition: PartitionId(2), offset, attempt: 3 },
                received: Timestamp(4),
            };
            let mut text = handle.encode();
            prop_assume!(text[at..=at] != with);
            text.replace_range(at..=at, &with);
            prop_assert_eq!(Handle::decode(&text), None);
        }

        #[test]
        fn garbage_is_no_handle(text in ".{0,80}") {
            prop_assert_eq!(Handle::decode(&text), None);
        }
    }
}
