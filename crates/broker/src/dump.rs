//! What a data directory holds, frame by frame and batch by batch, for somebody to read.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use forebay_base::{Offset, PartitionId, TopicId};
use forebay_log::{
    AppendRef, Damage, DataDir, Disk, Examination, FrameRef, Position, ReadOnlyDisk, ReplayFrom,
    Run, Seen, SegmentChange, SegmentInfo, SegmentStore, SnapshotStore, Stored, inspect,
};
use forebay_record::{Batch, Record};

use crate::TopicInfo;
use crate::catalog::CatalogEvent;
use crate::check::{CheckError, Contents, contents};
use crate::frame::StateFrame;
use crate::recovery::split_snapshot;
use crate::state::ShardState;

/// What is to be told.
#[derive(Clone, Debug, Default)]
pub struct DumpOptions {
    /// Only what is about this topic.
    pub topic: Option<String>,
    /// The journal from here on; segments are left out if this is set.
    pub from: Option<Position>,
    /// What lies in segments too, batch by batch.
    pub batches: bool,
}

/// One thing that is told.
#[derive(Debug)]
pub enum Dumped<'a> {
    /// A snapshot.
    Snapshot {
        /// Where it stands.
        position: Position,
        /// Bytes of it.
        bytes: u64,
        /// What it holds, or why it cannot be used.
        contents: Result<Contents, String>,
    },
    /// A segment.
    Segment(SegmentInfo),
    /// A run of a partition in a segment.
    Run {
        /// The partition.
        partition: Label,
        /// The run.
        run: Run,
    },
    /// A batch that lies in a segment.
    Batch {
        /// The partition.
        partition: Label,
        /// The batch.
        batch: Stored,
    },
    /// Offsets of a run that cannot be read.
    Lost {
        /// The partition.
        partition: Label,
        /// The offsets.
        offsets: std::ops::Range<Offset>,
    },
    /// A journal file begins.
    File {
        /// Its number.
        number: u64,
        /// Where it is.
        path: &'a Path,
    },
    /// A commit of the journal. Its frames follow.
    Commit {
        /// Where it begins.
        position: Position,
        /// Bytes of it.
        bytes: u64,
        /// True if it stands where repair has cut something out.
        void: bool,
    },
    /// A frame: a batch was appended.
    Append {
        /// The partitions, and the offset of the first record in each.
        entries: Vec<(Label, Offset)>,
        /// How many offsets it takes.
        records: u32,
        /// The latest timestamp in it, milliseconds since 1970.
        max_timestamp: i64,
        /// The batch.
        batch: Bytes,
    },
    /// A frame: something else changed.
    State {
        /// The kind of change, one word.
        kind: &'static str,
        /// The partition it is about, if it is about one.
        partition: Option<Label>,
        /// The change.
        change: String,
    },
    /// A frame: batches moved into segments.
    Segments(SegmentChange),
    /// The end of a journal file.
    Seal(Position),
    /// Something that cannot be read.
    Damage(Damage),
    /// The end of the log.
    End {
        /// Where it is.
        position: Position,
        /// Bytes of a torn commit behind it.
        torn: u64,
    },
}

/// A partition, with its topic if that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The partition.
    pub id: PartitionId,
    /// The topic's name, and the partition's place in it.
    pub of: Option<(Arc<str>, u32)>,
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.of {
            Some((topic, number)) => write!(f, "{topic}/{number}"),
            None => write!(f, "partition#{}", self.id.0),
        }
    }
}

/// The records of a batch, and the offset of each counted from the batch's first.
///
/// # Errors
/// Why it cannot be read.
pub fn batch_records(batch: &Bytes) -> Result<Vec<Record>, String> {
    let batch = Batch::from_trusted(batch.clone()).map_err(|error| error.to_string())?;
    let records = batch.records(64 << 20).map_err(|error| error.to_string())?;
    records
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())
}

