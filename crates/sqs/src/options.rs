//! What the operator may choose about this front end.

use crate::limits::IN_FLIGHT_MAX;

/// Options of the SQS front end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The region in queue ARNs. Requests signed for any region are served.
    pub region: String,
    /// The account in queue URLs and ARNs, 12 digits. Requests naming any account are served.
    pub account_id: String,
    /// How many messages of a queue may be in flight at once; of queues that are made from now on.
    pub max_in_flight: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            max_in_flight: Some(IN_FLIGHT_MAX),
        }
    }
}

impl Options {
    /// The ARN of a queue.
    pub(crate) fn arn(&self, queue: &str) -> String {
        format!("arn:aws:sqs:{}:{}:{queue}", self.region, self.account_id)
    }

    /// The URL of a queue for a client that reached this server as `host`.
    pub(crate) fn url(&self, host: &str, queue: &str) -> String {
        format!("http://{host}/{}/{queue}", self.account_id)
    }
}
