//! `GetQueueAttributes` and `SetQueueAttributes`.

use std::borrow::Cow;

use forebay_base::Timestamp;
use forebay_broker::{TopicConfig, TopicInfo, TopicStats};
use serde::{Deserialize, Serialize};

use crate::attributes::{self, QueueAttribute};
use crate::error::Fault;
use crate::incoming::TextMap;
use crate::json::{self, List, Pairs, Text};
use crate::options::Options;
use crate::queue_name;
use crate::redrive::DeadLetterQueue;
use crate::server::Server;

const MS_PER_SECOND: i64 = 1_000;

/// Attributes that can only be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measured {
    Messages,
    MessagesNotVisible,
    MessagesDelayed,
    Created,
    LastModified,
    Arn,
}

impl Measured {
    const ALL: [Self; 6] = [
        Self::Messages,
        Self::MessagesNotVisible,
        Self::MessagesDelayed,
        Self::Created,
        Self::LastModified,
        Self::Arn,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Messages => "ApproximateNumberOfMessages",
            Self::MessagesNotVisible => "ApproximateNumberOfMessagesNotVisible",
            Self::MessagesDelayed => "ApproximateNumberOfMessagesDelayed",
            Self::Created => "CreatedTimestamp",
            Self::LastModified => "LastModifiedTimestamp",
            Self::Arn => "QueueArn",
        }
    }

    fn value(self, queue: &TopicInfo, stats: &TopicStats, options: &Options) -> String {
        let seconds = |time: Timestamp| (time.0 / MS_PER_SECOND).to_string();
        match self {
            Self::Messages => stats.ready.to_string(),
            Self::MessagesNotVisible => stats.leased.to_string(),
            Self::MessagesDelayed => stats.delayed.to_string(),
            Self::Created => seconds(queue.created),
            Self::LastModified => seconds(queue.modified),
            Self::Arn => options.arn(&queue.name),
        }
    }

    fn needs_stats(self) -> bool {
        matches!(
            self,
            Self::Messages | Self::MessagesNotVisible | Self::MessagesDelayed
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetRequest<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    attribute_names: List<Text<'a>>,
}

/// What is asked of a queue.
#[derive(Debug, Default)]
struct Asked {
    settable: Vec<QueueAttribute>,
    measured: Vec<Measured>,
}

impl<'a> GetRequest<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        queue_name::from_url(&request.queue_url)?;
        request.asked()?;
        Ok(request)
    }

    fn asked(&self) -> Result<Asked, Fault> {
        let mut asked = Asked::default();
        for name in self.attribute_names.kept.iter().map(Text::as_str) {
            let measured = Measured::ALL
                .into_iter()
                .find(|measured| measured.name() == name);
            match (name, QueueAttribute::named(name), measured) {
                ("All", ..) => {
                    return Ok(Asked {
                        settable: QueueAttribute::ALL.to_vec(),
                        measured: Measured::ALL.to_vec(),
                    });
                }
                (_, Some(attribute), _) => asked.settable.push(attribute),
                (_, None, Some(measured)) => asked.measured.push(measured),
                _ => return Err(Fault::unknown_attribute(name)),
            }
        }
        Ok(asked)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    attributes: TextMap<'a>,
}

pub(crate) async fn get(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = GetRequest::read(body)?;
    let queue = server.queue(&request.queue_url)?;
    let mut asked = request.asked()?;
    asked.settable.dedup();
    asked.measured.dedup();
    let stats = match asked.measured.iter().any(|measured| measured.needs_stats()) {
        true => server.broker.stats(queue.id).await?,
        false => TopicStats::default(),
    };
    let measured = asked.measured.iter().map(|measured| {
        (
            measured.name(),
            Cow::Owned(measured.value(&queue, &stats, &server.options)),
        )
    });
    let settable = asked
        .settable
        .iter()
        .filter_map(|attribute| Some((attribute.name(), attribute.value(&queue.config)?)));
    let pairs: Vec<_> = measured.chain(settable).collect();
    if pairs.is_empty() {
        return Ok(json::EMPTY.to_vec());
    }
    json::write(&Answer {
        attributes: TextMap(&pairs),
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SetRequest<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    attributes: Option<Pairs<'a, Text<'a>>>,
}

impl<'a> SetRequest<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Fault> {
        let request: Self = json::read(body)?;
        queue_name::from_url(&request.queue_url)?;
        request.asked().map(drop)?;
        Ok(request)
    }

    fn asked(&self) -> Result<impl Iterator<Item = (&str, &str)> + Clone, Fault> {
        let attributes = self
            .attributes
            .as_ref()
            .ok_or_else(|| Fault::missing("Attributes"))?;
        Ok(attributes
            .kept
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_str())))
    }
}

/// Judges a request as far as that goes without the queue: every dead-letter queue exists.
pub(crate) fn check_set(body: &[u8]) -> Result<(), Fault> {
    let request = SetRequest::read(body)?;
    let caps = Options::default().caps();
    attributes::apply(&mut TopicConfig::default(), request.asked()?, caps, |_| {
        DeadLetterQueue::Allowed
    })
}

pub(crate) async fn set(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = SetRequest::read(body)?;
    let asked = request.asked()?;
    server
        .alter(&request.queue_url, |queue, config| {
            attributes::apply(config, asked, server.options.caps(), |name| {
                server.dead_letter_queue(name, &queue.name)
            })
        })
        .await?;
    Ok(json::EMPTY.to_vec())
}
