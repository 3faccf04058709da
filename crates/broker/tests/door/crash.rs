//! Power cuts of the real program: a child process that is killed at work.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;

use forebay_base::SystemClock;
use forebay_broker::*;

use crate::world::{options, publish, receipts, receive};

const MESSAGES: usize = 600;
const DIR: &str = "FOREBAY_CRASH_DIR";

async fn topics(broker: &Broker) -> (Arc<TopicInfo>, Arc<TopicInfo>) {
    let dead = broker.create_topic("dead", TopicConfig::default());
    let dead = dead.await.unwrap();
    let config = TopicConfig {
        dead_letter: Some(DeadLetterTarget::Topic("dead".into())),
        ..TopicConfig::default()
    };
    let work = broker.create_topic("work", config).await.unwrap();
    (work, dead)
}

/// Rejects one message after the other, saying which, until it is killed.
#[tokio::test]
#[ignore = "the part of the child"]
async fn reject_until_killed() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let opened = Broker::open(options(Path::new(&dir)), Arc::new(SystemClock));
    let (broker, _running) = opened.unwrap();
    let (work, _) = topics(&broker).await;
    let bodies: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
    let bodies: Vec<_> = bodies.iter().map(|body| body.as_bytes()).collect();
    let published = broker.publish(publish(&work, &bodies, WhenFull::Refuse));
    published.await.unwrap();
    loop {
        let received = broker.receive(receive(&broker, &work, 3, 0)).await.unwrap();
        let receipts = receipts(&received);
        let offsets: Vec<_> = receipts.iter().map(|receipt| receipt.offset).collect();
        broker.settle(receipts, Outcome::DeadLetter).await.unwrap();
        for offset in offsets {
            println!("rejected {offset}");
        }
    }
}

/// Runs the child until it has rejected `count` messages; gives those it was told of.
fn kill_after(dir: &Path, count: usize) -> Vec<u64> {
    let child = std::env::current_exe().unwrap();
    let mut child = Process::new(child)
        .args(["--exact", "crash::reject_until_killed"])
        .args(["--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut rejected = Vec::new();
    for line in output.lines() {
        // The first word may stand behind the harness's own.
        if let Some((_, offset)) = line.unwrap().split_once("rejected ") {
            rejected.push(offset.trim().parse().unwrap());
        }
        if rejected.len() == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(rejected.len() >= count, "the child ended by itself");
    rejected
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_on_their_way_at_a_kill_arrive_once() {
    for count in [30, 150, 400] {
        let dir = tempfile::tempdir().unwrap();
        let rejected = kill_after(dir.path(), count);
        let opened = Broker::open(options(dir.path()), Arc::new(SystemClock));
        let (broker, running) = opened.unwrap();
        let work = broker.directory().topic("work").unwrap();
        let dead = broker.directory().topic("dead").unwrap();
        // What was on its way sets out again by itself.
        while broker.stats(work.id).await.unwrap().delayed > 0 {
            tokio::task::yield_now().await;
        }
        // Its copies are there when a later commit is.
        let fence = broker.create_topic("fence", TopicConfig::default());
        fence.await.unwrap();
        let mut found = BTreeMap::new();
        let mut cursor = Cursor::default();
        let from = broker.stats(dead.id).await.unwrap().ready;
        let received = receive(&broker, &dead, 10_000, 0);
        let received = broker.receive(received).await.unwrap();
        assert_eq!(received.len() as u64, from);
        for delivered in broker.records(&received, &mut cursor).await.unwrap() {
            let body = delivered.record.value.unwrap();
            let number: u64 = std::str::from_utf8(&body).unwrap().parse().unwrap();
            *found.entry(number).or_insert(0) += 1;
        }
        assert!(
            found.values().all(|times| *times == 1),
            "doubled: {found:?}"
        );
        for offset in rejected {
            assert!(
                found.contains_key(&offset),
                "{offset} was rejected and is lost"
            );
        }
        let stats = broker.stats(work.id).await.unwrap();
        let left = stats.ready + stats.leased;
        assert_eq!(left as usize + found.len(), MESSAGES, "{stats:?}");
        running.shutdown().await.unwrap();
    }
}
