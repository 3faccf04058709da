//! `PurgeQueue`: settles all messages of the queue, those in flight too. Takes effect at once. A
//! second purge within 60 seconds is refused, as AWS does; the time of the last one is a label.

use forebay_base::Timestamp;
use forebay_broker::TopicConfig;
use serde::Deserialize;

use crate::error::Fault;
use crate::json::{self, Text};
use crate::limits::PURGE_SECONDS;
use crate::queue_name;
use crate::server::Server;

/// The label with the time of the last purge, milliseconds.
const PURGED: &str = "sqs.purged";
const MS_PER_SECOND: u64 = 1_000;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Request<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
}

impl<'a> Request<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        queue_name::from_url(&request.queue_url)?;
        Ok(request)
    }
}

pub(crate) async fn run(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = Request::read(body)?;
    // Of two purges at the same time one is refused.
    let _altering = server.altering.lock().await;
    let queue = server.queue(&request.queue_url)?;
    let now = server.broker.now();
    if is_recent(&queue.config, now) {
        return Err(Fault::PurgeQueueInProgress {
            queue: queue.name.to_string(),
        });
    }
    // Were the time kept first, a purge that failed could not be tried again.
    server.broker.purge(queue.id, true).await?;
    let mut config = queue.config.clone();
    config.labels.insert(PURGED.to_owned(), now.0.to_string());
    server.broker.alter_topic(queue.id, config).await?;
    Ok(json::EMPTY.to_vec())
}

/// Whether the last purge was less than 60 seconds ago. One the clock has not reached yet, because
/// it was set back, does not count.
fn is_recent(config: &TopicConfig, now: Timestamp) -> bool {
    let last = config.labels.get(PURGED).and_then(|time| time.parse().ok());
    last.map(Timestamp)
        .is_some_and(|last| last <= now && now.ms_since(last) < PURGE_SECONDS * MS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_is_recent_for_a_minute() {
        let mut config = TopicConfig::default();
        let at = |ms: i64| Timestamp(1_700_000_000_000 + ms);
        assert!(!is_recent(&config, at(0)));
        config.labels.insert(PURGED.to_owned(), at(0).0.to_string());
        assert!(is_recent(&config, at(0)) && is_recent(&config, at(59_999)));
        assert!(!is_recent(&config, at(60_000)) && !is_recent(&config, at(-1)));
    }
}
