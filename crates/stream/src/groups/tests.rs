//! Stories of groups, and what holds in all of them.

mod random;
mod stories;

use std::collections::BTreeMap;

use bytes::Bytes;
use forebay_base::Timestamp;

use super::*;

const GROUP: &str = "orders";
const SESSION_MS: u64 = 10_000;
const REBALANCE_MS: u64 = 30_000;

/// The groups, a clock, and the replies that came.
struct Stage {
    groups: Groups,
    now: Timestamp,
    tokens: u64,
    replies: BTreeMap<Token, GroupReply>,
}

impl Stage {
    fn new(settings: GroupSettings) -> Self {
        let groups = Groups::new(settings);
        Self {
            groups,
            now: Timestamp(1_000),
            tokens: 0,
            replies: BTreeMap::new(),
        }
    }

    /// A stage on which the first member is not made to wait for others.
    fn prompt() -> Self {
        Self::new(GroupSettings {
            initial_delay_ms: 0,
            ..GroupSettings::default()
        })
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn collect(&mut self) {
        for (token, reply) in self.groups.drain() {
            let twice = self.replies.insert(token, reply);
            assert!(twice.is_none(), "{token:?} is answered twice");
        }
    }

    /// Lets time pass; the groups are woken whenever they want to be.
    fn pass(&mut self, milliseconds: u64) {
        let end = self.now.plus_ms(milliseconds);
        while let Some(due) = self.groups.next_deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.groups.expire(self.now);
            assert!(
                self.groups
                    .next_deadline()
                    .is_none_or(|next| next > self.now)
            );
        }
        self.now = end;
        self.collect();
    }

    fn join(&mut self, request: JoinRequest) -> Token {
        let token = self.token();
        self.groups.join(self.now, token, request);
        self.collect();
        token
    }

    fn sync(&mut self, member: &str, generation: i32, assignments: &[(&str, &str)]) -> Token {
        let token = self.token();
        let own = |(member, assignment): &(&str, &str)| {
            (
                (*member).to_owned(),
                Bytes::copy_from_slice(assignment.as_bytes()),
            )
        };
        let request = SyncRequest {
            group: GROUP.into(),
            member: member.into(),
            generation,
            instance: None,
            protocol_type: Some("consumer".into()),
            protocol: None,
            assignments: assignments.iter().map(own).collect(),
        };
        self.groups.sync(self.now, token, request);
        self.collect();
        token
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), GroupRefusal> {
        self.heartbeat_as(member, generation, None)
    }

    fn heartbeat_as(
        &mut self,
        member: &str,
        generation: i32,
        instance: Option<&str>,
    ) -> Result<(), GroupRefusal> {
        let token = self.token();
        let request = HeartbeatRequest {
            group: GROUP.into(),
            member: member.into(),
            generation,
            instance: instance.map(str::to_owned),
        };
        self.groups.heartbeat(self.now, token, &request);
        self.collect();
        match self.replies.remove(&token) {
            Some(GroupReply::Heartbeat(answer)) => answer,
            other => panic!("a heartbeat is answered at once, not {other:?}"),
        }
    }

    fn leave(&mut self, leavers: &[(&str, Option<&str>)]) -> Result<Vec<Left>, GroupRefusal> {
        let token = self.token();
        let own = |(member, instance): &(&str, Option<&str>)| Leaver {
            member: (*member).to_owned(),
            instance: instance.map(str::to_owned),
        };
        let request = LeaveRequest {
            group: GROUP.into(),
            members: leavers.iter().map(own).collect(),
        };
        self.groups.leave(self.now, token, &request);
        self.collect();
        match self.replies.remove(&token) {
            Some(GroupReply::Leave(answer)) => answer,
            other => panic!("a leave is answered at once, not {other:?}"),
        }
    }

    fn commit(&mut self, member: &str, generation: i32) -> Result<(), GroupRefusal> {
        self.groups
            .check_commit(self.now, GROUP, member, generation, None)
    }

    fn waits(&self, token: Token) -> bool {
        !self.replies.contains_key(&token)
    }

    fn joined(&mut self, token: Token) -> Result<Joined, JoinRefused> {
        match self.replies.remove(&token) {
            Some(GroupReply::Join(answer)) => answer,
            other => panic!("the join should be answered by now, not {other:?}"),
        }
    }

    fn refused(&mut self, token: Token) -> GroupRefusal {
        self.joined(token)
            .expect_err("the join should be refused")
            .refusal
    }

    fn synced(&mut self, token: Token) -> Result<String, GroupRefusal> {
        match self.replies.remove(&token) {
            Some(GroupReply::Sync(answer)) => {
                answer.map(|synced| String::from_utf8_lossy(&synced.assignment).into_owned())
            }
            other => panic!("the sync should be answered by now, not {other:?}"),
        }
    }

    fn phase(&self) -> GroupPhase {
        self.groups
            .describe(GROUP)
            .expect("the group is known")
            .phase
    }

    /// `a` leads and `b` follows, generation 1 or 2 whichever it took; returns the generation.
    fn pair(&mut self) -> i32 {
        let first = self.join(newcomer("a"));
        let generation = self.joined(first).expect("a is alone").generation;
        let second = self.join(newcomer("b"));
        assert_eq!(
            self.heartbeat("a", generation),
            Err(GroupRefusal::RebalanceInProgress)
        );
        let first = self.join(member("a"));
        let generation = self.joined(first).expect("both are there").generation;
        assert_eq!(
            self.joined(second).expect("both are there").generation,
            generation
        );
        let follower = self.sync("b", generation, &[]);
        let leader = self.sync("a", generation, &[("a", "p0"), ("b", "p1")]);
        assert_eq!(self.synced(leader), Ok("p0".into()));
        assert_eq!(self.synced(follower), Ok("p1".into()));
        generation
    }
}

/// A consumer that has no id yet and is to get `id`.
fn newcomer(id: &str) -> JoinRequest {
    JoinRequest {
        group: GROUP.into(),
        member: String::new(),
        fresh_member: id.into(),
        require_known_member: false,
        instance: None,
        client_id: format!("client of {id}"),
        client_host: "/127.0.0.1".into(),
        protocol_type: "consumer".into(),
        protocols: protocols(&["range", "sticky"]),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        can_skip_assignment: false,
    }
}

/// A consumer that has the id `id`.
fn member(id: &str) -> JoinRequest {
    JoinRequest {
        member: id.into(),
        fresh_member: format!("unused for {id}"),
        ..newcomer(id)
    }
}

/// A consumer without an id that comes under a static name.
fn instance(id: &str, name: &str) -> JoinRequest {
    JoinRequest {
        instance: Some(name.into()),
        require_known_member: true,
        ..newcomer(id)
    }
}

fn protocols(names: &[&str]) -> Vec<(String, Bytes)> {
    let own = |name: &&str| ((*name).to_owned(), Bytes::from(format!("topics by {name}")));
    names.iter().map(own).collect()
}
