//! What is asked of a group.

use std::ops::RangeInclusive;

use bytes::Bytes;

/// The caller's name for one request, so that the reply finds its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// The policy for all groups of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Milliseconds that an empty group waits after its first member for others, so that members
    /// that start together share one rebalance. Prolonged while members keep coming.
    pub initial_delay_ms: u64,
    /// How many members a group may have.
    pub max_members: usize,
    /// The session timeouts allowed, in milliseconds.
    pub session_ms: RangeInclusive<u64>,
    /// The rebalance timeout granted at most, in milliseconds.
    pub max_rebalance_ms: u64,
    /// Milliseconds a new member may wait for its first generation to be complete.
    pub new_member_ms: u64,
    /// Milliseconds after which a group without members is forgotten.
    pub forget_empty_ms: u64,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            initial_delay_ms: 100,
            max_members: 10_000,
            session_ms: 1_000..=1_800_000,
            max_rebalance_ms: 24 * 60 * 60 * 1000,
            new_member_ms: 300_000,
            forget_empty_ms: 600_000,
        }
    }
}

/// A consumer wants to be a member. Kafka: `JoinGroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The group.
    pub group: String,
    /// The member's id; empty for a consumer that has none yet.
    pub member: String,
    /// The id the consumer is to get if it has none: unique, never used before.
    pub fresh_member: String,
    /// Whether a consumer without an id is to be given one first and asked to come again with it
    /// (KIP-394). Not used for static members.
    pub require_known_member: bool,
    /// The name under which a static member comes back after a restart (KIP-345).
    pub instance: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where the client is.
    pub client_host: String,
    /// The kind of group, such as "consumer". The same for all members.
    pub protocol_type: String,
    /// The ways of assignment the member can follow, the preferred first, each with what the
    /// leader must know about the member.
    pub protocols: Vec<(String, Bytes)>,
    /// Milliseconds without a sign of life after which the member is removed.
    pub session_timeout_ms: u64,
    /// Milliseconds the others wait for the member in a rebalance.
    pub rebalance_timeout_ms: u64,
    /// Whether the member understands [`skip_assignment`](super::Joined::skip_assignment)
    /// (KIP-814).
    pub can_skip_assignment: bool,
}

/// A member asks for its assignment. Kafka: `SyncGroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// The group.
    pub group: String,
    /// The member's id.
    pub member: String,
    /// The generation it belongs to.
    pub generation: i32,
    /// Its static name, if it has one.
    pub instance: Option<String>,
    /// The kind of group it takes this one for, if it says so.
    pub protocol_type: Option<String>,
    /// The way of assignment it takes to be chosen, if it says so.
    pub protocol: Option<String>,
    /// From the leader: every member's assignment, by id.
    pub assignments: Vec<(String, Bytes)>,
}

/// A member is alive. Kafka: `Heartbeat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// The group.
    pub group: String,
    /// The member's id.
    pub member: String,
    /// The generation it belongs to.
    pub generation: i32,
    /// Its static name, if it has one.
    pub instance: Option<String>,
}

/// Members leave. Kafka: `LeaveGroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveRequest {
    /// The group.
    pub group: String,
    /// Those who leave.
    pub members: Vec<Leaver>,
}

/// A member that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaver {
    /// The member's id; may be empty if there is an instance.
    pub member: String,
    /// Its static name, if it has one.
    pub instance: Option<String>,
}
