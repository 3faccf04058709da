//! What readers see, told against a naive model.

use std::collections::BTreeMap;

use forebay_base::{Offset, OffsetRange, PartitionId};
use forebay_log::{Cursor, Position, ReadError, ReplayFrom, Source, Stored};
use proptest::prelude::*;

use crate::world::{Frame, Opened, World, append, commit_of};

/// A partition as a list of its batches.
#[derive(Clone, Debug, Default)]
struct Lane {
    start: Offset,
    end: Offset,
    batches: Vec<(Offset, u32, i64, Vec<u8>)>,
}

impl Lane {
    fn from(&self, offset: Offset) -> impl Iterator<Item = &(Offset, u32, i64, Vec<u8>)> {
        self.batches
            .iter()
            .filter(move |(base, records, ..)| base + u64::from(*records) > offset)
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Batches of one commit: partitions, records, timestamp, payload length.
    Commit(Vec<(Vec<u64>, u32, i64, usize)>),
    Trim(u64, u64),
    Snapshot,
    Drop,
    Reopen,
    Read {
        partition: u64,
        at: u64,
        max_bytes: usize,
        keep_cursor: bool,
    },
    ReadAt {
        partition: u64,
        ranges: Vec<(u64, u32)>,
    },
    Time(u64, i64),
}

fn op() -> impl Strategy<Value = Op> {
    let batch = (
        prop::collection::btree_set(0..5u64, 1..4).prop_map(|set| set.into_iter().collect()),
        1..20u32,
        0..1000i64,
        prop_oneof![0..200usize, 0..6000usize],
    );
    let share = 0..1_000u64;
    prop_oneof![
        8 => prop::collection::vec(batch, 1..6).prop_map(Op::Commit),
        1 => (0..5u64, share.clone()).prop_map(|(partition, at)| Op::Trim(partition, at)),
        1 => Just(Op::Snapshot),
        1 => Just(Op::Drop),
        1 => Just(Op::Reopen),
        6 => (0..5u64, share.clone(), 0..20_000usize, any::<bool>()).prop_map(
            |(partition, at, max_bytes, keep_cursor)| Op::Read {
                partition, at, max_bytes, keep_cursor
            }
        ),
        3 => (0..5u64, prop::collection::vec((share, 1..30u32), 1..6))
            .prop_map(|(partition, ranges)| Op::ReadAt { partition, ranges }),
        2 => (0..5u64, -10..1010i64).prop_map(|(partition, time)| Op::Time(partition, time)),
    ]
}

struct Model {
    world: World,
    opened: Opened,
    lanes: BTreeMap<u64, Lane>,
    cursors: BTreeMap<u64, (Offset, Cursor)>,
    snapshot: Option<(Position, Vec<u8>)>,
    commits: u8,
}

impl Model {
    fn new(cache_bytes: usize, cold_cache_bytes: usize) -> Self {
        let mut world = World::new(16 << 10);
        world.options.cache_bytes = cache_bytes;
        world.options.cold_cache_bytes = cold_cache_bytes;
        let opened = world.open();
        let lanes = (0..5)
            .map(|partition| (partition, Lane::default()))
            .collect();
        Self {
            world,
            opened,
            lanes,
            cursors: BTreeMap::new(),
            snapshot: None,
            commits: 0,
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Commit(batches) => self.commit(&batches),
            Op::Trim(partition, share) => {
                let lane = self.lanes.get_mut(&partition).unwrap();
                let below = scale(share, lane.end + 3);
                lane.start = lane.start.max(below.min(lane.end));
                self.opened.reader.trim(PartitionId(partition), below);
            }
            Op::Snapshot => {
                let index = self.opened.reader.export_index();
                self.snapshot = Some((self.opened.journal.end(), index));
            }
            Op::Drop => {
                let mut needed = self.snapshot.as_ref().map_or(Position(0), |(at, _)| *at);
                if let Some(lowest) = self.opened.reader.lowest_needed() {
                    needed = needed.min(lowest);
                }
                self.opened.journal.drop_below(needed).unwrap();
            }
            Op::Reopen => self.reopen(),
            Op::Read {
                partition,
                at,
                max_bytes,
                keep_cursor,
            } => {
                self.read(partition, at, max_bytes, keep_cursor);
            }
            Op::ReadAt { partition, ranges } => self.read_at(partition, &ranges),
            Op::Time(partition, time) => {
                let lane = &self.lanes[&partition];
                let expected = lane
                    .from(lane.start)
                    .find(|(_, _, latest, _)| *latest >= time)
                    .map(|(base, _, latest, _)| (*base, *latest));
                let found = self
                    .opened
                    .reader
                    .offset_for_time(PartitionId(partition), time);
                assert_eq!(found.unwrap(), expected);
            }
        }
        for (partition, lane) in &self.lanes {
            let bounds = self.opened.reader.bounds(PartitionId(*partition));
            let bounds = bounds.map_or((0, 0), |bounds| (bounds.start, bounds.end));
            assert_eq!(bounds, (lane.start, lane.end));
        }
    }

