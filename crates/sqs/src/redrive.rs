//! `RedrivePolicy` and `RedriveAllowPolicy`: JSON documents inside attributes.

use forebay_broker::{DeadLetterTarget, TopicConfig};
use serde_json::{Map, Value};

use crate::error::Fault;
use crate::limits::{RECEIVE_COUNT, REDRIVE_SOURCES_MAX};
use crate::queue_name;

const MAX_RECEIVE_COUNT: &str = "maxReceiveCount";
const DEAD_LETTER_TARGET: &str = "deadLetterTargetArn";

/// What a redrive policy asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Redrive {
    /// Deliveries before a message moves; 1 to 1,000.
    pub(crate) max_receive_count: u32,
    /// The name of the dead-letter queue.
    pub(crate) queue: String,
}

/// What a queue is to another one that wants it as its dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeadLetterQueue {
    Missing,
    /// Its redrive allow policy does not name the other one.
    Denied,
    Allowed,
}

/// The members of a document that is a JSON object.
pub(crate) fn object(document: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(document).ok()
}

/// Reads a redrive policy. Its dead-letter queue must exist, and be a FIFO queue if the source is
/// one.
pub(crate) fn policy(
    document: &str,
    fifo: bool,
    find: impl Fn(&str) -> DeadLetterQueue,
) -> Result<Redrive, Fault> {
    let invalid = |reason: &str| Fault::invalid(document, "RedrivePolicy", reason);
    let missing = |name: &str| {
        invalid(&format!(
            "Redrive policy does not contain mandatory attribute: {name}."
        ))
    };
    let object = object(document).ok_or_else(|| {
        Fault::InvalidParameterValue(
            "Invalid value for the parameter RedrivePolicy. Reason: Redrive policy is not a valid JSON map.".to_owned(),
        )
    })?;
    let count = object
        .get(MAX_RECEIVE_COUNT)
        .ok_or_else(|| missing(MAX_RECEIVE_COUNT))?;
    let target = object
        .get(DEAD_LETTER_TARGET)
        .ok_or_else(|| missing(DEAD_LETTER_TARGET))?;
    if object.len() > 2 {
        return Err(invalid(
            "Only following attributes are supported: [maxReceiveCount, deadLetterTargetArn].",
        ));
    }
    let max_receive_count = receive_count(count).ok_or_else(|| {
        let text = count.as_str().map_or_else(|| count.to_string(), str::to_owned);
        let (least, most) = RECEIVE_COUNT;
        invalid(&format!(
            "Invalid value for maxReceiveCount: {text}, valid values are from {least} to {most} both inclusive."
        ))
    })?;
    let queue = target
        .as_str()
        .ok_or("Invalid value for deadLetterTargetArn.")
        .and_then(queue_name::from_arn)
        .map_err(invalid)?;
    if queue_name::is_fifo(queue) != fifo {
        return Err(invalid(
            "Dead-letter queue must be same type of queue as the source..",
        ));
    }
    match find(queue) {
        DeadLetterQueue::Missing => {
            return Err(invalid("Dead letter target does not exist."));
        }
        DeadLetterQueue::Denied => {
            return Err(invalid(
                "The dead letter target does not allow this queue as a source by its RedriveAllowPolicy.",
            ));
        }
        DeadLetterQueue::Allowed => {}
    }
    Ok(Redrive {
        max_receive_count,
        queue: queue.to_owned(),
    })
}

