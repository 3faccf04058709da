//! HTTP around the operations: which requests are calls, and how answers look.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use uuid::Uuid;

use crate::dispatch;
use crate::error::Fault;
use crate::origin::Origin;
use crate::query;
use crate::request_body;
use crate::server::Server;
use crate::signature;

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
const XML: HeaderValue = HeaderValue::from_static("text/xml");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");
const TARGET_PREFIX: &str = "AmazonSQS.";
/// When a client may come again that found the server unable, seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
/// Where whoever watches over servers looks for life.
const PROBES: [&str; 4] = ["/", "/health", "/healthz", "/ready"];
const ALIVE: &str = "Forebay: the Amazon SQS API\n";

/// Answers one request. Never fails: what goes wrong is an answer too.
pub(crate) async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let is_get = head.method == Method::GET || head.method == Method::HEAD;
    if is_get && PROBES.contains(&head.uri.path()) && head.uri.query().is_none() {
        let alive = Bytes::from_static(ALIVE.as_bytes());
        return response(StatusCode::OK, PLAIN, alive, Uuid::new_v4());
    }
    let body = match request_body::read(body).await {
        Ok(body) => body,
        Err(fault) => return refusal(&fault),
    };
    let signed = signature::judge(
        &head,
        &body,
        &server.options.credentials,
        server.broker.now(),
    );
    let origin = Origin::of(&head.headers);
    let Some(target) = head.headers.get(TARGET) else {
        return without_target(&server, &head, signed, origin, &body).await;
    };
    let called = match signed.and_then(|()| action(&head.method, &head.headers, target)) {
        Ok(action) => dispatch::call(&server, action, origin, &body).await,
        Err(fault) => Err(fault),
    };
    match called {
        Ok(body) => response(StatusCode::OK, JSON, body.into(), Uuid::new_v4()),
        Err(fault) => refusal(&fault),
    }
}

/// The action a JSON request calls.
fn action<'a>(
    method: &Method,
    headers: &HeaderMap,
    target: &'a HeaderValue,
) -> Result<&'a str, Fault> {
    let unknown = || Fault::UnknownOperation("The requested operation is not known.".to_owned());
    let action = target
        .to_str()
        .ok()
        .and_then(|target| target.strip_prefix(TARGET_PREFIX))
        .ok_or_else(unknown)?;
    if method != Method::POST {
        return Err(Fault::UnknownOperation(
            "The JSON protocol uses the method POST.".to_owned(),
        ));
    }
    let content_type = media_type(headers);
    if !content_type.eq_ignore_ascii_case("application/x-amz-json-1.0") {
        return Err(Fault::UnsupportedMediaType(format!(
            "The content type must be application/x-amz-json-1.0, not \"{content_type}\"."
        )));
    }
    Ok(action)
}

/// The content type without its parameters; empty if there is none.
fn media_type(headers: &HeaderMap) -> &str {
    let whole = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    whole.split(';').next().unwrap_or_default().trim()
}

/// A request without `X-Amz-Target` is one of the query protocol, or nothing we know.
async fn without_target(
    server: &Server,
    head: &Parts,
    signed: Result<(), Fault>,
    origin: Origin<'_>,
    body: &[u8],
) -> Response<Full<Bytes>> {
    let is_form =
        media_type(&head.headers).eq_ignore_ascii_case("application/x-www-form-urlencoded");
    let form = if is_form { body } else { b"" };
    let query = head.uri.query().unwrap_or_default();
    let call = match query::Call::read(head.uri.path(), query.as_bytes(), form) {
        Ok(None) if is_form => Err(Fault::missing("Action")),
        Ok(None) => {
            return refusal(&Fault::UnknownOperation(
                "The request has no X-Amz-Target header, so it calls no operation.".to_owned(),
            ));
        }
        Ok(Some(call)) => Ok(call),
        Err(fault) => Err(fault),
    };
    let id = Uuid::new_v4();
    let answered = match signed.and(call) {
        Ok(call) => query::answer(server, &call, origin, id).await,
        Err(fault) => Err(fault),
    };
    match answered {
        Ok(body) => response(StatusCode::OK, XML, body.into(), id),
        Err(fault) => query_refusal(&fault, id),
    }
}

/// A fault as the query protocol has it.
fn query_refusal(fault: &Fault, id: Uuid) -> Response<Full<Bytes>> {
    report(fault);
    let status = fault.wire().status;
    let mut response = response(status, XML, query::refusal(fault, id).into(), id);
    ask_to_retry(status, response.headers_mut());
    response
}

/// Puts what is wrong with the server itself into its log. A server that is full or stopping says
/// so once itself, not at every request.
fn report(fault: &Fault) {
    if let Fault::Internal(reason) = fault {
        tracing::error!(%reason, "a request could not be served");
    }
}

fn ask_to_retry(status: StatusCode, headers: &mut HeaderMap) {
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
}

#[derive(serde::Serialize)]
struct ErrorBody<'a> {
    #[serde(rename = "__type")]
    shape: &'a str,
    message: &'a str,
}

/// A fault as the JSON protocol has it.
pub(crate) fn refusal(fault: &Fault) -> Response<Full<Bytes>> {
    let wire = fault.wire();
    report(fault);
    let body = ErrorBody {
        shape: wire.shape,
        message: &fault.message(),
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = response(wire.status, JSON, body.into(), Uuid::new_v4());
    let blame = if fault.is_senders() {
        "Sender"
    } else {
        "Receiver"
    };
    if let Ok(value) = HeaderValue::from_str(&format!("{};{blame}", wire.code)) {
        response.headers_mut().insert(QUERY_ERROR, value);
    }
    ask_to_retry(wire.status, response.headers_mut());
    response
}

fn response(
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
    id: Uuid,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    let mut text = Uuid::encode_buffer();
    if let Ok(id) = HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)) {
        headers.insert(REQUEST_ID, id);
    }
    response
}
