//! The ordered view against a naive model that looks at every message.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use forebay_base::{Offset, OffsetRange, SessionId, Timestamp};
use forebay_queue::{Attempted, Limits, Outcome, QueueEvent, QueueView, Receipt};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Ready,
    /// Held by the take of this number.
    Leased(u32),
    Delayed,
    Settled,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    group: u64,
    state: State,
    attempts: u32,
    due: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum Command {
    Append {
        groups: Vec<u64>,
        delay: Option<u64>,
    },
    Advance {
        by: u64,
    },
    Take {
        max: u32,
        lease_ms: Option<u64>,
        keep: bool,
    },
    Settle {
        picks: Vec<(u64, bool)>,
        outcome: Outcome,
    },
    Expire {
        after_ms: i64,
    },
    Purge {
        below: u64,
        leased: bool,
    },
    Start {
        at: u64,
    },
    Restart,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Ack),
        2 => Just(Outcome::AckLeased),
        3 => (prop_oneof![Just(0), 1..50_u64], any::<bool>())
            .prop_map(|(delay_ms, count)| Outcome::Release { delay_ms, count }),
        1 => (0..50_u64).prop_map(|ms| Outcome::Extend { ms }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let delay = prop_oneof![4 => Just(None), 1 => (1..40_u64).prop_map(Some)];
    prop_oneof![
        6 => (vec(0..6_u64, 1..9), delay)
            .prop_map(|(groups, delay)| Command::Append { groups, delay }),
        5 => (1..12_u64).prop_map(|by| Command::Advance { by }),
        8 => (1..8_u32, proptest::option::of(1..60_u64), prop::bool::weighted(0.9))
            .prop_map(|(max, lease_ms, keep)| Command::Take { max, lease_ms, keep }),
        8 => (vec((0..40_u64, any::<bool>()), 0..8), outcome())
            .prop_map(|(picks, outcome)| Command::Settle { picks, outcome }),
        3 => (0..30_i64).prop_map(|after_ms| Command::Expire { after_ms }),
        1 => (0..60_u64, any::<bool>()).prop_map(|(below, leased)| Command::Purge { below, leased }),
        1 => (0..20_u64).prop_map(|at| Command::Start { at }),
        1 => Just(Command::Restart),
    ]
}

/// The view, the model it must agree with, and all that happened.
struct World {
    view: QueueView,
    messages: Vec<Message>,
    end: Offset,
    now: Timestamp,
    takes: u32,
    limits: Limits,
    history: Vec<Step>,
}

enum Step {
    Appended(Offset, Vec<u64>),
    Event(QueueEvent),
}

fn singles(list: &[Attempted]) -> Vec<(Offset, u32)> {
    let one = |part: &Attempted| {
        let attempt = part.attempt;
        let offsets = part.range.offsets();
        offsets
            .map(move |offset| (offset, attempt))
            .collect::<Vec<_>>()
    };
    list.iter().flat_map(one).collect()
}

impl World {
    fn new(limits: Limits) -> Self {
        Self {
            view: QueueView::ordered(0),
            messages: Vec::new(),
            end: 0,
            now: Timestamp(0),
            takes: 0,
            limits,
            history: Vec::new(),
        }
    }

    fn message(&mut self, offset: Offset) -> &mut Message {
        &mut self.messages[usize::try_from(offset).unwrap()]
    }

    fn apply(&mut self, event: QueueEvent) {
        self.view.apply(&event);
        self.history.push(Step::Event(event));
    }

    /// What may be handed out, the slow way.
    fn takeable(&self, max: usize) -> Vec<(Offset, u32)> {
        let mut groups: BTreeMap<u64, Vec<(Offset, Message)>> = BTreeMap::new();
        for (offset, message) in (0..).zip(&self.messages) {
            if message.state != State::Settled {
                groups
                    .entry(message.group)
                    .or_default()
                    .push((offset, *message));
            }
        }
        let mut groups: Vec<_> = groups.into_values().collect();
        groups.sort_by_key(|group| group[0].0);
        let leased = self
            .messages
            .iter()
            .filter(|m| matches!(m.state, State::Leased(_)));
        let free = self.limits.max_leased.unwrap_or(u64::MAX);
        let free = free.saturating_sub(leased.count() as u64);
        let max = max.min(usize::try_from(free).unwrap_or(usize::MAX));
        let most = self.limits.max_deliveries.unwrap_or(u32::MAX);
        let mut found = Vec::new();
        for group in groups {
            if group
                .iter()
                .any(|(_, m)| matches!(m.state, State::Leased(_)))
            {
                continue;
            }
            let ready = group.iter().take_while(|(offset, m)| {
                m.state == State::Ready && *offset < self.end && m.attempts < most
            });
            found.extend(ready.map(|(offset, m)| (*offset, m.attempts + 1)));
        }
        found.truncate(max);
        found.sort_unstable();
        found
    }

