//! Queue attributes: what may be set, what that means for the topic, and what is given back.
//!
//! What the broker acts on lies in the fields of [`TopicConfig`]; everything else lies in its
//! labels, under the attribute's name behind [`LABEL_PREFIX`], exactly as the client wrote it.

use std::borrow::Cow;

use forebay_broker::TopicConfig;

use crate::error::Fault;
use crate::limits::{
    KMS_REUSE_SECONDS, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, RETENTION_SECONDS,
    RETENTION_SECONDS_DEFAULT, VISIBILITY_SECONDS_MAX, WAIT_SECONDS_MAX,
};
use crate::redrive::{self, DeadLetterQueue};
use crate::{policy, retry};

/// Before the names of attributes among the labels.
const LABEL_PREFIX: &str = "sqs.";
const MS_PER_SECOND: u64 = 1_000;
const SCOPE_QUEUE: &str = "queue";
const SCOPE_GROUP: &str = "messageGroup";
const LIMIT_PER_QUEUE: &str = "perQueue";
const LIMIT_PER_GROUP: &str = "perMessageGroupId";

/// The attributes that can be set. Four of them are those of FIFO queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QueueAttribute {
    VisibilityTimeout,
    DelaySeconds,
    MaximumMessageSize,
    MessageRetentionPeriod,
    ReceiveMessageWaitTimeSeconds,
    Policy,
    RedrivePolicy,
    RedriveAllowPolicy,
    KmsMasterKeyId,
    KmsDataKeyReusePeriodSeconds,
    SqsManagedSseEnabled,
    FifoQueue,
    ContentBasedDeduplication,
    DeduplicationScope,
    FifoThroughputLimit,
    /// Not one of AWS's: how retries wait.
    RetryBackoff,
}

use QueueAttribute as Q;

impl QueueAttribute {
    pub(crate) const ALL: [Self; 16] = [
        Q::VisibilityTimeout,
        Q::DelaySeconds,
        Q::MaximumMessageSize,
        Q::MessageRetentionPeriod,
        Q::ReceiveMessageWaitTimeSeconds,
        Q::Policy,
        Q::RedrivePolicy,
        Q::RedriveAllowPolicy,
        Q::KmsMasterKeyId,
        Q::KmsDataKeyReusePeriodSeconds,
        Q::SqsManagedSseEnabled,
        Q::FifoQueue,
        Q::ContentBasedDeduplication,
        Q::DeduplicationScope,
        Q::FifoThroughputLimit,
        Q::RetryBackoff,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Q::VisibilityTimeout => "VisibilityTimeout",
            Q::DelaySeconds => "DelaySeconds",
            Q::MaximumMessageSize => "MaximumMessageSize",
            Q::MessageRetentionPeriod => "MessageRetentionPeriod",
            Q::ReceiveMessageWaitTimeSeconds => "ReceiveMessageWaitTimeSeconds",
            Q::Policy => "Policy",
            Q::RedrivePolicy => "RedrivePolicy",
            Q::RedriveAllowPolicy => "RedriveAllowPolicy",
            Q::KmsMasterKeyId => "KmsMasterKeyId",
            Q::KmsDataKeyReusePeriodSeconds => "KmsDataKeyReusePeriodSeconds",
            Q::SqsManagedSseEnabled => "SqsManagedSseEnabled",
            Q::FifoQueue => "FifoQueue",
            Q::ContentBasedDeduplication => "ContentBasedDeduplication",
            Q::DeduplicationScope => "DeduplicationScope",
            Q::FifoThroughputLimit => "FifoThroughputLimit",
            Q::RetryBackoff => "ForebayRetryBackoff",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|attribute| attribute.name() == name)
    }

    /// Whether FIFO queues alone have it.
    fn is_fifo(self) -> bool {
        matches!(
            self,
            Q::FifoQueue
                | Q::ContentBasedDeduplication
                | Q::DeduplicationScope
                | Q::FifoThroughputLimit
        )
    }

    /// The value a queue has, `None` if it was never set and has no default.
    pub(crate) fn value(self, config: &TopicConfig) -> Option<Cow<'_, str>> {
        let label = || label(config, self.name()).map(Cow::Borrowed);
        if self.is_fifo() && !config.ordered {
            return None;
        }
        match self {
            Q::VisibilityTimeout => Some((config.lease_ms / MS_PER_SECOND).to_string().into()),
            Q::DelaySeconds => Some((config.delay_ms / MS_PER_SECOND).to_string().into()),
            Q::MaximumMessageSize => Some(message_bytes_max(config).to_string().into()),
            Q::MessageRetentionPeriod => Some(retention_seconds(config).to_string().into()),
            Q::ReceiveMessageWaitTimeSeconds => Some(wait_seconds(config).to_string().into()),
            Q::SqsManagedSseEnabled | Q::FifoQueue => label().or(Some("true".into())),
            Q::ContentBasedDeduplication => label().or(Some("false".into())),
            Q::DeduplicationScope => label().or(Some(SCOPE_QUEUE.into())),
            Q::FifoThroughputLimit => label().or(Some(LIMIT_PER_QUEUE.into())),
            Q::Policy
            | Q::RedrivePolicy
            | Q::RedriveAllowPolicy
            | Q::KmsMasterKeyId
            | Q::KmsDataKeyReusePeriodSeconds
            | Q::RetryBackoff => label(),
        }
    }
}