    fn commit(&mut self, batches: &[(Vec<u64>, u32, i64, usize)]) {
        self.commits = self.commits.wrapping_add(1);
        let mut frames = vec![Frame::State(vec![1, 2, 3])];
        let mut room = 12_000usize;
        for (partitions, records, latest, length) in batches {
            let Some(left) = room.checked_sub(*length) else {
                break;
            };
            room = left;
            let payload = vec![self.commits; *length];
            let mut entries = Vec::new();
            for partition in partitions {
                let lane = self.lanes.get_mut(partition).unwrap();
                entries.push((PartitionId(*partition), lane.end));
                lane.batches
                    .push((lane.end, *records, *latest, payload.clone()));
                lane.end += u64::from(*records);
            }
            frames.push(Frame::Append {
                entries,
                records: *records,
                latest: *latest,
                payload,
            });
        }
        self.opened.write(&frames).unwrap();
    }

    fn reopen(&mut self) {
        self.world.disk.crash(None);
        let from = self.snapshot.as_ref();
        let from = from.map(|(position, index)| ReplayFrom {
            position: *position,
            index,
        });
        self.opened = self.world.try_open(from).unwrap();
        for (partition, lane) in &self.lanes {
            self.opened.reader.trim(PartitionId(*partition), lane.start);
        }
    }

    fn read(&mut self, partition: u64, share: u64, max_bytes: usize, keep_cursor: bool) {
        let lane = &self.lanes[&partition];
        let (from, mut cursor) = match self.cursors.get(&partition) {
            Some(kept) if keep_cursor => *kept,
            _ => (scale(share, lane.end + 2), Cursor::default()),
        };
        let reader = &self.opened.reader;
        let id = PartitionId(partition);
        if from < lane.start {
            let read = reader.read(id, from, max_bytes, &mut cursor, Source::Disk);
            assert!(
                matches!(read, Err(ReadError::OutOfRange { start, .. }) if start == lane.start)
            );
            return;
        }
        let mut try_cursor = cursor;
        let cached = reader
            .read(id, from, max_bytes, &mut try_cursor, Source::CacheOnly)
            .unwrap();
        let found = reader
            .read(id, from, max_bytes, &mut cursor, Source::Disk)
            .unwrap()
            .unwrap();
        if let Some(cached) = cached {
            assert_eq!(cached[..], found[..cached.len()]);
            assert_eq!(cached.is_empty(), found.is_empty());
        }
        let mut bytes = 0;
        let mut expected = Vec::new();
        for batch in lane.from(from) {
            bytes += batch.3.len();
            if bytes > max_bytes && !expected.is_empty() {
                break;
            }
            expected.push(batch.clone());
            if bytes >= max_bytes {
                break;
            }
        }
        assert_eq!(plain(&found), expected);
        let next = expected
            .last()
            .map_or(from, |(base, records, ..)| base + u64::from(*records));
        self.cursors.insert(partition, (next, cursor));
    }

