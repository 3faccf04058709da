//! Lanes as they lie in a snapshot: each message that is not settled, as the distance from the one
//! before and the number of its group, with the group's key where it comes first. Where a message
//! is follows from the rest of the view.

use std::fmt;

use forebay_base::Offset;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Lanes;
use crate::run::Span;

impl Serialize for Lanes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.next, Messages(self)).serialize(serializer)
    }
}

struct Messages<'a>(&'a Lanes);

/// Distance, number of the group, key of a group that was not seen before.
type Message = (u64, u32, Option<u64>);

impl Serialize for Messages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let count = self.0.unsettled_slots().count();
        let mut out = serializer.serialize_seq(Some(count))?;
        // The number of each lane in what is stored, in the order in which they come.
        let mut numbers: Vec<Option<u32>> = vec![None; self.0.lanes.len()];
        let mut fresh = 0;
        let mut free = 0;
        for (offset, slot) in self.0.unsettled_slots() {
            let lane = slot.lane() as usize;
            let known = numbers[lane];
            let number = *numbers[lane].get_or_insert(fresh);
            let key = known.is_none().then(|| self.0.lanes[lane].key);
            fresh += u32::from(known.is_none());
            let message: Message = (offset - free, number, key);
            out.serialize_element(&message)?;
            free = offset + 1;
        }
        out.end()
    }
}

impl<'de> Deserialize<'de> for Lanes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (next, Loaded(mut lanes)) = <(Offset, Loaded)>::deserialize(deserializer)?;
        if next < lanes.next {
            return Err(D::Error::custom(
                "a message lies beyond the end of the lanes",
            ));
        }
        lanes.next = next;
        Ok(lanes)
    }
}

struct Loaded(Lanes);

impl<'de> Deserialize<'de> for Loaded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Load)
    }
}

struct Load;

impl<'de> Visitor<'de> for Load {
    type Value = Loaded;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("messages of lanes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut messages: A) -> Result<Loaded, A::Error> {
        let mut lanes = Lanes::default();
        let mut keys = Vec::new();
        while let Some((gap, number, key)) = messages.next_element::<Message>()? {
            let offset = lanes.next.checked_add(gap);
            let offset = offset.filter(|offset| *offset <= Span::LAST);
            let offset = offset.ok_or_else(|| A::Error::custom("a message beyond every offset"))?;
            keys.extend(key);
            // The number fits: it was written as an index.
            let key = usize::try_from(number).ok().and_then(|at| keys.get(at));
            let key = *key.ok_or_else(|| A::Error::custom("a message of no group"))?;
            lanes.append(offset, std::iter::once(key));
        }
        Ok(Loaded(lanes))
    }
}
