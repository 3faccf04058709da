//! The topic settings Kafka clients know, by name, and what they mean here.

use forebay_broker::{Compaction, Retention, TopicConfig};
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
    /// It is acted on, and its value is told from what the broker does.
    Acted,
    /// It is acted on, and its value is kept as it was given.
    Noted,
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
    setting("cleanup.policy", Kind::List, "delete", Effect::Noted),
    setting("compression.type", Kind::String, "producer", Effect::Fixed),
    setting("delete.retention.ms", Kind::Long, "86400000", Effect::Noted),
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
        Effect::Noted,
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
        Effect::Noted,
    ),
    setting(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "0.5",
        Effect::Noted,
    ),
    setting("min.compaction.lag.ms", Kind::Long, "0", Effect::Noted),
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
            note(config, name, value.map(|_| text));
            Ok(())
        }
        Effect::Noted => {
            check(config, name, text).map_err(invalid)?;
            let retention = limits(config);
            note(config, name, value.map(|_| text));
            put_limits(config, retention);
            config.compaction = compaction(config);
            Ok(())
        }
        Effect::Acted => act(config, name, value.is_some().then_some(text)).map_err(invalid),
    }
}

/// Puts every setting of a topic back to its default.
pub(crate) fn reset(config: &mut TopicConfig) -> Result<(), Failure> {
    for setting in SETTINGS {
        apply(config, setting.name, None)?;
    }
    Ok(())
}

/// Whether records get the time of the broker instead of their producer's.
pub(crate) fn appends_its_time(config: &TopicConfig) -> bool {
    noted(config, "message.timestamp.type") == "LogAppendTime"
}

/// Whether retention lets old records go, besides what compaction does.
pub(crate) fn deletes(config: &TopicConfig) -> bool {
    noted(config, "cleanup.policy").contains("delete")
}

fn label(name: &str) -> String {
    format!("{LABEL_PREFIX}{name}")
}

/// Keeps a value as it was given.
fn note(config: &mut TopicConfig, name: &str, value: Option<&str>) {
    match value {
        Some(text) => config.labels.insert(label(name), text.to_owned()),
        None => config.labels.remove(&label(name)),
    };
}

/// A value as it was given, or the default.
fn noted<'a>(config: &'a TopicConfig, name: &str) -> &'a str {
    let given = config.labels.get(&label(name)).map(String::as_str);
    given.unwrap_or_else(|| {
        let setting = SETTINGS.iter().find(|setting| setting.name == name);
        setting.map_or("", |setting| setting.default)
    })
}

/// The settings of compaction, if the topic is compacted.
fn compaction(config: &TopicConfig) -> Option<Compaction> {
    if !noted(config, "cleanup.policy").contains("compact") {
        return None;
    }
    let ms = |name| noted(config, name).parse().unwrap_or(0);
    let ratio: f64 = noted(config, "min.cleanable.dirty.ratio")
        .parse()
        .unwrap_or(0.0);
    Some(Compaction {
        min_lag_ms: ms("min.compaction.lag.ms"),
        max_lag_ms: ms("max.compaction.lag.ms"),
        delete_retention_ms: ms("delete.retention.ms"),
        min_dirty_ratio: (ratio * 1000.0).round() as u16,
    })
}

/// The limits of retention, in force or not: a topic that is compacted only has them for the day it
/// is not.
fn limits(config: &TopicConfig) -> (Option<u64>, Option<u64>) {
    if deletes(config) {
        return (config.retention.ms, config.retention.bytes);
    }
    let kept = |name| limit(noted(config, name)).ok().flatten();
    (kept("retention.ms"), kept("retention.bytes"))
}

fn put_limits(config: &mut TopicConfig, (ms, bytes): (Option<u64>, Option<u64>)) {
    let kept = [("retention.ms", ms), ("retention.bytes", bytes)];
    if deletes(config) {
        (config.retention.ms, config.retention.bytes) = (ms, bytes);
        for (name, _) in kept {
            note(config, name, None);
        }
    } else {
        (config.retention.ms, config.retention.bytes) = (None, None);
        for (name, value) in kept {
            note(config, name, Some(&limit_text(value)));
        }
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

/// Checks a value beyond its kind.
fn check(config: &TopicConfig, name: &str, text: &str) -> Result<(), &'static str> {
    match name {
        "cleanup.policy" => match words(text).as_slice() {
            ["delete"] => Ok(()),
            ["compact"] | ["compact", "delete"] | ["delete", "compact"] => {
                match config.retention.until_settled {
                    false => Ok(()),
                    true => Err(
                        "a queue keeps its messages until they are settled, and cannot be \
                                 compacted",
                    ),
                }
            }
            _ => Err("it must be delete, compact, or both with a comma between"),
        },
        "message.timestamp.type" => match text {
            "CreateTime" | "LogAppendTime" => Ok(()),
            _ => Err("it must be CreateTime or LogAppendTime"),
        },
        "min.cleanable.dirty.ratio" => match text.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(()),
            _ => Err("it must be from 0 to 1"),
        },
        "max.compaction.lag.ms" => match text.parse::<i64>() {
            Ok(ms) if ms >= 1 => Ok(()),
            _ => Err("it must be 1 or more"),
        },
        _ => match text.parse::<i64>() {
            Ok(ms) if ms >= 0 => Ok(()),
            _ => Err("it must be 0 or more"),
        },
    }
}

