//! Serves AMQP 0-9-1 alone: `cargo run -p forebay-amqp --example serve -- DIRECTORY [ADDRESS]`.

use std::error::Error;
use std::sync::Arc;

use forebay_amqp::{Options, serve};
use forebay_base::SystemClock;
use forebay_broker::Broker;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("name a data directory")?;
    let address = arguments.next();
    let address = address.as_deref().unwrap_or("127.0.0.1:5672");
    let (broker, running) = Broker::open(
        forebay_broker::Options::new(directory),
        Arc::new(SystemClock),
    )?;
    let listener = TcpListener::bind(address).await?;
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve(listener, broker, Options::default(), stop.clone()));
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    served.await??;
    Ok(running.shutdown().await?)
}
