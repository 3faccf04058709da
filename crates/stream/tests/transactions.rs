//! Transactions against a model that keeps every record and asks for nothing twice.

#![expect(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::collections::{BTreeMap, BTreeSet};

use forebay_base::{PartitionId, Timestamp};
use forebay_stream::{
    Aborted, Committed, Ending, StreamEvent, TRANSACTION_MS_AT_MOST, TRANSACTIONAL_IDLE_MS,
    TransactionPhase, TransactionRefusal, Transactions,
};
use proptest::prelude::*;

const PARTITIONS: u64 = 3;

/// A record of the model's log.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Record {
    producer: i64,
    /// `None` while its transaction is not decided.
    committed: Option<bool>,
    marker: bool,
}

#[derive(Clone, Debug)]
struct Producer {
    id: i64,
    epoch: i16,
    since: Option<i64>,
    timeout_ms: u64,
    partitions: BTreeSet<u64>,
    groups: BTreeSet<String>,
    /// The partitions whose offsets it wants to commit for group "g".
    held: BTreeSet<u64>,
    ended: Option<bool>,
}

#[derive(Default)]
struct World {
    transactions: Transactions,
    now: i64,
    next_id: i64,
    producers: BTreeMap<String, Producer>,
    log: BTreeMap<u64, Vec<Record>>,
    /// Below this of each partition everything is trimmed.
    start: BTreeMap<u64, u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Register {
        name: u8,
        expect: u8,
        timeout_ms: u64,
    },
    AddPartition {
        name: u8,
        partition: u64,
        epoch_off: i16,
    },
    AddGroup {
        name: u8,
    },
    Hold {
        name: u8,
        partition: u64,
    },
    Append {
        name: u8,
        partition: u64,
        epoch_off: i16,
    },
    Plain {
        partition: u64,
    },
    End {
        name: u8,
        commit: bool,
        epoch_off: i16,
    },
    Pass {
        ms: i64,
    },
    Trim {
        partition: u64,
        part: u64,
    },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || 0u8..3;
    let partition = || 0..PARTITIONS;
    let off = || prop_oneof![8 => Just(0i16), 1 => Just(-1), 1 => Just(1)];
    prop_oneof![
        2 => (name(), 0u8..4, 1u64..2000).prop_map(|(name, expect, timeout_ms)| Step::Register { name, expect, timeout_ms }),
        4 => (name(), partition(), off()).prop_map(|(name, partition, epoch_off)| Step::AddPartition { name, partition, epoch_off }),
        1 => name().prop_map(|name| Step::AddGroup { name }),
        2 => (name(), partition()).prop_map(|(name, partition)| Step::Hold { name, partition }),
        8 => (name(), partition(), off()).prop_map(|(name, partition, epoch_off)| Step::Append { name, partition, epoch_off }),
        2 => partition().prop_map(|partition| Step::Plain { partition }),
        4 => (name(), any::<bool>(), off()).prop_map(|(name, commit, epoch_off)| Step::End { name, commit, epoch_off }),
        2 => (0i64..900).prop_map(|ms| Step::Pass { ms }),
        1 => (partition(), 0u64..100).prop_map(|(partition, part)| Step::Trim { partition, part }),
        1 => Just(Step::Restart),
    ]
}

fn called(name: u8) -> String {
    format!("t{name}")
}

impl World {
    fn next(&self, partition: u64) -> u64 {
        self.log.get(&partition).map_or(0, Vec::len) as u64
    }

    fn apply(&mut self, event: &StreamEvent) {
        self.transactions.apply(event);
    }

