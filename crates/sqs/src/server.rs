//! What every operation is carried out with.

use std::sync::Arc;

use forebay_broker::{Broker, ReadError, TopicInfo};
use tokio_util::sync::CancellationToken;

use crate::error::Fault;
use crate::json::Text;
use crate::options::Options;
use crate::queue_name;

/// The broker behind this front end, and how the operator wants it shown.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) broker: Broker,
    pub(crate) options: Options,
    /// Fires when the front end is to stop.
    pub(crate) stop: CancellationToken,
    /// Held from reading a queue's attributes to their change, so that two requests that change
    /// different attributes both take effect.
    pub(crate) altering: tokio::sync::Mutex<()>,
}

impl Server {
    /// The queue a request is about.
    pub(crate) fn queue(&self, url: &Option<Text<'_>>) -> Result<Arc<TopicInfo>, Fault> {
        let name = queue_name::from_url(url)?;
        self.queue_named(name).ok_or(Fault::QueueDoesNotExist)
    }

    /// The queue of that name. A topic another protocol made is a queue too if SQS could have
    /// given it its name.
    pub(crate) fn queue_named(&self, name: &str) -> Option<Arc<TopicInfo>> {
        queue_name::is_legal(name).then(|| self.broker.directory().topic(name))?
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Internal(error.to_string())
    }
}
