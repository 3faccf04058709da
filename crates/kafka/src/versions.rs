//! Which requests are served, in which versions: the one table of it.
//!
//! The ranges are those of a Kafka 4.1 broker where this front end serves the whole range; a
//! request that is not here is not advertised. There are no `finalized_features`: clients then use
//! classic groups and the older transaction protocol.

use kafka_protocol::messages::ApiKey;

use crate::layout::{self, Layout};

/// One kind of request.
#[derive(Debug)]
pub(crate) struct Api {
    /// Which.
    pub(crate) key: ApiKey,
    /// The lowest version that is served.
    pub(crate) min: i16,
    /// The highest.
    pub(crate) max: i16,
    /// Where its lengths are.
    pub(crate) layout: &'static Layout,
}

impl Api {
    /// The lowest version told to clients. librdkafka does not compress unless Produce 0 is there
    /// (KAFKA-18659), so it is, as in Kafka: [`crate::old_produce`] answers.
    pub(crate) fn advertised_min(&self) -> i16 {
        match self.key {
            ApiKey::Produce => 0,
            _ => self.min,
        }
    }

    /// Whether this version is served.
    pub(crate) fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

const fn api(key: ApiKey, min: i16, max: i16, layout: &'static Layout) -> Api {
    Api {
        key,
        min,
        max,
        layout,
    }
}

/// Every kind of request that is served, by key.
pub(crate) static APIS: &[Api] = &[
    api(ApiKey::Produce, 3, 13, &layout::PRODUCE),
    api(ApiKey::Fetch, 4, 18, &layout::FETCH),
    api(ApiKey::ListOffsets, 1, 10, &layout::LIST_OFFSETS),
    api(ApiKey::Metadata, 0, 13, &layout::METADATA),
    api(ApiKey::OffsetCommit, 2, 9, &layout::OFFSET_COMMIT),
    api(ApiKey::OffsetFetch, 1, 9, &layout::OFFSET_FETCH),
    api(ApiKey::FindCoordinator, 0, 6, &layout::FIND_COORDINATOR),
    api(ApiKey::JoinGroup, 0, 9, &layout::JOIN_GROUP),
    api(ApiKey::Heartbeat, 0, 4, &layout::HEARTBEAT),
    api(ApiKey::LeaveGroup, 0, 5, &layout::LEAVE_GROUP),
    api(ApiKey::SyncGroup, 0, 5, &layout::SYNC_GROUP),
    api(ApiKey::DescribeGroups, 0, 6, &layout::DESCRIBE_GROUPS),
    api(ApiKey::ListGroups, 0, 5, &layout::LIST_GROUPS),
    api(ApiKey::ApiVersions, 0, 4, &layout::API_VERSIONS),
    api(ApiKey::CreateTopics, 2, 7, &layout::CREATE_TOPICS),
    api(ApiKey::DeleteTopics, 1, 6, &layout::DELETE_TOPICS),
    api(ApiKey::DeleteRecords, 0, 2, &layout::DELETE_RECORDS),
    api(ApiKey::InitProducerId, 0, 5, &layout::INIT_PRODUCER_ID),
    api(
        ApiKey::OffsetForLeaderEpoch,
        2,
        4,
        &layout::OFFSET_FOR_LEADER_EPOCH,
    ),
    api(
        ApiKey::AddPartitionsToTxn,
        0,
        3,
        &layout::ADD_PARTITIONS_TO_TXN,
    ),
    api(ApiKey::AddOffsetsToTxn, 0, 4, &layout::ADD_OFFSETS_TO_TXN),
    api(ApiKey::EndTxn, 0, 4, &layout::END_TXN),
    api(ApiKey::WriteTxnMarkers, 1, 1, &layout::WRITE_TXN_MARKERS),
    api(ApiKey::TxnOffsetCommit, 0, 4, &layout::TXN_OFFSET_COMMIT),
    api(ApiKey::DescribeConfigs, 1, 4, &layout::DESCRIBE_CONFIGS),
    api(ApiKey::AlterConfigs, 0, 2, &layout::ALTER_CONFIGS),
    api(ApiKey::DescribeLogDirs, 1, 4, &layout::DESCRIBE_LOG_DIRS),
    api(ApiKey::CreatePartitions, 0, 3, &layout::CREATE_PARTITIONS),
    api(ApiKey::DeleteGroups, 0, 2, &layout::DELETE_GROUPS),
    api(
        ApiKey::IncrementalAlterConfigs,
        0,
        1,
        &layout::INCREMENTAL_ALTER_CONFIGS,
    ),
    api(ApiKey::OffsetDelete, 0, 0, &layout::OFFSET_DELETE),
    api(ApiKey::DescribeCluster, 0, 2, &layout::DESCRIBE_CLUSTER),
    api(ApiKey::DescribeProducers, 0, 0, &layout::DESCRIBE_PRODUCERS),
    api(
        ApiKey::DescribeTransactions,
        0,
        0,
        &layout::DESCRIBE_TRANSACTIONS,
    ),
    api(ApiKey::ListTransactions, 0, 1, &layout::LIST_TRANSACTIONS),
];

/// The entry of a key, if requests of it are served.
pub(crate) fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key as i16 == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_in_the_table_is_one_the_codec_knows() {
        for api in APIS {
            let known = api.key.valid_versions();
            assert!(
                known.min <= api.min && api.max <= known.max,
                "{:?}",
                api.key
            );
        }
    }

    #[test]
    fn the_table_is_sorted_and_has_no_key_twice() {
        assert!(APIS.is_sorted_by(|a, b| (a.key as i16) < b.key as i16));
    }
}
