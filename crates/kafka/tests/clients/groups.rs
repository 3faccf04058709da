use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::server::Server;
use crate::wire::{Client, text, topic};

fn group() -> GroupId {
    GroupId(text("g"))
}

fn join(version: i16, member: StrBytes) -> JoinGroupRequest {
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(if version >= 1 { 10_000 } else { -1 })
        .with_member_id(member)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![
            JoinGroupRequestProtocol::default()
                .with_name(text("range"))
                .with_metadata(Bytes::from_static(b"about me")),
        ])
}

/// Joins, with the detour for an id if the version has it.
async fn joined(client: &mut Client, version: i16) -> JoinGroupResponse {
    let mut response = client
        .call(version, &join(version, StrBytes::default()))
        .await;
    if version >= 4 {
        assert_eq!(response.error_code, 79);
        assert!(!response.member_id.is_empty());
        response = client
            .call(version, &join(version, response.member_id))
            .await;
    }
    assert_eq!(response.error_code, 0);
    response
}

fn sync(joined: &JoinGroupResponse, assign: &[(&StrBytes, &'static [u8])]) -> SyncGroupRequest {
    let assignments = assign.iter().map(|(member, bytes)| {
        SyncGroupRequestAssignment::default()
            .with_member_id((*member).clone())
            .with_assignment(Bytes::from_static(bytes))
    });
    SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(assignments.collect())
}

fn heartbeat(joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
}

async fn leave(client: &mut Client, version: i16, member: &StrBytes) -> i16 {
    let request = LeaveGroupRequest::default().with_group_id(group());
    if version <= 2 {
        let request = request.with_member_id(member.clone());
        return client.call(version, &request).await.error_code;
    }
    let identity = MemberIdentity::default().with_member_id(member.clone());
    let request = request.with_members(vec![identity]);
    client.call(version, &request).await.members[0].error_code
}

#[tokio::test]
async fn a_member_lives_its_life_in_every_version() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for version in 0..=9 {
        let member = joined(&mut client, version).await;
        assert_eq!(member.leader, member.member_id);
        assert_eq!(&**member.protocol_name.as_ref().unwrap(), "range");
        assert_eq!(member.members.len(), 1);
        assert_eq!(&member.members[0].metadata[..], b"about me");
        let synced = client
            .call(
                version.min(5),
                &sync(&member, &[(&member.member_id, b"yours")]),
            )
            .await;
        assert_eq!(
            (synced.error_code, &synced.assignment[..]),
            (0, &b"yours"[..])
        );
        let beat = client.call(version.min(4), &heartbeat(&member)).await;
        assert_eq!(beat.error_code, 0);
        assert_eq!(
            leave(&mut client, version.min(5), &member.member_id).await,
            0
        );
        let beat = client.call(version.min(4), &heartbeat(&member)).await;
        assert_eq!(beat.error_code, 25);
        assert_eq!(
            leave(&mut client, version.min(5), &member.member_id).await,
            25
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn two_members_share_a_generation() {
    let server = Server::start().await;
    let (mut one, mut two) = (server.client().await, server.client().await);
    let first = joined(&mut one, 7).await;
    one.call(5, &sync(&first, &[(&first.member_id, b"all")]))
        .await;
    // The second joins: the first learns of it by its heartbeat, and joins again.
    let id = two.call(7, &join(7, StrBytes::default())).await.member_id;
    two.send(7, &join(7, id)).await;
    while one.call(4, &heartbeat(&first)).await.error_code != 27 {
        tokio::task::yield_now().await;
    }
    let leader = one.call(7, &join(7, first.member_id.clone())).await;
    let follower = two.receive::<JoinGroupRequest>(7).await;
    assert_eq!(leader.generation_id, follower.generation_id);
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!(follower.leader, leader.member_id);
    // The follower asks first and gets what the leader brings.
    two.send(5, &sync(&follower, &[])).await;
    let assignments: &[(&StrBytes, &'static [u8])] = &[
        (&leader.member_id, b"left"),
        (&follower.member_id, b"right"),
    ];
    let synced = one.call(5, &sync(&leader, assignments)).await;
    assert_eq!(&synced.assignment[..], b"left");
    let synced = two.receive::<SyncGroupRequest>(5).await;
    assert_eq!(&synced.assignment[..], b"right");

    let request = DescribeGroupsRequest::default().with_groups(vec![group(), GroupId(text("no"))]);
    for version in 0..=6 {
        let described = one.call(version, &request).await.groups;
        assert_eq!(&*described[0].group_state, "Stable");
        assert_eq!(&*described[0].protocol_data, "range");
        let mut assigned: Vec<&[u8]> = described[0]
            .members
            .iter()
            .map(|member| &member.member_assignment[..])
            .collect();
        assigned.sort_unstable();
        assert_eq!(assigned, [&b"left"[..], b"right"]);
        assert_eq!(&*described[0].members[0].client_id, "test");
        assert_eq!(&*described[0].members[0].client_host, "/127.0.0.1");
        assert_eq!(&*described[1].group_state, "Dead");
        assert_eq!(described[1].error_code, if version >= 6 { 69 } else { 0 });
    }
    for version in 0..=5 {
        let listed = one.call(version, &ListGroupsRequest::default()).await;
        assert_eq!(listed.groups.len(), 1);
        assert_eq!(listed.groups[0].group_id, group());
        assert_eq!(&*listed.groups[0].protocol_type, "consumer");
    }
    let request = ListGroupsRequest::default().with_states_filter(vec![text("Empty")]);
    assert!(one.call(4, &request).await.groups.is_empty());
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    assert_eq!(one.call(2, &request).await.results[0].error_code, 68);
    server.stop().await;
}

fn commit(generation: i32, member: &StrBytes) -> OffsetCommitRequest {
    let part = |index, offset, metadata: &str| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_metadata(Some(text(metadata)))
    };
    let long = "m".repeat(4097);
    OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(generation)
        .with_member_id(member.clone())
        .with_topics(vec![
            OffsetCommitRequestTopic::default()
                .with_name(topic("t"))
                .with_partitions(vec![
                    part(0, 5, "noted"),
                    part(1, 7, ""),
                    part(9, 1, ""),
                    part(2, 1, &long),
                ]),
            OffsetCommitRequestTopic::default()
                .with_name(topic("absent"))
                .with_partitions(vec![part(0, 5, "")]),
        ])
}

async fn commit_codes(
    client: &mut Client,
    version: i16,
    request: &OffsetCommitRequest,
) -> Vec<i16> {
    let response = client.call(version, request).await;
    let parts = response.topics.iter().flat_map(|topic| &topic.partitions);
    parts.map(|part| part.error_code).collect()
}

#[tokio::test]
async fn offsets_are_committed_and_fetched_in_every_version() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 3).await;
    for version in 2..=9 {
        let codes = commit_codes(&mut client, version, &commit(-1, &StrBytes::default())).await;
        assert_eq!(codes, [0, 0, 3, 12, 3]);
    }
    for version in 1..=7 {
        let wanted = OffsetFetchRequestTopic::default()
            .with_name(topic("t"))
            .with_partition_indexes(vec![1, 0, 2, 9]);
        let request = OffsetFetchRequest::default()
            .with_group_id(group())
            .with_topics(Some(vec![wanted]));
        let response = client.call(version, &request).await;
        let parts = &response.topics[0].partitions;
        let found: Vec<_> = parts
            .iter()
            .map(|part| {
                (
                    part.committed_offset,
                    &**part.metadata.as_ref().unwrap(),
                    part.error_code,
                )
            })
            .collect();
        assert_eq!(
            found,
            [(7, "", 0), (5, "noted", 0), (-1, "", 0), (-1, "", 0)]
        );
        if version >= 2 {
            let request = request.with_topics(None);
            let response = client.call(version, &request).await;
            assert_eq!(response.topics.len(), 1);
            assert_eq!(response.topics[0].partitions.len(), 2);
        }
    }
    for version in 8..=9 {
        let wanted = OffsetFetchRequestTopics::default()
            .with_name(topic("t"))
            .with_partition_indexes(vec![0]);
        let of = |name, topics| {
            OffsetFetchRequestGroup::default()
                .with_group_id(GroupId(text(name)))
                .with_topics(topics)
        };
        let request = OffsetFetchRequest::default()
            .with_groups(vec![of("g", Some(vec![wanted])), of("other", None)]);
        let groups = client.call(version, &request).await.groups;
        assert_eq!(groups[0].topics[0].partitions[0].committed_offset, 5);
        assert!(groups[1].topics.is_empty());
    }
    let request =
        DeleteGroupsRequest::default().with_groups_names(vec![group(), GroupId(text("no"))]);
    let results = client.call(1, &request).await.results;
    assert_eq!((results[0].error_code, results[1].error_code), (0, 69));
    server.stop().await;
}

#[tokio::test]
async fn only_members_commit_while_there_are_members() {
    let server = Server::start().await;
    let mut client = server.client().await;
    client.create("t", 3).await;
    let member = joined(&mut client, 5).await;
    client
        .call(3, &sync(&member, &[(&member.member_id, b"all")]))
        .await;
    for (generation, id, code) in [
        (member.generation_id, &member.member_id, 0),
        (member.generation_id + 1, &member.member_id, 22),
        (member.generation_id, &text("stranger"), 25),
        (-1, &StrBytes::default(), 25),
    ] {
        let codes = commit_codes(&mut client, 7, &commit(generation, id)).await;
        assert_eq!(codes, [code, code, 3, 12, 3]);
    }
    server.stop().await;
}

#[tokio::test]
async fn what_a_group_refuses_is_told_by_its_code() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let good = join(5, StrBytes::default());
    for (request, code) in [
        (good.clone().with_group_id(GroupId::default()), 24),
        (good.clone().with_session_timeout_ms(1), 26),
        (good.clone().with_session_timeout_ms(-1), 26),
        (good.clone().with_member_id(text("stranger")), 25),
        (good.clone().with_protocols(Vec::new()), 23),
    ] {
        let response = client.call(5, &request).await;
        assert_eq!((response.error_code, response.generation_id), (code, -1));
    }
    server.stop().await;
}

#[tokio::test]
async fn this_broker_coordinates_groups_and_transactions() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for version in 0..=6 {
        for (kind, code) in [(0, 0), (1, 0), (2, 42)] {
            if version == 0 && kind != 0 {
                continue;
            }
            let request = FindCoordinatorRequest::default().with_key_type(kind);
            let request = if version <= 3 {
                request.with_key(text("g"))
            } else {
                request.with_coordinator_keys(vec![text("g")])
            };
            let response = client.call(version, &request).await;
            let found = match response.coordinators.first() {
                Some(one) => (one.error_code, one.port),
                None => (response.error_code, response.port),
            };
            let port = if code == 0 {
                i32::from(server.address.port())
            } else {
                -1
            };
            assert_eq!(found, (code, port));
        }
    }
    server.stop().await;
}
