//! One member of a group.

use bytes::Bytes;
use forebay_base::Timestamp;

use super::Out;
use super::reply::{GroupRefusal, GroupReply, JoinRefused, JoinedMember, MemberDescription};
use super::request::{GroupSettings, JoinRequest, Token};

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    client_id: String,
    client_host: String,
    protocols: Vec<(String, Bytes)>,
    session_ms: u64,
    pub(super) rebalance_ms: u64,
    /// When it is removed unless it gives a sign of life.
    deadline: Timestamp,
    /// Waits for its first generation, and is removed at its deadline even so.
    new: bool,
    join: Option<Token>,
    sync: Option<Token>,
    /// Has asked for its assignment in this generation, or need not.
    pub(super) synced: bool,
    pub(super) assignment: Bytes,
    pub(super) can_skip_assignment: bool,
}

impl Member {
    pub(super) fn new(now: Timestamp, request: JoinRequest, settings: &GroupSettings) -> Self {
        let mut member = Self {
            instance: request.instance.clone(),
            client_id: String::new(),
            client_host: String::new(),
            protocols: Vec::new(),
            session_ms: 0,
            rebalance_ms: 0,
            deadline: now,
            new: true,
            join: None,
            sync: None,
            synced: true,
            assignment: Bytes::new(),
            can_skip_assignment: false,
        };
        member.update(now, request, settings);
        member.deadline = now.plus_ms(settings.new_member_ms);
        member
    }

    /// Takes over what a join says about the member. Counts as a sign of life.
    pub(super) fn update(
        &mut self,
        now: Timestamp,
        request: JoinRequest,
        settings: &GroupSettings,
    ) {
        self.client_id = request.client_id;
        self.client_host = request.client_host;
        self.protocols = request.protocols;
        self.session_ms = request.session_timeout_ms;
        self.rebalance_ms = request
            .rebalance_timeout_ms
            .clamp(1, settings.max_rebalance_ms.max(1));
        self.can_skip_assignment = request.can_skip_assignment;
        self.touch(now);
    }

    pub(super) fn touch(&mut self, now: Timestamp) {
        if !self.new {
            self.deadline = now.plus_ms(self.session_ms);
        }
    }

    /// When the member is to be removed; `None` while it waits for a reply, which is itself bound
    /// by the deadline of the rebalance.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let waits = self.join.is_some() || self.sync.is_some();
        (self.new || !waits).then_some(self.deadline)
    }

    pub(super) fn is_joining(&self) -> bool {
        self.join.is_some()
    }

    /// Takes the parked join to answer it; the member now belongs to a generation.
    pub(super) fn take_join(&mut self, now: Timestamp) -> Option<Token> {
        let token = self.join.take()?;
        self.new = false;
        self.touch(now);
        Some(token)
    }

    /// Takes the parked sync to answer it.
    pub(super) fn take_sync(&mut self, now: Timestamp) -> Option<Token> {
        let token = self.sync.take()?;
        self.touch(now);
        Some(token)
    }

    /// Parks a join. One that was parked before is told to come again: its sender has most likely
    /// given up on it.
    pub(super) fn park_join(&mut self, id: &str, token: Token, out: &mut Out) {
        self.refuse_join(id, GroupRefusal::RebalanceInProgress, out);
        self.join = Some(token);
    }

    /// Parks a sync, as [`Member::park_join`].
    pub(super) fn park_sync(&mut self, token: Token, out: &mut Out) {
        self.refuse_sync(GroupRefusal::RebalanceInProgress, out);
        self.sync = Some(token);
    }

    fn refuse_join(&mut self, id: &str, refusal: GroupRefusal, out: &mut Out) {
        if let Some(token) = self.join.take() {
            let refused = JoinRefused {
                refusal,
                member: id.to_owned(),
            };
            out.push((token, GroupReply::Join(Err(refused))));
        }
    }

    pub(super) fn refuse_sync(&mut self, refusal: GroupRefusal, out: &mut Out) {
        if let Some(token) = self.sync.take() {
            out.push((token, GroupReply::Sync(Err(refusal))));
        }
    }

    /// Answers whatever is parked with a refusal.
    pub(super) fn refuse_all(&mut self, id: &str, refusal: GroupRefusal, out: &mut Out) {
        self.refuse_join(id, refusal, out);
        self.refuse_sync(refusal, out);
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// The ways of assignment it can follow, the preferred first.
    pub(super) fn protocols(&self) -> impl Iterator<Item = &str> {
        self.protocols.iter().map(|(name, _)| name.as_str())
    }

    /// Whether a join says the same about the member as the last one.
    pub(super) fn says_the_same(&self, request: &JoinRequest) -> bool {
        self.protocols == request.protocols
    }

    fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    pub(super) fn joined(&self, id: &str, protocol: &str) -> JoinedMember {
        JoinedMember {
            member: id.to_owned(),
            instance: self.instance.clone(),
            metadata: self.metadata(protocol),
        }
    }

    pub(super) fn describe(&self, id: &str, protocol: &str) -> MemberDescription {
        MemberDescription {
            member: id.to_owned(),
            instance: self.instance.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            metadata: self.metadata(protocol),
            assignment: self.assignment.clone(),
        }
    }
}
