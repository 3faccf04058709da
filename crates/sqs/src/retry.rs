//! The attribute `ForebayRetryBackoff`, which AWS does not have: how long a message waits before it
//! is received again.
//!
//! ```json
//! {"initialSeconds": 1, "maxSeconds": 300, "multiplier": 2, "jitter": 0.2}
//! ```

use forebay_broker::Backoff;
use serde::Deserialize;

use crate::error::Fault;
use crate::limits::VISIBILITY_SECONDS_MAX;

const MULTIPLIER_MAX: f64 = 10.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    initial_seconds: f64,
    max_seconds: f64,
    #[serde(default = "doubling")]
    multiplier: f64,
    #[serde(default)]
    jitter: f64,
}

fn doubling() -> f64 {
    2.0
}

/// Reads the value of the attribute called `name`.
pub(crate) fn backoff(name: &str, value: &str) -> Result<Backoff, Fault> {
    let refused = |reason: &str| {
        Fault::InvalidAttributeValue(format!(
            "Invalid value for the parameter {name}. Reason: {reason}"
        ))
    };
    let document: Document = serde_json::from_str(value).map_err(|_| {
        refused("Must be a JSON map of the numbers initialSeconds, maxSeconds and, if wanted, multiplier and jitter.")
    })?;
    let longest = f64::from(VISIBILITY_SECONDS_MAX);
    if !(0.001..=longest).contains(&document.initial_seconds)
        || !(document.initial_seconds..=longest).contains(&document.max_seconds)
    {
        return Err(refused(&format!(
            "initialSeconds must be from 0.001 to maxSeconds, and maxSeconds at most {longest}."
        )));
    }
    if !(1.0..=MULTIPLIER_MAX).contains(&document.multiplier) {
        return Err(refused("multiplier must be from 1 to 10."));
    }
    if !(0.0..=1.0).contains(&document.jitter) {
        return Err(refused("jitter must be from 0 to 1."));
    }
    Ok(Backoff {
        first_ms: thousandths(document.initial_seconds),
        most_ms: thousandths(document.max_seconds),
        growth_percent: hundredths(document.multiplier),
        spread_percent: hundredths(document.jitter),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bounds were checked, and the cast saturates"
)]
fn thousandths(number: f64) -> u64 {
    (number * 1_000.0).round() as u64
}

fn hundredths(number: f64) -> u32 {
    u32::try_from(thousandths(number / 10.0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_with_its_defaults() {
        let read = backoff("N", r#"{"initialSeconds": 1.5, "maxSeconds": 300}"#).unwrap();
        let expected = Backoff {
            first_ms: 1_500,
            most_ms: 300_000,
            growth_percent: 200,
            spread_percent: 0,
        };
        assert_eq!(read, expected);
        let whole = r#"{"initialSeconds": 1, "maxSeconds": 1, "multiplier": 1.5, "jitter": 0.25}"#;
        let read = backoff("N", whole).unwrap();
        assert_eq!((read.growth_percent, read.spread_percent), (150, 25));
    }

    #[test]
    fn what_is_out_of_bounds_is_refused_with_the_reason() {
        for document in [
            "",
            "1",
            "{}",
            r#"{"initialSeconds": "1", "maxSeconds": 2}"#,
            r#"{"initialSeconds": 0, "maxSeconds": 2}"#,
            r#"{"initialSeconds": 3, "maxSeconds": 2}"#,
            r#"{"initialSeconds": 3, "maxSeconds": 43201}"#,
            r#"{"initialSeconds": 1, "maxSeconds": 2, "multiplier": 0.5}"#,
            r#"{"initialSeconds": 1, "maxSeconds": 2, "jitter": 1.5}"#,
            r#"{"initialSeconds": 1, "maxSeconds": 2, "other": 1}"#,
        ] {
            let refused = backoff("N", document).unwrap_err();
            let text = refused.message().into_owned();
            assert!(
                text.starts_with("Invalid value for the parameter N. Reason: "),
                "{text}"
            );
        }
    }
}
