//! The history of a dead letter: every queue it died in, as its record's header keeps it.
//!
//! One line for each queue and reason, the latest death first:
//!
//! ```text
//! count time(ms since 1970) order reason len:source len:exchange len:routing-key
//! ```
//!
//! `order` is `first` for the death the message died first, else `later`. Lengths are in bytes, and
//! the names behind them may hold any text.

use std::fmt::Write;
use std::sync::Arc;

/// Deaths that are remembered; beyond that the oldest is forgotten, but never the first.
const DEATHS_MAX: usize = 32;

/// One way in which a message died, once or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// How often.
    pub count: u64,
    /// When for the first time, milliseconds since 1970.
    pub time_ms: u64,
    /// Whether no other death came before it.
    pub first: bool,
    /// Why: one of the words of [`crate::envelope::DEAD_LETTER_REASON`].
    pub reason: String,
    /// The topic it died in.
    pub source: String,
    /// The exchange it had been published to; empty for the default one.
    pub exchange: String,
    /// The routing key it had been published with.
    pub routing_key: String,
}

/// The deaths of a message, the latest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deaths(Vec<Death>);

impl Deaths {
    /// Reads a header's value. What is not of this form is left out: anyone may have written it.
    pub fn read(text: &[u8]) -> Self {
        let Ok(mut text) = std::str::from_utf8(text) else {
            return Self::default();
        };
        let mut deaths = Vec::new();
        while !text.is_empty() && deaths.len() < DEATHS_MAX {
            let Some((death, rest)) = read_one(text) else {
                break;
            };
            deaths.push(death);
            text = rest;
        }
        Self(deaths)
    }

    /// As the header's value.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for death in &self.0 {
            let order = if death.first { "first" } else { "later" };
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "{} {} {order} {}",
                death.count, death.time_ms, death.reason
            );
            for name in [&death.source, &death.exchange, &death.routing_key] {
                let _ = write!(text, " {}:{name}", name.len());
            }
            text.push('\n');
        }
        text
    }

    /// The deaths, the latest first.
    pub fn iter(&self) -> std::slice::Iter<'_, Death> {
        self.0.iter()
    }

    /// The latest death.
    pub fn last(&self) -> Option<&Death> {
        self.0.first()
    }

    /// The death before all others.
    pub fn first(&self) -> Option<&Death> {
        self.0.iter().find(|death| death.first)
    }

    /// The message has died again: an equal death counts once more and becomes the latest.
    pub(crate) fn add(&mut self, new: Death) {
        let known = self
            .0
            .iter()
            .position(|death| death.source == new.source && death.reason == new.reason);
        let death = match known.map(|at| self.0.remove(at)) {
            Some(death) => Death {
                count: death.count.saturating_add(1),
                ..death
            },
            None => Death {
                first: self.0.is_empty(),
                ..new
            },
        };
        self.0.insert(0, death);
        if self.0.len() > DEATHS_MAX
            && let Some(oldest) = self.0.iter().rposition(|death| !death.first)
        {
            self.0.remove(oldest);
        }
    }

    /// The topics it died in since it was `rejected` last: if it came to one of them again, it
    /// would go round without anybody having looked at it.
    pub(crate) fn without_rejection(&self, rejected: &str) -> Vec<Arc<str>> {
        self.0
            .iter()
            .take_while(|death| death.reason != rejected)
            .map(|death| death.source.as_str().into())
            .collect()
    }
}

fn read_one(text: &str) -> Option<(Death, &str)> {
    let (line, rest) = text.split_once(' ')?;
    let count = line.parse().ok()?;
    let (time, rest) = rest.split_once(' ')?;
    let (order, rest) = rest.split_once(' ')?;
    let (reason, mut rest) = rest.split_once(' ')?;
    let mut name = |end: char| {
        let (length, after) = rest.split_once(':')?;
        let (name, after) = after.split_at_checked(length.parse().ok()?)?;
        rest = after.strip_prefix(end)?;
        Some(name.to_owned())
    };
    let death = Death {
        count,
        time_ms: time.parse().ok()?,
        first: order == "first",
        reason: reason.to_owned(),
        source: name(' ')?,
        exchange: name(' ')?,
        routing_key: name('\n')?,
    };
    Some((death, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn death(source: &str, reason: &str) -> Death {
        Death {
            count: 1,
            time_ms: 5,
            first: false,
            reason: reason.into(),
            source: source.into(),
            exchange: "an exchange:\n".into(),
            routing_key: String::new(),
        }
    }

    #[test]
    fn an_equal_death_counts_and_becomes_the_latest_and_the_first_stays_known() {
        let mut deaths = Deaths::default();
        for (source, reason) in [("a", "rejected"), ("b", "expired"), ("a", "rejected")] {
            deaths.add(death(source, reason));
        }
        let seen: Vec<_> = deaths
            .iter()
            .map(|death| (&*death.source, death.count, death.first))
            .collect();
        assert_eq!(seen, [("a", 2, true), ("b", 1, false)]);
        for n in 0..DEATHS_MAX {
            deaths.add(death(&n.to_string(), "expired"));
        }
        assert_eq!(deaths.iter().count(), DEATHS_MAX);
        assert_eq!(deaths.first().unwrap().source, "a");
    }

    #[test]
    fn only_what_came_after_the_last_rejection_closes_a_circle() {
        let mut deaths = Deaths::default();
        for (source, reason) in [("a", "expired"), ("b", "rejected"), ("c", "expired")] {
            deaths.add(death(source, reason));
        }
        let names: Vec<_> = deaths.without_rejection("rejected");
        assert_eq!(names, ["c".into()]);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(
            names in prop::collection::vec((".{0,9}", ".{0,9}", ".{0,9}", any::<u64>()), 0..9),
        ) {
            let mut deaths = Deaths::default();
            for (source, exchange, routing_key, time_ms) in names {
                let reason = "rejected".into();
                deaths.add(Death { count: 1, time_ms, first: false, reason, source, exchange, routing_key });
            }
            prop_assert_eq!(Deaths::read(deaths.to_text().as_bytes()), deaths);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            let _ = Deaths::read(&bytes);
        }
    }
}
