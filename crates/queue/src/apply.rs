//! How events change a view.

use forebay_base::{Offset, OffsetRange, planted};

use crate::event::QueueEvent;
use crate::lanes::{Lanes, Place};
use crate::run::Span;
use crate::tenants::Tenants;
use crate::view::{Away, Odd, QueueView, untally};

impl QueueView {
    /// Makes the change that `event` tells of. Messages whose state the event does not fit stay as
    /// they are.
    pub fn apply(&mut self, event: &QueueEvent) {
        match *event {
            QueueEvent::Delayed { range, until } => {
                each(&[range], |span| {
                    self.claim(span, |attempts| Some(Away::Delayed { attempts, until }));
                });
            }
            QueueEvent::Delivered {
                ref ranges,
                lessee,
                deadline,
            } => each(ranges, |span| {
                self.claim(span, |attempts| {
                    Some(Away::Leased {
                        attempt: attempts.saturating_add(1),
                        lessee,
                        deadline,
                    })
                });
            }),
            QueueEvent::Settled { ref ranges } => each(ranges, |span| {
                self.claim(span, |_| None);
                self.end_away(span, |_| None);
            }),
            QueueEvent::Released {
                ref ranges,
                until,
                count,
            } => {
                each(ranges, |span| {
                    self.end_away(span, |away| {
                    let attempts = match away {
                        Away::Leased { attempt, .. } if count => attempt,
                        Away::Leased { attempt, .. } => attempt.saturating_sub(1),
                        Away::Delayed { attempts, .. } => attempts,
                    };
                    Some(match until {
                        Some(until) => Then::Away(Away::Delayed { attempts, until }),
                        None => planted!(ReleasedForgotten => return None, else Then::Ready(attempts)),
                    })
                });
                })
            }
            QueueEvent::Extended { range, deadline } => each(&[range], |span| {
                self.end_away(span, |away| {
                    Some(Then::Away(match away {
                        Away::Leased {
                            attempt, lessee, ..
                        } => Away::Leased {
                            attempt,
                            lessee,
                            deadline: Some(deadline),
                        },
                        Away::Delayed { .. } => away,
                    }))
                });
            }),
            QueueEvent::Purged { below, leased } => self.purge(below, leased),
            QueueEvent::Started { at } => {
                self.purge(at, true);
                self.start = self.start.max(at);
                self.advance(at);
            }
            QueueEvent::Ends { range, at } => each(&[range], |span| self.end_at(span, at)),
        }
        match event {
            QueueEvent::Settled { ranges } if self.ends.is_some() => {
                let settled: Vec<_> = ranges.iter().filter_map(Span::of).collect();
                self.forget_ends(&settled);
            }
            QueueEvent::Purged { .. } | QueueEvent::Started { .. } => self.forget_ends(&[]),
            _ => {}
        }
        if self.odd.as_ref().is_some_and(|odd| odd.is_empty()) {
            self.odd = None;
        }
        if let Some(lanes) = &mut self.lanes {
            lanes.refresh();
        }
        if self
            .tenants
            .as_ref()
            .is_some_and(|tenants| tenants.is_plain())
        {
            self.tenants = None;
        }
    }

    fn purge(&mut self, below: Offset, leased: bool) {
        let Some(span) = Span::below(below) else {
            return;
        };
        self.claim(span, |_| None);
        self.end_away(span, |away| match away {
            Away::Leased { .. } if !leased => Some(Then::Away(away)),
            _ => None,
        });
    }

    /// Takes the ready messages of `span`, durable or not, out of the ready ones. `away` tells
    /// from the attempts made where they go; `None` settles them.
    fn claim(&mut self, span: Span, away: impl Fn(u32) -> Option<Away>) {
        self.claim_returned(span, &away);
        let mut from = span.first.max(self.cursor);
        while from <= span.last {
            let touched = self
                .odd
                .as_ref()
                .and_then(|odd| odd.touched.at_or_after(from));
            let last = match touched {
                Some((run, ())) if run.first <= from => {
                    from = run.last + 1;
                    continue;
                }
                Some((run, ())) => span.last.min(run.first - 1),
                None => span.last,
            };
            let fresh = Span { first: from, last };
            self.touch(fresh);
            self.ready -= fresh.len_below(self.end);
            let away = away(0);
            let place = away.as_ref().map_or(Place::Settled, Place::of);
            tell_groups(
                &mut self.lanes,
                &mut self.tenants,
                fresh,
                Place::Waiting,
                place,
            );
            if let Some(away) = away {
                self.tally_away(&away, fresh.len());
                self.odd_mut().away.insert(fresh, away);
            }
            // The cursor may have jumped over what was touched before.
            from = self.cursor.max(last + 1);
        }
    }

