//! Messages that end by themselves, against a naive model: one state and one end per message.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use forebay_base::{Offset, OffsetRange, SessionId, Timestamp};
use forebay_queue::{Ends, Limits, QueueEvent, QueueView, end_after};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Copy, PartialEq)]
enum State {
    Ready,
    Leased,
    Settled,
}

#[derive(Clone, Debug)]
enum Step {
    Append { count: u32, lives_ms: Option<u64> },
    Take { max: u32 },
    Settle { every: usize },
    Release,
    Pass { ms: u64, unwanted: bool, max: usize },
    DropOldest { most: u64 },
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let lives_ms = proptest::option::weighted(0.8, prop_oneof![Just(0), 1..40_u64]);
    prop_oneof![
        4 => (1..5_u32, lives_ms).prop_map(|(count, lives_ms)| Step::Append { count, lives_ms }),
        3 => (1..6_u32).prop_map(|max| Step::Take { max }),
        2 => (1..4_usize).prop_map(|every| Step::Settle { every }),
        1 => Just(Step::Release),
        4 => (0..15_u64, any::<bool>(), 1..9_usize)
            .prop_map(|(ms, unwanted, max)| Step::Pass { ms, unwanted, max }),
        1 => (0..9_u64).prop_map(|most| Step::DropOldest { most }),
        1 => Just(Step::Restart),
    ]
}

struct World {
    view: QueueView,
    messages: Vec<(State, Option<Timestamp>)>,
    now: Timestamp,
}

fn one(offset: usize) -> OffsetRange {
    OffsetRange::one(offset as Offset)
}

impl World {
    fn all(&self, wanted: State) -> Vec<usize> {
        let all = self.messages.iter().enumerate();
        all.filter(|(_, (state, _))| *state == wanted)
            .map(|(offset, _)| offset)
            .collect()
    }

    fn put(&mut self, offsets: &[usize], state: State, event: &QueueEvent) {
        self.view.apply(event);
        for &offset in offsets {
            self.messages[offset].0 = state;
        }
    }

    fn settle(&mut self, offsets: &[usize]) {
        let ranges = offsets.iter().copied().map(one).collect();
        self.put(offsets, State::Settled, &QueueEvent::Settled { ranges });
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Append { count, lives_ms } => {
                let first = self.messages.len() as Offset;
                let at = lives_ms.map(|ms| end_after(self.now, ms));
                if let Some(at) = at {
                    let range = OffsetRange { first, count };
                    self.view.apply(&QueueEvent::Ends { range, at });
                }
                let more = std::iter::repeat_n((State::Ready, at), count as usize);
                self.messages.extend(more);
                self.view.advance(self.messages.len() as Offset);
            }
            Step::Take { max } => {
                let taken = self.view.take(max, &Limits::default()).unwrap_or_default();
                let ranges: Vec<_> = taken.iter().map(|part| part.range).collect();
                let offsets = self.all(State::Ready);
                let offsets = &offsets[..offsets.len().min(max as usize)];
                let event = QueueEvent::Delivered {
                    ranges,
                    lessee: SessionId(1),
                    deadline: None,
                };
                self.put(offsets, State::Leased, &event);
            }
            Step::Settle { every } => {
                let leased: Vec<_> = self.all(State::Leased).into_iter().step_by(every).collect();
                self.settle(&leased);
            }
            Step::Release => {
                let leased = self.all(State::Leased);
                let event = QueueEvent::Released {
                    ranges: leased.iter().copied().map(one).collect(),
                    until: None,
                    count: true,
                };
                self.put(&leased, State::Ready, &event);
            }
            Step::Pass { ms, unwanted, max } => self.pass(ms, unwanted, max),
            Step::DropOldest { most } => {
                let ready = self.all(State::Ready);
                let excess = (ready.len() as u64).saturating_sub(most);
                let found = self.view.oldest(excess);
                let found: Vec<_> = found.iter().flat_map(|part| part.range.offsets()).collect();
                let wanted = &ready[..usize::try_from(excess).unwrap()];
                assert!(
                    found
                        .iter()
                        .copied()
                        .eq(wanted.iter().map(|at| *at as Offset))
                );
                self.settle(wanted);
            }
            Step::Restart => {
                let view = postcard::to_stdvec(&self.view).unwrap();
                let ends = self
                    .view
                    .ends()
                    .map(|ends| postcard::to_stdvec(ends).unwrap());
                let mut again: QueueView = postcard::from_bytes(&view).unwrap();
                if let Some(ends) = ends {
                    again.restore_ends(postcard::from_bytes::<Ends>(&ends).unwrap());
                }
                assert_eq!(again, self.view);
                self.view = again;
            }
        }
    }

    fn pass(&mut self, ms: u64, unwanted: bool, max: usize) {
        self.now = self.now.plus_ms(ms);
        let at_once = end_after(self.now, 0);
        let over = |end: &Option<Timestamp>| {
            end.is_some_and(|end| end <= self.now && (unwanted || end != at_once))
        };
        let ready = self.all(State::Ready);
        let wanted: Vec<_> = ready
            .iter()
            .copied()
            .take_while(|offset| over(&self.messages[*offset].1))
            .take(max)
            .collect();
        let found = self.view.ended(self.now, unwanted, max);
        let found: Vec<_> = found.iter().flat_map(|part| part.range.offsets()).collect();
        assert!(
            found
                .iter()
                .copied()
                .eq(wanted.iter().map(|at| *at as Offset))
        );
        let next = ready.first().and_then(|first| self.messages[*first].1);
        assert_eq!(self.view.next_end(), next);
        self.settle(&wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_ends_is_the_head_whose_time_is_over(steps in vec(step(), 1..60)) {
        let mut world = World {
            view: QueueView::new(0),
            messages: Vec::new(),
            now: Timestamp(1_000),
        };
        for step in &steps {
            world.run(step);
        }
        // Nothing is remembered of what is settled.
        let rest: Vec<_> = (0..world.messages.len())
            .filter(|at| world.messages[*at].0 != State::Settled)
            .collect();
        world.settle(&rest);
        prop_assert!(world.view.ends().is_none());
    }
}

#[test]
fn a_steady_stream_of_one_lifetime_costs_an_entry_a_moment() {
    let mut view = QueueView::new(0);
    for offset in 0..10_000 {
        let at = Timestamp(5 + i64::try_from(offset / 1_000).unwrap());
        let range = OffsetRange::one(offset);
        view.apply(&QueueEvent::Ends { range, at });
    }
    view.advance(10_000);
    let stored = postcard::to_stdvec(view.ends().unwrap()).unwrap();
    assert!(stored.len() < 100, "{} bytes", stored.len());
}
