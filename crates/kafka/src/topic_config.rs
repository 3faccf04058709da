//! The topic settings Kafka clients know, by name, and what they mean here.

use forebay_broker::{Retention, TopicConfig};
use kafka_protocol::ResponseError;

use crate::error::Failure;

/// Most partitions a topic may have.
pub(crate) const PARTITIONS_MAX: i32 = 10_000;
/// How long Kafka keeps records unless told otherwise: 7 days, in milliseconds.
pub(crate) const RETENTION_MS_DEFAULT: u64 = 7 * 24 * 60 * 60 * 1000;
/// The largest batch Kafka takes unless told otherwise, bytes.
pub(crate) const MAX_MESSAGE_BYTES_DEFAULT: u32 = 1_048_588;
/// Keeps records for ever.
const FOR_EVER_MS: u64 = i64::MAX as u64;
/// Labels of settings that are kept for Kafka clients and not acted on start so.
const LABEL_PREFIX: &str = "kafka.";

/// The kind of a setting's value: the numbers of DescribeConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    String = 2,
    /// A number of 32 bits.
    Int = 3,
    /// A number of 64 bits.
    Long = 5,
    /// A number with a fraction.
    Double = 6,
    /// Texts with commas between them.
    List = 7,
}

/// What is done about a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It is acted on, or says how things are.
    Acted,
    /// It is about how Kafka stores records: kept, and without effect.
    Kept,
    /// Only the default value can be had.
    Fixed,
}

/// A setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name.
    pub(crate) name: &'static str,
    /// The value of a topic made without it.
    pub(crate) default: &'static str,
    /// What its value is.
    pub(crate) kind: Kind,
    effect: Effect,
}

const fn setting(name: &'static str, kind: Kind, default: &'static str, effect: Effect) -> Setting {
    Setting {
        name,
        default,
        kind,
        effect,
    }
}

/// Every setting of a topic, by name.
pub(crate) static SETTINGS: &[Setting] = &[
    setting("cleanup.policy", Kind::List, "delete", Effect::Acted),
    setting("compression.type", Kind::String, "producer", Effect::Fixed),
    setting("delete.retention.ms", Kind::Long, "86400000", Effect::Kept),
    setting("file.delete.delay.ms", Kind::Long, "60000", Effect::Kept),
    setting(
        "flush.messages",
        Kind::Long,
        "9223372036854775807",
        Effect::Kept,
    ),
    setting("flush.ms", Kind::Long, "9223372036854775807", Effect::Kept),
    setting("index.interval.bytes", Kind::Int, "4096", Effect::Kept),
    setting(
        "max.compaction.lag.ms",
        Kind::Long,
        "9223372036854775807",
        Effect::Kept,
    ),
    setting("max.message.bytes", Kind::Int, "1048588", Effect::Acted),
    setting(
        "message.timestamp.after.max.ms",
        Kind::Long,
        "3600000",
        Effect::Kept,
    ),
    setting(
        "message.timestamp.before.max.ms",
        Kind::Long,
        "9223372036854775807",
        Effect::Kept,
    ),
    setting(
        "message.timestamp.type",
        Kind::String,
        "CreateTime",
        Effect::Fixed,
    ),
    setting(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "0.5",
        Effect::Kept,
    ),
    setting("min.compaction.lag.ms", Kind::Long, "0", Effect::Kept),
    setting("min.insync.replicas", Kind::Int, "1", Effect::Fixed),
    setting("preallocate", Kind::Boolean, "false", Effect::Kept),
    setting("retention.bytes", Kind::Long, "-1", Effect::Acted),
    setting("retention.ms", Kind::Long, "604800000", Effect::Acted),
    setting("segment.bytes", Kind::Int, "1073741824", Effect::Kept),
    setting("segment.index.bytes", Kind::Int, "10485760", Effect::Kept),
    setting("segment.jitter.ms", Kind::Long, "0", Effect::Kept),
    setting("segment.ms", Kind::Long, "604800000", Effect::Kept),
    setting(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        Effect::Kept,
    ),
];

/// What a topic made by a Kafka client is, before its settings.
pub(crate) fn default_config(partitions: u32) -> TopicConfig {
    TopicConfig {
        partitions,
        retention: Retention::for_ms(RETENTION_MS_DEFAULT),
        max_message_bytes: MAX_MESSAGE_BYTES_DEFAULT,
        ..TopicConfig::default()
    }
}

