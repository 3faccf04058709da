//! The queue view against a naive model: one state per message.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use forebay_base::{Offset, OffsetRange, SessionId, Timestamp};
use forebay_queue::{Attempted, Held, Limits, Outcome, QueueEvent, QueueView, Receipt};
use proptest::collection::vec;
use proptest::prelude::*;

/// Every offset the tests use is below this.
const SPACE: u64 = 96;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Message {
    Ready {
        attempts: u32,
    },
    Leased {
        attempt: u32,
        lessee: SessionId,
        deadline: Option<Timestamp>,
    },
    Delayed {
        attempts: u32,
        until: Timestamp,
    },
    Settled,
}

/// The messages of a partition, durable or not, in order of offset.
struct Model {
    messages: Vec<Message>,
    start: Offset,
    end: Offset,
}

impl Model {
    fn new() -> Self {
        let messages = (0..SPACE + 16)
            .map(|_| Message::Ready { attempts: 0 })
            .collect();
        Self {
            messages,
            start: 0,
            end: 0,
        }
    }

    fn change(&mut self, range: &OffsetRange, change: impl Fn(Message) -> Message) {
        for offset in range.offsets() {
            if let Some(message) = self.messages.get_mut(usize::try_from(offset).unwrap()) {
                *message = change(*message);
            }
        }
    }

    fn apply(&mut self, event: &QueueEvent) {
        match *event {
            QueueEvent::Delayed { range, until } => self.change(&range, |was| match was {
                Message::Ready { attempts } => Message::Delayed { attempts, until },
                other => other,
            }),
            QueueEvent::Delivered {
                ref ranges,
                lessee,
                deadline,
            } => {
                for range in ranges {
                    self.change(range, |was| match was {
                        Message::Ready { attempts } => Message::Leased {
                            attempt: attempts + 1,
                            lessee,
                            deadline,
                        },
                        other => other,
                    });
                }
            }
            QueueEvent::Settled { ref ranges } => {
                for range in ranges {
                    self.change(range, |_| Message::Settled);
                }
            }
            QueueEvent::Released {
                ref ranges,
                until,
                count,
            } => {
                for range in ranges {
                    self.change(range, |was| {
                        let attempts = match was {
                            Message::Leased { attempt, .. } => attempt - u32::from(!count),
                            Message::Delayed { attempts, .. } => attempts,
                            other => return other,
                        };
                        match until {
                            Some(until) => Message::Delayed { attempts, until },
                            None => Message::Ready { attempts },
                        }
                    });
                }
            }
            QueueEvent::Extended { range, deadline } => self.change(&range, |was| match was {
                Message::Leased {
                    attempt, lessee, ..
                } => Message::Leased {
                    attempt,
                    lessee,
                    deadline: Some(deadline),
                },
                other => other,
            }),
            QueueEvent::Purged { below, leased } => self.purge(below, leased),
            QueueEvent::Ends { .. } => {}
            QueueEvent::Started { at } => {
                self.purge(at, true);
                self.start = self.start.max(at);
                self.end = self.end.max(at);
            }
        }
    }

    fn purge(&mut self, below: Offset, leased: bool) {
        for message in self
            .messages
            .iter_mut()
            .take(usize::try_from(below).unwrap())
        {
            if leased || !matches!(message, Message::Leased { .. }) {
                *message = Message::Settled;
            }
        }
    }

    fn at(&self, offset: Offset) -> Message {
        self.messages[usize::try_from(offset).unwrap()]
    }

