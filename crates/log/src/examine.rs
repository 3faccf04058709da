//! Looking at everything a data directory holds, without opening it or changing anything: the
//! journal, the segments, and whether the two together hold all that the index promises.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use forebay_base::{Offset, PartitionId};
use hashbrown::HashMap;

use crate::disk::Disk;
use crate::file_header::FILE_HEADER;
use crate::frame::FrameRef;
use crate::index::Index;
use crate::index_export::{self, IndexError};
use crate::inspect::{Damage, DamageKind, Held, JournalEnd, Seen, inspect};
use crate::journal::journal_dir;
use crate::position::{Geometry, Position};
use crate::reader::Stored;
use crate::recovery::{RecoverError, ReplayFrom};
use crate::segment::{
    Objects, Rescued, Run, SegmentError, SegmentInfo, SegmentStore, check_segment, rescue,
};
use crate::supply::journal_path;

/// Where to look.
#[derive(Clone, Copy)]
pub struct Examination<'a> {
    /// The disk; it is only read.
    pub disk: &'a dyn Disk,
    /// The data directory.
    pub data_dir: &'a Path,
    /// The number of its journal.
    pub journal_id: u64,
    /// Where its segments are.
    pub segments: &'a SegmentStore,
}

/// How far an examination is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being read.
    pub part: Part,
    /// Bytes of the part that were read.
    pub done: u64,
    /// Bytes of the part.
    pub of: u64,
}

/// A part of an examination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The journal.
    Journal,
    /// The segments.
    Segments,
}

/// What an examination found.
#[derive(Debug)]
pub struct Examined {
    /// Where the journal ends.
    pub end: JournalEnd,
    /// Where it has to begin at the latest: where a replay begins.
    pub from: Position,
    /// Where it has to end at least, because the snapshot builds on it.
    pub until: Position,
    /// Whole commits.
    pub commits: u64,
    /// Bytes of whole commits.
    pub bytes: u64,
    /// All damage of the journal, in its order.
    pub damage: Vec<Damage>,
    /// True if there is neither a snapshot nor the journal's first file: then nothing tells what
    /// the rest of the journal is about.
    pub headless: bool,
    /// Offsets that the journal should hold, and does not, by rising partition and offset.
    pub gaps: Vec<(PartitionId, Range<Offset>)>,
    /// The same where an earlier repair has cut them out.
    pub given_up: Vec<(PartitionId, Range<Offset>)>,
    /// Segments in which something is needed.
    pub segments: u64,
    /// Bytes of those.
    pub segment_bytes: u64,
    /// Whole blocks in them.
    pub blocks: u64,
    /// Those that are not whole.
    pub damaged_segments: Vec<DamagedSegment>,
    /// Numbers of other segments: nothing in them is needed any more, or they are left over from
    /// work that was not finished. They are deleted some time after a start.
    pub unknown_segments: Vec<u64>,
}

/// A segment that is missing or not whole.
#[derive(Debug)]
pub struct DamagedSegment {
    /// Its number.
    pub number: u64,
    /// The first thing that is wrong with it.
    pub error: SegmentError,
    /// Offsets of which at least some are lost, by rising partition and offset. Nothing, if what
    /// is damaged was not needed.
    pub lost: Vec<(PartitionId, Range<Offset>)>,
}

