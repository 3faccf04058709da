//! Reading requests: what has the wrong type is a `SerializationException` with the text AWS gives.
//! Strings are borrowed from the body where they hold no escape.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::Fault;
use crate::limits::JSON_ELEMENTS_MAX;

/// What room an answer has at first: enough for that of one small message.
const ANSWER_BYTES: usize = 512;
const STRUCTURE: &str = "Start of structure or map found where not expected.";
const LIST: &str = "Start of list found where not expected";
const NUMBER_FOR_STRING: &str = "NUMBER_VALUE can not be converted to a String";
const LIST_FOR_STRING: &str = "Unrecognized collection type class java.lang.String";

/// Reads a request body. An empty one counts as an empty structure.
pub(crate) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    let body = if body.is_empty() { b"{}" } else { body };
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {
            serde_json::from_slice(body).map_err(|error| Fault::Serialization(text_of(&error)))
        }
        Some(b'[') => Err(Fault::Serialization(LIST.to_owned())),
        _ => Err(Fault::Serialization(
            "The request is not a JSON structure.".to_owned(),
        )),
    }
}

/// The answer that tells nothing.
pub(crate) const EMPTY: &[u8] = b"{}";

/// Writes an answer.
pub(crate) fn write(answer: &impl serde::Serialize) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::with_capacity(ANSWER_BYTES);
    match serde_json::to_writer(&mut body, answer) {
        Ok(()) => Ok(body),
        Err(error) => Err(Fault::Internal(error.to_string())),
    }
}

/// The text of an error without the place, which AWS does not tell.
fn text_of(error: &serde_json::Error) -> String {
    let mut text = error.to_string();
    if let Some(place) = text.rfind(" at line ") {
        text.truncate(place);
    }
    text
}

/// A string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
            fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text)))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
                let found = name_of(value);
                Err(E::custom(format_args!(
                    "{found} can not be converted to a String"
                )))
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
                Err(E::custom(NUMBER_FOR_STRING))
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
                Err(E::custom(NUMBER_FOR_STRING))
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
                Err(E::custom(NUMBER_FOR_STRING))
            }
            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
                Err(A::Error::custom(STRUCTURE))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
                Err(A::Error::custom(LIST_FOR_STRING))
            }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// What AWS calls a boolean that stands in the wrong place.
fn name_of(value: bool) -> &'static str {
    if value { "TRUE_VALUE" } else { "FALSE_VALUE" }
}

/// A whole number. Of one with a fraction the fraction is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Integer(pub(crate) i64);

impl<'de> Deserialize<'de> for Integer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IntegerVisitor;
        impl<'de> Visitor<'de> for IntegerVisitor {
            type Value = Integer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an integer")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Integer, E> {
                Ok(Integer(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Integer, E> {
                Ok(Integer(i64::try_from(value).unwrap_or(i64::MAX)))
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Integer, E> {
                #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
                Ok(Integer(value as i64))
            }
            fn visit_str<E: Error>(self, _: &str) -> Result<Integer, E> {
                Err(E::custom("STRING_VALUE can not be converted to an Integer"))
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Integer, E> {
                let found = name_of(value);
                Err(E::custom(format_args!(
                    "{found} can not be converted to an Integer"
                )))
            }
            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Integer, A::Error> {
                Err(A::Error::custom(STRUCTURE))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Integer, A::Error> {
                Err(A::Error::custom(LIST))
            }
        }
        deserializer.deserialize_any(IntegerVisitor)
    }
}

/// A list of which at most `KEPT` elements are kept; all are counted.
#[derive(Debug)]
pub(crate) struct List<T, const KEPT: usize = JSON_ELEMENTS_MAX> {
    pub(crate) kept: Vec<T>,
    pub(crate) count: usize,
}

impl<T, const KEPT: usize> Default for List<T, KEPT> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            count: 0,
        }
    }
}

impl<'de, T: Deserialize<'de>, const KEPT: usize> Deserialize<'de> for List<T, KEPT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const KEPT: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const KEPT: usize> Visitor<'de> for ListVisitor<T, KEPT> {
            type Value = List<T, KEPT>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(List::default())
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = List::default();
                while list.count < KEPT {
                    let Some(element) = seq.next_element()? else {
                        return Ok(list);
                    };
                    list.kept.push(element);
                    list.count += 1;
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    list.count += 1;
                }
                Ok(list)
            }
            fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
                Err(A::Error::custom(STRUCTURE))
            }
        }
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

/// A map in the order given, of which at most `KEPT` entries are kept; all are counted. Of a name
/// given twice the last value counts. Entries whose value is `null` are left out.
#[derive(Debug)]
pub(crate) struct Pairs<'a, T, const KEPT: usize = JSON_ELEMENTS_MAX> {
    pub(crate) kept: Vec<(Cow<'a, str>, T)>,
    pub(crate) count: usize,
}

impl<T, const KEPT: usize> Default for Pairs<'_, T, KEPT> {
    fn default() -> Self {
        Self {
            kept: Vec::new(),
            count: 0,
        }
    }
}

