//! The request in the one form that both sides sign.

use std::fmt::Write;

use hyper::http::HeaderMap;
use hyper::http::request::Parts;
use sha2::{Digest, Sha256};

use super::claim::{Claim, SIGNATURE};
use super::hex;

/// The header with the digest of the body.
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

pub(super) fn request(head: &Parts, body: &[u8], claim: &Claim) -> String {
    let mut text = format!(
        "{}\n{}\n{}\n",
        head.method,
        path(head.uri.path()),
        query(head.uri.query().unwrap_or_default(), claim.is_presigned())
    );
    for name in &claim.signed_headers {
        let _ = writeln!(text, "{name}:{}", header(&head.headers, name));
    }
    let given = head.headers.get(CONTENT_SHA256);
    let payload = match given.map(hyper::header::HeaderValue::as_bytes) {
        Some(given) if given == UNSIGNED.as_bytes() => UNSIGNED.to_owned(),
        _ => hex(&Sha256::digest(body)),
    };
    let _ = write!(text, "\n{}\n{payload}", claim.signed_headers.join(";"));
    text
}

/// The path as it came, encoded once more.
fn path(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' => text.push('/'),
            _ => push_encoded(&mut text, byte),
        }
    }
    text
}

/// The parameters, encoded anew, in order.
fn query(query: &str, is_presigned: bool) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (reencoded(name), reencoded(value)))
        .filter(|(name, _)| !(is_presigned && name == SIGNATURE))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

fn reencoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in super::claim::decoded(text) {
        push_encoded(&mut encoded, byte);
    }
    encoded
}

fn push_encoded(text: &mut String, byte: u8) {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            text.push(char::from(byte));
        }
        _ => {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

/// The values of a header, without the blanks that mean nothing.
fn header(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<String> = headers
        .get_all(name)
        .iter()
        .map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes());
            text.split(' ')
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    values.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_put_in_order_and_encoded_one_way() {
        assert_eq!(query("b=2&a=%7e%2f+x&a=&c", false), "a=&a=~%2F%20x&b=2&c=");
        assert_eq!(query("X-Amz-Signature=1&b=2", true), "b=2");
        assert_eq!(path("/0/a%20b"), "/0/a%2520b");
    }
}
