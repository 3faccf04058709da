//! The order of starting and stopping.
//!
//! Start: listeners are bound first, since that fails fast and leaves no trace; then the data
//! directory is opened and recovered; then the front ends accept, and the banner says so. Stop is
//! the same backwards.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay_access::Keeper;
use forebay_base::SystemClock;
use forebay_broker::{Broker, Running, SegmentStore};
use forebay_management::Management;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::address::ListenAddress;
use crate::banner::{Bound, banner};
use crate::failure::Failure;
use crate::settings::Settings;
use crate::signal::Signals;

/// How long front ends may take to end their connections. They promise about 5 s.
const DRAIN: Duration = Duration::from_secs(8);

/// Runs the broker until a signal or a failure ends it.
pub(crate) fn run(settings: Settings) -> Result<(), Failure> {
    crate::trace::start(&settings.log)?;
    raise_file_limit();
    // One worker for each core, which is tokio's own choice. Blocking threads read from the disk
    // for consumers that have fallen behind; more of them than this would only queue at the disk.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(32)
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let result = runtime.block_on(serve(settings));
    runtime.shutdown_background();
    result
}

/// Each connection takes a file descriptor, and the usual soft limit is meant for programs that
/// use `select`.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it was");
    }
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::Runtime)?;
    let listeners = Listeners::bind(&settings).await?;
    let data_dir = std::path::absolute(&settings.data_dir).map_err(Failure::Runtime)?;
    let fresh = !data_dir.join("FOREBAY").exists();
    let segments = tokio::select! {
        segments = settings.segments.reach(&settings.s3, fresh) => segments?,
        _ = signals.next() => return Ok(()),
    };
    let options = broker_options(&settings, &data_dir, segments);
    let opening = tokio::task::spawn_blocking(move || Broker::open(options, Arc::new(SystemClock)));
    let opened = tokio::select! {
        opened = opening => opened.map_err(|error| Failure::Open(error.to_string()))?,
        // Recovery changes nothing that a later one would miss.
        _ = signals.next() => return Ok(()),
    };
    let (broker, mut running) = opened.map_err(|error| Failure::Open(error.to_string()))?;

    let stop = CancellationToken::new();
    let bound = listeners.bound;
    let keeper = Keeper::new(broker.clone());
    let server = forebay_amqp::Server::new(
        broker.clone(),
        keeper.clone(),
        forebay_amqp::Options::default(),
    );
    let management = management(&broker, keeper, &server, &bound);
    if let Some(path) = &settings.definitions {
        tokio::select! {
            imported = import(&management, path) => imported?,
            _ = signals.next() => return running.shutdown().await.map_err(Failure::Shutdown),
        }
    }
    let mut front_ends = listeners.serve(&settings, &broker, (server, management), &stop);
    say(&banner(
        &data_dir,
        settings.segments.outside().as_deref(),
        &bound,
    ));

    let ended = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        reason = running.failed() => Err(Failure::Shard(reason)),
        Some(ended) = front_ends.join_next() => Err(front_end_failure(ended)),
    };
    stop.cancel();
    tokio::select! {
        stopped = stop_in_order(front_ends, running) => ended.and(stopped),
        signal = signals.next() => Err(Failure::Hurried(signal)),
    }
}

fn management(
    broker: &Broker,
    keeper: Keeper,
    server: &forebay_amqp::Server,
    bound: &Bound,
) -> Management {
    let listeners = [
        ("sqs", bound.sqs),
        ("amqp", bound.amqp),
        ("kafka", bound.kafka),
        ("http", bound.http),
    ];
    let on = |(name, at): (&str, Option<SocketAddr>)| Some((name.to_owned(), at?));
    let options = forebay_management::Options {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        max_message_bytes: forebay_amqp::Options::default().max_message_bytes,
        listeners: listeners.into_iter().filter_map(on).collect(),
    };
    Management::new(broker.clone(), keeper, server.clone(), options)
}

/// Declares and sets what a file of definitions says.
async fn import(management: &Management, path: &Path) -> Result<(), Failure> {
    let failed = |reason: String| Failure::Definitions {
        path: path.to_owned(),
        reason,
    };
    let document = tokio::fs::read(path).await;
    let document = document.map_err(|error| failed(error.to_string()))?;
    let imported = forebay_management::import(management, &document).await;
    imported.map_err(|error| failed(error.to_string()))?;
    tracing::info!(path = %path.display(), "definitions are taken in");
    Ok(())
}