    fn ready(&self) -> impl Iterator<Item = (Offset, u32)> + '_ {
        (0..self.end).filter_map(|offset| match self.at(offset) {
            Message::Ready { attempts } => Some((offset, attempts)),
            _ => None,
        })
    }

    fn count(&self, wanted: impl Fn(&Message) -> bool) -> u64 {
        self.messages
            .iter()
            .filter(|message| wanted(message))
            .count() as u64
    }

    fn held(&self, receipt: Receipt) -> Held {
        let (attempts, lessee) = match self.at(receipt.offset) {
            Message::Ready { attempts } | Message::Delayed { attempts, .. } => (attempts, None),
            Message::Leased {
                attempt, lessee, ..
            } => (attempt, Some(lessee)),
            Message::Settled => return Held::Gone,
        };
        let fresh = attempts == 0;
        match receipt.attempt {
            0 => Held::Gone,
            _ if fresh && receipt.offset >= self.end => Held::Gone,
            attempt if attempt < attempts => Held::Stale,
            attempt if attempt > attempts && lessee.is_some() => Held::Gone,
            _ => lessee.map_or(Held::Ready, |lessee| Held::Leased { lessee }),
        }
    }

    fn live(&self, offsets: std::ops::Range<Offset>) -> Vec<Offset> {
        offsets
            .filter(|&offset| self.at(offset) != Message::Settled)
            .collect()
    }

    fn due(&self, now: Timestamp) -> Vec<Offset> {
        let due = |offset: &Offset| match self.at(*offset) {
            Message::Leased {
                deadline: Some(at), ..
            }
            | Message::Delayed { until: at, .. } => at <= now,
            _ => false,
        };
        (0..self.messages.len() as u64).filter(due).collect()
    }
}

#[derive(Clone, Debug)]
enum Command {
    Advance {
        by: u64,
    },
    Take {
        max: u32,
        lessee: u64,
        lease_ms: Option<u64>,
        keep: bool,
    },
    Settle {
        receipts: Vec<(u64, u32)>,
        outcome: Outcome,
    },
    Expire {
        after_ms: i64,
        max: usize,
    },
    EndSession {
        lessee: u64,
        count: bool,
    },
    DeadLetter,
    Restart,
    Live {
        first: u64,
        end: u64,
    },
    Any(QueueEvent),
}

fn ranges() -> impl Strategy<Value = Vec<OffsetRange>> {
    vec(range(), 0..4)
}

fn range() -> impl Strategy<Value = OffsetRange> {
    (0..SPACE, 0..12_u32).prop_map(|(first, count)| OffsetRange { first, count })
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (0..200_i64).prop_map(Timestamp)
}

