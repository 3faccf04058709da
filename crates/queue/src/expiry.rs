//! Messages that are worth something only until a moment.
//!
//! Time alone takes a message when it is the first of those that are ready: one that lies behind a
//! message without an end, or with a later one, waits for it. One that is leased is not touched
//! until it comes back. Neighbours with the same end are one entry, and what lies below the first
//! message that is not settled is forgotten.

use forebay_base::Timestamp;

use crate::decide::push;
use crate::delivery::Attempted;
use crate::run::{Due, RunMap, Span};
use crate::view::QueueView;

/// The end of messages that are worth something only to whoever waits for them already.
pub(crate) const AT_ONCE: Timestamp = Timestamp(0);

/// When messages end, by runs of neighbours.
pub type Ends = RunMap<Timestamp>;

impl Due for Timestamp {}

impl QueueView {
    /// The messages that time takes now: the first ones that are ready, as long as each has an end
    /// that is over; at most `max`, with the attempts made. Those that were to be handed out at
    /// once or never are taken only if `unwanted` says that nobody waits for them.
    pub fn ended(&self, now: Timestamp, unwanted: bool, max: usize) -> Vec<Attempted> {
        let mut found = Vec::new();
        let Some(ends) = &self.ends else {
            return found;
        };
        let mut left = u64::try_from(max).unwrap_or(u64::MAX);
        let over = |end: Timestamp| end <= now && (unwanted || end != AT_ONCE);
        for (span, attempts) in self.ready_spans() {
            let mut first = span.first;
            while first <= span.last && left > 0 {
                let Some((run, _)) = ends.get(first).filter(|(_, end)| over(*end)) else {
                    return found;
                };
                let last = run.last.min(span.last);
                let count = (last - first + 1).min(left);
                left -= count;
                let last = first + count - 1;
                push(&mut found, Span { first, last }, attempts);
                first = last + 1;
            }
            if left == 0 {
                break;
            }
        }
        found
    }

    /// The first messages that are ready, at most `max`, with the attempts made.
    pub fn oldest(&self, max: u64) -> Vec<Attempted> {
        let mut found = Vec::new();
        let mut left = max;
        for (span, attempts) in self.ready_spans() {
            let count = span.len().min(left);
            if count == 0 {
                break;
            }
            left -= count;
            let last = span.first + count - 1;
            push(&mut found, Span { last, ..span }, attempts);
        }
        found
    }

    /// When the first message that is ready ends, if it does.
    pub fn next_end(&self) -> Option<Timestamp> {
        let ends = self.ends.as_ref()?;
        let (span, _) = self.ready_spans().next()?;
        ends.get(span.first).map(|(_, end)| end)
    }

    /// The ends of messages that are not settled, for a snapshot; `None` if there are none.
    pub fn ends(&self) -> Option<&Ends> {
        self.ends.as_deref()
    }

    /// Takes up the ends that a snapshot holds.
    pub fn restore_ends(&mut self, ends: Ends) {
        self.ends = (!ends.is_empty()).then(|| Box::new(ends));
    }

    /// The messages that are ready, in order, by runs with the same attempts made.
    fn ready_spans(&self) -> impl Iterator<Item = (Span, u32)> + '_ {
        let returned = self.odd.iter().flat_map(|odd| odd.returned.iter());
        let mut returned = returned
            .filter(|(span, _)| span.first < self.end)
            .map(|(span, attempts)| {
                let last = span.last.min(self.end - 1);
                (Span { last, ..span }, attempts)
            })
            .peekable();
        let mut fresh = self.fresh_from(self.cursor);
        std::iter::from_fn(move || {
            let first = returned.peek().map(|(span, _)| span.first);
            match fresh {
                Some(span) if first.is_none_or(|first| span.first < first) => {
                    fresh = self.fresh_from(span.last + 1);
                    Some((span, 0))
                }
                _ => returned.next(),
            }
        })
    }

    /// These messages end then.
    pub(crate) fn end_at(&mut self, span: Span, at: Timestamp) {
        let low = self.low();
        let first = span.first.max(low);
        if first > span.last {
            return;
        }
        let span = Span { first, ..span };
        let ends = self.ends.get_or_insert_default();
        ends.carve(span, |_, _| {});
        ends.insert_joined(span, at);
    }

    /// Settled messages have no end.
    pub(crate) fn forget_ends(&mut self, settled: &[Span]) {
        if self.ends.is_none() {
            return;
        }
        let below = Span::below(self.low());
        if let Some(ends) = &mut self.ends {
            for span in settled.iter().copied().chain(below) {
                ends.carve(span, |_, _| {});
            }
            if ends.is_empty() {
                self.ends = None;
            }
        }
    }
}

/// The end of a message that lives so long from `now` on, milliseconds.
pub fn end_after(now: Timestamp, ms: u64) -> Timestamp {
    match ms {
        0 => AT_ONCE,
        ms => now.plus_ms(ms),
    }
}
