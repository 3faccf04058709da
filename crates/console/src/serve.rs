//! The listener and its three paths.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use forebay_broker::Broker;
use forebay_management::{Management, routes};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{health, metrics, page};

/// How long open connections may take to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the page shows beside the broker's own numbers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program's version.
    pub version: String,
    /// Each listener's name and URL.
    pub listeners: Vec<(String, String)>,
}

#[derive(Clone)]
struct Desk {
    broker: Broker,
    options: Arc<Options>,
    management: Management,
    stop: CancellationToken,
}

/// Serves `/healthz`, `/metrics` and `/`, and the management API below `/api`, until `stop`.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    broker: Broker,
    options: Options,
    management: Management,
    stop: CancellationToken,
) -> io::Result<()> {
    let desk = Desk {
        broker,
        options: Arc::new(options),
        management: management.clone(),
        stop: stop.clone(),
    };
    let paths = Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(show_metrics))
        .route("/", get(show_page))
        .with_state(desk)
        .merge(routes(management.clone()));
    let paths = paths.into_make_service_with_connect_info::<SocketAddr>();
    let server =
        axum::serve(listener, paths).with_graceful_shutdown(stop.clone().cancelled_owned());
    let drained = async {
        stop.cancelled().await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        ended = async { server.await } => ended,
        () = async { management.run(stop.clone()).await; std::future::pending().await } => Ok(()),
        () = drained => Ok(()),
    }
}

async fn healthz(State(desk): State<Desk>) -> impl IntoResponse {
    let found = if desk.stop.is_cancelled() {
        Err(health::Illness::Stopping)
    } else {
        health::examine(&desk.broker).await
    };
    match found {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(illness) => (StatusCode::SERVICE_UNAVAILABLE, illness.in_words() + "\n"),
    }
}

async fn show_metrics(State(desk): State<Desk>) -> impl IntoResponse {
    let pressure = desk.broker.pressure();
    let of_queues = desk.management.metrics().await;
    let text = metrics::page(
        &desk.options.version,
        &desk.broker.counters(),
        &pressure.borrow(),
    ) + &of_queues;
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
}

async fn show_page(State(desk): State<Desk>) -> impl IntoResponse {
    Html(page::page(&desk.options, desk.broker.counters().topics))
}
