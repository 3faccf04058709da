//! Segments: immutable objects that hold what outlives the journal.
//!
//! A segment holds runs of many partitions, so that objects and requests follow time, not the
//! number of partitions. Everything goes through `object_store`, whose local form is
//! [`DiskObjects`].

mod change;
mod disk_objects;
mod error;
mod options;
mod run;
mod store;

pub use change::{Keeper, Kept, NewSegment, PartitionChange, SegmentChange};
pub use disk_objects::DiskObjects;
pub use error::SegmentError;
pub use options::SegmentOptions;
pub use run::{Run, SegmentInfo};
pub use store::SegmentStore;
