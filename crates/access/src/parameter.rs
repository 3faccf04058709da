//! Parameters: settings of RabbitMQ's plugins. They are kept and given back; nothing acts on them.

use serde_json::Value;

/// What a parameter belongs to, such as `federation-upstream`.
pub type Component = String;

/// A parameter of a virtual host.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// What it belongs to.
    pub component: Component,
    /// Where.
    pub vhost: String,
    /// Its name.
    pub name: String,
    /// What it says.
    pub value: Value,
}

/// A parameter of the whole broker.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalParameter {
    /// Its name.
    pub name: String,
    /// What it says.
    pub value: Value,
}
