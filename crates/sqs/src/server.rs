//! What every operation is carried out with.

use std::sync::Arc;

use forebay_broker::{Broker, ReadError, TopicConfig, TopicInfo};
use tokio_util::sync::CancellationToken;

use crate::attributes::QueueAttribute;
use crate::error::Fault;
use crate::json::Text;
use crate::options::Options;
use crate::queue_name;
use crate::redrive::{self, DeadLetterQueue};

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

    /// Changes the policy of the queue a request is about. Nothing is written if nothing changes.
    pub(crate) async fn alter(
        &self,
        url: &Option<Text<'_>>,
        change: impl FnOnce(&TopicInfo, &mut TopicConfig) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let _altering = self.altering.lock().await;
        let queue = self.queue(url)?;
        let mut config = queue.config.clone();
        change(&queue, &mut config)?;
        if config != queue.config {
            self.broker.alter_topic(queue.id, config).await?;
        }
        Ok(())
    }

    /// What the queue named `target` is to the queue `source`, which wants it as its dead-letter
    /// queue.
    pub(crate) fn dead_letter_queue(&self, target: &str, source: &str) -> DeadLetterQueue {
        let Some(queue) = self.queue_named(target) else {
            return DeadLetterQueue::Missing;
        };
        let policy = QueueAttribute::RedriveAllowPolicy.value(&queue.config);
        match redrive::allows(policy.as_deref(), source) {
            true => DeadLetterQueue::Allowed,
            false => DeadLetterQueue::Denied,
        }
    }

    /// The queue of that name. A topic another protocol made is a queue too if SQS could have
    /// given it its name.
    pub(crate) fn queue_named(&self, name: &str) -> Option<Arc<TopicInfo>> {
        let topic = queue_name::is_legal(name).then(|| self.broker.directory().topic(name))?;
        topic.filter(|topic| is_queue(topic))
    }
}

/// Whether SQS clients see the topic as a queue: it has a name that SQS could have given it, and
/// keeps its groups in order if its name says so.
pub(crate) fn is_queue(topic: &TopicInfo) -> bool {
    queue_name::is_legal(&topic.name) && queue_name::is_fifo(&topic.name) == topic.config.ordered
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self::Internal(error.to_string())
    }
}
