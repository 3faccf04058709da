//! Declared arguments: the text form in which a topic keeps them, and their comparison when
//! something is declared again (RabbitMQ, "Queue and Exchange Property Equivalence").

use std::collections::BTreeMap;

use amq_protocol::types::{AMQPValue, FieldTable};

use crate::error::Fault;

/// Label under which an argument is kept, before its name.
const LABEL: &str = "amqp.argument.";

/// One argument: the name of its type as RabbitMQ words it, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    kind: &'static str,
    value: String,
}

impl Argument {
    fn of(value: &AMQPValue) -> Self {
        let (kind, value) = match value {
            AMQPValue::Boolean(value) => ("bool", value.to_string()),
            AMQPValue::ShortShortInt(value) => ("byte", value.to_string()),
            AMQPValue::ShortShortUInt(value) => ("unsignedbyte", value.to_string()),
            AMQPValue::ShortInt(value) => ("short", value.to_string()),
            AMQPValue::ShortUInt(value) => ("unsignedshort", value.to_string()),
            AMQPValue::LongInt(value) => ("signedint", value.to_string()),
            AMQPValue::LongUInt(value) => ("unsignedint", value.to_string()),
            AMQPValue::LongLongInt(value) => ("long", value.to_string()),
            AMQPValue::Float(value) => ("float", value.to_string()),
            AMQPValue::Double(value) => ("double", value.to_string()),
            AMQPValue::DecimalValue(value) => {
                ("decimal", format!("{}e-{}", value.value, value.scale))
            }
            AMQPValue::ShortString(value) => ("longstr", value.to_string()),
            AMQPValue::LongString(value) => ("longstr", value.to_string()),
            AMQPValue::Timestamp(value) => ("timestamp", value.to_string()),
            AMQPValue::ByteArray(value) => ("binary", format!("{:?}", value.as_slice())),
            AMQPValue::FieldArray(value) => ("array", array(value.as_slice())),
            AMQPValue::FieldTable(value) => ("table", canonical(value)),
            AMQPValue::Void => ("void", "undefined".into()),
        };
        Self { kind, value }
    }

    /// The value again, if its text gives it.
    fn to_value(&self) -> Option<AMQPValue> {
        let text = &self.value;
        Some(match self.kind {
            "bool" => AMQPValue::Boolean(text.parse().ok()?),
            "byte" => AMQPValue::ShortShortInt(text.parse().ok()?),
            "unsignedbyte" => AMQPValue::ShortShortUInt(text.parse().ok()?),
            "short" => AMQPValue::ShortInt(text.parse().ok()?),
            "unsignedshort" => AMQPValue::ShortUInt(text.parse().ok()?),
            "signedint" => AMQPValue::LongInt(text.parse().ok()?),
            "unsignedint" => AMQPValue::LongUInt(text.parse().ok()?),
            "long" => AMQPValue::LongLongInt(text.parse().ok()?),
            "float" => AMQPValue::Float(text.parse().ok()?),
            "double" => AMQPValue::Double(text.parse().ok()?),
            "longstr" => AMQPValue::LongString(text.as_str().into()),
            "timestamp" => AMQPValue::Timestamp(text.parse().ok()?),
            "void" => AMQPValue::Void,
            _ => return None,
        })
    }

    /// Its value if it is text.
    pub(crate) fn text(&self) -> Option<&str> {
        (self.kind == "longstr").then_some(&self.value)
    }

    /// Its value if it is an integer of any width.
    pub(crate) fn integer(&self) -> Option<i64> {
        (self.class() == "integer").then(|| self.value.parse().ok())?
    }

    /// Its value if it is true or false.
    pub(crate) fn boolean(&self) -> Option<bool> {
        (self.kind == "bool").then(|| self.value.parse().ok())?
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Types whose values compare with each other.
    fn class(&self) -> &'static str {
        match self.kind {
            "byte" | "unsignedbyte" | "short" | "unsignedshort" | "signedint" | "unsignedint"
            | "long" => "integer",
            "float" | "double" => "fraction",
            other => other,
        }
    }

    fn label(&self) -> String {
        format!("{}:{}", self.kind, self.value)
    }

