//! Making the object store that a place names.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::{Host, Url};

use super::{Bucket, Provider, S3};

/// An opened place for objects.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) bucket: Bucket,
    /// The server's address, if it was named.
    pub(crate) endpoint: Option<String>,
    /// Whether credentials were given; if not, those of the machine are asked for.
    pub(crate) has_credentials: bool,
}

/// One request, a part of 8 MiB included, has so long.
const REQUEST: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(5);

/// Throttling, 5xx and lost connections are tried again for half a minute: longer than a server's
/// hiccup, shorter than a reader's patience. Who writes segments begins anew after that.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(3),
            base: 2.0,
        },
        max_retries: 20,
        retry_timeout: Duration::from_secs(30),
    }
}

fn client() -> ClientOptions {
    ClientOptions::new()
        .with_timeout(REQUEST)
        .with_connect_timeout(CONNECT)
}

/// The object store behind a bucket's URL. Nothing is asked of it yet.
///
/// # Errors
/// One sentence about what is missing or wrong.
pub(crate) fn open(
    bucket: &Bucket,
    s3: &S3,
    environment: &[(String, String)],
) -> Result<Objects, String> {
    // The one cryptography in the program; who came first has set it, and it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match bucket.provider {
        Provider::S3 => open_s3(bucket, s3, environment),
        Provider::Google => {
            let builder = GoogleCloudStorageBuilder::from_env()
                .with_url(bucket.url.as_str())
                .with_client_options(client())
                .with_retry(retries());
            let store = builder.build().map_err(|error| error.to_string())?;
            Ok(others(bucket, Arc::new(store)))
        }
        Provider::Azure => {
            let builder = MicrosoftAzureBuilder::from_env()
                .with_url(bucket.url.as_str())
                .with_client_options(client())
                .with_retry(retries());
            let store = builder.build().map_err(|error| error.to_string())?;
            Ok(others(bucket, Arc::new(store)))
        }
    }
}

fn others(bucket: &Bucket, store: Arc<dyn ObjectStore>) -> Objects {
    Objects {
        store,
        bucket: bucket.clone(),
        endpoint: None,
        has_credentials: true,
    }
}

fn open_s3(bucket: &Bucket, s3: &S3, environment: &[(String, String)]) -> Result<Objects, String> {
    let mut builder = AmazonS3Builder::new().with_client_options(client());
    let switch = |on: Option<bool>| on.map(|on| on.to_string());
    let file = [
        (AmazonS3ConfigKey::Endpoint, s3.endpoint.clone()),
        (AmazonS3ConfigKey::Region, s3.region.clone()),
        (AmazonS3ConfigKey::AccessKeyId, s3.access_key_id.clone()),
        (
            AmazonS3ConfigKey::SecretAccessKey,
            s3.secret_access_key.clone(),
        ),
        (AmazonS3ConfigKey::Token, s3.session_token.clone()),
        (
            AmazonS3ConfigKey::VirtualHostedStyleRequest,
            switch(s3.virtual_hosted_style),
        ),
    ];
    for (key, value) in file {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    let mut allow_http = s3.allow_http.unwrap_or(false);
    for (name, value) in environment {
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "aws_allow_http" => allow_http = is_true(value),
            _ if name.starts_with("aws_") => {
                if let Ok(key) = name.parse::<AmazonS3ConfigKey>() {
                    builder = builder.with_config(key, value);
                }
            }
            _ => {}
        }
    }
    // Who names the general endpoint in the file and the particular one in the environment means
    // the latter, as it is with the SDKs.
    let set = |key| {
        builder
            .get_config_value(&key)
            .filter(|value| !value.is_empty())
    };
    let endpoint = set(AmazonS3ConfigKey::S3Endpoint).or_else(|| set(AmazonS3ConfigKey::Endpoint));
    let has_credentials = set(AmazonS3ConfigKey::AccessKeyId).is_some()
        || set(AmazonS3ConfigKey::WebIdentityTokenFile).is_some()
        || set(AmazonS3ConfigKey::ContainerCredentialsRelativeUri).is_some()
        || set(AmazonS3ConfigKey::ContainerCredentialsFullUri).is_some();
    let plain = match &endpoint {
        Some(endpoint) => is_plain(endpoint, allow_http)?,
        None => false,
    };
    let builder = builder
        .with_url(bucket.url.as_str())
        .with_allow_http(plain)
        .with_retry(retries());
    let store = builder.build().map_err(|error| error.to_string())?;
    Ok(Objects {
        store: Arc::new(store),
        bucket: bucket.clone(),
        endpoint,
        has_credentials,
    })
}

/// Whether the endpoint is one without TLS, which must be allowed unless it is this machine.
fn is_plain(endpoint: &str, allow_http: bool) -> Result<bool, String> {
    let url = Url::parse(endpoint)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| {
            format!("the S3 endpoint {endpoint:?} is not a URL such as https://s3.example.org")
        })?;
    let loopback = match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match url.scheme() {
        "https" => Ok(false),
        _ if allow_http || loopback => Ok(true),
        _ => Err(format!(
            "the S3 endpoint {endpoint} has no TLS, so that anybody on the way could read and \
             change the data. If that is what you want, say AWS_ALLOW_HTTP=true, or allow-http = \
             true in the [s3] table of the file"
        )),
    }
}

fn is_true(text: &str) -> bool {
    matches!(
        text.to_ascii_lowercase().as_str(),
        "1" | "true" | "on" | "yes" | "y"
    )
}