/// The values of a list.
pub(crate) fn words(text: &str) -> Vec<&str> {
    let words = text.split(',').map(str::trim);
    words.filter(|word| !word.is_empty()).collect()
}

/// Does what a setting says; without a value, what is usual.
fn act(config: &mut TopicConfig, name: &str, text: Option<&str>) -> Result<(), &'static str> {
    let (mut ms, mut bytes) = limits(config);
    match name {
        "max.message.bytes" => {
            config.max_message_bytes = match text {
                Some(text) => text.parse().map_err(|_| "it must not be negative")?,
                None => MAX_MESSAGE_BYTES_DEFAULT,
            };
        }
        "retention.bytes" => bytes = text.map(limit).transpose()?.flatten(),
        "retention.ms" => {
            ms = match text {
                Some(text) => Some(limit(text)?.unwrap_or(FOR_EVER_MS)),
                // Without a limit, as it was made.
                None if config.retention.until_settled => None,
                None => Some(RETENTION_MS_DEFAULT),
            };
        }
        _ => {}
    }
    put_limits(config, (ms, bytes));
    Ok(())
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
        "retention.bytes" => limit_text(limits(config).1),
        "retention.ms" => limit_text(limits(config).0),
        name => noted(config, name).to_owned(),
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
            ("cleanup.policy", "compact"),
            ("retention.ms", "5000"),
            ("cleanup.policy", "compact,delete"),
            ("message.timestamp.type", "LogAppendTime"),
            ("min.cleanable.dirty.ratio", "0.25"),
            ("min.compaction.lag.ms", "10"),
        ] {
            apply(&mut config, name, Some(text)).unwrap();
            assert_eq!(value(&config, name), text);
        }
        assert_eq!(config.retention.bytes, Some(4096));
        assert_eq!(config.retention.ms, Some(5000));
        let compaction = config.compaction.unwrap();
        assert_eq!(
            (compaction.min_dirty_ratio, compaction.min_lag_ms),
            (250, 10)
        );
        assert!(appends_its_time(&config));
        apply(&mut config, "retention.ms", Some("-1")).unwrap();
        assert_eq!(config.retention.ms, Some(FOR_EVER_MS));
        apply(&mut config, "retention.ms", None).unwrap();
        assert_eq!(config.retention.ms, Some(RETENTION_MS_DEFAULT));
        apply(&mut config, "segment.bytes", None).unwrap();
        assert_eq!(value(&config, "segment.bytes"), "1073741824");
    }

    #[test]
    fn a_topic_that_is_only_compacted_keeps_its_limits_for_later() {
        let mut config = default_config(1);
        apply(&mut config, "retention.bytes", Some("77")).unwrap();
        apply(&mut config, "cleanup.policy", Some(" compact ")).unwrap();
        assert_eq!(config.compaction, Some(Compaction::default()));
        assert_eq!((config.retention.ms, config.retention.bytes), (None, None));
        assert_eq!(value(&config, "retention.ms"), "604800000");
        assert_eq!(value(&config, "retention.bytes"), "77");
        apply(&mut config, "retention.ms", Some("88")).unwrap();
        assert_eq!(config.retention.ms, None);
        apply(&mut config, "delete.retention.ms", Some("9")).unwrap();
        assert_eq!(config.compaction.unwrap().delete_retention_ms, 9);

        apply(&mut config, "cleanup.policy", Some("delete,compact")).unwrap();
        assert_eq!(
            (config.retention.ms, config.retention.bytes),
            (Some(88), Some(77))
        );
        assert!(config.compaction.is_some());
        apply(&mut config, "cleanup.policy", Some("compact")).unwrap();
        apply(&mut config, "cleanup.policy", None).unwrap();
        assert_eq!(
            (config.retention.ms, config.retention.bytes),
            (Some(88), Some(77))
        );
        assert_eq!(config.compaction, None);
        reset(&mut config).unwrap();
        assert_eq!(config, default_config(1));
    }

    #[test]
    fn a_queue_is_not_compacted_and_has_no_limit_of_its_own() {
        let mut config = TopicConfig::default();
        let refused = apply(&mut config, "cleanup.policy", Some("compact"));
        assert_eq!(refused.unwrap_err().error, ResponseError::InvalidConfig);
        apply(&mut config, "retention.ms", Some("5")).unwrap();
        assert_eq!(config.retention.ms, Some(5));
        reset(&mut config).unwrap();
        assert_eq!(config.retention, Retention::until_settled());
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        for (name, text) in [
            ("cleanup.policy", ""),
            ("cleanup.policy", "compact,compact"),
            ("cleanup.policy", "nonsense"),
            ("compression.type", "gzip"),
            ("message.timestamp.type", "SomeTime"),
            ("min.cleanable.dirty.ratio", "1.1"),
            ("min.compaction.lag.ms", "-1"),
            ("max.compaction.lag.ms", "0"),
            ("delete.retention.ms", "-1"),
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
