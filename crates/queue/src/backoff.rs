//! Retrying later each time: what fails now mostly fails again in a moment.

use std::collections::BTreeMap;

use forebay_base::{Offset, Timestamp};
use serde::{Deserialize, Serialize};

use crate::delivery::{Held, Receipt};
use crate::event::QueueEvent;
use crate::run::{Span, joined};
use crate::view::{Away, QueueView};

/// No message waits longer than a year, milliseconds.
const LONGEST_MS: u64 = 365 * 24 * 60 * 60 * 1_000;

/// How long a message waits before it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// After its first delivery, milliseconds.
    pub first_ms: u64,
    /// At most, milliseconds.
    pub most_ms: u64,
    /// How much longer after each further delivery, per cent of the time before: 200 doubles it.
    pub growth_percent: u32,
    /// By how much the time may be shorter, at random, per cent: what failed together is then not
    /// tried again together.
    pub spread_percent: u32,
}

impl Backoff {
    /// How long the message at `offset` waits after its delivery number `attempt`, milliseconds.
    /// The same for the same arguments.
    pub fn delay_ms(&self, attempt: u32, offset: Offset) -> u64 {
        if self.first_ms == 0 {
            return 0;
        }
        let further = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let growth = f64::from(self.growth_percent.max(100)) / 100.0;
        let most = self.most_ms.min(LONGEST_MS) as f64;
        let whole = (self.first_ms as f64 * growth.powi(further)).min(most);
        let share = f64::from(self.spread_percent.min(100)) / 100.0 * chance(offset, attempt);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and a year"
        )]
        let delay = (whole * (1.0 - share)) as u64;
        delay
    }
}

/// A number from 0 to 1 that looks like chance and is the same for the same delivery.
fn chance(offset: Offset, attempt: u32) -> f64 {
    let mut mixed = offset ^ (u64::from(attempt) << 40);
    for factor in [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb_u64] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(factor);
    }
    f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

impl QueueView {
    /// As [`QueueView::settle`] with [`crate::Outcome::Release`] at once and counted, but each
    /// message waits for its time. One whose deliveries are used up, `most` of them, does not wait.
    pub fn retry(
        &self,
        receipts: &[Receipt],
        backoff: &Backoff,
        most: Option<u32>,
        now: Timestamp,
    ) -> (Vec<QueueEvent>, Vec<Held>) {
        let mut waits = Waits::new(backoff, most, now);
        let mut answers = Vec::with_capacity(receipts.len());
        for receipt in receipts {
            let held = self.check(*receipt);
            if matches!(held, Held::Leased { .. }) {
                let offset = receipt.offset;
                waits.add(offset, offset, receipt.attempt);
            }
            answers.push(held);
        }
        (waits.into_events(), answers)
    }

    /// As [`QueueView::expire`], but messages whose lease ends wait as in [`QueueView::retry`].
    pub fn expire_into_retry(
        &self,
        now: Timestamp,
        max: usize,
        backoff: &Backoff,
        most: Option<u32>,
    ) -> Vec<QueueEvent> {
        let Some(odd) = &self.odd else {
            return Vec::new();
        };
        let mut waits = Waits::new(backoff, most, now);
        let mut left = u64::try_from(max).unwrap_or(u64::MAX);
        for span in odd.away.due_at(now) {
            let count = span.len().min(left);
            if count == 0 {
                break;
            }
            left -= count;
            let last = span.first + count - 1;
            match odd.away.get(span.first) {
                Some((_, Away::Leased { attempt, .. })) => waits.add(span.first, last, attempt),
                _ => waits.add_at_once(span.first, last),
            }
        }
        waits.into_events()
    }
}

/// Messages by the moment they wait for; `None` is now.
struct Waits<'a> {
    backoff: &'a Backoff,
    most: Option<u32>,
    now: Timestamp,
    spans: BTreeMap<Option<Timestamp>, Vec<Offset>>,
    at_once: Vec<Span>,
}

impl<'a> Waits<'a> {
    fn new(backoff: &'a Backoff, most: Option<u32>, now: Timestamp) -> Self {
        Self {
            backoff,
            most,
            now,
            spans: BTreeMap::new(),
            at_once: Vec::new(),
        }
    }

    fn add(&mut self, first: Offset, last: Offset, attempt: u32) {
        if self.most.is_some_and(|most| attempt >= most) {
            return self.add_at_once(first, last);
        }
        for offset in first..=last {
            let until = match self.backoff.delay_ms(attempt, offset) {
                0 => None,
                ms => Some(self.now.plus_ms(ms)),
            };
            self.spans.entry(until).or_default().push(offset);
        }
    }

    fn add_at_once(&mut self, first: Offset, last: Offset) {
        self.at_once.push(Span { first, last });
    }

