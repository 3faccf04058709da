//! Values on runs of neighbouring offsets.

use std::collections::{BTreeMap, BTreeSet};

use forebay_base::{Offset, OffsetRange, Timestamp};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The offsets from `first` to `last`, both included, `first <= last < u64::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: Offset,
    pub(crate) last: Offset,
}

impl Span {
    /// The highest offset a span can hold, so that the offset after a span always exists.
    pub(crate) const LAST: Offset = Offset::MAX - 1;

    /// The span of a range; `None` if the range is empty or lies beyond every offset.
    pub(crate) fn of(range: &OffsetRange) -> Option<Self> {
        let more = range.count.checked_sub(1)?;
        let last = range.first.saturating_add(u64::from(more)).min(Self::LAST);
        (range.first <= last).then_some(Self {
            first: range.first,
            last,
        })
    }

    /// Every offset below `end`.
    pub(crate) fn below(end: Offset) -> Option<Self> {
        Some(Self {
            first: 0,
            last: end.checked_sub(1)?.min(Self::LAST),
        })
    }

    /// How many offsets.
    pub(crate) fn len(self) -> u64 {
        self.last - self.first + 1
    }

    /// How many offsets are below `end`.
    pub(crate) fn len_below(self, end: Offset) -> u64 {
        (self.last + 1).min(end).saturating_sub(self.first)
    }

    /// Appends the span to `ranges`, joined with the last one where it is its neighbour.
    pub(crate) fn push_to(self, ranges: &mut Vec<OffsetRange>) {
        let mut first = self.first;
        let mut left = self.len();
        if let Some(range) = ranges.last_mut()
            && range.end() == first
        {
            let joined = u32::try_from(left)
                .unwrap_or(u32::MAX)
                .min(u32::MAX - range.count);
            range.count += joined;
            first += u64::from(joined);
            left -= u64::from(joined);
        }
        while left > 0 {
            let count = u32::try_from(left).unwrap_or(u32::MAX);
            ranges.push(OffsetRange { first, count });
            first += u64::from(count);
            left -= u64::from(count);
        }
    }
}

/// Spans in order as ranges, joined where they are neighbours.
pub(crate) fn joined(spans: impl IntoIterator<Item = Span>) -> Vec<OffsetRange> {
    let mut ranges = Vec::new();
    for span in spans {
        span.push_to(&mut ranges);
    }
    ranges
}

/// A value that may be due at a moment.
pub trait Due: Copy + Eq {
    /// When; `None` for never.
    fn due(&self) -> Option<Timestamp> {
        None
    }
}

impl Due for () {}
impl Due for u32 {}
impl Due for u64 {}

/// A map from offsets to values that stores neighbours of one value as one entry.
///
/// Runs are keyed by their last offset: work is mostly finished from the front, and cutting the
/// front off a run then changes an entry in place, in the map as in the index of due moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMap<V> {
    runs: BTreeMap<Offset, Run<V>>,
    due: BTreeSet<(Timestamp, Offset)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run<V> {
    first: Offset,
    value: V,
}

impl<V> Default for RunMap<V> {
    fn default() -> Self {
        Self {
            runs: BTreeMap::new(),
            due: BTreeSet::new(),
        }
    }
}

impl<V: Due> RunMap<V> {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many runs there are.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Every run, lowest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Span, V)> + '_ {
        self.runs.iter().map(|(&last, run)| {
            (
                Span {
                    first: run.first,
                    last,
                },
                run.value,
            )
        })
    }

    /// The lowest run.
    pub(crate) fn first(&self) -> Option<(Span, V)> {
        self.iter().next()
    }

    /// The run that holds `offset`.
    pub(crate) fn get(&self, offset: Offset) -> Option<(Span, V)> {
        self.at_or_after(offset)
            .filter(|(span, _)| span.first <= offset)
    }

    /// The run that holds `offset`, or else the next one.
    pub(crate) fn at_or_after(&self, offset: Offset) -> Option<(Span, V)> {
        let (&last, run) = self.runs.range(offset..).next()?;
        Some((
            Span {
                first: run.first,
                last,
            },
            run.value,
        ))
    }

    /// How many offsets of `span` have a value.
    pub(crate) fn count_in(&self, span: Span) -> u64 {
        self.within(span).map(Span::len).sum()
    }

    /// The parts of runs that lie in `span`, lowest first.
    pub(crate) fn within(&self, span: Span) -> impl Iterator<Item = Span> + '_ {
        self.pieces(span).map(|(piece, _)| piece)
    }

    /// As `within`, with their values.
    pub(crate) fn pieces(&self, span: Span) -> impl Iterator<Item = (Span, V)> + '_ {
        self.runs
            .range(span.first..)
            .take_while(move |(_, run)| run.first <= span.last)
            .map(move |(&last, run)| {
                let piece = Span {
                    first: run.first.max(span.first),
                    last: last.min(span.last),
                };
                (piece, run.value)
            })
    }

    /// Gives the offsets of `span`, which have no value yet, a value.
    pub(crate) fn insert(&mut self, span: Span, value: V) {
        self.runs.insert(
            span.last,
            Run {
                first: span.first,
                value,
            },
        );
        if let Some(due) = value.due() {
            self.due.insert((due, span.last));
        }
    }

    /// As `insert`, and joins the run with its neighbours of the same value.
    pub(crate) fn insert_joined(&mut self, mut span: Span, value: V) {
        if let Some((next, same)) = self.at_or_after(span.last + 1)
            && next.first == span.last + 1
            && same == value
        {
            self.remove(next.last);
            span.last = next.last;
        }
        if let Some(before) = span.first.checked_sub(1)
            && let Some(run) = self.runs.get(&before)
            && run.value == value
        {
            span.first = run.first;
            self.remove(before);
        }
        self.insert(span, value);
    }

    fn remove(&mut self, last: Offset) {
        if let Some(run) = self.runs.remove(&last)
            && let Some(due) = run.value.due()
        {
            self.due.remove(&(due, last));
        }
    }

    /// Takes the values of all offsets of `span` away and hands each run taken to `taken`, lowest
    /// first.
    pub(crate) fn carve(&mut self, span: Span, mut taken: impl FnMut(Span, V)) {
        let mut from = span.first;
        while let Some((&last, run)) = self.runs.range_mut(from..).next() {
            if run.first > span.last {
                break;
            }
            let head = run.first;
            let value = run.value;
            let cut = Span {
                first: head.max(from),
                last: last.min(span.last),
            };
            if cut.last < last {
                run.first = cut.last + 1;
            } else {
                self.remove(last);
            }
            if head < cut.first {
                self.insert(
                    Span {
                        first: head,
                        last: cut.first - 1,
                    },
                    value,
                );
            }
            taken(cut, value);
            if cut.last == span.last {
                break;
            }
            from = cut.last + 1;
        }
    }

    /// The earliest moment at which a run is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|&(due, _)| due)
    }

    /// The runs that are due at `now`, the longest due first.
    pub(crate) fn due_at(&self, now: Timestamp) -> impl Iterator<Item = Span> + '_ {
        self.due
            .range(..=(now, Offset::MAX))
            .filter_map(|&(_, last)| {
                let run = self.runs.get(&last)?;
                Some(Span {
                    first: run.first,
                    last,
                })
            })
    }
}

impl<V: Serialize + Due> Serialize for RunMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.runs
                .iter()
                .map(|(&last, run)| (run.first, last - run.first, run.value)),
        )
    }
}

impl<'de, V: Deserialize<'de> + Due> Deserialize<'de> for RunMap<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut map = Self::default();
        let mut free = 0;
        for (first, more, value) in Vec::<(Offset, u64, V)>::deserialize(deserializer)? {
            let last = first
                .checked_add(more)
                .filter(|&last| first >= free && last <= Span::LAST)
                .ok_or_else(|| D::Error::custom("runs of offsets overlap or have no end"))?;
            free = last + 1;
            map.insert(Span { first, last }, value);
        }
        Ok(map)
    }
}