    /// Ends a transaction as the model has it, and checks what the core says it takes.
    fn end(&mut self, name: &str, ending: &Ending, commit: bool, epoch: i16) {
        let producer = self.producers[name].clone();
        assert_eq!(
            (ending.producer, ending.epoch),
            (producer.id, producer.epoch)
        );
        let undecided =
            |record: &Record| record.producer == producer.id && record.committed.is_none();
        let firsts: Vec<_> = self
            .log
            .iter()
            .filter_map(|(partition, log)| {
                Some((
                    PartitionId(*partition),
                    log.iter().position(undecided)? as u64,
                ))
            })
            .collect();
        assert_eq!(ending.partitions, firsts);
        let mut markers = Vec::new();
        for (partition, _) in &firsts {
            let log = self.log.get_mut(&partition.0).unwrap();
            for record in log.iter_mut().filter(|record| undecided(record)) {
                record.committed = Some(commit);
            }
            markers.push((*partition, log.len() as u64));
            log.push(Record {
                producer: producer.id,
                committed: Some(commit),
                marker: true,
            });
        }
        self.apply(&StreamEvent::TransactionEnded {
            producer: producer.id,
            epoch,
            committed: commit,
            markers,
            at: Timestamp(self.now),
        });
        let known = self.producers.get_mut(name).unwrap();
        known.epoch = epoch;
        known.since = None;
        known.partitions.clear();
        known.groups.clear();
        known.held.clear();
        known.ended = Some(commit);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Register {
                name,
                expect,
                timeout_ms,
            } => self.register(&called(*name), *expect, *timeout_ms),
            Step::AddPartition {
                name,
                partition,
                epoch_off,
            } => {
                let name = called(*name);
                let Some(known) = self.producers.get(&name).cloned() else {
                    let refused = self.transactions.check(&name, 0, 0);
                    assert_eq!(refused, Err(TransactionRefusal::UnknownProducer));
                    return;
                };
                let epoch = known.epoch + epoch_off;
                let checked = self.transactions.check(&name, known.id, epoch);
                if *epoch_off != 0 {
                    assert_eq!(checked, Err(TransactionRefusal::Fenced { found: epoch }));
                    return;
                }
                assert_eq!(checked, Ok(()));
                let other = self.transactions.check(&name, known.id + 1, epoch);
                assert_eq!(other, Err(TransactionRefusal::UnknownProducer));
                self.apply(&StreamEvent::TransactionPartitionsAdded {
                    producer: known.id,
                    partitions: vec![PartitionId(*partition)],
                    at: Timestamp(self.now),
                });
                let now = self.now;
                let known = self.producers.get_mut(&name).unwrap();
                known.partitions.insert(*partition);
                known.since.get_or_insert(now);
            }
            Step::AddGroup { name } => {
                let name = called(*name);
                let now = self.now;
                let Some(known) = self.producers.get_mut(&name) else {
                    return;
                };
                known.groups.insert("g".to_owned());
                known.since.get_or_insert(now);
                let producer = known.id;
                self.apply(&StreamEvent::TransactionGroupAdded {
                    producer,
                    group: "g".to_owned(),
                    at: Timestamp(now),
                });
            }
            Step::Hold { name, partition } => {
                let now = self.now;
                let Some(known) = self.producers.get_mut(&called(*name)) else {
                    return;
                };
                let producer = known.id;
                if !known.groups.contains("g") {
                    return;
                }
                known.held.insert(*partition);
                self.apply(&StreamEvent::TransactionOffsetsHeld {
                    producer,
                    group: "g".to_owned(),
                    entries: vec![(PartitionId(*partition), offset(now))],
                    at: Timestamp(now),
                });
            }
            Step::Append {
                name,
                partition,
                epoch_off,
            } => self.append(&called(*name), *partition, *epoch_off),
            Step::Plain { partition } => {
                let log = self.log.entry(*partition).or_default();
                log.push(Record {
                    producer: -1,
                    committed: Some(true),
                    marker: false,
                });
            }
            Step::End {
                name,
                commit,
                epoch_off,
            } => self.ask_to_end(&called(*name), *commit, *epoch_off),
            Step::Pass { ms } => {
                self.now += ms;
                let due: Vec<_> = self
                    .producers
                    .iter()
                    .filter(|(_, known)| {
                        let since = known.since.map(Timestamp);
                        since.is_some_and(|since| since.plus_ms(known.timeout_ms).0 <= self.now)
                    })
                    .map(|(name, known)| (known.id, name.clone()))
                    .collect();
                let overdue: BTreeSet<_> = self
                    .transactions
                    .overdue(Timestamp(self.now))
                    .into_iter()
                    .collect();
                assert_eq!(overdue, due.iter().map(|(id, _)| *id).collect());
                for (id, name) in due {
                    let ending = self.transactions.ending(id).unwrap();
                    self.end(&name, &ending, false, ending.epoch + 1);
                }
            }
            Step::Trim { partition, part } => {
                let at = self.next(*partition) * part / 100;
                let start = self.start.entry(*partition).or_default();
                *start = at.max(*start);
                self.transactions.trim(PartitionId(*partition), *start);
            }
            Step::Restart => {
                let saved = postcard::to_stdvec(&self.transactions).unwrap();
                let loaded: Transactions = postcard::from_bytes(&saved).unwrap();
                assert_eq!(
                    loaded, self.transactions,
                    "everything is stored or follows from it"
                );
            }
        }
    }

    fn register(&mut self, name: &str, expect: u8, timeout_ms: u64) {
        let known = self.producers.get(name).cloned();
        let (expected, fenced) = match (&known, expect) {
            (Some(known), 1) => (Some((known.id, known.epoch)), false),
            (Some(known), 2) => (Some((known.id, known.epoch + 5)), true),
            (Some(known), 3) => (Some((known.id + 1, known.epoch)), true),
            _ => (None, false),
        };
        let registration = self.transactions.register(name, timeout_ms, expected);
        if fenced {
            let found = expected.unwrap().1;
            assert_eq!(registration, Err(TransactionRefusal::Fenced { found }));
            return;
        }
        let registration = registration.unwrap();
        let open = known.as_ref().is_some_and(|known| known.since.is_some());
        assert_eq!(
            registration.abort.is_some(),
            open,
            "what a life before left is ended"
        );
        if let Some(ending) = registration
            .abort
            .and_then(|id| self.transactions.ending(id))
        {
            self.end(name, &ending, false, ending.epoch + 1);
        }
        let id = registration.producer.unwrap_or_else(|| {
            self.next_id += 1;
            self.next_id
        });
        if let Some(known) = &known {
            assert_eq!(id, known.id);
            assert!(
                registration.epoch > known.epoch,
                "the life before is fenced"
            );
        }
        self.apply(&StreamEvent::TransactionalProducer {
            name: name.to_owned(),
            producer: id,
            epoch: registration.epoch,
            last_epoch: registration.last_epoch,
            timeout_ms,
            at: Timestamp(self.now),
        });
        if let Some((id, epoch)) = expected {
            let again = self
                .transactions
                .register(name, timeout_ms, Some((id, epoch)));
            let again = again.unwrap();
            assert_eq!(
                again.epoch, registration.epoch,
                "a repetition changes nothing"
            );
        }
        let producer = Producer {
            id,
            epoch: registration.epoch,
            since: None,
            timeout_ms,
            partitions: BTreeSet::new(),
            groups: BTreeSet::new(),
            held: BTreeSet::new(),
            ended: None,
        };
        self.producers.insert(name.to_owned(), producer);
    }

    fn append(&mut self, name: &str, partition: u64, epoch_off: i16) {
        let id = PartitionId(partition);
        let Some(known) = self.producers.get(name).cloned() else {
            return;
        };
        let epoch = known.epoch + epoch_off;
        let checked = self.transactions.check_append(id, known.id, epoch, true);
        if epoch_off != 0 {
            assert_eq!(checked, Err(TransactionRefusal::Fenced { found: epoch }));
            return;
        }
        if !known.partitions.contains(&partition) {
            assert_eq!(checked, Err(TransactionRefusal::InvalidState));
            return;
        }
        assert_eq!(checked, Ok(()));
        let base = self.next(partition);
        let log = self.log.entry(partition).or_default();
        let first = !log
            .iter()
            .any(|record| record.producer == known.id && record.committed.is_none());
        log.push(Record {
            producer: known.id,
            committed: None,
            marker: false,
        });
        assert_eq!(self.transactions.appended(id, known.id, base), first);
        let outside = self.transactions.check_append(id, known.id, epoch, false);
        assert_eq!(outside, Err(TransactionRefusal::InvalidState));
    }

    fn ask_to_end(&mut self, name: &str, commit: bool, epoch_off: i16) {
        let Some(known) = self.producers.get(name).cloned() else {
            let refused = self.transactions.end(name, 0, 0, commit);
            assert_eq!(refused, Err(TransactionRefusal::UnknownProducer));
            return;
        };
        let epoch = known.epoch + epoch_off;
        let ending = self.transactions.end(name, known.id, epoch, commit);
        let expected = match (epoch_off, known.since, known.ended) {
            (0, Some(_), _) => {
                let ending = ending.unwrap().unwrap();
                return self.end(name, &ending, commit, epoch);
            }
            (0, None, Some(ended)) if ended == commit => Ok(None),
            (0, ..) => Err(TransactionRefusal::InvalidState),
            _ => Err(TransactionRefusal::Fenced { found: epoch }),
        };
        assert_eq!(ending, expected);
    }

    fn check(&self) {
        for partition in 0..PARTITIONS {
            let id = PartitionId(partition);
            let none = Vec::new();
            let log = self.log.get(&partition).unwrap_or(&none);
            let open = log.iter().position(|record| record.committed.is_none());
            let open = open.map(|at| at as u64);
            assert_eq!(self.transactions.first_open(id), open);
            let held = self.producers.values();
            let held = held.filter(|known| known.held.contains(&partition));
            assert_eq!(self.transactions.holds("g", id), held.count() > 0);
            // What a reader of a range passes over, in the way clients do it, is what was aborted.
            let start = self.start.get(&partition).copied().unwrap_or(0);
            let stable = open.unwrap_or(log.len() as u64);
            for from in start..=stable {
                for end in [from, (from + 3).min(stable), stable] {
                    let told = Aborted::within(self.transactions.aborted(id), from, end);
                    let told: Vec<Aborted> = told.copied().collect();
                    assert_eq!(read(log, from, end, &told), wanted(log, from, end));
                }
            }
            // And no more is known than what lies in what is kept.
            let markers = (start..log.len() as u64).filter(|at| {
                let record = log[*at as usize];
                record.marker && record.committed == Some(false)
            });
            assert_eq!(self.transactions.aborted(id).len(), markers.count());
        }
        for (name, known) in &self.producers {
            let described = self.transactions.describe(name).unwrap();
            assert_eq!(
                (described.producer, described.epoch),
                (known.id, known.epoch)
            );
            let phase = match (known.since, known.ended) {
                (Some(_), _) => TransactionPhase::Ongoing,
                (None, None) => TransactionPhase::Empty,
                (None, Some(true)) => TransactionPhase::Committed,
                (None, Some(false)) => TransactionPhase::Aborted,
            };
            assert_eq!(described.phase, phase);
        }
        assert_eq!(self.transactions.list().count(), self.producers.len());
    }
}

