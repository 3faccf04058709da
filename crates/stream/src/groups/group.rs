//! One group: its phases and how they follow each other.

use std::collections::BTreeMap;

use bytes::Bytes;
use forebay_base::Timestamp;

use super::Out;
use super::member::Member;
use super::reply::{
    GroupDescription, GroupListing, GroupPhase, GroupRefusal, GroupReply, Joined, Left, Synced,
};
use super::request::{GroupSettings, HeartbeatRequest, Leaver, SyncRequest, Token};

#[derive(Debug)]
pub(super) struct Group {
    pub(super) phase: Phase,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    /// The way of assignment of the present generation.
    pub(super) protocol: String,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// The static names and the members that have them.
    pub(super) instances: BTreeMap<String, String>,
    /// Ids given out whose consumers have yet to come back with them, and until when they may.
    pub(super) promised: BTreeMap<String, Timestamp>,
    /// When the group wants to be woken, as its owner noted last.
    pub(super) wake: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Empty {
        since: Timestamp,
    },
    Preparing {
        until: Timestamp,
        gathering: Option<Gathering>,
    },
    /// Members must have asked for their assignments by then.
    Completing {
        sync_by: Timestamp,
    },
    /// As above, for those that have not yet.
    Stable {
        sync_by: Timestamp,
    },
}

/// The first rebalance of a group that was empty waits a while for more members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gathering {
    /// Milliseconds by which the wait may still be prolonged.
    pub(super) left_ms: u64,
    /// Whether a member came since the wait began.
    pub(super) grown: bool,
}

impl Group {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            phase: Phase::Empty { since: now },
            generation: 0,
            protocol_type: String::new(),
            protocol: String::new(),
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            promised: BTreeMap::new(),
            wake: Timestamp::MAX,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether nothing ever came of the group.
    pub(super) fn is_void(&self) -> bool {
        self.generation == 0 && self.is_empty() && self.promised.is_empty()
    }

    pub(super) fn is_forgotten(&self, now: Timestamp, settings: &GroupSettings) -> bool {
        let Phase::Empty { since } = self.phase else {
            return false;
        };
        self.promised.is_empty() && now >= since.plus_ms(settings.forget_empty_ms)
    }

