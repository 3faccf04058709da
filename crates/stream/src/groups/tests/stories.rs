//! Stories with a beginning and an end.

use super::*;

#[test]
fn two_members_share_the_work() {
    let mut stage = Stage::prompt();
    let first = stage.join(newcomer("a"));
    let alone = stage.joined(first).unwrap();
    assert_eq!((alone.generation, alone.leader.as_str()), (1, "a"));
    assert_eq!(alone.protocol, "range");

    let second = stage.join(newcomer("b"));
    assert!(stage.waits(second), "b waits for a to come again");
    assert_eq!(
        stage.heartbeat("a", 1),
        Err(GroupRefusal::RebalanceInProgress)
    );
    let first = stage.join(member("a"));
    let leader = stage.joined(first).unwrap();
    let follower = stage.joined(second).unwrap();
    assert_eq!((leader.generation, follower.generation), (2, 2));
    assert_eq!(follower.leader, "a");
    assert!(
        follower.members.is_empty(),
        "only the leader is told who the others are"
    );
    let told: Vec<_> = leader
        .members
        .iter()
        .map(|member| member.member.as_str())
        .collect();
    assert_eq!(told, ["a", "b"]);
    assert_eq!(leader.members[1].metadata, Bytes::from("topics by range"));

    let follower = stage.sync("b", 2, &[]);
    assert!(
        stage.waits(follower),
        "b waits for the leader's assignments"
    );
    assert_eq!(stage.phase(), GroupPhase::CompletingRebalance);
    let leader = stage.sync("a", 2, &[("a", "p0"), ("b", "p1"), ("stranger", "p2")]);
    assert_eq!(stage.synced(leader), Ok("p0".into()));
    assert_eq!(stage.synced(follower), Ok("p1".into()));
    assert_eq!(stage.phase(), GroupPhase::Stable);
    assert_eq!(stage.heartbeat("a", 2), Ok(()));
    assert_eq!(stage.heartbeat("b", 2), Ok(()));

    let again = stage.sync("b", 2, &[]);
    assert_eq!(
        stage.synced(again),
        Ok("p1".into()),
        "asking again gives the same"
    );
}

#[test]
fn a_consumer_must_come_again_with_the_id_it_was_given() {
    let mut stage = Stage::prompt();
    let request = JoinRequest {
        require_known_member: true,
        ..newcomer("a")
    };
    let token = stage.join(request);
    let refused = stage.joined(token).unwrap_err();
    assert_eq!(refused.refusal, GroupRefusal::MemberIdRequired);
    assert_eq!(refused.member, "a");
    let token = stage.join(JoinRequest {
        require_known_member: true,
        ..member("a")
    });
    assert_eq!(stage.joined(token).unwrap().generation, 1);
    let token = stage.join(member("made up"));
    assert_eq!(stage.refused(token), GroupRefusal::UnknownMember);
}

#[test]
fn an_id_that_is_never_used_is_forgotten() {
    let mut stage = Stage::prompt();
    stage.join(JoinRequest {
        require_known_member: true,
        ..newcomer("a")
    });
    stage.pass(SESSION_MS);
    let token = stage.join(member("a"));
    assert_eq!(stage.refused(token), GroupRefusal::UnknownMember);
}

#[test]
fn an_id_given_out_holds_up_a_rebalance_only_for_its_session() {
    let mut stage = Stage::prompt();
    let generation = stage.pair();
    stage.join(JoinRequest {
        require_known_member: true,
        ..newcomer("c")
    });
    let leader = stage.join(member("a"));
    let follower = stage.join(member("b"));
    assert!(
        stage.waits(leader) && stage.waits(follower),
        "c is expected"
    );
    stage.pass(SESSION_MS);
    assert_eq!(stage.joined(leader).unwrap().generation, generation + 1);
}

#[test]
fn members_that_start_together_share_one_generation() {
    let mut stage = Stage::new(GroupSettings {
        initial_delay_ms: 100,
        ..GroupSettings::default()
    });
    let first = stage.join(newcomer("a"));
    stage.pass(90);
    let second = stage.join(newcomer("b"));
    stage.pass(90);
    assert!(stage.waits(first), "b's coming has prolonged the wait");
    let third = stage.join(newcomer("c"));
    stage.pass(200);
    for token in [first, second, third] {
        assert_eq!(stage.joined(token).unwrap().generation, 1);
    }
}