    fn run(&mut self, command: Command) {
        match command {
            Command::Append { groups, delay } => self.append(groups, delay),
            Command::Advance { by } => {
                self.end = (self.end + by).min(self.messages.len() as u64);
                self.view.advance(self.end);
            }
            Command::Take {
                max,
                lease_ms,
                keep,
            } => self.take(max, lease_ms, keep),
            Command::Settle { picks, outcome } => self.settle(&picks, outcome),
            Command::Expire { after_ms } => self.expire(after_ms),
            Command::Purge { below, leased } => {
                let below = below.min(self.messages.len() as u64);
                for offset in 0..below {
                    let message = self.message(offset);
                    if leased || !matches!(message.state, State::Leased(_)) {
                        message.state = State::Settled;
                    }
                }
                self.apply(QueueEvent::Purged { below, leased });
            }
            Command::Start { at } => {
                let at = at.min(self.end);
                for offset in 0..at {
                    self.message(offset).state = State::Settled;
                }
                self.apply(QueueEvent::Started { at });
            }
            Command::Restart => {
                let bytes = postcard::to_stdvec(&self.view).unwrap();
                let loaded: QueueView = postcard::from_bytes(&bytes).unwrap();
                assert_eq!(loaded, self.view);
                self.view = loaded;
            }
        }
        self.check();
    }

    fn append(&mut self, groups: Vec<u64>, delay: Option<u64>) {
        let first = self.messages.len() as u64;
        let until = delay.map(|ms| self.now.plus_ms(ms));
        for &group in &groups {
            self.messages.push(Message {
                group,
                state: if until.is_some() {
                    State::Delayed
                } else {
                    State::Ready
                },
                attempts: 0,
                due: until,
            });
        }
        self.view.append(first, groups.iter().copied());
        self.history.push(Step::Appended(first, groups.clone()));
        if let Some(until) = until {
            let count = u32::try_from(groups.len()).unwrap();
            let range = OffsetRange { first, count };
            self.apply(QueueEvent::Delayed { range, until });
        }
    }

    fn take(&mut self, max: u32, lease_ms: Option<u64>, keep: bool) {
        let taken = self.view.take(max, &self.limits).unwrap_or_default();
        let wanted = self.takeable(max as usize);
        assert_eq!(singles(&taken), wanted);
        if wanted.is_empty() {
            return;
        }
        self.takes += 1;
        let deadline = lease_ms.map(|ms| self.now.plus_ms(ms));
        let take = self.takes;
        for (offset, attempt) in wanted {
            let message = self.message(offset);
            if keep {
                message.state = State::Leased(take);
                (message.attempts, message.due) = (attempt, deadline);
            } else {
                message.state = State::Settled;
            }
        }
        let ranges = taken.iter().map(|part| part.range).collect();
        let lessee = SessionId(1);
        self.apply(match keep {
            true => QueueEvent::Delivered {
                ranges,
                lessee,
                deadline,
            },
            false => QueueEvent::Settled { ranges },
        });
    }

    fn settle(&mut self, picks: &[(u64, bool)], outcome: Outcome) {
        let mut receipts: Vec<Receipt> = Vec::new();
        for &(pick, prefer_leased) in picks {
            let wanted = |m: &Message| !prefer_leased || matches!(m.state, State::Leased(_));
            let all = (0..).zip(&self.messages).filter(|(_, m)| wanted(m));
            let all: Vec<(Offset, &Message)> = all.collect();
            if all.is_empty() {
                continue;
            }
            let (offset, message) = all[usize::try_from(pick).unwrap() % all.len()];
            receipts.push(Receipt {
                offset,
                attempt: message.attempts,
            });
        }
        let (events, _) = self.view.settle(&receipts, outcome, self.now);
        for receipt in receipts {
            let now = self.now;
            let message = self.message(receipt.offset);
            if receipt.attempt == 0 || receipt.attempt != message.attempts {
                continue;
            }
            match (message.state, outcome) {
                (State::Settled, _) => {}
                (State::Leased(_), Outcome::AckLeased) | (_, Outcome::Ack) => {
                    message.state = State::Settled
                }
                (State::Leased(_), Outcome::Release { delay_ms, count }) => {
                    message.attempts -= u32::from(!count);
                    message.due = (delay_ms > 0).then(|| now.plus_ms(delay_ms));
                    message.state = match message.due {
                        Some(_) => State::Delayed,
                        None => State::Ready,
                    };
                }
                (State::Leased(_), Outcome::Extend { ms }) => message.due = Some(now.plus_ms(ms)),
                _ => {}
            }
        }
        for event in events {
            self.apply(event);
        }
    }

    fn expire(&mut self, after_ms: i64) {
        self.now.0 += after_ms;
        let now = self.now;
        for message in &mut self.messages {
            let away = !matches!(message.state, State::Ready | State::Settled);
            if away && message.due.is_some_and(|due| due <= now) {
                message.state = State::Ready;
            }
        }
        for event in self.view.expire(now, usize::MAX) {
            self.apply(event);
        }
    }

