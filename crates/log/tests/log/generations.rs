//! Both generations under fire: whatever is promoted, cleaned, trimmed and dropped, and wherever
//! the power goes, what is alive is read exactly as it was written.
//!
//! The model knows which batches are alive. A dead one may be seen until it is dropped, or not.

use std::collections::BTreeMap;

use bytes::Bytes;
use forebay_base::{Offset, OffsetRange, PartitionId};
use forebay_log::{
    Cursor, Fault, Keeper, Kept, Operation, Position, ReadError, ReplayFrom, SegmentChange,
    SegmentOptions, Source, Stored, Trouble,
};
use proptest::prelude::*;

use crate::world::{Frame, Opened, World, commit_of};

const PARTITIONS: u64 = 4;

#[derive(Clone, Debug)]
struct Batch {
    base: Offset,
    end: Offset,
    latest: i64,
    payload: Vec<u8>,
    alive: bool,
}

/// What a keeper that keeps a part makes of a payload; doing it again changes nothing.
fn part_of(payload: &[u8]) -> Vec<u8> {
    payload[..payload.len().min(8)].to_vec()
}

#[derive(Clone, Debug, Default)]
struct Lane {
    start: Offset,
    end: Offset,
    batches: Vec<Batch>,
}

impl Lane {
    fn from(&self, offset: Offset) -> impl Iterator<Item = &Batch> {
        let held = self.batches.iter();
        held.filter(move |batch| batch.end > offset)
    }

    /// `found` is what lies in the lane from `from` to `to`: all that is alive, in order, and
    /// perhaps some of what is dead.
    fn check(&self, from: Offset, to: Offset, found: &[Stored]) {
        let mut found = found.iter().peekable();
        for batch in self.from(from).filter(|batch| batch.base < to) {
            let stored = found.next_if(|stored| stored.base_offset == batch.base);
            match stored {
                Some(stored) => batch.check(stored),
                None => assert!(!batch.alive, "{batch:?} is missing, read from {from}"),
            }
        }
        assert_eq!(found.next(), None, "nobody wrote this");
    }
}

impl Batch {
    fn check(&self, stored: &Stored) {
        assert_eq!(u64::from(stored.records), self.end - self.base);
        assert_eq!(stored.max_timestamp, self.latest);
        let whole = stored.batch == self.payload;
        assert!(whole || stored.batch == part_of(&self.payload));
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Batches of one commit: partitions, records, timestamp, payload length.
    Commit(Vec<(Vec<u64>, u32, i64, usize)>),
    /// Batches die: partition, the first, how many.
    Kill(u64, u64, usize),
    Trim(u64, u64),
    Snapshot,
    Promote {
        most: usize,
        seed: u64,
        submit: bool,
    },
    Rewrite {
        partition: u64,
        share: u64,
        count: usize,
        seed: u64,
    },
    DeleteDead,
    /// Files that nothing alive lies in; or only those that the index leads nowhere into.
    Drop {
        alive: bool,
    },
    /// The power goes, now or at an operation soon.
    Cut {
        after: u64,
        tear: Option<u64>,
    },
    /// One operation of the disk fails soon.
    Error(u64),
    /// Operations of a kind fail for a while, on segments or on the journal.
    Trouble {
        operation: Operation,
        segments: bool,
        after: u64,
        times: u64,
    },
    Read {
        partition: u64,
        share: u64,
        max_bytes: usize,
        keep_cursor: bool,
    },
    ReadAt(u64, Vec<(u64, u32)>),
    Time(u64, i64),
}

fn op() -> impl Strategy<Value = Op> {
    let batch = (
        prop_oneof![
            4 => (0..PARTITIONS).prop_map(|one| vec![one]),
            1 => Just((0..PARTITIONS).collect()),
        ],
        1..9u32,
        0..1000i64,
        prop_oneof![3 => 0..200usize, 2 => 0..12_000usize],
    );
    let share = 0..1_000u64;
    prop_oneof![
        12 => prop::collection::vec(batch, 1..6).prop_map(Op::Commit),
        5 => (0..PARTITIONS, prop_oneof![Just(0), share.clone()], 1..60usize)
            .prop_map(|(partition, first, count)| Op::Kill(partition, first, count)),
        1 => (0..PARTITIONS, 0..500u64).prop_map(|(partition, at)| Op::Trim(partition, at)),
        4 => Just(Op::Snapshot),
        4 => (prop_oneof![Just(0), Just(usize::MAX)], any::<u64>(), prop::bool::weighted(0.9))
            .prop_map(|(most, seed, submit)| Op::Promote { most, seed, submit }),
        3 => (0..PARTITIONS, share.clone(), 1..20usize, any::<u64>()).prop_map(
            |(partition, share, count, seed)| Op::Rewrite { partition, share, count, seed }
        ),
        2 => Just(Op::DeleteDead),
        4 => any::<bool>().prop_map(|alive| Op::Drop { alive }),
        2 => (0..40u64, prop::option::weighted(0.8, any::<u64>()))
            .prop_map(|(after, tear)| Op::Cut { after, tear }),
        1 => (1..40u64).prop_map(Op::Error),
        1 => (trouble(), any::<bool>(), 0..10u64, 1..5u64).prop_map(
            |(operation, segments, after, times)| Op::Trouble { operation, segments, after, times }
        ),
        6 => (0..PARTITIONS, share.clone(), 0..9_000usize, prop::bool::weighted(0.7)).prop_map(
            |(partition, share, max_bytes, keep_cursor)| Op::Read {
                partition, share, max_bytes, keep_cursor
            }
        ),
        2 => (0..PARTITIONS, prop::collection::vec((share, 1..30u32), 1..6))
            .prop_map(|(partition, ranges)| Op::ReadAt(partition, ranges)),
        2 => (0..PARTITIONS, -10..1010i64).prop_map(|(partition, time)| Op::Time(partition, time)),
    ]
}

fn trouble() -> impl Strategy<Value = Operation> {
    prop::sample::select(vec![
        Operation::Open,
        Operation::Create,
        Operation::List,
        Operation::Rename,
        Operation::Remove,
        Operation::SyncDir,
        Operation::Read,
        Operation::Read,
        Operation::Write,
        Operation::Sync,
    ])
}

/// Keeps what is alive, and of what is dead what the seed wants.
struct Random<'a> {
    lanes: &'a BTreeMap<u64, Lane>,
    seed: u64,
}

