//! What the three batch operations have in common: the rules of their entries, and their answer.

use serde::Serialize;

use crate::error::{Fault, shown};
use crate::json::Text;
use crate::limits::{BATCH_ENTRIES_MAX, BATCH_ID_CHARS_MAX};

/// Checks number and ids of the entries. `entry` is what AWS calls one of them; `sent` counts also
/// those that were not kept.
pub(crate) fn check<'a>(
    entry: &'static str,
    sent: usize,
    ids: impl Iterator<Item = Option<&'a Text<'a>>>,
) -> Result<(), Fault> {
    if sent == 0 {
        return Err(Fault::EmptyBatch { entry });
    }
    if sent > BATCH_ENTRIES_MAX {
        return Err(Fault::TooManyEntries { sent });
    }
    let mut seen: Vec<&str> = Vec::with_capacity(sent);
    for (index, id) in ids.enumerate() {
        let Some(id) = id.map(Text::as_str) else {
            return Err(Fault::missing(&format!("{entry}.{}.Id", index + 1)));
        };
        let is_legal = (1..=BATCH_ID_CHARS_MAX).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        if !is_legal {
            return Err(Fault::InvalidEntryId);
        }
        if seen.contains(&id) {
            return Err(Fault::EntryIdRepeated {
                id: shown(id).to_owned(),
            });
        }
        seen.push(id);
    }
    Ok(())
}

/// The answer to a batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BatchAnswer<'a, T> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) successful: Vec<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) failed: Vec<Failed<'a>>,
}

impl<T> Default for BatchAnswer<'_, T> {
    fn default() -> Self {
        Self {
            successful: Vec::new(),
            failed: Vec::new(),
        }
    }
}

/// An entry that was carried out and has nothing more to tell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Done<'a> {
    pub(crate) id: &'a str,
}

/// An entry that was not carried out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Failed<'a> {
    id: &'a str,
    sender_fault: bool,
    code: &'static str,
    message: String,
}

impl<'a> Failed<'a> {
    pub(crate) fn new(id: &'a str, fault: &Fault) -> Self {
        Self {
            id,
            sender_fault: fault.is_senders(),
            code: fault.wire().code,
            message: fault.message().into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(ids: &[Option<&str>]) -> Result<(), Fault> {
        let texts: Vec<Option<Text<'_>>> =
            ids.iter().map(|id| id.map(|id| Text(id.into()))).collect();
        check("Entry", ids.len(), texts.iter().map(Option::as_ref))
    }

    #[test]
    fn entries_keep_to_the_rules() {
        let long = "x".repeat(80);
        assert_eq!(checked(&[Some("a"), Some("B-_9"), Some(&long)]), Ok(()));
        assert_eq!(checked(&[]), Err(Fault::EmptyBatch { entry: "Entry" }));
        assert_eq!(
            checked(&[Some("a"); 20]),
            Err(Fault::TooManyEntries { sent: 20 })
        );
        assert_eq!(
            checked(&[Some("a"), None]),
            Err(Fault::missing("Entry.2.Id"))
        );
        assert_eq!(
            checked(&[Some("a"), Some("a")]),
            Err(Fault::EntryIdRepeated { id: "a".to_owned() })
        );
        for id in ["", "a:b", "é", &"x".repeat(81)] {
            assert_eq!(checked(&[Some(id)]), Err(Fault::InvalidEntryId), "{id}");
        }
    }
}
