//! The world: a broker, its disk, its clients, and a scheduler that a seed leads.

mod act;
mod decay;
mod drain;
mod hear;
mod life;
mod look;
mod produce;
mod settle;
mod topics;
mod trouble;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use forebay_base::{PartitionId, SessionId, Timestamp, TopicId};
use forebay_broker::simulation::{JournalOptions, Setup, Simulated, Tuning, Worker};
use forebay_broker::{ConsumerId, ConsumerMode, Cursor, Deliveries, Receipt, RequestId};
use forebay_log::{SegmentOptions, SegmentStore, SimDisk};

use crate::chance::{Chance, mix};
use crate::ledger::Ledger;
use crate::objects::FaultyObjects;
use crate::profile::Profile;
use crate::stats::Stats;
use crate::violation::{Audited, Violation, broken};
use hear::Asked;
use produce::Producer;

pub(crate) const DATA: &str = "/data";
pub(crate) const SEGMENTS: &str = "/data/segments";
const JOURNAL_ID: u64 = 0x5eed;
/// The index knows sizes in steps of so many bytes of journal.
const INDEX_STEP: u64 = 64 << 10;
const BEGIN: Timestamp = Timestamp(1_700_000_000_000);

/// A receipt that a client has.
#[derive(Clone, Copy, Debug)]
struct Held {
    receipt: Receipt,
    session: SessionId,
    life: u64,
}

/// A standing consumer.
#[derive(Clone, Copy, Debug)]
struct Standing {
    topic: TopicId,
    mode: ConsumerMode,
    credit: u32,
}

/// A client that reads a partition as history.
#[derive(Debug)]
struct Reader {
    partition: PartitionId,
    next: u64,
    cursor: Cursor,
}

/// One world, from its seed.
pub(crate) struct World {
    chance: Chance,
    profile: Profile,
    disk: SimDisk,
    objects: Arc<FaultyObjects>,
    setup: Setup,
    broker: Simulated,
    now: Timestamp,
    ledger: Ledger,
    /// The first stands for calls outside any session.
    sessions: Vec<SessionId>,
    next_session: u64,
    next_request: u64,
    next_number: u64,
    next_sender: u64,
    asked: BTreeMap<RequestId, Asked>,
    consumers: BTreeMap<(SessionId, ConsumerId), Standing>,
    held: Vec<Held>,
    /// Deliveries whose records could not be read when they came.
    unread: Vec<(SessionId, ConsumerMode, Deliveries)>,
    producers: Vec<Producer>,
    readers: Vec<Reader>,
    /// Topics that were asked for, by name, until it is known whether they were made.
    creating: BTreeMap<Arc<str>, (forebay_broker::TopicConfig, bool)>,
    /// Topics that the fanout exchange leads to.
    fan: Vec<TopicId>,
    next_topic: u64,
    /// How many lives there were.
    life: u64,
    /// Something was done in this life that may stop the shard.
    hurt: bool,
    /// Something was done in this life that may make anything but the shard itself fail.
    disturbed: bool,
    /// Everything is to come to rest.
    at_the_end: bool,
    /// Reads may fail now.
    troubled: bool,
    /// The disk has, or had in this life, less room than it wants.
    cramped: bool,
    step: u64,
    stats: Stats,
    /// A checksum of everything the broker said.
    heard: u64,
    trace: Option<Trace>,
}

/// Takes one line for each step.
pub type Trace = Box<dyn FnMut(&str)>;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it has seen.
    pub stats: Stats,
    /// A checksum of every operation of the disk and every word of the broker.
    pub digest: u64,
    /// What was broken, and at which step.
    pub broken: Option<(u64, Violation)>,
}

/// Runs the world of a seed to its end.
///
/// A panic inside the broker is not caught here.
pub fn run(seed: u64, trace: Option<Trace>) -> Outcome {
    match World::new(seed, trace) {
        Ok(mut world) => {
            let result = world.live();
            world.outcome(result)
        }
        Err(violation) => Outcome {
            stats: Stats::default(),
            digest: 0,
            broken: Some((0, violation)),
        },
    }
}

macro_rules! tell {
    ($world:expr, $($what:tt)*) => {
        if $world.trace.is_some() {
            $world.say(format!($($what)*));
        }
    };
}
use tell;

impl World {
    fn new(seed: u64, trace: Option<Trace>) -> Audited<Self> {
        let mut chance = Chance::new(mix(seed ^ 0x0f0e_bab5_0bad_5eed));
        let profile = Profile::new(&mut chance);
        let disk = SimDisk::new();
        let objects = Arc::new(FaultyObjects::new(disk.clone(), PathBuf::from(SEGMENTS)));
        let setup = setup(&profile, &disk, &objects);
        let broker = match Simulated::open(&setup, BEGIN) {
            Ok(broker) => broker,
            Err(error) => return broken("an empty directory opens", error.to_string()),
        };
        let size_slack = profile.segment_bytes;
        let mut world = Self {
            chance,
            profile,
            disk,
            objects,
            setup,
            broker,
            now: BEGIN,
            ledger: Ledger::new(BEGIN, INDEX_STEP + size_slack),
            sessions: vec![SessionId(0)],
            next_session: 1,
            next_request: 1,
            next_number: 1,
            next_sender: 1,
            asked: BTreeMap::new(),
            consumers: BTreeMap::new(),
            held: Vec::new(),
            unread: Vec::new(),
            producers: Vec::new(),
            readers: Vec::new(),
            creating: BTreeMap::new(),
            fan: Vec::new(),
            next_topic: 0,
            life: 0,
            hurt: false,
            disturbed: false,
            at_the_end: false,
            troubled: false,
            cramped: false,
            step: 0,
            stats: Stats::default(),
            heard: 0,
            trace,
        };
        world.stats.worlds = 1;
        Ok(world)
    }