/// What the index knows of segments.
#[derive(Clone, Debug, Default)]
pub struct KnownSegments {
    /// The segments, by rising number.
    pub segments: Vec<SegmentInfo>,
    /// The runs in them, by rising partition and offset.
    pub runs: Vec<(PartitionId, Run)>,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExamineError {
    /// The journal cannot be read at all.
    #[error(transparent)]
    Journal(#[from] RecoverError),
    /// The place of the segments cannot be read at all.
    #[error(transparent)]
    Segments(#[from] SegmentError),
}

impl From<IndexError> for ExamineError {
    fn from(error: IndexError) -> Self {
        Self::Journal(error.into())
    }
}

/// The places in the journal that an index, as a snapshot holds it, refers to.
///
/// # Errors
/// The bytes are no index.
pub fn index_places(index: &[u8]) -> Result<Vec<Position>, IndexError> {
    let index = index_export::decode(index)?;
    let mut places = vec![index.published];
    for track in index.tracks.values() {
        places.extend(track.entries().map(|entry| entry.position));
    }
    places.sort_unstable();
    places.dedup();
    Ok(places)
}

impl Examination<'_> {
    /// Reads everything. As when a journal is opened, the frames behind `from` go to `replay`,
    /// those of damaged commits left out.
    ///
    /// # Errors
    /// What keeps anything from being said: another data directory's files, another version, a
    /// directory or a store that cannot be listed.
    pub fn run(
        &self,
        from: Option<ReplayFrom<'_>>,
        replay: &mut dyn FnMut(Position, FrameRef<'_>),
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Examined, ExamineError> {
        let mut index = match from {
            Some(from) => index_export::decode(from.index)?,
            None => Index::default(),
        };
        let from = from.map(|from| from.position);
        let until = from.map_or(Position(0), |from| from.max(index.published));
        let start = from.map(|from| from.min(index.published));
        let mut walk = Journey::default();
        let (files, all) = crate::check::journal_size(self.disk, self.data_dir)?;
        let (mut clamped, mut file) = (false, 0_u64);
        let end = inspect(
            self.disk,
            self.data_dir,
            self.journal_id,
            Position(0),
            &mut |seen| {
                match seen {
                    Seen::File { .. } => {
                        file += 1;
                        progress(Progress {
                            part: Part::Journal,
                            done: all / files.max(1) * (file - 1),
                            of: all,
                        });
                    }
                    Seen::Commit(commit) => {
                        walk.commits += 1;
                        walk.bytes += commit.bytes();
                        let position = commit.position();
                        if commit.is_void() {
                            walk.voids.push(position);
                        }
                        if let Ok(effects) = commit.commit.effects() {
                            if !clamped {
                                clamped = true;
                                index.clamp_below(position);
                            }
                            index.publish(position, commit.commit.end, &effects);
                        }
                        for frame in commit.frames() {
                            if let FrameRef::Append(append) = frame {
                                walk.saw(position, append.entries(), append.records);
                            }
                            if from.is_none_or(|from| position >= from) {
                                replay(position, frame);
                            }
                        }
                    }
                    Seen::Seal(_) => {}
                    Seen::Damage(damage) => walk.damage.push(damage),
                }
                ControlFlow::Continue(())
            },
        )?;
        progress(Progress {
            part: Part::Journal,
            done: all,
            of: all,
        });
        let headless = from.is_none() && end.first > 1;
        if let Some(start) = start {
            self.missing_ends(&end, start, until, &mut walk.damage);
        }
        let (gaps, given_up) = walk.gaps(&index);
        let first = Position(end.file_bytes);
        let mut examined = Examined {
            end,
            from: start.unwrap_or(first),
            until,
            commits: walk.commits,
            bytes: walk.bytes,
            damage: walk.damage,
            headless,
            gaps,
            given_up,
            segments: 0,
            segment_bytes: 0,
            blocks: 0,
            damaged_segments: Vec::new(),
            unknown_segments: Vec::new(),
        };
        self.segments(&index, &mut examined, progress)?;
        Ok(examined)
    }

    /// What the index knows of segments. The frames behind `from` go to `replay`.
    ///
    /// # Errors
    /// What keeps the journal from being read at all.
    pub fn known(
        &self,
        from: Option<ReplayFrom<'_>>,
        replay: &mut dyn FnMut(FrameRef<'_>),
    ) -> Result<KnownSegments, ExamineError> {
        let mut index = match from {
            Some(from) => index_export::decode(from.index)?,
            None => Index::default(),
        };
        let start = from.map_or(Position(0), |from| from.position.min(index.published));
        inspect(
            self.disk,
            self.data_dir,
            self.journal_id,
            start,
            &mut |seen| {
                if let Seen::Commit(commit) = seen {
                    if let Ok(effects) = commit.commit.effects() {
                        index.publish(commit.position(), commit.commit.end, &effects);
                    }
                    commit.frames().for_each(&mut *replay);
                }
                ControlFlow::Continue(())
            },
        )?;
        let lanes = index.runs.lanes();
        Ok(KnownSegments {
            segments: index.runs.segments().collect(),
            runs: lanes
                .flat_map(|(partition, lane)| lane.runs.iter().map(move |run| (partition, *run)))
                .collect(),
        })
    }

    /// Every batch of a run that is whole, in order, and the offsets around them that are lost.
    ///
    /// # Errors
    /// The store failed.
    pub fn batches(
        &self,
        partition: PartitionId,
        run: &Run,
        each: &mut dyn FnMut(Result<Stored, Range<Offset>>),
    ) -> Result<(), ExamineError> {
        let objects = Objects::new(self.segments.clone(), self.journal_id);
        rescue(&objects, partition, run, &mut |found| {
            each(match found {
                Rescued::Batch(batch, _) => Ok(batch),
                Rescued::Lost(range) => Err(range),
            });
            Ok(())
        })?;
        Ok(())
    }

    /// What the snapshot builds on must be there at both ends.
    fn missing_ends(
        &self,
        end: &JournalEnd,
        start: Position,
        until: Position,
        damage: &mut Vec<Damage>,
    ) {
        let geometry = Geometry {
            file_size: end.file_bytes,
        };
        let dir = journal_dir(self.data_dir);
        let missing = |number: u64, byte: u64, kind: DamageKind| Damage {
            file: journal_path(&dir, number),
            position: geometry.position(number, byte),
            byte,
            bytes: geometry.file_size.saturating_sub(byte),
            kind,
            held: Held::default(),
        };
        if end.files > 0 {
            for number in geometry.file_of(start)..end.first {
                damage.insert(0, missing(number, FILE_HEADER, DamageKind::Missing));
            }
        }
        let told = damage.iter().any(|damage| damage.position == end.end);
        if end.end < until && !told {
            let (number, byte) = (geometry.file_of(end.end), geometry.byte_of(end.end));
            damage.push(missing(number, byte, DamageKind::End));
        }
        damage.sort_by_key(|damage| damage.position);
    }

    fn segments(
        &self,
        index: &Index,
        examined: &mut Examined,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(), ExamineError> {
        let objects = Objects::new(self.segments.clone(), self.journal_id);
        // One in which nothing is needed is as good as deleted.
        let needed = |segment: &SegmentInfo| segment.live_bytes > 0;
        let known: BTreeMap<u64, u64> = index
            .runs
            .segments()
            .filter(needed)
            .map(|segment| (segment.number, segment.bytes))
            .collect();
        let mut there = objects.list()?;
        there.sort_unstable();
        examined.unknown_segments = there
            .into_iter()
            .filter(|number| !known.contains_key(number))
            .collect();
        let of = known.values().sum();
        let mut done = 0;
        for (&number, &bytes) in &known {
            progress(Progress {
                part: Part::Segments,
                done,
                of,
            });
            match check_segment(&objects, number) {
                Ok(blocks) => examined.blocks += blocks,
                Err(error @ SegmentError::Store { .. }) => return Err(error.into()),
                Err(error) => {
                    let lost = lost_of(&objects, index, number)?;
                    examined.damaged_segments.push(DamagedSegment {
                        number,
                        error,
                        lost,
                    });
                }
            }
            examined.segments += 1;
            examined.segment_bytes += bytes;
            done += bytes;
        }
        if of > 0 {
            progress(Progress {
                part: Part::Segments,
                done: of,
                of,
            });
        }
        Ok(())
    }
}

/// What cannot be read of the runs in a segment.
fn lost_of(
    objects: &Objects,
    index: &Index,
    number: u64,
) -> Result<Vec<(PartitionId, Range<Offset>)>, SegmentError> {
    let mut lost = Vec::new();
    for (partition, run) in runs_in(index, number) {
        rescue(objects, partition, &run, &mut |rescued| {
            if let Rescued::Lost(range) = rescued {
                lost.push((partition, range));
            }
            Ok(())
        })?;
    }
    Ok(lost)
}

/// The runs that lie in a segment, by rising partition and offset.
pub(crate) fn runs_in(index: &Index, number: u64) -> Vec<(PartitionId, Run)> {
    let lanes = index.runs.lanes();
    lanes
        .flat_map(|(partition, lane)| lane.runs.iter().map(move |run| (partition, *run)))
        .filter(|(_, run)| run.segment == number)
        .collect()
}

/// What is learned on the way through the journal.
#[derive(Default)]
struct Journey {
    commits: u64,
    bytes: u64,
    damage: Vec<Damage>,
    /// Where repair has cut something out.
    voids: Vec<Position>,
    /// For each partition what was met, joined where it is neighbours.
    seen: HashMap<PartitionId, Vec<Stretch>, foldhash::fast::RandomState>,
}

/// Offsets of a partition that follow each other, and the commits of the first and the last.
struct Stretch {
    offsets: Range<Offset>,
    first: Position,
    last: Position,
}

type Gaps = Vec<(PartitionId, Range<Offset>)>;

impl Journey {
    fn saw(
        &mut self,
        position: Position,
        entries: impl Iterator<Item = (PartitionId, Offset)>,
        records: u32,
    ) {
        for (partition, base) in entries {
            let end = base.saturating_add(u64::from(records));
            let seen = self.seen.entry(partition).or_default();
            match seen.last_mut() {
                Some(stretch) if stretch.offsets.end == base => {
                    stretch.offsets.end = end;
                    stretch.last = position;
                }
                _ => seen.push(Stretch {
                    offsets: base..end,
                    first: position,
                    last: position,
                }),
            }
        }
    }

    /// What the index says is in the journal, and was not met: because of damage, and because an
    /// earlier repair has given it up.
    fn gaps(&mut self, index: &Index) -> (Gaps, Gaps) {
        let (mut gaps, mut given_up) = (Gaps::new(), Gaps::new());
        let end = Position(u64::MAX);
        for (&partition, track) in &index.tracks {
            let mut next = track.start.max(index.runs.journal_from(partition));
            let mut behind = Position(0);
            let seen = self.seen.get(&partition).map_or(&[][..], Vec::as_slice);
            for stretch in seen {
                let offsets = &stretch.offsets;
                if offsets.start.min(track.end) > next {
                    let gap = (partition, next..offsets.start.min(track.end));
                    let before = stretch.first;
                    self.sort(gap, behind..before, &mut gaps, &mut given_up);
                }
                next = next.max(offsets.end);
                behind = stretch.last;
            }
            if next < track.end {
                let gap = (partition, next..track.end);
                self.sort(gap, behind..end, &mut gaps, &mut given_up);
            }
        }
        for list in [&mut gaps, &mut given_up] {
            list.sort_unstable_by_key(|(partition, range)| (*partition, range.start));
        }
        (gaps, given_up)
    }

    /// A gap between two places of the journal has its reason between them.
    fn sort(
        &self,
        gap: (PartitionId, Range<Offset>),
        between: Range<Position>,
        gaps: &mut Gaps,
        given_up: &mut Gaps,
    ) {
        let damaged = self
            .damage
            .iter()
            .any(|damage| between.contains(&damage.position));
        let cut_out = self.voids.iter().any(|void| between.contains(void));
        if cut_out && !damaged {
            given_up.push(gap);
        } else {
            gaps.push(gap);
        }
    }
}
