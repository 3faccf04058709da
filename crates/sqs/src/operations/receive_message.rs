//! `ReceiveMessage`: up to 10 messages, at once or as soon as there is one within up to 20 seconds.

use std::borrow::Cow;

use forebay_broker::{ConsumerMode, Cursor, Deliveries, Receive, TopicInfo};
use serde::{Deserialize, Serialize};

use crate::attributes;
use crate::error::Fault;
use crate::fifo::{self, INVALID_FOR_QUEUE_TYPE};
use crate::incoming::{self, Asked, Incoming};
use crate::json::{self, Integer, List, Text};
use crate::limits::{RECEIVE_MESSAGES_MAX, VISIBILITY_SECONDS_MAX, WAIT_SECONDS_MAX};
use crate::message_attributes::Filter;
use crate::outgoing::accept_id;
use crate::queue_name;
use crate::server::Server;

const MS_PER_SECOND: u64 = 1_000;
const ATTEMPT_ID: &str = "ReceiveRequestAttemptId";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Request<'a> {
    #[serde(borrow, default)]
    queue_url: Option<Text<'a>>,
    #[serde(borrow, default)]
    attribute_names: List<Text<'a>>,
    #[serde(borrow, default)]
    message_system_attribute_names: List<Text<'a>>,
    #[serde(borrow, default)]
    message_attribute_names: List<Text<'a>>,
    #[serde(default)]
    max_number_of_messages: Option<Integer>,
    #[serde(default)]
    visibility_timeout: Option<Integer>,
    #[serde(default)]
    wait_time_seconds: Option<Integer>,
    #[serde(borrow, default)]
    receive_request_attempt_id: Option<Text<'a>>,
}

/// What a request asks for, judged.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    asked: Asked<'a>,
    max: u32,
    visibility_seconds: Option<u32>,
    wait_seconds: Option<u32>,
    attempt_id: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    messages: Vec<Incoming<'a>>,
}

impl<'a> Request<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Fault> {
        json::read(body)
    }

    pub(crate) fn wanted(&self) -> Result<Wanted<'_>, Fault> {
        queue_name::from_url(&self.queue_url)?;
        let Integer(max) = self.max_number_of_messages.unwrap_or(Integer(1));
        let in_range = u32::try_from(max)
            .ok()
            .filter(|_| (1..=RECEIVE_MESSAGES_MAX).contains(&max));
        let max = in_range.ok_or_else(|| {
            Fault::invalid(
                max,
                "MaxNumberOfMessages",
                "Must be between 1 and 10, if provided.",
            )
        })?;
        let attempt_id = self
            .receive_request_attempt_id
            .as_ref()
            .filter(|id| !id.0.is_empty())
            .map(|id| accept_id(Text(id.as_str().into()), ATTEMPT_ID))
            .transpose()?;
        let names = self
            .attribute_names
            .kept
            .iter()
            .chain(&self.message_system_attribute_names.kept);
        Ok(Wanted {
            asked: Asked {
                system: incoming::system_attributes(names.map(Text::as_str))?,
                attributes: Filter::new(self.message_attribute_names.kept.iter().map(Text::as_str)),
            },
            max,
            visibility_seconds: seconds(
                self.visibility_timeout,
                "VisibilityTimeout",
                VISIBILITY_SECONDS_MAX,
            )?,
            wait_seconds: seconds(self.wait_time_seconds, "WaitTimeSeconds", WAIT_SECONDS_MAX)?,
            attempt_id,
        })
    }
}

fn seconds(asked: Option<Integer>, parameter: &str, most: u32) -> Result<Option<u32>, Fault> {
    let Some(Integer(asked)) = asked else {
        return Ok(None);
    };
    match u32::try_from(asked) {
        Ok(seconds) if seconds <= most => Ok(Some(seconds)),
        _ => Err(Fault::invalid(
            asked,
            parameter,
            &format!("Must be >= 0 and <= {most}, if provided."),
        )),
    }
}

pub(crate) async fn run(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let request = Request::read(body)?;
    let wanted = request.wanted()?;
    let queue = server.queue(&request.queue_url)?;
    if let Some(id) = wanted.attempt_id.as_ref().filter(|_| !queue.config.ordered) {
        return Err(Fault::invalid(id, ATTEMPT_ID, INVALID_FOR_QUEUE_TYPE));
    }
    let wait_seconds = wanted
        .wait_seconds
        .unwrap_or_else(|| attributes::wait_seconds(&queue.config));
    let wait_ms = u64::from(wait_seconds) * MS_PER_SECOND;
    let lease_ms = wanted
        .visibility_seconds
        .map_or(queue.config.lease_ms, |seconds| {
            u64::from(seconds) * MS_PER_SECOND
        });
    let receive = Receive {
        topic: queue.id,
        max: wanted.max,
        until: (wait_ms > 0).then(|| server.broker.now().plus_ms(wait_ms)),
        mode: ConsumerMode::LeaseMs(lease_ms),
        attempt: wanted.attempt_id.as_deref().map(fifo::attempt),
    };
    let deliveries = receive_or_stop(server, receive).await?;
    if deliveries.is_empty() {
        if wait_ms == 0 && !queue.config.ordered {
            check_in_flight(server, &queue).await?;
        }
        return Ok(json::EMPTY.to_vec());
    }
    let delivered = server
        .broker
        .records(&deliveries, &mut Cursor::default())
        .await?;
    if delivered.is_empty() {
        return Ok(json::EMPTY.to_vec());
    }
    let show = |delivered| {
        Incoming::new(
            delivered,
            &queue,
            deliveries.at,
            &wanted.asked,
            &server.options,
        )
    };
    json::write(&Answer {
        messages: delivered.iter().map(show).collect(),
    })
}

/// A short poll that gets nothing because too many messages are in flight is told so. A FIFO queue
/// never tells.
async fn check_in_flight(server: &Server, queue: &TopicInfo) -> Result<(), Fault> {
    let Some(most) = queue.config.max_leased else {
        return Ok(());
    };
    let stats = server.broker.stats(queue.id).await?;
    if stats.leased < most || stats.ready == 0 {
        return Ok(());
    }
    Err(Fault::OverLimit(format!(
        "The maximum number of in flight messages is reached: {most}."
    )))
}

/// A long poll ends, empty, when the server is to stop.
async fn receive_or_stop(server: &Server, receive: Receive) -> Result<Deliveries, Fault> {
    let topic = receive.topic;
    if receive.until.is_none() {
        return Ok(server.broker.receive(receive).await?);
    }
    tokio::select! {
        deliveries = server.broker.receive(receive) => Ok(deliveries?),
        () = server.stop.cancelled() => Ok(Deliveries { topic, runs: Vec::new(), at: server.broker.now() }),
    }
}