    fn read_at(&mut self, partition: u64, ranges: &[(u64, u32)]) {
        let lane = &self.lanes[&partition];
        let mut wanted: Vec<_> = ranges
            .iter()
            .map(|(share, count)| OffsetRange {
                first: scale(*share, lane.end + 2),
                count: *count,
            })
            .collect();
        wanted.sort_unstable();
        let mut cursor = self
            .cursors
            .get(&partition)
            .map_or(Cursor::default(), |kept| kept.1);
        let id = PartitionId(partition);
        let found = self
            .opened
            .reader
            .read_at(id, &wanted, &mut cursor, Source::Disk);
        let expected: Vec<_> = lane
            .from(lane.start)
            .filter(|(base, records, ..)| {
                let end = base + u64::from(*records);
                wanted.iter().any(|range| {
                    range.first.max(lane.start) < end
                        && *base < range.end()
                        && range.end() > lane.start
                })
            })
            .cloned()
            .collect();
        assert_eq!(plain(&found.unwrap().unwrap()), expected);
    }
}

fn scale(share: u64, limit: u64) -> u64 {
    share * limit / 1000
}

fn plain(found: &[Stored]) -> Vec<(Offset, u32, i64, Vec<u8>)> {
    found
        .iter()
        .map(|stored| {
            (
                stored.base_offset,
                stored.records,
                stored.max_timestamp,
                stored.batch.to_vec(),
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn readers_see_what_the_model_holds(
        ops in prop::collection::vec(op(), 1..150),
        cache_bytes in prop_oneof![Just(0usize), 0..30_000usize, Just(1usize << 20)],
        cold_bytes in prop_oneof![Just(0usize), 0..30_000usize, Just(1usize << 20)],
    ) {
        let mut model = Model::new(cache_bytes, cold_bytes);
        for op in ops {
            model.apply(op);
        }
    }
}

#[test]
fn a_cold_read_never_serves_a_damaged_byte() {
    let mut world = World::new(16 << 10);
    world.options.cache_bytes = 0;
    world.options.cold_cache_bytes = 0;
    let mut opened = world.open();
    let committed = opened.write(&[append(1, 0, 1, &[5; 500])]).unwrap();
    opened.write(&[append(1, 1, 1, b"next")]).unwrap();
    for at in 0..committed.bytes {
        world.disk.flip_bit(&World::file(1), 64 + at, 1);
        let read = opened
            .reader
            .read(PartitionId(1), 0, 1, &mut Cursor::default(), Source::Disk);
        match read {
            Err(error @ ReadError::Corrupt { .. }) => {
                assert!(error.to_string().contains("0000000000000001.journal"));
            }
            other => panic!("byte {at}: {other:?}"),
        }
        world.disk.flip_bit(&World::file(1), 64 + at, 1);
    }
    let read = opened
        .reader
        .read(PartitionId(1), 0, 1, &mut Cursor::default(), Source::Disk);
    assert_eq!(read.unwrap().unwrap()[0].batch, [5; 500][..]);
}

#[test]
fn the_tail_is_read_without_the_disk_and_history_is_not() {
    let mut world = World::new(64 << 10);
    world.options.cache_bytes = 200 << 10;
    let mut opened = world.open();
    for offset in 0..400 {
        opened.write(&[append(1, offset, 1, &[9; 1000])]).unwrap();
    }
    let read = |from| {
        let cursor = &mut Cursor::default();
        opened
            .reader
            .read(PartitionId(1), from, 1 << 20, cursor, Source::CacheOnly)
            .unwrap()
    };
    assert!(read(0).is_none());
    assert_eq!(read(395).unwrap().len(), 5);
    let cursor = &mut Cursor::default();
    let all = opened
        .reader
        .read(PartitionId(1), 0, 1 << 20, cursor, Source::Disk);
    assert_eq!(all.unwrap().unwrap().len(), 400);
    assert_eq!(
        read(395).unwrap().len(),
        5,
        "reading history leaves the tail alone"
    );
}

#[test]
fn the_index_of_a_deep_backlog_and_of_many_partitions_is_small() {
    let world = World::new(1 << 20);
    let mut opened = world.open();
    // 40 MB in one partition, as 200-byte batches would fill it.
    for number in 0..640u64 {
        opened
            .write(&[append(1, number * 300, 300, &[0; 62_000])])
            .unwrap();
    }
    let one = opened.reader.export_index().len();
    assert!(one < 640 * 33 + 150, "{one}");
    let mut commit = commit_of(&[]);
    for partition in 10..10_010 {
        commit.push_append(&[(PartitionId(partition), 0)], 1, 0, b"x");
    }
    opened.journal.write(commit).unwrap();
    let many = opened.reader.export_index().len() - one;
    assert_eq!(many, 10_000 * (52 + 32));
}

#[test]
fn a_journal_of_more_files_than_are_kept_open_is_read_from_end_to_end() {
    let mut world = World::new(4096);
    world.options.cache_bytes = 0;
    let mut opened = world.open();
    for offset in 0..100 {
        opened.write(&[append(1, offset, 1, &[9; 3000])]).unwrap();
    }
    for _ in 0..2 {
        let (mut next, mut cursor) = (0, Cursor::default());
        while next < 100 {
            let read = opened
                .reader
                .read(PartitionId(1), next, 1, &mut cursor, Source::Disk);
            assert_eq!(read.unwrap().unwrap()[0].base_offset, next);
            next += 1;
        }
    }
}

#[test]
fn records_in_a_dropped_file_are_forgotten_and_those_behind_it_are_not() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    for offset in 0..200 {
        opened.write(&[append(1, offset, 1, &[9; 1000])]).unwrap();
    }
    opened.write(&[append(2, 0, 1, b"young")]).unwrap();
    let needed = opened.reader.position_of(PartitionId(1), 150).unwrap();
    opened.journal.drop_below(needed).unwrap();
    let start = opened.reader.bounds(PartitionId(1)).unwrap().start;
    assert!(0 < start && start <= 150, "{start}");
    let mut cursor = Cursor::default();
    let read = opened
        .reader
        .read(PartitionId(1), start, 1 << 20, &mut cursor, Source::Disk);
    assert_eq!(read.unwrap().unwrap().len() as u64, 200 - start);
    assert_eq!(opened.reader.bounds(PartitionId(2)).unwrap().start, 0);
}

/// A snapshot's index that still leads into a dropped file must not make later records share the
/// fate of that file.
#[test]
fn records_behind_a_snapshot_survive_the_drop_of_what_its_index_leads_to() {
    let world = World::new(16 << 10);
    let mut opened = world.open();
    for offset in 0..20 {
        opened.write(&[append(1, offset, 1, &[9; 1000])]).unwrap();
    }
    let index = opened.reader.export_index();
    let position = opened.journal.end();
    opened.journal.drop_below(position).unwrap();
    opened.write(&[append(1, 20, 1, b"young")]).unwrap();

    let from = ReplayFrom {
        position,
        index: &index,
    };
    let opened = world.try_open(Some(from)).unwrap();
    let start = opened.reader.bounds(PartitionId(1)).unwrap().start;
    assert!(start <= 20, "{start}");
    let mut cursor = Cursor::default();
    let read = opened
        .reader
        .read(PartitionId(1), 20, 1, &mut cursor, Source::Disk);
    assert_eq!(&read.unwrap().unwrap()[0].batch[..], b"young");
}
