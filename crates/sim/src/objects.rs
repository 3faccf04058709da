//! An object store that has its moods.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use forebay_log::{DiskObjects, SimDisk};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What a store does instead of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObjectFault {
    /// It says that there are too many requests (503), and does nothing.
    Throttled,
    /// It does what it was asked, and nobody hears of it.
    TimedOutAfterSuccess,
    /// Nothing arrives.
    ConnectionLost,
    /// It does not find what is there.
    NotFound,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) put: u64,
    pub(crate) deleted: u64,
}

#[derive(Debug, Default)]
struct State {
    fault: Option<ObjectFault>,
    after: u64,
    times: u64,
    counts: Counts,
}

/// Objects on a simulated disk, behind a network that fails when it is told to.
#[derive(Debug)]
pub(crate) struct FaultyObjects {
    inner: Arc<DiskObjects>,
    state: Arc<Mutex<State>>,
}

impl FaultyObjects {
    pub(crate) fn new(disk: SimDisk, root: PathBuf) -> Self {
        Self {
            inner: Arc::new(DiskObjects::new(Arc::new(disk), root)),
            state: Arc::default(),
        }
    }

    /// After so many requests, so many meet a fault.
    pub(crate) fn fail(&self, fault: ObjectFault, after: u64, times: u64) {
        let mut state = self.state();
        state.fault = Some(fault);
        (state.after, state.times) = (after, times);
    }

    pub(crate) fn calm(&self) {
        self.state().fault = None;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state().counts
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that the next request meets, if any. One that is over does its work first.
    fn meet(&self, location: &Path) -> Result<Option<ObjectFault>> {
        let mut state = self.state();
        let Some(fault) = state.fault else {
            return Ok(None);
        };
        if state.after > 0 {
            state.after -= 1;
            return Ok(None);
        }
        if state.times == 0 {
            state.fault = None;
            return Ok(None);
        }
        state.times -= 1;
        match fault {
            ObjectFault::TimedOutAfterSuccess => Ok(Some(fault)),
            ObjectFault::NotFound => Err(Error::NotFound {
                path: location.to_string(),
                source: "it does not show yet".into(),
            }),
            ObjectFault::Throttled => Err(failed("503: slow down")),
            ObjectFault::ConnectionLost => Err(failed("the connection is lost")),
        }
    }
}

fn failed(why: &str) -> Error {
    Error::Generic {
        store: "simulated",
        source: why.into(),
    }
}

/// The result, or what is heard of it.
fn heard<T>(fault: Option<ObjectFault>, result: Result<T>) -> Result<T> {
    match fault {
        Some(_) => Err(failed("timed out")),
        None => result,
    }
}

impl fmt::Display for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.meet(location)?;
        let result = self.inner.put_opts(location, payload, opts).await;
        self.state().counts.put += u64::from(result.is_ok());
        heard(fault, result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.meet(location)?;
        let result = self.inner.put_multipart_opts(location, opts).await;
        self.state().counts.put += u64::from(result.is_ok());
        heard(fault, result)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.meet(location)?;
        heard(fault, self.inner.get_opts(location, options).await)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = Self {
            inner: Arc::clone(&self.inner),
            state: Arc::clone(&self.state),
        };
        let this = Arc::new(this);
        locations
            .then(move |location| {
                let this = Arc::clone(&this);
                async move {
                    let location = location?;
                    let fault = this.meet(&location)?;
                    let result = this.inner.delete(&location).await;
                    this.state().counts.deleted += u64::from(result.is_ok());
                    heard(fault, result.map(|()| location))
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.meet(&prefix.cloned().unwrap_or_default()) {
            Ok(None) => self.inner.list(prefix),
            Ok(Some(_)) => stream::iter([Err(failed("timed out"))]).boxed(),
            Err(error) => stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