/// A count may be a number or a string of digits.
fn receive_count(value: &Value) -> Option<u32> {
    let count = match value {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    let count = u32::try_from(count).ok()?;
    (RECEIVE_COUNT.0..=RECEIVE_COUNT.1)
        .contains(&count)
        .then_some(count)
}

/// Makes the topic follow the policy, or none.
pub(crate) fn install(config: &mut TopicConfig, policy: Option<Redrive>) {
    config.max_deliveries = policy.as_ref().map(|policy| policy.max_receive_count);
    config.dead_letter = policy.map(|policy| DeadLetterTarget::Topic(policy.queue));
}

/// Whether a redrive allow policy, if there is one, lets the queue `source` use its queue as
/// dead-letter queue. It is asked when that is to begin; what was begun before goes on.
pub(crate) fn allows(document: Option<&str>, source: &str) -> bool {
    let Some(object) = document.and_then(object) else {
        return true;
    };
    match object.get("redrivePermission").and_then(Value::as_str) {
        Some("denyAll") => false,
        Some("byQueue") => {
            let sources = object.get("sourceQueueArns").and_then(Value::as_array);
            let mut names = sources.into_iter().flatten().filter_map(Value::as_str);
            names.any(|arn| queue_name::from_arn(arn) == Ok(source))
        }
        _ => true,
    }
}

/// Judges a redrive allow policy.
pub(crate) fn check_allow_policy(document: &str) -> Result<(), Fault> {
    let is_legal = object(document).is_some_and(|object| {
        let sources = object.get("sourceQueueArns").map(Value::as_array);
        match object.get("redrivePermission").and_then(Value::as_str) {
            Some("allowAll" | "denyAll") => sources.is_none(),
            Some("byQueue") => matches!(
                sources,
                Some(Some(arns)) if (1..=REDRIVE_SOURCES_MAX).contains(&arns.len())
                    && arns.iter().all(|arn| arn.as_str().is_some_and(|arn| queue_name::from_arn(arn).is_ok()))
            ),
            _ => false,
        }
    });
    if is_legal {
        return Ok(());
    }
    Err(Fault::InvalidParameterValue(
        "Invalid value for the parameter RedriveAllowPolicy. Reason: Amazon SQS can't create the redrive allow policy, as it\u{2019}s in an unsupported format.".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(exists: bool) -> DeadLetterQueue {
        match exists {
            true => DeadLetterQueue::Allowed,
            false => DeadLetterQueue::Missing,
        }
    }

    const ARN: &str = "arn:aws:sqs:us-east-1:000000000000:dead";

    fn refused(document: &str) -> String {
        match policy(document, false, |name| found(name == "dead")) {
            Err(Fault::InvalidParameterValue(text)) => text,
            other => panic!("{document}: {other:?}"),
        }
    }

    #[test]
    fn a_count_may_be_number_or_text() {
        for count in ["5", "\"5\""] {
            let document =
                format!(r#"{{"deadLetterTargetArn":"{ARN}","maxReceiveCount":{count}}}"#);
            let expected = Redrive {
                max_receive_count: 5,
                queue: "dead".to_owned(),
            };
            assert_eq!(
                policy(&document, false, |name| found(name == "dead")),
                Ok(expected)
            );
        }
    }

    #[test]
    fn bad_policies_are_refused_in_the_words_of_aws() {
        for document in [" ", "4", "[]", "{"] {
            assert_eq!(
                refused(document),
                "Invalid value for the parameter RedrivePolicy. Reason: Redrive policy is not a valid JSON map."
            );
        }
        assert_eq!(
            refused("{}"),
            "Value {} for parameter RedrivePolicy is invalid. Reason: Redrive policy does not contain mandatory attribute: maxReceiveCount."
        );
        assert!(
            refused(r#"{"maxReceiveCount":5}"#)
                .ends_with("mandatory attribute: deadLetterTargetArn.")
        );
        for count in ["0", "1001", "-36", "\"x\"", "1.5", "null"] {
            let document =
                format!(r#"{{"deadLetterTargetArn":"{ARN}","maxReceiveCount":{count}}}"#);
            let shown = count.trim_matches('"');
            assert!(
                refused(&document).ends_with(&format!(
                    "Invalid value for maxReceiveCount: {shown}, valid values are from 1 to 1000 both inclusive."
                )),
                "{count}"
            );
        }
        let with = |arn: &str| format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":1}}"#);
        assert!(
            refused(&with("arn:aws:sqs:us-east-1:000000000000:other"))
                .ends_with("Dead letter target does not exist.")
        );
        assert!(
            refused(&with("arn:aws:sqs:us-east-1:000000000000:dead.fifo"))
                .contains("same type of queue")
        );
        assert!(
            refused(&with("arn:aws:sns:us-east-1:000000000000:dead")).contains("Only SQS queues")
        );
        assert!(
            refused(&format!(
                r#"{{"deadLetterTargetArn":"{ARN}","maxReceiveCount":1,"x":1}}"#
            ))
            .contains("Only following attributes")
        );
    }

    #[test]
    fn allow_policies_are_judged() {
        let by_queue = format!(r#"{{"redrivePermission":"byQueue","sourceQueueArns":["{ARN}"]}}"#);
        for document in [
            r#"{"redrivePermission":"allowAll"}"#,
            r#"{"redrivePermission":"denyAll"}"#,
            &by_queue,
        ] {
            assert_eq!(check_allow_policy(document), Ok(()), "{document}");
        }
        let many = format!(
            r#"{{"redrivePermission":"byQueue","sourceQueueArns":[{}"{ARN}"]}}"#,
            format!("\"{ARN}\",").repeat(10)
        );
        for document in [
            "x",
            "[]",
            "{}",
            r#"{"redrivePermission":"byQueue"}"#,
            r#"{"redrivePermission":"some"}"#,
            &many,
        ] {
            assert!(check_allow_policy(document).is_err(), "{document}");
        }
    }

    #[test]
    fn an_allow_policy_lets_in_whom_it_names() {
        let by_queue = format!(r#"{{"redrivePermission":"byQueue","sourceQueueArns":["{ARN}"]}}"#);
        assert!(allows(None, "any") && allows(Some(&by_queue), "dead"));
        assert!(!allows(Some(&by_queue), "other"));
        assert!(allows(Some(r#"{"redrivePermission":"allowAll"}"#), "any"));
        assert!(!allows(Some(r#"{"redrivePermission":"denyAll"}"#), "any"));
    }
}