    /// Whether `member` is one, and the one that has the static name, if it shows one.
    pub(super) fn validate(
        &self,
        member: &str,
        instance: Option<&str>,
    ) -> Result<(), GroupRefusal> {
        if let Some(instance) = instance {
            let holder = self
                .instances
                .get(instance)
                .ok_or(GroupRefusal::UnknownMember)?;
            if holder != member {
                return Err(GroupRefusal::FencedInstance);
            }
        }
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(GroupRefusal::UnknownMember)
        }
    }

    pub(super) fn sync(
        &mut self,
        now: Timestamp,
        token: Token,
        request: SyncRequest,
        out: &mut Out,
    ) {
        if let Err(refusal) = self.check_sync(&request) {
            out.push((token, GroupReply::Sync(Err(refusal))));
            return;
        }
        let stable = matches!(self.phase, Phase::Stable { .. });
        let Some(member) = self.members.get_mut(&request.member) else {
            return;
        };
        member.synced = true;
        member.park_sync(token, out);
        if stable {
            self.answer_sync(now, &request.member, out);
        } else if self.leader.as_ref() == Some(&request.member) {
            self.assign(now, request.assignments, out);
        }
    }

    fn check_sync(&self, request: &SyncRequest) -> Result<(), GroupRefusal> {
        self.validate(&request.member, request.instance.as_deref())?;
        if request.generation != self.generation {
            return Err(GroupRefusal::IllegalGeneration);
        }
        let same = |said: &Option<String>, is: &str| said.as_deref().is_none_or(|said| said == is);
        if !same(&request.protocol_type, &self.protocol_type)
            || !same(&request.protocol, &self.protocol)
        {
            return Err(GroupRefusal::InconsistentProtocol);
        }
        match self.phase {
            Phase::Empty { .. } => Err(GroupRefusal::UnknownMember),
            Phase::Preparing { .. } => Err(GroupRefusal::RebalanceInProgress),
            Phase::Completing { .. } | Phase::Stable { .. } => Ok(()),
        }
    }

    /// The leader has brought the assignments.
    fn assign(&mut self, now: Timestamp, assignments: Vec<(String, Bytes)>, out: &mut Out) {
        let Phase::Completing { sync_by } = self.phase else {
            return;
        };
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        self.phase = Phase::Stable { sync_by };
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            self.answer_sync(now, &id, out);
        }
    }

    fn answer_sync(&mut self, now: Timestamp, id: &str, out: &mut Out) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let Some(token) = member.take_sync(now) else {
            return;
        };
        let synced = Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: member.assignment.clone(),
        };
        out.push((token, GroupReply::Sync(Ok(synced))));
    }

    pub(super) fn heartbeat(
        &mut self,
        now: Timestamp,
        request: &HeartbeatRequest,
    ) -> Result<(), GroupRefusal> {
        self.validate(&request.member, request.instance.as_deref())?;
        if request.generation != self.generation {
            return Err(GroupRefusal::IllegalGeneration);
        }
        self.touch(now, &request.member);
        match self.phase {
            Phase::Preparing { .. } => Err(GroupRefusal::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    fn touch(&mut self, now: Timestamp, id: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.touch(now);
        }
    }

    pub(super) fn check_commit(
        &mut self,
        now: Timestamp,
        member: &str,
        generation: i32,
        instance: Option<&str>,
    ) -> Result<(), GroupRefusal> {
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        self.validate(member, instance)?;
        if generation != self.generation {
            return Err(GroupRefusal::IllegalGeneration);
        }
        self.touch(now, member);
        match self.phase {
            // The member holds assignments of an older generation than the one it names.
            Phase::Completing { .. } => Err(GroupRefusal::RebalanceInProgress),
            // The last chance to commit before the partitions go to someone else.
            Phase::Preparing { .. } | Phase::Stable { .. } | Phase::Empty { .. } => Ok(()),
        }
    }

    pub(super) fn leave(
        &mut self,
        now: Timestamp,
        leavers: &[Leaver],
        settings: &GroupSettings,
        out: &mut Out,
    ) -> Vec<Left> {
        let before = self.members.len();
        let mut left = Vec::with_capacity(leavers.len());
        for leaver in leavers {
            let result = self.leave_one(leaver, out);
            let Leaver { member, instance } = leaver.clone();
            left.push(Left {
                member,
                instance,
                result,
            });
        }
        if self.members.len() < before {
            self.shrunk(now, settings, out);
        }
        self.complete_if_all_joined(now, out);
        left
    }

    fn leave_one(&mut self, leaver: &Leaver, out: &mut Out) -> Result<(), GroupRefusal> {
        let id = match &leaver.instance {
            Some(instance) if leaver.member.is_empty() => self
                .instances
                .get(instance)
                .ok_or(GroupRefusal::UnknownMember)?
                .clone(),
            None if self.promised.remove(&leaver.member).is_some() => return Ok(()),
            _ => leaver.member.clone(),
        };
        self.validate(&id, leaver.instance.as_deref())?;
        self.remove(&id, out);
        Ok(())
    }

    fn remove(&mut self, id: &str, out: &mut Out) {
        let Some(mut member) = self.members.remove(id) else {
            return;
        };
        member.refuse_all(id, GroupRefusal::UnknownMember, out);
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = None;
        }
    }

    /// Members went away: the others share what was theirs.
    fn shrunk(&mut self, now: Timestamp, settings: &GroupSettings, out: &mut Out) {
        match self.phase {
            Phase::Empty { .. } => {}
            Phase::Preparing { .. } => self.complete_if_all_joined(now, out),
            Phase::Completing { .. } | Phase::Stable { .. } => self.prepare(now, settings, out),
        }
    }

    /// Begins to gather the members of the next generation.
    pub(super) fn prepare(&mut self, now: Timestamp, settings: &GroupSettings, out: &mut Out) {
        for member in self.members.values_mut() {
            member.refuse_sync(GroupRefusal::RebalanceInProgress, out);
        }
        let patience = self.patience_ms();
        let delay = settings.initial_delay_ms;
        self.phase = if matches!(self.phase, Phase::Empty { .. }) && delay > 0 {
            let gathering = Gathering {
                left_ms: patience.saturating_sub(delay),
                grown: false,
            };
            Phase::Preparing {
                until: now.plus_ms(delay),
                gathering: Some(gathering),
            }
        } else {
            Phase::Preparing {
                until: now.plus_ms(patience),
                gathering: None,
            }
        };
        self.complete_if_all_joined(now, out);
    }

    /// How long the most patient member is waited for.
    fn patience_ms(&self) -> u64 {
        self.members
            .values()
            .map(|member| member.rebalance_ms)
            .max()
            .unwrap_or(0)
    }

    pub(super) fn complete_if_all_joined(&mut self, now: Timestamp, out: &mut Out) {
        let Phase::Preparing {
            gathering: None, ..
        } = self.phase
        else {
            return;
        };
        if self.promised.is_empty() && self.members.values().all(Member::is_joining) {
            self.complete(now, out);
        }
    }

    /// Goes on to the next generation, without the members that are missing, except static ones,
    /// which only lose their place by the session timeout.
    fn complete(&mut self, now: Timestamp, out: &mut Out) {
        self.members
            .retain(|_, member| member.is_joining() || member.instance.is_some());
        if self.leader.as_ref().is_none_or(|id| !self.is_joining(id)) {
            let joining = self.members.iter().find(|(_, member)| member.is_joining());
            let leader = joining.map(|(id, _)| id.clone());
            if leader.is_none() && !self.members.is_empty() {
                let until = now.plus_ms(self.patience_ms().max(1));
                self.phase = Phase::Preparing {
                    until,
                    gathering: None,
                };
                return;
            }
            self.leader = leader;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.protocol = self.vote().unwrap_or_default();
        self.phase = if self.members.is_empty() {
            Phase::Empty { since: now }
        } else {
            Phase::Completing {
                sync_by: now.plus_ms(self.patience_ms()),
            }
        };
        let mut joined = Vec::new();
        for (id, member) in &mut self.members {
            member.assignment = Bytes::new();
            let token = member.take_join(now);
            member.synced = token.is_none();
            joined.extend(token.map(|token| (token, id.clone())));
        }
        for (token, id) in joined {
            out.push((token, GroupReply::Join(Ok(self.joined(&id)))));
        }
    }

    fn is_joining(&self, id: &str) -> bool {
        self.members.get(id).is_some_and(Member::is_joining)
    }

    /// What a member of the present generation is told about it.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let leader = self.leader.clone().unwrap_or_default();
        let members = if leader == id {
            self.members
                .iter()
                .map(|(id, member)| member.joined(id, &self.protocol))
                .collect()
        } else {
            Vec::new()
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader,
            member: id.to_owned(),
            members,
            skip_assignment: false,
        }
    }

    /// The way of assignment most members prefer among those all can follow; by name if several
    /// are equal. `None` if there is none.
    pub(super) fn vote(&self) -> Option<String> {
        let any = self.members.values().next()?;
        let candidates: Vec<&str> = any
            .protocols()
            .filter(|name| self.all_support(name))
            .collect();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member.protocols().find(|name| candidates.contains(name))?;
            *votes.entry(choice).or_default() += 1;
        }
        let most = votes.values().max().copied()?;
        votes
            .into_iter()
            .find(|&(_, count)| count == most)
            .map(|(name, _)| name.to_owned())
    }

    pub(super) fn all_support(&self, protocol: &str) -> bool {
        self.members
            .values()
            .all(|member| member.supports(protocol))
    }

    pub(super) fn expire(&mut self, now: Timestamp, settings: &GroupSettings, out: &mut Out) {
        self.promised.retain(|_, until| *until > now);
        let unsynced = match self.phase {
            Phase::Completing { sync_by } | Phase::Stable { sync_by } => sync_by <= now,
            Phase::Empty { .. } | Phase::Preparing { .. } => false,
        };
        let lost = self.members.iter().filter(|(_, member)| {
            member.deadline().is_some_and(|deadline| deadline <= now)
                || (unsynced && !member.synced)
        });
        let lost: Vec<String> = lost.map(|(id, _)| id.clone()).collect();
        for id in &lost {
            self.remove(id, out);
        }
        if !lost.is_empty() {
            self.shrunk(now, settings, out);
        }
        self.complete_if_all_joined(now, out);
        self.expire_rebalance(now, settings, out);
    }

    fn expire_rebalance(&mut self, now: Timestamp, settings: &GroupSettings, out: &mut Out) {
        let Phase::Preparing { until, gathering } = self.phase else {
            return;
        };
        if until > now {
            return;
        }
        match gathering {
            Some(Gathering {
                left_ms,
                grown: true,
            }) if left_ms > 0 => {
                let more = settings.initial_delay_ms.min(left_ms);
                let gathering = Gathering {
                    left_ms: left_ms - more,
                    grown: false,
                };
                let until = now.plus_ms(more);
                self.phase = Phase::Preparing {
                    until,
                    gathering: Some(gathering),
                };
            }
            _ => self.complete(now, out),
        }
    }

    pub(super) fn next_deadline(&self, settings: &GroupSettings) -> Timestamp {
        let phase = match self.phase {
            Phase::Empty { since } if self.promised.is_empty() => {
                since.plus_ms(settings.forget_empty_ms)
            }
            Phase::Empty { .. } => Timestamp::MAX,
            Phase::Preparing { until, .. } => until,
            Phase::Completing { sync_by } | Phase::Stable { sync_by } => {
                let missing = self.members.values().any(|member| !member.synced);
                if missing { sync_by } else { Timestamp::MAX }
            }
        };
        let members = self.members.values().filter_map(Member::deadline);
        members
            .chain(self.promised.values().copied())
            .fold(phase, Timestamp::min)
    }

    fn public_phase(&self) -> GroupPhase {
        match self.phase {
            Phase::Empty { .. } => GroupPhase::Empty,
            Phase::Preparing { .. } => GroupPhase::PreparingRebalance,
            Phase::Completing { .. } => GroupPhase::CompletingRebalance,
            Phase::Stable { .. } => GroupPhase::Stable,
        }
    }

    pub(super) fn listing(&self, name: &str) -> GroupListing {
        GroupListing {
            group: name.to_owned(),
            protocol_type: self.protocol_type.clone(),
            phase: self.public_phase(),
        }
    }

    pub(super) fn describe(&self, name: &str) -> GroupDescription {
        let describe = |(id, member): (&String, &Member)| member.describe(id, &self.protocol);
        GroupDescription {
            group: name.to_owned(),
            phase: self.public_phase(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(describe).collect(),
        }
    }
}
