//! The durable log: everything the broker must not forget goes through here.
//!
//! One journal, an append-only sequence of preallocated files, is shared by every partition: one
//! write and one `fdatasync` make a whole commit durable, whatever the number of partitions in
//! it. What outlives the journal moves into segments, immutable objects in a directory or an
//! object store, and one index leads readers through both. The crate knows partitions, offsets
//! and opaque frames; it never knows a view, a protocol or what a payload means. It uses threads and blocking calls only. `docs/format.md` describes
//! every byte that is written here.

mod change_bytes;
mod check;
mod cold;
mod commit;
mod data_dir;
mod disk;
mod examine;
mod file_header;
mod files;
mod frame;
mod handles;
mod index;
mod index_export;
mod inspect;
mod journal;
mod journal_thread;
mod load;
mod position;
mod promote;
mod promoter;
mod reader;
mod recovery;
mod repair;
mod rescue;
mod runs;
mod scan;
mod segment;
mod snapshot;
mod space;
mod supply;
mod survey;
mod tail;
mod track;
mod walk;

pub use check::{CheckReport, check, journal_size};
pub use commit::CommitBuilder;
pub use data_dir::{DataDir, DataDirError};
pub use disk::{
    Disk, DiskError, DiskFile, Fault, Operation, ReadOnlyDisk, RealDisk, SimDisk, Trouble,
};
pub use examine::{
    DamagedSegment, Examination, ExamineError, Examined, KnownSegments, Part, Progress,
    index_places,
};
pub use frame::{AppendRef, FrameRef};
pub use index_export::IndexError;
pub use inspect::{Damage, DamageKind, Held, JournalEnd, Seen, SeenCommit, inspect};
pub use journal::{Committed, Journal, JournalOptions, WriteError};
pub use journal_thread::{Completion, JournalNews, JournalThread};
pub use position::Position;
pub use promoter::{PromoteError, Promoter};
pub use reader::{Bounds, LogReader, ReadError, Source, Stored};
pub use recovery::{RecoverError, ReplayFrom};
pub use repair::JournalRepair;
pub use segment::{
    DiskObjects, Keeper, Kept, NewSegment, PartitionChange, Run, SegmentChange, SegmentError,
    SegmentInfo, SegmentOptions, SegmentReport, SegmentStore,
};
pub use snapshot::{SnapshotError, SnapshotStore};
pub use space::{Space, SpaceGauge};
pub use survey::Chunk;
pub use walk::Cursor;
