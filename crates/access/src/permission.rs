//! Permissions (<https://www.rabbitmq.com/docs/access-control>).

use serde::{Deserialize, Serialize};

/// What is to be done with a queue or an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Right {
    /// Make it, change it, delete it.
    Configure,
    /// Put something in.
    Write,
    /// Take something out.
    Read,
}

impl Right {
    /// The word refusals have for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// A user's permissions in a virtual host: regular expressions over names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    /// What may be configured.
    pub configure: String,
    /// What may be written to.
    pub write: String,
    /// What may be read from.
    pub read: String,
}

impl Permission {
    /// Everything.
    pub fn everything() -> Self {
        let all = || ".*".to_owned();
        Self {
            configure: all(),
            write: all(),
            read: all(),
        }
    }
}

/// What routing keys a user may use at a topic exchange. Without one for the exchange, all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicPermission {
    /// The exchange.
    pub exchange: String,
    /// Routing keys that may be published with.
    pub write: String,
    /// Binding keys that may be bound with.
    pub read: String,
}
