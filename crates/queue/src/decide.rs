//! What a view proposes. Nothing here changes it.

use forebay_base::{Offset, OffsetRange, SessionId, Timestamp};

use crate::delivery::{Attempted, Held, Limits, Outcome, Receipt};
use crate::event::QueueEvent;
use crate::lanes::Lanes;
use crate::run::{Span, joined};
use crate::tenants::Tenants;
use crate::view::{Away, QueueView};

impl QueueView {
    /// Up to `max` ready messages, lowest offset first, with the attempt that handing them out
    /// would be. `None` if there are none. Messages whose deliveries are used up are passed over;
    /// see [`QueueView::exhausted`].
    ///
    /// An ordered view takes from the group whose first message is the lowest as many as it can,
    /// then from the next one; what it may not hand out holds up the rest of its group.
    ///
    /// A fair view takes from groups first that are quiet. A group is loud that has more than a
    /// tenth of the messages that are out, and 30 at least, or took more than a tenth of the time
    /// that messages were out lately; of several loud ones the one with the fewest out comes first.
    pub fn take(&self, max: u32, limits: &Limits) -> Option<Vec<Attempted>> {
        let free = limits
            .max_leased
            .map_or(u64::MAX, |most| most.saturating_sub(self.leased));
        let mut left = u64::from(max).min(free).min(self.ready);
        if left == 0 {
            return None;
        }
        let most = limits.max_deliveries.unwrap_or(u32::MAX);
        if let Some(lanes) = &self.lanes {
            return self.take_in_order(lanes, left, most);
        }
        if let Some(tenants) = &self.tenants {
            return self.take_fairly(tenants, left, most);
        }
        let mut taken = Vec::new();
        let mut returned = self
            .odd
            .iter()
            .flat_map(|odd| odd.returned.iter())
            .filter(|&(_, attempts)| attempts < most)
            .peekable();
        let mut fresh = if most > 0 {
            self.fresh_from(self.cursor)
        } else {
            None
        };
        while left > 0 {
            let (span, attempts) = match (returned.peek().copied(), fresh) {
                (Some((span, attempts)), fresh)
                    if fresh.is_none_or(|other| span.first < other.first) =>
                {
                    returned.next();
                    (span, attempts)
                }
                (_, Some(span)) => {
                    fresh = self.fresh_from(span.last + 1);
                    (span, 0)
                }
                (_, None) => break,
            };
            let count = span.len_below(self.end).min(left);
            if count == 0 {
                break;
            }
            left -= count;
            push(
                &mut taken,
                Span {
                    first: span.first,
                    last: span.first + count - 1,
                },
                attempts + 1,
            );
        }
        (!taken.is_empty()).then_some(taken)
    }