impl Random<'_> {
    fn chance(&self, partition: PartitionId, base: Offset) -> u64 {
        let mixed = (self.seed ^ partition.0 << 40 ^ base).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed >> 32
    }
}

impl Keeper for Random<'_> {
    fn keep(&mut self, partition: PartitionId, stored: &Stored) -> Kept {
        let mut batches = self.lanes[&partition.0].batches.iter();
        let batch = batches.find(|batch| batch.base == stored.base_offset);
        batch.unwrap().check(stored);
        match self.chance(partition, stored.base_offset) % 8 {
            0 => Kept::Part {
                batch: Bytes::from(part_of(&stored.batch)),
                max_timestamp: stored.max_timestamp,
            },
            1..4 if !batch.unwrap().alive => Kept::Nothing,
            _ => Kept::Whole,
        }
    }

    fn may_keep(&mut self, partition: PartitionId, offsets: std::ops::Range<Offset>) -> bool {
        let lane = &self.lanes[&partition.0];
        let mut alive = lane.from(offsets.start).filter(|batch| batch.alive);
        let any = alive.any(|batch| batch.base < offsets.end);
        any || self.chance(partition, offsets.start) & 1 == 0
    }
}

struct Model {
    world: World,
    opened: Opened,
    lanes: BTreeMap<u64, Lane>,
    /// Lanes as they are if a commit that failed is there all the same.
    unsure: Option<BTreeMap<u64, Lane>>,
    cursors: BTreeMap<u64, (Offset, Cursor)>,
    snapshots: Vec<(Position, Vec<u8>)>,
    tear: Option<u64>,
    count: u8,
}

/// The journal or the disk does not work any more.
struct Down;

impl Model {
    fn new(cache_bytes: usize, target_bytes: u64) -> Self {
        let mut world = World::new(16 << 10);
        world.options.cache_bytes = cache_bytes;
        world.options.cold_cache_bytes = cache_bytes;
        world.options.segments = SegmentOptions {
            target_bytes,
            block_bytes: 600,
            part_bytes: 2000,
            cache_bytes: 5000,
        };
        let opened = world.open();
        Self {
            world,
            opened,
            lanes: (0..PARTITIONS).map(|id| (id, Lane::default())).collect(),
            unsure: None,
            cursors: BTreeMap::new(),
            snapshots: Vec::new(),
            tear: None,
            count: 0,
        }
    }