/// Tells all that is in a data directory which nobody uses, until `tell` has enough.
///
/// # Errors
/// What keeps it from being read at all.
pub fn dump(
    data_dir: &Path,
    segments: Option<SegmentStore>,
    options: &DumpOptions,
    tell: &mut dyn FnMut(Dumped<'_>) -> ControlFlow<()>,
) -> Result<(), CheckError> {
    let data_dir = DataDir::existing(data_dir)?;
    let disk: Arc<dyn Disk> = Arc::new(ReadOnlyDisk);
    let path = data_dir.path();
    let segments = segments.unwrap_or_else(|| SegmentStore::local(Arc::clone(&disk), path));
    let store = SnapshotStore::existing(Arc::clone(&disk), path, data_dir.journal_id());
    let mut teller = Teller {
        options,
        tell,
        labels: BTreeMap::new(),
        topics: BTreeMap::new(),
    };
    let base = teller.snapshots(&store)?;
    let from = base.as_ref().and_then(|(position, payload)| {
        let (_, index) = split_snapshot(payload).ok()?;
        Some(ReplayFrom {
            position: *position,
            index,
        })
    });
    let examination = Examination {
        disk: &*disk,
        data_dir: path,
        journal_id: data_dir.journal_id(),
        segments: &segments,
    };
    if options.from.is_none() && teller.segments(&examination, from)?.is_break() {
        return Ok(());
    }
    let from = options.from.unwrap_or_default();
    let mut enough = false;
    let end = inspect(&*disk, path, data_dir.journal_id(), from, &mut |seen| {
        let flow = teller.seen(seen);
        enough |= flow.is_break();
        flow
    })
    .map_err(forebay_log::ExamineError::from)?;
    if !enough {
        let (position, torn) = (end.end, end.torn);
        let _ = (teller.tell)(Dumped::End { position, torn });
    }
    Ok(())
}

struct Teller<'a> {
    options: &'a DumpOptions,
    tell: &'a mut dyn FnMut(Dumped<'_>) -> ControlFlow<()>,
    labels: BTreeMap<PartitionId, (Arc<str>, u32)>,
    /// Each topic's name, and how many partitions it has.
    topics: BTreeMap<TopicId, (Arc<str>, u32)>,
}

