//! `CreateQueue`: the same name with the same attributes, or with some of them left out, gives the
//! queue there is; a different value is refused. A queue whose name ends with `.fifo` is a FIFO
//! queue, and its attributes must say so.

use forebay_broker::{Refusal, Retention, TopicConfig, TopicInfo};
use serde::{Deserialize, Serialize};

use crate::attributes::{self, QueueAttribute};
use crate::error::Fault;
use crate::json::{self, Pairs, Text};
use crate::limits::{DEDUPLICATION_MS, RETENTION_SECONDS_DEFAULT};
use crate::options::Options;
use crate::origin::Origin;
use crate::queue_name;
use crate::redrive::DeadLetterQueue;
use crate::server::Server;
use crate::tags;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    queue_name: Option<Text<'a>>,
    #[serde(borrow, default)]
    attributes: Pairs<'a, Text<'a>>,
    // The one member of the API that starts with a small letter; some clients use a capital.
    #[serde(borrow, default, rename = "tags", alias = "Tags")]
    tags: Pairs<'a, Text<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    queue_url: String,
}

impl<'a> Request<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        let name = request.name()?;
        if request.asks_for_fifo() && !(queue_name::is_legal(name) && queue_name::is_fifo(name)) {
            return Err(Fault::InvalidParameterValue(
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length".to_owned(),
            ));
        }
        if !queue_name::is_legal(name) {
            return Err(illegal_name());
        }
        Ok(request)
    }

    fn asks_for_fifo(&self) -> bool {
        let fifo = QueueAttribute::FifoQueue.name();
        self.asked()
            .any(|(name, value)| name == fifo && value.eq_ignore_ascii_case("true"))
    }

    fn name(&self) -> Result<&str, Fault> {
        self.queue_name
            .as_ref()
            .map(Text::as_str)
            .ok_or_else(|| Fault::missing("QueueName"))
    }

    fn asked(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.attributes
            .kept
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// What the queue is to be, starting from `base`.
    fn config(
        &self,
        mut base: TopicConfig,
        options: &Options,
        find: impl Fn(&str) -> DeadLetterQueue,
    ) -> Result<TopicConfig, Fault> {
        attributes::apply(&mut base, self.asked(), options.caps(), find)?;
        let tags = &self.tags.kept;
        let tags = tags
            .iter()
            .map(|(key, value)| (key.as_ref(), value.as_str()));
        tags::set(&mut base, self.name()?, tags)?;
        Ok(base)
    }

    /// Whether the queue there is has every attribute that was asked for.
    fn check_same(
        &self,
        there: &TopicInfo,
        options: &Options,
        find: impl Fn(&str) -> DeadLetterQueue,
    ) -> Result<(), Fault> {
        let wanted = self.config(there.config.clone(), options, find)?;
        for (name, _) in self.asked() {
            let differs = QueueAttribute::named(name).is_some_and(|attribute| {
                attribute.value(&wanted) != attribute.value(&there.config)
            });
            if differs {
                return Err(Fault::QueueNameExists {
                    attribute: name.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn illegal_name() -> Fault {
    Fault::InvalidParameterValue(
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
            .to_owned(),
    )
}

/// What a new queue of this name starts from.
fn base(name: &str, options: &Options) -> TopicConfig {
    let ordered = queue_name::is_fifo(name);
    TopicConfig {
        ordered,
        dedup_ms: if ordered { DEDUPLICATION_MS } else { 0 },
        max_leased: options.max_in_flight,
        fair: !ordered,
        name_rests_ms: options.deleted_seconds.saturating_mul(1_000),
        retention: Retention {
            ms: Some(u64::from(RETENTION_SECONDS_DEFAULT) * 1_000),
            ..Retention::until_settled()
        },
        ..TopicConfig::default()
    }
}

/// Judges a request as far as that goes without the broker: every dead-letter queue exists.
pub(crate) fn check(body: &[u8]) -> Result<(), Fault> {
    let request = Request::read(body)?;
    let options = Options::default();
    let base = base(request.name()?, &options);
    let find = |_: &str| DeadLetterQueue::Allowed;
    request.config(base, &options, find).map(drop)
}

pub(crate) async fn run(
    server: &Server,
    origin: Origin<'_>,
    body: &[u8],
) -> Result<Vec<u8>, Fault> {
    let request = Request::read(body)?;
    let name = request.name()?;
    let options = &server.options;
    let find = |target: &str| server.dead_letter_queue(target, name);
    match server.queue_named(name) {
        Some(there) => request.check_same(&there, options, find)?,
        None if queue_name::is_fifo(name) && !request.asks_for_fifo() => return Err(illegal_name()),
        None => {
            let config = request.config(base(name, options), options, find)?;
            let broker = &server.broker;
            if broker.directory().resting(name, broker.now()) {
                return Err(Fault::QueueDeletedRecently);
            }
            match server.broker.create_topic(name, config).await {
                Ok(_) => {}
                Err(Refusal::TopicExists(there)) => request.check_same(&there, options, find)?,
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }
    json::write(&Answer {
        queue_url: options.url(origin, name),
    })
}