fn offset(offset: i64) -> Committed {
    Committed {
        offset,
        leader_epoch: -1,
        metadata: "m".into(),
        timestamp: Timestamp(offset),
    }
}

/// The offsets of committed records.
fn wanted(log: &[Record], from: u64, end: u64) -> Vec<u64> {
    let of = |offset: &u64| {
        let record = log[*offset as usize];
        record.committed == Some(true) && !record.marker
    };
    (from..end).filter(of).collect()
}

/// What a client makes of the records in a range and the list of aborted transactions.
fn read(log: &[Record], from: u64, end: u64, told: &[Aborted]) -> Vec<u64> {
    let mut told: Vec<_> = told.to_vec();
    told.sort_by_key(|aborted| aborted.first);
    let mut told = told.into_iter().peekable();
    let mut passing = BTreeSet::new();
    let mut found = Vec::new();
    for offset in from..end {
        while let Some(aborted) = told.next_if(|aborted| aborted.first <= offset) {
            passing.insert(aborted.producer);
        }
        let record = log[offset as usize];
        if record.marker {
            if record.committed == Some(false) {
                passing.remove(&record.producer);
            }
        } else if !passing.contains(&record.producer) {
            found.push(offset);
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn readers_see_what_was_committed_and_nothing_else(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
            world.check();
        }
    }
}

fn register(transactions: &mut Transactions, name: &str, producer: i64, epoch: i16) {
    transactions.apply(&StreamEvent::TransactionalProducer {
        name: name.to_owned(),
        producer,
        epoch,
        last_epoch: -1,
        timeout_ms: 1000,
        at: Timestamp(0),
    });
}

#[test]
fn a_producer_whose_epochs_are_used_up_gets_another_id() {
    let mut transactions = Transactions::default();
    register(&mut transactions, "t", 7, i16::MAX - 2);
    let next = transactions.register("t", 1000, None).unwrap();
    assert_eq!((next.producer, next.epoch), (Some(7), i16::MAX - 1));
    register(&mut transactions, "t", 7, i16::MAX - 1);
    let next = transactions.register("t", 1000, None).unwrap();
    assert_eq!((next.producer, next.epoch), (None, 0));
    register(&mut transactions, "t", 8, 0);
    assert_eq!(transactions.describe("t").unwrap().producer, 8);
    let fenced = transactions.check_append(PartitionId(1), 7, 3, true);
    assert_eq!(fenced, Err(TransactionRefusal::UnknownProducer));
}

#[test]
fn a_time_must_be_one_that_the_broker_allows() {
    let transactions = Transactions::default();
    for ms in [0, TRANSACTION_MS_AT_MOST + 1] {
        let refused = transactions.register("t", ms, None);
        assert_eq!(refused, Err(TransactionRefusal::InvalidTimeout { ms }));
    }
    assert!(
        transactions
            .register("t", TRANSACTION_MS_AT_MOST, None)
            .is_ok()
    );
}

#[test]
fn offsets_are_held_until_the_end_and_only_for_groups_that_were_added() {
    let mut transactions = Transactions::default();
    register(&mut transactions, "t", 7, 0);
    let committed = |metadata: usize| Committed {
        offset: 5,
        leader_epoch: 0,
        metadata: "m".repeat(metadata),
        timestamp: Timestamp(1),
    };
    let entries = vec![(PartitionId(1), committed(3))];
    let who = ("t", 7, 0);
    let early = transactions.check_offsets(who, "g", &entries);
    assert_eq!(early, Err(TransactionRefusal::InvalidState));
    transactions.apply(&StreamEvent::TransactionGroupAdded {
        producer: 7,
        group: "g".to_owned(),
        at: Timestamp(2),
    });
    assert_eq!(transactions.check_offsets(who, "g", &entries), Ok(()));
    assert!(transactions.check_offsets(who, "other", &entries).is_err());
    transactions.apply(&StreamEvent::TransactionOffsetsHeld {
        producer: 7,
        group: "g".to_owned(),
        entries: entries.clone(),
        at: Timestamp(3),
    });
    assert!(transactions.holds("g", PartitionId(1)));
    assert!(!transactions.holds("g", PartitionId(2)));
    let many = vec![(PartitionId(2), committed(1 << 20))];
    let refused = transactions.check_offsets(who, "g", &many);
    assert_eq!(refused, Err(TransactionRefusal::TooManyOffsets));
    let ending = transactions.end("t", 7, 0, true).unwrap().unwrap();
    assert_eq!(ending.groups, [("g".to_owned(), entries)]);
    transactions.apply(&StreamEvent::PartitionsRemoved {
        partitions: vec![PartitionId(1)],
    });
    assert!(!transactions.holds("g", PartitionId(1)));
    assert!(transactions.ending(7).unwrap().groups.is_empty());
}

#[test]
fn who_does_nothing_for_long_is_forgotten_but_not_in_a_transaction() {
    let mut transactions = Transactions::default();
    register(&mut transactions, "idle", 1, 0);
    register(&mut transactions, "busy", 2, 0);
    transactions.apply(&StreamEvent::TransactionPartitionsAdded {
        producer: 2,
        partitions: vec![PartitionId(1)],
        at: Timestamp(5),
    });
    assert_eq!(transactions.next_deadline(), Some(Timestamp(1005)));
    transactions.expire(Timestamp(0).plus_ms(TRANSACTIONAL_IDLE_MS));
    let left: Vec<_> = transactions.list().map(|known| known.name).collect();
    assert_eq!(left, ["busy"]);
}
