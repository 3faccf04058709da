//! `SendMessage`: one message, answered when it is durable. One record batch of one record.

use forebay_base::Timestamp;
use forebay_broker::{Durability, Publish, Refusal, Target, TopicInfo, WhenFull};
use forebay_record::{BatchBuilder, murmur2};

use crate::attributes;
use crate::error::Fault;
use crate::fifo;
use crate::json;
use crate::limits::MESSAGE_BYTES_MIN;
use crate::outgoing::{Outgoing, RequestMessage};
use crate::queue_name;
use crate::server::Server;

const MS_PER_SECOND: u64 = 1_000;

/// Reads a request and judges it as far as that goes without the queue.
pub(crate) fn read(
    body: &[u8],
    delay_max: u32,
) -> Result<(Option<json::Text<'_>>, Outgoing<'_>), Fault> {
    let mut request: RequestMessage<'_> = json::read(body)?;
    let url = request.queue_url.take();
    queue_name::from_url(&url)?;
    Ok((url, request.accept(delay_max, || "MessageBody".to_owned())?))
}

pub(crate) async fn run(server: &Server, body: &[u8]) -> Result<Vec<u8>, Fault> {
    let (url, message) = read(body, server.options.max_delay_seconds)?;
    let queue = server.queue(&url)?;
    fifo::check(&message, &queue)?;
    if let Some(missing) = fifo::missing(&message, &queue) {
        return Err(missing.alone());
    }
    if exceeds(&message, &queue) {
        return Err(Fault::InvalidParameterValue(format!(
            "One or more parameters are invalid. {}",
            too_long(&queue)
        )));
    }
    let now = server.broker.now();
    let mut batch = BatchBuilder::with_capacity(now.0, batch_bytes(&message));
    let message_id = message
        .push(&mut batch, now)
        .map_err(|error| Fault::Internal(error.to_string()))?;
    let outgoing = forebay_broker::Outgoing {
        target: Target::Topic(queue.id),
        batch: batch.finish(),
        key_hash: key_hash(&message),
        not_before: not_before(message.delay_seconds, &queue, now),
        identity: fifo::identity(&message, &queue, message_id),
        lives_ms: None,
    };
    let results = publish(server, vec![outgoing]).await?;
    let placed = results
        .into_iter()
        .next()
        .ok_or_else(|| Fault::Internal("no answer from the broker".to_owned()))??;
    let mut sent = message.sent(None, message_id);
    if queue.config.ordered {
        sent.placed(&placed);
    }
    json::write(&sent)
}

pub(crate) async fn publish(
    server: &Server,
    messages: Vec<forebay_broker::Outgoing>,
) -> Result<Vec<Result<forebay_broker::Placed, Refusal>>, Fault> {
    let publish = Publish {
        messages,
        durability: Durability::Synced,
        when_full: WhenFull::Refuse,
    };
    Ok(server.broker.publish(publish).await?)
}

/// Whether the message is larger than its queue allows.
pub(crate) fn exceeds(message: &Outgoing<'_>, queue: &TopicInfo) -> bool {
    let size = message.size();
    // No queue has a smaller limit, so for most messages it need not be looked up.
    size > MESSAGE_BYTES_MIN && size > attributes::message_bytes_max(&queue.config)
}

/// The reason given for a message that [`exceeds`].
pub(crate) fn too_long(queue: &TopicInfo) -> String {
    let limit = attributes::message_bytes_max(&queue.config);
    format!("Reason: Message must be shorter than {limit} bytes.")
}

/// When the message may first be handed out, if its own delay overrides the queue's.
pub(crate) fn not_before(
    delay_seconds: Option<u32>,
    queue: &TopicInfo,
    now: Timestamp,
) -> Option<Timestamp> {
    let delay_ms = u64::from(delay_seconds.filter(|_| !queue.config.ordered)?) * MS_PER_SECOND;
    (delay_ms != queue.config.delay_ms).then(|| now.plus_ms(delay_ms))
}

/// The hash Kafka's default partitioner takes of the key.
pub(crate) fn key_hash(message: &Outgoing<'_>) -> Option<u32> {
    message.group_id.as_ref().map(|id| murmur2(id.as_bytes()))
}

/// Room for one message in a batch: what is sent and some more for framing, id and types.
pub(crate) fn batch_bytes(message: &Outgoing<'_>) -> usize {
    const FRAMING: usize = 192;
    2 * message
        .attributes
        .iter()
        .map(crate::message_attributes::Attribute::size)
        .sum::<usize>()
        + message.body.len()
        + FRAMING
}
