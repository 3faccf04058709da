//! A FIFO queue under torture: many groups, consumers that crash, dawdle, extend, give back and
//! delete too late, and a broker that is killed twice at it. Audited after the fact from what the
//! clients saw: order per group, one holder per group, nothing lost, nothing twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, Message, QueueAttributeName, SendMessageBatchRequestEntry,
};
use forebay_tests::{Start, sqs};
use tokio::sync::Mutex;

const GROUPS: usize = 100;
/// Messages of each group; `FOREBAY_TORTURE_MESSAGES` asks for another number.
const MESSAGES: usize = 200;
const CONSUMERS: u64 = 16;
const SENDERS: usize = 10;
const VISIBLE_AFTER: Duration = Duration::from_secs(1);
/// The broker counts in whole milliseconds.
const SLACK: Duration = Duration::from_millis(2);

/// A message: group and number.
type Name = (usize, usize);

#[derive(Clone, Copy, Debug)]
struct Deletion {
    begun: Instant,
    /// When it was answered with success; none if nobody knows.
    ended: Option<Instant>,
}

#[derive(Debug)]
struct Receipt {
    begun: Instant,
    ended: Instant,
    numbers: Vec<usize>,
}

#[derive(Debug)]
struct Hold {
    consumer: u64,
    /// Until then the consumer holds the group for certain.
    certain_until: Instant,
}

/// What the clients saw.
#[derive(Debug, Default)]
struct Ledger {
    deletions: BTreeMap<Name, Deletion>,
    receipts: BTreeMap<usize, Vec<Receipt>>,
    holds: BTreeMap<usize, Hold>,
}

fn messages() -> usize {
    let asked = std::env::var("FOREBAY_TORTURE_MESSAGES").ok();
    asked.map_or(MESSAGES, |asked| asked.parse().expect("a number"))
}

impl Ledger {
    /// A receive was answered: nobody else may hold any of its groups for certain.
    fn received(&mut self, consumer: u64, begun: Instant, names: &[Name]) {
        let ended = Instant::now();
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (group, number) in names {
            groups.entry(*group).or_default().push(*number);
        }
        for (group, numbers) in groups {
            if let Some(hold) = self.holds.get(&group) {
                assert!(
                    hold.certain_until <= ended,
                    "group {group} went to {consumer} while {hold:?}"
                );
            }
            let certain_until = begun + VISIBLE_AFTER - SLACK;
            self.holds.insert(
                group,
                Hold {
                    consumer,
                    certain_until,
                },
            );
            let receipt = Receipt {
                begun,
                ended,
                numbers,
            };
            self.receipts.entry(group).or_default().push(receipt);
        }
    }

    /// From now on the consumer may lose the group.
    fn let_go(&mut self, consumer: u64, group: usize) {
        let hold = self.holds.get(&group);
        if hold.is_some_and(|hold| hold.consumer == consumer) {
            self.holds.remove(&group);
        }
    }