/// Puts one setting into a topic's policy; without a value it goes back to the default.
pub(crate) fn apply(
    config: &mut TopicConfig,
    name: &str,
    value: Option<&str>,
) -> Result<(), Failure> {
    let invalid = |why: &str| {
        Failure::new(
            ResponseError::InvalidConfig,
            format!(
                "Invalid value {} for {name}: {why}",
                value.unwrap_or("null")
            ),
        )
    };
    let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else {
        return Err(Failure::new(
            ResponseError::InvalidConfig,
            format!("Unknown topic config name: {name}"),
        ));
    };
    let text = value.unwrap_or(setting.default).trim();
    check_kind(setting.kind, text).map_err(invalid)?;
    match setting.effect {
        Effect::Fixed if text != setting.default => {
            Err(invalid(&format!("only {} is supported", setting.default)))
        }
        Effect::Fixed => Ok(()),
        Effect::Kept => {
            let label = format!("{LABEL_PREFIX}{name}");
            match value {
                Some(_) => config.labels.insert(label, text.to_owned()),
                None => config.labels.remove(&label),
            };
            Ok(())
        }
        Effect::Acted => act(config, name, text).map_err(invalid),
    }
}

fn check_kind(kind: Kind, text: &str) -> Result<(), &'static str> {
    let fits = match kind {
        Kind::Boolean => matches!(text, "true" | "false"),
        Kind::String | Kind::List => true,
        Kind::Int => text.parse::<i32>().is_ok(),
        Kind::Long => text.parse::<i64>().is_ok(),
        Kind::Double => text.parse::<f64>().is_ok_and(f64::is_finite),
    };
    match kind {
        _ if fits => Ok(()),
        Kind::Boolean => Err("it must be true or false"),
        _ => Err("it must be a number in the range of its kind"),
    }
}

fn act(config: &mut TopicConfig, name: &str, text: &str) -> Result<(), &'static str> {
    match name {
        "cleanup.policy" => match text {
            "delete" => Ok(()),
            "compact" | "compact,delete" | "delete,compact" => {
                Err("compaction is not supported yet, only delete is")
            }
            _ => Err("it must be delete"),
        },
        "max.message.bytes" => {
            config.max_message_bytes = text.parse().map_err(|_| "it must not be negative")?;
            Ok(())
        }
        "retention.bytes" => {
            config.retention.bytes = limit(text)?;
            Ok(())
        }
        "retention.ms" => {
            config.retention.ms = Some(limit(text)?.unwrap_or(FOR_EVER_MS));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A limit, `None` for -1.
fn limit(text: &str) -> Result<Option<u64>, &'static str> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(value) => u64::try_from(value)
            .map(Some)
            .map_err(|_| "it must be -1 or more"),
        Err(_) => Err("it must be a number"),
    }
}

/// The value a topic has for a setting.
pub(crate) fn value_of(config: &TopicConfig, setting: &Setting) -> String {
    match setting.name {
        "max.message.bytes" => config.max_message_bytes.to_string(),
        "retention.bytes" => limit_text(config.retention.bytes),
        "retention.ms" => limit_text(config.retention.ms),
        name => config
            .labels
            .get(&format!("{LABEL_PREFIX}{name}"))
            .cloned()
            .unwrap_or_else(|| setting.default.to_owned()),
    }
}

fn limit_text(limit: Option<u64>) -> String {
    match limit {
        Some(limit) if limit < FOR_EVER_MS => limit.to_string(),
        _ => "-1".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(config: &TopicConfig, name: &str) -> String {
        let setting = SETTINGS.iter().find(|s| s.name == name).unwrap();
        value_of(config, setting)
    }

    #[test]
    fn a_topic_without_settings_has_the_defaults_that_are_listed() {
        let config = default_config(1);
        for setting in SETTINGS {
            assert_eq!(
                value_of(&config, setting),
                setting.default,
                "{}",
                setting.name
            );
        }
    }

    #[test]
    fn settings_come_back_as_they_were_given() {
        let mut config = default_config(1);
        for (name, text) in [
            ("retention.ms", "1000"),
            ("retention.ms", "-1"),
            ("retention.bytes", "4096"),
            ("max.message.bytes", "77"),
            ("segment.bytes", "1048576"),
            ("cleanup.policy", "delete"),
        ] {
            apply(&mut config, name, Some(text)).unwrap();
            assert_eq!(value(&config, name), text);
        }
        assert_eq!(config.retention.bytes, Some(4096));
        assert_eq!(config.retention.ms, Some(FOR_EVER_MS));
        apply(&mut config, "retention.ms", None).unwrap();
        assert_eq!(config.retention.ms, Some(RETENTION_MS_DEFAULT));
        apply(&mut config, "segment.bytes", None).unwrap();
        assert_eq!(value(&config, "segment.bytes"), "1073741824");
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for (name, text) in [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "nonsense"),
            ("compression.type", "gzip"),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.insync.replicas", "2"),
            ("retention.ms", "-2"),
            ("retention.ms", "soon"),
            ("max.message.bytes", "-1"),
            ("preallocate", "maybe"),
            ("no.such.setting", "1"),
        ] {
            let failure = apply(&mut default_config(1), name, Some(text)).unwrap_err();
            assert_eq!(failure.error, ResponseError::InvalidConfig, "{name}={text}");
        }
    }
}
