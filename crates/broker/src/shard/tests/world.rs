//! A shard, its journal and a disk whose power can go, with a model beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use forebay_base::{Offset, PartitionId, SessionId, Timestamp, TopicId};
use forebay_log::{
    CommitBuilder, Committed, Disk, Fault, Journal, JournalOptions, LogReader, Position,
    PromoteError, SegmentChange, SimDisk, SnapshotStore,
};
use forebay_queue::Attempted;

use super::decide::{Asked, Expect};
use super::model::Model;
use super::promise::Promise;
use crate::promotion::Plan;
use crate::recovery::{Recovered, join_snapshot, recover_from};
use crate::shard::{Output, Shard};
use crate::state::ShardState;
use crate::{ConsumerId, ConsumerMode, OpenError, Receipt, RequestId, TopicInfo};

const JOURNAL_ID: u64 = 77;
const FILE_BYTES: u64 = 8 << 10;
/// Small, so that commits are closed and wait in line.
const COMMIT_AT_MOST: usize = 3 << 10;

/// How everything stood after a commit.
#[derive(Clone)]
pub(super) struct Mark {
    pub(super) model: Model,
    pub(super) state: ShardState,
}

/// The commit that the journal has in hand.
struct Hand {
    number: u64,
    commit: Option<CommitBuilder>,
    written: Option<Committed>,
    snapshot: Option<(Vec<u8>, Needed)>,
}

/// For each partition the lowest offset that must stay readable.
type Needed = Vec<(PartitionId, Offset)>;

pub(super) type Place = (PartitionId, Offset);

pub(super) struct Standing {
    pub(super) topic: TopicId,
    pub(super) credit: u32,
    pub(super) mode: ConsumerMode,
    pub(super) exclusive: bool,
}

pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) now: Timestamp,
    pub(super) shard: Shard,
    journal: Journal,
    pub(super) reader: Arc<LogReader>,
    store: SnapshotStore,
    pub(super) model: Model,
    marks: BTreeMap<u64, Mark>,
    /// The number of the last commit that the journal was given, and of the last one the shard
    /// knows to be durable.
    taken: u64,
    durable: u64,
    hand: Option<Hand>,
    pub(super) snapshot_wanted: bool,
    /// Snapshots by position, with the number of their commit.
    snapshots: BTreeMap<Position, u64>,
    /// What must stay readable as of the newest snapshot of this life.
    needed: Option<Needed>,
    torn: Option<u64>,
    pub(super) next_id: u64,
    pub(super) next_request: u64,
    pub(super) next_session: u64,
    /// The first stands for calls outside any session.
    pub(super) sessions: [SessionId; 3],
    /// The partitions of which a session has held messages.
    pub(super) touched: BTreeSet<(SessionId, PartitionId)>,
    pub(super) asked: BTreeMap<RequestId, Asked>,
    pub(super) consumers: BTreeMap<(SessionId, ConsumerId), Standing>,
    /// Consumers that must still hear that their topic is gone.
    pub(super) cancels: BTreeSet<(SessionId, ConsumerId)>,
    pub(super) deliveries: Vec<Receipt>,
    pub(super) jobs: Vec<(PartitionId, Attempted)>,
    /// Dead letters that were moved in this life, with the places of their copies.
    pub(super) moves: Vec<(Place, Vec<Place>)>,
    /// How many deferred outputs of each commit were looked at.
    seen: BTreeMap<u64, usize>,
    /// Payload that was taken in and not released.
    pub(super) owed: usize,
    pub(super) promised: Vec<Promise>,
    /// Deliveries that are decided and wait for their commit.
    pub(super) on_the_way: BTreeMap<(SessionId, ConsumerId, Receipt), Promise>,
    pub(super) directory: BTreeMap<TopicId, Arc<TopicInfo>>,
    pub(super) full: bool,
    /// A crash left a state that nobody noted down: the story ends there.
    pub(super) ended: bool,
}

fn options() -> JournalOptions {
    JournalOptions {
        file_size: FILE_BYTES,
        retain_bytes: 0,
        min_free_bytes: 0,
        cache_bytes: 16 << 10,
        cold_cache_bytes: 16 << 10,
        ..JournalOptions::default()
    }
}

