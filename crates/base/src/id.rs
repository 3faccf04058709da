//! Identifiers. All are allocated by the shard, dense and never used twice.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The position of a record in its partition. The first record of a partition has offset 0.
pub type Offset = u64;

/// A topic. Two topics of the same name, one deleted before the other was made, differ in id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(pub u64);

/// One partition of one topic, unique in the broker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u64);

/// A front end's connection, or whatever else holds deliveries until it ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u64);

macro_rules! show {
    ($($name:ident $prefix:literal),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
show!(TopicId "t", PartitionId "p", SessionId "s");

/// A run of neighbouring offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OffsetRange {
    /// The lowest offset of the run.
    pub first: Offset,
    /// How many offsets; at least 1.
    pub count: u32,
}

impl OffsetRange {
    /// The run that holds only `offset`.
    pub fn one(offset: Offset) -> Self {
        Self {
            first: offset,
            count: 1,
        }
    }

    /// The offset after the last one.
    pub fn end(&self) -> Offset {
        self.first + u64::from(self.count)
    }

    /// Every offset of the run, lowest first.
    pub fn offsets(&self) -> std::ops::Range<Offset> {
        self.first..self.end()
    }
}
