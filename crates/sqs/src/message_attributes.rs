//! Message attributes: reading and judging those of a request, choosing those of an answer.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::error::{Fault, shown};
use crate::json::{Pairs, Text};
use crate::limits::{MESSAGE_ATTRIBUTE_NAME_BYTES_MAX, MESSAGE_ATTRIBUTES_MAX};
use crate::text;

/// Headers whose names start so are not a user's, see `docs/mapping.md`.
pub(crate) const RESERVED_PREFIXES: [&str; 3] =
    [forebay_broker::envelope::RESERVED_PREFIX, "amqp.", "sqs."];
/// The system attribute, and record header, that carries an AWS X-Ray trace.
pub(crate) const TRACE_HEADER: &str = "AWSTraceHeader";
/// Digits AWS keeps of a number.
const NUMBER_DIGITS_MAX: usize = 38;

/// A message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) data_type: Cow<'a, str>,
    pub(crate) value: Value<'a>,
}

/// The value of a message attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Text(Cow<'a, str>),
    Binary(Cow<'a, [u8]>),
}

impl Attribute<'_> {
    /// What counts to the size of the message: name, type and value, bytes.
    pub(crate) fn size(&self) -> usize {
        self.name.len() + self.data_type.len() + self.bytes().len()
    }

    /// The value as a record header holds it.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.value {
            Value::Text(text) => text.as_bytes(),
            Value::Binary(bytes) => bytes,
        }
    }
}

/// Whether a header name is not a user's own.
pub(crate) fn is_reserved(name: &str) -> bool {
    name == TRACE_HEADER
        || RESERVED_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Attributes as a request brings them.
pub(crate) type RequestAttributes<'a> =
    Pairs<'a, RequestAttribute<'a>, { MESSAGE_ATTRIBUTES_MAX + 1 }>;

/// One attribute as a request brings it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RequestAttribute<'a> {
    #[serde(borrow, default)]
    data_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    string_value: Option<Text<'a>>,
    #[serde(borrow, default)]
    binary_value: Option<Text<'a>>,
    #[serde(default)]
    string_list_values: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    binary_list_values: Option<Vec<IgnoredAny>>,
}

/// The user's attributes, judged by the rules of "Amazon SQS message metadata".
pub(crate) fn accept(attributes: RequestAttributes<'_>) -> Result<Vec<Attribute<'_>>, Fault> {
    if attributes.count > MESSAGE_ATTRIBUTES_MAX {
        let count = attributes.count;
        return Err(Fault::InvalidParameterValue(format!(
            "Number of message attributes [{count}] exceeds the allowed maximum [{MESSAGE_ATTRIBUTES_MAX}]."
        )));
    }
    let mut accepted = Vec::with_capacity(attributes.kept.len());
    for (name, attribute) in attributes.kept {
        check_name(&name)?;
        accepted.push(accept_one(name, attribute)?);
    }
    Ok(accepted)
}

/// The trace header among the system attributes, the only one that can be sent.
pub(crate) fn accept_system(
    attributes: RequestAttributes<'_>,
) -> Result<Option<Attribute<'_>>, Fault> {
    let mut accepted = None;
    for (name, attribute) in attributes.kept {
        if name != TRACE_HEADER {
            return Err(Fault::InvalidParameterValue(format!(
                "Message system attribute name '{}' is invalid.",
                shown(&name)
            )));
        }
        let attribute = accept_one(name, attribute)?;
        if attribute.data_type != "String" {
            return Err(Fault::InvalidParameterValue(format!(
                "Message system attribute '{TRACE_HEADER}' must be of type 'String'."
            )));
        }
        accepted = Some(attribute);
    }
    Ok(accepted)
}

fn check_name(name: &str) -> Result<(), Fault> {
    let refused = |text: &str| Err(Fault::InvalidParameterValue(text.to_owned()));
    if name.is_empty() {
        return refused("The request must contain non-empty message (user) attribute names.");
    }
    if name.len() > MESSAGE_ATTRIBUTE_NAME_BYTES_MAX {
        return refused("Message (user) attribute name must be shorter than 256 bytes.");
    }
    let lower = name.to_lowercase();
    if lower.starts_with("aws.") || lower.starts_with("amazon.") {
        return refused(
            "You can't use message attribute names beginning with 'AWS.' or 'Amazon.'. These strings are reserved for internal use.",
        );
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return refused(
            "Message (user) attribute names cannot start or end with '.', nor have two in succession.",
        );
    }
    if !name
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
    {
        return refused(
            "Message (user) attribute names can only contain letters, digits, underscores, hyphens and periods. Invalid characters found.",
        );
    }
    if is_reserved(name) {
        return refused(
            "Message (user) attribute names beginning with 'forebay.', 'amqp.' or 'sqs.', and the name 'AWSTraceHeader', are reserved by this server.",
        );
    }
    Ok(())
}

