//! Settings: what front ends have to remember that concerns no single topic, such as who may use
//! what. The broker keeps them, durably and in order, and reads nothing in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Names a setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SettingKey {
    /// What it is about, a word of the front ends.
    pub kind: Arc<str>,
    /// Where it holds; empty for everywhere.
    pub scope: Arc<str>,
    /// Its name there.
    pub name: Arc<str>,
}

impl SettingKey {
    /// A key of these three parts.
    pub fn new(kind: &str, scope: &str, name: &str) -> Self {
        Self {
            kind: kind.into(),
            scope: scope.into(),
            name: name.into(),
        }
    }
}

/// A change of one setting. A frame of the journal: variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SettingChange {
    /// It has this value now, a text in whatever form the front ends agree on.
    Put(SettingKey, Arc<str>),
    /// It is gone; one that was not there is no error.
    Remove(SettingKey),
}

/// All settings, by key.
pub type Settings = BTreeMap<SettingKey, Arc<str>>;

/// Makes the changes, in order.
pub(crate) fn apply(settings: &mut Settings, changes: &[SettingChange]) {
    for change in changes {
        match change {
            SettingChange::Put(key, value) => {
                settings.insert(key.clone(), value.clone());
            }
            SettingChange::Remove(key) => {
                settings.remove(key);
            }
        }
    }
}