impl Teller<'_> {
    fn label(&self, id: PartitionId) -> Label {
        Label {
            id,
            of: self.labels.get(&id).cloned(),
        }
    }

    fn learn(&mut self, topic: &TopicInfo) {
        let mut count = 0;
        for (number, id) in (0..).zip(&topic.partitions) {
            self.labels.insert(*id, (topic.name.clone(), number));
            count = number + 1;
        }
        self.topics.insert(topic.id, (topic.name.clone(), count));
    }

    fn is_wanted(&self, label: &Label) -> bool {
        match (&self.options.topic, &label.of) {
            (None, _) => true,
            (Some(wanted), Some((topic, _))) => **wanted == **topic,
            (Some(_), None) => false,
        }
    }

    /// Tells of the snapshots, and gives the newest that can be used.
    fn snapshots(
        &mut self,
        store: &SnapshotStore,
    ) -> Result<Option<(Position, Bytes)>, CheckError> {
        let mut base = None;
        for &position in store.positions()?.iter().rev() {
            let loaded = store.load(position);
            let (bytes, found) = match &loaded {
                Ok(Some(payload)) => {
                    let state = split_snapshot(payload).map(|(state, _)| state);
                    (
                        payload.len() as u64,
                        state.map_err(|error| error.to_string()),
                    )
                }
                Ok(None) => (0, Err("its checksum is wrong".to_owned())),
                Err(error) => (0, Err(error.to_string())),
            };
            if let (Ok(state), None, Ok(Some(payload))) = (&found, &base, loaded) {
                self.learn_all(state);
                base = Some((position, payload));
            }
            let contents = found.map(|state| contents(&state));
            let told = Dumped::Snapshot {
                position,
                bytes,
                contents,
            };
            if (self.tell)(told).is_break() {
                break;
            }
        }
        Ok(base)
    }

    fn learn_from(&mut self, event: &CatalogEvent) {
        match event {
            CatalogEvent::TopicCreated(topic) => self.learn(topic),
            CatalogEvent::TopicGrown { id, partitions, .. } => {
                let Some((name, count)) = self.topics.get_mut(id) else {
                    return;
                };
                for partition in partitions {
                    // What a snapshot has told already keeps its place.
                    let told = self.labels.entry(*partition);
                    let (_, number) = told.or_insert_with(|| (name.clone(), *count));
                    *count = *number + 1;
                }
            }
            _ => {}
        }
    }

    fn learn_all(&mut self, state: &ShardState) {
        for topic in state.catalog.topics() {
            self.learn(topic);
        }
    }

    fn segments(
        &mut self,
        examination: &Examination<'_>,
        from: Option<ReplayFrom<'_>>,
    ) -> Result<ControlFlow<()>, CheckError> {
        let mut events = Vec::new();
        let known = examination.known(from, &mut |frame| {
            if let FrameRef::State(payload) = frame
                && let Ok(StateFrame::Catalog(event)) = StateFrame::decode(payload)
            {
                events.push(event);
            }
        })?;
        for event in &events {
            self.learn_from(event);
        }
        for segment in known.segments {
            let mut told = false;
            for (partition, run) in &known.runs {
                let partition = self.label(*partition);
                if run.segment != segment.number || !self.is_wanted(&partition) {
                    continue;
                }
                if !told && (self.tell)(Dumped::Segment(segment)).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                told = true;
                let run = *run;
                if (self.tell)(Dumped::Run {
                    partition: partition.clone(),
                    run,
                })
                .is_break()
                {
                    return Ok(ControlFlow::Break(()));
                }
                if self.options.batches && self.batches(examination, &partition, &run)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn batches(
        &mut self,
        examination: &Examination<'_>,
        partition: &Label,
        run: &Run,
    ) -> Result<ControlFlow<()>, CheckError> {
        let mut flow = ControlFlow::Continue(());
        examination.batches(partition.id, run, &mut |found| {
            if flow.is_continue() {
                let partition = partition.clone();
                flow = (self.tell)(match found {
                    Ok(batch) => Dumped::Batch { partition, batch },
                    Err(offsets) => Dumped::Lost { partition, offsets },
                });
            }
        })?;
        Ok(flow)
    }

    fn seen(&mut self, seen: Seen<'_>) -> ControlFlow<()> {
        match seen {
            // Of interest for the order of things only.
            Seen::File { .. } | Seen::Seal(_) if self.options.topic.is_some() => {
                ControlFlow::Continue(())
            }
            Seen::File { number, path } => (self.tell)(Dumped::File { number, path }),
            Seen::Seal(position) => (self.tell)(Dumped::Seal(position)),
            Seen::Damage(damage) => (self.tell)(Dumped::Damage(damage)),
            Seen::Commit(commit) => {
                let frames: Vec<_> = commit
                    .frames()
                    .filter_map(|frame| self.frame(frame))
                    .collect();
                if frames.is_empty() && self.options.topic.is_some() {
                    return ControlFlow::Continue(());
                }
                (self.tell)(Dumped::Commit {
                    position: commit.position(),
                    bytes: commit.bytes(),
                    void: commit.is_void(),
                })?;
                frames.into_iter().try_for_each(&mut *self.tell)
            }
        }
    }

    /// A frame in words; `None` if it is not wanted.
    fn frame(&mut self, frame: FrameRef<'_>) -> Option<Dumped<'static>> {
        match frame {
            FrameRef::Append(append) => self.append(&append),
            FrameRef::State(payload) => self.state(payload),
            FrameRef::Segments(payload) => {
                let change = SegmentChange::decode(payload)?;
                self.options
                    .topic
                    .is_none()
                    .then_some(Dumped::Segments(change))
            }
        }
    }

    fn append(&self, append: &AppendRef<'_>) -> Option<Dumped<'static>> {
        let entries: Vec<_> = append
            .entries()
            .map(|(partition, offset)| (self.label(partition), offset))
            .collect();
        let wanted = entries.iter().any(|(label, _)| self.is_wanted(label));
        wanted.then(|| Dumped::Append {
            records: append.records,
            max_timestamp: append.max_timestamp,
            batch: Bytes::copy_from_slice(append.payload),
            entries,
        })
    }

    fn state(&mut self, payload: &[u8]) -> Option<Dumped<'static>> {
        let frame = match StateFrame::decode(payload) {
            Ok(frame) => frame,
            Err(error) => {
                return Some(Dumped::State {
                    kind: "unreadable",
                    partition: None,
                    change: format!("{} bytes: {error}", payload.len()),
                });
            }
        };
        let (kind, partition, change) = match &frame {
            StateFrame::Catalog(event) => {
                self.learn_from(event);
                ("catalog", None, format!("{event:?}"))
            }
            StateFrame::Queue { partition, event } => {
                ("queue", Some(self.label(*partition)), format!("{event:?}"))
            }
            StateFrame::Stream(event) => ("stream", None, format!("{event:?}")),
            StateFrame::Clock(time) => ("clock", None, format!("{time:?}")),
            StateFrame::Sent { .. } => ("sent", None, format!("{frame:?}")),
            StateFrame::Move(event) => ("move", None, format!("{event:?}")),
            StateFrame::Settings(changes) => ("settings", None, format!("{changes:?}")),
        };
        let wanted = match &partition {
            Some(label) => self.is_wanted(label),
            None => self.options.topic.is_none(),
        };
        wanted.then_some(Dumped::State {
            kind,
            partition,
            change,
        })
    }
}
