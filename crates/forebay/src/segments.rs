//! Where segments lie: in the data directory, in another directory, or in an object store.

mod probe;
mod store;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use forebay_broker::SegmentStore;
use serde::Deserialize;
use tokio::runtime::Handle;
use url::Url;

use crate::failure::Failure;
use probe::Trouble;
use store::Objects;

/// What `--segments` names.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub(crate) enum Place {
    /// The folder `segments` of the data directory.
    #[default]
    DataDir,
    /// Another directory.
    Directory(PathBuf),
    /// A bucket or container.
    Bucket(Bucket),
}

/// A bucket of a provider, and the prefix of all names in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) provider: Provider,
    pub(crate) url: Url,
    /// The bucket's, or container's, own name.
    pub(crate) name: String,
    /// Without slashes at its ends; may be empty.
    pub(crate) prefix: String,
}

/// Who keeps the objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// Amazon S3, or a server that speaks like it.
    S3,
    /// Google Cloud Storage.
    Google,
    /// Azure Blob Storage.
    Azure,
}

/// The text is no place for segments.
#[derive(Debug, thiserror::Error)]
#[error(
    "neither a directory nor a bucket such as s3://BUCKET/PREFIX (gs:// and az:// are known too): \
     {0}"
)]
pub(crate) struct NoPlace(String);

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let wrong = NoPlace;
        let Some((scheme, _)) = text.split_once("://") else {
            return match text {
                "" => Err(wrong("it is empty".into())),
                _ => Ok(Self::Directory(text.into())),
            };
        };
        let provider = match scheme {
            "s3" => Provider::S3,
            "gs" => Provider::Google,
            "az" => Provider::Azure,
            _ => return Err(wrong(format!("{scheme}:// is not known"))),
        };
        let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
        let name = url.host_str().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(wrong("it names no bucket".into()));
        }
        if url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it may hold a bucket and a prefix only".into()));
        }
        let prefix = url.path().trim_matches('/').to_owned();
        Ok(Self::Bucket(Bucket {
            provider,
            url,
            name,
            prefix,
        }))
    }
}

impl TryFrom<String> for Place {
    type Error = NoPlace;

    fn try_from(text: String) -> Result<Self, NoPlace> {
        text.parse()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDir => f.write_str("in the data directory"),
            Self::Directory(path) => path.display().fmt(f),
            Self::Bucket(bucket) => bucket.url.fmt(f),
        }
    }
}

impl Place {
    /// The place in words, unless it is the data directory.
    pub(crate) fn outside(&self) -> Option<String> {
        (*self != Self::DataDir).then(|| self.to_string())
    }

    /// The segments' store, seen to be usable; `None` for the data directory's own folder.
    ///
    /// `fresh` says that the data directory holds nothing yet. If it holds something, a bucket
    /// that does not answer now is no reason not to start: clients are served from the journal,
    /// and segments are tried again and again.
    pub(crate) async fn reach(
        &self,
        s3: &S3,
        fresh: bool,
    ) -> Result<Option<SegmentStore>, Failure> {
        let Some(objects) = self.open(s3)? else {
            return Ok(self.directory());
        };
        let failed = |reason| Failure::Segments {
            place: self.to_string(),
            reason,
        };
        match probe::probe(&objects).await {
            Ok(()) => {}
            Err(Trouble::Unreachable(reason)) if !fresh => {
                tracing::warn!(place = %self, reason, "segments cannot be reached for now");
            }
            Err(Trouble::Unreachable(reason) | Trouble::Refused(reason)) => {
                return Err(failed(reason));
            }
        }
        objects.segments().map(Some)
    }

    /// The bucket's object store, unseen; `None` for the data directory's own folder.
    pub(crate) fn look(&self, s3: &S3) -> Result<Option<SegmentStore>, Failure> {
        match self.open(s3)? {
            Some(objects) => objects.segments().map(Some),
            None => Ok(self.directory()),
        }
    }

    fn directory(&self) -> Option<SegmentStore> {
        match self {
            Self::Directory(dir) => Some(forebay_broker::segment_directory(dir)),
            Self::DataDir | Self::Bucket(_) => None,
        }
    }

    fn open(&self, s3: &S3) -> Result<Option<Objects>, Failure> {
        let Self::Bucket(bucket) = self else {
            return Ok(None);
        };
        let environment: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let opened = store::open(bucket, s3, &environment);
        opened.map(Some).map_err(|reason| Failure::Segments {
            place: self.to_string(),
            reason,
        })
    }
}

impl Objects {
    /// The store as the broker takes it.
    fn segments(self) -> Result<SegmentStore, Failure> {
        let runtime = network().map_err(Failure::Runtime)?;
        Ok(SegmentStore::new(
            self.store,
            &self.bucket.prefix,
            Some(runtime),
        ))
    }
}

/// A runtime for the network of object stores. Threads may still wait for it when everything else
/// has ended, so it ends with the process.
fn network() -> io::Result<Handle> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("object-store")
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    std::mem::forget(runtime);
    Ok(handle)
}

/// The `[s3]` table of the file: what the `AWS_*` variables say too, which beat it.
#[derive(Clone, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct S3 {
    /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`
    pub(crate) endpoint: Option<String>,
    /// `AWS_REGION`
    pub(crate) region: Option<String>,
    /// `AWS_ACCESS_KEY_ID`
    pub(crate) access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`
    pub(crate) secret_access_key: Option<String>,
    /// `AWS_SESSION_TOKEN`
    pub(crate) session_token: Option<String>,
    /// `AWS_ALLOW_HTTP`
    pub(crate) allow_http: Option<bool>,
    /// `AWS_VIRTUAL_HOSTED_STYLE_REQUEST`
    pub(crate) virtual_hosted_style: Option<bool>,
}

impl fmt::Debug for S3 {
    /// Without the secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3")
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("allow_http", &self.allow_http)
            .field("virtual_hosted_style", &self.virtual_hosted_style)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "segments/tests.rs"]
mod tests;
