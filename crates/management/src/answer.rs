//! What is answered, and how an error looks.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use forebay_amqp::Said;
use forebay_broker::Refusal;
use serde_json::{Value, json};

/// A good answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Json(Value),
    /// 201: it is there now and was not before.
    Created,
    /// The same, with where it is.
    CreatedAt(String),
    /// 204: done.
    Done,
    Text(String),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// 400.
    Request(String),
    /// 401: the login, or what the user may do.
    NotAllowed(&'static str),
    /// 404.
    NotFound,
    /// 405.
    Method,
    /// 503.
    Unavailable(String),
}

pub(crate) type Result<T = Answer> = std::result::Result<T, Wrong>;

impl From<Refusal> for Wrong {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoSuchTopic | Refusal::NoSuchExchange(_) | Refusal::NoSuchBinding => {
                Self::NotFound
            }
            Refusal::Stopping => Self::Unavailable(refusal.to_string()),
            other => Self::Request(other.to_string()),
        }
    }
}

impl From<Said> for Wrong {
    fn from(said: Said) -> Self {
        let text = said
            .text
            .split_once(" - ")
            .map_or(&*said.text, |(_, text)| text);
        match said.code {
            404 => Self::NotFound,
            320 => Self::Unavailable(text.to_owned()),
            _ => Self::Request(text.to_owned()),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Json(value) => Json(value).into_response(),
            Self::Created => StatusCode::CREATED.into_response(),
            Self::CreatedAt(place) => {
                (StatusCode::CREATED, [(header::LOCATION, place)]).into_response()
            }
            Self::Done => StatusCode::NO_CONTENT.into_response(),
            Self::Text(text) => text.into_response(),
        }
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let (status, error, reason) = match &self {
            Self::Request(reason) => (StatusCode::BAD_REQUEST, "bad_request", &**reason),
            Self::NotAllowed(reason) => (StatusCode::UNAUTHORIZED, "not_authorized", *reason),
            Self::NotFound => (StatusCode::NOT_FOUND, "Object Not Found", "Not Found"),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "Method Not Allowed",
                "the method is not allowed here",
            ),
            Self::Unavailable(reason) => {
                (StatusCode::SERVICE_UNAVAILABLE, "unavailable", &**reason)
            }
        };
        let mut response =
            (status, Json(json!({"error": error, "reason": reason}))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let realm = header::HeaderValue::from_static("Basic realm=\"RabbitMQ Management\"");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, realm);
        }
        response
    }
}
