//! Whose messages wait: the groups of a view that is fair, so that one group with a large backlog
//! does not hold up the others.
//!
//! Every message that is not settled lies in a run of neighbours of one group. From the runs
//! follows where each group's first waiting message is and how many of its messages are out, so
//! the next message of a quiet group is found at once, however long the backlog of a loud one is.
//! The number of runs is bounded: what is appended beyond is [`UNTOLD`], which is handed out last.

mod meter;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::hash::BuildHasherDefault;

use forebay_base::{Offset, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hashed::Hashed;
use crate::lanes::Place;
use crate::run::{RunMap, Span};
use meter::Meter;

/// The number of messages without a group. Each counts as a group of its own, so none is loud.
const ALONE: u64 = 0;
/// The number of messages whose group was not noted down for want of room.
const UNTOLD: u64 = 1;
/// Runs that are kept at most, some 100 bytes each with all that goes with them.
pub(crate) const RUNS_MAX: usize = 1 << 16;
/// A group is loud only with so many messages out, if it is loud for the number of them.
const LOUD_FROM: u64 = 30;
/// A group is loud whose share of all messages that are out, or of the time they took lately, is
/// more than one in so many.
const LOUD_SHARE: u64 = 10;

/// The groups of a fair view: whose the messages are that are not settled.
#[derive(Clone, Debug)]
pub struct Tenants {
    /// The offset after the last message that was appended.
    next: Offset,
    /// Every message below `next` that is not settled, with its group.
    runs: RunMap<u64>,
    tenants: HashMap<u64, Tenant, BuildHasherDefault<Hashed>>,
    /// The first waiting message of each group that has one.
    heads: BTreeSet<(Offset, u64)>,
    /// All messages that are out.
    out: Meter,
    /// The present, as far as somebody told.
    now: Timestamp,
}

#[derive(Clone, Debug, Default)]
struct Tenant {
    /// Messages that may be handed out, now or when they are durable.
    waiting: RunMap<()>,
    /// Messages that are not settled.
    held: u64,
    out: Meter,
}

impl Tenant {
    fn head(&self) -> Option<Offset> {
        self.waiting.first().map(|(span, ())| span.first)
    }

    /// The first waiting message at or after `offset`.
    fn at_or_after(&self, offset: Offset) -> Option<Offset> {
        let (span, ()) = self.waiting.at_or_after(offset)?;
        Some(span.first.max(offset))
    }

    fn waiting(&self) -> impl Iterator<Item = Offset> + '_ {
        self.waiting
            .iter()
            .flat_map(|(span, ())| span.first..=span.last)
    }
}

/// The number a group is known by here: 0 stands for none.
fn number(group: u64) -> u64 {
    match group {
        0 => ALONE,
        group => group.max(UNTOLD + 1),
    }
}

impl Tenants {
    /// The groups of a view whose messages so far have none: those in `live`.
    pub(crate) fn of_one(live: impl Iterator<Item = Span>, next: Offset) -> Self {
        let mut tenants = Self::empty(next);
        for span in live {
            tenants.admit(span, ALONE);
        }
        tenants
    }

    fn empty(next: Offset) -> Self {
        Self {
            next,
            runs: RunMap::default(),
            tenants: HashMap::default(),
            heads: BTreeSet::new(),
            out: Meter::default(),
            now: Timestamp::default(),
        }
    }

    /// Messages were appended, of these groups. What lies below the end is known already.
    pub(crate) fn append(&mut self, first: Offset, groups: &[u64]) {
        for (offset, group) in (first..=Span::LAST).zip(groups) {
            if offset < self.next {
                continue;
            }
            self.next = offset + 1;
            let mut tenant = number(*group);
            let joins = offset
                .checked_sub(1)
                .and_then(|before| self.runs.get(before))
                .is_some_and(|(_, last)| last == tenant);
            if !joins && self.runs.len() >= RUNS_MAX {
                tenant = UNTOLD;
            }
            let span = Span {
                first: offset,
                last: offset,
            };
            self.admit(span, tenant);
        }
    }

    fn admit(&mut self, span: Span, tenant: u64) {
        self.runs.insert_joined(span, tenant);
        let known = self.tenants.entry(tenant).or_default();
        known.held += span.len();
        let before = known.head();
        known.waiting.insert_joined(span, ());
        let after = known.head();
        self.note_head(tenant, before, after);
    }

    fn note_head(&mut self, tenant: u64, before: Option<Offset>, after: Option<Offset>) {
        if before == after {
            return;
        }
        if let Some(head) = before {
            self.heads.remove(&(head, tenant));
        }
        if let Some(head) = after {
            self.heads.insert((head, tenant));
        }
    }

