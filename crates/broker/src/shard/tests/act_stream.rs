//! Steps of streams: watching, groups, offsets; and questions.

use forebay_base::{PartitionId, Timestamp, TopicId};

use super::decide::Expect;
use super::model::Mood;
use super::promise::Promise;
use super::world::World;
use crate::{
    Command, Committed, GroupCommand, HeartbeatRequest, JoinRequest, LeaveRequest, Leaver,
    OffsetCommit, Refusal, Reply, TopicStats,
};

impl World {
    pub(super) fn watch(&mut self, session: u8, partitions: &[(u8, u8)], wait_ms: u64) {
        let partitions: Vec<_> = partitions
            .iter()
            .map(|(number, beyond)| {
                let id = self.some_partition(*number);
                let end = self.model.lanes.get(&id).map_or(0, |lane| lane.end);
                (id, end + u64::from(*beyond))
            })
            .collect();
        let until = self.now.plus_ms(wait_ms);
        let expect = Expect::Watch(partitions.clone(), until);
        self.ask_for(session, expect, Command::Watch { partitions, until });
    }

    pub(super) fn ask(&mut self, what: u8, topic: u8, group: u8) {
        let group = format!("g{group}");
        let member = "m1".to_owned();
        let command = match what {
            0 => return self.stats(self.some_topic(topic)),
            1 => return self.fetch_offsets(group),
            2 => Command::DescribeGroup { group },
            3 => Command::ListGroups,
            4 => Command::Group(GroupCommand::Heartbeat(HeartbeatRequest {
                group,
                member,
                generation: 1,
                instance: None,
            })),
            _ => Command::Group(GroupCommand::Leave(LeaveRequest {
                group,
                members: vec![Leaver {
                    member,
                    instance: None,
                }],
            })),
        };
        self.ask_for(0, Expect::Any, command);
    }

    pub(super) fn stats(&mut self, topic: TopicId) {
        let command = Command::Stats { topic };
        if !self.model.topics.contains_key(&topic) {
            return self.expect_of_catalog(0, &Err(Refusal::NoSuchTopic), command);
        }
        let lanes = || self.model.lanes.values().filter(|lane| lane.topic == topic);
        let consumers = self.consumers.values().filter(|known| known.topic == topic);
        let leased = |mood: &Mood| matches!(mood, Mood::Leased { .. });
        let delayed = |mood: &Mood| matches!(mood, Mood::Delayed { .. } | Mood::Aside(_));
        let stats = TopicStats {
            ready: self.model.ready(topic),
            leased: lanes().map(|lane| lane.count(leased)).sum(),
            delayed: lanes().map(|lane| lane.count(delayed)).sum(),
            consumers: u32::try_from(consumers.count()).unwrap(),
        };
        self.expect(0, &Ok(Reply::Stats(stats)), Promise::default(), command);
    }

    pub(super) fn fetch_offsets(&mut self, group: String) {
        let offsets = self
            .model
            .offsets
            .iter()
            .filter(|((of, _), _)| *of == group);
        let committed = |id: PartitionId, offset: i64| (id, self.committed_offset(id, offset));
        let found = offsets
            .map(|((_, id), offset)| committed(*id, *offset))
            .collect();
        let promise = Promise {
            offsets_version: self.model.offsets_version,
            ..Promise::default()
        };
        let partitions = None;
        let command = Command::FetchOffsets { group, partitions };
        self.expect(0, &Ok(Reply::Offsets(found)), promise, command);
    }

    /// Everything about it follows from the offset.
    pub(super) fn committed_offset(&self, id: PartitionId, offset: i64) -> Committed {
        Committed {
            offset,
            leader_epoch: 0,
            metadata: format!("{id}"),
            timestamp: Timestamp(offset),
        }
    }

    pub(super) fn commit_offsets(&mut self, group: u8, partition: u8, offset: i64) {
        let partition = self.some_partition(partition);
        if !self.model.lanes.contains_key(&partition) {
            return;
        }
        let group = format!("g{group}");
        let commit = OffsetCommit {
            group: group.clone(),
            member: String::new(),
            instance: None,
            generation: -1,
            entries: vec![(partition, self.committed_offset(partition, offset))],
        };
        let expect = Expect::Committed(group, partition, offset);
        self.ask_for(0, expect, Command::CommitOffsets(commit));
    }

    pub(super) fn delete_offsets(&mut self, group: u8, partition: u8) {
        let partition = self.some_partition(partition);
        let group = format!("g{group}");
        let known = self.model.offsets.remove(&(group.clone(), partition));
        self.model.offsets_version += u64::from(known.is_some());
        let promise = Promise {
            offsets_version: self.model.offsets_version,
            ..Promise::default()
        };
        let partitions = vec![partition];
        let command = Command::DeleteOffsets { group, partitions };
        self.expect(0, &Ok(Reply::Done), promise, command);
    }

    pub(super) fn join(&mut self, group: u8, member: u8) {
        let join = JoinRequest {
            group: format!("g{group}"),
            member: String::new(),
            fresh_member: format!("m{}", self.next_request),
            require_known_member: false,
            instance: (member == 2).then(|| "static".to_owned()),
            client_id: format!("c{member}"),
            client_host: String::new(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Default::default())],
            session_timeout_ms: 5_000,
            rebalance_timeout_ms: 5_000,
            can_skip_assignment: false,
        };
        self.ask_for(0, Expect::Any, Command::Group(GroupCommand::Join(join)));
    }
}
