//! Signatures of requests, version 4 (AWS General Reference, "Signature Version 4 signing
//! process"): in the `Authorization` header or, presigned, in the query of the URL.
//!
//! What is signed wrongly by form is refused always. Who signed, and whether rightly, is looked at
//! if the operator has named credentials.

mod canonical;
mod claim;
mod moment;

use forebay_base::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use hyper::http::request::Parts;
use sha2::{Digest, Sha256};

use crate::credentials::Credentials;
use crate::error::Fault;
use claim::{ALGORITHM, Claim};

/// What requests to SQS are signed for.
const SERVICE: &str = "sqs";
/// How a scope ends.
const TERMINATOR: &str = "aws4_request";
/// A signature is good for so long, minutes; and for so long before its time.
const EXPIRY_MINUTES: u64 = 15;
const EARLY_MINUTES: u64 = 5;
const MS_PER_MINUTE: u64 = 60_000;

/// Judges the signature of a request.
pub(crate) fn judge(
    head: &Parts,
    body: &[u8],
    credentials: &Credentials,
    now: Timestamp,
) -> Result<(), Fault> {
    let claim = Claim::read(head)?;
    if credentials.is_empty() {
        return Ok(());
    }
    let claim = claim.ok_or(Fault::MissingAuthenticationToken)?;
    let secret = credentials
        .secret(&claim.key_id)
        .ok_or(Fault::InvalidClientTokenId)?;
    check_scope(&claim)?;
    check_time(&claim, now)?;
    if !claim.signed_headers.iter().any(|name| name == "host") {
        return Err(Fault::SignatureDoesNotMatch(
            "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.".into(),
        ));
    }
    let canonical = canonical::request(head, body, &claim);
    let to_sign = to_sign(&claim, &canonical);
    let mut mac = keyed(&signing_key(secret, &claim));
    mac.update(to_sign.as_bytes());
    let given = bytes_of_hex(&claim.signature);
    given
        .filter(|given| mac.verify_slice(given).is_ok())
        .map(drop)
        .ok_or_else(|| {
            Fault::SignatureDoesNotMatch("The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.".into())
        })
}

fn check_scope(claim: &Claim) -> Result<(), Fault> {
    let refused = |text: String| Err(Fault::SignatureDoesNotMatch(text.into()));
    if claim.terminator != TERMINATOR {
        return refused(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{}'.",
            claim.terminator
        ));
    }
    if claim.service != SERVICE {
        return refused(format!(
            "Credential should be scoped to correct service: '{SERVICE}'. "
        ));
    }
    // The form of the time was checked: it begins with eight digits.
    let day = claim.at.get(..8).unwrap_or_default();
    if claim.date != day {
        return refused(format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != '{day}', from '{}'.",
            claim.date, claim.at
        ));
    }
    Ok(())
}

fn check_time(claim: &Claim, now: Timestamp) -> Result<(), Fault> {
    let lasts_ms = claim
        .expires_seconds
        .map_or(EXPIRY_MINUTES * MS_PER_MINUTE, |seconds| seconds * 1_000);
    let (at, shown) = (claim.moment, moment::shown);
    let oldest = moment::minus_ms(now, lasts_ms);
    if at < oldest {
        return Err(Fault::SignatureDoesNotMatch(
            format!(
                "Signature expired: {} is now earlier than {} ({} - {} min.)",
                claim.at,
                shown(oldest),
                shown(now),
                lasts_ms / MS_PER_MINUTE
            )
            .into(),
        ));
    }
    let latest = now.plus_ms(EARLY_MINUTES * MS_PER_MINUTE);
    if at > latest {
        return Err(Fault::SignatureDoesNotMatch(
            format!(
                "Signature not yet current: {} is still later than {} ({} + {EARLY_MINUTES} min.)",
                claim.at,
                shown(latest),
                shown(now),
            )
            .into(),
        ));
    }
    Ok(())
}

fn to_sign(claim: &Claim, canonical: &str) -> String {
    let Claim {
        at,
        date,
        region,
        service,
        terminator,
        ..
    } = claim;
    let digest = hex(&Sha256::digest(canonical));
    format!("{ALGORITHM}\n{at}\n{date}/{region}/{service}/{terminator}\n{digest}")
}

fn signing_key(secret: &str, claim: &Claim) -> Vec<u8> {
    let parts = [
        &claim.date,
        &claim.region,
        &claim.service,
        &claim.terminator,
    ];
    let first = format!("AWS4{secret}").into_bytes();
    parts.into_iter().fold(first, |key, part| {
        let mut mac = keyed(&key);
        mac.update(part.as_bytes());
        mac.finalize().into_bytes().to_vec()
    })
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("a key of any length will do")
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The bytes that a text of hexadecimal digits stands for.
fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