    fn outcome(self, result: Audited) -> Outcome {
        let objects = self.objects.counts();
        let mut stats = self.stats;
        stats.steps = self.step;
        stats.segments += objects.put;
        stats.dead_letters = self.ledger.arrived;
        stats.commits += self.broker.counters().commits;
        stats.deleted += objects.deleted;
        Outcome {
            stats,
            digest: self.disk.digest() ^ self.heard.rotate_left(17),
            broken: result.err().map(|violation| (self.step, violation)),
        }
    }

    /// The whole life of the world.
    fn live(&mut self) -> Audited {
        let profile = self.profile.clone();
        tell!(self, "{profile:?}");
        self.begin()?;
        while self.step < self.profile.steps {
            self.step += 1;
            self.take_step()?;
        }
        tell!(self, "the end: everything comes to rest");
        self.drain()
    }

    fn take_step(&mut self) -> Audited {
        let profile = &self.profile;
        let per_mille = self.chance.below(1000);
        if per_mille < profile.crashes {
            return self.end_a_life();
        }
        if per_mille < profile.crashes + profile.faults {
            return self.make_trouble();
        }
        if self.chance.percent(profile.haste) {
            self.act()?;
            if self.chance.one_in(2) {
                self.turn()?;
            }
            return Ok(());
        }
        match self.chance.weighted(&[8, 24, 6, 8]) {
            0 => self.turn(),
            1 => self.work(),
            2 => self.pass_time(),
            _ => self.look(),
        }
    }

    /// Lets a worker of the broker do what it has to do.
    fn work(&mut self) -> Audited {
        let mut busy = self.broker.busy();
        if busy.is_empty() || self.chance.one_in(10) {
            busy.push(Worker::Retention);
        }
        let Some(worker) = self.chance.pick(&busy).copied() else {
            return self.turn();
        };
        self.step_of(worker);
        if self.chance.one_in(2) {
            self.turn()?;
        }
        Ok(())
    }

    fn step_of(&mut self, worker: Worker) {
        let oldest = self.broker.journal().oldest.0;
        let did = self.broker.step(worker, self.now);
        let dropped = self.broker.journal().oldest.0 - oldest;
        self.stats.dropped += dropped / self.profile.file_bytes;
        match worker {
            Worker::Snapshots => self.stats.snapshots += u64::from(did),
            Worker::Promotion => self.stats.promotions += u64::from(did),
            _ => {}
        }
        tell!(self, "{worker:?} {}", if did { "works" } else { "idles" });
    }

    fn pass_time(&mut self) -> Audited {
        let ms = match self.chance.weighted(&[4, 4, 2, 1]) {
            0 => self.chance.below(50),
            1 => self.chance.below(1_500),
            2 => self.chance.below(20_000),
            _ => self.chance.below(120_000),
        };
        self.advance(ms);
        self.turn()
    }

    fn advance(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
        self.ledger.now = self.now;
        tell!(self, "{ms} ms pass");
    }

    /// One turn of the shard; what it says is heard.
    fn turn(&mut self) -> Audited {
        self.broker.turn(self.now);
        for said in self.broker.said() {
            self.note(&said);
            self.hear(said)?;
        }
        self.check_alive()
    }

    /// Adds what was said to the checksum of the run.
    fn note(&mut self, said: &forebay_broker::simulation::Said) {
        let text = format!("{said:?}");
        tell!(self, "  -> {text}");
        for byte in text.bytes() {
            self.heard = (self.heard ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn say(&mut self, line: String) {
        let (step, life, now) = (self.step, self.life, self.now.0 - BEGIN.0);
        if let Some(trace) = &mut self.trace {
            trace(&format!("{step:>5} life {life} +{now} ms  {line}"));
        }
    }
}

fn setup(profile: &Profile, disk: &SimDisk, objects: &Arc<FaultyObjects>) -> Setup {
    Setup {
        disk: Arc::new(disk.clone()),
        data_dir: DATA.into(),
        journal_id: JOURNAL_ID,
        journal: JournalOptions {
            file_size: profile.file_bytes,
            cache_bytes: profile.cache_bytes,
            cold_cache_bytes: profile.cache_bytes,
            retain_bytes: profile.retain_files * profile.file_bytes,
            min_free_bytes: 0,
            segments: SegmentOptions {
                target_bytes: profile.segment_bytes,
                block_bytes: profile.block_bytes,
                part_bytes: profile.part_bytes,
                cache_bytes: profile.cache_bytes,
            },
            ..JournalOptions::default()
        },
        segments: Some(SegmentStore::new(objects.clone(), "", None)),
        tuning: Tuning {
            snapshot_every_bytes: profile.snapshot_every,
            promote_files: profile.promote_files,
            promote_batches: profile.promote_batches,
            clean_bytes: profile.file_bytes * 2,
            clean_every_ms: profile.clean_every_ms,
            compact_every_ms: profile.clean_every_ms,
            reserve_bytes: profile.file_bytes / 8,
            ..Tuning::default()
        },
    }
}
