//! DescribeCluster (key 60), versions 0-2: the one broker there is (KIP-700).
//!
//! Controllers (endpoint type 2, from version 1 on) have no listener here:
//! UNSUPPORTED_ENDPOINT_TYPE.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use kafka_protocol::protocol::StrBytes;

use super::NODE;
use super::metadata::CLUSTER_OPERATIONS;
use crate::connection::Context;

/// Endpoint type.
const BROKERS: i8 = 1;

pub(super) fn answer(
    context: &Context,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let mut response = DescribeClusterResponse::default()
        .with_cluster_id(StrBytes::from_string(context.options.cluster_id.clone()));
    if request.endpoint_type != BROKERS {
        return response
            .with_error_code(ResponseError::UnsupportedEndpointType.code())
            .with_controller_id(BrokerId(-1));
    }
    if request.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response.with_controller_id(NODE).with_brokers(vec![
        DescribeClusterBroker::default()
            .with_broker_id(NODE)
            .with_host(StrBytes::from_string(context.host.clone()))
            .with_port(i32::from(context.port)),
    ])
}