/// The largest message the queue takes, bytes.
pub(crate) fn message_bytes_max(config: &TopicConfig) -> usize {
    parsed(config, Q::MaximumMessageSize).unwrap_or(MESSAGE_BYTES_MAX)
}

/// Whether the body of a message without a deduplication id tells its duplicates.
pub(crate) fn is_content_based(config: &TopicConfig) -> bool {
    label(config, Q::ContentBasedDeduplication.name()) == Some("true")
}

/// Whether messages of different groups are never duplicates of each other.
pub(crate) fn is_scoped_to_groups(config: &TopicConfig) -> bool {
    label(config, Q::DeduplicationScope.name()) == Some(SCOPE_GROUP)
}

/// How long a receive waits that names no time of its own, seconds.
pub(crate) fn wait_seconds(config: &TopicConfig) -> u32 {
    parsed(config, Q::ReceiveMessageWaitTimeSeconds).unwrap_or(0)
}

fn retention_seconds(config: &TopicConfig) -> u64 {
    let ms = config.retention.ms;
    ms.map_or(u64::from(RETENTION_SECONDS_DEFAULT), |ms| {
        ms / MS_PER_SECOND
    })
}

fn parsed<T: std::str::FromStr>(config: &TopicConfig, attribute: QueueAttribute) -> Option<T> {
    label(config, attribute.name())?.parse().ok()
}

fn label<'a>(config: &'a TopicConfig, name: &str) -> Option<&'a str> {
    // Sends look this up for every message: no allocation for the key.
    let after = |key: &String| key.strip_prefix(LABEL_PREFIX) == Some(name);
    config
        .labels
        .iter()
        .find(|(key, _)| after(key))
        .map(|(_, value)| value.as_str())
}

fn set_label(config: &mut TopicConfig, attribute: QueueAttribute, value: &str) {
    config.labels.insert(
        format!("{LABEL_PREFIX}{}", attribute.name()),
        value.to_owned(),
    );
}

fn clear_label(config: &mut TopicConfig, attribute: QueueAttribute) {
    config
        .labels
        .remove(&format!("{LABEL_PREFIX}{}", attribute.name()));
}

/// How far the operator lets attributes go that AWS limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) delay_seconds: u32,
    pub(crate) retention_seconds: u32,
}

/// Applies what `CreateQueue` or `SetQueueAttributes` asks. `find` tells what a queue of that name
/// would be to this one as its dead-letter queue.
pub(crate) fn apply<'a>(
    config: &mut TopicConfig,
    asked: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    caps: Caps,
    find: impl Fn(&str) -> DeadLetterQueue,
) -> Result<(), Fault> {
    check_encryption(asked.clone())?;
    for (name, value) in asked {
        let attribute = QueueAttribute::named(name);
        let attribute = attribute.filter(|known| config.ordered || !known.is_fifo());
        let attribute = attribute.ok_or_else(|| unknown(name))?;
        set(config, attribute, value, caps, &find)?;
    }
    let limit = label(config, Q::FifoThroughputLimit.name());
    if limit == Some(LIMIT_PER_GROUP) && !is_scoped_to_groups(config) {
        return Err(Fault::InvalidAttributeValue(format!(
            "Invalid value for the parameter FifoThroughputLimit. Reason: {LIMIT_PER_GROUP} is allowed only when the value for DeduplicationScope is {SCOPE_GROUP}."
        )));
    }
    Ok(())
}

/// Sets the policy; an empty one is none.
pub(crate) fn set_policy(config: &mut TopicConfig, policy: &str) -> Result<(), Fault> {
    set_document(config, Q::Policy, policy, policy::check)
}

/// Why an attribute cannot be set on a queue that does not have it.
fn unknown(name: &str) -> Fault {
    match name {
        "DeduplicationScope" | "FifoThroughputLimit" => Fault::InvalidAttributeName(format!(
            "You can specify the {name} only when FifoQueue is set to true."
        )),
        _ => Fault::unknown_attribute(name),
    }
}

/// A queue is encrypted in one way only.
fn check_encryption<'a>(
    mut asked: impl Iterator<Item = (&'a str, &'a str)> + Clone,
) -> Result<(), Fault> {
    let has_key = asked
        .clone()
        .any(|(name, value)| name == Q::KmsMasterKeyId.name() && !value.is_empty());
    let has_sse =
        asked.any(|(name, value)| name == Q::SqsManagedSseEnabled.name() && value == "true");
    if has_key && has_sse {
        return Err(Fault::InvalidAttributeName(
            "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or SQS SSE.".to_owned(),
        ));
    }
    Ok(())
}

