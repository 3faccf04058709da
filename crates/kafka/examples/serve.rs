//! The Kafka front end alone, for trying clients on it: `serve DIRECTORY ADDRESS`.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use std::sync::Arc;

use forebay_base::SystemClock;
use forebay_broker::Broker;
use forebay_kafka::Options;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .ok_or("the first argument is a directory")?;
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let options = forebay_broker::Options::new(directory);
    let (broker, running) = Broker::open(options, Arc::new(SystemClock))?;
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stopping.cancel();
        }
    });
    forebay_kafka::serve(listener, broker, Options::default(), stop).await?;
    running.shutdown().await?;
    Ok(())
}
