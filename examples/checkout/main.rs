//! The checkout: a request that returns at once, and work that follows reliably. See the README.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::{StreamExt, stream};
use tempfile::TempDir;

mod customer;
mod effects;
mod shop;
mod topology;
mod workers;

use effects::Effects;
use workers::Progress;

/// The checkout story, against a running Forebay
#[derive(Parser)]
struct Options {
    /// Where AMQP is spoken
    #[arg(long, default_value = "127.0.0.1:5672")]
    amqp: String,
    /// Where SQS is spoken
    #[arg(long, default_value = "127.0.0.1:9324")]
    sqs: String,
    /// How many orders are placed
    #[arg(long, default_value_t = 500)]
    orders: usize,
}

/// Customers at the counter at once.
const CUSTOMERS: usize = 16;
/// Every so many-th address bounces.
const BOUNCES_EVERY: usize = 50;

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let dir = TempDir::new().expect("a temporary folder");
    topology::declare(&options.amqp)
        .await
        .expect("Forebay runs: start it with `cargo run --release`");
    let shop = shop::open(&options.amqp, dir.path()).await;
    let progress = Arc::new(Progress::default());
    let workers = workers::start(&options.amqp, &options.sqs, dir.path(), &progress).await;

    let begun = Instant::now();
    let mut times = place_orders(shop.address(), options.orders).await;
    let taken = begun.elapsed();
    times.sort_unstable();
    println!(
        "{} orders taken in {taken:.2?}: half of the requests took under {:.2?}, 99 of 100 under {:.2?}",
        options.orders,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
    );
    wait_for_work(dir.path(), options.orders).await;
    println!(
        "the work was done {:.2?} after the last order",
        begun.elapsed().saturating_sub(taken)
    );
    progress.stop();
    for worker in workers {
        worker.await.expect("a worker ends in order");
    }
    report(dir.path(), &progress, &shop, &options).await;
}

/// Places the orders, several customers at once; gives how long each request took.
async fn place_orders(shop: std::net::SocketAddr, orders: usize) -> Vec<Duration> {
    let requests = (0..orders).map(|n| async move {
        let email = if n % BOUNCES_EVERY == 7 { format!("bounce-{n}@example.org") } else { format!("customer-{n}@example.org") };
        let order = serde_json::json!({"email": email, "item": format!("item-{}", n % 23), "cents": 500 + n});
        let begun = Instant::now();
        let (status, answer) = customer::post(shop, "/orders", &order.to_string()).await;
        assert_eq!(status, 202, "{answer}");
        begun.elapsed()
    });
    stream::iter(requests)
        .buffer_unordered(CUSTOMERS)
        .collect()
        .await
}

/// How many of the orders have an address that bounces.
fn bouncing(orders: usize) -> usize {
    (0..orders).filter(|n| n % BOUNCES_EVERY == 7).count()
}

/// Waits until every worker has had its effect for every order.
async fn wait_for_work(dir: &Path, orders: usize) {
    let begun = Instant::now();
    loop {
        let done: Vec<usize> = effects::NAMES
            .iter()
            .map(|name| Effects::open(dir, name).count())
            .collect();
        let wanted = [orders - bouncing(orders), orders, orders, orders];
        if done == wanted {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "the work is not done: {done:?} of {wanted:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn report(dir: &Path, progress: &Progress, shop: &shop::Shop, options: &Options) {
    println!("published twice on purpose: {}", shop.published_twice());
    println!("warehouse died before its ack: {} times", progress.deaths());
    for name in effects::NAMES {
        let effects = Effects::open(dir, name);
        println!(
            "{name:<10} {} effects, {} deliveries were repeats and changed nothing",
            effects.count(),
            effects.repeats()
        );
        assert_eq!(
            effects.orders_with_more_than_one(),
            0,
            "{name} did something twice"
        );
    }
    let repeats: usize = effects::NAMES
        .iter()
        .map(|name| Effects::open(dir, name).repeats())
        .sum();
    assert!(repeats > 0, "the story has repeats in it");
    let dead = topology::count_failed_emails(&options.amqp).await;
    println!("e-mails that bounced lie in shop_email_failed: {dead}");
    // A bounced event that was published twice is rejected twice: there is no effect to make it one.
    assert!(
        dead >= bouncing(options.orders),
        "{dead} of {}",
        bouncing(options.orders)
    );
    assert_eq!(
        effects::revenue(dir),
        shop.revenue(),
        "analytics and the shop agree to the cent"
    );
    println!("all checks hold");
}
