//! Where a client reached this server, which is where it is told that queues are.

use std::fmt;

use hyper::header::{HOST, HeaderMap, HeaderName};

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The host for a client that names none (HTTP/1.0).
const NO_HOST: &str = "localhost";

/// Scheme and host. Whatever host a client uses, among them those that stand for a region
/// (`sqs.us-east-1.example`, `us-east-1.queue.example`), it is told the same one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    scheme: &'static str,
    host: &'a str,
}

impl<'a> Origin<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let is_https =
            text(FORWARDED_PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        Self {
            scheme: if is_https { "https" } else { "http" },
            host: text(HOST)
                .filter(|host| !host.is_empty())
                .unwrap_or(NO_HOST),
        }
    }
}

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_queue_is_where_the_client_found_the_server() {
        let mut headers = HeaderMap::new();
        assert_eq!(Origin::of(&headers).to_string(), "http://localhost");
        headers.insert(
            HOST,
            HeaderValue::from_static("us-east-1.queue.example:4566"),
        );
        assert_eq!(
            Origin::of(&headers).to_string(),
            "http://us-east-1.queue.example:4566"
        );
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
        assert_eq!(
            Origin::of(&headers).to_string(),
            "https://us-east-1.queue.example:4566"
        );
    }
}
