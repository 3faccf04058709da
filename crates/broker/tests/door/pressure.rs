//! A full disk, and more publishers than the disk can follow.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command as Process;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use forebay_base::SystemClock;
use forebay_broker::*;

use crate::world::{World, options, publish, receipts, receive};

const BODY: usize = 100 << 10;

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Publishes until the disk is full; gives how many were taken.
async fn fill(broker: &Broker, topic: &TopicInfo) -> usize {
    let body = vec![1u8; BODY];
    for count in 0..1000 {
        let publish = publish(topic, &[&body], WhenFull::Refuse);
        match broker.publish(publish).await {
            Ok(_) => {}
            Err(Refusal::StorageFull(_)) => return count,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the disk is never full");
}

/// Large enough that the news of the last file comes before its end, however busy the machine.
const FILE: u64 = 8 << 20;

/// A broker that may take no further journal file than the two it has.
async fn full_world() -> (World, Arc<TopicInfo>) {
    let mut world = World::with(Arc::new(SystemClock), |options| {
        options.journal_file_bytes = FILE;
    });
    let topic = world.topic("work", TopicConfig::default()).await;
    let second = world.dir.path().join("journal/0000000000000002.journal");
    while !second.exists() {
        tokio::task::yield_now().await;
    }
    world
        .restart(|options| {
            options.journal_file_bytes = FILE;
            options.min_free_bytes = u64::MAX;
        })
        .await;
    (world, topic)
}

#[tokio::test]
async fn a_full_disk_holds_publishers_up_and_lets_consumers_work() {
    let (mut world, topic) = full_world().await;
    let mut pressure = world.broker.pressure();
    let taken = fill(&world.broker, &topic).await;
    let full = |pressure: &Pressure| matches!(pressure, Pressure::StorageFull(_));
    pressure.wait_for(full).await.unwrap();

    let late = publish(&topic, &[b"late"], WhenFull::Wait);
    let mut late = Box::pin(world.broker.publish(late));
    assert!(poll_once(late.as_mut()).is_pending());
    let stats = world.stats(&topic).await;
    assert_eq!(stats.ready, taken as u64, "nothing refused was kept");
    assert!(poll_once(late.as_mut()).is_pending(), "it waits");

    for _ in 0..taken {
        let received = world.receive(&topic, 1, 0).await;
        assert_eq!(received.len(), 1);
        world.settle(&received, Outcome::Ack).await;
    }
    // Consumers have made room, without anybody's help.
    late.await.unwrap();
    assert_eq!(world.stats(&topic).await.ready, 1);
    pressure
        .wait_for(|now| *now == Pressure::None)
        .await
        .unwrap();
    let received = world.receive(&topic, 1, 30_000).await;
    assert_eq!(world.bodies(&received).await, ["late"]);
    world.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_broker_on_a_full_disk_can_be_stopped() {
    let (mut world, topic) = full_world().await;
    let taken = fill(&world.broker, &topic).await;
    let late = publish(&topic, &[b"late"], WhenFull::Wait);
    let broker = world.broker.clone();
    let late = tokio::spawn(async move { broker.publish(late).await });
    let stopped = world.shutdown().await;
    assert!(stopped.is_ok(), "{stopped:?}");
    assert_eq!(late.await.unwrap(), Err(Refusal::Stopping));
    let (broker, running) = Broker::open(options(world.dir.path()), Arc::new(SystemClock)).unwrap();
    assert_eq!(broker.stats(topic.id).await.unwrap().ready, taken as u64);
    running.shutdown().await.unwrap();
}

/// So many bytes may wait, and no more: the next publisher is not even let in.
#[tokio::test]
async fn pending_payload_is_bounded() {
    let (world, topic) = full_world().await;
    fill(&world.broker, &topic).await;
    let body = vec![2u8; 4 << 20];
    let session = world.broker.session();
    let handle = session.handle();
    let mut let_in = 0;
    for _ in 0..30 {
        let publish = Command::Publish(publish(&topic, &[&body], WhenFull::Wait));
        let mut submitting = Box::pin(handle.submit(publish));
        match poll_once(submitting.as_mut()) {
            Poll::Ready(request) => let_in += usize::from(request.is_ok()),
            Poll::Pending => break,
        }
    }
    assert_eq!(let_in, 15, "of 4 MiB and a little each, in 64 MiB");
    // Other commands have their own way in.
    world.stats(&topic).await;
}

#[tokio::test]
async fn more_than_may_wait_goes_through_one_after_the_other() {
    let world = World::with(Arc::new(SystemClock), |options| {
        options.journal_file_bytes = 16 << 20;
    });
    let topic = world.topic("work", TopicConfig::default()).await;
    let body = vec![3u8; 1 << 20];
    let mut session = world.broker.session();
    let handle = session.handle();
    let sender = async {
        for _ in 0..150 {
            let publish = publish(&topic, &[&body], WhenFull::Refuse);
            handle.submit(Command::Publish(publish)).await.unwrap();
        }
    };
    let receiver = async {
        for _ in 0..150 {
            let event = session.next().await;
            let Some(Event::Reply { result: Ok(_), .. }) = event else {
                panic!("{event:?}")
            };
        }
    };
    tokio::join!(sender, receiver);
    assert_eq!(world.stats(&topic).await.ready, 150);
}

/// A small file system of its own; gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path, megabytes: u32) -> Option<Self> {
        let size = format!("size={megabytes}m");
        let mut mount = Process::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(dir.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Process::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test]
async fn a_disk_that_is_really_full_loses_nothing_and_recovers_with_space() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(dir.path(), 50) else {
        println!("skipped: a small file system cannot be mounted here");
        return;
    };
    let ballast = dir.path().join("ballast");
    std::fs::write(&ballast, vec![1u8; 20 << 20]).unwrap();
    let options = Options {
        journal_file_bytes: FILE,
        ..options(&dir.path().join("data"))
    };
    let (broker, running) = Broker::open(options.clone(), Arc::new(SystemClock)).unwrap();
    let topic = broker.create_topic("work", TopicConfig::default());
    let topic = topic.await.unwrap();
    let taken = fill(&broker, &topic).await;
    assert!(taken >= 80, "{taken}");
    let late = publish(&topic, &[b"late"], WhenFull::Wait);
    let mut late = Box::pin(broker.publish(late));
    assert!(poll_once(late.as_mut()).is_pending());
    std::fs::remove_file(&ballast).unwrap();
    late.await.unwrap();
    fill(&broker, &topic).await;
    drop(running.shutdown().await);

    let (broker, _running) = Broker::open(options, Arc::new(SystemClock)).unwrap();
    let ready = broker.stats(topic.id).await.unwrap().ready;
    assert!(ready > taken as u64);
    for _ in 0..ready {
        let received = broker
            .receive(receive(&broker, &topic, 1, 0))
            .await
            .unwrap();
        let settled = broker.settle(receipts(&received), Outcome::Ack).await;
        assert_eq!(settled, Ok(vec![Settled::Held]));
    }
}