impl<'de: 'a, 'a, T: Deserialize<'de>, const KEPT: usize> Deserialize<'de> for Pairs<'a, T, KEPT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor<T, const KEPT: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const KEPT: usize> Visitor<'de> for PairsVisitor<T, KEPT> {
            type Value = Pairs<'de, T, KEPT>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a structure or map")
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Pairs::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Pairs::default();
                while pairs.kept.len() < KEPT {
                    let Some((Text(name), value)) = map.next_entry::<Text<'de>, Option<T>>()?
                    else {
                        return Ok(pairs);
                    };
                    let Some(value) = value else { continue };
                    match pairs.kept.iter_mut().find(|(kept, _)| *kept == name) {
                        Some((_, kept)) => *kept = value,
                        None => {
                            pairs.kept.push((name, value));
                            pairs.count += 1;
                        }
                    }
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    pairs.count += 1;
                }
                Ok(pairs)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
                Err(A::Error::custom(LIST))
            }
        }
        deserializer.deserialize_any(PairsVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Sample<'a> {
        #[serde(borrow, default)]
        name: Option<Text<'a>>,
        #[serde(default)]
        number: Option<Integer>,
        #[serde(borrow, default)]
        names: List<Text<'a>, 2>,
        #[serde(borrow, default)]
        map: Pairs<'a, Text<'a>, 2>,
    }

    fn refused(body: &str) -> String {
        match read::<Sample<'_>>(body.as_bytes()) {
            Err(Fault::Serialization(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn escapes_are_resolved_and_fractions_dropped() {
        let sample: Sample<'_> = read(br#"{"Name":"a\u00e9","Number":-1.5}"#).unwrap();
        assert_eq!(sample.name.unwrap().as_str(), "a\u{e9}");
        assert_eq!(sample.number, Some(Integer(-1)));
    }

    #[test]
    fn plain_strings_are_borrowed() {
        let sample: Sample<'_> = read(br#"{"Name":"plain","Unknown":[1]}"#).unwrap();
        assert!(matches!(sample.name, Some(Text(Cow::Borrowed("plain")))));
        assert!(sample.number.is_none());
    }

    #[test]
    fn null_and_nothing_are_absent() {
        for body in [
            "",
            "{}",
            r#"{"Name":null,"Number":null,"Names":null,"Map":null}"#,
        ] {
            let sample: Sample<'_> = read(body.as_bytes()).unwrap();
            assert!(sample.name.is_none() && sample.names.count == 0 && sample.map.count == 0);
        }
    }

    #[test]
    fn wrong_types_are_told_as_aws_tells_them() {
        assert_eq!(refused(r#"{"Name":{}}"#), STRUCTURE);
        assert_eq!(refused(r#"{"Name":[]}"#), LIST_FOR_STRING);
        for number in ["0", "-7", "1.5"] {
            assert_eq!(
                refused(&format!(r#"{{"Name":{number}}}"#)),
                NUMBER_FOR_STRING
            );
        }
        assert_eq!(
            refused(r#"{"Name":false}"#),
            "FALSE_VALUE can not be converted to a String"
        );
        assert_eq!(
            refused(r#"{"Number":"1"}"#),
            "STRING_VALUE can not be converted to an Integer"
        );
        assert_eq!(
            refused(r#"{"Number":true}"#),
            "TRUE_VALUE can not be converted to an Integer"
        );
        assert_eq!(refused(r#"{"Number":{}}"#), STRUCTURE);
        assert_eq!(refused(r#"{"Names":{}}"#), STRUCTURE);
        assert_eq!(refused(r#"{"Map":[]}"#), LIST);
        assert_eq!(refused("[]"), LIST);
    }

    #[test]
    fn broken_json_is_refused() {
        for body in [
            "{",
            "}",
            "null",
            "\"x\"",
            "{\"Name\":\"\\ud800\"}",
            "{} {}",
            "{\"Name\":\"a\nb\"}",
        ] {
            refused(body);
        }
        assert!(matches!(
            read::<Sample<'_>>(b"{\"Name\":\"\xff\"}"),
            Err(Fault::Serialization(_))
        ));
    }

    #[test]
    fn deep_nesting_does_no_harm() {
        let nest = |name: &str| {
            format!(
                "{{\"{name}\":{}{}}}",
                "[".repeat(100_000),
                "]".repeat(100_000)
            )
        };
        assert!(read::<Sample<'_>>(nest("Other").as_bytes()).is_ok());
        assert_eq!(refused(&nest("Name")), LIST_FOR_STRING);
    }

    #[test]
    fn long_lists_are_counted_and_not_kept() {
        let sample: Sample<'_> =
            read(br#"{"Names":["a","b",[],{}],"Map":{"a":"1","a":"2","b":"3","c":{},"d":4}}"#)
                .unwrap();
        assert_eq!((sample.names.kept.len(), sample.names.count), (2, 4));
        assert_eq!((sample.map.kept.len(), sample.map.count), (2, 4));
        assert_eq!(sample.map.kept[0].1.as_str(), "2");
    }
}
