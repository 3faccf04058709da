//! The state of a queue view and its measures.

use std::collections::BTreeMap;

use forebay_base::{Offset, OffsetRange, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::delivery::{Depth, Lease};
use crate::expiry::Ends;
use crate::lanes::{Lanes, Place};
use crate::run::{Due, RunMap, Span, joined};
use crate::saved::Saved;
use crate::tenants::Tenants;

/// The messages of one partition as work.
///
/// A message at or above the cursor that is not in `touched` is fresh: nobody has seen it. Every
/// other one is returned (ready again), away (leased or delayed), or in neither place, which means
/// that it is settled. Only messages below `end` are ready; nothing else depends on `end`, so the
/// same events give the same view however the durable end moved in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct QueueView {
    pub(crate) start: Offset,
    pub(crate) end: Offset,
    pub(crate) cursor: Offset,
    #[serde(skip)]
    pub(crate) ready: u64,
    #[serde(skip)]
    pub(crate) leased: u64,
    #[serde(skip)]
    pub(crate) delayed: u64,
    /// What is out of line; nothing in most queues most of the time, and then not allocated.
    pub(crate) odd: Option<Box<Odd>>,
    /// The groups of an ordered view.
    pub(crate) lanes: Option<Box<Lanes>>,
    /// The groups of a fair view, while a message has one. Stored apart from the view.
    #[serde(skip)]
    pub(crate) tenants: Option<Box<Tenants>>,
    /// When messages end by themselves, of those that do. Not part of the stored form: whoever
    /// stores a view stores [`QueueView::ends`] beside it.
    #[serde(skip)]
    pub(crate) ends: Option<Box<Ends>>,
}

/// The messages that are out of line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Odd {
    /// Messages above the cursor that are no longer fresh.
    pub(crate) touched: RunMap<()>,
    /// Ready again, with the attempts made.
    pub(crate) returned: RunMap<u32>,
    /// Leased or delayed.
    pub(crate) away: RunMap<Away>,
    /// How many returned messages have how many attempts, those with none left out.
    #[serde(skip)]
    pub(crate) worn: BTreeMap<u32, u64>,
}

/// Why a message cannot be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Away {
    Leased {
        attempt: u32,
        lessee: SessionId,
        deadline: Option<Timestamp>,
    },
    Delayed {
        attempts: u32,
        until: Timestamp,
    },
}

impl Due for Away {
    fn due(&self) -> Option<Timestamp> {
        match *self {
            Self::Leased { deadline, .. } => deadline,
            Self::Delayed { until, .. } => Some(until),
        }
    }
}

impl Odd {
    pub(crate) fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.returned.is_empty() && self.away.is_empty()
    }

    /// Makes messages ready again.
    pub(crate) fn return_to_ready(&mut self, span: Span, attempts: u32) {
        if attempts > 0 {
            *self.worn.entry(attempts).or_default() += span.len();
        }
        self.returned.insert_joined(span, attempts);
    }
}

/// Takes `count` messages with `attempts` attempts out of the tally.
pub(crate) fn untally(worn: &mut BTreeMap<u32, u64>, attempts: u32, count: u64) {
    if let Some(tally) = worn.get_mut(&attempts) {
        *tally = tally.saturating_sub(count);
        if *tally == 0 {
            worn.remove(&attempts);
        }
    }
}

impl QueueView {
    /// The view of a partition whose first readable message is `start`, which is also the offset
    /// the next message gets.
    pub fn new(start: Offset) -> Self {
        Self {
            start,
            end: start,
            cursor: start,
            ready: 0,
            leased: 0,
            delayed: 0,
            odd: None,
            lanes: None,
            tenants: None,
            ends: None,
        }
    }

    /// As [`QueueView::new`], of a partition whose messages belong to groups: a group's messages
    /// are handed out in order, and none while an earlier one of the group is away, except together
    /// with it. [`QueueView::append`] must tell it of every message.
    pub fn ordered(start: Offset) -> Self {
        Self {
            lanes: Some(Box::new(Lanes::starting_at(start))),
            ..Self::new(start)
        }
    }

    /// Whether the view keeps groups in order.
    pub fn is_ordered(&self) -> bool {
        self.lanes.is_some()
    }

    /// Messages were appended from `first` on, of these groups, durable or not yet; comes before
    /// every event about them. A group is known by its number: two groups that share one are one.
    /// A view that is not ordered does not look at it.
    pub fn append(&mut self, first: Offset, groups: impl IntoIterator<Item = u64>) {
        if let Some(lanes) = &mut self.lanes {
            lanes.append(first, groups.into_iter());
        }
    }