    fn from_label(label: &str) -> Option<Self> {
        let (kind, value) = label.split_once(':')?;
        const KINDS: [&str; 17] = [
            "bool",
            "byte",
            "unsignedbyte",
            "short",
            "unsignedshort",
            "signedint",
            "unsignedint",
            "long",
            "float",
            "double",
            "decimal",
            "longstr",
            "timestamp",
            "binary",
            "array",
            "table",
            "void",
        ];
        let kind = KINDS.into_iter().find(|known| *known == kind)?;
        Some(Self {
            kind,
            value: value.into(),
        })
    }

    fn shown(&self) -> String {
        format!("the value '{}' of type '{}'", self.value, self.kind)
    }
}

/// The arguments of a declaration by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments(BTreeMap<String, Argument>);

impl Arguments {
    pub(crate) fn of(table: &FieldTable) -> Self {
        Self(
            table
                .into_iter()
                .map(|(name, value)| (name.as_str().to_owned(), Argument::of(value)))
                .collect(),
        )
    }

    pub(crate) fn from_labels(labels: &BTreeMap<String, String>) -> Self {
        Self(
            labels
                .iter()
                .filter_map(|(name, value)| {
                    let name = name.strip_prefix(LABEL)?;
                    Some((name.to_owned(), Argument::from_label(value)?))
                })
                .collect(),
        )
    }

    pub(crate) fn to_labels(&self) -> BTreeMap<String, String> {
        self.0
            .iter()
            .map(|(name, argument)| (format!("{LABEL}{name}"), argument.label()))
            .collect()
    }

    /// As a table, without what has no short text: nested tables, arrays, bytes and decimals.
    pub(crate) fn to_table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, argument) in &self.0 {
            if let Some(value) = argument.to_value() {
                table.insert(name.as_str().into(), value);
            }
        }
        table
    }

    /// These arguments and what a policy sets beside them, of the arguments in `names`: of two
    /// numbers the smaller one counts, and else what was declared.
    pub(crate) fn with_policy(&self, definition: &Definition, names: &[&str]) -> Self {
        let mut all = self.clone();
        for (key, value) in definition {
            let name = format!("x-{key}");
            if !names.contains(&&*name) {
                continue;
            }
            let given = match (value.as_i64(), value.as_str()) {
                (Some(number), _) => AMQPValue::LongLongInt(number),
                (None, Some(text)) => AMQPValue::LongString(text.into()),
                (None, None) => continue,
            };
            let given = Argument::of(&given);
            let own = all.get(&name).map(|own| (own.integer(), given.integer()));
            match own {
                Some((Some(own), Some(given))) if own <= given => {}
                Some((None, _) | (_, None)) => {}
                _ => {
                    all.0.insert(name, given);
                }
            }
        }
        all
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Argument> {
        self.0.get(name)
    }

    /// Refuses if `received` differs from what is there in one of `names`. `shown` is the queue or
    /// exchange in words.
    pub(crate) fn check_same(
        &self,
        received: &Self,
        names: &[&str],
        shown: &str,
    ) -> Result<(), Fault> {
        for name in names {
            let (current, new) = (self.get(name), received.get(name));
            let same = match (current, new) {
                (Some(current), Some(new)) => {
                    current.class() == new.class() && current.value == new.value
                }
                (None, None) => true,
                // What is not said is the default.
                (None, Some(one)) | (Some(one), None) => {
                    *name == "x-queue-type" && one.value == "classic"
                }
            };
            if !same {
                let words = |one: Option<&Argument>| match one {
                    Some(one) => one.shown(),
                    None => "none".into(),
                };
                return Err(inequivalent(name, shown, &words(new), &words(current)));
            }
        }
        Ok(())
    }
}

/// The refusal of a declaration that differs from what is there.
pub(crate) fn inequivalent(field: &str, shown: &str, received: &str, current: &str) -> Fault {
    Fault::precondition(format!(
        "inequivalent arg '{field}' for {shown}: received {received} but current is {current}"
    ))
}

/// The refusal for a plain field of a declaration.
pub(crate) fn check_field(
    field: &str,
    shown: &str,
    received: impl ToString + PartialEq,
    current: impl ToString + PartialEq,
) -> Result<(), Fault> {
    let (received, current) = (received.to_string(), current.to_string());
    if received == current {
        return Ok(());
    }
    let quoted = |value| format!("'{value}'");
    Err(inequivalent(
        field,
        shown,
        &quoted(received),
        &quoted(current),
    ))
}

/// What policies set, by key.
pub(crate) type Definition = BTreeMap<String, serde_json::Value>;