    fn take_in_order(&self, lanes: &Lanes, most: u64, deliveries: u32) -> Option<Vec<Attempted>> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut found: Vec<(Offset, u32)> = Vec::new();
        for head in lanes.open().take_while(|head| *head < self.end) {
            for offset in lanes.waiting(head).take_while(|offset| *offset < self.end) {
                let attempts = self.returned(offset);
                if attempts >= deliveries || found.len() == most {
                    break;
                }
                found.push((offset, attempts + 1));
            }
            if found.len() == most {
                break;
            }
        }
        attempted(found)
    }

    fn take_fairly(&self, tenants: &Tenants, most: u64, deliveries: u32) -> Option<Vec<Attempted>> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let may = |offset| self.returned(offset) < deliveries;
        let found = tenants.take(most, self.end, may).into_iter();
        attempted(
            found
                .map(|offset| (offset, self.returned(offset) + 1))
                .collect(),
        )
    }

    /// How often a message that waits was handed out.
    fn returned(&self, offset: Offset) -> u32 {
        let returned = self.odd.as_ref().and_then(|odd| odd.returned.get(offset));
        returned.map_or(0, |(_, attempts)| attempts)
    }

    /// The next run of durable messages that nobody has seen, at or above `from`.
    pub(crate) fn fresh_from(&self, from: Offset) -> Option<Span> {
        let mut first = from;
        while first < self.end {
            let touched = self
                .odd
                .as_ref()
                .and_then(|odd| odd.touched.at_or_after(first));
            let end = match touched {
                Some((run, ())) if run.first <= first => {
                    first = run.last + 1;
                    continue;
                }
                Some((run, ())) => run.first.min(self.end),
                None => self.end,
            };
            return Some(Span {
                first,
                last: end - 1,
            });
        }
        None
    }

    /// What `receipt` is still good for.
    pub fn check(&self, receipt: Receipt) -> Held {
        self.held(self.find(receipt.offset), receipt)
    }

    /// A receipt for a delivery that the view does not know is honoured while the message is
    /// ready: the delivery was written down lazily and lost with a crash, but it took place.
    fn held(&self, found: Option<(Span, Found)>, receipt: Receipt) -> Held {
        match found {
            Some((_, found)) if found.attempts > 0 || receipt.offset < self.end => {
                found.held(receipt.attempt)
            }
            None if receipt.attempt > 0 && self.is_fresh(receipt.offset) => Held::Ready,
            _ => Held::Gone,
        }
    }

    /// Whether the message is durable and was never handed out, as far as is known.
    fn is_fresh(&self, offset: Offset) -> bool {
        self.cursor <= offset
            && offset < self.end
            && self
                .odd
                .as_ref()
                .is_none_or(|odd| odd.touched.get(offset).is_none())
    }

    fn find(&self, offset: Offset) -> Option<(Span, Found)> {
        let odd = self.odd.as_ref()?;
        if let Some((span, away)) = odd.away.get(offset) {
            let found = match away {
                Away::Leased {
                    attempt, lessee, ..
                } => Found {
                    attempts: attempt,
                    lessee: Some(lessee),
                },
                Away::Delayed { attempts, .. } => Found {
                    attempts,
                    lessee: None,
                },
            };
            return Some((span, found));
        }
        let (span, attempts) = odd.returned.get(offset)?;
        Some((
            span,
            Found {
                attempts,
                lessee: None,
            },
        ))
    }

    /// What becomes of deliveries that a consumer ends: the events to write, and for each receipt
    /// what it was good for.
    ///
    /// `Ack` settles the messages of receipts that are `Leased` or `Ready`; `AckLeased`, `Release`
    /// and `Extend` work on those that are `Leased`; every other receipt has no effect. `DeadLetter` gives no
    /// event: where the message goes is not the view's to say, so the caller settles it in the
    /// commit that appends it elsewhere.
    pub fn settle(
        &self,
        receipts: &[Receipt],
        outcome: Outcome,
        now: Timestamp,
    ) -> (Vec<QueueEvent>, Vec<Held>) {
        let mut offsets = Gathered::default();
        let mut answers = Vec::with_capacity(receipts.len());
        let mut last: Option<(Span, Found)> = None;
        for receipt in receipts {
            let known = last
                .filter(|(span, _)| span.first <= receipt.offset && receipt.offset <= span.last);
            last = known.or_else(|| self.find(receipt.offset));
            let held = self.held(last, *receipt);
            let fits = match held {
                Held::Leased { .. } => true,
                Held::Ready => outcome == Outcome::Ack,
                Held::Stale | Held::Gone => false,
            };
            if fits {
                offsets.push(receipt.offset);
            }
            answers.push(held);
        }
        let ranges = offsets.into_ranges();
        if ranges.is_empty() {
            return (Vec::new(), answers);
        }
        let events = match outcome {
            Outcome::Ack | Outcome::AckLeased => vec![QueueEvent::Settled { ranges }],
            Outcome::Release { delay_ms, count } => {
                let until = (delay_ms > 0).then(|| now.plus_ms(delay_ms));
                vec![QueueEvent::Released {
                    ranges,
                    until,
                    count,
                }]
            }
            Outcome::Extend { ms } => {
                let deadline = now.plus_ms(ms);
                ranges
                    .into_iter()
                    .map(|range| QueueEvent::Extended { range, deadline })
                    .collect()
            }
            Outcome::DeadLetter => Vec::new(),
        };
        (events, answers)
    }

    /// What time alone has earned: leases past their deadline and delays that are over come back,
    /// at most `max` messages, the longest due first.
    pub fn expire(&self, now: Timestamp, max: usize) -> Vec<QueueEvent> {
        let mut left = u64::try_from(max).unwrap_or(u64::MAX);
        let mut spans = Vec::new();
        for span in self.odd.iter().flat_map(|odd| odd.away.due_at(now)) {
            if left == 0 {
                break;
            }
            let count = span.len().min(left);
            left -= count;
            spans.push(Span {
                first: span.first,
                last: span.first + count - 1,
            });
        }
        if spans.is_empty() {
            return Vec::new();
        }
        spans.sort_unstable_by_key(|span| span.first);
        vec![QueueEvent::Released {
            ranges: joined(spans),
            until: None,
            count: true,
        }]
    }

    /// The earliest moment at which [`QueueView::expire`] or [`QueueView::ended`] has something to
    /// propose.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let away = self.odd.as_ref().and_then(|odd| odd.away.next_due());
        away.into_iter().chain(self.next_end()).min()
    }

    /// The messages that `lessee` holds, with a deadline or without; `None` if there are none.
    /// Looks at every lease.
    pub fn held_by(&self, lessee: SessionId) -> Option<Vec<OffsetRange>> {
        self.leases(|holder, _| holder == lessee)
    }

    /// The messages whose lease has no deadline: their lessees did not survive a restart. `None`
    /// if there are none. Looks at every lease.
    pub fn held_without_deadline(&self) -> Option<Vec<OffsetRange>> {
        self.leases(|_, deadline| deadline.is_none())
    }

    /// The messages that are delayed until exactly `until`, with the attempts made. Looks at
    /// every message that is away.
    pub fn delayed_until(&self, until: Timestamp) -> Vec<Attempted> {
        let mut found = Vec::new();
        for (span, away) in self.odd.iter().flat_map(|odd| odd.away.iter()) {
            if let Away::Delayed {
                attempts,
                until: then,
            } = away
                && then == until
            {
                push(&mut found, span, attempts);
            }
        }
        found
    }

    fn leases(
        &self,
        wanted: impl Fn(SessionId, Option<Timestamp>) -> bool,
    ) -> Option<Vec<OffsetRange>> {
        let runs = self.odd.iter().flat_map(|odd| odd.away.iter());
        let ranges = joined(runs.filter_map(|(span, away)| match away {
            Away::Leased {
                lessee, deadline, ..
            } => wanted(lessee, deadline).then_some(span),
            Away::Delayed { .. } => None,
        }));
        (!ranges.is_empty()).then_some(ranges)
    }

    /// Up to `max` messages that wait to be handed out again but may not be, with the attempts
    /// made. They are to be dead-lettered or dropped by whoever knows the policy.
    pub fn exhausted(&self, limits: &Limits, max: usize) -> Vec<Attempted> {
        let (Some(odd), Some(most)) = (&self.odd, limits.max_deliveries) else {
            return Vec::new();
        };
        if odd.worn.range(most..).next().is_none() {
            return Vec::new();
        }
        let mut left = u64::try_from(max).unwrap_or(u64::MAX);
        let mut found = Vec::new();
        for (span, attempts) in odd.returned.iter() {
            let count = span.len_below(self.end).min(left);
            if count == 0 {
                break;
            }
            if attempts > 0 && attempts >= most {
                left -= count;
                push(
                    &mut found,
                    Span {
                        first: span.first,
                        last: span.first + count - 1,
                    },
                    attempts,
                );
            }
        }
        found
    }
}

