//! A deep backlog of small messages: memory while it grows, the first receive after `kill -9`, and
//! how it drains.

use std::path::Path;
use std::time::{Duration, Instant};

use forebay_tests::{Forebay, Start, amqp, sqs};
use futures_util::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::mpsc;

use crate::fill::Fill;
use crate::process::Usage;
use crate::report::{Report, mib};
use crate::{files, raw_disk};

/// How deep, and what then.
#[derive(clap::Args)]
pub(crate) struct Plan {
    /// Messages
    #[arg(long, default_value_t = 10_000_000)]
    messages: u64,
    /// Bytes of a body
    #[arg(long, default_value_t = 16)]
    bytes: usize,
    /// Messages of a batch
    #[arg(long, default_value_t = 5_000)]
    batch: usize,
    /// Messages drained over AMQP at the end
    #[arg(long, default_value_t = 2_000_000)]
    drain: u64,
    /// How often it is killed and started
    #[arg(long, default_value_t = 3)]
    repeats: usize,
}

const QUEUE: &str = "deep";
/// Memory is looked at after each of so many parts.
const LOOKS: u64 = 20;

pub(crate) async fn run(dir: &Path, start: Start, plan: &Plan, report: &mut Report) {
    let forebay = start.run().await;
    report.say(format!(
        "Idle: {:.1} MiB resident.",
        mib(Usage::of(&forebay).resident)
    ));
    sqs::create(&sqs::client(forebay.sqs()), QUEUE).await;
    fill(&forebay, plan, report).await;
    crate::settle_down(&forebay).await;
    let now = Usage::of(&forebay);
    report.say(format!(
        "At rest: {:.0} MiB resident, {:.0} MiB of it anonymous, at most {:.0} MiB. Files: {:?}",
        mib(now.resident),
        mib(now.anonymous),
        mib(now.peak),
        files::by_kind(&dir.join("data")),
    ));
    report.set("resident_at_rest", now.resident);
    let syncs = raw_disk::syncs_per_second(dir, Duration::from_secs(1));
    report.say(format!("Disk alone: {syncs:.0} syncs/s of 4 KiB."));
    report.set("disk_syncs_per_second", syncs);
    let mut forebay = forebay;
    for cold in [false, true] {
        forebay = kill_often(dir, forebay, plan, cold, report).await;
    }
    let rates = drain(&forebay, plan.drain.min(plan.messages)).await;
    let rates = report.spread("drained_per_second", &rates);
    report.say(format!(
        "Drained {} over AMQP at {} messages/s; then {:.0} MiB resident.",
        plan.drain.min(plan.messages),
        rates.shown(0),
        mib(Usage::of(&forebay).resident)
    ));
}

async fn fill(forebay: &Forebay, plan: &Plan, report: &mut Report) {
    let fill = Fill {
        topics: vec![QUEUE.to_owned()],
        records: plan.messages,
        value: plan.bytes,
        batch: plan.batch,
        rate: None,
    };
    let (address, every) = (forebay.kafka(), (plan.messages / LOOKS).max(1));
    let (progress, mut looks) = mpsc::unbounded_channel();
    let filling = tokio::task::spawn_blocking(move || {
        let mut next = every;
        fill.run(address, |acknowledged| {
            if acknowledged >= next {
                next += every;
                // Nobody listens any more: then nobody is told.
                let _ = progress.send(acknowledged);
            }
        })
    });
    let (mut resident, mut anonymous) = (vec![], vec![]);
    while let Some(messages) = looks.recv().await {
        let now = Usage::of(forebay);
        report.say(format!(
            "  {messages} messages: {:.0} MiB resident, {:.0} MiB anonymous",
            mib(now.resident),
            mib(now.anonymous)
        ));
        resident.push(mib(now.resident));
        anonymous.push(mib(now.anonymous));
    }
    let filled = filling.await.expect("the filling does not panic");
    report.say(format!(
        "{} messages of {} bytes in at {:.0}/s.",
        filled.records,
        plan.bytes,
        filled.records as f64 / filled.time.as_secs_f64()
    ));
    let late = resident.split_off(resident.len() / 4);
    let late = report.spread("filling_resident_mib_after_a_quarter", &late);
    report.spread("filling_anonymous_mib", &anonymous);
    report.say(format!(
        "Resident while the last three quarters came: {} MiB.",
        late.shown(0)
    ));
}

async fn kill_often(
    dir: &Path,
    mut forebay: Forebay,
    plan: &Plan,
    cold: bool,
    report: &mut Report,
) -> Forebay {
    let (mut ready, mut received, mut resident) = (vec![], vec![], vec![]);
    for _ in 0..plan.repeats {
        let start = forebay.kill().await;
        if cold {
            files::forget_cached(&dir.join("data"));
        }
        let begun = Instant::now();
        forebay = start.run().await;
        ready.push(begun.elapsed().as_secs_f64());
        let client = sqs::client(forebay.sqs());
        let url = sqs::url(&client, QUEUE).await;
        let message = client.receive_message().queue_url(&url).send().await;
        let messages = message.expect("ReceiveMessage").messages;
        let messages = messages.unwrap_or_default();
        assert_eq!(messages.len(), 1, "a message is received");
        received.push(begun.elapsed().as_secs_f64());
        resident.push(mib(Usage::of(&forebay).resident));
        let receipt = messages[0].receipt_handle.as_deref().unwrap_or_default();
        let release = client
            .change_message_visibility()
            .queue_url(&url)
            .receipt_handle(receipt)
            .visibility_timeout(0);
        release.send().await.expect("ChangeMessageVisibility");
    }
    let word = if cold { "cold" } else { "warm" };
    let ready = report.spread(format!("{word}_ready_seconds"), &ready);
    let received = report.spread(format!("{word}_first_receive_seconds"), &received);
    let resident = report.spread(format!("{word}_resident_mib"), &resident);
    report.say(format!(
        "After kill -9, page cache {}: ready after {} s, first receive after {} s, {} MiB resident.",
        if cold { "dropped" } else { "warm" },
        ready.shown(2),
        received.shown(2),
        resident.shown(0)
    ));
    forebay
}

/// Drains so many; messages per second of each tenth.
async fn drain(forebay: &Forebay, count: u64) -> Vec<f64> {
    let connection = amqp::connect(forebay.amqp()).await;
    let channel = connection.create_channel().await.unwrap();
    let qos = BasicQosOptions::default();
    channel.basic_qos(2_000, qos).await.unwrap();
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = channel.basic_consume(QUEUE.into(), "".into(), options, none);
    let mut consumer = consumer.await.unwrap();
    let (mut rates, mut begun) = (Vec::new(), Instant::now());
    for n in 1..=count {
        let waited = tokio::time::timeout(Duration::from_secs(60), consumer.next()).await;
        let delivery = waited.unwrap_or_else(|_| panic!("message {n} of {count} does not come"));
        if n % 500 == 0 || n == count {
            let ack = BasicAckOptions { multiple: true };
            delivery.unwrap().unwrap().ack(ack).await.unwrap();
        }
        if n % (count / 10).max(1) == 0 {
            rates.push((count / 10).max(1) as f64 / begun.elapsed().as_secs_f64());
            begun = Instant::now();
        }
    }
    connection.close(200, "done".into()).await.unwrap();
    rates
}