    fn into_events(mut self) -> Vec<QueueEvent> {
        let one = |offset: Offset| Span {
            first: offset,
            last: offset,
        };
        let at_once = self.spans.remove(&None).unwrap_or_default();
        let mut at_once: Vec<Span> = at_once.into_iter().map(one).chain(self.at_once).collect();
        at_once.sort_unstable_by_key(|span| span.first);
        at_once.dedup();
        let released = |ranges, until| QueueEvent::Released {
            ranges,
            until,
            count: true,
        };
        let mut events = Vec::new();
        if !at_once.is_empty() {
            events.push(released(joined(at_once), None));
        }
        for (until, mut offsets) in self.spans {
            offsets.sort_unstable();
            offsets.dedup();
            events.push(released(joined(offsets.into_iter().map(one)), until));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use forebay_base::{OffsetRange, SessionId};
    use proptest::prelude::*;

    use super::*;
    use crate::{Limits, Outcome};

    const DOUBLING: Backoff = Backoff {
        first_ms: 1_000,
        most_ms: 60_000,
        growth_percent: 200,
        spread_percent: 0,
    };

    #[test]
    fn each_time_is_twice_the_one_before_up_to_the_most() {
        let waits: Vec<_> = (1..=8).map(|n| DOUBLING.delay_ms(n, 7)).collect();
        let expected = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
        assert_eq!(waits, expected);
        assert_eq!(DOUBLING.delay_ms(u32::MAX, 7), 60_000);
    }

    proptest! {
        #[test]
        fn a_spread_shortens_by_its_share_at_most(
            first_ms in 0..u64::MAX, most_ms: u64, growth_percent: u32, spread_percent: u32,
            attempt: u32, offset: u64,
        ) {
            let backoff = Backoff { first_ms, most_ms, growth_percent, spread_percent };
            let exact = Backoff { spread_percent: 0, ..backoff }.delay_ms(attempt, offset);
            let spread = backoff.delay_ms(attempt, offset);
            let least = exact as f64 * (1.0 - f64::from(spread_percent.min(100)) / 100.0);
            prop_assert!(spread <= exact && spread as f64 >= least.floor() - 1.0);
            prop_assert!(exact <= most_ms && exact <= LONGEST_MS);
        }
    }

    fn leased(count: u32, attempts: u32) -> QueueView {
        let mut view = QueueView::new(0);
        view.advance(u64::from(count));
        let ranges = vec![OffsetRange { first: 0, count }];
        for attempt in 1..=attempts {
            view.apply(&QueueEvent::Delivered {
                ranges: ranges.clone(),
                lessee: SessionId(1),
                deadline: Some(Timestamp(10)),
            });
            if attempt < attempts {
                view.apply(&QueueEvent::Released {
                    ranges: ranges.clone(),
                    until: None,
                    count: true,
                });
            }
        }
        view
    }

    #[test]
    fn what_is_given_back_waits_and_can_still_be_settled() {
        let mut view = leased(3, 2);
        let receipt = |offset| Receipt { offset, attempt: 2 };
        let given = [receipt(1), receipt(1), receipt(0), receipt(9)];
        let (events, held) = view.retry(&given, &DOUBLING, None, Timestamp(5));
        assert!(matches!(
            held[..],
            [
                Held::Leased { .. },
                Held::Leased { .. },
                Held::Leased { .. },
                Held::Gone
            ]
        ));
        for event in &events {
            view.apply(event);
        }
        assert_eq!(view.delayed(0), Some(Timestamp(2_005)));
        assert_eq!(view.delayed(1), Some(Timestamp(2_005)));
        assert_eq!(view.depth().leased, 1);
        assert_eq!(view.check(receipt(1)), Held::Ready);
        let (events, _) = view.settle(&[receipt(1)], Outcome::Ack, Timestamp(6));
        events.iter().for_each(|event| view.apply(event));
        assert_eq!(view.depth().delayed, 1);
    }

    #[test]
    fn what_expires_waits_unless_its_deliveries_are_used_up() {
        let mut view = leased(2, 1);
        for event in view.expire_into_retry(Timestamp(10), 100, &DOUBLING, Some(3)) {
            view.apply(&event);
        }
        assert_eq!(view.depth().delayed, 2);
        // The wait itself ends in being ready, not in another wait.
        for event in view.expire_into_retry(Timestamp(1_010), 1, &DOUBLING, Some(3)) {
            view.apply(&event);
        }
        assert_eq!((view.depth().ready, view.depth().delayed), (1, 1));
        let mut worn = leased(2, 3);
        for event in worn.expire_into_retry(Timestamp(10), 100, &DOUBLING, Some(3)) {
            worn.apply(&event);
        }
        let limits = Limits {
            max_deliveries: Some(3),
            ..Limits::default()
        };
        assert_eq!(worn.exhausted(&limits, 10).len(), 1);
    }
}