/// A message that is not settled and not fresh.
#[derive(Clone, Copy)]
struct Found {
    attempts: u32,
    lessee: Option<SessionId>,
}

impl Found {
    fn held(self, attempt: u32) -> Held {
        match (attempt, self.lessee) {
            (0, _) => Held::Gone,
            (attempt, _) if attempt < self.attempts => Held::Stale,
            (_, None) => Held::Ready,
            (attempt, Some(lessee)) if attempt == self.attempts => Held::Leased { lessee },
            _ => Held::Gone,
        }
    }
}

/// Messages in any order, with the attempt that handing each out would be.
fn attempted(mut found: Vec<(Offset, u32)>) -> Option<Vec<Attempted>> {
    found.sort_unstable();
    let mut taken = Vec::new();
    for (offset, attempt) in found {
        let span = Span {
            first: offset,
            last: offset,
        };
        push(&mut taken, span, attempt);
    }
    (!taken.is_empty()).then_some(taken)
}

/// Appends a span, in as many pieces as its length needs, joined with its neighbour of the same
/// attempt.
pub(crate) fn push(list: &mut Vec<Attempted>, span: Span, attempt: u32) {
    if let Some(last) = list.last_mut()
        && last.attempt == attempt
        && last.range.end() == span.first
        && let Ok(count) = u32::try_from(u64::from(last.range.count) + span.len())
    {
        last.range.count = count;
        return;
    }
    let ranges = joined([span]);
    list.extend(ranges.into_iter().map(|range| Attempted { range, attempt }));
}

/// Offsets as ranges. Those that come in order, as most do, are joined as they come.
#[derive(Default)]
struct Gathered {
    ranges: Vec<OffsetRange>,
    unordered: bool,
}

impl Gathered {
    fn push(&mut self, offset: Offset) {
        if let Some(last) = self.ranges.last_mut()
            && offset <= last.end()
        {
            if offset == last.end() && last.count < u32::MAX {
                last.count += 1;
                return;
            }
            self.unordered = true;
        }
        self.ranges.push(OffsetRange::one(offset));
    }

    fn into_ranges(mut self) -> Vec<OffsetRange> {
        if !self.unordered {
            return self.ranges;
        }
        self.ranges.sort_unstable();
        let mut free = 0;
        joined(self.ranges.iter().filter_map(|range| {
            let first = range.first.max(free);
            free = free.max(range.end());
            (first < range.end()).then(|| Span {
                first,
                last: range.end() - 1,
            })
        }))
    }
}
