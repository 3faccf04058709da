//! HTTP around the operations: which requests are calls, and how answers look.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response, StatusCode};
use uuid::Uuid;

use crate::dispatch;
use crate::error::Fault;
use crate::request_body;
use crate::server::Server;

const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");
const XML: HeaderValue = HeaderValue::from_static("text/xml");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");
const TARGET_PREFIX: &str = "AmazonSQS.";
/// When a client may come again that found the server unable, seconds.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");
/// The host in queue URLs for a client that names none (HTTP/1.0).
const NO_HOST: &str = "localhost";
const ALIVE: &str = "Forebay: the Amazon SQS API, JSON protocol\n";

/// Answers one request. Never fails: what goes wrong is an answer too.
pub(crate) async fn answer(
    server: Arc<Server>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let is_get = head.method == Method::GET || head.method == Method::HEAD;
    if is_get && matches!(head.uri.path(), "/" | "/health") && head.uri.query().is_none() {
        return response(StatusCode::OK, PLAIN, Bytes::from_static(ALIVE.as_bytes()));
    }
    let body = match request_body::read(body).await {
        Ok(body) => body,
        Err(fault) => return refusal(&fault),
    };
    let Some(target) = head.headers.get(TARGET) else {
        return without_target(&head.headers, head.uri.query());
    };
    let called = match action(&head.method, &head.headers, target) {
        Ok(action) => {
            let host = head
                .headers
                .get(HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or(NO_HOST);
            dispatch::call(&server, action, host, &body).await
        }
        Err(fault) => Err(fault),
    };
    match called {
        Ok(body) => response(StatusCode::OK, JSON, body.into()),
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
fn without_target(headers: &HeaderMap, query: Option<&str>) -> Response<Full<Bytes>> {
    let is_form = media_type(headers).eq_ignore_ascii_case("application/x-www-form-urlencoded");
    let has_action =
        query.is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")));
    if is_form || has_action {
        return query_refusal(&Fault::UnsupportedOperation(
            "The query protocol is not supported yet by this server: use an SDK that speaks the JSON protocol (X-Amz-Target, application/x-amz-json-1.0).".into(),
        ));
    }
    refusal(&Fault::UnknownOperation(
        "The request has no X-Amz-Target header, so it calls no operation.".to_owned(),
    ))
}

/// A fault as the query protocol has it.
fn query_refusal(fault: &Fault) -> Response<Full<Bytes>> {
    let wire = fault.wire();
    let (code, message, id) = (wire.code, fault.message(), Uuid::new_v4());
    // Neither code nor message holds a character that XML would have escaped.
    let body = format!(
        "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"http://queue.amazonaws.com/doc/2012-11-05/\"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message><Detail/></Error><RequestId>{id}</RequestId></ErrorResponse>"
    );
    response(wire.status, XML, body.into())
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
    // A server that is full or stopping says so once itself, not at every request.
    if let Fault::Internal(reason) = fault {
        tracing::error!(%reason, "a request could not be served");
    }
    let body = ErrorBody {
        shape: wire.shape,
        message: &fault.message(),
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = response(wire.status, JSON, body.into());
    let blame = if fault.is_senders() {
        "Sender"
    } else {
        "Receiver"
    };
    if let Ok(value) = HeaderValue::from_str(&format!("{};{blame}", wire.code)) {
        response.headers_mut().insert(QUERY_ERROR, value);
    }
    if wire.status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(RETRY_AFTER, RETRY_AFTER_SECONDS);
    }
    response
}

fn response(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    let mut id = Uuid::encode_buffer();
    if let Ok(id) = HeaderValue::from_str(Uuid::new_v4().hyphenated().encode_lower(&mut id)) {
        headers.insert(REQUEST_ID, id);
    }
    response
}
