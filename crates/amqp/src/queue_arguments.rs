//! The arguments of `queue.declare` that set limits: what they must be, in RabbitMQ's words, and what
//! they make of a topic.

use forebay_broker::{Overflow, TopicConfig};

use crate::arguments::{Argument, Arguments};

pub(crate) const MESSAGE_TTL: &str = "x-message-ttl";
pub(crate) const EXPIRES: &str = "x-expires";
pub(crate) const MAX_LENGTH: &str = "x-max-length";
pub(crate) const OVERFLOW: &str = "x-overflow";
pub(crate) const SINGLE_ACTIVE: &str = "x-single-active-consumer";
pub(crate) const STRATEGY: &str = "x-dead-letter-strategy";

/// The longest time RabbitMQ takes, milliseconds.
const LONGEST_MS: i64 = 4_294_967_295;

/// An argument that is not what it must be, and why.
pub(crate) type Invalid = (&'static str, String);

/// Sets what the arguments say.
pub(crate) fn apply(arguments: &Arguments, config: &mut TopicConfig) -> Result<(), Invalid> {
    config.message_ms = number(arguments, MESSAGE_TTL, 0, LONGEST_MS)?;
    config.idle_ms = number(arguments, EXPIRES, 1, LONGEST_MS)?;
    config.max_length = number(arguments, MAX_LENGTH, 0, i64::MAX)?;
    config.overflow = match text(arguments, OVERFLOW)? {
        None | Some("drop-head") => Overflow::DropOldest,
        Some("reject-publish") => Overflow::Refuse,
        Some("reject-publish-dlx") => Overflow::RefuseAndDeadLetter,
        Some(_) => return Err((OVERFLOW, "invalid_overflow".into())),
    };
    config.single_active = match arguments.get(SINGLE_ACTIVE) {
        None => false,
        Some(value) => value
            .boolean()
            .ok_or_else(|| unacceptable(SINGLE_ACTIVE, value))?,
    };
    // Dead letters are never lost on the way here, whichever is asked for.
    match text(arguments, STRATEGY)? {
        None | Some("at-most-once" | "at-least-once") => Ok(()),
        Some(_) => Err((STRATEGY, "invalid_dlx_strategy".into())),
    }
}

fn number(
    arguments: &Arguments,
    name: &'static str,
    least: i64,
    most: i64,
) -> Result<Option<u64>, Invalid> {
    let Some(value) = arguments.get(name) else {
        return Ok(None);
    };
    let number = value.integer().ok_or_else(|| unacceptable(name, value))?;
    let why = match number {
        number if number < 0 => "value_negative",
        number if number < least => "value_zero",
        number if number > most => "value_too_big",
        number => return Ok(u64::try_from(number).ok()),
    };
    Err((name, format!("{{{why},{number}}}")))
}

fn text<'a>(arguments: &'a Arguments, name: &'static str) -> Result<Option<&'a str>, Invalid> {
    let Some(value) = arguments.get(name) else {
        return Ok(None);
    };
    match value.text() {
        Some(text) => Ok(Some(text)),
        None => Err(unacceptable(name, value)),
    }
}

fn unacceptable(name: &'static str, value: &Argument) -> Invalid {
    (name, format!("{{unacceptable_type,{}}}", value.kind()))
}

#[cfg(test)]
mod tests {
    use amq_protocol::types::{AMQPValue, FieldTable};

    use super::*;

    fn made(name: &str, value: AMQPValue) -> Result<TopicConfig, Invalid> {
        let mut table = FieldTable::default();
        table.insert(name.into(), value);
        let mut config = TopicConfig::default();
        apply(&Arguments::of(&table), &mut config).map(|()| config)
    }

    fn refused(name: &str, value: AMQPValue) -> String {
        made(name, value).unwrap_err().1
    }

    #[test]
    fn what_is_not_a_time_or_a_length_is_refused_in_rabbitmqs_words() {
        let text = || AMQPValue::LongString("1".into());
        assert_eq!(refused(MESSAGE_TTL, text()), "{unacceptable_type,longstr}");
        assert_eq!(
            refused(MESSAGE_TTL, AMQPValue::LongInt(-1)),
            "{value_negative,-1}"
        );
        assert_eq!(refused(EXPIRES, AMQPValue::LongInt(0)), "{value_zero,0}");
        assert_eq!(
            refused(EXPIRES, AMQPValue::LongLongInt(LONGEST_MS + 1)),
            "{value_too_big,4294967296}"
        );
        assert_eq!(refused(OVERFLOW, text()), "invalid_overflow");
        assert_eq!(refused(STRATEGY, text()), "invalid_dlx_strategy");
        assert_eq!(
            refused(SINGLE_ACTIVE, text()),
            "{unacceptable_type,longstr}"
        );
    }

    #[test]
    fn nothing_is_a_time_and_a_length() {
        let zero = AMQPValue::LongInt(0);
        let ttl = made(MESSAGE_TTL, zero.clone()).unwrap();
        assert_eq!((ttl.message_ms, ttl.max_length), (Some(0), None));
        assert_eq!(made(MAX_LENGTH, zero).unwrap().max_length, Some(0));
    }
}
