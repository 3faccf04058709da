//! The workers: three take their work over AMQP, analytics takes it with the AWS SDK.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::FieldTable;
use tokio::task::JoinHandle;

use crate::effects::Effects;
use crate::shop::OrderCreated;
use crate::topology;

/// An e-mail server takes its time.
const EMAIL_TIME: Duration = Duration::from_millis(5);
/// The warehouse dies at every so many-th order, after its work and before its ack.
const DIES_EVERY: usize = 60;

/// The sign to stop, and what happened on the way.
#[derive(Default)]
pub(crate) struct Progress {
    over: AtomicBool,
    deaths: AtomicUsize,
}

impl Progress {
    /// Ends the workers.
    pub(crate) fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// How often the warehouse died.
    pub(crate) fn deaths(&self) -> usize {
        self.deaths.load(Ordering::Relaxed)
    }
}

/// Starts all four.
pub(crate) async fn start(
    amqp: &str,
    sqs: &str,
    dir: &Path,
    progress: &Arc<Progress>,
) -> Vec<JoinHandle<()>> {
    let mut workers = Vec::new();
    for name in ["email", "warehouse", "search"] {
        let (amqp, dir, progress) = (amqp.to_owned(), dir.to_owned(), progress.clone());
        workers.push(tokio::spawn(over_amqp(name, amqp, dir, progress)));
    }
    workers.push(tokio::spawn(analytics(
        sqs.to_owned(),
        dir.to_owned(),
        progress.clone(),
    )));
    workers
}

/// What becomes of a delivery.
enum Fate {
    Done,
    /// It can never succeed: dead letters.
    Hopeless,
    /// The worker dies before it can say anything.
    Death,
}

/// A worker that comes back after every death, as under a supervisor.
async fn over_amqp(name: &'static str, amqp: String, dir: PathBuf, progress: Arc<Progress>) {
    let mut effects = Effects::open(&dir, name);
    let mut seen = 0;
    while !progress.is_over() {
        let connection = topology::connect(&amqp).await.expect("Forebay runs");
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .basic_qos(20, BasicQosOptions::default())
            .await
            .expect("basic.qos");
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume = channel.basic_consume(topology::queue(name).into(), "".into(), options, none);
        let mut deliveries = consume.await.expect("basic.consume");
        while !progress.is_over() {
            let next = tokio::time::timeout(Duration::from_millis(100), deliveries.next()).await;
            let Ok(Some(Ok(delivery))) = next else {
                continue;
            };
            seen += 1;
            match handle(name, &delivery, &mut effects, seen).await {
                Fate::Done => delivery
                    .ack(BasicAckOptions::default())
                    .await
                    .expect("basic.ack"),
                Fate::Hopeless => delivery
                    .reject(BasicRejectOptions { requeue: false })
                    .await
                    .expect("basic.reject"),
                Fate::Death => {
                    progress.deaths.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            };
        }
        // After a death this closes the socket with deliveries out: Forebay hands them out again.
        connection
            .close(200, "over".into())
            .await
            .expect("a clean close");
    }
}

async fn handle(name: &str, delivery: &Delivery, effects: &mut Effects, seen: usize) -> Fate {
    let event: OrderCreated = serde_json::from_slice(&delivery.data).expect("an event");
    let id = delivery
        .properties
        .message_id()
        .clone()
        .expect("an event has an id")
        .to_string();
    if name == "email" {
        if event.email.starts_with("bounce") {
            return Fate::Hopeless;
        }
        tokio::time::sleep(EMAIL_TIME).await;
    }
    effects.once(&id, &event);
    if name == "warehouse" && seen.is_multiple_of(DIES_EVERY) {
        Fate::Death
    } else {
        Fate::Done
    }
}

/// Takes the same events with the SDK of another protocol. AMQP's message-id arrives as a message
/// attribute of that name.
async fn analytics(sqs: String, dir: PathBuf, progress: Arc<Progress>) {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "any", None, None, "checkout"))
        .endpoint_url(format!("http://{sqs}"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = aws_sdk_sqs::Client::from_conf(config);
    let found = client
        .get_queue_url()
        .queue_name(topology::queue("analytics"))
        .send()
        .await
        .expect("the queue is there");
    let url = found.queue_url.expect("a URL");
    let mut effects = Effects::open(&dir, "analytics");
    while !progress.is_over() {
        let receive = client
            .receive_message()
            .queue_url(&url)
            .max_number_of_messages(10)
            .wait_time_seconds(1);
        let received = receive
            .message_attribute_names("message-id")
            .send()
            .await
            .expect("ReceiveMessage");
        for message in received.messages() {
            let event: OrderCreated =
                serde_json::from_str(message.body().unwrap_or_default()).expect("an event");
            let attributes = message
                .message_attributes()
                .expect("the attribute asked for");
            let id = attributes["message-id"]
                .string_value()
                .expect("an id is text")
                .to_owned();
            effects.once(&id, &event);
            let delete = client.delete_message().queue_url(&url);
            let handle = message.receipt_handle().expect("a receipt handle");
            delete
                .receipt_handle(handle)
                .send()
                .await
                .expect("DeleteMessage");
        }
    }
}
