//! Tags of a queue: labels of its topic.

use forebay_broker::TopicConfig;

use crate::error::Fault;
use crate::limits::{TAG_KEY_CHARS_MAX, TAG_VALUE_CHARS_MAX, TAGS_MAX};
use crate::text;

/// Before the key of a tag among the labels.
const PREFIX: &str = "sqs.tag.";
/// What AWS keeps for itself.
const RESERVED: &str = "aws:";

/// The tags of a queue, in order of their keys.
pub(crate) fn all(config: &TopicConfig) -> impl Iterator<Item = (&str, &str)> {
    config
        .labels
        .range(PREFIX.to_owned()..)
        .map_while(|(label, value)| Some((label.strip_prefix(PREFIX)?, value.as_str())))
}

/// Adds tags to the queue `name`, or overwrites those it has.
pub(crate) fn set<'a>(
    config: &mut TopicConfig,
    name: &str,
    tags: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), Fault> {
    for (key, value) in tags {
        check_key(key)?;
        let invalid = |text: &str| Err(Fault::InvalidParameterValue(text.to_owned()));
        if key.starts_with(RESERVED) {
            return invalid("Tag keys must not start with \"aws:\".");
        }
        if value.chars().count() > TAG_VALUE_CHARS_MAX {
            return invalid("Tag values must be between 0 and 256 characters in length.");
        }
        if !text::is_legal(key) || !text::is_legal(value) {
            return invalid("Tags must not contain control characters.");
        }
        config
            .labels
            .insert(format!("{PREFIX}{key}"), value.to_owned());
        if all(config).nth(TAGS_MAX).is_some() {
            return Err(Fault::InvalidParameterValue(format!(
                "Too many tags added for queue {name}."
            )));
        }
    }
    Ok(())
}

/// Takes away tags; those it does not have are passed over.
pub(crate) fn remove<'a>(
    config: &mut TopicConfig,
    keys: impl Iterator<Item = &'a str>,
) -> Result<(), Fault> {
    for key in keys {
        check_key(key)?;
        config.labels.remove(&format!("{PREFIX}{key}"));
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), Fault> {
    if (1..=TAG_KEY_CHARS_MAX).contains(&key.chars().count()) {
        return Ok(());
    }
    Err(Fault::InvalidParameterValue(
        "Tag keys must be between 1 and 128 characters in length.".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tags: &[(&str, &str)]) -> Result<TopicConfig, Fault> {
        let mut config = TopicConfig::default();
        config.labels.insert("sqs.Policy".to_owned(), String::new());
        config.labels.insert("sqs.tagged".to_owned(), String::new());
        set(&mut config, "q", tags.iter().copied())?;
        Ok(config)
    }

    #[test]
    fn tags_are_kept_apart_from_other_labels() {
        let mut config = tagged(&[("b", "2"), ("B", "1"), ("b", "3"), ("\u{e9}", "")]).unwrap();
        let tags: Vec<_> = all(&config).collect();
        assert_eq!(tags, [("B", "1"), ("b", "3"), ("\u{e9}", "")]);
        remove(&mut config, ["b", "none"].into_iter()).unwrap();
        assert_eq!(all(&config).count(), 2);
        assert_eq!(config.labels.len(), 4);
    }

    #[test]
    fn keys_and_values_keep_to_the_limits() {
        let long = |chars| "\u{e9}".repeat(chars);
        assert!(tagged(&[(&long(128), &long(256))]).is_ok());
        for (key, value) in [
            ("", "v"),
            (long(129).as_str(), "v"),
            ("k", long(257).as_str()),
            ("aws:k", "v"),
            ("k", "\0"),
        ] {
            assert!(tagged(&[(key, value)]).is_err(), "{key} {value}");
        }
        let keys: Vec<String> = (0..=TAGS_MAX).map(|n| n.to_string()).collect();
        let tags: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
        assert!(tagged(&tags[..TAGS_MAX]).is_ok());
        assert_eq!(
            tagged(&tags).unwrap_err().message(),
            "Too many tags added for queue q."
        );
    }
}