fn open(disk: &SimDisk) -> Result<(Recovered, SnapshotStore), OpenError> {
    let dir = Path::new("/data");
    let store = SnapshotStore::open(Arc::new(disk.clone()), dir, JOURNAL_ID)?;
    let place = (dir, JOURNAL_ID);
    let recovered = recover_from(Arc::new(disk.clone()), place, &options(), None, &store)?;
    Ok((recovered, store))
}

impl World {
    pub(super) fn new() -> Self {
        let disk = SimDisk::new();
        let (recovered, store) = open(&disk).unwrap();
        let now = Timestamp(1_000_000);
        let mut model = Model::default();
        for exchange in recovered.state.catalog.exchanges() {
            let known = (exchange.name.clone(), exchange.config.clone());
            model.exchanges.extend([known]);
        }
        let mark = Mark {
            model: model.clone(),
            state: recovered.state.clone(),
        };
        let mut world = Self {
            disk,
            now,
            shard: Shard::new(recovered.state, now),
            journal: recovered.journal,
            reader: recovered.reader,
            store,
            model,
            marks: [(0, mark)].into(),
            taken: 0,
            durable: 0,
            hand: None,
            snapshot_wanted: false,
            snapshots: [(Position(0), 0)].into(),
            needed: None,
            torn: None,
            next_id: 1,
            next_request: 1,
            next_session: 3,
            sessions: [0, 1, 2].map(SessionId),
            touched: BTreeSet::new(),
            asked: BTreeMap::new(),
            consumers: BTreeMap::new(),
            cancels: BTreeSet::new(),
            deliveries: Vec::new(),
            jobs: Vec::new(),
            moves: Vec::new(),
            seen: BTreeMap::new(),
            owed: 0,
            promised: Vec::new(),
            on_the_way: BTreeMap::new(),
            directory: BTreeMap::new(),
            full: false,
            ended: false,
        };
        world.shard.commit_at_most = COMMIT_AT_MOST;
        world.peek();
        world
    }

    /// Looks at everything the shard has decided since, and lets out what may leave.
    pub(super) fn peek(&mut self) {
        let immediate: Vec<Output> = self.shard.outputs().collect();
        let mut seen = std::mem::take(&mut self.seen);
        let mut decided = Vec::new();
        for (number, outputs) in self.deferred() {
            let already = seen.entry(number).or_default();
            decided.extend(
                outputs[*already..]
                    .iter()
                    .filter_map(super::decide::Decided::of),
            );
            *already = outputs.len();
        }
        self.seen = seen;
        let deferred = decided.len();
        decided.extend(immediate.iter().filter_map(super::decide::Decided::of));
        self.decide(decided, deferred);
        for output in immediate {
            self.leave(output);
        }
    }

    /// Outputs that wait for a commit, with the number it has or will have.
    fn deferred(&self) -> Vec<(u64, &Vec<Output>)> {
        let shard = &self.shard;
        let syncing = shard
            .syncing
            .iter()
            .map(|syncing| (self.taken, &syncing.outputs));
        let waiting = shard.filled.iter().chain([&shard.filling]);
        let waiting = waiting.map(|filling| &filling.deferred.outputs);
        syncing.chain((self.taken + 1..).zip(waiting)).collect()
    }

    /// What a turn of the shard's thread does after its inputs.
    pub(super) fn after(&mut self) {
        let due = self.model.lanes.values().filter_map(|lane| lane.next_due());
        let due = due.min().is_some_and(|due| due <= self.now);
        let wakes = self
            .shard
            .next_deadline()
            .is_some_and(|next| next <= self.now);
        assert!(wakes || !due, "something is due and nobody wakes for it");
        if wakes {
            self.model.tick(self.now);
            self.shard.tick(self.now);
            self.peek();
            let next = self.shard.next_deadline();
            assert!(
                next.is_none_or(|next| next > self.now),
                "{next:?} is due still"
            );
        }
        self.shard.forget_handed(self.now);
        self.shard.serve();
        self.peek();
        self.check();
    }

    /// One step of the journal: takes a commit, or writes it, or tells that it is durable.
    pub(super) fn journal(&mut self, lazy: bool) {
        match self.hand.take() {
            None => self.take(lazy),
            Some(mut hand) => match hand.commit.take() {
                Some(commit) => match self.journal.write(commit) {
                    Ok(committed) => {
                        hand.written = Some(committed);
                        self.hand = Some(hand);
                    }
                    Err(_) => self.crash(self.torn, None),
                },
                None => self.committed(hand),
            },
        }
    }