#[test]
fn the_wait_for_more_members_ends_with_the_rebalance_timeout() {
    let mut stage = Stage::new(GroupSettings {
        initial_delay_ms: 100,
        ..GroupSettings::default()
    });
    let hasty = |id: &str| JoinRequest {
        rebalance_timeout_ms: 250,
        ..newcomer(id)
    };
    let first = stage.join(hasty("a"));
    for round in 0..5 {
        stage.pass(49);
        stage.join(hasty(&format!("b{round}")));
    }
    stage.pass(10);
    assert_eq!(stage.joined(first).unwrap().members.len(), 6);
}

#[test]
fn one_leaves_and_the_other_takes_over() {
    let mut stage = Stage::prompt();
    let generation = stage.pair();
    let left = stage.leave(&[("a", None), ("stranger", None)]).unwrap();
    assert_eq!(left[0].result, Ok(()));
    assert_eq!(left[1].result, Err(GroupRefusal::UnknownMember));
    assert_eq!(
        stage.heartbeat("a", generation),
        Err(GroupRefusal::UnknownMember)
    );
    assert_eq!(
        stage.heartbeat("b", generation),
        Err(GroupRefusal::RebalanceInProgress)
    );
    let token = stage.join(member("b"));
    let joined = stage.joined(token).unwrap();
    assert_eq!(
        (joined.generation, joined.leader.as_str()),
        (generation + 1, "b")
    );
    stage.leave(&[("b", None)]).unwrap();
    assert_eq!(stage.phase(), GroupPhase::Empty);
    assert_eq!(
        stage.leave(&[("b", None)]).unwrap()[0].result,
        Err(GroupRefusal::UnknownMember)
    );
}

#[test]
fn one_falls_silent_and_is_removed() {
    let mut stage = Stage::prompt();
    let generation = stage.pair();
    stage.pass(SESSION_MS / 2);
    assert_eq!(stage.heartbeat("a", generation), Ok(()));
    stage.pass(SESSION_MS / 2);
    assert_eq!(
        stage.heartbeat("a", generation),
        Err(GroupRefusal::RebalanceInProgress)
    );
    assert_eq!(
        stage.heartbeat("b", generation),
        Err(GroupRefusal::UnknownMember)
    );
    let token = stage.join(member("a"));
    assert_eq!(stage.joined(token).unwrap().members.len(), 1);
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut stage = Stage::prompt();
    let generation = stage.pair();
    for _ in 0..4 {
        stage.pass(SESSION_MS / 2);
        assert_eq!(stage.commit("a", generation), Ok(()));
        assert_eq!(stage.heartbeat("b", generation), Ok(()));
    }
}

#[test]
fn a_rebalance_goes_on_without_the_slow() {
    let mut stage = Stage::prompt();
    let generation = stage.pair();
    let token = stage.join(newcomer("c"));
    for _ in 0..REBALANCE_MS / 5_000 {
        assert!(stage.waits(token));
        assert_eq!(
            stage.heartbeat("a", generation),
            Err(GroupRefusal::RebalanceInProgress)
        );
        assert_eq!(
            stage.heartbeat("b", generation),
            Err(GroupRefusal::RebalanceInProgress)
        );
        stage.pass(5_000);
    }
    let joined = stage.joined(token).unwrap();
    assert_eq!((joined.leader.as_str(), joined.members.len()), ("c", 1));
    assert_eq!(
        stage.heartbeat("a", generation),
        Err(GroupRefusal::UnknownMember)
    );
}

