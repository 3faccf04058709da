//! What the operator may choose about this front end.

use crate::attributes::Caps;
use crate::credentials::Credentials;
use crate::limits::{DELAY_SECONDS_MAX, DELETED_SECONDS, IN_FLIGHT_MAX, RETENTION_SECONDS};
use crate::origin::Origin;

/// Options of the SQS front end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The region in queue ARNs. Requests signed for any region are served.
    pub region: String,
    /// The account in queue URLs and ARNs, 12 digits. Requests naming any account are served.
    pub account_id: String,
    /// How many messages of a queue may be in flight at once; of queues that are made from now on.
    pub max_in_flight: Option<u64>,
    /// The longest delay of a queue or of a message, seconds. AWS allows 15 minutes.
    pub max_delay_seconds: u32,
    /// The longest retention of a queue, seconds. AWS allows 14 days.
    pub max_retention_seconds: u32,
    /// For how long a queue's name cannot be given again after the queue was deleted, seconds; of
    /// queues that are made from now on. AWS has 60.
    pub deleted_seconds: u64,
    /// What requests must be signed with.
    pub credentials: Credentials,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            region: "us-east-1".to_owned(),
            account_id: "000000000000".to_owned(),
            max_in_flight: Some(IN_FLIGHT_MAX),
            max_delay_seconds: DELAY_SECONDS_MAX,
            max_retention_seconds: RETENTION_SECONDS.1,
            deleted_seconds: DELETED_SECONDS,
            credentials: Credentials::default(),
        }
    }
}

impl Options {
    pub(crate) fn caps(&self) -> Caps {
        Caps {
            delay_seconds: self.max_delay_seconds,
            retention_seconds: self.max_retention_seconds,
        }
    }

    /// The ARN of a queue.
    pub(crate) fn arn(&self, queue: &str) -> String {
        format!("arn:aws:sqs:{}:{}:{queue}", self.region, self.account_id)
    }

    /// The URL of a queue for a client that reached this server at `origin`.
    pub(crate) fn url(&self, origin: Origin<'_>, queue: &str) -> String {
        format!("{origin}/{}/{queue}", self.account_id)
    }
}