fn accept_one<'a>(
    name: Cow<'a, str>,
    attribute: RequestAttribute<'a>,
) -> Result<Attribute<'a>, Fault> {
    let refused = |text: String| Err(Fault::InvalidParameterValue(text));
    let lists = [&attribute.string_list_values, &attribute.binary_list_values];
    if lists
        .iter()
        .any(|list| list.as_ref().is_some_and(|list| !list.is_empty()))
    {
        return Err(Fault::UnsupportedOperation(
            "Message attribute list values in SendMessage operation are not supported.".into(),
        ));
    }
    let has_value = attribute.string_value.is_some() || attribute.binary_value.is_some();
    let Some(Text(data_type)) = attribute
        .data_type
        .filter(|data_type| !data_type.0.is_empty())
    else {
        let what = if has_value { "type" } else { "value" };
        return refused(format!(
            "The message (user) attribute '{}' must contain a non-empty message attribute {what}.",
            shown(&name)
        ));
    };
    if data_type.len() > MESSAGE_ATTRIBUTE_NAME_BYTES_MAX {
        return refused("Message (user) attribute type must be shorter than 256 bytes.".to_owned());
    }
    let kind = data_type.split('.').next().unwrap_or_default();
    let value = match kind {
        "String" | "Number" => {
            let Some(Text(value)) = attribute.string_value.filter(|value| !value.0.is_empty())
            else {
                return refused(empty(&name, kind));
            };
            if !text::is_legal(&value) {
                return refused(Fault::InvalidMessageContents.message().into_owned());
            }
            if kind == "Number" && !is_number(&value) {
                return refused(format!(
                    "Can't cast the value of message (user) attribute '{}' to a number.",
                    shown(&name)
                ));
            }
            Value::Text(value)
        }
        "Binary" => {
            let Some(encoded) = attribute.binary_value.filter(|value| !value.0.is_empty()) else {
                return refused(empty(&name, kind));
            };
            let Ok(bytes) = STANDARD.decode(encoded.as_str()) else {
                return Err(Fault::Serialization(
                    "The binary value is not valid base64.".to_owned(),
                ));
            };
            Value::Binary(bytes.into())
        }
        _ => {
            return refused(format!(
                "The type of message (user) attribute '{}' is invalid. You must use only the following supported type prefixes: Binary, Number, String.",
                shown(&name)
            ));
        }
    };
    Ok(Attribute {
        name,
        data_type,
        value,
    })
}

fn empty(name: &str, kind: &str) -> String {
    format!("Message (user) attribute '{name}' must contain a non-empty value of type '{kind}'.")
}

/// Whether this is a decimal number, with fraction and exponent if need be, of no more digits than
/// AWS keeps.
fn is_number(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let unsigned = |text: &str| text.strip_prefix(['+', '-']).unwrap_or(text).to_owned();
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa = unsigned(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((&mantissa, ""));
    let digits = whole.trim_start_matches('0').len() + fraction.len();
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    let exponent_is_good =
        exponent.is_none_or(|exponent| matches!(unsigned(exponent).parse::<u8>(), Ok(0..=128)));
    has_digits
        && all_digits(whole)
        && all_digits(fraction)
        && digits <= NUMBER_DIGITS_MAX
        && exponent_is_good
}

/// Which user attributes a receive asked for: exact names, `All`, `.*`, `prefix.*`.
#[derive(Debug, Default)]
pub(crate) struct Filter<'a> {
    all: bool,
    names: Vec<&'a str>,
    prefixes: Vec<&'a str>,
}

impl<'a> Filter<'a> {
    pub(crate) fn new(asked: impl Iterator<Item = &'a str>) -> Self {
        let mut filter = Self::default();
        for name in asked {
            match name {
                "All" | ".*" | "*" => filter.all = true,
                _ => match name.strip_suffix(".*") {
                    Some(prefix) => filter.prefixes.push(prefix),
                    None => filter.names.push(name),
                },
            }
        }
        filter
    }

    /// Whether nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.names.is_empty() && self.prefixes.is_empty()
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.all
            || self.names.contains(&name)
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

impl Serialize for Attribute<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("MessageAttributeValue", 2)?;
        out.serialize_field("DataType", &self.data_type)?;
        match &self.value {
            Value::Text(text) => out.serialize_field("StringValue", text)?,
            Value::Binary(bytes) => out.serialize_field("BinaryValue", &STANDARD.encode(bytes))?,
        }
        out.end()
    }
}

#[cfg(test)]
mod tests;