#[test]
fn a_leader_that_brings_nothing_is_removed() {
    let mut stage = Stage::prompt();
    let generation = stage.pair();
    let leader = stage.join(member("a"));
    let follower = stage.join(member("b"));
    stage.joined(leader).unwrap();
    stage.joined(follower).unwrap();
    let follower = stage.sync("b", generation + 1, &[]);
    for _ in 0..REBALANCE_MS / 5_000 {
        assert!(stage.waits(follower));
        assert_eq!(
            stage.heartbeat("a", generation + 1),
            Ok(()),
            "it lives, but it does not lead"
        );
        stage.pass(5_000);
    }
    assert_eq!(
        stage.synced(follower),
        Err(GroupRefusal::RebalanceInProgress)
    );
    assert_eq!(
        stage.heartbeat("a", generation + 1),
        Err(GroupRefusal::UnknownMember)
    );
}

#[test]
fn a_follower_joins_again_without_a_rebalance_and_the_leader_with_one() {
    let mut stage = Stage::prompt();
    let generation = stage.pair();
    let token = stage.join(member("b"));
    assert_eq!(stage.joined(token).unwrap().generation, generation);
    let changed = JoinRequest {
        protocols: protocols(&["sticky"]),
        ..member("b")
    };
    let follower = stage.join(changed);
    assert!(
        stage.waits(follower),
        "what it says about itself has changed"
    );
    let leader = stage.join(member("a"));
    assert_eq!(stage.joined(leader).unwrap().protocol, "sticky");
    assert_eq!(stage.joined(follower).unwrap().generation, generation + 1);
    stage.sync("b", generation + 1, &[]);
    stage.sync("a", generation + 1, &[]);
    let leader = stage.join(member("a"));
    assert!(
        stage.waits(leader),
        "a leader joins again to ask for a rebalance"
    );
}

#[test]
fn a_lost_reply_is_given_again() {
    let mut stage = Stage::prompt();
    let token = stage.join(newcomer("a"));
    let lost = stage.joined(token).unwrap();
    let token = stage.join(member("a"));
    assert_eq!(stage.joined(token).unwrap(), lost);
}

#[test]
fn a_join_sent_twice_is_answered_twice() {
    let mut stage = Stage::prompt();
    stage.pair();
    let lost = stage.join(newcomer("c"));
    assert!(stage.waits(lost));
    let second = stage.join(member("c"));
    assert_eq!(stage.refused(lost), GroupRefusal::RebalanceInProgress);
    assert!(stage.waits(second));
}

#[test]
fn generations_that_are_over_are_told_so() {
    let mut stage = Stage::prompt();
    let generation = stage.pair();
    assert_eq!(
        stage.heartbeat("a", generation - 1),
        Err(GroupRefusal::IllegalGeneration)
    );
    assert_eq!(
        stage.commit("a", generation - 1),
        Err(GroupRefusal::IllegalGeneration)
    );
    let token = stage.sync("a", generation - 1, &[]);
    assert_eq!(stage.synced(token), Err(GroupRefusal::IllegalGeneration));
    let token = stage.sync("stranger", generation, &[]);
    assert_eq!(stage.synced(token), Err(GroupRefusal::UnknownMember));
}

#[test]
fn commits_are_taken_from_members_or_into_empty_groups() {
    let mut stage = Stage::prompt();
    assert_eq!(
        stage.commit("", -1),
        Ok(()),
        "a consumer outside of any group"
    );
    assert_eq!(stage.commit("a", 3), Err(GroupRefusal::IllegalGeneration));
    let generation = stage.pair();
    assert_eq!(stage.commit("", -1), Err(GroupRefusal::UnknownMember));
    assert_eq!(stage.commit("b", generation), Ok(()));
    let leader = stage.join(member("a"));
    assert_eq!(
        stage.commit("b", generation),
        Ok(()),
        "the last chance before the rebalance"
    );
    let follower = stage.join(member("b"));
    stage.joined(leader).unwrap();
    stage.joined(follower).unwrap();
    assert_eq!(
        stage.commit("b", generation + 1),
        Err(GroupRefusal::RebalanceInProgress)
    );
    stage.leave(&[("a", None), ("b", None)]).unwrap();
    assert_eq!(stage.commit("", -1), Ok(()));
}