    /// As [`QueueView::append`], of a partition where no group is to hold up the others: from then
    /// on [`QueueView::take`] prefers groups that have few messages out. 0 is no group. Not for an
    /// ordered view.
    pub fn append_fairly(&mut self, first: Offset, groups: &[u64]) {
        if self.lanes.is_some() {
            return;
        }
        if self.tenants.is_none() {
            if groups.iter().all(|group| *group == 0) {
                return;
            }
            let live = self.live(self.start, first);
            self.restore_tenants(Tenants::of_one(live.iter().filter_map(Span::of), first));
        }
        if let Some(tenants) = &mut self.tenants {
            tenants.append(first, groups);
        }
    }

    /// The groups of a fair view, to be stored beside it.
    pub fn tenants(&self) -> Option<&Tenants> {
        self.tenants.as_deref()
    }

    /// Gives a view that was stored back its groups.
    pub fn restore_tenants(&mut self, mut tenants: Tenants) {
        for (span, away) in self.odd.iter().flat_map(|odd| odd.away.iter()) {
            tenants.moved(span, Place::Waiting, Place::of(&away));
        }
        self.tenants = Some(Box::new(tenants));
    }

    /// It is `now`: a fair view measures how long groups have messages out. Not part of what is
    /// stored, or compared.
    pub fn observe(&mut self, now: Timestamp) {
        if let Some(tenants) = &mut self.tenants {
            tenants.observe(now);
        }
    }

    /// More messages became durable: all below `end` are. An `end` that is lower than before is
    /// ignored.
    pub fn advance(&mut self, end: Offset) {
        let Some(last) = end.checked_sub(1).filter(|_| end > self.end) else {
            return;
        };
        let added = Span {
            first: self.end,
            last: last.min(Span::LAST),
        };
        self.ready += Span {
            first: added.first.max(self.cursor),
            ..added
        }
        .len_below(end);
        if let Some(odd) = &self.odd {
            self.ready -= odd.touched.count_in(added);
            self.ready += odd.returned.count_in(added);
        }
        self.end = end;
    }

    /// How many messages are in which state.
    pub fn depth(&self) -> Depth {
        Depth {
            ready: self.ready,
            leased: self.leased,
            delayed: self.delayed,
        }
    }

    /// Every message below this offset is settled, and this one is not, or does not exist yet.
    pub fn low(&self) -> Offset {
        let Some(odd) = &self.odd else {
            return self.cursor;
        };
        let first = |span: Span| span.first;
        let returned = odd.returned.first().map(|(span, _)| first(span));
        let away = odd.away.first().map(|(span, _)| first(span));
        returned
            .into_iter()
            .chain(away)
            .fold(self.cursor, Offset::min)
    }

    /// The messages from `first` on and below `end` that are not settled, whatever else they are,
    /// in order and joined where they are neighbours. Offsets that no message has yet count as
    /// messages. The cost follows what is out of line in the range, not its length.
    pub fn live(&self, first: Offset, end: Offset) -> Vec<OffsetRange> {
        let Some(last) = end.checked_sub(1).filter(|&last| first <= last) else {
            return Vec::new();
        };
        let whole = Span {
            first: first.min(Span::LAST),
            last: last.min(Span::LAST),
        };
        let mut live = Vec::new();
        let mut fresh = whole.first.max(self.cursor);
        if let Some(odd) = &self.odd {
            live.extend(odd.returned.within(whole));
            live.extend(odd.away.within(whole));
            for touched in odd.touched.within(whole) {
                if fresh < touched.first {
                    live.push(Span {
                        first: fresh,
                        last: touched.first - 1,
                    });
                }
                fresh = fresh.max(touched.last + 1);
            }
        }
        if fresh <= whole.last {
            live.push(Span {
                first: fresh,
                last: whole.last,
            });
        }
        live.sort_unstable_by_key(|span| span.first);
        joined(live)
    }

    /// The offset after the last durable message.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// The first readable offset.
    pub fn start(&self) -> Offset {
        self.start
    }

    /// How often the message was handed out, without deliveries that were given back.
    /// 0 also for settled messages.
    pub fn attempts(&self, offset: Offset) -> u32 {
        let Some(odd) = &self.odd else { return 0 };
        match odd.away.get(offset) {
            Some((_, Away::Leased { attempt, .. })) => attempt,
            Some((_, Away::Delayed { attempts, .. })) => attempts,
            None => odd.returned.get(offset).map_or(0, |(_, attempts)| attempts),
        }
    }

    /// Until when a message is delayed.
    pub fn delayed(&self, offset: Offset) -> Option<Timestamp> {
        match self.odd.as_ref()?.away.get(offset)?.1 {
            Away::Delayed { until, .. } => Some(until),
            Away::Leased { .. } => None,
        }
    }

    /// The lease a message is out under.
    pub fn lease(&self, offset: Offset) -> Option<Lease> {
        match self.odd.as_ref()?.away.get(offset)?.1 {
            Away::Leased {
                attempt, deadline, ..
            } => Some(Lease { attempt, deadline }),
            Away::Delayed { .. } => None,
        }
    }
}
