//! The paths (<https://www.rabbitmq.com/docs/http-api-reference>), and what is at each.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, Method, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use forebay_access::{PolicyKind, Tag};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::answer::{Answer, Result, Wrong};
use crate::caller::Caller;
use crate::desk::{Desk, Management};
use crate::{definitions, health, listing, metrics, operate, overview, resources, settings};

/// The largest body of a request: a file of definitions, bytes.
const BODY_MAX: usize = 64 << 20;

/// One request, read.
pub(crate) struct Asked<'a> {
    pub(crate) desk: &'a Desk,
    pub(crate) caller: &'a Caller,
    pub(crate) query: &'a listing::Query,
    pub(crate) body: &'a [u8],
}

impl Asked<'_> {
    /// The body as JSON; an empty one is an empty object.
    pub(crate) fn json(&self) -> Result<Value> {
        if self.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(json!({}));
        }
        let read = serde_json::from_slice(self.body);
        read.map_err(|error| Wrong::Request(format!("not_json: {error}")))
    }

    /// Something listed, as the request wants it.
    pub(crate) fn list(&self, items: Vec<Value>) -> Result {
        listing::list(items, self.query)
    }

    /// One thing, if it is there.
    pub(crate) fn one(&self, item: Option<Value>) -> Result {
        let item = item.ok_or(Wrong::NotFound)?;
        Ok(listing::one(item, self.query))
    }
}

/// `/api` and everything below it, and `/metrics/per-object` and its sisters. The service must be
/// made with the peers' addresses.
pub fn routes(management: Management) -> Router {
    Router::new()
        .route("/api", any(handle))
        .route("/api/{*rest}", any(handle))
        .route("/metrics/per-object", get(per_object))
        .route("/metrics/detailed", get(per_object))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(management)
}

async fn per_object(State(management): State<Management>) -> Response {
    let text = metrics::page(&management.desk, metrics::Detail::Each).await;
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn handle(
    State(management): State<Management>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    Query(query): Query<listing::Query>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let desk = &*management.desk;
    let path = uri.path().trim_start_matches("/api").trim_matches('/');
    let segments: Vec<String> = path
        .split('/')
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if (&method, &segments[..]) == (&Method::GET, &["auth"]) {
        return Answer::Json(json!({"oauth_enabled": false})).into_response();
    }
    let caller = match Caller::of(&headers, peer.ip(), &desk.keeper) {
        Ok(caller) => caller,
        Err(wrong) => return wrong.into_response(),
    };
    let asked = Asked {
        desk,
        caller: &caller,
        query: &query,
        body: &body,
    };
    let method = match method {
        Method::HEAD => Method::GET,
        other => other,
    };
    match answer(&asked, &method, &segments).await {
        Ok(answer) => answer.into_response(),
        Err(wrong) => wrong.into_response(),
    }
}

async fn answer(asked: &Asked<'_>, method: &Method, path: &[&str]) -> Result {
    match path {
        [
            "overview"
            | "whoami"
            | "version"
            | "cluster-name"
            | "nodes"
            | "extensions"
            | "feature-flags"
            | "deprecated-features"
            | "auth"
            | "rebalance"
            | "reset",
            ..,
        ] => overview::answer(asked, method, path).await,
        ["aliveness-test" | "health" | "healthchecks", ..] => health::answer(asked, path).await,
        ["definitions", ..] => definitions::answer(asked, method, path).await,
        ["vhosts", vhost, "connections" | "channels"] | ["users", vhost, "connections"] => {
            resources::nested(asked, path, vhost).await
        }
        ["connections" | "channels" | "consumers", ..] => {
            resources::connected(asked, method, path).await
        }
        ["queues" | "exchanges" | "bindings", ..] => operate::answer(asked, method, path).await,
        ["policies", rest @ ..] => settings::policies(asked, method, PolicyKind::User, rest).await,
        ["operator-policies", rest @ ..] => {
            settings::policies(asked, method, PolicyKind::Operator, rest).await
        }
        _ => settings::answer(asked, method, path).await,
    }
}

/// Refuses whoever is no administrator.
pub(crate) fn administrators(asked: &Asked<'_>) -> Result<()> {
    asked.caller.must_have(Tag::Administrator)
}
