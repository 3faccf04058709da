//! Access keys as options give them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// Secrets by the ids of their access keys: `ID:SECRET,ID:SECRET` in a variable, a table in a file.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Keys(BTreeMap<String, String>);

impl Keys {
    pub(crate) fn into_pairs(self) -> impl Iterator<Item = (String, String)> {
        self.0.into_iter()
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pairs = text.split(',').map(|pair| {
            let known = pair.trim().split_once(':');
            let known = known.filter(|(id, secret)| !id.is_empty() && !secret.is_empty());
            let (id, secret) = known.ok_or("an access key is written ID:SECRET")?;
            Ok((id.to_owned(), secret.to_owned()))
        });
        Ok(Self(pairs.collect::<Result<_, String>>()?))
    }
}

/// Secrets are not for logs.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_pairs_and_keep_their_secrets() {
        let keys: Keys = "A:b/c+d, E:f:g".parse().unwrap();
        assert_eq!(format!("{keys:?}"), r#"{"A", "E"}"#);
        let pairs: Vec<_> = keys.into_pairs().collect();
        assert_eq!(pairs[1], ("E".to_owned(), "f:g".to_owned()));
        for wrong in ["", "A", "A:", ":b", "A:b,"] {
            assert!(wrong.parse::<Keys>().is_err(), "{wrong}");
        }
    }
}
