//! Routing by what a message says of itself: its fields, and the conditions of a binding on them.
//!
//! Front ends give both in words of their own; here a value is a text with the class of its type.

use std::fmt::Write;
use std::sync::Arc;

/// One value: equal to another if class and text are. A value without a class, as a record's
/// headers have them, is equal to any of the same text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldValue {
    /// A letter for the class of its type.
    pub class: Option<char>,
    /// The value.
    pub text: String,
}

impl FieldValue {
    fn is(&self, other: &Self) -> bool {
        let classes = self.class.is_none() || other.class.is_none() || self.class == other.class;
        classes && self.text == other.text
    }
}

/// The fields of a message, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(Arc<[(String, FieldValue)]>);

impl Fields {
    /// Of these, in any order.
    pub fn of(fields: impl IntoIterator<Item = (String, FieldValue)>) -> Self {
        let mut fields: Vec<_> = fields.into_iter().collect();
        fields.sort_by(|one, other| one.0.cmp(&other.0));
        Self(fields.into())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(String, FieldValue)> {
        self.0.iter()
    }

    fn meet(&self, condition: &Condition) -> bool {
        let from = self.0.partition_point(|(name, _)| *name < condition.name);
        let of_name = self.0[from..].iter();
        let mut of_name = of_name.take_while(|(name, _)| *name == condition.name);
        of_name.any(|(_, value)| {
            let wanted = condition.value.as_ref();
            wanted.is_none_or(|wanted| wanted.is(value))
        })
    }
}

/// One condition of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The field.
    pub name: String,
    /// What it must be; if `None` it must only be there.
    pub value: Option<FieldValue>,
}

/// What a binding of an exchange of kind [`Fields`](crate::ExchangeKind::Fields) asks of a message.
/// Its text is the binding's `arguments`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// One is enough; otherwise all must be met. No condition at all is met always if all must
    /// be, and never if one is enough.
    pub any: bool,
    /// The conditions.
    pub list: Vec<Condition>,
}

impl Conditions {
    /// As text: `any` or `all`, then for each condition, by name, the length of the name, the name,
    /// and class, length and text of the value or `-`.
    pub fn to_text(&self) -> String {
        let mut list: Vec<_> = self.list.iter().collect();
        list.sort_by(|one, other| one.name.cmp(&other.name));
        let mut text = String::from(if self.any { "any" } else { "all" });
        for Condition { name, value } in list {
            // Writing to a string cannot fail.
            let _ = write!(text, " {}:{name}", name.len());
            let _ = match value {
                None => write!(text, "-"),
                Some(value) => {
                    let class = value.class.unwrap_or('?');
                    write!(text, "{class}{}:{}", value.text.len(), value.text)
                }
            };
        }
        text
    }

    /// From a text; `None` if it is none of these.
    pub fn read(text: &str) -> Option<Self> {
        let (how, mut rest) = text.split_at_checked(3)?;
        let mut conditions = Self {
            any: how == "any",
            list: Vec::new(),
        };
        if !conditions.any && how != "all" {
            return None;
        }
        while let Some(after) = rest.strip_prefix(' ') {
            let (name, after) = counted(after)?;
            let mut letters = after.chars();
            let class = letters.next()?;
            let (value, after) = match class {
                '-' => (None, letters.as_str()),
                class => {
                    let (text, after) = counted(letters.as_str())?;
                    let class = (class != '?').then_some(class);
                    let text = text.to_owned();
                    (Some(FieldValue { class, text }), after)
                }
            };
            let name = name.to_owned();
            conditions.list.push(Condition { name, value });
            rest = after;
        }
        rest.is_empty().then_some(conditions)
    }

    /// Whether a message with these fields meets them.
    pub(crate) fn met_by(&self, fields: &Fields) -> bool {
        let mut list = self.list.iter();
        if self.any {
            list.any(|condition| fields.meet(condition))
        } else {
            list.all(|condition| fields.meet(condition))
        }
    }
}

/// Text behind its length, and what follows.
fn counted(text: &str) -> Option<(&str, &str)> {
    let (length, rest) = text.split_once(':')?;
    rest.split_at_checked(length.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = FieldValue> {
        let class = prop::option::of(prop::sample::select(vec!['i', 's']));
        (class, ".{0,3}").prop_map(|(class, text)| FieldValue { class, text })
    }

    fn conditions() -> impl Strategy<Value = Conditions> {
        let condition = ("(a|b|:| )?", prop::option::of(value()))
            .prop_map(|(name, value)| Condition { name, value });
        (any::<bool>(), prop::collection::vec(condition, 0..4))
            .prop_map(|(any, list)| Conditions { any, list })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(mut conditions in conditions()) {
            let read = Conditions::read(&conditions.to_text()).unwrap();
            conditions.list.sort_by(|one, other| one.name.cmp(&other.name));
            prop_assert_eq!(read, conditions);
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,40}") {
            let _ = Conditions::read(&text);
            let _ = Conditions::read(&format!("all {text}"));
        }
    }
}