    fn claim_returned(&mut self, span: Span, away: impl Fn(u32) -> Option<Away>) {
        let Some(odd) = &mut self.odd else { return };
        let Odd {
            returned,
            away: out,
            worn,
            ..
        } = &mut **odd;
        returned.carve(span, |piece, attempts| {
            untally(worn, attempts, piece.len());
            self.ready -= piece.len_below(self.end);
            let away = away(attempts);
            let place = away.as_ref().map_or(Place::Settled, Place::of);
            tell_groups(
                &mut self.lanes,
                &mut self.tenants,
                piece,
                Place::Waiting,
                place,
            );
            match away {
                Some(to @ Away::Leased { .. }) => {
                    self.leased += piece.len();
                    out.insert(piece, to);
                }
                Some(to @ Away::Delayed { .. }) => {
                    self.delayed += piece.len();
                    out.insert(piece, to);
                }
                None => {}
            }
        });
    }

    /// Marks fresh messages as no longer fresh.
    fn touch(&mut self, span: Span) {
        if span.first > self.cursor {
            self.odd_mut().touched.insert_joined(span, ());
            return;
        }
        self.cursor = span.last + 1;
        if let Some(odd) = &mut self.odd
            && let Some((run, ())) = odd.touched.first()
            && run.first == self.cursor
        {
            odd.touched.carve(run, |_, ()| {});
            self.cursor = run.last + 1;
        }
    }

    /// Takes the leased and delayed messages of `span` out of these and puts them where `then`
    /// says; `None` settles them.
    fn end_away(&mut self, span: Span, then: impl Fn(Away) -> Option<Then>) {
        let Some(odd) = &mut self.odd else { return };
        let Odd { away, .. } = &mut **odd;
        let mut put = Vec::new();
        away.carve(span, |piece, was| {
            match was {
                Away::Leased { .. } => self.leased -= piece.len(),
                Away::Delayed { .. } => self.delayed -= piece.len(),
            }
            let from = Place::of(&was);
            let then = then(was);
            let place = match &then {
                None => Place::Settled,
                Some(Then::Ready(_)) => Place::Waiting,
                Some(Then::Away(away)) => Place::of(away),
            };
            tell_groups(&mut self.lanes, &mut self.tenants, piece, from, place);
            put.extend(then.map(|then| (piece, then)));
        });
        for (piece, then) in put {
            match then {
                Then::Ready(attempts) => {
                    self.ready += piece.len_below(self.end);
                    self.odd_mut().return_to_ready(piece, attempts);
                }
                Then::Away(to) => {
                    self.tally_away(&to, piece.len());
                    self.odd_mut().away.insert(piece, to);
                }
            }
        }
    }

    fn tally_away(&mut self, away: &Away, count: u64) {
        match away {
            Away::Leased { .. } => self.leased += count,
            Away::Delayed { .. } => self.delayed += count,
        }
    }

    fn odd_mut(&mut self) -> &mut Odd {
        self.odd.get_or_insert_default()
    }
}

/// Where a message goes that was leased or delayed.
enum Then {
    Ready(u32),
    Away(Away),
}

fn each(ranges: &[OffsetRange], mut act: impl FnMut(Span)) {
    for span in ranges.iter().filter_map(Span::of) {
        act(span);
    }
}

/// The messages of `span` went from one place to another: whoever sorts them by group is told.
fn tell_groups(
    lanes: &mut Option<Box<Lanes>>,
    tenants: &mut Option<Box<Tenants>>,
    span: Span,
    from: Place,
    to: Place,
) {
    if let Some(lanes) = lanes {
        lanes.put(span, to);
    }
    if let Some(tenants) = tenants {
        tenants.moved(span, from, to);
    }
}
