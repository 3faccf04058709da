//! What a group answers.

use bytes::Bytes;

/// The reply to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupReply {
    /// To a join.
    Join(Result<Joined, JoinRefused>),
    /// To a sync.
    Sync(Result<Synced, GroupRefusal>),
    /// To a heartbeat.
    Heartbeat(Result<(), GroupRefusal>),
    /// To a leave: what became of each member, in the order asked.
    Leave(Result<Vec<Left>, GroupRefusal>),
}

/// Why a group says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupRefusal {
    /// The group's name is empty.
    #[error("the group's name is not allowed")]
    InvalidGroup,
    /// The session timeout is outside the range allowed.
    #[error("the session timeout is outside the range allowed")]
    InvalidSessionTimeout,
    /// There is no such member.
    #[error("the group has no such member")]
    UnknownMember,
    /// The member is of another generation.
    #[error("the generation is not the present one")]
    IllegalGeneration,
    /// The group is rebalancing: join again.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// The member shares no way of assignment with the others, or the group is of another kind.
    #[error("the member's protocols do not fit the group's")]
    InconsistentProtocol,
    /// Come again with the id given.
    #[error("the member must join again with the id it was given")]
    MemberIdRequired,
    /// Another process has taken over the static name.
    #[error("another member has taken over the instance")]
    FencedInstance,
    /// The group has as many members as it may.
    #[error("the group is full")]
    GroupFull,
    /// The group has members.
    #[error("the group is not empty")]
    NotEmpty,
    /// There is no such group.
    #[error("there is no such group")]
    NotFound,
}

impl GroupRefusal {
    /// What a member of a group that is not known here is told.
    pub(super) fn unknown(group: &str) -> Self {
        if group.is_empty() {
            Self::InvalidGroup
        } else {
            Self::UnknownMember
        }
    }
}

/// A join was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// Why.
    pub refusal: GroupRefusal,
    /// The member's id: with `MemberIdRequired` the one to come again with, else the one in the
    /// request.
    pub member: String,
}

/// A member belongs to a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The generation.
    pub generation: i32,
    /// The kind of group.
    pub protocol_type: String,
    /// The way of assignment chosen.
    pub protocol: String,
    /// The leader's id.
    pub leader: String,
    /// The member's own id.
    pub member: String,
    /// To the leader: every member. To the others: nothing.
    pub members: Vec<JoinedMember>,
    /// To a leader that came back: the assignments of this generation stand, make none
    /// (KIP-814).
    pub skip_assignment: bool,
}

/// A member, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member: String,
    /// Its static name, if it has one.
    pub instance: Option<String>,
    /// What it said about itself for the way of assignment chosen.
    pub metadata: Bytes,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The kind of group.
    pub protocol_type: String,
    /// The way of assignment chosen.
    pub protocol: String,
    /// The assignment; empty if the leader gave the member none.
    pub assignment: Bytes,
}

/// What became of a member that was to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// The id in the request.
    pub member: String,
    /// The static name in the request.
    pub instance: Option<String>,
    /// Whether it is gone now.
    pub result: Result<(), GroupRefusal>,
}

/// Where a group is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupPhase {
    /// No members.
    Empty,
    /// Members are being gathered for the next generation.
    PreparingRebalance,
    /// The generation is complete; its leader has yet to bring the assignments.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// The group.
    pub group: String,
    /// Its kind; empty if it never had a member.
    pub protocol_type: String,
    /// Where it is in its life.
    pub phase: GroupPhase,
}

/// All that is to be seen of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// The group.
    pub group: String,
    /// Where it is in its life.
    pub phase: GroupPhase,
    /// Its generation; 0 before the first.
    pub generation: i32,
    /// Its kind; empty if it never had a member.
    pub protocol_type: String,
    /// The way of assignment chosen; empty if none is.
    pub protocol: String,
    /// The leader's id, if there is one.
    pub leader: Option<String>,
    /// The members, in order of id.
    pub members: Vec<MemberDescription>,
}

/// All that is to be seen of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member: String,
    /// Its static name, if it has one.
    pub instance: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Where the client is.
    pub client_host: String,
    /// What it said about itself for the way of assignment chosen; empty if none is.
    pub metadata: Bytes,
    /// Its assignment; empty while it has none.
    pub assignment: Bytes,
}