fn set(
    config: &mut TopicConfig,
    attribute: QueueAttribute,
    value: &str,
    caps: Caps,
    find: &impl Fn(&str) -> DeadLetterQueue,
) -> Result<(), Fault> {
    let within = |least: u32, most: u32| {
        number(value, least, most).ok_or_else(|| Fault::invalid_attribute(attribute.name()))
    };
    let message_bytes = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    match attribute {
        Q::VisibilityTimeout => {
            config.lease_ms = u64::from(within(0, VISIBILITY_SECONDS_MAX)?) * MS_PER_SECOND
        }
        Q::DelaySeconds => {
            config.delay_ms = u64::from(within(0, caps.delay_seconds)?) * MS_PER_SECOND
        }
        Q::MaximumMessageSize => {
            within(
                message_bytes(MESSAGE_BYTES_MIN),
                message_bytes(MESSAGE_BYTES_MAX),
            )?;
            set_label(config, attribute, value);
        }
        Q::MessageRetentionPeriod => {
            let seconds = within(RETENTION_SECONDS.0, caps.retention_seconds)?;
            config.retention.ms = Some(u64::from(seconds) * MS_PER_SECOND);
        }
        Q::ReceiveMessageWaitTimeSeconds => {
            within(0, WAIT_SECONDS_MAX)?;
            set_label(config, attribute, value);
        }
        Q::Policy => set_policy(config, value)?,
        Q::RedrivePolicy => {
            let policy = (!value.is_empty())
                .then(|| redrive::policy(value, config.ordered, find))
                .transpose()?;
            set_document(config, attribute, value, |_| Ok(()))?;
            redrive::install(config, policy);
        }
        Q::RedriveAllowPolicy => {
            set_document(config, attribute, value, redrive::check_allow_policy)?
        }
        Q::KmsMasterKeyId => {
            set_document(config, attribute, value, |_| Ok(()))?;
            if !value.is_empty() {
                set_label(config, Q::SqsManagedSseEnabled, "false");
            }
        }
        Q::KmsDataKeyReusePeriodSeconds => {
            // The default is not given back.
            const DEFAULT: u32 = 300;
            match within(KMS_REUSE_SECONDS.0, KMS_REUSE_SECONDS.1)? {
                DEFAULT => clear_label(config, attribute),
                _ => set_label(config, attribute, value),
            }
        }
        Q::SqsManagedSseEnabled => match value {
            "true" => {
                clear_label(config, Q::KmsMasterKeyId);
                set_label(config, attribute, value);
            }
            "false" => set_label(config, attribute, value),
            _ => return Err(Fault::invalid_attribute(attribute.name())),
        },
        Q::FifoQueue if value.eq_ignore_ascii_case("true") => {}
        Q::FifoQueue => {
            return Err(Fault::InvalidAttributeValue(
                "Invalid value for the parameter FifoQueue. Reason: Modifying queue type is not supported.".to_owned(),
            ));
        }
        Q::ContentBasedDeduplication => set_word(config, attribute, value, &["true", "false"])?,
        Q::DeduplicationScope => set_word(config, attribute, value, &[SCOPE_QUEUE, SCOPE_GROUP])?,
        Q::FifoThroughputLimit => {
            set_word(
                config,
                attribute,
                value,
                &[LIMIT_PER_QUEUE, LIMIT_PER_GROUP],
            )?;
        }
        Q::RetryBackoff => {
            let backoff = (!value.is_empty())
                .then(|| retry::backoff(attribute.name(), value))
                .transpose()?;
            set_document(config, attribute, value, |_| Ok(()))?;
            config.backoff = backoff;
        }
    }
    Ok(())
}

/// Keeps one of a few words.
fn set_word(
    config: &mut TopicConfig,
    attribute: QueueAttribute,
    value: &str,
    words: &[&str],
) -> Result<(), Fault> {
    if !words.contains(&value) {
        return Err(Fault::invalid_attribute(attribute.name()));
    }
    set_label(config, attribute, value);
    Ok(())
}

/// Keeps a text; an empty one removes the attribute.
fn set_document(
    config: &mut TopicConfig,
    attribute: QueueAttribute,
    value: &str,
    check: impl Fn(&str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    if value.is_empty() {
        clear_label(config, attribute);
        return Ok(());
    }
    check(value)?;
    set_label(config, attribute, value);
    Ok(())
}

/// A number in digits only, within bounds.
fn number(text: &str, least: u32, most: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value: u32 = digits.then(|| text.parse().ok())??;
    (least..=most).contains(&value).then_some(value)
}

#[cfg(test)]
mod tests;
