//! Whether an object store can be used, found out before anything rests on it.

use std::error::Error;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::Provider;
use super::store::Objects;

/// Why an object store cannot be used, one sentence each.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It answered, and the answer will stay the same until somebody changes something.
    Refused(String),
    /// It does not answer now.
    Unreachable(String),
}

/// How long the whole probe may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lists one name, puts a small object and deletes it again: whoever may do that may do all that
/// segments need.
pub(crate) async fn probe(objects: &Objects) -> Result<(), Trouble> {
    match tokio::time::timeout(PATIENCE, ask(objects)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(explain(objects, &error)),
        Err(_) => Err(unreachable(
            objects,
            &format!("no answer within {} s", PATIENCE.as_secs()),
        )),
    }
}

async fn ask(objects: &Objects) -> Result<(), object_store::Error> {
    let store: &dyn ObjectStore = &*objects.store;
    let prefix = Path::parse(&objects.bucket.prefix)?;
    store.list(Some(&prefix)).next().await.transpose()?;
    let name = prefix.join("forebay-was-here");
    store.put(&name, "may be deleted\n".into()).await?;
    store.delete(&name).await
}

/// The answer in words.
fn explain(objects: &Objects, error: &object_store::Error) -> Trouble {
    let name = &objects.bucket.name;
    // The crate keeps the answer's status and body to itself, so its words have to do.
    let words = innermost(error);
    let code = between(&words, "<Code>", "</Code>").unwrap_or_default();
    let status = between(&words, "status code: ", " ")
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0_u16);
    let refused = Trouble::Refused;
    match (status, code) {
        (301 | 307, _) | (_, "AuthorizationHeaderMalformed") => refused(region(name)),
        (0, _) if words.contains("redirect without LOCATION") => refused(region(name)),
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "ExpiredToken")
        | (401, _) => refused(format!(
            "the credentials are refused{} ({}): set {}",
            at(objects),
            if code.is_empty() { "401" } else { code },
            credentials(objects.bucket.provider)
        )),
        (404, _) => refused(format!(
            "there is no bucket {name:?}{}: create it, or name another one with --segments",
            at(objects)
        )),
        (403, _) if !objects.has_credentials => refused(no_credentials()),
        (403, _) => refused(format!(
            "these credentials may not use the bucket {name:?}{} ({}): they need the rights to \
             list it and to read, write and delete objects in it",
            at(objects),
            if code.is_empty() { "403" } else { code }
        )),
        (408 | 429, _) => no_answer(objects, &words),
        (400..=499, _) => refused(format!(
            "the bucket {name:?} cannot be used{}: {words}",
            at(objects)
        )),
        _ => no_answer(objects, &words),
    }
}

fn no_answer(objects: &Objects, why: &str) -> Trouble {
    if objects.has_credentials {
        unreachable(objects, why)
    } else {
        Trouble::Refused(no_credentials())
    }
}

fn unreachable(objects: &Objects, why: &str) -> Trouble {
    Trouble::Unreachable(format!(
        "the object store does not answer{}: {why}. Check the address and the network",
        at(objects)
    ))
}

fn at(objects: &Objects) -> String {
    match &objects.endpoint {
        Some(endpoint) => format!(" at {endpoint}"),
        None => String::new(),
    }
}

fn region(bucket: &str) -> String {
    format!(
        "the bucket {bucket:?} is in another region: set AWS_REGION, or region in the [s3] table \
         of the file"
    )
}

fn no_credentials() -> String {
    format!(
        "no credentials are given and this machine has none of its own: set {}",
        credentials(Provider::S3)
    )
}

fn credentials(provider: Provider) -> &'static str {
    match provider {
        Provider::S3 => {
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or access-key-id and secret-access-key \
             in the [s3] table of the file"
        }
        Provider::Google => "GOOGLE_APPLICATION_CREDENTIALS",
        Provider::Azure => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
    }
}

/// The innermost words, which name the trouble itself.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}
