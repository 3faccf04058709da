//! Who may come in, and what they may do there: virtual hosts, users, permissions, limits and
//! policies, as RabbitMQ has them.
//!
//! All of it is kept as settings of the broker, in the JSON that RabbitMQ's definition files have,
//! and so is as durable as every message. [`Access`] is what the settings say at one moment, read
//! once and then only looked at; [`Keeper`] gives the present one and makes changes. Several front
//! ends stand on this crate. Absent from here: sockets, and every decision of the broker's.

mod access;
mod keeper;
mod parameter;
mod password;
mod pattern;
mod permission;
mod policy;
mod user;
mod vhost;

pub use access::{Access, LoginRefused};
pub use keeper::Keeper;
pub use parameter::{Component, GlobalParameter, Parameter};
pub use password::{Hashing, PasswordHash};
pub use pattern::{BadPattern, Pattern};
pub use permission::{Permission, Right, TopicPermission};
pub use policy::{ApplyTo, Effective, Policy, PolicyKind, Subject};
pub use user::{Tag, User, UserLimits};
pub use vhost::{Vhost, VhostLimits};

/// The virtual host that is there from the first start. Its queues have the names that all other
/// protocols' clients see.
pub const ROOT: &str = "/";

/// What the names of a virtual host's topics and exchanges begin with in the broker.
pub fn prefix_of(vhost: &str) -> String {
    match vhost {
        ROOT => String::new(),
        other => forebay_broker::namespace::prefix(other),
    }
}

/// The virtual host of a topic or exchange, and its name there.
pub fn place_of(name: &str) -> (std::borrow::Cow<'_, str>, &str) {
    match forebay_broker::namespace::split(name) {
        ("", name) => (ROOT.into(), name),
        (prefix, name) => (forebay_broker::namespace::space(prefix), name),
    }
}
