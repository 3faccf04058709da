//! One file for each kind of request, or small family of them.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
pub(crate) mod api_versions;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_transactions;
mod end_txn;
pub(crate) mod fetch;
mod find_coordinator;
mod heartbeat;
mod init_producer_id;
pub(crate) mod join_group;
mod leave_group;
mod list_groups;
mod list_offsets;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
pub(crate) mod produce;
pub(crate) mod sync_group;
mod txn_offset_commit;
mod write_txn_markers;

pub(crate) use fetch::Fetcher;
pub(crate) use produce::Waiting;

use forebay_base::Offset;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, BrokerId, RequestKind, ResponseKind};

use crate::connection::Context;
use crate::request::RequestError;

/// The one broker there is.
const NODE: BrokerId = BrokerId(1);
/// Every partition has had one leader only.
const LEADER_EPOCH: i32 = 0;

/// Answers every kind of request except those the connection treats by itself.
pub(crate) async fn answer(
    context: &Context,
    key: ApiKey,
    version: i16,
    body: RequestKind,
) -> Result<ResponseKind, RequestError> {
    let response = match body {
        RequestKind::ApiVersions(_) => ResponseKind::ApiVersions(api_versions::answer()),
        RequestKind::Metadata(request) => {
            ResponseKind::Metadata(metadata::answer(context, version, request).await)
        }
        RequestKind::CreateTopics(request) => {
            ResponseKind::CreateTopics(create_topics::answer(context, request).await)
        }
        RequestKind::DeleteTopics(request) => {
            ResponseKind::DeleteTopics(delete_topics::answer(context, version, request).await)
        }
        RequestKind::ListOffsets(request) => {
            ResponseKind::ListOffsets(list_offsets::answer(context, version, request).await)
        }
        RequestKind::FindCoordinator(request) => {
            ResponseKind::FindCoordinator(find_coordinator::answer(context, version, request))
        }
        RequestKind::Heartbeat(request) => {
            ResponseKind::Heartbeat(heartbeat::answer(context, request).await)
        }
        RequestKind::LeaveGroup(request) => {
            ResponseKind::LeaveGroup(leave_group::answer(context, version, request).await)
        }
        RequestKind::OffsetCommit(request) => {
            ResponseKind::OffsetCommit(offset_commit::answer(context, request).await)
        }
        RequestKind::OffsetFetch(request) => {
            ResponseKind::OffsetFetch(offset_fetch::answer(context, version, request).await)
        }
        RequestKind::InitProducerId(request) => {
            ResponseKind::InitProducerId(init_producer_id::answer(context, version, request).await)
        }
        RequestKind::OffsetForLeaderEpoch(request) => {
            ResponseKind::OffsetForLeaderEpoch(offset_for_leader_epoch::answer(context, request))
        }
        RequestKind::DescribeConfigs(request) => {
            ResponseKind::DescribeConfigs(describe_configs::answer(context, request))
        }
        RequestKind::DescribeCluster(request) => {
            ResponseKind::DescribeCluster(describe_cluster::answer(context, request))
        }
        RequestKind::ListGroups(request) => {
            ResponseKind::ListGroups(list_groups::answer(context, request).await)
        }
        RequestKind::DescribeGroups(request) => {
            ResponseKind::DescribeGroups(describe_groups::answer(context, version, request).await)
        }
        RequestKind::DeleteGroups(request) => {
            ResponseKind::DeleteGroups(delete_groups::answer(context, request).await)
        }
        RequestKind::DeleteRecords(request) => {
            ResponseKind::DeleteRecords(delete_records::answer(context, request).await)
        }
        RequestKind::AlterConfigs(request) => {
            ResponseKind::AlterConfigs(alter_configs::answer(context, request).await)
        }
        RequestKind::IncrementalAlterConfigs(request) => ResponseKind::IncrementalAlterConfigs(
            alter_configs::answer_incremental(context, request).await,
        ),
        RequestKind::CreatePartitions(request) => {
            ResponseKind::CreatePartitions(create_partitions::answer(context, request).await)
        }
        RequestKind::OffsetDelete(request) => {
            ResponseKind::OffsetDelete(offset_delete::answer(context, request).await)
        }
        RequestKind::DescribeLogDirs(request) => {
            ResponseKind::DescribeLogDirs(describe_log_dirs::answer(context, request))
        }
        RequestKind::AddPartitionsToTxn(request) => ResponseKind::AddPartitionsToTxn(
            add_partitions_to_txn::answer(context, version, request).await,
        ),
        RequestKind::AddOffsetsToTxn(request) => ResponseKind::AddOffsetsToTxn(
            add_offsets_to_txn::answer(context, version, request).await,
        ),
        RequestKind::EndTxn(request) => {
            ResponseKind::EndTxn(end_txn::answer(context, version, request).await)
        }
        RequestKind::TxnOffsetCommit(request) => {
            ResponseKind::TxnOffsetCommit(txn_offset_commit::answer(context, request).await)
        }
        RequestKind::WriteTxnMarkers(request) => {
            ResponseKind::WriteTxnMarkers(write_txn_markers::answer(context, request).await)
        }
        RequestKind::DescribeProducers(request) => {
            ResponseKind::DescribeProducers(describe_producers::answer(context, request).await)
        }
        RequestKind::DescribeTransactions(request) => ResponseKind::DescribeTransactions(
            describe_transactions::answer(context, request).await,
        ),
        RequestKind::ListTransactions(request) => {
            ResponseKind::ListTransactions(describe_transactions::list(context, request).await)
        }
        // The table of versions lists no other kind.
        _ => return Err(RequestError::UnknownApi(key as i16)),
    };
    Ok(response)
}

/// Checks the leader epoch a client believes in; -1 is none (KIP-320).
fn check_epoch(epoch: i32) -> Result<(), ResponseError> {
    if epoch > LEADER_EPOCH {
        Err(ResponseError::UnknownLeaderEpoch)
    } else {
        Ok(())
    }
}

/// An offset as the protocol carries it.
fn to_wire(offset: Offset) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}
