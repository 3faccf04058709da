//! A producer at a fixed rate and consumers at the tail, and how long a record takes from one to the
//! other.
//!
//! A record carries the time it was due, not the time the producer came to send it: what waits
//! because something else was slow counts as late.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::report::permille;
use crate::wire::{Part, Wire, batch, noise, now_ms};

/// The producer sends what is due once in so long.
const TICK: Duration = Duration::from_millis(1);
const STAMP: usize = 8;

/// What runs at the tail.
pub(crate) struct Tail {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    topic: String,
    begun: Instant,
    stop: AtomicBool,
    /// Of each record at each consumer, microseconds.
    latencies: Mutex<Vec<u64>>,
}

/// Latencies of some stretch of time, microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) records: usize,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) most: u64,
}

impl Latency {
    pub(crate) fn shown(&self) -> String {
        format!(
            "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, most {:.1} ms",
            self.p50 as f64 / 1e3,
            self.p99 as f64 / 1e3,
            self.p999 as f64 / 1e3,
            self.most as f64 / 1e3
        )
    }
}

impl Tail {
    /// Starts them on a topic of one partition that is there and grows by nobody else.
    pub(crate) fn start(
        address: SocketAddr,
        topic: &str,
        per_second: u64,
        value: usize,
        consumers: usize,
    ) -> Self {
        let shared = Arc::new(Shared {
            topic: topic.to_owned(),
            begun: Instant::now(),
            stop: AtomicBool::new(false),
            latencies: Mutex::default(),
        });
        let mut threads = Vec::new();
        for _ in 0..consumers {
            let shared = shared.clone();
            threads.push(std::thread::spawn(move || consume(address, &shared)));
        }
        let (wire, answers) = Wire::to(address)
            .and_then(Wire::halves)
            .expect("the listener is open");
        let producing = shared.clone();
        threads.push(std::thread::spawn(move || {
            produce(wire, &producing, per_second, value);
        }));
        threads.push(std::thread::spawn(move || take_answers(answers)));
        Self { shared, threads }
    }

    /// Latencies since the last call.
    pub(crate) fn take(&self) -> Latency {
        let mut latencies = std::mem::take(&mut *self.shared.latencies.lock().unwrap());
        latencies.sort_unstable();
        Latency {
            records: latencies.len(),
            p50: permille(&latencies, 500),
            p99: permille(&latencies, 990),
            p999: permille(&latencies, 999),
            most: permille(&latencies, 1_000),
        }
    }

    /// Ends them.
    pub(crate) fn stop(self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the tail does not panic");
        }
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

fn produce(mut wire: Wire, shared: &Shared, per_second: u64, value: usize) {
    let body = noise(value.max(STAMP), 11);
    let mut records = 0;
    for tick in 1_u32.. {
        let due = TICK * tick;
        std::thread::sleep(due.saturating_sub(shared.begun.elapsed()));
        if !shared.goes_on() {
            break;
        }
        let wanted = (due.as_micros() as u64).saturating_mul(per_second) / 1_000_000;
        let count = wanted - records;
        if count == 0 {
            continue;
        }
        records = wanted;
        let stamp = (due.as_nanos() as u64).to_be_bytes();
        let value = Bytes::from([&stamp, &body[STAMP..]].concat());
        let batch = batch(now_ms(), (0..count).map(|_| value.clone()));
        let part = Part {
            topic: &shared.topic,
            partition: 0,
            batch: &batch,
        };
        wire.produce(&[part]).expect("the broker takes requests");
    }
    // So that the thread that takes the answers need not wait for one that does not come.
    wire.finish();
}

/// Until the broker closes the connection.
fn take_answers(mut answers: Wire) {
    while let Ok(error) = answers.produced() {
        assert_eq!(error, 0, "every record is acknowledged");
    }
}

fn consume(address: SocketAddr, shared: &Shared) {
    let mut wire = Wire::to(address).expect("the listener is open");
    let topic = (shared.topic.as_str(), 0);
    let mut next = wire.fetch(topic, 0, 0, 1).expect("an answer").end;
    while shared.goes_on() {
        let fetched = wire.fetch(topic, next, 100, 1 << 20).expect("an answer");
        let now = shared.begun.elapsed().as_nanos() as u64;
        assert_eq!(fetched.error, 0, "the tail can be read");
        let mut latencies = shared.latencies.lock().unwrap();
        for (_, value) in fetched.values(next) {
            let stamp = value.first_chunk().copied().map_or(now, u64::from_be_bytes);
            latencies.push(now.saturating_sub(stamp) / 1_000);
        }
        drop(latencies);
        next = fetched.next().unwrap_or(next);
    }
}
