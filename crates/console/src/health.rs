//! Whether the broker does its work, asked of the shard itself.

use std::time::Duration;

use forebay_base::TopicId;
use forebay_broker::{Broker, Command, Pressure, Refusal};

/// How long the shard may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why the broker does not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Illness {
    /// It is stopping, or its shard has stopped.
    Stopping,
    /// The shard took longer than [`PATIENCE`].
    Silent,
    /// It takes no new messages; consumers are served.
    Full(String),
}

impl Illness {
    /// One line that says it.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Stopping => "the broker is stopping, or has stopped after a disk failure".into(),
            Self::Silent => format!("the shard has not answered for {} s", PATIENCE.as_secs()),
            Self::Full(why) => format!("publishing waits, consuming goes on: {why}"),
        }
    }
}

/// Sends a question through the shard's mailbox, as every client's command goes.
pub(crate) async fn examine(broker: &Broker) -> Result<(), Illness> {
    // Ids begin at 0 and count up, so no topic has this one: any answer but "stopping" is good.
    let question = broker.call(Command::Stats {
        topic: TopicId(u64::MAX),
    });
    match tokio::time::timeout(PATIENCE, question).await {
        Err(_) => return Err(Illness::Silent),
        Ok(Err(Refusal::Stopping)) => return Err(Illness::Stopping),
        Ok(_) => {}
    }
    match &*broker.pressure().borrow() {
        Pressure::None => Ok(()),
        Pressure::StorageFull(why) => Err(Illness::Full(why.to_string())),
    }
}
