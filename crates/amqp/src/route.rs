//! Where a message goes beyond exchange and routing key: further keys it carries (RabbitMQ,
//! "Sender-selected Distribution") and the headers that exchanges of type headers look at.

use std::sync::Arc;

use forebay_broker::{Condition, Conditions, FieldValue, Fields};

use crate::error::Fault;
use crate::table::{Entries, Value, array_items};

/// Further routing keys, seen by everybody.
const CC: &[u8] = b"CC";
/// Further routing keys, taken out before anybody sees them.
const BCC: &[u8] = b"BCC";
/// How many of a binding's arguments must match.
const MATCH: &[u8] = b"x-match";

/// What beside the method decides where a message goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) further_keys: Vec<Arc<str>>,
    pub(crate) fields: Fields,
}

impl Route {
    /// Reads it from a header table, given without its length.
    pub(crate) fn of(table: &[u8], by_fields: bool) -> Result<Self, Fault> {
        let mut route = Self::default();
        for (name, value) in Entries::new(table).flatten() {
            if name == CC || name == BCC {
                let Value::Array(items) = value else {
                    return Err(Fault::precondition(format!(
                        "invalid message: {{unacceptable_type_in_header,\"{}\",{}}}",
                        String::from_utf8_lossy(name),
                        value.kind(),
                    )));
                };
                let keys = array_items(items).filter_map(|item| match item {
                    Value::Text(key) => std::str::from_utf8(key).ok().map(Arc::from),
                    _ => None,
                });
                route.further_keys.extend(keys);
            }
        }
        if by_fields {
            route.fields = Fields::of(Entries::new(table).flatten().filter_map(|(name, value)| {
                let name = std::str::from_utf8(name).ok()?;
                Some((name.to_owned(), field(value)))
            }));
        }
        Ok(route)
    }

    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether the table has what nobody is to see.
pub(crate) fn has_hidden(table: &[u8]) -> bool {
    Entries::new(table)
        .flatten()
        .any(|(name, _)| is_hidden(name))
}

pub(crate) fn is_hidden(name: &[u8]) -> bool {
    name == BCC
}

/// A value as the broker compares it. RabbitMQ compares numbers of all widths with each other.
fn field(value: Value<'_>) -> FieldValue {
    let (class, text) = match value {
        Value::Bool(_) => ('b', value.plain()),
        Value::Int(_) => ('i', value.plain()),
        Value::Float(_) => ('f', value.plain()),
        Value::Decimal { .. } => ('d', value.plain()),
        Value::Text(_) => ('s', value.plain()),
        Value::Bytes(_) => ('x', value.plain()),
        Value::Time(_) => ('t', value.plain()),
        Value::Table(inside) => ('m', Some(inside.into())),
        Value::Array(inside) => ('a', Some(inside.into())),
        Value::Void => ('v', None),
    };
    let bytes = text.unwrap_or_default();
    match std::str::from_utf8(&bytes) {
        Ok(text) => FieldValue {
            class: Some(class),
            text: text.to_owned(),
        },
        // Not text: told apart from all text by its class.
        Err(_) => FieldValue {
            class: Some(class.to_ascii_uppercase()),
            text: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        },
    }
}

/// The conditions a binding of a headers exchange sets (RabbitMQ, "Headers Exchange"). `table` is
/// the binding's arguments, without their length.
pub(crate) fn conditions(table: &[u8]) -> Result<Conditions, Fault> {
    let arguments = || Entries::new(table).flatten();
    let how = match arguments().find(|(name, _)| *name == MATCH) {
        None => "all",
        Some((_, Value::Text(how))) => match how {
            b"all" => "all",
            b"any" => "any",
            b"all-with-x" => "all-with-x",
            b"any-with-x" => "any-with-x",
            other => {
                return Err(Fault::precondition(format!(
                    "Invalid x-match field value {:?}; expected all, any, all-with-x, or any-with-x",
                    String::from_utf8_lossy(other)
                )));
            }
        },
        Some((_, other)) => {
            return Err(Fault::precondition(format!(
                "Invalid x-match field type {}; expected longstr",
                other.kind()
            )));
        }
    };
    let with_x = how.ends_with("-with-x");
    let list = arguments().filter_map(|(name, value)| {
        if name == MATCH || (!with_x && name.starts_with(b"x-")) {
            return None;
        }
        let value = match value {
            Value::Void => None,
            value => Some(field(value)),
        };
        let name = std::str::from_utf8(name).ok()?.to_owned();
        Some(Condition { name, value })
    });
    Ok(Conditions {
        any: how.starts_with("any"),
        list: list.collect(),
    })
}