fn broker_options(
    settings: &Settings,
    data_dir: &Path,
    segments: Option<SegmentStore>,
) -> forebay_broker::Options {
    forebay_broker::Options {
        segments,
        journal_file_bytes: settings.journal_file.as_u64(),
        journal_retain_bytes: settings.journal_retain.as_u64(),
        cache_bytes: usize::try_from(settings.cache.as_u64()).unwrap_or(usize::MAX),
        min_free_bytes: settings.min_free.as_u64(),
        ..forebay_broker::Options::new(data_dir)
    }
}

type Ended = Result<(&'static str, io::Result<()>), tokio::task::JoinError>;

/// A front end has no reason to end before it is told to.
fn front_end_failure(ended: Ended) -> Failure {
    match ended {
        Ok((name, Ok(()))) => Failure::FrontEnd {
            name,
            reason: "it has ended".to_owned(),
        },
        Ok((name, Err(error))) => Failure::FrontEnd {
            name,
            reason: error.to_string(),
        },
        Err(error) => Failure::FrontEnd {
            name: "",
            reason: error.to_string(),
        },
    }
}

/// Waits for the front ends to end their connections, then for the shard to make durable what it
/// accepted.
async fn stop_in_order(
    mut front_ends: JoinSet<(&'static str, io::Result<()>)>,
    running: Running,
) -> Result<(), Failure> {
    let drained = async { while front_ends.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::warn!("some connections did not end in time");
        front_ends.shutdown().await;
    }
    running.shutdown().await.map_err(Failure::Shutdown)
}

/// Prints on stdout. If nobody reads it, the broker works all the same.
fn say(text: &str) {
    use io::Write;
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The listeners that are on, bound and not yet accepting.
struct Listeners {
    bound: Bound,
    sqs: Option<TcpListener>,
    amqp: Option<TcpListener>,
    kafka: Option<TcpListener>,
    http: Option<TcpListener>,
}

impl Listeners {
    async fn bind(settings: &Settings) -> Result<Self, Failure> {
        let (sqs, sqs_at) = bind("sqs", settings.sqs).await?.unzip();
        let (amqp, amqp_at) = bind("amqp", settings.amqp).await?.unzip();
        let (kafka, kafka_at) = bind("kafka", settings.kafka).await?.unzip();
        let (http, http_at) = bind("http", settings.http).await?.unzip();
        let bound = Bound {
            sqs: sqs_at,
            amqp: amqp_at,
            kafka: kafka_at,
            http: http_at,
        };
        Ok(Self {
            bound,
            sqs,
            amqp,
            kafka,
            http,
        })
    }

    /// Starts a front end on each.
    fn serve(
        self,
        settings: &Settings,
        broker: &Broker,
        (server, management): (forebay_amqp::Server, Management),
        stop: &CancellationToken,
    ) -> JoinSet<(&'static str, io::Result<()>)> {
        let mut front_ends = JoinSet::new();
        if let Some(listener) = self.sqs {
            let options = settings.sqs_options.clone();
            let serving = forebay_sqs::serve(listener, broker.clone(), options, stop.clone());
            front_ends.spawn(async { ("sqs", serving.await) });
        }
        if let Some(listener) = self.amqp {
            let serving = server.serve(listener, stop.clone());
            front_ends.spawn(async { ("amqp", serving.await) });
        }
        if let Some(listener) = self.kafka {
            let options = forebay_kafka::Options {
                advertised: settings.kafka_advertise.clone(),
                default_partitions: settings.kafka_partitions,
                ..forebay_kafka::Options::default()
            };
            let serving = forebay_kafka::serve(listener, broker.clone(), options, stop.clone());
            front_ends.spawn(async { ("kafka", serving.await) });
        }
        if let Some(listener) = self.http {
            let options = forebay_console::Options {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                listeners: self.bound.urls(),
            };
            let (broker, stop) = (broker.clone(), stop.clone());
            let serving = forebay_console::serve(listener, broker, options, management, stop);
            front_ends.spawn(async { ("http", serving.await) });
        }
        front_ends
    }
}

async fn bind(
    flag: &'static str,
    address: ListenAddress,
) -> Result<Option<(TcpListener, SocketAddr)>, Failure> {
    let ListenAddress::At(at) = address else {
        return Ok(None);
    };
    let failed = |error| Failure::Listen { flag, at, error };
    let listener = TcpListener::bind(at).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok(Some((listener, bound)))
}
