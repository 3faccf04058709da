//! A fair view against a naive model: each message with its group and its state, and the rule read
//! out loud.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;

use forebay_base::{Offset, OffsetRange, SessionId, Timestamp};
use forebay_queue::{Limits, Outcome, QueueEvent, QueueView, Receipt, Tenants};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Ready,
    Leased { attempt: u32, until: Timestamp },
    Delayed,
    Settled,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    group: u64,
    state: State,
    attempts: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        groups: Vec<u64>,
        delay: bool,
    },
    Take {
        max: u32,
        ms: u64,
    },
    Settle {
        pick: usize,
        count: usize,
        how: Outcome,
    },
    Pass {
        ms: u64,
    },
    Purge {
        leased: bool,
    },
    Store,
}

struct World {
    view: QueueView,
    messages: Vec<Message>,
    now: Timestamp,
    history: Vec<Result<QueueEvent, (Offset, Vec<u64>)>>,
}

impl World {
    fn apply(&mut self, event: QueueEvent) {
        self.view.apply(&event);
        self.history.push(Ok(event));
    }

    fn out(&self) -> HashMap<u64, u64> {
        let mut out = HashMap::new();
        for message in &self.messages {
            if matches!(message.state, State::Leased { .. }) {
                *out.entry(message.group).or_default() += 1;
            }
        }
        out
    }

    /// The rule: quiet messages in order, then loud ones by how many of their group are out.
    fn expected(&self, max: u32) -> Vec<Offset> {
        let out = self.out();
        let all: u64 = out.values().sum();
        let rank = |group: u64| {
            let own = out.get(&group).copied().unwrap_or(0);
            match group != 0 && own >= 30 && own * 10 > all {
                true => (1, own, group),
                false => (0, 0, 0),
            }
        };
        let ready = self.messages.iter().zip(0..);
        let ready = ready.filter(|(message, _)| message.state == State::Ready);
        let mut ready: Vec<_> = ready
            .map(|(message, at)| (rank(message.group), at))
            .collect();
        ready.sort_unstable();
        let mut first: Vec<Offset> = ready.iter().map(|(_, at)| *at).collect();
        first.truncate(max as usize);
        first.sort_unstable();
        first
    }

    fn take(&mut self, max: u32, ms: u64) {
        let expected = self.expected(max);
        let taken = self.view.take(max, &Limits::default()).unwrap_or_default();
        let got: Vec<_> = taken.iter().flat_map(|part| part.range.offsets()).collect();
        assert_eq!(got, expected);
        for part in &taken {
            for offset in part.range.offsets() {
                let message = &mut self.messages[offset as usize];
                message.attempts += 1;
                assert_eq!(part.attempt, message.attempts);
                let (attempt, until) = (part.attempt, self.now.plus_ms(ms));
                message.state = State::Leased { attempt, until };
            }
        }
        if !taken.is_empty() {
            self.apply(QueueEvent::Delivered {
                ranges: taken.iter().map(|part| part.range).collect(),
                lessee: SessionId(1),
                deadline: Some(self.now.plus_ms(ms)),
            });
        }
    }

    fn settle(&mut self, pick: usize, count: usize, how: Outcome) {
        let leased: Vec<Receipt> = (0..)
            .zip(&self.messages)
            .filter_map(|(offset, message)| match message.state {
                State::Leased { attempt, .. } => Some(Receipt { offset, attempt }),
                _ => None,
            })
            .collect();
        let from = pick.min(leased.len());
        let picked = &leased[from..(from + count).min(leased.len())];
        let (events, _) = self.view.settle(picked, how, self.now);
        for receipt in picked {
            let message = &mut self.messages[receipt.offset as usize];
            message.state = match how {
                Outcome::Ack => State::Settled,
                _ => State::Ready,
            };
        }
        for event in events {
            self.apply(event);
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Append { groups, delay } => {
                let first = self.messages.len() as u64;
                let state = if delay { State::Delayed } else { State::Ready };
                self.messages.extend(groups.iter().map(|&group| Message {
                    group,
                    state,
                    attempts: 0,
                }));
                self.view.append_fairly(first, &groups);
                self.history.push(Err((first, groups.clone())));
                let count = groups.len() as u32;
                if delay && count > 0 {
                    let range = OffsetRange { first, count };
                    let until = Timestamp::MAX;
                    self.apply(QueueEvent::Delayed { range, until });
                }
                self.view.advance(self.messages.len() as u64);
            }
            Step::Take { max, ms } => self.take(max, ms),
            Step::Settle { pick, count, how } => self.settle(pick, count, how),
            Step::Pass { ms } => {
                self.now = self.now.plus_ms(ms);
                for message in &mut self.messages {
                    if matches!(message.state, State::Leased { until, .. } if until <= self.now) {
                        message.state = State::Ready;
                    }
                }
                for event in self.view.expire(self.now, usize::MAX) {
                    self.apply(event);
                }
            }
            Step::Purge { leased } => {
                for message in &mut self.messages {
                    if leased || !matches!(message.state, State::Leased { .. }) {
                        message.state = State::Settled;
                    }
                }
                let below = self.messages.len() as u64;
                self.apply(QueueEvent::Purged { below, leased });
            }
            Step::Store => {
                let bytes = postcard::to_stdvec(&(&self.view, self.view.tenants())).unwrap();
                let (view, tenants): (QueueView, Option<Tenants>) =
                    postcard::from_bytes(&bytes).unwrap();
                let before = std::mem::replace(&mut self.view, view);
                if let Some(tenants) = tenants {
                    self.view.restore_tenants(tenants);
                }
                assert_eq!(self.view, before);
            }
        }
        let ready = self.messages.iter();
        let ready = ready
            .filter(|message| message.state == State::Ready)
            .count();
        assert_eq!(self.view.depth().ready, ready as u64);
    }
}

/// A loud group sends by the dozen; the others are few. 0 is no group.
fn groups() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        2 => (2..5_u64, 1..80_usize).prop_map(|(group, count)| vec![group; count]),
        2 => vec(prop_oneof![Just(0), 2..9_u64], 0..6),
        1 => vec(Just(0_u64), 1..6),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let how = prop_oneof![
        3 => Just(Outcome::Ack),
        1 => Just(Outcome::Release { delay_ms: 0, count: true }),
    ];
    prop_oneof![
        5 => (groups(), prop::bool::weighted(0.1))
            .prop_map(|(groups, delay)| Step::Append { groups, delay }),
        6 => (1..40_u32, 1..100_u64).prop_map(|(max, ms)| Step::Take { max, ms }),
        4 => (0..60_usize, 1..40_usize, how)
            .prop_map(|(pick, count, how)| Step::Settle { pick, count, how }),
        2 => (0..60_u64).prop_map(|ms| Step::Pass { ms }),
        1 => any::<bool>().prop_map(|leased| Step::Purge { leased }),
        1 => Just(Step::Store),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// What is handed out is what the rule says, whatever happened before; and the view is a
    /// function of its events.
    #[test]
    fn hands_out_by_the_rule(steps in vec(step(), 1..60)) {
        let mut world = World {
            view: QueueView::new(0),
            messages: Vec::new(),
            now: Timestamp(0),
            history: Vec::new(),
        };
        for step in steps {
            world.run(step);
        }
        let mut again = QueueView::new(0);
        for event in &world.history {
            match event {
                Ok(event) => again.apply(event),
                Err((first, groups)) => again.append_fairly(*first, groups),
            }
        }
        again.advance(world.messages.len() as u64);
        prop_assert_eq!(again, world.view);
    }
}