    /// Files that were dropped with nothing alive in them move starts up.
    fn follow_starts(&mut self) {
        for (id, lane) in &mut self.lanes {
            let bounds = self.opened.reader.bounds(PartitionId(*id));
            let (start, end) = bounds.map_or((0, 0), |bounds| (bounds.start, bounds.end));
            assert_eq!(end, lane.end);
            assert!(start >= lane.start);
            let first = lane.from(lane.start).find(|batch| batch.alive);
            let passed = first.is_some_and(|batch| start > batch.base.max(lane.start));
            assert!(!passed, "{first:?} is alive");
            lane.start = start;
        }
    }

    fn apply(&mut self, op: Op) {
        if let Op::Cut { after, tear } = op {
            self.tear = tear;
            match after {
                0 => self.restart(),
                _ => self.world.disk.fail_at(after, Fault::PowerCut),
            }
            return;
        }
        if self.act(op).is_err() {
            self.restart();
        }
    }

    fn act(&mut self, op: Op) -> Result<(), Down> {
        match op {
            Op::Commit(batches) => self.commit(&batches),
            Op::Kill(partition, share, count) => {
                let lane = self.lanes.get_mut(&partition).unwrap();
                let first = scale(share, lane.batches.len() as u64);
                for batch in lane.batches.iter_mut().skip(first as usize).take(count) {
                    batch.alive = false;
                }
                Ok(())
            }
            Op::Trim(partition, share) => self.trim(partition, share),
            Op::Snapshot => {
                let index = self.opened.reader.export_index();
                self.snapshots.push((self.opened.journal.end(), index));
                let old = self.snapshots.len().saturating_sub(2);
                self.snapshots.drain(..old);
                Ok(())
            }
            Op::Promote { most, seed, submit } => self.promote(most, seed, submit),
            Op::Rewrite {
                partition,
                share,
                count,
                seed,
            } => self.rewrite(partition, share, count, seed),
            Op::DeleteDead => {
                let deleted = self.opened.journal.promoter().delete_dead();
                deleted.map(|_| ()).or_else(|_| self.down())
            }
            Op::Drop { alive } => self.drop_files(alive),
            Op::Cut { .. } => Ok(()),
            Op::Error(after) => {
                self.world.disk.fail_at(after, Fault::Eio);
                Ok(())
            }
            Op::Trouble {
                operation,
                segments,
                after,
                times,
            } => {
                let part = if segments { "segments" } else { "journal" };
                self.world.disk.trouble(Trouble {
                    operation,
                    dir: World::dir().join(part),
                    after,
                    times,
                });
                Ok(())
            }
            Op::Read {
                partition,
                share,
                max_bytes,
                keep_cursor,
            } => self.read(partition, share, max_bytes, keep_cursor),
            Op::ReadAt(partition, ranges) => self.read_at(partition, &ranges),
            Op::Time(partition, time) => self.time(partition, time),
        }
    }

    /// Something failed: that may be the power, or one operation.
    fn down(&self) -> Result<(), Down> {
        match forebay_log::Disk::list(&self.world.disk, World::dir()) {
            Ok(_) => Ok(()),
            Err(_) => Err(Down),
        }
    }

    fn commit(&mut self, batches: &[(Vec<u64>, u32, i64, usize)]) -> Result<(), Down> {
        let mut lanes = self.lanes.clone();
        let mut frames = Vec::new();
        let mut room = 15_000usize;
        for (partitions, records, latest, length) in batches {
            let Some(left) = room.checked_sub(*length + 100) else {
                break;
            };
            room = left;
            self.count = self.count.wrapping_add(1);
            let payload = vec![self.count; *length];
            let mut entries = Vec::new();
            for partition in partitions {
                let lane = lanes.get_mut(partition).unwrap();
                entries.push((PartitionId(*partition), lane.end));
                let base = lane.end;
                lane.end += u64::from(*records);
                lane.batches.push(Batch {
                    base,
                    end: lane.end,
                    latest: *latest,
                    payload: payload.clone(),
                    alive: true,
                });
            }
            frames.push(Frame::Append {
                entries,
                records: *records,
                latest: *latest,
                payload,
            });
        }
        if self.opened.write(&frames).is_err() {
            self.unsure = Some(lanes);
            return Err(Down);
        }
        self.lanes = lanes;
        Ok(())
    }