    fn deleted(&mut self, name: Name, deletion: Deletion) {
        let known = self.deletions.entry(name).or_insert(deletion);
        known.begun = known.begun.min(deletion.begun);
        known.ended = match (known.ended, deletion.ended) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    fn audit(&self) {
        for group in 0..GROUPS {
            let deletions: Vec<Deletion> = (0..messages())
                .map(|number| {
                    let deletion = self.deletions.get(&(group, number));
                    *deletion.unwrap_or_else(|| panic!("{group} {number} was never deleted"))
                })
                .collect();
            // When the last deletion of all up to each number began.
            let begun = deletions
                .iter()
                .scan(deletions[0].begun, |latest, deletion| {
                    *latest = deletion.begun.max(*latest);
                    Some(*latest)
                });
            let begun: Vec<Instant> = begun.collect();
            let mut seen = vec![false; messages()];
            for receipt in &self.receipts[&group] {
                let sorted = receipt.numbers.is_sorted_by(|one, next| one < next);
                assert!(sorted, "out of order in one answer: {receipt:?}");
                let (first, last) = (receipt.numbers[0], *receipt.numbers.last().unwrap());
                let passed_over = |begun: Instant| begun >= receipt.ended;
                assert!(
                    first == 0 || !passed_over(begun[first - 1]),
                    "group {group}: something was passed over by {receipt:?}"
                );
                for number in (first..last).filter(|number| !receipt.numbers.contains(number)) {
                    assert!(
                        !passed_over(deletions[number].begun),
                        "group {group}: {number} was passed over by {receipt:?}"
                    );
                }
                for number in &receipt.numbers {
                    seen[*number] = true;
                    let deletion = deletions[*number];
                    assert!(
                        deletion.ended.is_none_or(|ended| receipt.begun <= ended),
                        "group {group}: {number} came back, {receipt:?}, {deletion:?}"
                    );
                }
            }
            let lost = seen.iter().position(|seen| !seen);
            assert_eq!(lost, None, "group {group}: this message never came");
        }
    }
}

/// Small and the same at every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

struct Torture {
    client: Client,
    url: String,
    ledger: Mutex<Ledger>,
    finished: AtomicBool,
}

impl Torture {
    /// Sends the messages of some groups in order, each batch until it is answered: a batch sent
    /// again is made of duplicates.
    async fn send(&self, sender: usize) {
        for first in (0..messages()).step_by(10) {
            for group in (sender..GROUPS).step_by(SENDERS) {
                let entries: Vec<_> = (first..first + 10)
                    .map(|number| {
                        SendMessageBatchRequestEntry::builder()
                            .id(number.to_string())
                            .message_body(format!("{group} {number}"))
                            .message_group_id(format!("group-{group}"))
                            .message_deduplication_id(format!("{group}-{number}"))
                            .build()
                            .unwrap()
                    })
                    .collect();
                loop {
                    let call = self.client.send_message_batch().queue_url(&self.url);
                    match call.set_entries(Some(entries.clone())).send().await {
                        Ok(sent) => {
                            assert!(sent.failed.is_empty(), "{:?}", sent.failed);
                            break;
                        }
                        Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    }
                }
            }
        }
    }

    async fn consume(&self, consumer: u64) {
        let mut dice = Dice(consumer);
        while !self.finished.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let call = self.client.receive_message().queue_url(&self.url);
            let call = call
                .max_number_of_messages(1 + i32::try_from(dice.below(10)).unwrap())
                .visibility_timeout(1)
                .wait_time_seconds(1);
            let Ok(received) = call.send().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let messages = received.messages.unwrap_or_default();
            let names: Vec<Name> = messages.iter().map(name).collect();
            self.ledger.lock().await.received(consumer, begun, &names);
            self.work(consumer, &mut dice, &messages).await;
        }
    }

    async fn work(&self, consumer: u64, dice: &mut Dice, messages: &[Message]) {
        match dice.below(100) {
            // It crashes and never comes back to these messages.
            0..4 => {}
            // It is too slow: some deletes may be in time, most are not.
            4..8 => {
                tokio::time::sleep(VISIBLE_AFTER.mul_f64(0.9 + dice.below(3) as f64 / 10.0)).await;
                self.delete(consumer, messages).await;
            }
            // It asks for more time and uses it.
            8..12 => {
                for message in messages {
                    self.change(consumer, message, 2).await;
                }
                tokio::time::sleep(VISIBLE_AFTER.mul_f64(1.2)).await;
                self.delete(consumer, messages).await;
            }
            // It does some and gives the others back, last first.
            12..20 => {
                let done = messages.len() / 2;
                self.delete(consumer, &messages[..done]).await;
                for message in messages[done..].iter().rev() {
                    self.change(consumer, message, 0).await;
                }
            }
            _ => self.delete(consumer, messages).await,
        }
    }

