//! Joining a group.

use forebay_base::Timestamp;

use super::Out;
use super::group::{Group, Phase};
use super::member::Member;
use super::reply::{GroupRefusal, GroupReply, JoinRefused, Joined};
use super::request::{GroupSettings, JoinRequest, Token};

impl Group {
    pub(super) fn join(
        &mut self,
        now: Timestamp,
        token: Token,
        request: JoinRequest,
        settings: &GroupSettings,
        out: &mut Out,
    ) {
        let member = request.member.clone();
        let joined = if !self.fits(&request) {
            Err(GroupRefusal::InconsistentProtocol)
        } else if member.is_empty() {
            self.join_without_id(now, token, request, settings, out)
        } else {
            self.join_with_id(now, token, request, settings, out)
        };
        match joined {
            Ok(Some(joined)) => out.push((token, GroupReply::Join(Ok(joined)))),
            Ok(None) => {}
            Err(refusal) => {
                let refused = JoinRefused { refusal, member };
                out.push((token, GroupReply::Join(Err(refused))));
            }
        }
    }

    /// Whether the joining consumer is of the group's kind and shares a way of assignment with
    /// all members.
    fn fits(&self, request: &JoinRequest) -> bool {
        if self.is_empty() {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        self.protocol_type == request.protocol_type
            && request
                .protocols
                .iter()
                .any(|(name, _)| self.all_support(name))
    }

    fn join_without_id(
        &mut self,
        now: Timestamp,
        token: Token,
        request: JoinRequest,
        settings: &GroupSettings,
        out: &mut Out,
    ) -> Result<Option<Joined>, GroupRefusal> {
        let id = request.fresh_member.clone();
        if let Some(instance) = &request.instance {
            return match self.instances.get(instance).cloned() {
                Some(old) => Ok(self.take_over(now, token, &old, request, settings, out)),
                None => self.add(now, token, id, request, settings, out),
            };
        }
        if !request.require_known_member {
            return self.add(now, token, id, request, settings, out);
        }
        if self.promised.len() >= settings.max_members || self.members.len() >= settings.max_members
        {
            return Err(GroupRefusal::GroupFull);
        }
        self.promised
            .insert(id.clone(), now.plus_ms(request.session_timeout_ms));
        let refused = JoinRefused {
            refusal: GroupRefusal::MemberIdRequired,
            member: id,
        };
        out.push((token, GroupReply::Join(Err(refused))));
        Ok(None)
    }

    fn join_with_id(
        &mut self,
        now: Timestamp,
        token: Token,
        request: JoinRequest,
        settings: &GroupSettings,
        out: &mut Out,
    ) -> Result<Option<Joined>, GroupRefusal> {
        let id = request.member.clone();
        if request.instance.is_none() && self.promised.remove(&id).is_some() {
            let added = self.add(now, token, id, request, settings, out);
            if added.is_err() {
                self.complete_if_all_joined(now, out);
            }
            return added;
        }
        self.validate(&id, request.instance.as_deref())?;
        let Some(member) = self.members.get_mut(&id) else {
            return Err(GroupRefusal::UnknownMember);
        };
        let same = member.says_the_same(&request);
        let leads = self.leader.as_ref() == Some(&id);
        let repeated = match self.phase {
            // The reply to its first join may have been lost.
            Phase::Completing { .. } => same,
            // The leader joins again to ask for a rebalance.
            Phase::Stable { .. } => same && !leads,
            Phase::Preparing { .. } | Phase::Empty { .. } => false,
        };
        member.update(now, request, settings);
        if repeated {
            return Ok(Some(self.joined(&id)));
        }
        member.park_join(&id, token, out);
        self.gather(now, settings, out);
        Ok(None)
    }

    fn add(
        &mut self,
        now: Timestamp,
        token: Token,
        id: String,
        request: JoinRequest,
        settings: &GroupSettings,
        out: &mut Out,
    ) -> Result<Option<Joined>, GroupRefusal> {
        if self.members.len() >= settings.max_members {
            return Err(GroupRefusal::GroupFull);
        }
        if self.is_empty() {
            self.protocol_type.clone_from(&request.protocol_type);
        }
        if let Some(instance) = &request.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        let mut member = Member::new(now, request, settings);
        member.park_join(&id, token, out);
        self.members.insert(id.clone(), member);
        self.leader.get_or_insert(id);
        if let Phase::Preparing {
            gathering: Some(gathering),
            ..
        } = &mut self.phase
        {
            gathering.grown = true;
        }
        self.gather(now, settings, out);
        Ok(None)
    }

    /// A member's join is parked: begins a rebalance, or goes on with the one under way.
    fn gather(&mut self, now: Timestamp, settings: &GroupSettings, out: &mut Out) {
        match self.phase {
            Phase::Preparing { .. } => self.complete_if_all_joined(now, out),
            Phase::Empty { .. } | Phase::Completing { .. } | Phase::Stable { .. } => {
                self.prepare(now, settings, out);
            }
        }
    }

    /// A static member comes back after a restart and gets a new id; whoever still uses the old
    /// one is fenced off. A stable group need not rebalance for that.
    fn take_over(
        &mut self,
        now: Timestamp,
        token: Token,
        old: &str,
        request: JoinRequest,
        settings: &GroupSettings,
        out: &mut Out,
    ) -> Option<Joined> {
        let mut member = self.members.remove(old)?;
        let id = request.fresh_member.clone();
        let can_skip_assignment = request.can_skip_assignment;
        member.refuse_all(old, GroupRefusal::FencedInstance, out);
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        member.update(now, request, settings);
        self.members.insert(id.clone(), member);
        let led = self.leader.as_deref() == Some(old);
        if led {
            self.leader = Some(id.clone());
        }
        let stable = matches!(self.phase, Phase::Stable { .. });
        if stable && self.vote().as_ref() == Some(&self.protocol) {
            let mut joined = self.joined(&id);
            if can_skip_assignment {
                joined.skip_assignment = led;
            } else if led {
                // A client that cannot be told to skip would assign anew, so it is not told that
                // it leads.
                joined.leader = old.to_owned();
                joined.members = Vec::new();
            }
            return Some(joined);
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.park_join(&id, token, out);
        }
        self.gather(now, settings, out);
        None
    }
}