    fn trim(&mut self, partition: u64, share: u64) -> Result<(), Down> {
        // In life the frame that says so is durable first.
        self.write_state()?;
        let lane = self.lanes.get_mut(&partition).unwrap();
        lane.start = lane.start.max(scale(share, lane.end));
        self.opened.reader.trim(PartitionId(partition), lane.start);
        Ok(())
    }

    fn write_state(&mut self) -> Result<(), Down> {
        let written = self.opened.write(&[Frame::State(vec![1; 30])]);
        written.map(|_| ()).map_err(|_| Down)
    }

    fn promote(&mut self, most: usize, seed: u64, submit: bool) -> Result<(), Down> {
        let promoter = self.opened.journal.promoter();
        let Some((snapshot, _)) = self.snapshots.first() else {
            return Ok(());
        };
        let mut keeper = Random {
            lanes: &self.lanes,
            seed,
        };
        let Ok(chunk) = promoter.survey(*snapshot, most) else {
            return self.down();
        };
        match promoter.promote(chunk, &mut keeper) {
            Ok(change) => {
                // What is not known yet is not dead.
                if seed & 1 == 0 && promoter.delete_dead().is_err() {
                    self.down()?;
                }
                if submit { self.submit(&change) } else { Ok(()) }
            }
            Err(_) => self.down(),
        }
    }

    fn drop_files(&mut self, alive: bool) -> Result<(), Down> {
        let Some((snapshot, _)) = self.snapshots.first() else {
            return Ok(());
        };
        let reader = &self.opened.reader;
        let lowest = if alive {
            let lanes = self.lanes.iter();
            let needed = lanes.filter_map(|(id, lane)| {
                let first = lane.from(lane.start).find(|batch| batch.alive)?;
                reader.position_of(PartitionId(*id), first.base)
            });
            needed.min()
        } else {
            reader.lowest_needed()
        };
        let needed = lowest.map_or(*snapshot, |lowest| lowest.min(*snapshot));
        let dropped = self.opened.journal.drop_below(needed);
        self.follow_starts();
        dropped.or_else(|_| self.down())
    }

    fn submit(&mut self, change: &SegmentChange) -> Result<(), Down> {
        let mut commit = commit_of(&[]);
        commit.push_segments(change);
        let written = self.opened.journal.write(commit);
        written.map(|_| ()).map_err(|_| Down)
    }

    fn rewrite(&mut self, partition: u64, share: u64, count: usize, seed: u64) -> Result<(), Down> {
        let id = PartitionId(partition);
        let runs = self.opened.reader.runs(id);
        let first = scale(share, runs.len() as u64) as usize;
        let runs: Vec<_> = runs.into_iter().skip(first).take(count).collect();
        let promoter = self.opened.journal.promoter();
        let mut keeper = Random {
            lanes: &self.lanes,
            seed,
        };
        match promoter.rewrite(&[(id, runs)], &mut keeper) {
            Ok(change) => self.submit(&change),
            Err(_) => self.down(),
        }
    }

    /// The power goes and comes back; a snapshot, not always the newest, is built upon.
    fn restart(&mut self) {
        self.world.disk.calm();
        self.world.disk.crash(self.tear.take());
        let which = usize::from(self.count) % self.snapshots.len().max(1);
        let from = self.snapshots.get(which);
        let from = from.map(|(position, index)| ReplayFrom {
            position: *position,
            index,
        });
        self.opened = self.world.try_open(from).unwrap();
        let end = |id| {
            self.opened
                .reader
                .bounds(PartitionId(id))
                .map_or(0, |b| b.end)
        };
        if let Some(unsure) = self.unsure.take()
            && unsure.iter().all(|(id, lane)| end(*id) == lane.end)
        {
            self.lanes = unsure;
        }
        for (id, lane) in &self.lanes {
            self.opened.reader.trim(PartitionId(*id), lane.start);
        }
        self.follow_starts();
        self.check();
    }

    /// Everything that is alive is there.
    fn check(&self) {
        for (id, lane) in &self.lanes {
            let id = PartitionId(*id);
            let bounds = self.opened.reader.bounds(id);
            let bounds = bounds.map_or((0, 0), |bounds| (bounds.start, bounds.end));
            assert_eq!(bounds, (lane.start, lane.end), "{id}");
            let mut cursor = Cursor::default();
            let all =
                self.opened
                    .reader
                    .read(id, lane.start, usize::MAX, &mut cursor, Source::Disk);
            lane.check(lane.start, lane.end, &all.unwrap().unwrap());
        }
    }

