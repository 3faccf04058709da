//! What a request says about its signature.

use forebay_base::Timestamp;
use hyper::header::{AUTHORIZATION, DATE};
use hyper::http::HeaderMap;
use hyper::http::request::Parts;

use super::moment;
use crate::error::{Fault, shown};

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(super) const SIGNATURE: &str = "X-Amz-Signature";
const AMZ_DATE: &str = "x-amz-date";
/// Longest time a presigned request may be good for, seconds.
const EXPIRES_SECONDS_MAX: u64 = 604_800;
/// What a presigned request must have.
const PARAMETERS: [&str; 5] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    SIGNATURE,
    "X-Amz-SignedHeaders",
    "X-Amz-Date",
];

/// Who claims to have signed what, and when.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key_id: String,
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
    pub(super) terminator: String,
    /// In small letters.
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: String,
    /// When it was signed, as it was written.
    pub(super) at: String,
    pub(super) moment: Timestamp,
    /// How long a presigned request is good for.
    pub(super) expires_seconds: Option<u64>,
}

impl Claim {
    /// `None` if the request is not signed.
    pub(super) fn read(head: &Parts) -> Result<Option<Self>, Fault> {
        if let Some(authorization) = head.headers.get(AUTHORIZATION) {
            let text = String::from_utf8_lossy(authorization.as_bytes());
            return Self::from_header(&text, &head.headers).map(Some);
        }
        let query = head.uri.query().unwrap_or_default();
        if !query.contains("X-Amz-") {
            return Ok(None);
        }
        Self::from_query(query)
    }

    pub(super) fn is_presigned(&self) -> bool {
        self.expires_seconds.is_some()
    }

    fn from_header(text: &str, headers: &HeaderMap) -> Result<Self, Fault> {
        let (algorithm, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        let parameters = rest.split(',').map(str::trim);
        for parameter in parameters.filter(|parameter| !parameter.is_empty()) {
            let Some((name, value)) = parameter.split_once('=') else {
                return Err(incomplete(format!(
                    "'{}' not a valid key=value pair (missing equal-sign) in Authorization header: '{}'.",
                    shown(parameter),
                    shown(text)
                )));
            };
            match name {
                "Credential" => credential = Some(value),
                "SignedHeaders" => signed_headers = Some(value),
                "Signature" => signature = Some(value),
                _ => {}
            }
        }
        let date = headers.get(AMZ_DATE).or_else(|| headers.get(DATE));
        let date = date.and_then(|date| date.to_str().ok());
        let (Some(credential), Some(signed_headers), Some(signature), Some(at)) =
            (credential, signed_headers, signature, date)
        else {
            let parameters = [
                (credential.is_none(), "Credential"),
                (signature.is_none(), "Signature"),
                (signed_headers.is_none(), "SignedHeaders"),
            ];
            let missing = parameters.iter().filter(|(is_missing, _)| *is_missing);
            let mut text: String = missing
                .map(|(_, name)| format!("Authorization header requires '{name}' parameter. "))
                .collect();
            if date.is_none() {
                text.push_str("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
            }
            return Err(incomplete(format!(
                "{text}Authorization={}",
                shown(algorithm)
            )));
        };
        if algorithm != ALGORITHM {
            return Err(incomplete(format!(
                "Unsupported AWS 'algorithm': '{}'. ",
                shown(algorithm)
            )));
        }
        Self::new(credential, signed_headers, signature, at, None)
    }

    fn from_query(query: &str) -> Result<Option<Self>, Fault> {
        let value = |wanted: &str| {
            let pairs = query.split('&');
            let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
            let (_, value) = pairs.find(|(name, _)| *name == wanted)?;
            String::from_utf8(decoded(value)).ok()
        };
        let values = PARAMETERS.map(&value);
        // `X-Amz-Date` alone, say, is no attempt at a signature.
        if values[..3].iter().all(Option::is_none) {
            return Ok(None);
        }
        let missing = PARAMETERS
            .iter()
            .zip(&values)
            .find(|(_, value)| value.is_none());
        if let Some((name, _)) = missing {
            return Err(incomplete(format!(
                "AWS query-string parameters must include '{name}'. Re-examine the query-string parameters."
            )));
        }
        let [algorithm, credential, signature, signed_headers, at] =
            values.map(Option::unwrap_or_default);
        if algorithm != ALGORITHM {
            return Err(incomplete(format!(
                "Unsupported AWS 'algorithm': '{}'. ",
                shown(&algorithm)
            )));
        }
        let expires = value("X-Amz-Expires").unwrap_or_else(|| "900".to_owned());
        let expires_seconds = expires.parse().ok();
        let expires_seconds = expires_seconds.filter(|seconds| *seconds <= EXPIRES_SECONDS_MAX);
        let Some(expires_seconds) = expires_seconds else {
            return Err(incomplete(format!(
                "X-Amz-Expires must be a number of seconds from 0 to {EXPIRES_SECONDS_MAX}. Got '{}'.",
                shown(&expires)
            )));
        };
        Self::new(
            &credential,
            &signed_headers,
            &signature,
            &at,
            Some(expires_seconds),
        )
        .map(Some)
    }

    fn new(
        credential: &str,
        signed_headers: &str,
        signature: &str,
        at: &str,
        expires_seconds: Option<u64>,
    ) -> Result<Self, Fault> {
        let parts: Vec<&str> = credential.split('/').collect();
        let &[key_id, date, region, service, terminator] = parts.as_slice() else {
            return Err(incomplete(format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{}'",
                shown(credential)
            )));
        };
        let moment = moment::read(at).ok_or_else(|| {
            incomplete(format!(
                "Date must be in ISO-8601 'basic format'. Got '{}'. See http://en.wikipedia.org/wiki/ISO_8601",
                shown(at)
            ))
        })?;
        Ok(Self {
            key_id: key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            terminator: terminator.to_owned(),
            signed_headers: signed_headers
                .split(';')
                .map(str::to_ascii_lowercase)
                .collect(),
            signature: signature.to_owned(),
            at: at.to_owned(),
            moment,
            expires_seconds,
        })
    }
}

fn incomplete(text: String) -> Fault {
    Fault::IncompleteSignature(text)
}

/// The bytes that a part of a URL's query stands for.
pub(super) fn decoded(encoded: &str) -> Vec<u8> {
    crate::query::percent_decoded(encoded.as_bytes())
}
