//! ApiVersions (key 18), versions 0-4: which requests are served.
//!
//! A version of the future is answered in version 0 with UNSUPPORTED_VERSION and the table
//! (KIP-511). No features are announced.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;

use crate::versions::APIS;

/// The table.
pub(crate) fn answer() -> ApiVersionsResponse {
    let keys = APIS.iter().map(|api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.advertised_min())
            .with_max_version(api.max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}

/// The table, for a client that asked in a version that is not known here.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    answer().with_error_code(ResponseError::UnsupportedVersion.code())
}