    fn take(&mut self, lazy: bool) {
        let Some(commit) = self.shard.take_commit(lazy) else {
            return;
        };
        self.taken += 1;
        let mut snapshot = None;
        if self.shard.is_even() {
            let state = self.shard.state.clone();
            if self.snapshot_wanted {
                let saved = state.save();
                super::check::same_state(&ShardState::load(&saved).unwrap(), &state);
                snapshot = Some((saved, self.shard.needed().collect()));
                self.snapshot_wanted = false;
            }
            let model = self.model.clone();
            self.marks.insert(self.taken, Mark { model, state });
        }
        self.hand = Some(Hand {
            number: self.taken,
            commit: Some(commit),
            written: None,
            snapshot,
        });
    }

    fn committed(&mut self, hand: Hand) {
        let end = hand.written.expect("it was written").end;
        self.shard.committed(self.now);
        self.durable = hand.number;
        for (id, lane) in &mut self.model.lanes {
            lane.end = self.reader.bounds(*id).map_or(0, |bounds| bounds.end);
        }
        self.peek();
        self.after();
        if let Some((state, needed)) = hand.snapshot {
            let payload = join_snapshot(&state, &self.reader.export_index());
            self.snapshots.insert(end, hand.number);
            match self.store.save(end, &payload) {
                Ok(()) => self.needed = Some(needed),
                Err(_) => self.crash(self.torn, None),
            }
        }
    }

    /// Drops what nobody needs: neither a snapshot nor a message nor a stream.
    pub(super) fn drop_journal(&mut self) {
        let positions = self.store.positions();
        let oldest = positions.ok().and_then(|all| all.first().copied());
        let (Some(oldest), Some(needed)) = (oldest, &self.needed) else {
            return;
        };
        let needed = needed
            .iter()
            .filter_map(|(id, offset)| self.reader.position_of(*id, *offset));
        let position = needed.fold(oldest, Position::min);
        if self.journal.drop_below(position).is_err() {
            self.crash(self.torn, None);
        }
    }

    /// Whether nothing is decided that is not durable: what is planned now may be done.
    fn is_quiet(&self) -> bool {
        !self.ended && self.hand.is_none() && self.shard.is_durable()
    }

    fn quieten(&mut self) {
        for _ in 0..20 {
            if self.is_quiet() || self.ended {
                return;
            }
            self.journal(true);
        }
    }

    /// Works off the oldest files below the oldest snapshot.
    pub(super) fn promote(&mut self) {
        self.snapshot_wanted = true;
        self.quieten();
        let positions = self.store.positions();
        let oldest = positions.ok().and_then(|all| all.first().copied());
        let Some(oldest) = oldest.filter(|_| self.is_quiet()) else {
            return;
        };
        let promoter = self.journal.promoter();
        let Ok(chunk) = promoter.survey(oldest, 1) else {
            return self.crash(self.torn, None);
        };
        let mut plan = Plan::default();
        for (partition, first, end) in chunk.partitions() {
            if let Some(wanted) = self.shard.wanted(partition, first, end) {
                plan.add(partition, wanted);
            }
        }
        let change = promoter.promote(chunk, &mut plan);
        self.segments(change);
    }

    /// Writes a partition's runs anew.
    pub(super) fn clean(&mut self, which: u8) {
        self.quieten();
        let partitions = self.reader.partitions_with_runs();
        let partition = partitions.get(usize::from(which) % partitions.len().max(1));
        let Some(partition) = partition.copied().filter(|_| self.is_quiet()) else {
            return;
        };
        let runs = self.reader.runs(partition);
        let (first, last) = (runs[0], runs[runs.len() - 1]);
        let mut plan = Plan::default();
        if let Some(wanted) = self.shard.wanted(partition, first.first, last.end) {
            plan.add(partition, wanted);
        }
        let promoter = self.journal.promoter();
        if promoter.delete_dead().is_err() {
            return self.crash(self.torn, None);
        }
        self.segments(promoter.rewrite(&[(partition, runs)], &mut plan));
    }