fn event() -> impl Strategy<Value = QueueEvent> {
    let deadline = proptest::option::of(moment());
    prop_oneof![
        3 => (range(), moment()).prop_map(|(range, until)| QueueEvent::Delayed { range, until }),
        2 => (ranges(), 0..4_u64, deadline).prop_map(|(ranges, lessee, deadline)| {
            QueueEvent::Delivered { ranges, lessee: SessionId(lessee), deadline }
        }),
        1 => ranges().prop_map(|ranges| QueueEvent::Settled { ranges }),
        2 => (ranges(), proptest::option::of(moment()), any::<bool>()).prop_map(
            |(ranges, until, count)| QueueEvent::Released { ranges, until, count }
        ),
        2 => (range(), moment())
            .prop_map(|(range, deadline)| QueueEvent::Extended { range, deadline }),
        1 => (0..SPACE / 2, any::<bool>())
            .prop_map(|(below, leased)| QueueEvent::Purged { below, leased }),
        1 => (0..SPACE / 4).prop_map(|at| QueueEvent::Started { at }),
        1 => (0..SPACE).prop_map(|at| QueueEvent::Started { at }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Ack),
        3 => (prop_oneof![Just(0), 1..50_u64], any::<bool>())
            .prop_map(|(delay_ms, count)| Outcome::Release { delay_ms, count }),
        2 => (0..50_u64).prop_map(|ms| Outcome::Extend { ms }),
        1 => Just(Outcome::DeadLetter),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let lease = proptest::option::of(1..60_u64);
    prop_oneof![
        3 => (1..10_u64).prop_map(|by| Command::Advance { by }),
        6 => (1..12_u32, 0..4_u64, lease, prop::bool::weighted(0.9)).prop_map(
            |(max, lessee, lease_ms, keep)| Command::Take { max, lessee, lease_ms, keep }
        ),
        6 => (vec((0..SPACE, 0..4_u32), 0..12), outcome())
            .prop_map(|(receipts, outcome)| Command::Settle { receipts, outcome }),
        3 => (0..30_i64, 1..20_usize)
            .prop_map(|(after_ms, max)| Command::Expire { after_ms, max }),
        1 => (0..4_u64, any::<bool>())
            .prop_map(|(lessee, count)| Command::EndSession { lessee, count }),
        1 => Just(Command::DeadLetter),
        1 => Just(Command::Restart),
        2 => (0..SPACE, 0..SPACE).prop_map(|(first, end)| Command::Live { first, end }),
        2 => event().prop_map(Command::Any),
    ]
}

/// The view, the model it must agree with, and all that happened.
struct World {
    view: QueueView,
    model: Model,
    history: Vec<QueueEvent>,
    now: Timestamp,
    limits: Limits,
}

fn offsets(ranges: &[OffsetRange]) -> Vec<Offset> {
    ranges.iter().flat_map(OffsetRange::offsets).collect()
}

fn attempts(list: &[Attempted]) -> Vec<(Offset, u32)> {
    let one = |part: &Attempted| {
        let attempt = part.attempt;
        part.range
            .offsets()
            .map(move |offset| (offset, attempt))
            .collect::<Vec<_>>()
    };
    list.iter().flat_map(one).collect()
}

impl World {
    fn new(limits: Limits) -> Self {
        let (view, model) = (QueueView::new(0), Model::new());
        Self {
            view,
            model,
            history: Vec::new(),
            now: Timestamp(0),
            limits,
        }
    }

    fn apply(&mut self, event: QueueEvent) {
        self.view.apply(&event);
        self.model.apply(&event);
        self.history.push(event);
    }

    fn run(&mut self, command: Command) {
        match command {
            Command::Advance { by } => {
                self.model.end = (self.model.end + by).min(SPACE);
                self.view.advance(self.model.end);
            }
            Command::Take {
                max,
                lessee,
                lease_ms,
                keep,
            } => self.take(max, lessee, lease_ms, keep),
            Command::Settle { receipts, outcome } => self.settle(&receipts, outcome),
            Command::Expire { after_ms, max } => self.expire(after_ms, max),
            Command::EndSession { lessee, count } => {
                let lessee = SessionId(lessee);
                let held = |message: &Message| matches!(message, Message::Leased { lessee: holder, .. } if *holder == lessee);
                let ranges = self.view.held_by(lessee);
                let found = offsets(&ranges.clone().unwrap_or_default());
                assert!(found.iter().all(|&offset| held(&self.model.at(offset))));
                assert_eq!(found.len() as u64, self.model.count(held));
                if let Some(ranges) = ranges {
                    self.apply(QueueEvent::Released {
                        ranges,
                        until: None,
                        count,
                    });
                }
            }
            Command::DeadLetter => self.dead_letter(),
            Command::Restart => {
                let unbound =
                    |message: &Message| matches!(message, Message::Leased { deadline: None, .. });
                let ranges = self.view.held_without_deadline().unwrap_or_default();
                let found = offsets(&ranges);
                assert!(found.iter().all(|&offset| unbound(&self.model.at(offset))));
                assert_eq!(found.len() as u64, self.model.count(unbound));
                let bytes = postcard::to_stdvec(&self.view).unwrap();
                self.view = postcard::from_bytes(&bytes).unwrap();
                self.apply(QueueEvent::Released {
                    ranges,
                    until: None,
                    count: true,
                });
            }
            Command::Live { first, end } => {
                let ranges = self.view.live(first, end);
                assert_eq!(offsets(&ranges), self.model.live(first..end));
                let apart = |pair: &[OffsetRange]| pair[0].end() < pair[1].first;
                assert!(ranges.windows(2).all(apart), "{ranges:?} are joined");
            }
            Command::Any(event) => self.apply(event),
        }
        self.compare();
    }

    fn take(&mut self, max: u32, lessee: u64, lease_ms: Option<u64>, keep: bool) {
        let taken = self.view.take(max, &self.limits);
        let free = self.limits.max_leased.unwrap_or(u64::MAX);
        let free = free.saturating_sub(self.model.count(|m| matches!(m, Message::Leased { .. })));
        let most = self.limits.max_deliveries.unwrap_or(u32::MAX);
        let wanted: Vec<_> = self
            .model
            .ready()
            .filter(|&(_, attempts)| attempts < most)
            .take(usize::try_from(free.min(u64::from(max))).unwrap())
            .map(|(offset, attempts)| (offset, attempts + 1))
            .collect();
        assert_eq!(attempts(taken.as_deref().unwrap_or_default()), wanted);
        let Some(taken) = taken else { return };
        assert!(!taken.is_empty());
        let ranges = taken.iter().map(|part| part.range).collect();
        if keep {
            let deadline = lease_ms.map(|ms| self.now.plus_ms(ms));
            self.apply(QueueEvent::Delivered {
                ranges,
                lessee: SessionId(lessee),
                deadline,
            });
        } else {
            self.apply(QueueEvent::Settled { ranges });
        }
    }

    fn settle(&mut self, receipts: &[(u64, u32)], outcome: Outcome) {
        let receipts: Vec<_> = receipts
            .iter()
            .map(|&(offset, attempt)| Receipt { offset, attempt })
            .collect();
        let (events, answers) = self.view.settle(&receipts, outcome, self.now);
        let wanted: Vec<_> = receipts
            .iter()
            .map(|&receipt| self.model.held(receipt))
            .collect();
        assert_eq!(answers, wanted);
        let good = receipts
            .iter()
            .zip(&answers)
            .filter(|(_, held)| match held {
                Held::Leased { .. } => outcome != Outcome::DeadLetter,
                Held::Ready => outcome == Outcome::Ack,
                Held::Stale | Held::Gone => false,
            });
        let mut good: Vec<_> = good.map(|(receipt, _)| receipt.offset).collect();
        good.sort_unstable();
        good.dedup();
        let named: Vec<_> = events
            .iter()
            .flat_map(|event| match event {
                QueueEvent::Settled { ranges } | QueueEvent::Released { ranges, .. } => {
                    ranges.clone()
                }
                QueueEvent::Extended { range, .. } => vec![*range],
                other => panic!("{other:?} does not belong to a settlement"),
            })
            .collect();
        assert_eq!(offsets(&named), good);
        assert!(
            named.windows(2).all(|pair| pair[0].end() < pair[1].first),
            "ranges are merged"
        );
        for event in events {
            self.apply(event);
        }
    }

    fn expire(&mut self, after_ms: i64, max: usize) {
        self.now.0 += after_ms;
        let due = self.model.due(self.now);
        let events = self.view.expire(self.now, max);
        assert_eq!(events.is_empty(), due.is_empty());
        assert_eq!(
            self.view.next_deadline().is_some_and(|at| at <= self.now),
            !due.is_empty()
        );
        for event in events {
            let QueueEvent::Released {
                ranges,
                until: None,
                count: true,
            } = &event
            else {
                panic!("{event:?} is not what time alone earns");
            };
            let named = offsets(ranges);
            assert_eq!(named.len(), due.len().min(max));
            assert!(named.iter().all(|offset| due.contains(offset)));
            self.apply(event);
        }
    }

    fn dead_letter(&mut self) {
        let most = self.limits.max_deliveries.unwrap_or(u32::MAX);
        let worn = self
            .model
            .ready()
            .filter(|&(_, attempts)| attempts >= most.max(1));
        let wanted: Vec<_> = worn.collect();
        let found = self.view.exhausted(&self.limits, usize::MAX);
        assert_eq!(attempts(&found), wanted);
        let some = self.view.exhausted(&self.limits, 2);
        assert_eq!(attempts(&some), wanted[..wanted.len().min(2)]);
        let ranges = some.iter().map(|part| part.range).collect();
        self.apply(QueueEvent::Settled { ranges });
    }

    fn compare(&self) {
        let depth = self.view.depth();
        assert_eq!(depth.ready, self.model.ready().count() as u64, "ready");
        let leased = self
            .model
            .count(|message| matches!(message, Message::Leased { .. }));
        assert_eq!(depth.leased, leased, "leased");
        let delayed = self
            .model
            .count(|message| matches!(message, Message::Delayed { .. }));
        assert_eq!(depth.delayed, delayed, "delayed");
        let open = self
            .model
            .messages
            .iter()
            .position(|message| *message != Message::Settled);
        assert_eq!(Some(self.view.low()), open.map(|at| at as u64), "low");
        assert_eq!(self.view.end(), self.model.end, "end");
        assert_eq!(self.view.start(), self.model.start, "start");
        assert!(self.view.start() <= self.view.low(), "start is settled");
        for offset in 0..SPACE {
            let wanted = match self.model.at(offset) {
                Message::Ready { attempts } | Message::Delayed { attempts, .. } => attempts,
                Message::Leased { attempt, .. } => attempt,
                Message::Settled => 0,
            };
            assert_eq!(self.view.attempts(offset), wanted, "attempts of {offset}");
        }
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        proptest::option::of(1..4_u32),
        proptest::option::of(1..20_u64),
    )
        .prop_map(|(max_deliveries, max_leased)| Limits {
            max_deliveries,
            max_leased,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever happens, the view and the model agree: on counts, attempts, the low offset, what
    /// is handed out, what receipts are good for and what expires. Since the model has one state
    /// per message, that includes that nothing is leased twice at once and nothing settled
    /// returns.
    #[test]
    fn agrees_with_one_state_per_message(limits in limits(), commands in vec(command(), 1..80)) {
        let mut world = World::new(limits);
        for command in commands {
            world.run(command);
        }
    }

    /// The view is a function of its events and the durable end alone: replayed in one go, with
    /// the end told first or last, they give the same view. And it survives being stored.
    #[test]
    fn replay_and_storage_give_an_equal_view(commands in vec(command(), 1..80)) {
        let mut world = World::new(Limits { max_deliveries: Some(3), max_leased: None });
        for command in commands {
            world.run(command);
            let bytes = postcard::to_stdvec(&world.view).unwrap();
            prop_assert_eq!(&postcard::from_bytes::<QueueView>(&bytes).unwrap(), &world.view);
        }
        let mut end_first = QueueView::new(0);
        end_first.advance(world.view.end());
        let mut end_last = QueueView::new(0);
        for event in &world.history {
            end_first.apply(event);
            end_last.apply(event);
        }
        end_last.advance(world.view.end());
        prop_assert_eq!(&end_first, &world.view);
        prop_assert_eq!(&end_last, &world.view);
    }

    /// Events with offsets, counts and moments from anywhere do no harm, and damaged stored views
    /// are either refused or usable.
    #[test]
    fn nothing_overflows(
        seed in vec((any::<u64>(), any::<u32>(), any::<i64>(), 0..7_u8), 1..20),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut view = QueueView::new(0);
        for (first, count, at, kind) in seed {
            let range = OffsetRange { first, count };
            let lessee = SessionId(first);
            let moment = Timestamp(at);
            view.apply(&match kind {
                0 => QueueEvent::Delayed { range, until: moment },
                1 => QueueEvent::Delivered { ranges: vec![range], lessee, deadline: Some(moment) },
                2 => QueueEvent::Settled { ranges: vec![range] },
                3 => QueueEvent::Released { ranges: vec![range], until: None, count: false },
                4 => QueueEvent::Extended { range, deadline: moment },
                5 => QueueEvent::Purged { below: first >> 1, leased: at > 0 },
                _ => QueueEvent::Started { at: first >> 8 },
            });
            view.advance(first);
            view.take(count, &Limits::default());
            view.live(first, first.saturating_add(1 << 34));
            for event in view.expire(moment, usize::MAX) {
                view.apply(&event);
            }
        }
        let mut bytes = postcard::to_stdvec(&view).unwrap();
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= byte;
        }
        if let Ok(mut other) = postcard::from_bytes::<QueueView>(&bytes) {
            other.take(u32::MAX, &Limits::default());
            other.apply(&QueueEvent::Settled { ranges: vec![OffsetRange { first: 0, count: 1 << 20 }] });
            other.advance(u64::MAX);
        }
    }
}

/// The start of a partition goes up and never back, and what lies below it is gone for good: an
/// older start, or an event about a message below it, changes nothing.
#[test]
fn a_start_never_moves_back() {
    let mut view = QueueView::new(0);
    view.advance(10);
    let range = OffsetRange { first: 0, count: 8 };
    view.apply(&QueueEvent::Delivered {
        ranges: vec![range],
        lessee: SessionId(1),
        deadline: None,
    });
    view.apply(&QueueEvent::Started { at: 6 });
    assert_eq!((view.start(), view.low()), (6, 6));
    let depth = view.depth();
    assert_eq!((depth.ready, depth.leased, depth.delayed), (2, 2, 0));
    let before = view.clone();
    view.apply(&QueueEvent::Started { at: 3 });
    view.apply(&QueueEvent::Released {
        ranges: vec![OffsetRange { first: 0, count: 6 }],
        until: None,
        count: true,
    });
    assert_eq!(view, before);
    let live = OffsetRange { first: 6, count: 4 };
    assert_eq!(view.live(0, 10), [live]);
    view.apply(&QueueEvent::Started { at: 20 });
    assert_eq!((view.start(), view.end(), view.low()), (20, 20, 20));
    assert_eq!(view.depth(), forebay_queue::Depth::default());
}

/// What lives in a long range costs what is out of line, not the length: this would not end
/// otherwise.
#[test]
fn the_live_messages_of_a_huge_backlog_are_few_ranges() {
    let mut view = QueueView::new(0);
    view.advance(1 << 40);
    view.apply(&QueueEvent::Settled {
        ranges: vec![OffsetRange { first: 5, count: 5 }],
    });
    let count = |ranges: &[OffsetRange]| ranges.iter().map(|r| u64::from(r.count)).sum::<u64>();
    let live = view.live(0, 1 << 40);
    assert_eq!(count(&live), (1 << 40) - 5);
    assert!(live.len() < 300, "a range counts up to 2^32");
    assert_eq!(
        view.live(4, 11),
        [OffsetRange::one(4), OffsetRange::one(10)]
    );
}

/// A queue that idles, or is only backlog, costs next to nothing: ten thousand of them are
/// ordinary.
#[test]
fn an_idle_queue_is_small_even_after_work() {
    assert!(size_of::<QueueView>() <= 80);
    let mut view = QueueView::new(0);
    view.advance(100_000_000);
    let taken = view.take(10_000, &Limits::default()).unwrap();
    let ranges: Vec<_> = taken.iter().map(|part| part.range).collect();
    view.apply(&QueueEvent::Delivered {
        ranges: ranges.clone(),
        lessee: SessionId(1),
        deadline: Some(Timestamp(5)),
    });
    view.apply(&QueueEvent::Settled { ranges });
    assert!(postcard::to_stdvec(&view).unwrap().len() <= 16);
    assert_eq!(view.low(), 10_000);
}