    /// The messages of `span` went from one place to another.
    pub(crate) fn moved(&mut self, span: Span, from: Place, to: Place) {
        if from == to {
            return;
        }
        let pieces: Vec<(Span, u64)> = self.runs.pieces(span).collect();
        for (piece, number) in pieces {
            let Some(tenant) = self.tenants.get_mut(&number) else {
                continue;
            };
            let before = tenant.head();
            match from {
                Place::Waiting => tenant.waiting.carve(piece, |_, ()| {}),
                Place::Leased => {
                    tenant.out.less(piece.len(), self.now);
                    self.out.less(piece.len(), self.now);
                }
                Place::Delayed | Place::Settled => {}
            }
            match to {
                Place::Waiting => tenant.waiting.insert_joined(piece, ()),
                Place::Leased => {
                    tenant.out.more(piece.len(), self.now);
                    self.out.more(piece.len(), self.now);
                }
                Place::Delayed => {}
                Place::Settled => {
                    tenant.held = tenant.held.saturating_sub(piece.len());
                    self.runs.carve(piece, |_, _| {});
                }
            }
            let after = tenant.head();
            if tenant.held == 0 {
                self.tenants.remove(&number);
            }
            self.note_head(number, before, after);
        }
    }

    /// It is `now`. Time that goes back counts as none.
    pub(crate) fn observe(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
    }

    /// Whether no message has a group, so that nothing need be kept.
    pub(crate) fn is_plain(&self) -> bool {
        self.tenants.keys().all(|tenant| *tenant == ALONE)
    }

    /// Whether the group takes more than its share: of what is out, or of the time that took.
    fn is_loud(&self, number: u64, tenant: &Tenant) -> bool {
        if number == ALONE {
            return false;
        }
        let (own, all) = (tenant.out.count(), self.out.count());
        let by_count = own >= LOUD_FROM && own.saturating_mul(LOUD_SHARE) > all;
        by_count || tenant.out.lately(self.now) * LOUD_SHARE as f64 > self.out.lately(self.now)
    }

    /// Up to `most` waiting messages below `end` that `may` be handed out: those of quiet groups
    /// first, in order; then those of loud ones, of the group first that has the fewest out; then
    /// what is untold.
    pub(crate) fn take(
        &self,
        most: usize,
        end: Offset,
        may: impl Fn(Offset) -> bool,
    ) -> Vec<Offset> {
        let mut found = Vec::new();
        let mut loud: Vec<(u64, u64)> = Vec::new();
        let mut heads = self.heads.iter().copied().peekable();
        let mut further: BinaryHeap<Reverse<(Offset, u64)>> = BinaryHeap::new();
        while found.len() < most {
            let (offset, number) = match (further.peek().copied(), heads.peek().copied()) {
                (Some(Reverse(next)), head) if head.is_none_or(|head| next < head) => {
                    further.pop();
                    next
                }
                (_, Some(head)) => {
                    heads.next();
                    head
                }
                (_, None) => break,
            };
            if offset >= end {
                break;
            }
            let Some(tenant) = self.tenants.get(&number) else {
                continue;
            };
            if number == UNTOLD {
                loud.push((u64::MAX, number));
                continue;
            }
            if self.is_loud(number, tenant) {
                loud.push((tenant.out.count(), number));
                continue;
            }
            if may(offset) {
                found.push(offset);
            }
            further.extend(
                tenant
                    .at_or_after(offset + 1)
                    .map(|at| Reverse((at, number))),
            );
        }
        loud.sort_unstable();
        let loud = loud
            .iter()
            .filter_map(|(_, number)| self.tenants.get(number));
        let rest = loud.flat_map(|tenant| tenant.waiting().take_while(|offset| *offset < end));
        let left = most - found.len();
        found.extend(rest.filter(|offset| may(*offset)).take(left));
        found
    }
}

impl PartialEq for Tenants {
    fn eq(&self, other: &Self) -> bool {
        // The rest follows from the view, or is no part of its state.
        self.next == other.next && self.runs == other.runs
    }
}

impl Eq for Tenants {}

impl Serialize for Tenants {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.next, &self.runs).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tenants {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (next, runs) = <(Offset, RunMap<u64>)>::deserialize(deserializer)?;
        let mut tenants = Self::empty(next);
        for (span, tenant) in runs.iter() {
            tenants.admit(span, tenant);
        }
        Ok(tenants)
    }
}

#[cfg(test)]
mod tests;