    fn segments(&mut self, change: Result<SegmentChange, PromoteError>) {
        match change {
            Ok(change) => self.shard.push_segments(&change),
            Err(_) => self.crash(self.torn, None),
        }
    }

    pub(super) fn arm(&mut self, operations: u8, torn: Option<u64>) {
        self.torn = torn;
        self.disk.fail_at(u64::from(operations), Fault::PowerCut);
    }

    /// The power goes and comes back, and everything that was promised must be there.
    pub(super) fn crash(&mut self, torn: Option<u64>, again: Option<u8>) {
        self.disk.crash(torn);
        if let Some(operations) = again {
            self.disk.fail_at(u64::from(operations), Fault::PowerCut);
            let _interrupted = open(&self.disk);
            self.disk.crash(torn);
        }
        let (recovered, store) = open(&self.disk).expect("a crash damages nothing durable");
        let number = self.snapshots[&recovered.snapshot] + recovered.commits;
        assert!(
            (self.durable..=self.taken).contains(&number),
            "{number} commits of {} to {} were recovered",
            self.durable,
            self.taken
        );
        self.reader = recovered.reader;
        let Some(mark) = self.marks.get(&number).cloned() else {
            self.check_readable_promises();
            self.check_moves(recovered.state);
            self.ended = true;
            return;
        };
        super::check::same_state(&recovered.state, &mark.state);
        self.check_promises(&mark.model);
        self.journal = recovered.journal;
        self.store = store;
        self.model = mark.model;
        self.check_readable();
        self.forget_the_living(number);
        self.model.restart();
        self.shard = Shard::new(recovered.state, self.now);
        self.shard.commit_at_most = COMMIT_AT_MOST;
        self.peek();
        self.after();
    }

    /// What does not survive a crash.
    fn forget_the_living(&mut self, number: u64) {
        (self.taken, self.durable) = (number, number);
        self.marks.retain(|known, _| *known <= number);
        self.hand = None;
        self.needed = None;
        self.next_session = 3;
        self.sessions = [0, 1, 2].map(SessionId);
        self.touched.clear();
        self.asked.clear();
        self.consumers.clear();
        self.cancels.clear();
        self.jobs.clear();
        self.moves.clear();
        self.seen.clear();
        self.owed = 0;
        self.promised.clear();
        self.on_the_way.clear();
        self.directory.clear();
        self.full = false;
    }

    /// Lets everything that is under way come to its end.
    pub(super) fn finish(&mut self) {
        self.shard.set_storage_full(self.now, None);
        while self.shard.unpark(self.now) {}
        self.full = false;
        self.peek();
        self.after();
        for _ in 0..200 {
            if self.ended {
                return;
            }
            self.now = self.now.plus_ms(20_000);
            self.after();
            while !self.jobs.is_empty() {
                self.answer_dead_letter(0, true);
            }
            for _ in 0..6 {
                self.journal(true);
            }
            if self.asked.is_empty() && self.shard.is_durable() && self.jobs.is_empty() {
                break;
            }
        }
        if self.ended {
            return;
        }
        let asked: Vec<_> = self.asked.iter().collect();
        assert!(asked.is_empty(), "no reply to {asked:?}");
        assert!(self.shard.is_durable());
        assert_eq!(self.owed, 0, "payload that was never released");
        assert!(self.cancels.is_empty(), "{:?}", self.cancels);
        assert!(self.on_the_way.is_empty());
        assert!(
            self.directory.values().eq(self.model.topics.values()),
            "the directory shows what is there"
        );
        self.crash(None, None);
    }

    /// Everything on the disk.
    pub(super) fn content(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let dir = Path::new("/data/journal");
        let names = self.disk.list(dir).unwrap_or_default();
        let content = |name: String| {
            let bytes = self.disk.content(&dir.join(&name));
            (name, bytes)
        };
        names.into_iter().map(content).collect()
    }

    /// The requests that wait for messages of a topic, or consumers with credit.
    pub(super) fn waiting(&self, topic: TopicId) -> usize {
        let once = self.asked.values().filter(|asked| match &asked.expect {
            Expect::Receive(receive) => asked.decided.is_none() && receive.topic == topic,
            _ => false,
        });
        let standing = self.consumers.values();
        let standing = standing.filter(|known| known.topic == topic && known.credit > 0);
        once.count() + standing.count()
    }
}
