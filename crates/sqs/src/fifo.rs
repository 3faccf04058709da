//! What FIFO queues ask of messages, and what they give back: groups, deduplication, sequence
//! numbers.

use std::borrow::Cow;

use forebay_base::Offset;
use forebay_broker::{Identity, TopicInfo};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::attributes;
use crate::error::Fault;
use crate::outgoing::Outgoing;

/// The header that keeps an explicit deduplication id.
pub(crate) const DEDUPLICATION_ID: &str = "sqs.deduplication-id";
/// The reason given for a parameter of the other kind of queue.
pub(crate) const INVALID_FOR_QUEUE_TYPE: &str =
    "The request include parameter that is not valid for this queue type.";

/// What a FIFO queue finds missing from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Deduplication,
    Group,
}

impl Missing {
    fn text(self) -> &'static str {
        match self {
            Self::Deduplication => {
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly"
            }
            Self::Group => "The request must contain the parameter MessageGroupId.",
        }
    }

    /// What a call with one message is answered.
    pub(crate) fn alone(self) -> Fault {
        match self {
            Self::Deduplication => Fault::InvalidParameterValue(self.text().to_owned()),
            Self::Group => Fault::MissingParameter(self.text().into()),
        }
    }

    /// What a whole batch is answered that has such a message.
    pub(crate) fn in_batch(self) -> Fault {
        Fault::InvalidParameterValue(self.text().to_owned())
    }
}

/// What a FIFO queue, if it is one, misses in a message.
pub(crate) fn missing(message: &Outgoing<'_>, queue: &TopicInfo) -> Option<Missing> {
    if !queue.config.ordered {
        return None;
    }
    if message.group_id.is_none() {
        return Some(Missing::Group);
    }
    let known = message.deduplication_id.is_some() || attributes::is_content_based(&queue.config);
    (!known).then_some(Missing::Deduplication)
}

/// Whether the message has what its kind of queue does not take.
pub(crate) fn check(message: &Outgoing<'_>, queue: &TopicInfo) -> Result<(), Fault> {
    match (
        queue.config.ordered,
        &message.deduplication_id,
        message.delay_seconds,
    ) {
        (false, Some(id), _) => Err(Fault::invalid(
            id,
            "MessageDeduplicationId",
            INVALID_FOR_QUEUE_TYPE,
        )),
        // The delay of a FIFO queue is that of the queue; 0 is taken and means just that.
        (true, _, Some(seconds)) if seconds > 0 => Err(Fault::invalid(
            seconds,
            "DelaySeconds",
            INVALID_FOR_QUEUE_TYPE,
        )),
        _ => Ok(()),
    }
}

/// What makes a later message a duplicate of this one; `None` on a standard queue.
pub(crate) fn identity(message: &Outgoing<'_>, queue: &TopicInfo, id: Uuid) -> Option<Identity> {
    if !queue.config.ordered {
        return None;
    }
    let mut digest = Sha256::new();
    if attributes::is_scoped_to_groups(&queue.config) {
        let group = message.group_id.as_deref().unwrap_or_default();
        // No id holds a space, so no pair reads like another pair.
        digest.update(group);
        digest.update(b" ");
    }
    match &message.deduplication_id {
        Some(id) => digest.update(id.as_bytes()),
        None => digest.update(of_body(message.body.as_bytes())),
    }
    Some(Identity {
        key: half(digest),
        id: id.as_u128(),
    })
}

/// The deduplication id of a message that has none of its own.
pub(crate) fn of_body(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

/// The name of an attempt to receive.
pub(crate) fn attempt(id: &str) -> u128 {
    half(Sha256::new_with_prefix(id))
}

fn half(digest: Sha256) -> u128 {
    let digest = digest.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The number of a message among those of its queue: 20 digits, growing.
pub(crate) fn sequence_number(offset: Offset) -> Cow<'static, str> {
    const FIRST: u128 = 10_000_000_000_000_000_000;
    (FIRST + u128::from(offset)).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_have_twenty_digits_and_grow() {
        let numbers: Vec<_> = [0, 1, 9, 10, 1 << 40].map(sequence_number).into();
        assert!(numbers.is_sorted());
        assert!(numbers.iter().all(|number| number.len() == 20));
    }

    #[test]
    fn the_id_of_a_body_is_its_sha_256() {
        assert_eq!(
            of_body(b"hello"),
            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
    }
}
