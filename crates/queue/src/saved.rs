//! A view as it lies in a snapshot.

use forebay_base::Offset;
use serde::Deserialize;

use crate::lanes::{Lanes, Place};
use crate::run::{Due, RunMap, Span};
use crate::view::{Away, Odd, QueueView};

/// A stored view contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored queue view contradicts itself")]
pub struct BrokenView;

/// What is stored of a [`QueueView`], in the same order; the rest is computed from it.
#[derive(Deserialize)]
pub(crate) struct Saved {
    start: Offset,
    end: Offset,
    cursor: Offset,
    odd: Option<Box<Odd>>,
    lanes: Option<Box<Lanes>>,
}

impl TryFrom<Saved> for QueueView {
    type Error = BrokenView;

    fn try_from(saved: Saved) -> Result<Self, BrokenView> {
        let Saved {
            start,
            end,
            cursor,
            odd,
            lanes,
        } = saved;
        let mut view = Self {
            odd,
            lanes,
            cursor,
            ..Self::new(start)
        };
        if cursor < start || end < start {
            return Err(BrokenView);
        }
        if let Some(odd) = &mut view.odd {
            if odd.is_empty() || !odd.is_sound(cursor) {
                return Err(BrokenView);
            }
            for (span, attempts) in odd.returned.iter().filter(|&(_, attempts)| attempts > 0) {
                *odd.worn.entry(attempts).or_default() += span.len();
            }
            for (span, away) in odd.away.iter() {
                match away {
                    Away::Leased { .. } => view.leased += span.len(),
                    Away::Delayed { .. } => view.delayed += span.len(),
                }
            }
            view.ready = odd
                .returned
                .iter()
                .map(|(span, _)| span.len_below(start))
                .sum();
        }
        view.advance(end);
        if let (Some(lanes), Some(odd)) = (&mut view.lanes, &view.odd) {
            for (span, away) in odd.away.iter() {
                lanes.put(span, Place::of(&away));
            }
            lanes.refresh();
        }
        Ok(view)
    }
}

impl Odd {
    fn is_sound(&self, cursor: Offset) -> bool {
        let above = self
            .touched
            .first()
            .is_none_or(|(span, ())| span.first > cursor);
        above
            && self.all_touched(&self.returned, cursor)
            && self.all_touched(&self.away, cursor)
            && self
                .returned
                .iter()
                .all(|(span, _)| self.away.count_in(span) == 0)
    }

    fn all_touched<V: Due>(&self, map: &RunMap<V>, cursor: Offset) -> bool {
        map.iter().all(|(span, _)| {
            let fresh = Span {
                first: span.first.max(cursor),
                last: span.last,
            };
            fresh.first > fresh.last || self.touched.count_in(fresh) == fresh.len()
        })
    }
}