    /// The promise itself: whatever is out, no two takes hold messages of one group, and what a
    /// take would give next comes before everything else of its group that is left.
    fn check(&self) {
        let mut holders: BTreeMap<u64, u32> = BTreeMap::new();
        for message in &self.messages {
            if let State::Leased(take) = message.state {
                assert_eq!(*holders.entry(message.group).or_insert(take), take);
            }
        }
        let next = self.view.take(
            u32::MAX,
            &Limits {
                max_leased: None,
                ..self.limits
            },
        );
        for (offset, _) in singles(&next.unwrap_or_default()) {
            let group = self.messages[usize::try_from(offset).unwrap()].group;
            assert!(
                !holders.contains_key(&group),
                "a group that is held is not handed out"
            );
            let mut earlier = (0..offset).zip(&self.messages);
            assert!(
                earlier
                    .all(|(_, m)| m.group != group
                        || matches!(m.state, State::Ready | State::Settled))
            );
        }
        let ready = (0..self.end)
            .zip(&self.messages)
            .filter(|(_, m)| m.state == State::Ready);
        assert_eq!(self.view.depth().ready, ready.count() as u64);
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    let most = (
        proptest::option::of(1..4_u32),
        proptest::option::of(1..20_u64),
    );
    most.prop_map(|(max_deliveries, max_leased)| Limits {
        max_deliveries,
        max_leased,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// What is handed out is what a look at every message gives: in order per group, one take at
    /// a time per group, never past what is away. What is stored and loaded goes on the same.
    #[test]
    fn groups_keep_their_order(limits in limits(), commands in vec(command(), 1..100)) {
        let mut world = World::new(limits);
        for command in commands {
            world.run(command);
        }
    }

    /// The same events give the same view, whenever the end moved and whatever was stored.
    #[test]
    fn replay_gives_an_equal_view(commands in vec(command(), 1..100)) {
        let mut world = World::new(Limits::default());
        for command in commands {
            world.run(command);
        }
        let mut again = QueueView::ordered(0);
        for step in &world.history {
            match step {
                Step::Appended(first, groups) => again.append(*first, groups.iter().copied()),
                Step::Event(event) => again.apply(event),
            }
        }
        again.advance(world.end);
        prop_assert_eq!(&again, &world.view);
        prop_assert_eq!(again.take(u32::MAX, &Limits::default()), world.view.take(u32::MAX, &Limits::default()));
    }

    /// Nothing is lost: with consumers that settle what they get, everything comes, each once.
    #[test]
    fn a_queue_runs_empty(commands in vec(command(), 1..60)) {
        let mut world = World::new(Limits::default());
        for command in commands {
            world.run(command);
        }
        world.run(Command::Advance { by: u64::MAX / 2 });
        let open: Vec<Offset> = (0..).zip(&world.messages)
            .filter(|(_, m)| m.state != State::Settled)
            .map(|(offset, _)| offset)
            .collect();
        let mut seen = Vec::new();
        for _ in 0..=open.len() {
            world.run(Command::Expire { after_ms: 1_000 });
            let without_deadline = world.view.held_without_deadline().unwrap_or_default();
            for offset in without_deadline.iter().flat_map(OffsetRange::offsets) {
                world.message(offset).state = State::Ready;
            }
            world.apply(QueueEvent::Released { ranges: without_deadline, until: None, count: true });
            for (offset, _) in world.takeable(3) {
                seen.push(offset);
            }
            world.run(Command::Take { max: 3, lease_ms: None, keep: false });
        }
        seen.sort_unstable();
        prop_assert_eq!(seen, open);
        let bytes = postcard::to_stdvec(&world.view).unwrap();
        prop_assert!(bytes.len() < 32, "an empty queue holds nothing: {} bytes", bytes.len());
    }

    /// Damaged stored views are refused or usable.
    #[test]
    fn damage_does_no_harm(
        commands in vec(command(), 1..60),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut world = World::new(Limits::default());
        for command in commands {
            world.run(command);
        }
        let mut bytes = postcard::to_stdvec(&world.view).unwrap();
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= byte;
        }
        if let Ok(mut other) = postcard::from_bytes::<QueueView>(&bytes) {
            let end = other.end();
            other.append(end, [1, 2, 3]);
            other.advance(end.saturating_add(3));
            for _ in 0..10 {
                let Some(taken) = other.take(10, &Limits::default()) else { break };
                let ranges = taken.iter().map(|part| part.range).collect();
                other.apply(&QueueEvent::Settled { ranges });
            }
            other.apply(&QueueEvent::Started { at: end });
        }
    }
}

/// A group whose first message is far behind the others is still one list.
#[test]
fn messages_of_a_group_may_be_far_apart() {
    let far = 3_u64 << 32;
    let mut view = QueueView::ordered(0);
    view.append(0, [1]);
    view.append(far, [1, 2]);
    view.advance(far + 2);
    let ranges = vec![
        OffsetRange::one(0),
        OffsetRange {
            first: far,
            count: 2,
        },
    ];
    let taken = view.take(10, &Limits::default()).unwrap();
    assert_eq!(
        taken.iter().map(|part| part.range).collect::<Vec<_>>(),
        ranges
    );
    view.apply(&QueueEvent::Settled {
        ranges: vec![OffsetRange::one(0)],
    });
    assert_eq!(
        singles(&view.take(1, &Limits::default()).unwrap()),
        [(far, 1)]
    );
}
