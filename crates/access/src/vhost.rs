//! Virtual hosts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A virtual host: a world of its own for queues and exchanges.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Vhost {
    /// What it is for.
    pub description: String,
    /// Words to sort virtual hosts by.
    pub tags: Vec<String>,
    /// The type of a queue that names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_queue_type: Option<String>,
    /// What else whoever made it said, kept and given back.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Limits of a virtual host; a negative number sets none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VhostLimits {
    /// Connections open at once.
    #[serde(rename = "max-connections", skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
    /// Queues there may be.
    #[serde(rename = "max-queues", skip_serializing_if = "Option::is_none")]
    pub max_queues: Option<i64>,
}

/// A limit as it is compared with: `None` if there is none.
pub(crate) fn limit(value: Option<i64>) -> Option<usize> {
    value.and_then(|value| usize::try_from(value).ok())
}