/// The arguments that [`canonical`] wrote; what cannot be read is left out.
pub(crate) fn read_canonical(text: &str) -> Arguments {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = unquoted(rest) {
        let Some((label, after)) = after.strip_prefix('=').and_then(unquoted) else {
            break;
        };
        if let Some(argument) = Argument::from_label(&label) {
            found.insert(name, argument);
        }
        rest = after.strip_prefix(',').unwrap_or_default();
    }
    Arguments(found)
}

/// A text in quotes, as `{:?}` writes it, and what follows it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut letters = text.strip_prefix('"')?.chars();
    let mut found = String::new();
    loop {
        match letters.next()? {
            '"' => return Some((found, letters.as_str())),
            '\\' => match letters.next()? {
                'n' => found.push('\n'),
                'r' => found.push('\r'),
                't' => found.push('\t'),
                '0' => found.push('\0'),
                'u' => {
                    let (code, after) = letters.as_str().strip_prefix('{')?.split_once('}')?;
                    found.push(char::from_u32(u32::from_str_radix(code, 16).ok()?)?);
                    letters = after.chars();
                }
                other => found.push(other),
            },
            other => found.push(other),
        }
    }
}

/// A table as text in which equal tables are equal: the identity of a binding has it.
pub(crate) fn canonical(table: &FieldTable) -> String {
    let entries: Vec<_> = table
        .into_iter()
        .map(|(name, value)| format!("{:?}={:?}", name.as_str(), Argument::of(value).label()))
        .collect();
    entries.join(",")
}

fn array(items: &[AMQPValue]) -> String {
    let items: Vec<_> = items
        .iter()
        .map(|item| format!("{:?}", Argument::of(item).label()))
        .collect();
    items.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(entries: &[(&str, AMQPValue)]) -> Arguments {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert((*name).into(), value.clone());
        }
        Arguments::of(&table)
    }

    #[test]
    fn labels_give_arguments_back() {
        let given = arguments(&[
            ("x-delivery-limit", AMQPValue::LongInt(5)),
            (
                "x-dead-letter-exchange",
                AMQPValue::LongString("a:b".into()),
            ),
            ("other", AMQPValue::Void),
        ]);
        assert_eq!(Arguments::from_labels(&given.to_labels()), given);
    }

    #[test]
    fn integers_of_different_width_are_the_same_and_texts_of_the_refusal_are_rabbitmqs() {
        let names = ["x-delivery-limit"];
        let five = arguments(&[("x-delivery-limit", AMQPValue::LongInt(5))]);
        let wide = arguments(&[("x-delivery-limit", AMQPValue::LongLongInt(5))]);
        let none = Arguments::default();
        assert_eq!(five.check_same(&wide, &names, "x"), Ok(()));
        assert_eq!(
            none.check_same(&five, &names, "queue 'q' in vhost '/'")
                .unwrap_err()
                .reply_text(),
            "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'q' in vhost '/': \
             received the value '5' of type 'signedint' but current is none"
        );
        assert_eq!(
            check_field("durable", "queue 'q' in vhost '/'", true, false)
                .unwrap_err()
                .reply_text(),
            "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': \
             received 'true' but current is 'false'"
        );
    }

    #[test]
    fn an_unsaid_queue_type_is_classic() {
        let names = ["x-queue-type"];
        let of = |text: &str| arguments(&[("x-queue-type", AMQPValue::LongString(text.into()))]);
        let none = Arguments::default();
        assert!(none.check_same(&of("classic"), &names, "x").is_ok());
        assert!(of("classic").check_same(&none, &names, "x").is_ok());
        assert!(of("quorum").check_same(&none, &names, "x").is_err());
    }

    #[test]
    fn canonical_text_tells_tables_apart_that_differ() {
        let table = |entries: &[(&str, &str)]| {
            let mut table = FieldTable::default();
            for (name, value) in entries {
                table.insert((*name).into(), AMQPValue::LongString((*value).into()));
            }
            canonical(&table)
        };
        assert_eq!(table(&[]), "");
        assert_eq!(
            table(&[("a", "1"), ("b", "2")]),
            table(&[("b", "2"), ("a", "1")])
        );
        assert_ne!(
            table(&[("a", "1\",\"b"), ("c", "")]),
            table(&[("a", "1"), ("b", "\",\"c")])
        );
    }
}