#[test]
fn kinds_and_protocols_must_fit() {
    let mut stage = Stage::prompt();
    let none = JoinRequest {
        protocols: Vec::new(),
        ..newcomer("a")
    };
    let token = stage.join(none);
    assert_eq!(stage.refused(token), GroupRefusal::InconsistentProtocol);
    assert_eq!(
        stage.groups.list(),
        [],
        "nothing is kept of a group that never was"
    );
    stage.pair();
    let other = JoinRequest {
        protocols: protocols(&["roundrobin"]),
        ..newcomer("c")
    };
    let token = stage.join(other);
    assert_eq!(stage.refused(token), GroupRefusal::InconsistentProtocol);
    let kind = JoinRequest {
        protocol_type: "connect".into(),
        ..newcomer("c")
    };
    let token = stage.join(kind);
    assert_eq!(stage.refused(token), GroupRefusal::InconsistentProtocol);
    assert_eq!(
        stage.phase(),
        GroupPhase::Stable,
        "the members did not notice"
    );
}

#[test]
fn the_way_of_assignment_is_voted_on() {
    let mut stage = Stage::new(GroupSettings::default());
    let tokens = [
        stage.join(JoinRequest {
            protocols: protocols(&["x", "range", "sticky"]),
            ..newcomer("a")
        }),
        stage.join(JoinRequest {
            protocols: protocols(&["sticky", "range"]),
            ..newcomer("b")
        }),
        stage.join(JoinRequest {
            protocols: protocols(&["sticky", "range"]),
            ..newcomer("c")
        }),
    ];
    stage.pass(1_000);
    for token in tokens {
        let protocol = stage.joined(token).unwrap().protocol;
        assert_eq!(protocol, "sticky", "two prefer it, and x is not for all");
    }
}

#[test]
fn a_static_member_restarts_unnoticed() {
    let mut stage = Stage::new(GroupSettings::default());
    let tokens = [
        stage.join(instance("a", "one")),
        stage.join(instance("b", "two")),
    ];
    stage.pass(1_000);
    for token in tokens {
        assert_eq!(stage.joined(token).unwrap().generation, 1);
    }
    stage.sync("a", 1, &[("a", "p0"), ("b", "p1")]);
    stage.sync("b", 1, &[]);

    let token = stage.join(instance("b2", "two"));
    let joined = stage.joined(token).unwrap();
    assert_eq!((joined.generation, joined.member.as_str()), (1, "b2"));
    let token = stage.sync("b2", 1, &[]);
    assert_eq!(stage.synced(token), Ok("p1".into()), "it has what it had");
    assert_eq!(
        stage.heartbeat_as("b", 1, Some("two")),
        Err(GroupRefusal::FencedInstance)
    );
    assert_eq!(stage.heartbeat_as("b2", 1, Some("two")), Ok(()));
    assert_eq!(stage.heartbeat("a", 1), Ok(()), "nobody else noticed");

    let token = stage.join(instance("a2", "one"));
    let joined = stage.joined(token).unwrap();
    assert_eq!(
        joined.leader, "a",
        "a leader that cannot skip is not told that it leads"
    );
    let token = stage.join(JoinRequest {
        can_skip_assignment: true,
        ..instance("a3", "one")
    });
    let joined = stage.joined(token).unwrap();
    assert_eq!(
        (joined.leader.as_str(), joined.skip_assignment),
        ("a3", true)
    );
    assert_eq!(joined.members.len(), 2);
    let token = stage.sync("a3", 1, &[]);
    assert_eq!(stage.synced(token), Ok("p0".into()));
}

#[test]
fn a_static_member_that_waits_is_fenced_by_its_successor() {
    let mut stage = Stage::prompt();
    let generation = stage.pair();
    let old = stage.join(instance("c", "one"));
    let new = stage.join(instance("c2", "one"));
    assert_eq!(stage.refused(old), GroupRefusal::FencedInstance);
    stage.join(member("a"));
    stage.join(member("b"));
    assert_eq!(stage.joined(new).unwrap().generation, generation + 1);
}

