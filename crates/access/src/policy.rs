//! Policies: settings for all queues or exchanges whose names match a pattern
//! (<https://www.rabbitmq.com/docs/policies>).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a policy is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApplyTo {
    /// Queues and exchanges.
    #[default]
    #[serde(rename = "all")]
    All,
    /// Exchanges.
    #[serde(rename = "exchanges")]
    Exchanges,
    /// Queues of all types.
    #[serde(rename = "queues")]
    Queues,
    /// Classic queues.
    #[serde(rename = "classic_queues")]
    ClassicQueues,
    /// Quorum queues.
    #[serde(rename = "quorum_queues")]
    QuorumQueues,
    /// Streams.
    #[serde(rename = "streams")]
    Streams,
}

impl ApplyTo {
    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        serde_json::from_value(Value::String(name.to_owned())).ok()
    }

    fn takes(self, subject: Subject) -> bool {
        match self {
            Self::All => true,
            Self::Exchanges => subject == Subject::Exchange,
            Self::Queues => subject != Subject::Exchange,
            Self::ClassicQueues => subject == Subject::ClassicQueue,
            Self::QuorumQueues => subject == Subject::QuorumQueue,
            Self::Streams => subject == Subject::Stream,
        }
    }
}

/// What a policy may apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An exchange.
    Exchange,
    /// A classic queue.
    ClassicQueue,
    /// A quorum queue.
    QuorumQueue,
    /// A stream.
    Stream,
}

/// Whose policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// That of whoever owns the queues.
    User,
    /// That of whoever runs the broker, which limits the other.
    Operator,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// A regular expression over names.
    pub pattern: String,
    /// What it is for.
    #[serde(rename = "apply-to", default)]
    pub apply_to: ApplyTo,
    /// What it sets.
    pub definition: BTreeMap<String, Value>,
    /// Of several that match, the one with the highest priority counts.
    #[serde(default)]
    pub priority: i64,
}

impl Policy {
    pub(crate) fn takes(&self, subject: Subject) -> bool {
        self.apply_to.takes(subject)
    }
}

/// What policies make of one queue or exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective {
    /// The policy that counts.
    pub policy: Option<String>,
    /// The operator's policy that counts.
    pub operator_policy: Option<String>,
    /// What both set together.
    pub definition: BTreeMap<String, Value>,
}

impl Effective {
    /// Lets the operator's word count beside the other: the smaller of two numbers, and else the
    /// operator's.
    pub(crate) fn merge(&mut self, operator: &BTreeMap<String, Value>) {
        for (key, value) in operator {
            let own = self.definition.get(key).and_then(Value::as_i64);
            let stays = own.zip(value.as_i64()).is_some_and(|(own, op)| own < op);
            if !stays {
                self.definition.insert(key.clone(), value.clone());
            }
        }
    }
}
