//! Segments: immutable objects that hold what outlives the journal.
//!
//! A segment holds runs of many partitions, so that objects and requests follow time, not the
//! number of partitions. Everything goes through `object_store`, whose local form is
//! [`DiskObjects`].

mod block;
mod cache;
mod change;
mod check;
mod disk_objects;
mod error;
mod layout;
mod options;
mod reader;
mod rescue;
mod run;
mod store;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

pub use change::{Keeper, Kept, NewSegment, PartitionChange, SegmentChange};
pub use check::SegmentReport;
pub(crate) use check::check_segment;
pub use disk_objects::DiskObjects;
pub use error::SegmentError;
pub use options::SegmentOptions;
pub(crate) use reader::SegmentReader;
pub(crate) use rescue::{Rescued, rescue};
pub use run::{Run, SegmentInfo};
pub(crate) use store::Objects;
pub use store::SegmentStore;
pub(crate) use walk::{RunFound, RunPlace, RunWalk};
pub(crate) use writer::{Origin, SegmentWriter, Written};
