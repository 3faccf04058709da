//! The access keys requests may be signed with.

use std::collections::BTreeMap;
use std::fmt;

/// Secret access keys by the ids of their access keys. If there are none, requests are not
/// verified: every credential is accepted, and none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(BTreeMap<String, String>);

impl Credentials {
    /// Whether requests are not verified.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The secret of an access key.
    pub(crate) fn secret(&self, key_id: &str) -> Option<&str> {
        self.0.get(key_id).map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Credentials {
    fn from_iter<Pairs: IntoIterator<Item = (String, String)>>(pairs: Pairs) -> Self {
        Self(pairs.into_iter().collect())
    }
}

/// Secrets are not for logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