#[test]
fn a_static_member_keeps_its_place_until_its_session_ends() {
    let mut stage = Stage::prompt();
    let token = stage.join(JoinRequest {
        session_timeout_ms: 60_000,
        ..instance("a", "one")
    });
    stage.joined(token).unwrap();
    stage.sync("a", 1, &[("a", "p0")]);
    let token = stage.join(newcomer("b"));
    stage.pass(REBALANCE_MS);
    let joined = stage.joined(token).unwrap();
    assert_eq!(joined.leader, "b");
    assert_eq!(joined.members.len(), 2, "a is away but counts");
    let leader = stage.sync("b", 2, &[("a", "p0"), ("b", "p1")]);
    assert_eq!(stage.synced(leader), Ok("p1".into()));
    for _ in 0..6 {
        stage.pass(5_000);
        stage.heartbeat("b", 2).ok();
    }
    assert_eq!(
        stage.heartbeat("b", 2),
        Err(GroupRefusal::RebalanceInProgress),
        "a is gone"
    );
}

#[test]
fn an_operator_removes_a_static_member_by_its_name() {
    let mut stage = Stage::prompt();
    let token = stage.join(instance("a", "one"));
    stage.joined(token).unwrap();
    let left = stage
        .leave(&[("other", Some("one")), ("", Some("two"))])
        .unwrap();
    assert_eq!(left[0].result, Err(GroupRefusal::FencedInstance));
    assert_eq!(left[1].result, Err(GroupRefusal::UnknownMember));
    let left = stage.leave(&[("", Some("one"))]).unwrap();
    assert_eq!(left[0].result, Ok(()));
    assert_eq!(stage.phase(), GroupPhase::Empty);
}

#[test]
fn a_group_holds_no_more_than_it_may() {
    let settings = GroupSettings {
        initial_delay_ms: 0,
        max_members: 2,
        ..GroupSettings::default()
    };
    let mut stage = Stage::new(settings);
    stage.pair();
    let token = stage.join(newcomer("c"));
    assert_eq!(stage.refused(token), GroupRefusal::GroupFull);
    let token = stage.join(member("a"));
    assert!(stage.waits(token), "members may always come again");
}

#[test]
fn requests_out_of_range_are_refused() {
    let mut stage = Stage::prompt();
    let token = stage.join(JoinRequest {
        group: String::new(),
        ..newcomer("a")
    });
    assert_eq!(stage.refused(token), GroupRefusal::InvalidGroup);
    for session_timeout_ms in [0, 999, 1_800_001, u64::MAX] {
        let token = stage.join(JoinRequest {
            session_timeout_ms,
            ..newcomer("a")
        });
        assert_eq!(stage.refused(token), GroupRefusal::InvalidSessionTimeout);
    }
    let token = stage.join(member("a"));
    assert_eq!(
        stage.refused(token),
        GroupRefusal::UnknownMember,
        "there is no such group"
    );
    let token = stage.join(JoinRequest {
        rebalance_timeout_ms: u64::MAX,
        ..newcomer("a")
    });
    assert!(stage.joined(token).is_ok());
}

#[test]
fn groups_are_listed_described_deleted_and_forgotten() {
    let mut stage = Stage::prompt();
    let generation = stage.pair();
    let seen = stage.groups.describe(GROUP).unwrap();
    assert_eq!(
        (seen.generation, seen.leader.as_deref()),
        (generation, Some("a"))
    );
    assert_eq!(seen.members[1].client_id, "client of b");
    assert_eq!(seen.members[1].assignment, Bytes::from("p1"));
    assert_eq!(stage.groups.list()[0].phase, GroupPhase::Stable);
    assert_eq!(stage.groups.delete(GROUP), Err(GroupRefusal::NotEmpty));
    stage.leave(&[("a", None), ("b", None)]).unwrap();
    assert_eq!(stage.groups.delete(GROUP), Ok(()));
    assert_eq!(stage.groups.delete(GROUP), Err(GroupRefusal::NotFound));
    assert_eq!(stage.groups.next_deadline(), None);

    stage.pair();
    stage.leave(&[("a", None), ("b", None)]).unwrap();
    stage.pass(599_999);
    assert_eq!(stage.phase(), GroupPhase::Empty);
    stage.pass(1);
    assert_eq!(stage.groups.describe(GROUP), None);
    assert_eq!(stage.groups.next_deadline(), None);
}
