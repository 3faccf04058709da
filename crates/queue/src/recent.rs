//! What was sent lately, so that what is sent twice is found out.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use forebay_base::{Offset, PartitionId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hashed::Hashed;

/// The messages sent to a queue within a window of time, by a key that the sender chose. Some
/// eighty bytes each, for as long as the window is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Oldest first, as far as the clock went forward.
    sent: VecDeque<Sent>,
    /// The number of the first of them; numbers count up and wrap.
    first: u32,
    /// From the lower half of a key to the number. Keys are digests, whose halves do not collide.
    numbers: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// What makes a second one a duplicate: a digest of 128 bits.
    pub key: u128,
    /// The message's own id, for telling it to whoever sends a duplicate.
    pub id: u128,
    /// The partition it lies in.
    pub partition: PartitionId,
    /// Where it lies there.
    pub offset: Offset,
    /// A message with the same key is a duplicate before this moment.
    pub until: Timestamp,
}

impl Recent {
    /// The message that one with this key would be a duplicate of.
    pub fn find(&self, key: u128, now: Timestamp) -> Option<&Sent> {
        let number = self.numbers.get(&half(key))?;
        let place = usize::try_from(number.wrapping_sub(self.first)).ok()?;
        let sent = self.sent.get(place)?;
        (sent.key == key && now < sent.until).then_some(sent)
    }

    /// A message was sent at a moment. Forgets what is over by then.
    pub fn add(&mut self, sent: Sent, now: Timestamp) {
        self.forget(now);
        // No window holds 2^32 messages: memory ends before.
        let number = self.first.wrapping_add(self.sent.len() as u32);
        self.numbers.insert(half(sent.key), number);
        self.sent.push_back(sent);
    }

    /// Forgets what is over at `now`.
    pub fn forget(&mut self, now: Timestamp) {
        while let Some(sent) = self.sent.front().filter(|sent| sent.until <= now) {
            let half = half(sent.key);
            // The key may have been sent again since, after its time.
            if self.numbers.get(&half) == Some(&self.first) {
                self.numbers.remove(&half);
            }
            self.sent.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        if self.sent.is_empty() {
            *self = Self::default();
        }
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// How many messages are remembered.
    pub fn len(&self) -> usize {
        self.sent.len()
    }
}

/// The lower half.
fn half(key: u128) -> u64 {
    key as u64
}

impl Serialize for Recent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.sent)
    }
}

impl<'de> Deserialize<'de> for Recent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut recent = Self::default();
        for sent in Vec::<Sent>::deserialize(deserializer)? {
            // Nothing is over before the earliest moment.
            recent.add(sent, Timestamp(i64::MIN));
        }
        Ok(recent)
    }
}
