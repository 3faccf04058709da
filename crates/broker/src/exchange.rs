//! Exchanges and bindings: the routing in front of topics.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::stored::Stored;

/// How an exchange chooses among its bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExchangeKind {
    /// The binding key equals the routing key.
    Direct,
    /// Every binding.
    Fanout,
    /// Words separated by dots; `*` stands for one word, `#` for any number of them.
    Topic,
    /// Conditions on the message's fields, [`Conditions`](crate::Conditions) in the binding's
    /// arguments; keys mean nothing.
    Fields,
}

/// An exchange as it was declared. Its stored form can grow, as that of
/// [`TopicConfig`](crate::TopicConfig).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub struct ExchangeConfig {
    /// How it routes.
    pub kind: ExchangeKind,
    /// It survives a restart.
    pub durable: bool,
    /// It is deleted when its last binding goes.
    pub auto_delete: bool,
    /// Clients may not publish to it.
    pub internal: bool,
    /// What a front end must be able to give back.
    pub labels: BTreeMap<String, String>,
    /// The exchange that gets what no binding of this one takes, by name.
    pub alternate: Option<Arc<str>>,
}

impl From<ExchangeConfig> for Stored {
    fn from(config: ExchangeConfig) -> Self {
        Self::default()
            .with(&config.kind)
            .with(&config.durable)
            .with(&config.auto_delete)
            .with(&config.internal)
            .with(&config.labels)
            .with(&config.alternate)
    }
}

impl TryFrom<Stored> for ExchangeConfig {
    type Error = postcard::Error;

    fn try_from(stored: Stored) -> Result<Self, postcard::Error> {
        let mut fields = stored.fields();
        Ok(Self {
            kind: fields.next(ExchangeKind::Direct)?,
            durable: fields.next(true)?,
            auto_delete: fields.next(false)?,
            internal: fields.next(false)?,
            labels: fields.next(BTreeMap::new())?,
            alternate: fields.next(None)?,
        })
    }
}

/// An exchange as the directory shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeInfo {
    /// Its name; the default exchange has the empty one.
    pub name: Arc<str>,
    /// Its declaration.
    pub config: ExchangeConfig,
}

/// Where a binding leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Destination {
    /// To a topic, by name.
    Topic(Arc<str>),
    /// To another exchange, by name.
    Exchange(Arc<str>),
}

/// One binding. Two bindings are the same if all fields are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Binding {
    /// The exchange it leaves.
    pub exchange: Arc<str>,
    /// Where it leads.
    pub destination: Destination,
    /// The binding key.
    pub key: Arc<str>,
    /// Further arguments a front end gave, in a canonical text form; part of its identity. For an
    /// exchange of kind [`ExchangeKind::Fields`] the text of its conditions.
    pub arguments: String,
}