    fn read(
        &mut self,
        partition: u64,
        share: u64,
        max_bytes: usize,
        keep_cursor: bool,
    ) -> Result<(), Down> {
        let lane = &self.lanes[&partition];
        let (from, mut cursor) = match self.cursors.get(&partition) {
            Some(kept) if keep_cursor => *kept,
            _ => (scale(share, lane.end + 2), Cursor::default()),
        };
        let reader = &self.opened.reader;
        let id = PartitionId(partition);
        if from % 3 == 0 {
            reader.load_ahead(&cursor);
        }
        let mut try_cursor = cursor;
        let cached = reader.read(id, from, max_bytes, &mut try_cursor, Source::CacheOnly);
        let found = match reader.read(id, from, max_bytes, &mut cursor, Source::Disk) {
            Ok(found) => found.unwrap(),
            Err(ReadError::OutOfRange { start, .. }) => {
                assert!(from < lane.start);
                assert_eq!(start, lane.start);
                self.cursors.remove(&partition);
                return Ok(());
            }
            Err(_) => return self.down(),
        };
        if let Some(cached) = cached.unwrap() {
            assert_eq!(cached[..], found[..cached.len()]);
            assert_eq!(cached.is_empty(), found.is_empty());
        }
        let bytes: usize = found.iter().map(|batch| batch.batch.len()).sum();
        assert!(bytes <= max_bytes || found.len() == 1);
        let last = found.last();
        let next = last.map_or(from, |last| last.base_offset + u64::from(last.records));
        lane.check(from, next, &found);
        if last.is_none() {
            assert!(lane.from(from).all(|batch| !batch.alive));
        }
        self.cursors.insert(partition, (next, cursor));
        Ok(())
    }

    fn read_at(&mut self, partition: u64, ranges: &[(u64, u32)]) -> Result<(), Down> {
        let lane = &self.lanes[&partition];
        let mut wanted: Vec<_> = ranges
            .iter()
            .map(|(share, count)| OffsetRange {
                first: scale(*share, lane.end + 2),
                count: *count,
            })
            .collect();
        wanted.sort_unstable();
        let kept = self.cursors.get(&partition);
        let mut cursor = kept.map_or(Cursor::default(), |kept| kept.1);
        let id = PartitionId(partition);
        let reader = &self.opened.reader;
        let Ok(found) = reader.read_at(id, &wanted, &mut cursor, Source::Disk) else {
            return self.down();
        };
        let mut found = found.unwrap().into_iter().peekable();
        for batch in lane.from(lane.start) {
            let is_wanted = wanted.iter().any(|range| {
                range.first.max(lane.start) < batch.end
                    && batch.base < range.end()
                    && range.end() > lane.start
            });
            match found.next_if(|stored| stored.base_offset == batch.base) {
                Some(stored) => {
                    assert!(is_wanted);
                    batch.check(&stored);
                }
                None => assert!(!is_wanted || !batch.alive, "{batch:?}"),
            }
        }
        assert_eq!(found.next(), None);
        Ok(())
    }

    fn time(&mut self, partition: u64, time: i64) -> Result<(), Down> {
        let lane = &self.lanes[&partition];
        let late = |batch: &&Batch| batch.latest >= time;
        let mut alive = lane
            .from(lane.start)
            .filter(|batch| batch.alive)
            .filter(late);
        let limit = alive.next().map(|batch| batch.base);
        let id = PartitionId(partition);
        match self.opened.reader.offset_for_time(id, time) {
            Ok(Some((offset, latest))) => {
                let mut batches = lane.from(lane.start);
                let batch = batches.find(|batch| batch.base == offset).unwrap();
                assert_eq!(batch.latest, latest);
                assert!(latest >= time && limit.is_none_or(|limit| offset <= limit));
            }
            Ok(None) => assert_eq!(limit, None),
            Err(_) => return self.down(),
        }
        Ok(())
    }
}

fn scale(share: u64, limit: u64) -> u64 {
    share * limit / 1000
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_alive_is_read_as_it_was_written_whatever_happens(
        ops in prop::collection::vec(op(), 1..250),
        cache_bytes in prop_oneof![Just(0usize), 0..30_000usize],
        target_bytes in prop_oneof![Just(9_000u64), Just(1 << 20)],
    ) {
        let mut model = Model::new(cache_bytes, target_bytes);
        for op in ops {
            model.apply(op);
        }
        model.restart();
        model.restart();
    }
}
