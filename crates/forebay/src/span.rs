//! A time as it is written in options: `90s`, `15min`, `30days`.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A span of time of whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(u64);

impl Span {
    pub(crate) const fn of_seconds(seconds: u64) -> Self {
        Self(seconds)
    }

    pub(crate) fn seconds(self) -> u64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let time: Duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        Ok(Self(time.as_secs()))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_people_write_them() {
        let seconds = |text: &str| text.parse().map(Span::seconds);
        assert_eq!(seconds("15min"), Ok(900));
        assert_eq!(seconds("30days"), Ok(2_592_000));
        assert_eq!(seconds("1m 30s"), Ok(90));
        assert!(seconds("soon").is_err());
    }
}
