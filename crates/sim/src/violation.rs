//! A promise that was broken.

use std::fmt;

/// What was promised, and what was seen instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What a client had reason to expect.
    pub promised: String,
    /// What happened.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  promised: {}\n  seen:     {}",
            self.promised, self.seen
        )
    }
}

pub(crate) type Audited<T = ()> = Result<T, Violation>;

/// The violation of `promised` by `seen`.
pub(crate) fn broken<T>(promised: impl Into<String>, seen: impl Into<String>) -> Audited<T> {
    Err(Violation {
        promised: promised.into(),
        seen: seen.into(),
    })
}