    async fn delete(&self, consumer: u64, messages: &[Message]) {
        if messages.is_empty() {
            return;
        }
        let entries: Vec<_> = (0..messages.len())
            .map(|index| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(messages[index].receipt_handle().unwrap())
                    .build()
                    .unwrap()
            })
            .collect();
        {
            let mut ledger = self.ledger.lock().await;
            for message in messages {
                ledger.let_go(consumer, name(message).0);
            }
        }
        let begun = Instant::now();
        let call = self.client.delete_message_batch().queue_url(&self.url);
        let answer = call.set_entries(Some(entries)).send().await;
        let mut ledger = self.ledger.lock().await;
        match answer {
            Ok(answer) => {
                let ended = Some(Instant::now());
                for done in answer.successful() {
                    let index: usize = done.id().parse().unwrap();
                    ledger.deleted(name(&messages[index]), Deletion { begun, ended });
                }
                for failed in answer.failed() {
                    assert_eq!(failed.code(), "InvalidParameterValue", "{failed:?}");
                }
            }
            Err(_) => {
                for message in messages {
                    ledger.deleted(name(message), Deletion { begun, ended: None });
                }
            }
        }
    }

    async fn change(&self, consumer: u64, message: &Message, seconds: i32) {
        if seconds == 0 {
            self.ledger.lock().await.let_go(consumer, name(message).0);
        }
        let call = self.client.change_message_visibility();
        let call = call
            .queue_url(&self.url)
            .receipt_handle(message.receipt_handle().unwrap())
            .visibility_timeout(seconds);
        // Too late, or the broker is down: either is a fate of this message like any other.
        let _ = call.send().await;
    }

    /// Whether every message was deleted, or may have been.
    async fn is_done(&self) -> bool {
        self.ledger.lock().await.deletions.len() == GROUPS * messages()
            && self.left().await == Some(0)
    }

    async fn left(&self) -> Option<u64> {
        let call = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = call.attribute_names(QueueAttributeName::All).send().await;
        let attributes = answer.ok()?.attributes?;
        let number = |name| attributes.get(&name)?.parse::<u64>().ok();
        Some(
            number(QueueAttributeName::ApproximateNumberOfMessages)?
                + number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)?,
        )
    }
}

fn name(message: &Message) -> Name {
    let (group, number) = message.body().unwrap().split_once(' ').unwrap();
    (group.parse().unwrap(), number.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_queue_keeps_its_promises_under_torture() {
    let _alone = crate::alone().await;
    let dir = tempfile::tempdir().unwrap();
    let mut forebay = Start::on(dir.path()).run().await;
    let client = sqs::client_with_timeout(forebay.sqs(), Duration::from_secs(10));
    let made = client
        .create_queue()
        .queue_name("torture.fifo")
        .attributes(QueueAttributeName::FifoQueue, "true")
        .send()
        .await;
    let torture = Arc::new(Torture {
        client,
        url: made.unwrap().queue_url.unwrap(),
        ledger: Mutex::default(),
        finished: AtomicBool::new(false),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let torture = torture.clone();
        tasks.spawn(async move { torture.send(sender).await });
    }
    for consumer in 0..CONSUMERS {
        let torture = torture.clone();
        tasks.spawn(async move { torture.consume(consumer).await });
    }
    let begun = Instant::now();
    for share in [3, 2] {
        while torture.ledger.lock().await.deletions.len() < GROUPS * messages() / share {
            watch(&mut tasks, begun).await;
        }
        forebay = forebay.kill_and_restart().await;
    }
    while !torture.is_done().await {
        watch(&mut tasks, begun).await;
    }
    println!("{} messages in {:?}", GROUPS * messages(), begun.elapsed());
    torture.finished.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    torture.ledger.lock().await.audit();
    drop(forebay);
}

/// Looks after the tasks for a moment: one that panicked has found something.
async fn watch(tasks: &mut tokio::task::JoinSet<()>, begun: Instant) {
    let moment = Duration::from_millis(100);
    if let Ok(Some(ended)) = tokio::time::timeout(moment, tasks.join_next()).await {
        ended.unwrap();
    }
    assert!(
        begun.elapsed() < Duration::from_secs(600),
        "it takes too long"
    );
}
