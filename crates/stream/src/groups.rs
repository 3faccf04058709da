//! Consumer groups: who is a member, who leads, and who has which assignment (Kafka's classic
//! group protocol, with KIP-345 static members and KIP-394 known member ids).
//!
//! Requests that cannot be answered at once are parked under the caller's [`Token`]; every request
//! gets exactly one reply, from [`Groups::drain`].

mod group;
mod join;
mod member;
mod reply;
mod request;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use forebay_base::Timestamp;

use group::Group;
pub use reply::{
    GroupDescription, GroupListing, GroupPhase, GroupRefusal, GroupReply, JoinRefused, Joined,
    JoinedMember, Left, MemberDescription, Synced,
};
pub use request::{
    GroupSettings, HeartbeatRequest, JoinRequest, LeaveRequest, Leaver, SyncRequest, Token,
};

/// Replies on their way to the caller.
type Out = Vec<(Token, GroupReply)>;

/// Every consumer group of a broker.
#[derive(Debug, Default)]
pub struct Groups {
    settings: GroupSettings,
    groups: BTreeMap<String, Group>,
    /// When each group wants to be woken at the latest.
    due: BTreeSet<(Timestamp, String)>,
    out: Out,
}

impl Groups {
    /// No group yet.
    pub fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            ..Self::default()
        }
    }

    /// The replies that became due since the last call.
    pub fn drain(&mut self) -> Vec<(Token, GroupReply)> {
        std::mem::take(&mut self.out)
    }

    /// A consumer wants to be a member, or confirms that it still is while the group rebalances.
    /// Answered when the generation it belongs to is complete.
    pub fn join(&mut self, now: Timestamp, token: Token, request: JoinRequest) {
        let session = &self.settings.session_ms;
        let refusal = if request.group.is_empty() {
            Some(GroupRefusal::InvalidGroup)
        } else if !session.contains(&request.session_timeout_ms) {
            Some(GroupRefusal::InvalidSessionTimeout)
        } else if !request.member.is_empty() && !self.groups.contains_key(&request.group) {
            Some(GroupRefusal::UnknownMember)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            let refused = JoinRefused {
                refusal,
                member: request.member,
            };
            self.out.push((token, GroupReply::Join(Err(refused))));
            return;
        }
        let name = request.group.clone();
        self.groups
            .entry(name.clone())
            .or_insert_with(|| Group::new(now));
        self.with(&name, |group, settings, out| {
            group.join(now, token, request, settings, out)
        });
        if self.groups.get(&name).is_some_and(Group::is_void) {
            self.remove(&name);
        }
    }

    /// A member asks for its assignment; the leader brings everyone's along. Answered when the
    /// leader has brought them.
    pub fn sync(&mut self, now: Timestamp, token: Token, request: SyncRequest) {
        let name = request.group.clone();
        let known = self.with(&name, |group, _, out| group.sync(now, token, request, out));
        if known.is_none() {
            self.out
                .push((token, GroupReply::Sync(Err(GroupRefusal::unknown(&name)))));
        }
    }

    /// A member is alive. Answered at once.
    pub fn heartbeat(&mut self, now: Timestamp, token: Token, request: &HeartbeatRequest) {
        let answer = match self.groups.get_mut(&request.group) {
            Some(group) => group.heartbeat(now, request),
            None => Err(GroupRefusal::unknown(&request.group)),
        };
        self.out.push((token, GroupReply::Heartbeat(answer)));
    }

    /// Members leave, or are removed. Answered at once.
    pub fn leave(&mut self, now: Timestamp, token: Token, request: &LeaveRequest) {
        let left = self.with(&request.group, |group, settings, out| {
            group.leave(now, &request.members, settings, out)
        });
        let answer = left.ok_or_else(|| GroupRefusal::unknown(&request.group));
        self.out.push((token, GroupReply::Leave(answer)));
    }

    /// Whether a consumer may commit offsets for `group` now. A `generation` below 0 stands for a
    /// consumer that is no member, which is allowed while the group has none. Counts as a sign of
    /// life.
    ///
    /// # Errors
    /// Why it may not.
    pub fn check_commit(
        &mut self,
        now: Timestamp,
        group: &str,
        member: &str,
        generation: i32,
        instance: Option<&str>,
    ) -> Result<(), GroupRefusal> {
        match self.groups.get_mut(group) {
            Some(state) => state.check_commit(now, member, generation, instance),
            None if generation < 0 => Ok(()),
            None => Err(GroupRefusal::IllegalGeneration),
        }
    }

    /// Does what time alone has earned: members that gave no sign of life are removed, rebalances
    /// that took too long go on without the missing, groups long empty are forgotten.
    pub fn expire(&mut self, now: Timestamp) {
        while let Some((due, name)) = self.due.first()
            && *due <= now
        {
            let name = name.clone();
            self.with(&name, |group, settings, out| {
                group.expire(now, settings, out)
            });
            let over = |group: &Group| group.is_forgotten(now, &self.settings);
            if self.groups.get(&name).is_some_and(over) {
                self.remove(&name);
            }
        }
    }

    /// The earliest moment at which [`Groups::expire`] may have something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.due.first().map(|(due, _)| *due)
    }

    /// What is known of `group`; `None` if it has no member and had none lately.
    pub fn describe(&self, group: &str) -> Option<GroupDescription> {
        self.groups.get(group).map(|state| state.describe(group))
    }

    /// Every group, in order of name.
    pub fn list(&self) -> Vec<GroupListing> {
        let listing = |(name, state): (&String, &Group)| state.listing(name);
        self.groups.iter().map(listing).collect()
    }

    /// Removes a group without members. What it committed is not kept here.
    ///
    /// # Errors
    /// `NotEmpty` if it has members, `NotFound` if it is not known here.
    pub fn delete(&mut self, group: &str) -> Result<(), GroupRefusal> {
        let state = self.groups.get(group).ok_or(GroupRefusal::NotFound)?;
        if !state.is_empty() {
            return Err(GroupRefusal::NotEmpty);
        }
        self.remove(group);
        Ok(())
    }

    fn remove(&mut self, name: &str) {
        if let Some(group) = self.groups.remove(name) {
            self.due.remove(&(group.wake, name.to_owned()));
        }
    }

    /// Lets a group act and notes when it wants to be woken. `None` if there is no such group.
    fn with<T>(
        &mut self,
        name: &str,
        act: impl FnOnce(&mut Group, &GroupSettings, &mut Out) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(name)?;
        let before = group.wake;
        let done = act(group, &self.settings, &mut self.out);
        group.wake = group.next_deadline(&self.settings);
        if group.wake != before {
            self.due.remove(&(before, name.to_owned()));
        }
        if group.wake != Timestamp::MAX {
            self.due.insert((group.wake, name.to_owned()));
        }
        Some(done)
    }
}
